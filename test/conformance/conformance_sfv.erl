%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc The public test suite of structured fields, in its own format: arrays of cases in *.json,
%% those of the folder serialisation-tests below it included.
%%
%%   raw        the field lines; each code point is a byte. Absent: the case is about writing only
%%   expected   what they mean; a binary value is base32 of its bytes
%%   canonical  how that is written; absent: as raw; []: the field is not sent
%%   must_fail  reading (or, without raw, writing) has to fail; can_fail: it may
%%
%% A case that need not fail is two tests: what is read, and what is written.
-module(conformance_sfv).

-export([main/1, run/2]).

-spec main([string()]) -> no_return().
main([Dir]) ->
    {Passed, Failed, Skipped} = run(Dir, fun(Format, Args) -> io:format(Format, Args) end),
    Passed + Failed + Skipped > 0 orelse io:format("FAILED: no case in ~ts~n", [Dir]),
    io:format("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]),
    halt(case Failed =:= 0 andalso Passed > 0 of true -> 0; false -> 1 end).

%% @doc All cases below a folder; Print tells of each failure.
-spec run(file:filename(), fun((string(), [term()]) -> term())) -> {non_neg_integer(), non_neg_integer(), non_neg_integer()}.
run(Dir, Print) ->
    Files = lists:sort(filelib:wildcard("*.json", Dir) ++ filelib:wildcard("*/*.json", Dir)),
    lists:foldl(fun(File, Sum) -> file(Dir, File, Print, Sum) end, {0, 0, 0}, Files).

file(Dir, File, Print, Sum) ->
    {ok, Text} = file:read_file(filename:join(Dir, File)),
    try jiffy:decode(Text, [return_maps]) of
        Cases when is_list(Cases) -> lists:foldl(fun(Case, Acc) -> one(File, Case, Print, Acc) end, Sum, Cases);
        _ -> skipped(File, "not an array of cases", Print, Sum) % a schema
    catch
        _:Why -> skipped(File, io_lib:format("no JSON: ~0tp", [Why]), Print, Sum)
    end.

skipped(File, Why, Print, {Passed, Failed, Skipped}) ->
    Print("skipped: ~ts: ~ts~n", [File, Why]),
    {Passed, Failed, Skipped + 1}.

one(File, #{<<"name">> := Name} = Case, Print, Sum) ->
    lists:foldl(fun({What, Test}, {Passed, Failed, Skipped}) ->
        case verdict(Test) of
            ok -> {Passed + 1, Failed, Skipped};
            {failed, Got} ->
                Print("FAILED: ~ts: ~ts: ~ts: ~0tp~n", [File, Name, What, Got]),
                {Passed, Failed + 1, Skipped}
        end
    end, Sum, tests(Case)).

verdict(Test) ->
    try Test()
    catch Class:Reason -> {failed, {Class, Reason}} end.

tests(#{<<"raw">> := Raw, <<"header_type">> := Type} = Case) ->
    Lines = [bytes(Line) || Line <- Raw],
    case Case of
        #{<<"must_fail">> := true} ->
            [{"reading", fun() -> refused(parse(Type, Lines)) end}];
        #{<<"expected">> := Expected} ->
            Value = field(Type, Expected),
            May = maps:get(<<"can_fail">>, Case, false),
            [{"reading", fun() -> read(Value, parse(Type, Lines), May) end},
             {"writing", fun() -> is({ok, text(maps:get(<<"canonical">>, Case, Raw))}, write(Type, Value)) end}];
        _ ->
            [{"the case", fun() -> {failed, {nothing_expected, Case}} end}]
    end;
tests(#{<<"must_fail">> := true, <<"header_type">> := Type, <<"expected">> := Expected}) ->
    [{"writing", fun() -> refused(write(Type, field(Type, Expected))) end}];
tests(#{<<"header_type">> := Type, <<"expected">> := Expected, <<"canonical">> := Canonical}) ->
    [{"writing", fun() -> is({ok, text(Canonical)}, write(Type, field(Type, Expected))) end}];
tests(Case) ->
    [{"the case", fun() -> {failed, {not_understood, Case}} end}].

refused({error, {Reason, _}}) when Reason =:= syntax; Reason =:= invalid; Reason =:= limit -> ok;
refused(Other) -> {failed, {must_fail, Other}}.

read(_, {error, {syntax, _}}, true) -> ok;
read(Value, Answer, _) -> is({ok, Value}, Answer).

is(Same, Same) -> ok;
is(Expected, Got) -> {failed, {expected, Expected, got, Got}}.

parse(<<"item">>, Lines) -> beamline_sfv:parse_item(Lines);
parse(<<"list">>, Lines) -> beamline_sfv:parse_list(Lines);
parse(<<"dictionary">>, Lines) -> beamline_sfv:parse_dictionary(Lines).

write(<<"item">>, Value) -> beamline_sfv:item(Value);
write(<<"list">>, Value) -> beamline_sfv:list(Value);
write(<<"dictionary">>, Value) -> beamline_sfv:dictionary(Value).

text(Lines) -> iolist_to_binary(lists:join(<<", ">>, [bytes(Line) || Line <- Lines])).

%% A string of code points below 256 is these bytes.
bytes(Text) ->
    case unicode:characters_to_binary(Text, utf8, latin1) of
        Bytes when is_binary(Bytes) -> Bytes;
        _ -> Text
    end.

%%% The values of the JSON as terms

field(<<"item">>, Item) -> item(Item);
field(<<"list">>, Members) -> [member(Member) || Member <- Members];
field(<<"dictionary">>, Pairs) -> [{bytes(Key), member(Member)} || [Key, Member] <- Pairs].

member([Items, Params]) when is_list(Items) -> {list, [item(Item) || Item <- Items], params(Params)};
member(Item) -> item(Item).

item([Bare, Params]) -> {item, bare(Bare), params(Params)}.

params(Params) -> [{bytes(Key), bare(Bare)} || [Key, Bare] <- Params].

bare(N) when is_integer(N); is_boolean(N) -> N;
bare(F) when is_float(F) -> {decimal, decimal(float_to_binary(F, [short]))};
bare(Text) when is_binary(Text) -> {string, bytes(Text)};
bare(#{<<"__type">> := <<"token">>, <<"value">> := Text}) -> {token, bytes(Text)};
bare(#{<<"__type">> := <<"binary">>, <<"value">> := Text}) -> {binary, base32(Text)};
bare(#{<<"__type">> := <<"date">>, <<"value">> := Seconds}) -> {date, Seconds};
bare(#{<<"__type">> := <<"displaystring">>, <<"value">> := Text}) -> {display, Text}.

%% As written, without zeros behind the point.
decimal(Text) ->
    [Mantissa | Exponent] = binary:split(Text, <<"e">>),
    [Whole, Part0] = binary:split(Mantissa, <<".">>),
    Shift = case Exponent of [] -> 0; [E] -> binary_to_integer(E) end,
    Part = string:trim(Part0, trailing, "0"),
    {binary_to_integer(<<Whole/binary, Part/binary>>), Shift - byte_size(Part)}.

%% RFC 4648, section 6.
base32(Text) ->
    Bits = << <<(digit(C)):5>> || <<C>> <= Text, C =/= $= >>,
    Size = bit_size(Bits) div 8,
    <<Bytes:Size/binary, _/bitstring>> = Bits,
    Bytes.

digit(C) when C >= $A, C =< $Z -> C - $A;
digit(C) when C >= $2, C =< $7 -> C - $2 + 26.
