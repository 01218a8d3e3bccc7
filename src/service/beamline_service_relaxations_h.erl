%% SPDX-License-Identifier: Apache-2.0
%% @private POST /v1/relaxations, and with the key `work' in its options POST /v1/stability and
%% /v1/structures/Work.
%% Three ways to be answered: JSON when it is over, a stream of events, or 202 and a task to look at.
%% A client that goes away ends the first two.
-module(beamline_service_relaxations_h).
-behaviour(cowboy_loop).

-export([init/2, info/3, terminate/3]).

-define(OFFERS, [{<<"application">>, <<"json">>}, {<<"text">>, <<"event-stream">>}]).
%% A stream is not opened before there is something to tell, so that an early failure still has
%% a status of its own; but no client waits longer than this for the head of the answer.
-define(OPEN_MS, 500).

-record(state, {
    config :: map(),
    ticket :: beamline_service_gate:ticket(),
    work :: beamline_service_work:work() | none,
    stream :: json | {closed | open, beamline_service_sse:state()}
}).

-spec init(cowboy_req:req(), map()) -> {ok, cowboy_req:req(), none} | {cowboy_loop, cowboy_req:req(), #state{}}.
init(Req0, Config) ->
    try
        _ = beamline_service_http:allow([<<"POST">>], Req0),
        {_, Type} = beamline_service_http:accept(?OFFERS, Req0),
        Plan = ok(plan(beamline_service_http:input(Req0), Config)),
        {Ticket, Body, Req} = receive_body(Req0, Config),
        case Type =:= <<"json">> andalso beamline_service_request:wants_async(cowboy_req:header(<<"prefer">>, Req)) of
            true -> {ok, respond_async(Ticket, Plan, Body, Req, Config), none};
            false -> respond_here(Type, Ticket, Plan, Body, Req, Config)
        end
    catch
        throw:{problem, Reason} ->
            beamline_service_metrics:refused(Reason),
            {ok, beamline_service_http:reply_problem(Reason, route(Config), Req0), none}
    end.

plan(Input, #{work := stability} = Config) -> beamline_service_request:stability(Input, Config);
plan(Input, #{work := Work} = Config) -> beamline_service_request:structure(Work, Input, Config);
plan(Input, Config) -> beamline_service_request:relaxation(Input, Config).

route(#{work := stability}) -> stability;
route(#{work := _}) -> structures;
route(_) -> relaxations.

ok({ok, Value}) -> Value;
ok({error, Reason}) -> throw({problem, Reason}).

%% Nothing is read before there is room for what the client announces.
receive_body(Req0, #{name := Name, max_body_bytes := Max, body_timeout := Timeout}) ->
    Announced = case cowboy_req:body_length(Req0) of undefined -> 0; Length -> Length end,
    Announced =< Max orelse throw({problem, {limit, #{what => body, limit => Max, asked => Announced}}}),
    Ticket = ok(beamline_service_gate:enter(Name, Announced)),
    Grow = fun(Bytes) -> beamline_service_gate:grow(Name, Ticket, Bytes) end,
    try beamline_service_http:read_body(#{max => Max, timeout => Timeout, announced => Announced}, Grow, Req0) of
        {Body, Req} -> {Ticket, Body, Req}
    catch
        throw:Problem ->
            beamline_service_gate:answered(Name, Ticket),
            throw(Problem)
    end.

respond_async(Ticket, Plan, Body, Req, #{name := Name, prefix := Prefix} = Config) ->
    #{id := Id} = Task = ok(beamline_service_store:create(Name, Ticket, Plan, Body)),
    Fields = #{<<"location">> => [Prefix, <<"/v1/tasks/">>, Id], <<"preference-applied">> => <<"respond-async">>},
    beamline_service_http:reply_json(202, Fields, beamline_service_tasks_h:view(Task, Prefix), route(Config), Req).

respond_here(Type, Ticket, Plan, Body, Req, #{pool := Pool, heartbeat := Heartbeat} = Config) ->
    process_flag(trap_exit, true), % a client that goes away is a message now
    beamline_service_http:outlive(Req),
    Stream = case Type of
        <<"json">> -> json;
        <<"event-stream">> -> {closed, beamline_service_sse:new(cowboy_req:version(Req))}
    end,
    _ = erlang:send_after(min(?OPEN_MS, Heartbeat), self(), heartbeat),
    State = #state{config = Config, ticket = Ticket, work = none, stream = Stream},
    case went(beamline_service_work:start(Pool, Plan, Body), Req, State) of
        {ok, Req1, State1} -> {cowboy_loop, Req1, State1};
        {stop, Req1, _} -> {ok, Req1, none}
    end.

-spec info(term(), cowboy_req:req(), #state{}) -> {ok | stop, cowboy_req:req(), #state{}}.
info(heartbeat, Req, #state{config = #{heartbeat := Heartbeat}} = State) ->
    beamline_service_http:outlive(Req),
    _ = erlang:send_after(Heartbeat, self(), heartbeat),
    stream(fun beamline_service_sse:heartbeat/1, Req, State);
info({data_ack, _}, Req, State) -> stream(fun beamline_service_sse:taken/1, Req, State);
info({beamline_service_gate, cancel}, Req, #state{work = Work} = State) when Work =/= none ->
    beamline_service_metrics:cancelled(drain),
    beamline_service_work:cancel(Work),
    went({finished, {error, closed}}, Req, State);
info(Message, Req, #state{work = Work} = State) when Work =/= none ->
    went(beamline_service_work:message(Message, Work), Req, State);
info(_, Req, State) -> {ok, Req, State}.

%% The client is gone, or the connection is being stopped.
-spec terminate(term(), cowboy_req:req(), term()) -> ok.
terminate(_, _, #state{work = Work}) when Work =/= none ->
    beamline_service_metrics:cancelled(client),
    beamline_service_work:cancel(Work);
terminate(_, _, _) -> ok.

went({running, Work}, Req, State) -> {ok, Req, State#state{work = Work}};
went({progress, Progress, Work}, Req, State) ->
    stream(fun(S) -> beamline_service_sse:progress(Progress, S) end, Req, State#state{work = Work});
went({finished, Outcome}, Req, #state{config = #{name := Name}, ticket = Ticket} = State) ->
    beamline_service_gate:answered(Name, Ticket),
    answer(Outcome, Req, State#state{work = none});
went(not_mine, Req, State) -> {ok, Req, State}.

answer({done, Result}, Req, #state{stream = json} = State) ->
    {stop, beamline_service_http:reply_json(200, #{}, Result, route(State#state.config), Req), State};
answer({error, Reason}, Req, #state{stream = {open, _}} = State) ->
    {_, _, Body} = beamline_service_problem:from(Reason),
    stream(fun(S) -> beamline_service_sse:last(beamline_service_sse:event(problem, Body), S) end, Req, State);
answer({done, Result}, Req, State) ->
    stream(fun(S) -> beamline_service_sse:last(beamline_service_sse:event(result, Result), S) end, Req, State);
answer({error, Reason}, Req, State) ->
    beamline_service_metrics:refused(Reason),
    {stop, beamline_service_http:reply_problem(Reason, route(State#state.config), Req), State}.

%% Tells the stream something and sends what it wants to send; opens it when it is time.
stream(_, Req, #state{stream = json} = State) -> {ok, Req, State};
stream(Tell, Req, #state{stream = {closed, Stream}} = State) ->
    Opened = beamline_service_http:open_stream(route(State#state.config), Req),
    stream(Tell, Opened, State#state{stream = {open, Stream}});
stream(Tell, Req, #state{stream = {open, Stream}} = State) ->
    {Status, Next} = beamline_service_http:flush(Tell(Stream), Req),
    {case Status of done -> stop; open -> ok end, Req, State#state{stream = {open, Next}}}.
