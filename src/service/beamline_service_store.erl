%% SPDX-License-Identifier: Apache-2.0
%% @private Asynchronous tasks: bounded in number and bytes, kept for a time after they end.
%%
%% An id is 128 random bits and a 64-bit code over them made with the store's key, in base64url.
%% An id whose code is right was given out by this store, so `gone' needs no memory of the dead;
%% anything else is `not_found'.
-module(beamline_service_store).
-behaviour(gen_server).

-export([start_link/1, create/4, lookup/2, watch/2, delete/2, info/1]).
-export([progress/3, finished/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([id/0, task/0]).

-type id() :: binary().
-type task() :: #{
    id := id(),
    state := running | done | failed,
    created := integer(),              % system time, ms
    expires => integer(),              % once it ended
    progress => map(),                 % the newest
    outcome => beamline_service_work:outcome()
}.
-type missing() :: {error, not_found | gone | closed}.

%% What the table keeps beside a task: {Id, Task, {Pid, Ticket} | none, Bytes}.
-record(state, {
    name :: atom(),
    config :: map(),
    key :: binary(),
    table :: ets:tid() | atom(),
    bytes = 0 :: non_neg_integer(),
    watchers = #{} :: #{id() => #{reference() => pid()}}, % by monitor
    watching = #{} :: #{reference() => id()},
    tasks = #{} :: #{reference() => id()}                 % running, by monitor
}).

%% A result is seldom more than this larger than its input; what a task holds beyond is refused
%% when it ends.
-define(RESERVED(Body), (byte_size(Body) * 4 + 16384)).

-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(#{name := Name} = Config) ->
    gen_server:start_link({local, process(Name)}, ?MODULE, Config, []).

process(Name) -> beamline_service_sup:process(Name, store).

%% Starts a task, and hands the gate's ticket over to it.
-spec create(atom(), beamline_service_gate:ticket(), beamline_service_request:plan(), binary()) ->
    {ok, task()} | {error, {busy, pos_integer()} | closed}.
create(Name, Ticket, Plan, Body) ->
    case call(Name, {create, Ticket, Plan, Body}) of
        {ok, _} = Created -> Created;
        Error -> beamline_service_gate:answered(Name, Ticket), Error
    end.

-spec lookup(atom(), id()) -> {ok, task()} | missing().
lookup(Name, Id) ->
    try ets:lookup(process(Name), Id) of
        [{_, Task, _, _}] -> {ok, Task};
        [] -> call(Name, {missing, Id})
    catch
        error:badarg -> {error, closed}
    end.

%% The caller gets `{beamline_service_store, Ref, {progress, Map} | {finished, Task} | gone}'
%% until the task ends. A task that has ended already is in the answer, and no message follows.
-spec watch(atom(), id()) -> {ok, reference(), task()} | missing() | {error, {busy, pos_integer()}}.
watch(Name, Id) -> call(Name, {watch, Id}).

%% A running task is cancelled.
-spec delete(atom(), id()) -> ok | missing().
delete(Name, Id) -> call(Name, {delete, Id}).

-spec info(atom()) -> #{running | finished | bytes | watchers := non_neg_integer()} | {error, closed}.
info(Name) -> call(Name, info).

%% From the task's process.
-spec progress(pid(), id(), map()) -> ok.
progress(Store, Id, Progress) -> gen_server:cast(Store, {progress, Id, Progress}).

-spec finished(pid(), id(), beamline_service_work:outcome()) -> ok.
finished(Store, Id, Outcome) -> gen_server:cast(Store, {finished, Id, Outcome}).

call(Name, Request) ->
    try gen_server:call(process(Name), Request)
    catch exit:_ -> {error, closed} end.

-spec init(map()) -> {ok, #state{}}.
init(#{name := Name} = Config) ->
    Table = ets:new(process(Name), [named_table, protected, {read_concurrency, true}]),
    {ok, #state{name = Name, config = Config, key = crypto:strong_rand_bytes(32), table = Table}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({create, Ticket, Plan, Body}, _, State) -> create_task(Ticket, Plan, Body, State);
handle_call({watch, Id}, {Pid, _}, State) -> watch_task(Id, Pid, State);
handle_call({delete, Id}, _, State) -> delete_task(Id, State);
handle_call({missing, Id}, _, State) -> {reply, missing(Id, State), State};
handle_call(info, _, #state{table = Table, tasks = Tasks, bytes = Bytes, watching = Watching} = State) ->
    Running = map_size(Tasks),
    {reply, #{running => Running, finished => ets:info(Table, size) - Running, bytes => Bytes, watchers => map_size(Watching)}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({progress, Id, Progress}, #state{table = Table} = State) ->
    case ets:lookup(Table, Id) of
        [{_, Task, _, _}] -> ets:update_element(Table, Id, {2, Task#{progress => Progress}});
        [] -> true
    end,
    tell(Id, {progress, Progress}, State),
    {noreply, State};
handle_cast({finished, Id, Outcome}, State) -> {noreply, finish(Id, Outcome, State)}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({expire, Id}, State) -> {noreply, remove(Id, State)};
handle_info({'DOWN', Monitor, process, _, Why}, #state{tasks = Tasks} = State) ->
    case Tasks of
        #{Monitor := Id} -> {noreply, finish(Id, {error, {internal, Why}}, State#state{tasks = maps:remove(Monitor, Tasks)})};
        _ -> {noreply, unwatch(Monitor, State)}
    end;
handle_info(_, State) -> {noreply, State}.

%%% Making

create_task(Ticket, Plan, Body, #state{config = #{max_tasks := Max, max_task_bytes := MaxBytes, pool := Pool} = Config} = State) ->
    #state{name = Name, table = Table, bytes = Bytes, tasks = Tasks} = State,
    Reserved = ?RESERVED(Body),
    case ets:info(Table, size) < Max andalso Bytes + Reserved =< MaxBytes of
        true ->
            Id = new_id(State),
            Args = [self(), Id, Pool, Plan, Body],
            {ok, Pid} = supervisor:start_child(beamline_service_sup:process(Name, task_sup), Args),
            case beamline_service_gate:give(Name, Ticket, Pid) of
                {ok, Given} ->
                    Task = #{id => Id, state => running, created => erlang:system_time(millisecond)},
                    ets:insert(Table, {Id, Task, {Pid, Given}, Reserved}),
                    {reply, {ok, Task}, State#state{bytes = Bytes + Reserved, tasks = Tasks#{monitor(process, Pid) => Id}}};
                Error -> % whoever asked is gone
                    exit(Pid, shutdown),
                    {reply, Error, State}
            end;
        false ->
            {reply, {error, {busy, free_in(Table, maps:get(task_ttl, Config))}}, State}
    end.

%% Until the next result expires; a full store of running tasks may be free any time.
free_in(Table, Ttl) ->
    Now = erlang:system_time(millisecond),
    Expiries = [max(1, Expires - Now) || [#{expires := Expires}] <- ets:match(Table, {'_', '$1', '_', '_'})],
    lists:min([Ttl, 5000 | Expiries]).

new_id(#state{key = Key}) ->
    Random = crypto:strong_rand_bytes(16),
    encode(<<Random/binary, (code(Key, Random))/binary>>).

code(Key, Random) -> crypto:macN(hmac, sha256, Key, Random, 8).

encode(Bytes) -> << <<(case C of $+ -> $-; $/ -> $_; _ -> C end)>> || <<C>> <= base64:encode(Bytes) >>.

missing(Id, #state{key = Key}) when byte_size(Id) =:= 32 ->
    Plain = << <<(case C of $- -> $+; $_ -> $/; _ -> C end)>> || <<C>> <= Id >>,
    try base64:decode(Plain) of
        <<Random:16/binary, Code:8/binary>> ->
            case code(Key, Random) of
                Code -> {error, gone};
                _ -> {error, not_found}
            end;
        _ -> {error, not_found}
    catch
        error:_ -> {error, not_found}
    end;
missing(_, _) -> {error, not_found}.

%%% Ending

finish(Id, Outcome, #state{table = Table, config = #{task_ttl := Ttl}} = State) ->
    case ets:lookup(Table, Id) of
        [{_, #{state := running} = Task, {_, Ticket}, Reserved}] ->
            beamline_service_gate:answered(State#state.name, Ticket),
            {Kept, Size} = fit(Outcome, Reserved, State),
            Ended = Task#{state := ended(Kept), outcome => Kept, expires => erlang:system_time(millisecond) + Ttl},
            ets:insert(Table, {Id, Ended, none, Size}),
            _ = erlang:send_after(Ttl, self(), {expire, Id}),
            Done = forget_process(Id, State#state{bytes = State#state.bytes - Reserved + Size}),
            unwatch_all(Id, {finished, Ended}, Done);
        _ -> State
    end.

ended({done, _}) -> done;
ended({error, _}) -> failed.

%% A result that is larger than foreseen must find room.
fit(Outcome, Reserved, #state{bytes = Bytes, config = #{max_task_bytes := Max}}) ->
    case erlang:external_size(Outcome) of
        Size when Bytes - Reserved + Size =< Max -> {Outcome, Size};
        Size -> {{error, {limit, #{what => stored_results, limit => Max, asked => Size}}}, 256}
    end.

delete_task(Id, #state{table = Table} = State) ->
    case ets:lookup(Table, Id) of
        [{_, _, Runs, _}] ->
            stop(Runs, State),
            {reply, ok, remove(Id, State)};
        [] -> {reply, missing(Id, State), State}
    end.

stop(none, _) -> ok;
stop({Pid, Ticket}, #state{name = Name}) ->
    beamline_service_gate:answered(Name, Ticket),
    beamline_service_task:cancel(Pid).

remove(Id, #state{table = Table, bytes = Bytes} = State) ->
    case ets:take(Table, Id) of
        [{_, _, _, Size}] -> unwatch_all(Id, gone, forget_process(Id, State#state{bytes = Bytes - Size}));
        [] -> State
    end.

forget_process(Id, #state{tasks = Tasks} = State) ->
    Kept = maps:filter(fun(Monitor, Other) -> Other =/= Id orelse not demonitor(Monitor, [flush]) end, Tasks),
    State#state{tasks = Kept}.

%%% Watching

watch_task(Id, Pid, #state{table = Table, watchers = Watchers, watching = Watching, config = #{max_watchers := Max}} = State) ->
    case ets:lookup(Table, Id) of
        [] -> {reply, missing(Id, State), State};
        [{_, #{state := running} = Task, _, _}] when map_size(Watching) < Max ->
            Ref = monitor(process, Pid),
            Those = maps:get(Id, Watchers, #{}),
            {reply, {ok, Ref, Task}, State#state{watchers = Watchers#{Id => Those#{Ref => Pid}}, watching = Watching#{Ref => Id}}};
        [{_, #{state := running}, _, _}] -> {reply, {error, {busy, 1000}}, State};
        [{_, Task, _, _}] -> {reply, {ok, make_ref(), Task}, State}
    end.

tell(Id, Message, #state{watchers = Watchers}) ->
    maps:foreach(fun(Ref, Pid) -> Pid ! {?MODULE, Ref, Message} end, maps:get(Id, Watchers, #{})).

unwatch(Ref, #state{watching = Watching, watchers = Watchers} = State) ->
    case maps:take(Ref, Watching) of
        {Id, Rest} ->
            Those = maps:remove(Ref, maps:get(Id, Watchers)),
            Left = case map_size(Those) of 0 -> maps:remove(Id, Watchers); _ -> Watchers#{Id := Those} end,
            State#state{watching = Rest, watchers = Left};
        error -> State
    end.

unwatch_all(Id, Message, #state{watchers = Watchers, watching = Watching} = State) ->
    tell(Id, Message, State),
    Refs = maps:keys(maps:get(Id, Watchers, #{})),
    [demonitor(Ref, [flush]) || Ref <- Refs],
    State#state{watchers = maps:remove(Id, Watchers), watching = maps:without(Refs, Watching)}.
