%% SPDX-License-Identifier: Apache-2.0
%% Properties: what is written reads back as itself; what is read is written canonically, and
%% reading that changes nothing; cowlib sees the same values where it sees any.
-module(beamline_sfv_props_tests).

%% Both define LET: the one of proper is meant.
-include_lib("proper/include/proper.hrl").
-undef(LET).
-include_lib("eunit/include/eunit.hrl").
-undef(LET).
-define(LET(X, Raw, Gen), proper_types:bind(Raw, fun(X) -> Gen end, false)).

-define(TIMES, 300).

properties_test_() ->
    [{timeout, 120, {Name, fun() ->
        Options = [quiet, {numtests, ?TIMES}, {on_output, fun(F, A) -> io:format(F, A) end}],
        ?assert(proper:quickcheck(Property(), Options))
    end}} || {Name, Property} <- [
        {"what is written reads back", fun what_is_written_reads_back/0},
        {"what is read is written canonically", fun what_is_read_is_written_canonically/0},
        {"noise never raises", fun noise_never_raises/0},
        {"cowlib sees the same", fun cowlib_sees_the_same/0}]].

%% parse . write = identity.
what_is_written_reads_back() ->
    ?FORALL({Type, Term}, field(),
            begin
                {ok, Text} = write(Type, Term),
                {ok, Term} =:= parse(Type, Text) andalso {ok, Term} =:= parse(Type, lines(Type, Text))
            end).

%% Blanks, and text that is not canonical.
what_is_read_is_written_canonically() ->
    ?FORALL({{Type, Term}, Loose}, {field(), list(oneof([blank, tab, equals]))},
            begin
                {ok, Text} = write(Type, Term),
                Sloppy = sloppy(Type, Text, Loose),
                {ok, Text} =:= beamline_sfv:canonical(Type, Sloppy) andalso {ok, Text} =:= beamline_sfv:canonical(Type, Text)
            end).

noise_never_raises() ->
    ?FORALL({Type, Text}, {type(), oneof([binary(), mutated()])},
            case parse(Type, Text) of
                {ok, Term} ->
                    {ok, Canonical} = write(Type, Term),
                    {ok, Term} =:= parse(Type, Canonical);
                {error, {syntax, #{offset := Offset, expected := _}}} -> Offset =< byte_size(Text)
            end).

parse(item, Text) -> beamline_sfv:parse_item(Text);
parse(list, Text) -> beamline_sfv:parse_list(Text);
parse(dictionary, Text) -> beamline_sfv:parse_dictionary(Text).

write(item, Term) -> beamline_sfv:item(Term);
write(list, Term) -> beamline_sfv:list(Term);
write(dictionary, Term) -> beamline_sfv:dictionary(Term).

%% Cut at a comma and a blank, wherever that is: joining brings back what was there.
lines(item, Text) -> [Text];
lines(_, Text) -> binary:split(Text, <<", ">>, [global]).

%% The comma between members becomes what else it may be: one that is inside a string is left.
sloppy(item, Text, Loose) -> iolist_to_binary([[$\s || blank <- Loose], Text, " "]);
sloppy(_, Text, Loose) ->
    case binary:match(Text, [<<"\"">>, <<"%">>]) of
        nomatch -> iolist_to_binary([" ", lists:join(comma(Loose), binary:split(Text, <<", ">>, [global])), " "]);
        _ -> Text
    end.

comma(Loose) -> [[blank(B) || B <- Loose], ",", [blank(B) || B <- lists:reverse(Loose)]].

blank(tab) -> $\t;
blank(_) -> $\s.

%%% Generators

type() -> oneof([item, list, dictionary]).

field() ->
    oneof([{item, item()}, {list, list(member())}, {dictionary, ?LET(Pairs, list({key(), member()}), unique(Pairs))}]).

member() -> frequency([{3, item()}, {1, {list, list(item()), parameters()}}]).

item() -> {item, bare_item(), parameters()}.

parameters() -> ?LET(Pairs, list({key(), bare_item()}), unique(Pairs)).

unique(Pairs) -> lists:ukeysort(1, Pairs).

key() -> ?LET({First, Rest}, {oneof([range($a, $z), $*]), text("abcdefghijklmnopqrstuvwxyz0123456789_-.*")}, <<First, Rest/binary>>).

bare_item() ->
    oneof([number(15), decimal(), boolean(), {date, number(15)}, {string, ?LET(C, list(range(16#20, 16#7E)), list_to_binary(C))},
           {token, ?LET({First, Rest}, {oneof([range($a, $z), range($A, $Z), $*]), text("aZ09!#$%&'*+-.^_`|~:/")}, <<First, Rest/binary>>)},
           {binary, binary()}, {display, ?LET(C, list(character()), unicode:characters_to_binary(C))}]).

number(Digits) -> ?LET(N, range(0, Digits), ?LET(I, range(-(power(N) - 1), power(N) - 1), I)).

decimal() -> ?LET({I, E}, {number(15), range(-3, 0)}, {decimal, normal(in_range(I, E), E)}).

in_range(I, E) -> I rem power(12 - E).

normal(I, E) when E < 0, I rem 10 =:= 0 -> normal(I div 10, E + 1);
normal(I, E) -> {I, E}.

power(N) -> round(math:pow(10, N)).

text(Allowed) -> ?LET(Chars, list(oneof(Allowed)), list_to_binary(Chars)).

character() -> oneof([range(0, 127), range(128, 16#D7FF), range(16#E000, 16#10FFFF)]).

mutated() ->
    ?LET({{Type, Term}, Place, Byte}, {field(), non_neg_integer(), byte()},
         begin
             {ok, Text} = write(Type, Term),
             At = Place rem (byte_size(Text) + 1),
             <<Head:At/binary, Tail/binary>> = Text,
             case Tail of
                 <<_, Rest/binary>> -> <<Head/binary, Byte, Rest/binary>>;
                 <<>> -> <<Head/binary, Byte>>
             end
         end).

%%% Beside cowlib 2.9.1 (Debian's), which reads an older draft. Its defects, left out here: no
%%% decimals but floats, no -0.5 (the sign is lost), no true without "=?1", base64 between stars,
%%% no dates, no display strings, no blanks around, parameters and dictionaries as maps, keys
%%% without "*" in front.

cowlib_sees_the_same() ->
    case code:ensure_loaded(cow_http_struct_hd) of
        {module, _} -> ?FORALL({Type, Term}, common_field(), same_as_cowlib(Type, Term));
        {error, _} -> true
    end.

same_as_cowlib(Type, Term) ->
    {ok, Text} = write(Type, Term),
    case {Type, Text} of
        {_, <<>>} -> true;
        {list, _} -> theirs(Term) =:= cow_http_struct_hd:parse_list(Text);
        {dictionary, _} ->
            {Map, Keys} = cow_http_struct_hd:parse_dictionary(Text),
            Keys =:= [K || {K, _} <- Term] andalso Map =:= maps:from_list([{K, theirs(M)} || {K, M} <- Term])
    end.

theirs(Members) when is_list(Members) -> [theirs(M) || M <- Members];
theirs({list, Items, Params}) -> {with_params, theirs(Items), maps:from_list(Params)};
theirs({item, Bare, Params}) -> {with_params, Bare, maps:from_list(Params)}.

common_field() ->
    Bare = oneof([number(15), {string, ?LET(C, list(range(16#20, 16#7E)), list_to_binary(C))},
                  {token, ?LET(R, text("aZ09!#$%&'*+-.^_`|~:/"), <<"t", R/binary>>)}]),
    Key = ?LET(R, text("abcxyz0123456789_-"), <<"k", R/binary>>),
    Params = ?LET(P, list({Key, Bare}), unique(P)),
    Item = {item, Bare, Params},
    Member = frequency([{3, Item}, {1, {list, non_empty(list(Item)), Params}}]),
    oneof([{list, list(Member)}, {dictionary, ?LET(P, list({Key, Member}), unique(P))}]).
