%% SPDX-License-Identifier: Apache-2.0
%% @doc A process that owns an instance: for a supervisor, and for callers who queue.
%%
%% ```
%% {ok, Pid} = beamline_wasm_server:start_link(#{module => <<"(module (func (export \"one\") (result i32) (i32.const 1)))">>}),
%% {ok, [1]} = beamline_wasm_server:call(Pid, <<"one">>, []).
%% '''
%% Calls through this module run in the server, one after the other; the state that imports thread is kept between them.
%% {@link instance/1} gives the instance itself, for calls in the caller's own process; it ends with the server. A server whose
%% instance was stopped ends at its next call, so that a supervisor starts another.
-module(beamline_wasm_server).
-behaviour(gen_server).

-export([start_link/1, child_spec/1, call/3, call/4, instance/1, state/1]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([options/0]).

-define(MOST_MS, 16#FFFFFFFF). % that a receive takes

-type options() :: #{
    module := beamline_wasm:module_() | iodata(), % compiled when it is not
    compile => beamline_wasm:compile_options(),
    start => beamline_wasm:start_options(), % `state' is the first one of the imports
    name => gen_server:server_name(),
    id => term()                            % of the child; default: the name, else this module
}.

-record(server, {instance :: beamline_wasm:instance(), state :: term()}).

-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(#{name := Name} = Options) -> gen_server:start_link(Name, ?MODULE, Options, []);
start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    Id = maps:get(id, Options, case Options of #{name := {local, Name}} -> Name; _ -> ?MODULE end),
    #{id => Id, start => {?MODULE, start_link, [Options]}}.

%% @equiv call(Server, Name, Args, #{})
-spec call(gen_server:server_ref(), binary(), [beamline_wasm:value()]) -> {ok, [beamline_wasm:value()]} | {error, beamline_wasm:reason()}.
call(Server, Name, Args) -> call(Server, Name, Args, #{}).

%% @doc Calls a function in the server. `timeout' counts from now, waiting included; a dead server is `{error, closed}'.
-spec call(gen_server:server_ref(), binary(), [beamline_wasm:value()], #{timeout => timeout(), floats => numbers | bits}) ->
    {ok, [beamline_wasm:value()]} | {error, beamline_wasm:reason()}.
call(Server, Name, Args, Options) ->
    is_map(Options) orelse error(badarg, [Server, Name, Args, Options]),
    Timeout = maps:get(timeout, Options, 60_000),
    Timeout =:= infinity orelse is_integer(Timeout) andalso Timeout >= 0 orelse error(badarg, [Server, Name, Args, Options]),
    Deadline = case Timeout of infinity -> infinity; _ -> erlang:monotonic_time(millisecond) + Timeout end,
    ask(Server, {call, Name, Args, Options, Deadline}, case Timeout of infinity -> infinity; _ -> min(Timeout, ?MOST_MS) end).

%% @doc The instance that the server owns.
-spec instance(gen_server:server_ref()) -> {ok, beamline_wasm:instance()} | {error, beamline_wasm:reason()}.
instance(Server) -> ask(Server, instance, 60_000).

%% @doc What the imports have left as state.
-spec state(gen_server:server_ref()) -> {ok, term()} | {error, beamline_wasm:reason()}.
state(Server) -> ask(Server, state, 60_000).

%% Bad arguments are the caller's fault, not the server's.
ask(Server, Request, Timeout) ->
    try gen_server:call(Server, Request, Timeout) of
        {raise, Reason} -> error(Reason);
        Answer -> Answer
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, closed}
    end.

%% @private
-spec init(options()) -> {ok, #server{}} | {stop, term()}.
init(#{module := Module} = Options) ->
    Start = maps:get(start, Options, #{}),
    case started(compiled(Module, Options), maps:remove(owner, Start)) of
        {ok, Instance} -> {ok, #server{instance = Instance, state = maps:get(state, Start, undefined)}};
        {error, Reason} -> {stop, Reason}
    end.

compiled(Module, _) when is_reference(Module) -> {ok, Module};
compiled(Bytes, Options) -> beamline_wasm:compile(Bytes, maps:get(compile, Options, #{})).

started({ok, Module}, Start) -> beamline_wasm:start(Module, Start);
started({error, _} = Error, _) -> Error.

%% @private
-spec handle_call(term(), gen_server:from(), #server{}) ->
    {reply, term(), #server{}} | {noreply, #server{}} | {stop, term(), term(), #server{}}.
handle_call({call, Name, Args, Options, Deadline}, _From, Server) ->
    case left(Deadline) of
        0 -> {noreply, Server}; % nobody waits any more
        Timeout -> answer(Name, Args, Options#{timeout => Timeout}, Server)
    end;
handle_call(instance, _From, #server{instance = Instance} = Server) -> {reply, {ok, Instance}, Server};
handle_call(state, _From, #server{state = State} = Server) -> {reply, {ok, State}, Server};
handle_call(_, _From, Server) -> {reply, {error, {unsupported, request}}, Server}.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

answer(Name, Args, Options, #server{instance = Instance, state = State} = Server) ->
    try beamline_wasm:call(Instance, Name, Args, Options#{state => State}) of
        {ok, Results, State1} -> {reply, {ok, Results}, Server#server{state = State1}};
        {error, closed, State1} -> {stop, {shutdown, closed}, {error, closed}, Server#server{state = State1}};
        {error, Reason, State1} -> {reply, {error, Reason}, Server#server{state = State1}}
    catch
        error:badarg -> {reply, {raise, badarg}, Server}
    end.

%% @private
-spec handle_cast(term(), #server{}) -> {noreply, #server{}}.
handle_cast(_, Server) -> {noreply, Server}.
