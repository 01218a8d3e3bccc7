%% SPDX-License-Identifier: Apache-2.0
%% @private Plain Erlang terms as structured fields, and decimals of any size. Pure. What comes
%% out has the right shape; whether it can be written is the writer's to say.
-module(beamline_sfv_plain).

-export([item/1, list/1, dictionary/1, small_decimals/1, from_float/1]).

-define(DIGITS, 4096). % of a decimal's coefficient that has to be rounded

-type shaped(Term) :: {ok, Term} | {error, beamline_sfv:reason()}.

-spec item(term()) -> shaped(beamline_sfv:item()).
item(Term) -> shape(fun() -> to_item(Term, []) end).

-spec list(term()) -> shaped(beamline_sfv:sf_list()).
list(Terms) -> shape(fun() -> numbered(Terms, [], fun to_member/2) end).

-spec dictionary(term()) -> shaped(beamline_sfv:dictionary()).
dictionary(Map) when is_map(Map) -> dictionary(by_key(Map));
dictionary(Pairs) when is_list(Pairs) ->
    shape(fun() -> [begin Key = to_key(Name), {Key, to_member(Value, [Key])} end || {Name, Value} <- pairs(Pairs)] end);
dictionary(Other) -> error(badarg, [Other]).

shape(Make) ->
    try {ok, Make()}
    catch throw:{invalid, Path, Why} -> {error, {invalid, #{path => lists:reverse(Path), why => Why}}} end.

%% Paths are reversed here.
to_member({list, Items, Params}, Path) -> {list, numbered(Items, Path, fun to_inner_item/2), to_params(Params, Path)};
to_member(Items, Path) when is_list(Items) -> {list, numbered(Items, Path, fun to_inner_item/2), []};
to_member(Term, Path) -> to_item(Term, Path).

%% Small numbers are characters, too: lists of lists of them must not become texts.
to_inner_item(List, Path) when is_list(List) -> throw({invalid, Path, <<"list cannot stand in an inner list; give text as a binary">>});
to_inner_item(Term, Path) -> to_item(Term, Path).

to_item({item, Bare, Params}, Path) -> {item, to_bare(Bare, Path), to_params(Params, Path)};
to_item(Term, Path) -> {item, to_bare(Term, Path), []}.

numbered(Terms, Path, Convert) when is_list(Terms), length(Terms) >= 0 ->
    [Convert(Term, [N | Path]) || {N, Term} <- lists:zip(lists:seq(1, length(Terms)), Terms)];
numbered(Other, _, _) -> error(badarg, [Other]).

to_params(Map, Path) when is_map(Map) -> to_params(by_key(Map), Path);
to_params(Params, Path) ->
    [begin Key = to_key(Name), {Key, to_bare(Value, [{param, Key} | Path])} end || {Name, Value} <- pairs(Params)].

%% Whether a key is an atom or a binary does not matter to the order.
by_key(Map) -> lists:keysort(1, [{to_key(Key), Value} || {Key, Value} <- maps:to_list(Map)]).

pairs(Pairs) ->
    is_list(Pairs) andalso length(Pairs) >= 0 andalso lists:all(fun(P) -> tuple_size(P) =:= 2 end, Pairs) orelse error(badarg, [Pairs]),
    Pairs.

to_key(Key) when is_binary(Key) -> Key;
to_key(Key) when is_atom(Key) -> atom_to_binary(Key);
to_key(Key) when is_list(Key) ->
    case unicode:characters_to_binary(Key) of
        Text when is_binary(Text) -> Text;
        _ -> error(badarg, [Key])
    end;
to_key(Other) -> error(badarg, [Other]).

to_bare(N, _) when is_integer(N); is_boolean(N) -> N;
to_bare(F, _) when is_float(F) -> {decimal, from_float(F)};
to_bare(Atom, _) when is_atom(Atom) -> {token, atom_to_binary(Atom)};
to_bare(Text, Path) when is_binary(Text) -> to_text(Text, Path);
to_bare(Chars, Path) when is_list(Chars) ->
    case unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> to_text(Text, Path);
        _ -> throw({invalid, Path, <<"list is not a string of characters, and an inner list cannot stand here">>})
    end;
to_bare({Tag, _} = Bare, _) when Tag =:= decimal; Tag =:= string; Tag =:= token; Tag =:= binary; Tag =:= date; Tag =:= display -> Bare;
to_bare(Map, Path) when is_map(Map) -> throw({invalid, Path, <<"map cannot stand in a field">>});
to_bare(Other, _) -> error(badarg, [Other]).

to_text(Text, Path) ->
    case re:run(Text, "^[ -~]*$", [dollar_endonly, {capture, none}]) of
        match -> {string, Text};
        nomatch ->
            case unicode:characters_to_binary(Text) of
                Text -> {display, Text};
                _ -> throw({invalid, Path, <<"binary is not UTF-8; {binary, Bytes} is a byte sequence">>})
            end
    end.

%%% Decimals

%% @doc Three digits behind the point, of the shortest text that reads back as the same float.
-spec from_float(float()) -> {integer(), integer()}.
from_float(F) ->
    [Mantissa | Exponent] = binary:split(float_to_binary(F, [short]), <<"e">>),
    [Whole, Part] = binary:split(Mantissa, <<".">>),
    Shift = case Exponent of [] -> 0; [E] -> binary_to_integer(E) end,
    normal(small(binary_to_integer(<<Whole/binary, Part/binary>>), Shift - byte_size(Part))).

%% Without zeros behind the point, as the reader has it.
normal({C, E}) when E < 0, C rem 10 =:= 0 -> normal({C div 10, E + 1});
normal(Decimal) -> Decimal.

%% @doc The term with each decimal of large numbers rounded to what fits into a machine word.
-spec small_decimals(term()) -> {ok, term()} | {error, beamline_sfv:reason()}.
small_decimals(Term) ->
    try {ok, with_small_decimals(Term)}
    catch throw:{limit, _} = Limit -> {error, Limit} end.

with_small_decimals({decimal, {C, E}}) when is_integer(C), is_integer(E) -> {decimal, small(C, E)};
with_small_decimals(Tuple) when is_tuple(Tuple) -> list_to_tuple(with_small_decimals(tuple_to_list(Tuple)));
with_small_decimals([Head | Tail]) -> [with_small_decimals(Head) | with_small_decimals(Tail)];
with_small_decimals(Other) -> Other.

%% In thousandths, or something that is refused as too large. What is far from both ends of the
%% range is told by its size; only the rest is divided, and has a limit: the VM cannot interrupt
%% 10^Places, which takes it 1 s for 300,000 digits.
small(0, _) -> {0, 0};
small(C, E) when E > 20 -> {sign(C), 20};
small(C, E) when E >= -3 -> bounded(C * power(E + 3));
small(C, E) ->
    Bits = bit_size(binary:encode_unsigned(abs(C))), % up to 7 of them are zeros in front
    Places = -3 - E,
    Digits = 1 + Bits * 30103 div 100000,
    if
        Places > Digits -> {0, 0};
        (Bits - 8) * 30102 div 100000 - Places >= 18 -> {sign(C), 20};
        Digits > ?DIGITS -> throw({limit, #{what => digits, limit => ?DIGITS, asked => Digits}});
        true -> bounded(half_even(C, power(Places)))
    end.

bounded(T) when abs(T) < 1000000000000000000 -> {T, -3};
bounded(T) -> {sign(T), 20}.

sign(N) when N < 0 -> -1;
sign(_) -> 1.

half_even(C, Divisor) ->
    Quotient = abs(C) div Divisor,
    case 2 * (abs(C) rem Divisor) of
        Twice when Twice > Divisor; Twice =:= Divisor, Quotient rem 2 =:= 1 -> sign(C) * (Quotient + 1);
        _ -> sign(C) * Quotient
    end.

power(0) -> 1;
power(N) when N rem 2 =:= 0 -> Half = power(N div 2), Half * Half;
power(N) -> 10 * power(N - 1).
