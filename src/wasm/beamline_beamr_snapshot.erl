%% SPDX-License-Identifier: Apache-2.0
%% @private The state of an instance as a binary, and back: memories, mutable globals and tables, as far as they are exported.
%%
%% A snapshot is a term: what the module exports (so that it is not put into another one), and the values. Elements of a
%% table are the names of the exported functions that they are.
-module(beamline_beamr_snapshot).

-export([take/1, put/2]).

-define(MARK, beamline_snapshot_1).

-spec take(beamline_wasm:instance()) -> {ok, binary()} | {error, binary()}.
take(Instance) ->
    Exports = exports(Instance),
    try
        Values = [{Name, saved(Instance, Name, Type, Exports)} || {Name, Type} <- Exports, holds_state(Type)],
        {ok, term_to_binary({?MARK, Exports, Values}, [compressed])}
    catch
        throw:Why -> {error, iolist_to_binary(Why)}
    end.

%% Those of the option `expose', too.
exports({_, Ref, _}) -> beamline_wasm_nif:module_exports(beamline_wasm_nif:module(Ref), true).

same_function({_, Ref, _}, Name, Function) -> beamline_wasm_nif:same_function(Ref, Name, Function) =:= true.

holds_state({memory, _}) -> true;
holds_state({global, var, _}) -> true;
holds_state({table, _}) -> true;
holds_state(_) -> false.

saved(Instance, Name, {memory, #{page_size := Page}}, _) ->
    {ok, Size} = done(beamline_wasm:size(Instance, Name)),
    {memory, Size div Page, pages(Instance, Name, 0, Size)};
saved(Instance, Name, {global, var, Type}, Exports) ->
    {ok, Value} = done(beamline_wasm:global_get(Instance, Name, #{floats => bits})),
    Type =:= externref andalso Value =/= null andalso throw(["the global ", Name, " holds a term"]),
    {global, case is_reference(Value) of true -> function_name(Instance, ["the global ", Name], Value, Exports); false -> Value end};
saved(Instance, Name, {table, _}, Exports) ->
    {ok, Size} = done(beamline_wasm:table_size(Instance, Name)),
    {table, [element_name(Instance, Name, I, Exports) || I <- lists:seq(0, Size - 1)]}.

%% Only what is not zero, in pieces of 64 KiB.
pages(_, _, Size, Size) -> [];
pages(Instance, Name, At, Size) ->
    Length = min(65536, Size - At),
    {ok, Bytes} = done(beamline_wasm:read(Instance, {Name, At}, Length)),
    case Bytes =:= <<0:Length/unit:8>> of
        true -> pages(Instance, Name, At + Length, Size);
        false -> [{At, Bytes} | pages(Instance, Name, At + Length, Size)]
    end.

element_name(Instance, Table, I, Exports) ->
    Where = ["element ", integer_to_list(I), " of the table ", Table],
    case done(beamline_wasm:table_get(Instance, Table, I)) of
        {ok, null} -> null;
        {ok, Function} when is_reference(Function) -> function_name(Instance, Where, Function, Exports);
        {ok, _} -> throw([Where, " is no function"])
    end.

function_name(Instance, Where, Function, Exports) ->
    case [Name || {Name, {func, _, _}} <- Exports, same_function(Instance, Name, Function)] of
        [Name | _] -> {export, Name};
        [] -> throw([Where, " is no exported function"])
    end.

done({error, Reason}) -> throw(io_lib:format("~0tp", [Reason]));
done(Answer) -> Answer.

-spec put(beamline_wasm:instance(), binary()) -> ok | {error, binary()}.
put(Instance, Snapshot) when is_binary(Snapshot) ->
    Exports = exports(Instance),
    try binary_to_term(Snapshot, [safe]) of
        {?MARK, Exports, Values} ->
            try
                true = [Name || {Name, _} <- Values] =:= [Name || {Name, Type} <- Exports, holds_state(Type)],
                _ = [done(room(Instance, Name, Value)) || {Name, Value} <- Values],
                _ = [restore(Instance, Name, Value) || {Name, Value} <- Values],
                ok
            catch
                throw:Why -> {error, iolist_to_binary(Why)};
                error:_ -> {error, <<"a damaged snapshot">>}
            end;
        _ ->
            {error, <<"a snapshot of another module">>}
    catch
        error:_ -> {error, <<"no snapshot">>}
    end.

%% Before anything is written: everything must have room.
room(Instance, Name, {memory, Pages, _}) ->
    {ok, Size} = done(beamline_wasm:size(Instance, Name)),
    case Pages * 65536 - Size of
        More when More > 0 -> beamline_wasm:grow(Instance, Name, More div 65536);
        _ -> ok
    end;
room(Instance, Name, {table, Elements}) ->
    {ok, Size} = done(beamline_wasm:table_size(Instance, Name)),
    case length(Elements) - Size of
        More when More > 0 -> beamline_wasm:table_grow(Instance, Name, More);
        _ -> ok
    end;
room(_, _, _) -> ok.

restore(Instance, Name, {memory, _, Pieces}) ->
    {ok, Size} = done(beamline_wasm:size(Instance, Name)),
    ok = done(beamline_wasm:fill(Instance, {Name, 0}, Size, 0)),
    [ok = done(beamline_wasm:write(Instance, {Name, At}, Bytes)) || {At, Bytes} <- Pieces];
restore(Instance, Name, {global, Value}) ->
    ok = done(beamline_wasm:global_set(Instance, Name, reference(Instance, Value)));
restore(Instance, Name, {table, Elements}) ->
    [ok = done(beamline_wasm:table_set(Instance, Name, I, reference(Instance, E))) || {I, E} <- lists:zip(lists:seq(0,
        length(Elements) - 1), Elements)].

reference(_, null) -> null;
reference(Instance, {export, Name}) ->
    {ok, Function} = done(beamline_wasm:function(Instance, Name)),
    Function;
reference(_, Value) ->
    Value.
