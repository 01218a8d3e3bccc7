%% SPDX-License-Identifier: Apache-2.0
%% @doc Structured Field Values for HTTP: RFC 9651, all of it.
%%
%% <pre>
%% List              [item() | inner_list()]            a, (b c);x
%% Dictionary        [{Key, item() | inner_list()}]     a=1, b, c=(d e)      in the order of the text
%% Inner list        {list, [item()], parameters()}     (b c);x=1
%% Item              {item, bare_item(), parameters()}  b;x=1
%% Parameters        [{Key, bare_item()}]               ;x=1;y               in the order of the text
%% Key               binary()                           x                    never an atom
%%
%% Integer           integer()                          42                   at most 15 digits
%% Decimal           {decimal, {Coef, Exp}}             -0.5   {-5, -1}      Coef * 10^Exp
%% String            {string, binary()}                 "hello"              printable ASCII
%% Token             {token, binary()}                  text/html
%% Byte sequence     {binary, binary()}                 :aGVsbG8=:           the bytes, decoded
%% Boolean           boolean()                          ?1
%% Date              {date, integer()}                  @1659578233          seconds since 1970
%% Display string    {display, binary()}                %"f%c3%bc"           UTF-8
%% </pre>
%%
%% These are the terms of cowlib 2.12 and newer and of HyperBEAM, with Date and Display String
%% added. cowlib before 2.12 has other terms.
%%
%% An empty list or dictionary is `[]', written `<<>>': the field is not sent.
%% ```
%% 1> {ok, D} = beamline_sfv:parse_dictionary(<<"u=3, i">>).
%% {ok,[{<<"u">>,{item,3,[]}},{<<"i">>,{item,true,[]}}]}
%% 2> beamline_sfv:dictionary(D).
%% {ok,<<"u=3, i">>}
%% 3> beamline_sfv:parse_item(<<"1.">>).
%% {error,{syntax,#{expected => <<"a digit">>,offset => 2}}}
%% 4> beamline_sfv:item({item, {string, <<"a\r\nb">>}, []}).
%% {error,{invalid,#{path => [],why => <<"string has a character that is not printable ASCII">>}}}
%% '''
%%
%% Terms of another type than the table's raise `badarg'. Without the native library every
%% function answers `{error, {unsupported, {nif, Why}}}'.
-module(beamline_sfv).

-export([parse_item/1, parse_item/2, parse_list/1, parse_list/2, parse_dictionary/1, parse_dictionary/2]).
-export([item/1, item/2, list/1, list/2, dictionary/1, dictionary/2, inner_list/1, inner_list/2]).
-export([canonical/2, canonical/3]).
-export([to_map/1, from_map/1, to_item/1, to_list/1, to_dictionary/1]).
-export_type([field/0, key/0, bare_item/0, parameters/0, item/0, inner_list/0, member/0, sf_list/0, dictionary/0,
              parse_options/0, write_options/0, reason/0, step/0, plain/0]).

-type field() :: binary()       % one field line
               | [binary()].    % several, joined as RFC 9651, section 4.2 says
-type key() :: binary().
-type bare_item() :: integer()
                   | {decimal, {Coefficient :: integer(), Exponent :: integer()}}
                   | {string, binary()}
                   | {token, binary()}
                   | {binary, binary()}
                   | boolean()
                   | {date, integer()}
                   | {display, unicode:unicode_binary()}.
-type parameters() :: [{key(), bare_item()}].
-type item() :: {item, bare_item(), parameters()}.
-type inner_list() :: {list, [item()], parameters()}.
-type member() :: item() | inner_list().
-type sf_list() :: [member()].
-type dictionary() :: [{key(), member()}].

-type limit() :: non_neg_integer() | infinity.
-type parse_options() :: #{
    keys => strict | relaxed,      % relaxed: also upper case, %, and any of them first; default strict
    base64 => lenient | strict,    % strict: no missing padding, no pad bits but zeros; default lenient
    copy => boolean(),             % of texts above 64 bytes, which else keep the whole field alive; default false
    bytes => limit(),              % of all lines, joined; default 1_048_576, never above 4 GiB
    members => limit(),            % of the list or dictionary; default 65_536
    inner_members => limit(),      % of one inner list; default 65_536
    params => limit()              % of one item or inner list; default 65_536
}.
-type write_options() :: #{
    keys => strict | relaxed,      % with the same defaults, so that what was written can be read
    bytes => limit(),              % of the text
    members => limit(),
    inner_members => limit(),
    params => limit()
}.
-type step() :: key() | pos_integer() | {param, key()}.
-type reason() :: {syntax, #{offset := non_neg_integer(), expected := binary()}} % in bytes, of the joined lines
                | {invalid, #{path := [step()], why := binary()}}
                | {limit, #{what := bytes | members | inner_members | params | digits, limit := integer(), asked := integer()}}
                | no_memory
                | {unsupported, {nif, term()}}.

%% What to_item/1, to_list/1 and to_dictionary/1 take.
-type plain() :: bare_item() | float() | atom() | binary() | string() | item() | inner_list() | [plain()].

-define(BYTES, 1048576).
-define(COUNT, 65536).
-define(NO_LIMITS, #{bytes => infinity, members => infinity, inner_members => infinity, params => infinity}).

%%% Reading

%% @doc Reads an item.
%% ```
%% {ok, {item, 5, [{<<"foo">>, {token, <<"bar">>}}]}} = beamline_sfv:parse_item(<<"5;foo=bar">>).
%% '''
-spec parse_item(field()) -> {ok, item()} | {error, reason()}.
parse_item(Field) -> beamline_sfv_nif:parse_item(Field).

%% @doc Reads an item within other limits, or with other keys.
%% ```
%% {ok, {item, 5, [{<<"Foo">>, true}]}} = beamline_sfv:parse_item(<<"5;Foo">>, #{keys => relaxed}).
%% '''
-spec parse_item(field(), parse_options()) -> {ok, item()} | {error, reason()}.
parse_item(Field, Options) -> beamline_sfv_nif:parse_item(Field, parse_options(Options)).

%% @doc Reads a list. No line, or an empty one, is an empty list.
%% ```
%% {ok, [{item, {token, <<"a">>}, []}, {list, [{item, 1, []}, {item, 2, []}], [{<<"q">>, {decimal, {5, -1}}}]}]} =
%%     beamline_sfv:parse_list([<<"a">>, <<"(1 2);q=0.5">>]).
%% '''
-spec parse_list(field()) -> {ok, sf_list()} | {error, reason()}.
parse_list(Field) -> beamline_sfv_nif:parse_list(Field).

%% @doc Reads a list within other limits, or with other keys.
%% ```
%% {error, {limit, #{what := members, limit := 2, asked := 3}}} = beamline_sfv:parse_list(<<"a, b, c">>, #{members => 2}).
%% '''
-spec parse_list(field(), parse_options()) -> {ok, sf_list()} | {error, reason()}.
parse_list(Field, Options) -> beamline_sfv_nif:parse_list(Field, parse_options(Options)).

%% @doc Reads a dictionary. A key that comes again has its last value at the place of the first.
%% ```
%% {ok, [{<<"a">>, {item, 3, []}}, {<<"b">>, {item, true, []}}]} = beamline_sfv:parse_dictionary(<<"a=1, b, a=3">>).
%% '''
-spec parse_dictionary(field()) -> {ok, dictionary()} | {error, reason()}.
parse_dictionary(Field) -> beamline_sfv_nif:parse_dictionary(Field).

%% @doc Reads a dictionary within other limits, or with other keys.
%% ```
%% {error, {limit, #{what := bytes}}} = beamline_sfv:parse_dictionary(<<"a=1, b">>, #{bytes => 5}).
%% '''
-spec parse_dictionary(field(), parse_options()) -> {ok, dictionary()} | {error, reason()}.
parse_dictionary(Field, Options) -> beamline_sfv_nif:parse_dictionary(Field, parse_options(Options)).

%%% Writing

%% @doc Writes an item in canonical form, alone: also what a signature base (RFC 9421) is made of.
%% ```
%% {ok, <<"text/html;q=0.5">>} = beamline_sfv:item({item, {token, <<"text/html">>}, [{<<"q">>, {decimal, {5, -1}}}]}).
%% '''
-spec item(item()) -> {ok, binary()} | {error, reason()}.
item(Item) -> written(beamline_sfv_nif:item(Item), fun beamline_sfv_nif:item/1, Item).

%% @doc Writes an item within other limits, or with other keys.
%% ```
%% {ok, <<"1;A">>} = beamline_sfv:item({item, 1, [{<<"A">>, true}]}, #{keys => relaxed}).
%% '''
-spec item(item(), write_options()) -> {ok, binary()} | {error, reason()}.
item(Item, Options) -> write(fun beamline_sfv_nif:item/2, Item, Options).

%% @doc Writes a list. An empty one is `<<>>': do not send the field.
%% ```
%% {ok, <<"a, (1 2);x">>} =
%%     beamline_sfv:list([{item, {token, <<"a">>}, []}, {list, [{item, 1, []}, {item, 2, []}], [{<<"x">>, true}]}]).
%% '''
-spec list(sf_list()) -> {ok, binary()} | {error, reason()}.
list(List) -> written(beamline_sfv_nif:list(List), fun beamline_sfv_nif:list/1, List).

%% @doc Writes a list within other limits, or with other keys.
%% ```
%% {error, {limit, #{what := bytes}}} = beamline_sfv:list([{item, {string, <<"long">>}, []}], #{bytes => 3}).
%% '''
-spec list(sf_list(), write_options()) -> {ok, binary()} | {error, reason()}.
list(List, Options) -> write(fun beamline_sfv_nif:list/2, List, Options).

%% @doc Writes a dictionary, in the order of the pairs; a key that comes twice is refused. An empty
%% one is `<<>>': do not send the field.
%% ```
%% {ok, <<"a=1, b">>} = beamline_sfv:dictionary([{<<"a">>, {item, 1, []}}, {<<"b">>, {item, true, []}}]).
%% {error, {invalid, #{path := [<<"A">>]}}} = beamline_sfv:dictionary([{<<"A">>, {item, 1, []}}]).
%% '''
-spec dictionary(dictionary()) -> {ok, binary()} | {error, reason()}.
dictionary(Pairs) -> written(beamline_sfv_nif:dictionary(Pairs), fun beamline_sfv_nif:dictionary/1, Pairs).

%% @doc Writes a dictionary within other limits, or with other keys.
%% ```
%% {ok, <<"A=1">>} = beamline_sfv:dictionary([{<<"A">>, {item, 1, []}}], #{keys => relaxed}).
%% '''
-spec dictionary(dictionary(), write_options()) -> {ok, binary()} | {error, reason()}.
dictionary(Pairs, Options) -> write(fun beamline_sfv_nif:dictionary/2, Pairs, Options).

%% @doc Writes an inner list with its parameters, alone: the `@signature-params' of RFC 9421.
%% ```
%% {ok, <<"(\"@method\");created=1618884473">>} =
%%     beamline_sfv:inner_list({list, [{item, {string, <<"@method">>}, []}], [{<<"created">>, 1618884473}]}).
%% '''
-spec inner_list(inner_list()) -> {ok, binary()} | {error, reason()}.
inner_list(Inner) -> written(beamline_sfv_nif:inner_list(Inner), fun beamline_sfv_nif:inner_list/1, Inner).

%% @doc Writes an inner list within other limits, or with other keys.
%% ```
%% {ok, <<"();A">>} = beamline_sfv:inner_list({list, [], [{<<"A">>, true}]}, #{keys => relaxed}).
%% '''
-spec inner_list(inner_list(), write_options()) -> {ok, binary()} | {error, reason()}.
inner_list(Inner, Options) -> write(fun beamline_sfv_nif:inner_list/2, Inner, Options).

%% @doc Reads and writes: the field as everybody would write it, or why it is none.
%% ```
%% {ok, <<"a=1, b;x">>} = beamline_sfv:canonical(dictionary, [<<"a=1">>, <<"b=?1;x=?1">>]).
%% '''
-spec canonical(item | list | dictionary, field()) -> {ok, binary()} | {error, reason()}.
canonical(Type, Field) -> canonical(Type, Field, #{}).

%% @doc Reads and writes within other limits, or with other keys.
%% ```
%% {ok, <<"1;A">>} = beamline_sfv:canonical(item, <<" 1; A=?1">>, #{keys => relaxed}).
%% '''
-spec canonical(item | list | dictionary, field(), parse_options()) -> {ok, binary()} | {error, reason()}.
canonical(Type, Field, Options) ->
    {Parse, Write} = case Type of
        item -> {fun parse_item/2, fun item/2};
        list -> {fun parse_list/2, fun list/2};
        dictionary -> {fun parse_dictionary/2, fun dictionary/2};
        _ -> error(badarg, [Type, Field, Options])
    end,
    case Parse(Field, Options) of
        {ok, Value} -> Write(Value, maps:merge(maps:with([keys], Options), ?NO_LIMITS));
        Error -> Error
    end.

%%% Plain terms

%% @doc A dictionary as a map. The order is lost.
%% ```
%% #{<<"a">> := {item, 1, []}} = beamline_sfv:to_map([{<<"a">>, {item, 1, []}}]).
%% '''
-spec to_map(dictionary()) -> #{key() => member()}.
to_map(Pairs) -> maps:from_list(Pairs).

%% @doc A map as a dictionary, in the order of the keys.
%% ```
%% [{<<"a">>, {item, 1, []}}, {<<"b">>, {item, 2, []}}] =
%%     beamline_sfv:from_map(#{<<"b">> => {item, 2, []}, <<"a">> => {item, 1, []}}).
%% '''
-spec from_map(#{key() => member()}) -> dictionary().
from_map(Map) when is_map(Map) -> lists:sort(maps:to_list(Map));
from_map(Other) -> error(badarg, [Other]).

%% @doc An item of a plain Erlang term: integers, booleans and bare items are themselves, a float
%% is a decimal of three digits, another atom a token, a binary or a string (of characters) a
%% String, or a Display String where it has to be. What has no place in a field is
%% `{error, {invalid, _}}'.
%% ```
%% {ok, {item, {decimal, {15, -1}}, []}} = beamline_sfv:to_item(1.5).
%% {ok, {item, {token, <<"gzip">>}, []}} = beamline_sfv:to_item(gzip).
%% {ok, {item, {string, <<"text">>}, []}} = beamline_sfv:to_item(<<"text">>).
%% '''
-spec to_item(plain()) -> {ok, item()} | {error, reason()}.
to_item(Term) -> shaped(beamline_sfv_plain:item(Term), fun item/2).

%% @doc A list of plain terms; a list among them is always an inner list, in which no other can
%% stand, so give text as binaries.
%% ```
%% {ok, [{item, 1, []}, {list, [{item, {token, <<"a">>}, []}, {item, true, []}], []}]} =
%%     beamline_sfv:to_list([1, [a, true]]).
%% '''
-spec to_list([plain()]) -> {ok, sf_list()} | {error, reason()}.
to_list(Terms) -> shaped(beamline_sfv_plain:list(Terms), fun list/2).

%% @doc A dictionary of a map, in the order of its keys, or of pairs; keys are atoms, strings or binaries.
%% ```
%% {ok, [{<<"a">>, {item, 1, []}}, {<<"b">>, {list, [{item, 2, []}, {item, 3, []}], []}}]} =
%%     beamline_sfv:to_dictionary(#{a => 1, b => [2, 3]}).
%% '''
-spec to_dictionary(#{atom() | string() | binary() => plain()} | [{atom() | string() | binary(), plain()}]) ->
    {ok, dictionary()} | {error, reason()}.
to_dictionary(MapOrPairs) -> shaped(beamline_sfv_plain:dictionary(MapOrPairs), fun dictionary/2).

%% Of the right shape is not yet within the rules.
shaped({ok, Term}, Write) ->
    case Write(Term, ?NO_LIMITS) of
        {ok, _} -> {ok, Term};
        Error -> Error
    end;
shaped(Error, _) -> Error.

%%% Options

parse_options(Options) when is_map(Options) ->
    [error(badarg, [Options]) || {Key, Value} <- maps:to_list(Options), not is_option(Key, Value)],
    {maps:get(keys, Options, strict) =:= relaxed, maps:get(base64, Options, lenient) =:= strict, maps:get(copy, Options, false),
     limit(bytes, Options, ?BYTES), limit(members, Options, ?COUNT),
     limit(inner_members, Options, ?COUNT), limit(params, Options, ?COUNT)};
parse_options(Options) -> error(badarg, [Options]).

%% More than a machine word can count is no limit.
limit(Key, Options, Default) ->
    case maps:get(Key, Options, Default) of
        Limit when is_integer(Limit), Limit >= 1 bsl 60 -> infinity;
        Limit -> Limit
    end.

is_option(keys, Value) -> Value =:= strict orelse Value =:= relaxed;
is_option(base64, Value) -> Value =:= lenient orelse Value =:= strict;
is_option(copy, Value) -> is_boolean(Value);
is_option(Limit, Value) when Limit =:= bytes; Limit =:= members; Limit =:= inner_members; Limit =:= params ->
    Value =:= infinity orelse (is_integer(Value) andalso Value >= 0);
is_option(_, _) -> false.

write(Write, Term, Options) ->
    Known = parse_options(Options),
    WriteAgain = fun(T) -> Write(T, Known) end,
    written(WriteAgain(Term), WriteAgain, Term).

%% Decimals of numbers that do not fit into a machine word are rounded here.
written(big, Write, Term) ->
    case beamline_sfv_plain:small_decimals(Term) of
        {ok, Small} -> Write(Small);
        Error -> Error
    end;
written(Answer, _, _) -> Answer.
