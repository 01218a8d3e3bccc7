%% SPDX-License-Identifier: Apache-2.0
%% @doc An actor as an OTP process: it has a pid, so links, monitors, supervisors and other nodes work with it.
%%
%% `gen_server:call(Pid, Message)' answers what {@link beamline_ring:call/3} would; the process does not wait meanwhile.
%% `gen_server:cast(Pid, Message)' is {@link beamline_ring:cast/2}: what is refused is lost, as casts are. Further calls:
%% `checkpoint', `suspend', `resume', `info', `{upgrade, Opts}'.
%%
%% When the handler fails the process exits with `{actor_failed, Reason}', its supervisor starts it again, and with a
%% `checkpoint' key it goes on from its last checkpoint, which a table of the application keeps; while the device's handler does not
%% take that one it cannot start ({@link forget/1}). When the device ends
%% it exits with `device_closed'; put the device before it under rest_for_one.
%%
%% ```
%% init([]) ->
%%     {ok, {#{strategy => rest_for_one},
%%           [beamline_ring:child_spec(#{name => my_device}),
%%            beamline_ring_actor:child_spec(#{name => my_table, device => my_device, handler => kv,
%%                                             checkpoint => my_table, checkpoint_every => 1000})]}}.
%% '''
-module(beamline_ring_actor).
-behaviour(gen_server).

-export([start_link/1, child_spec/1, actor/1, forget/1, new_table/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0]).

-type options() :: #{
    device := beamline_ring:device(),
    handler := atom(),
    %% a registered name
    name => atom(),
    %% of beamline_ring:start/3, but for its `owner': that is the process
    start => beamline_ring:start_options(),
    %% where checkpoints are kept; none without it
    checkpoint => term(),
    %% milliseconds between two of them; default: only when asked
    checkpoint_every => pos_integer(),
    %% of each message, milliseconds; default 60_000
    timeout => pos_integer() | infinity
}.

-define(TABLE, beamline_ring_checkpoints).
-define(MOST_MS, 16#FFFFFFFF).

-record(state, {
    options :: options(),
    actor :: beamline_ring:actor(),
    waiting = #{} :: #{reference() => {pid(), term()} | checkpoint}
}).

%% @doc Starts one, linked to the caller.
-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(Opts) ->
    ok = check(Opts),
    case maps:get(name, Opts, undefined) of
        undefined -> gen_server:start_link(?MODULE, Opts, []);
        Name -> gen_server:start_link({local, Name}, ?MODULE, Opts, [])
    end.

%% @doc For your own supervisor.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Opts) ->
    ok = check(Opts),
    #{id => maps:get(name, Opts, maps:get(handler, Opts)), start => {?MODULE, start_link, [Opts]}, modules => [?MODULE]}.

check(#{device := _, handler := _} = Opts) -> maps:foreach(fun check/2, Opts);
check(_) -> error(badarg).

check(device, V) when is_reference(V); is_atom(V); is_pid(V) -> ok;
check(handler, V) when is_atom(V) -> ok;
check(name, V) when is_atom(V) -> ok;
check(start, V) when is_map(V), not is_map_key(owner, V) -> ok; % it is the process's, which hears of its end
check(checkpoint, _) -> ok;
check(checkpoint_every, V) when is_integer(V), V > 0, V =< ?MOST_MS -> ok;
check(timeout, V) when is_integer(V), V > 0, V =< ?MOST_MS -> ok;
check(timeout, infinity) -> ok;
check(_, _) -> error(badarg).

%% @doc The actor behind the process, for `connect' and `subscribe', and for callers of the same node that are in a hurry.
-spec actor(gen_server:server_ref()) -> {ok, beamline_ring:actor()}.
actor(Server) -> gen_server:call(Server, actor).

%% @doc Forgets the checkpoint of that key: the next start begins anew.
-spec forget(term()) -> ok.
forget(Key) ->
    true = ets:delete(?TABLE, Key),
    ok.

%% @private Called by the application's supervisor.
-spec new_table() -> ok.
new_table() ->
    ets:whereis(?TABLE) =/= undefined orelse ets:new(?TABLE, [named_table, public, set]),
    ok.

%% @private
-spec init(options()) -> {ok, #state{}} | {stop, term()}.
init(#{device := Device} = Opts) ->
    process_flag(trap_exit, true),
    case begin_or_go_on(Device, Opts) of
        {ok, Actor} ->
            ok = next_checkpoint(Opts),
            {ok, #state{options = Opts, actor = Actor}};
        {error, Reason} ->
            {stop, Reason}
    end.

begin_or_go_on(Device, #{handler := Handler} = Opts) ->
    Start = maps:get(start, Opts, #{}),
    case last_checkpoint(Opts) of
        {ok, #{handler := Handler} = Checkpoint} -> beamline_ring:restore(Device, Checkpoint, maps:without([state, state_size], Start));
        _ -> beamline_ring:start(Device, Handler, Start)
    end.

last_checkpoint(#{checkpoint := Key}) ->
    case ets:lookup(?TABLE, Key) of
        [{_, Checkpoint}] -> {ok, Checkpoint};
        [] -> none
    end;
last_checkpoint(_) -> none.

next_checkpoint(#{checkpoint := _, checkpoint_every := Ms}) -> _ = erlang:send_after(Ms, self(), checkpoint), ok;
next_checkpoint(_) -> ok.

%% @private
-spec handle_call(term(), {pid(), term()}, #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(actor, _From, #state{actor = Actor} = S) -> {reply, {ok, Actor}, S};
handle_call(info, _From, #state{actor = Actor} = S) -> {reply, beamline_ring:info(Actor), S};
handle_call(suspend, _From, #state{actor = Actor} = S) -> {reply, beamline_ring:suspend(Actor), S};
handle_call(resume, _From, #state{actor = Actor} = S) -> {reply, beamline_ring:resume(Actor), S};
handle_call(checkpoint, _From, S) -> {reply, take_checkpoint(S), S};
handle_call({upgrade, Opts}, _From, #state{actor = Actor} = S) when is_map(Opts) ->
    {reply, attempt(fun() -> beamline_ring:upgrade(Actor, Opts) end, options, <<"not options of an upgrade">>), S};
handle_call(Message, From, #state{actor = Actor, waiting = Waiting} = S) ->
    case attempt(fun() -> beamline_ring:request(Actor, Message, send_options(S)) end, message, <<"not a message">>) of
        {ok, {Ref, _}} -> {noreply, S#state{waiting = Waiting#{Ref => From}}};
        {error, _} = Error -> {reply, Error, S}
    end.

send_options(#state{options = Opts}) -> maps:with([timeout], Opts).

%% A caller's bad message is his own.
attempt(Fun, Field, Why) ->
    try
        Fun()
    catch
        error:badarg -> {error, {invalid, #{field => Field, why => Why}}}
    end.

take_checkpoint(#state{actor = Actor, options = Opts}) ->
    case beamline_ring:checkpoint(Actor) of
        {ok, Checkpoint} -> keep(Opts, Checkpoint), {ok, Checkpoint};
        {error, _} = Error -> Error
    end.

keep(#{checkpoint := Key}, Checkpoint) -> ets:insert(?TABLE, {Key, Checkpoint});
keep(_, _) -> true.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Message, #state{actor = Actor} = S) ->
    _ = attempt(fun() -> beamline_ring:cast(Actor, Message, send_options(S)) end, message, <<"not a message">>),
    {noreply, S}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({beamline, Ref, What}, #state{actor = Actor} = S) ->
    case beamline_ring:ref(Actor) of
        Ref -> told(What, S);
        _ -> {noreply, answered(Ref, What, S)}
    end;
handle_info(checkpoint, #state{options = Opts} = S) ->
    _ = take_checkpoint(S),
    ok = next_checkpoint(Opts),
    {noreply, S};
handle_info({'EXIT', _, normal}, S) -> {noreply, S}; % as for any process: who was linked and is done ends nobody
handle_info({'EXIT', _, Reason}, S) -> {stop, Reason, S};
handle_info(_, S) -> {noreply, S}.

told({failed, closed}, S) -> {stop, device_closed, S};
told({failed, Reason}, S) -> {stop, {actor_failed, Reason}, S};
told(_, S) -> {noreply, S}.

answered(Ref, Answer, #state{waiting = Waiting} = S) ->
    case maps:take(Ref, Waiting) of
        {From, Rest} -> gen_server:reply(From, Answer), S#state{waiting = Rest};
        error -> S
    end.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{actor = Actor}) -> beamline_ring:close(Actor).
