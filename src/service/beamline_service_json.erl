%% SPDX-License-Identifier: Apache-2.0
%% @private JSON by whichever library is here: jiffy, or OTP's own (27 and newer).
%%
%%   term                          JSON
%%   map, list, integer, boolean   object, array, number, true | false
%%   float                         the shortest number that reads back as the same float
%%   null, undefined, nan,         null
%%   infinity, neg_infinity
%%   other atom                    string
%%   binary                        string; bytes that are not UTF-8 are read as Latin-1
%%   tuple                         array
-module(beamline_service_json).

-export([library/0, encode/1, decode/1]).

%% `none' means that encode and decode would fail.
-spec library() -> jiffy | json | none.
library() ->
    Here = [M || {M, F} <- [{jiffy, encode}, {json, encode}],
                 code:ensure_loaded(M) =:= {module, M}, lists:keymember(F, 1, M:module_info(exports))],
    case Here of [Module | _] -> Module; [] -> none end.

-spec encode(term()) -> iodata().
encode(Term) ->
    Plain = plain(Term),
    case loaded() of
        jiffy -> jiffy:encode(Plain);
        Json -> Json:encode(Plain)
    end.

%% Objects become maps with binary keys. Raises on malformed input.
-spec decode(binary()) -> term().
decode(Text) ->
    case loaded() of
        jiffy -> jiffy:decode(Text, [return_maps]);
        Json -> Json:decode(Text)
    end.

%% Not library/0: that asks the code server each time.
loaded() ->
    case erlang:function_exported(jiffy, encode, 1) of
        true -> jiffy;
        false -> library()
    end.

plain(Map) when is_map(Map) -> maps:fold(fun(K, V, Acc) -> Acc#{key(K) => plain(V)} end, #{}, Map);
plain(List) when is_list(List) -> [plain(E) || E <- List];
plain(Tuple) when is_tuple(Tuple) -> plain(tuple_to_list(Tuple));
plain(Binary) when is_binary(Binary) -> text(Binary);
plain(Nothing) when Nothing =:= undefined; Nothing =:= nan; Nothing =:= infinity; Nothing =:= neg_infinity -> null;
plain(Atom) when Atom =:= true; Atom =:= false; Atom =:= null -> Atom;
plain(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
plain(Number) when is_number(Number) -> Number.

key(K) when is_atom(K) -> atom_to_binary(K);
key(K) when is_binary(K) -> text(K).

text(Binary) ->
    case unicode:characters_to_binary(Binary) of
        Good when is_binary(Good) -> Good;
        _ -> unicode:characters_to_binary(Binary, latin1)
    end.
