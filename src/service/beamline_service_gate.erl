%% SPDX-License-Identifier: Apache-2.0
%% @private Who is working, and whether more may come. A process that wants to read a body or
%% compute enters first; it leaves when it dies, so nothing is ever forgotten here. Who says that its answer goes out
%% makes room at once: its client may ask again before it has died.
-module(beamline_service_gate).
-behaviour(gen_server).

-export([start_link/1, enter/2, grow/3, give/3, answered/2, close/1, wait_idle/2, cancel_all/1, info/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([ticket/0]).

-type ticket() :: reference(). % the monitor of who holds it
-type refusal() :: {error, closed | {busy, pos_integer()}}.

-define(RETRY_MS, 1000).

-record(state, {
    max_count :: pos_integer(),
    max_bytes :: pos_integer(),
    open = true :: boolean(),
    cancelling = false :: boolean(), % who is given work now is told so, too
    count = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    holders = #{} :: #{ticket() => {pid(), non_neg_integer() | answered}},
    waiting = [] :: [gen_server:from()] % for nobody to be here
}).

-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(#{name := Name} = Config) ->
    gen_server:start_link({local, beamline_service_sup:process(Name, gate)}, ?MODULE, Config, []).

%% The caller enters with so many bytes.
-spec enter(atom(), non_neg_integer()) -> {ok, ticket()} | refusal().
enter(Name, Bytes) -> call(Name, {enter, Bytes}).

%% More bytes on the same ticket.
-spec grow(atom(), ticket(), pos_integer()) -> ok | refusal().
grow(Name, Ticket, Bytes) -> call(Name, {grow, Ticket, Bytes}).

%% Another process goes on with the work; its ticket is a new one.
-spec give(atom(), ticket(), pid()) -> {ok, ticket()} | refusal().
give(Name, Ticket, Pid) -> call(Name, {give, Ticket, Pid}).

%% The answer is about to go out: makes room for the next one. A drain waits for the process all the same.
-spec answered(atom(), ticket()) -> ok.
answered(Name, Ticket) -> gen_server:cast(beamline_service_sup:process(Name, gate), {answered, Ticket}).

%% From now on nobody enters.
-spec close(atom()) -> ok | refusal().
close(Name) -> call(Name, close).

-spec wait_idle(atom(), non_neg_integer()) -> ok | {error, timeout}.
wait_idle(Name, TimeoutMs) ->
    case info(Name) of
        #{count := 0} -> ok;
        {error, closed} -> ok; % no gate, nobody behind it
        #{} when TimeoutMs =:= 0 -> {error, timeout};
        #{} -> wait(Name, TimeoutMs)
    end.

wait(Name, TimeoutMs) ->
    try gen_server:call(beamline_service_sup:process(Name, gate), wait_idle, TimeoutMs)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> ok
    end.

%% Everybody gets the message `{beamline_service_gate, cancel}'.
-spec cancel_all(atom()) -> ok | refusal().
cancel_all(Name) -> call(Name, cancel_all).

-spec info(atom()) -> #{open := boolean(), count := non_neg_integer(), bytes := non_neg_integer()} | refusal().
info(Name) -> call(Name, info).

call(Name, Request) ->
    try gen_server:call(beamline_service_sup:process(Name, gate), Request)
    catch exit:_ -> {error, closed} end.

-spec init(map()) -> {ok, #state{}}.
init(#{max_in_flight := Count, max_in_flight_bytes := Bytes}) ->
    {ok, #state{max_count = Count, max_bytes = Bytes}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({enter, Bytes}, {Pid, _}, State) ->
    case admit(1, Bytes, State) of
        ok -> {Ticket, Entered} = hold(Pid, Bytes, State), {reply, {ok, Ticket}, Entered};
        Refused -> {reply, Refused, State}
    end;
handle_call({grow, Ticket, Bytes}, _, #state{holders = Holders} = State) ->
    case Holders of
        #{Ticket := {Pid, Had}} when Had =/= answered ->
            case admit(0, Bytes, State) of
                ok -> {reply, ok, State#state{holders = Holders#{Ticket := {Pid, Had + Bytes}}, bytes = State#state.bytes + Bytes}};
                Refused -> {reply, Refused, State}
            end;
        _ -> {reply, {error, closed}, State}
    end;
handle_call({give, Ticket, Pid}, _, #state{holders = Holders} = State) ->
    case Holders of
        #{Ticket := {_, Bytes}} when Bytes =/= answered ->
            State#state.cancelling andalso (Pid ! {?MODULE, cancel}),
            {New, Given} = hold(Pid, Bytes, drop(Ticket, State)),
            {reply, {ok, New}, Given};
        _ -> {reply, {error, closed}, State}
    end;
handle_call(close, _, State) -> {reply, ok, State#state{open = false}};
handle_call(wait_idle, From, State) -> {noreply, tell_idle(State#state{waiting = [From | State#state.waiting]})};
handle_call(cancel_all, _, #state{holders = Holders} = State) ->
    lists:foreach(fun({Pid, _}) -> Pid ! {?MODULE, cancel} end, maps:values(Holders)),
    {reply, ok, State#state{cancelling = true}};
handle_call(info, _, #state{open = Open, holders = Holders, bytes = Bytes} = State) ->
    {reply, #{open => Open, count => map_size(Holders), bytes => Bytes}, State}.

-spec handle_cast({answered, ticket()}, #state{}) -> {noreply, #state{}}.
handle_cast({answered, Ticket}, #state{holders = Holders} = State) ->
    case Holders of
        #{Ticket := {Pid, Held}} -> {noreply, (give_back(Held, State))#state{holders = Holders#{Ticket := {Pid, answered}}}};
        _ -> {noreply, State}
    end.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Ticket, process, _, _}, State) -> {noreply, tell_idle(drop(Ticket, State))};
handle_info(_, State) -> {noreply, State}.

admit(_, _, #state{open = false}) -> {error, closed};
admit(More, Bytes, #state{count = Count, max_count = MaxCount, bytes = Had, max_bytes = MaxBytes}) ->
    case Count + More =< MaxCount andalso Had + Bytes =< MaxBytes of
        true -> ok;
        false -> {error, {busy, ?RETRY_MS}}
    end.

hold(Pid, Bytes, #state{holders = Holders, count = Count, bytes = Had} = State) ->
    Ticket = monitor(process, Pid),
    {Ticket, State#state{holders = Holders#{Ticket => {Pid, Bytes}}, count = Count + 1, bytes = Had + Bytes}}.

drop(Ticket, #state{holders = Holders} = State) ->
    demonitor(Ticket, [flush]),
    case maps:take(Ticket, Holders) of
        {{_, Held}, Rest} -> (give_back(Held, State))#state{holders = Rest};
        error -> State
    end.

give_back(answered, State) -> State;
give_back(Bytes, #state{count = Count, bytes = Had} = State) -> State#state{count = Count - 1, bytes = Had - Bytes}.

tell_idle(#state{holders = Holders, waiting = Waiting} = State) when map_size(Holders) =:= 0 ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Waiting),
    State#state{waiting = []};
tell_idle(State) -> State.
