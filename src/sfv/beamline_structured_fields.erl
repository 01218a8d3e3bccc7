%% SPDX-License-Identifier: Apache-2.0
%% @doc The codec with the names, arities and results of HyperBEAM's `hb_structured_fields': what
%% was written for that module works with this one.
%%
%% It keeps that module's conventions instead of Beamline's: the terms come without `{ok, _}', what
%% is malformed raises, a writer answers iodata (here always a binary), keys may also have upper
%% case, `%' and any key character in front, and `to_*' answer `{ok, Term}' or `{too_deep, What}'.
%% The terms are those of {@link beamline_sfv}.
%%
%% Where it differs, because that one is wrong:
%% <ul>
%%   <li>RFC 9651: `{date, Seconds}' and `{display, Utf8}' are read and written.</li>
%%   <li>Decimals are written as they are (`{decimal, {105, -2}}' is `1.05', not `1.5'), keep their
%%       sign when they are between -1 and 1, and are rounded half to even.</li>
%%   <li>True members and parameters are written without `=?1'.</li>
%%   <li>Nothing is written that is not allowed: text with CR, LF, NUL or bytes above 126, bad keys
%%       and tokens, integers of more than 15 digits, keys that come twice raise `badarg'.</li>
%%   <li>base64 without its padding and blanks around a field are read; a tabulator in front of a
%%       field is not.</li>
%%   <li>Whatever is malformed raises `badarg', never `function_clause' or `badmatch'.</li>
%%   <li>Keys that come twice cost nothing: reading is linear in the field's length.</li>
%%   <li>`to_dictionary' keeps the order of pairs; floats become decimals instead of a crash; integers
%%       above 15 digits pass, and raise `badarg' when they are written; text that is not printable
%%       ASCII becomes a Display String, and raises `badarg' if it is no UTF-8.</li>
%%   <li>`from_bare_item' answers the text of a token for which there is no atom as a binary.</li>
%%   <li>There are limits: those of {@link beamline_sfv}.</li>
%% </ul>
%% ```
%% [{<<"a">>, {item, 1, []}}, {<<"Key">>, {item, true, []}}] = beamline_structured_fields:parse_dictionary(<<"a=1, Key">>).
%% <<"a, (1 2)">> = iolist_to_binary(beamline_structured_fields:list(
%%     [{item, {token, <<"a">>}, []}, {list, [{item, 1, []}, {item, 2, []}], []}])).
%% '''
-module(beamline_structured_fields).

-export([parse_dictionary/1, parse_item/1, parse_list/1, parse_bare_item/1]).
-export([dictionary/1, item/1, list/1, bare_item/1, from_bare_item/1]).
-export([to_dictionary/1, to_dictionary/2, to_list/1, to_list/2, to_item/1, to_item/2]).
-export_type([sh_dictionary/0]).

-type sh_list() :: beamline_sfv:sf_list().
-type sh_dictionary() :: beamline_sfv:dictionary().
-type plain() :: beamline_sfv:plain().

-define(RELAXED, #{keys => relaxed}).
%% As far as a bare item can go; whether it is one is for the reader to say.
-define(BARE_ITEM, <<"^(?:\"(?:[^\"\\\\]++|\\\\.)*+\"|:[^:]*+:|\\?.|%\"[^\"]*+\"|@?-?[0-9]++(?:\\.[0-9]*+)?",
                     "|[A-Za-z*][-!#$%&'*+.^_`|~0-9A-Za-z:/]*+)">>).

%% @doc As `hb_structured_fields:parse_dictionary/1'.
-spec parse_dictionary(binary()) -> sh_dictionary().
parse_dictionary(Field) -> value(beamline_sfv:parse_dictionary(Field, ?RELAXED), Field).

%% @doc As `hb_structured_fields:parse_list/1'.
-spec parse_list(binary()) -> sh_list().
parse_list(Field) -> value(beamline_sfv:parse_list(Field, ?RELAXED), Field).

%% @doc As `hb_structured_fields:parse_item/1'.
-spec parse_item(binary()) -> beamline_sfv:item().
parse_item(Field) -> value(beamline_sfv:parse_item(Field, ?RELAXED), Field).

%% @doc A bare item at the beginning of the text, and what follows it.
%% ```
%% {1, <<";a">>} = beamline_structured_fields:parse_bare_item(<<"1;a">>).
%% '''
-spec parse_bare_item(binary()) -> {beamline_sfv:bare_item(), binary()}.
parse_bare_item(Text) when is_binary(Text) ->
    Size = case re:run(Text, ?BARE_ITEM, [{capture, first}, dotall]) of
        {match, [{0, N}]} -> N;
        nomatch -> error(badarg, [Text])
    end,
    <<Bare:Size/binary, Rest/binary>> = Text,
    case beamline_sfv:parse_item(Bare) of
        {ok, {item, Value, []}} -> {Value, Rest};
        _ -> error(badarg, [Text])
    end;
parse_bare_item(Other) -> error(badarg, [Other]).

%% @doc As `hb_structured_fields:dictionary/1'. Takes a map, too.
-spec dictionary(#{binary() => beamline_sfv:member()} | sh_dictionary()) -> iodata().
dictionary(Map) when is_map(Map) -> dictionary(beamline_sfv:from_map(Map));
dictionary(Pairs) -> text(beamline_sfv:dictionary(Pairs, ?RELAXED), Pairs).

%% @doc As `hb_structured_fields:list/1'.
-spec list(sh_list()) -> iodata().
list(List) -> text(beamline_sfv:list(List, ?RELAXED), List).

%% @doc As `hb_structured_fields:item/1'.
-spec item(beamline_sfv:item()) -> iodata().
item(Item) -> text(beamline_sfv:item(Item, ?RELAXED), Item).

%% @doc As `hb_structured_fields:bare_item/1'.
-spec bare_item(beamline_sfv:bare_item()) -> iodata().
bare_item(Bare) -> item({item, Bare, []}).

%% @doc As `hb_structured_fields:from_bare_item/1': the plain Erlang term.
%% ```
%% 1.5 = beamline_structured_fields:from_bare_item({decimal, {15, -1}}).
%% '''
-spec from_bare_item(beamline_sfv:bare_item()) -> integer() | float() | boolean() | atom() | binary().
from_bare_item(Bare) when is_integer(Bare); is_boolean(Bare) -> Bare;
from_bare_item({decimal, _} = Decimal) -> binary_to_float(iolist_to_binary(bare_item(Decimal)));
from_bare_item({token, Token}) ->
    try binary_to_existing_atom(Token)
    catch error:_ -> Token end;
from_bare_item({Tag, Value}) when Tag =:= string; Tag =:= binary; Tag =:= date; Tag =:= display -> Value;
from_bare_item(Other) -> error(badarg, [Other]).

%% @doc As `hb_structured_fields:to_dictionary/1'.
-spec to_dictionary(map() | [{term(), plain()}]) -> {ok, sh_dictionary()} | {too_deep, term()}.
to_dictionary(MapOrPairs) -> to_dictionary([], MapOrPairs).

%% @doc As `hb_structured_fields:to_dictionary/2': behind what there is already.
-spec to_dictionary(sh_dictionary(), map() | [{term(), plain()}]) -> {ok, sh_dictionary()} | {too_deep, term()}.
to_dictionary(Dictionary, MapOrPairs) ->
    Pairs = case is_map(MapOrPairs) of true -> maps:to_list(MapOrPairs); false -> proper(MapOrPairs) end,
    case [Deep || {Name, Value} <- Pairs, Deep <- too_deep(Name, Value)] of
        [Deep | _] -> {too_deep, Deep};
        [] -> {ok, Dictionary ++ plain(beamline_sfv_plain:dictionary(MapOrPairs), MapOrPairs)}
    end.

%% @doc As `hb_structured_fields:to_list/1'.
-spec to_list([plain()]) -> {ok, sh_list()} | {too_deep, term()}.
to_list(Terms) -> to_list([], Terms).

%% @doc As `hb_structured_fields:to_list/2': the first argument is the reversed beginning.
-spec to_list(sh_list(), [plain()]) -> {ok, sh_list()} | {too_deep, term()}.
to_list(Reversed, Terms) ->
    case [Deep || Term <- proper(Terms), Deep <- too_deep(Term, Term)] of
        [Deep | _] -> {too_deep, Deep};
        [] -> {ok, lists:reverse(Reversed, plain(beamline_sfv_plain:list(Terms), Terms))}
    end.

%% @doc As `hb_structured_fields:to_item/1'.
-spec to_item(plain()) -> {ok, beamline_sfv:item()}.
to_item(Term) -> {ok, plain(beamline_sfv_plain:item(Term), Term)}.

%% @doc As `hb_structured_fields:to_item/2'.
-spec to_item(plain(), [{term(), plain()}]) -> {ok, beamline_sfv:item()}.
to_item(Term, Params) -> to_item({item, Term, Params}).

%% A map, told by its name, and what cannot stand in an inner list.
too_deep(Name, Map) when is_map(Map) -> [Name];
too_deep(Name, {list, Items, _}) when is_list(Items) -> too_deep(Name, Items);
too_deep(_, Items) when is_list(Items) -> [Item || Item <- proper(Items), is_list(Item) orelse is_map(Item)];
too_deep(_, _) -> [].

proper(List) when is_list(List), length(List) >= 0 -> List;
proper(Other) -> error(badarg, [Other]).

plain({ok, Term}, _) -> Term;
plain({error, _}, Given) -> error(badarg, [Given]).

value({ok, Value}, _) -> Value;
value({error, Reason}, Given) -> fail(Reason, Given).

text({ok, Text}, _) -> Text;
text({error, Reason}, Given) -> fail(Reason, Given).

%% A library that is not here is no fault of the argument.
-spec fail(beamline_sfv:reason(), term()) -> no_return().
fail({unsupported, _} = Reason, _) -> error(Reason);
fail(_, Given) -> error(badarg, [Given]).
