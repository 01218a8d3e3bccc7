%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Owns the ports of one pool: one per scheduler, so that callers do not queue for a port. When
%% this process ends, for whatever reason, the VM closes the ports, and the driver answers
%% `{error, closed}' to everything in flight.
%%
%% Callers find the ports in an ETS table of the application, without asking this process:
%%     {Pool, SchedulerId} -> Port        {Pool, error} -> {error, Reason}
-module(beamline_runtime_pool).
-behaviour(gen_server).

-export([start_link/1, new_table/0, port/1, ports/1, pools/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(TABLE, beamline_runtime_pools).
-define(DRAIN_MS, 2).
-define(DRAIN_TRIES, 500).

-record(state, {pool :: beamline_runtime:pool(), ports :: [port()]}).

-spec start_link(beamline_runtime:pool_options()) -> {ok, pid()} | {error, term()}.
start_link(Opts) ->
    {Config, Rest} = beamline_runtime_opts:pool(Opts),
    case Rest of
        #{name := undefined} -> gen_server:start_link(?MODULE, {Config, Rest}, []);
        #{name := Name} -> gen_server:start_link({local, Name}, ?MODULE, {Config, Rest}, [])
    end.

%% Called by the application's supervisor, which keeps the table as long as the application runs.
-spec new_table() -> ok.
new_table() ->
    ets:whereis(?TABLE) =/= undefined orelse
        ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}]),
    ok.

%% The port for the scheduler that the caller runs on.
-spec port(beamline_runtime:pool()) -> port() | {error, beamline_runtime:reason()}.
port(Pool) ->
    try
        ets:lookup_element(?TABLE, {Pool, erlang:system_info(scheduler_id)}, 2)
    catch
        error:badarg -> no_port(Pool)
    end.

%% A dirty scheduler has a number of its own, above all others.
no_port(Pool) ->
    try ets:lookup(?TABLE, {Pool, 1}) of
        [{_, Port}] -> Port;
        [] -> why(Pool)
    catch
        error:badarg -> {error, closed}
    end.

why(Pool) ->
    try ets:lookup(?TABLE, {Pool, error}) of
        [{_, Error}] -> Error;
        [] -> {error, closed}
    catch
        error:badarg -> {error, closed}
    end.

-spec ports(beamline_runtime:pool()) -> [port()].
ports(Pool) -> ets:select(?TABLE, [{{{Pool, '$1'}, '$2'}, [{is_integer, '$1'}], ['$2']}]).

-spec pools() -> [beamline_runtime:pool()].
pools() ->
    try
        ets:select(?TABLE, [{{{'$1', 1}, '_'}, [], ['$1']}, {{{'$1', error}, '_'}, [], ['$1']}])
    catch
        error:badarg -> []
    end.

-spec init({map(), map()}) -> {ok, #state{}} | {stop, term()}.
init({Config, #{name := Name} = Rest}) ->
    process_flag(trap_exit, true),
    Pool = pool_name(Name),
    forget(Pool),
    forget_dead(),
    case open(Rest, Config) of
        {ok, Ports} ->
            publish(Pool, Ports),
            loaded(load(maps:get(operations, Rest), Pool), #state{pool = Pool, ports = Ports});
        {error, {unsupported, {nif, _}}} = Error ->
            %% The node boots without its library; whoever calls is told.
            ets:insert(?TABLE, {{Pool, error}, Error}),
            {ok, #state{pool = Pool, ports = []}};
        {error, Reason} ->
            {stop, Reason}
    end.

pool_name(undefined) -> self();
pool_name(Name) -> Name.

loaded(ok, State) ->
    {ok, State};
loaded({error, Reason}, #state{pool = Pool}) ->
    forget(Pool),
    {stop, Reason}.

open(#{isolation := os_process}, _Config) ->
    {error, {unsupported, os_process}};
open(#{isolation := vm}, Config) ->
    case beamline_runtime_drv:open() of
        {ok, First} -> open_others(First, beamline_runtime_drv:create(First, Config));
        {error, _} = Error -> Error
    end.

open_others(First, {ok, Id}) -> open_others(erlang:system_info(schedulers) - 1, Id, [First]);
open_others(_First, {error, _} = Error) -> Error.

open_others(0, _Id, Ports) ->
    {ok, lists:reverse(Ports)};
open_others(N, Id, Ports) ->
    case beamline_runtime_drv:open() of
        {ok, Port} -> attached(beamline_runtime_drv:attach(Port, Id), N, Id, [Port | Ports]);
        {error, _} = Error -> Error
    end.

attached({ok, Id}, N, Id, Ports) -> open_others(N - 1, Id, Ports);
attached({error, _} = Error, _N, _Id, _Ports) -> Error.

publish(Pool, Ports) ->
    ets:insert(?TABLE, [{{Pool, N}, Port} || {N, Port} <- lists:zip(lists:seq(1, length(Ports)), Ports)]).

%% A pool that was killed could not unlist its ports.
forget_dead() ->
    [ets:delete(?TABLE, Key) || {Key, Port} <- ets:tab2list(?TABLE), is_port(Port), erlang:port_info(Port, id) =:= undefined],
    ok.

forget(Pool) -> ets:match_delete(?TABLE, {{Pool, '_'}, '_'}).

%% A user's operations; a task of the pool itself, because opening a library may block.
load([], _Pool) ->
    ok;
load([Path | Paths], Pool) ->
    case beamline_runtime:call(Pool, load_operations, unicode:characters_to_binary(filename:absname(Path)), #{}) of
        {ok, _Names} -> load(Paths, Pool);
        {error, _} = Error -> Error
    end.

-spec handle_call(term(), {pid(), term()}, #state{}) -> {reply, {error, beamline_runtime:reason()}, #state{}}.
handle_call(_Request, _From, State) -> {reply, {error, {unsupported, request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
%% A port never closes by itself; somebody did it with port_close or exit.
handle_info({'EXIT', Port, Reason}, #state{ports = Ports} = State) when is_port(Port) ->
    case lists:member(Port, Ports) of
        true -> {stop, {port_closed, Reason}, State};
        false -> {noreply, State}
    end;
handle_info({'EXIT', _Pid, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% First unlisted: nobody finds a port that is closing. Then drained, so that closing them is short; what
%% is not drained within the bound is answered by the closing itself.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{pool = Pool, ports = Ports}) ->
    forget(Pool),
    lists:foreach(fun beamline_runtime_drv:drain/1, Ports),
    wait_until_empty(Ports, ?DRAIN_TRIES),
    lists:foreach(fun close/1, Ports).

wait_until_empty([Port | _] = Ports, Tries) when Tries > 0 ->
    case beamline_runtime_drv:info(Port) of
        {ok, #{queued := #{low := 0, normal := 0, high := 0, critical := 0}, running := 0}} ->
            ok;
        {ok, _} ->
            receive after ?DRAIN_MS -> ok end,
            wait_until_empty(Ports, Tries - 1);
        {error, _} ->
            ok
    end;
wait_until_empty(_, _) ->
    ok.

close(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.
