%% SPDX-License-Identifier: Apache-2.0
%% @doc The functions of HyperBEAM's `hb_beamr', on guests of {@link beamline_wasm}.
%%
%% ```
%% {ok, W, _Imports, _Exports} = beamline_beamr:start(Bytes),
%% {ok, [120.0]} = beamline_beamr:call(W, "fac", [5.0]).
%% '''
%% Names, arities and shapes of results are hb_beamr's. Different, on purpose:
%% <ul>
%% <li>Values are exact: all of i32 and i64 (signed results), f32, `nan' and infinities. An integer for a float, and the
%%     reverse, is `{error, {invalid_args, Args}}', and so is a wrong number of arguments.</li>
%% <li>Nothing ends the VM, hangs a scheduler or outlives its owner; a call ends after an hour at the latest.</li>
%% <li>An import fun that raises gives `{error, Class, Reason, Stack, State}', one that answers junk
%%     `{error, Text, State}'; the instance can be used again. It may call the instance while it runs.</li>
%% <li>Two processes on one instance: the second waits for its turn, whatever it asks for.</li>
%% <li>`call/3' answers 0 for every import, as there; but traps and unknown functions are `{error, Text}', not a crash.</li>
%% <li>Exports and imports carry the same signature texts; a funcref is `u', not `f'.</li>
%% <li>A snapshot holds all memories, mutable globals (the stack pointer, too) and tables, exported or not, and {@link deserialize/2}
%%     says when it does not fit. Where a table or a global holds something else than `null' or an exported function,
%%     {@link serialize/1} says that it cannot be saved. Dropped segments are not part of it.</li>
%% <li>Mode `aot' is refused: native code would be believed.</li>
%% </ul>
-module(beamline_beamr).

-export([start/1, start/2, call/3, call/4, call/5, call/6, stop/1, wasm_send/2, serialize/1, deserialize/2]).
-export_type([instance/0, import_fun/0]).

-define(TIMEOUT_MS, 3_600_000).

-type instance() :: beamline_wasm:instance().
-type import_fun() :: fun((State :: term(), map(), Opts :: map()) -> {ok, [number()], State :: term()}).
-type item() :: {func | memory | table | global, string(), string()}.

%% @equiv start(Bytes, wasm)
-spec start(binary()) -> {ok, instance(), [{func, string(), string(), string()}], [item()]} | {error, binary()}.
start(Bytes) -> start(Bytes, wasm).

%% @doc An instance owned by the calling process. Its imports are answered by the fun that a call names.
-spec start(binary(), wasm | aot) -> {ok, instance(), [{func, string(), string(), string()}], [item()]} | {error, binary()}.
start(_, aot) ->
    {error, <<"native code is not accepted">>};
start(Bytes, wasm) when is_binary(Bytes) ->
    case beamline_wasm:compile(Bytes, #{expose => true}) of
        {ok, Module} -> start_module(Module);
        {error, Reason} -> {error, text(Reason)}
    end.

start_module(Module) ->
    Imports = beamline_wasm:imports(Module),
    Funs = maps:from_list([{{M, N}, answering(Type)} || {M, N, {func, _, _} = Type} <- Imports]),
    case beamline_wasm:start(Module, #{imports => Funs, memory_limit => infinity, state => zeros}) of
        {ok, Instance} ->
            {ok, Instance, [{func, binary_to_list(M), binary_to_list(N), signature(Type)} || {M, N, {func, _, _} = Type} <- Imports],
             [{kind(Type), binary_to_list(N), signature(Type)} || {N, Type} <- beamline_wasm:exports(Module), element(1, Type) =/= tag]};
        {error, Reason} ->
            {error, text(Reason)}
    end.

kind(Type) -> element(1, Type).

signature({func, Params, Results}) -> lists:flatten(["(", [letter(T) || T <- Params], ")", [letter(T) || T <- Results]]);
signature(_) -> "".

letter(i32) -> "i";
letter(i64) -> "I";
letter(f32) -> "f";
letter(f64) -> "F";
letter(v128) -> "v";
letter(externref) -> "e";
letter(_) -> "u".

%%% Calls

%% @equiv call(Instance, Name, Args, zeros, undefined, #{})
-spec call(instance(), string() | binary(), [number()]) -> {ok, [number()]} | {error, term()}.
call(Instance, Name, Args) ->
    case call(Instance, Name, Args, zeros, undefined, #{}) of
        {ok, Results, _} -> {ok, Results};
        {error, {invalid_args, _}} = Error -> Error;
        {error, Text, _} -> {error, Text}
    end.

%% @equiv call(Instance, Name, Args, ImportFun, #{})
-spec call(instance(), string() | binary(), [number()], import_fun()) -> tuple().
call(Instance, Name, Args, ImportFun) -> call(Instance, Name, Args, ImportFun, #{}).

%% @equiv call(Instance, Name, Args, ImportFun, State, #{})
-spec call(instance(), string() | binary(), [number()], import_fun(), term()) -> tuple().
call(Instance, Name, Args, ImportFun, State) -> call(Instance, Name, Args, ImportFun, State, #{}).

%% @doc Calls a function; imports are answered by `ImportFun(State, #{instance, module, func, args, func_sig}, Opts)'.
-spec call(instance(), string() | binary(), [number()], import_fun() | zeros, State :: term(), Opts :: map()) ->
    {ok, [number()], term()} | {error, binary(), term()} | {error, atom(), term(), list(), term()} | {error, {invalid_args, term()}}.
call(Instance, Name, Args, ImportFun, State, Opts) when is_list(Args) ->
    Options = #{timeout => ?TIMEOUT_MS, wait => ?TIMEOUT_MS, state => case ImportFun of zeros -> zeros; _ -> {ImportFun, State, Opts} end},
    try beamline_wasm:call(Instance, iolist_to_binary(Name), Args, Options) of
        {ok, Results, After} -> {ok, Results, state(After, State)};
        {error, {import_failed, #{reason := {junk, Answer}}}, After} ->
            {error, unicode:characters_to_binary(io_lib:format("the import fun answered ~0tp", [Answer])), state(After, State)};
        {error, {import_failed, #{class := Class, reason := Reason, stacktrace := Stack}}, After} -> {error, Class, Reason, Stack,
            state(After, State)};
        {error, Reason, After} -> {error, text(Reason), state(After, State)}
    catch
        error:badarg -> {error, {invalid_args, Args}}
    end;
call(_, _, Args, _, _, _) ->
    {error, {invalid_args, Args}}.

state({_, State, _}, _) -> State;
state(zeros, State) -> State.

%% What stands for an import in the instance: it asks the fun of the call.
answering({func, _, Results} = Type) ->
    Signature = signature(Type),
    Zeros = [zero(T) || T <- Results],
    fun(_, #{state := zeros}) -> {Zeros, zeros};
       (Args, #{state := {Fun, State, Opts}, instance := Instance, import := {M, N}}) ->
           Asked = #{instance => Instance, module => binary_to_list(M), func => binary_to_list(N), args => Args, func_sig => Signature},
           case Fun(State, Asked, Opts) of
               {ok, Answer, State1} when is_list(Answer) -> {Answer, {Fun, State1, Opts}};
               Junk -> error({junk, Junk})
           end
    end.

zero(T) when T =:= i32; T =:= i64 -> 0;
zero(T) when T =:= f32; T =:= f64 -> 0.0;
zero(v128) -> <<0:128>>;
zero(_) -> null.

%% @doc Ends the instance, and a call that is under way.
-spec stop(instance()) -> ok.
stop(Instance) -> beamline_wasm:stop(Instance).

%% @doc There is no process behind an instance that could take commands; kept so that callers need no change.
-spec wasm_send(instance(), {command, term()}) -> ok.
wasm_send(_Instance, {command, _}) -> ok.

%%% Snapshots

%% @doc Memories, mutable globals, tables. `{error, Text}' when something of it cannot be saved.
-spec serialize(instance()) -> {ok, binary()} | {error, binary()}.
serialize(Instance) -> beamline_beamr_snapshot:take(Instance).

%% @doc Puts a snapshot back, into an instance of the same module. On `{error, Text}' nothing was changed, but that memories and
%% tables may have grown.
-spec deserialize(instance(), binary()) -> ok | {error, binary()}.
deserialize(Instance, Snapshot) -> beamline_beamr_snapshot:put(Instance, Snapshot).

%%% Errors as text

text({trap, #{code := Code, message := Message}}) -> iolist_to_binary(io_lib:format("Exception: ~s (~s)", [Message, Code]));
text({Reason, #{why := Why}}) when is_binary(Why) -> iolist_to_binary(io_lib:format("~s: ~s", [Reason, Why]));
text(Reason) -> unicode:characters_to_binary(io_lib:format("~0tp", [Reason])).
