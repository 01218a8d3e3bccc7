%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Owns the port that is a pool. When this process ends, for whatever reason, the VM closes the port, and
%% everything in flight is answered `{error, closed}'.
%%
%% Callers find a pool in an ETS table of the application, by name or pid, without asking this process:
%%     {Pool, Id, Port} | {Pool, {error, Reason}, none}
%% What the NIFs call it stands as a persistent term too, which is three times as fast to look up. (An integer: nothing
%% is collected when it goes.)
-module(beamline_runtime_pool).
-behaviour(gen_server).

-export([start_link/1, new_table/0, id/1, ids/0, port/1, pools/0, first_of_second/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(TABLE, beamline_runtime_pools).

-record(state, {pool :: beamline_runtime:pool(), port :: port() | none, host = none :: beamline_runtime_host:host() | none}).

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

%% What the NIFs call the pool.
-spec id(beamline_runtime:pool()) -> beamline_runtime_nif:id() | {error, beamline_runtime:reason()}.
id(Pool) ->
    case persistent_term:get({?MODULE, Pool}, none) of
        none -> element_of(Pool, 2);
        Id -> Id
    end.

-spec port(beamline_runtime:pool()) -> port() | {error, beamline_runtime:reason()}.
port(Pool) ->
    case element_of(Pool, 3) of
        none -> id(Pool);
        Port -> Port
    end.

element_of(Pool, N) ->
    try
        ets:lookup_element(?TABLE, Pool, N)
    catch
        error:badarg -> {error, closed}
    end.

%% True once a second and pool, about.
-spec first_of_second(beamline_runtime:pool()) -> boolean().
first_of_second(Pool) ->
    Second = erlang:monotonic_time(second),
    try ets:lookup(?TABLE, {refused, Pool}) of
        [{_, Second, none}] -> false;
        _ -> ets:insert(?TABLE, {{refused, Pool}, Second, none})
    catch
        error:badarg -> false
    end.

%% Of all pools; each has one row by its pid.
-spec ids() -> [beamline_runtime_nif:id()].
ids() -> select({{'$1', '$2', '_'}, [{is_pid, '$1'}, {is_integer, '$2'}], ['$2']}).

%% All pools, each by the name that it was given, or its pid.
-spec pools() -> [beamline_runtime:pool()].
pools() ->
    Names = select({{'$1', '_', '_'}, [{is_atom, '$1'}], ['$1']}),
    Named = [whereis(Name) || Name <- Names],
    Names ++ [Pid || Pid <- select({{'$1', '_', '_'}, [{is_pid, '$1'}], ['$1']}), not lists:member(Pid, Named)].

select(Clause) ->
    try
        ets:select(?TABLE, [Clause])
    catch
        error:badarg -> []
    end.

-spec init({map(), map()}) -> {ok, #state{}} | {stop, term()}.
init({Config, Rest}) ->
    process_flag(trap_exit, true),
    case ets:info(?TABLE, owner) of
        undefined ->
            {stop, closed};
        Application ->
            _ = monitor(process, Application),
            open(Config, Rest)
    end.

open(Config, #{name := Name} = Rest) ->
    Pool = pool_name(Name),
    forget_dead(),
    case beamline_runtime_drv:open(Config) of
        {ok, Port, Id} ->
            publish(Pool, Id, Port),
            started(prepare(Rest, Pool, Port), #state{pool = Pool, port = Port});
        {error, {unsupported, {nif, _}}} = Error ->
            %% The node boots without its library; whoever calls is told.
            publish(Pool, Error, none),
            {ok, #state{pool = Pool, port = none}};
        {error, Reason} ->
            {stop, Reason}
    end.

pool_name(undefined) -> self();
pool_name(Name) -> Name.

%% A user's operations are loaded, and an OS process is up, before the first caller comes.
prepare(#{isolation := vm, operations := Paths}, Pool, _Port) ->
    load(Paths, Pool);
prepare(#{isolation := os_process, operations := Paths, host := Config, heartbeat := Ms}, Pool, Port) ->
    case beamline_runtime_drv:remote(Port, Ms, Config) of
        ok -> beamline_runtime_host:start(Pool, Port, [filename:absname(Path) || Path <- Paths]);
        {error, _} = Error -> Error
    end.

started(ok, #state{pool = Pool} = State) ->
    beamline_runtime_log:pool_started(Pool, vm),
    {ok, State};
started({ok, Host}, #state{pool = Pool} = State) ->
    beamline_runtime_log:pool_started(Pool, os_process),
    {ok, State#state{host = Host}};
started({error, Reason}, #state{pool = Pool}) ->
    forget(Pool),
    {stop, Reason}.

publish(Pool, Id, Port) ->
    ets:insert(?TABLE, [{Key, Id, Port} || Key <- lists:usort([Pool, self()])]),
    is_integer(Id) andalso persistent_term:put({?MODULE, Pool}, Id).

%% A pool that was killed could not unlist itself. Exactly those rows: a dead pool's name may have its next pool by now.
forget_dead() -> lists:foreach(fun forget_row/1, lists:filter(fun is_dead/1, ets:tab2list(?TABLE))).

is_dead({{refused, Pool}, _, _}) -> is_pid(Pool) andalso not is_process_alive(Pool);
is_dead({_, _, Port}) -> is_port(Port) andalso erlang:port_info(Port, id) =:= undefined.

%% What the NIFs called a name's last pool stays: they say that it is closed, and its next pool puts its own there.
forget_row({Key, _, _} = Row) ->
    is_pid(Key) andalso persistent_term:erase({?MODULE, Key}),
    ets:delete_object(?TABLE, Row).

forget(Pool) -> lists:foreach(fun forget_key/1, [Pool, self(), {refused, Pool}]).

forget_key(Key) ->
    persistent_term:erase({?MODULE, Key}),
    ets:whereis(?TABLE) =:= undefined orelse ets:delete(?TABLE, Key).

%% A user's operations; a task of the pool itself, because opening a library may block.
load([], _Pool) ->
    ok;
load([Path | Paths], Pool) ->
    case beamline_runtime:call(Pool, load_operations, name_bytes(filename:absname(Path)), #{}) of
        {ok, _Names} -> load(Paths, Pool);
        {error, _} = Error -> Error
    end.

%% A binary is a name as the file system has it, in whatever encoding.
name_bytes(Path) when is_binary(Path) -> Path;
name_bytes(Path) -> unicode:characters_to_binary(Path, unicode, file:native_name_encoding()).

-spec handle_call(term(), {pid(), term()}, #state{}) -> {reply, {error, beamline_runtime:reason()}, #state{}}.
handle_call(_Request, _From, State) -> {reply, {error, {unsupported, request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
%% A port never closes by itself; somebody did it with port_close or exit.
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {port_closed, Reason}, State};
handle_info({'EXIT', Other, _Reason} = Message, State) when is_port(Other) ->
    host_info(Message, State);
handle_info({'EXIT', _Pid, normal}, State) ->
    {noreply, State}; % somebody who had linked himself to this process
handle_info({'EXIT', _Pid, Reason}, State) ->
    {stop, Reason, State};
%% The table is gone: tasks could not be cancelled any more.
handle_info({'DOWN', _, process, _, _}, State) ->
    {stop, {shutdown, closed}, State};
handle_info(Message, State) ->
    host_info(Message, State).

host_info(_Message, #state{host = none} = State) ->
    {noreply, State};
host_info(Message, #state{host = Host} = State) ->
    case beamline_runtime_host:handle(Message, Host) of
        {ok, Next} -> {noreply, State#state{host = Next}};
        ignore -> {noreply, State}
    end.

%% First unlisted: nobody finds a pool that is closing.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{pool = Pool, port = Port, host = Host}) ->
    forget(Pool),
    close(Port),
    Host =/= none andalso beamline_runtime_host:stop(Host),
    beamline_runtime_log:pool_stopped(Pool, Reason).

close(none) ->
    ok;
close(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.
