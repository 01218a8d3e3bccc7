%% SPDX-License-Identifier: Apache-2.0
%% @private The state of an instance as a binary, and back: memories, mutable globals and tables, as far as they are exported.
%%
%% A snapshot is a term: what the module exports (so that it is not put into another one), and the values. Elements of a
%% table are the names of the exported functions that they are.
-module(beamline_beamr_snapshot).

-export([take/1, put/2]).

-define(MARK, beamline_snapshot_1).
-define(TIMEOUT_MS, 3_600_000).

-spec take(beamline_wasm:instance()) -> {ok, binary()} | {error, binary()}.
take(Instance) -> alone(Instance, fun() -> taken(Instance, exports(Instance)) end).

taken(Instance, Exports) ->
    Values = [{Name, saved(Instance, Name, Type, Exports)} || {Name, Type} <- Exports, holds_state(Type)],
    {ok, term_to_binary({?MARK, Exports, Values}, [compressed])}.

%% Nobody calls it meanwhile.
alone({_, Ref, _}, Fun) ->
    try beamline_wasm_turns:hold(Ref, ?TIMEOUT_MS, Fun) of
        {error, Reason} -> {error, unicode:characters_to_binary(io_lib:format("~0tp", [Reason]))};
        Answer -> Answer
    catch
        throw:Why -> {error, iolist_to_binary(Why)}
    end.

%% Those of the option `expose', too.
exports({_, Ref, _}) -> beamline_wasm_nif:module_exports(beamline_wasm_nif:module(Ref), true).

holds_state({memory, _}) -> true;
holds_state({global, var, _}) -> true;
holds_state({table, _}) -> true;
holds_state(_) -> false.

saved(Instance, Name, {memory, #{page_size := Page}}, _) ->
    {ok, Size} = done(fun() -> beamline_wasm:size(Instance, Name) end),
    {memory, Size div Page, pages(Instance, Name, 0, Size)};
saved(Instance, Name, {global, var, Type}, Exports) ->
    {global, Value} = held(Instance, Name, global),
    Type =:= externref andalso Value =/= null andalso throw(["the global ", Name, " holds a term"]),
    {global, case is_reference(Value) of true -> function_name(Instance, ["the global ", Name], Value, Exports); false -> Value end};
saved(Instance, Name, {table, _}, Exports) ->
    {table, Elements} = held(Instance, Name, table),
    {table, [element_name(Instance, Name, I, E, Exports) || {I, E} <- numbered(Elements)]}.

%% As they are in the instance.
held(Instance, Name, global) ->
    {ok, Value} = done(fun() -> beamline_wasm:global_get(Instance, Name, #{floats => bits}) end),
    {global, Value};
held(Instance, Name, table) ->
    {ok, Size} = done(fun() -> beamline_wasm:table_size(Instance, Name) end),
    {table, [element(2, done(fun() -> beamline_wasm:table_get(Instance, Name, I) end)) || I <- lists:seq(0, Size - 1)]}.

numbered(Elements) -> lists:zip(lists:seq(0, length(Elements) - 1), Elements).

%% Only what is not zero, in pieces of 64 KiB.
pages(_, _, Size, Size) -> [];
pages(Instance, Name, At, Size) ->
    Length = min(65536, Size - At),
    {ok, Bytes} = done(fun() -> beamline_wasm:read(Instance, {Name, At}, Length) end),
    case Bytes =:= <<0:Length/unit:8>> of
        true -> pages(Instance, Name, At + Length, Size);
        false -> [{At, Bytes} | pages(Instance, Name, At + Length, Size)]
    end.

element_name(_, _, _, null, _) -> null;
element_name(Instance, Table, I, Element, Exports) ->
    Where = ["element ", integer_to_list(I), " of the table ", Table],
    is_reference(Element) orelse throw([Where, " is no function"]),
    function_name(Instance, Where, Element, Exports).

function_name(Instance, Where, Function, Exports) ->
    case [Name || {Name, {func, _, _}} <- Exports, same_function(Instance, Name, Function)] of
        [Name | _] -> {export, Name};
        [] -> throw([Where, " is no exported function"])
    end.

same_function({_, Ref, _}, Name, Function) ->
    try done(fun() -> beamline_wasm_nif:same_function(Ref, Function, Name) end)
    catch error:badarg -> false % a reference that a process made
    end.

%% Somebody may still look whether he may use the instance.
done(Use) ->
    case beamline_wasm_turns:take(Use, ?TIMEOUT_MS) of
        {error, Reason} -> throw(io_lib:format("~0tp", [Reason]));
        Answer -> Answer
    end.

-spec put(beamline_wasm:instance(), binary()) -> ok | {error, binary()}.
put(Instance, Snapshot) when is_binary(Snapshot) ->
    Exports = exports(Instance),
    try binary_to_term(Snapshot, [safe]) of
        {?MARK, Exports, Values} -> alone(Instance, fun() -> put(Instance, Exports, Values) end);
        _ -> {error, <<"a snapshot of another module">>}
    catch
        error:_ -> {error, <<"no snapshot">>}
    end.

%% First all that can go wrong, memories last: of them nothing can, then.
put(Instance, Exports, Values) ->
    try
        Ready = [{Name, ready(Instance, Name, Type, Value)} || {{Name, Type}, {Name, Value}} <- zip(Exports, Values)],
        [ok = room(Instance, Name, Value) || {Name, Value} <- Ready],
        {Memories, Others} = lists:partition(fun({_, Value}) -> element(1, Value) =:= memory end, Ready),
        ok = restore_all(Instance, Others),
        [ok = restore(Instance, Name, Value) || {Name, Value} <- Memories],
        ok
    catch
        error:_ -> throw(<<"a damaged snapshot">>)
    end.

zip(Exports, Values) ->
    Zipped = lists:zip([Export || {_, Type} = Export <- Exports, holds_state(Type)], Values),
    true = lists:all(fun({{Name, _}, {Of, _}}) -> Name =:= Of end, Zipped),
    Zipped.

%% With references in place of names.
ready(_, _, {memory, #{page_size := Page}}, {memory, Pages, Pieces}) when is_integer(Pages), Pages >= 0 ->
    true = lists:all(fun({At, Bytes}) -> is_integer(At) andalso At >= 0 andalso At + byte_size(Bytes) =< Pages * Page end, Pieces),
    {memory, Page, Pages, Pieces};
ready(Instance, _, {global, var, _}, {global, Value}) ->
    {global, reference(Instance, Value)};
ready(Instance, Name, {table, #{element := Type}}, {table, Elements}) ->
    {table, [reference(Instance, E) || E <- Elements] ++ emptied(Instance, Name, Type, length(Elements))}.

%% What a table has beyond the snapshot, which cannot be taken away; nor be null, where its type says so.
emptied(_, _, {ref, none, _}, _) ->
    [];
emptied(Instance, Name, _, Count) ->
    {ok, Size} = done(fun() -> beamline_wasm:table_size(Instance, Name) end),
    lists:duplicate(max(0, Size - Count), null).

reference(Instance, {export, Name}) ->
    {ok, Function} = done(fun() -> beamline_wasm:function(Instance, Name) end),
    Function;
reference(_, Value) ->
    Value.

room(Instance, Name, {memory, Page, Pages, _}) ->
    {ok, Size} = done(fun() -> beamline_wasm:size(Instance, Name) end),
    grow(Pages - Size div Page, fun(More) -> beamline_wasm:grow(Instance, Name, More) end);
room(Instance, Name, {table, Elements}) ->
    {ok, Size} = done(fun() -> beamline_wasm:table_size(Instance, Name) end),
    grow(length(Elements) - Size, fun(More) -> beamline_wasm:table_grow(Instance, Name, More) end);
room(_, _, _) ->
    ok.

grow(More, Grow) when More > 0 ->
    {ok, _} = done(fun() -> Grow(More) end),
    ok;
grow(_, _) ->
    ok.

%% All of them or none.
restore_all(Instance, Values) ->
    Before = [{Name, held(Instance, Name, element(1, Value))} || {Name, Value} <- Values],
    try
        [ok = restore(Instance, Name, Value) || {Name, Value} <- Values],
        ok
    catch
        Class:Why:Stack ->
            _ = [catch restore(Instance, Name, Value) || {Name, Value} <- Before],
            erlang:raise(Class, Why, Stack)
    end.

restore(Instance, Name, {memory, _, _, Pieces}) ->
    {ok, Size} = done(fun() -> beamline_wasm:size(Instance, Name) end),
    ok = done(fun() -> beamline_wasm:fill(Instance, {Name, 0}, Size, 0) end),
    [ok = done(fun() -> beamline_wasm:write(Instance, {Name, At}, Bytes) end) || {At, Bytes} <- Pieces],
    ok;
restore(Instance, Name, {global, Value}) ->
    done(fun() -> beamline_wasm:global_set(Instance, Name, Value) end);
restore(Instance, Name, {table, Elements}) ->
    [ok = done(fun() -> beamline_wasm:table_set(Instance, Name, I, E) end) || {I, E} <- numbered(Elements)],
    ok.
