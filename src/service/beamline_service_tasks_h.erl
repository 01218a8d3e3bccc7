%% SPDX-License-Identifier: Apache-2.0
%% @private /v1/tasks/ID (GET, HEAD, DELETE) and /v1/tasks/ID/events (GET).
-module(beamline_service_tasks_h).
-behaviour(cowboy_loop).

-export([init/2, info/3, view/2]).

-record(state, {config :: map(), ref :: reference(), stream :: beamline_service_sse:state()}).

-spec init(cowboy_req:req(), map()) -> {ok, cowboy_req:req(), none} | {cowboy_loop, cowboy_req:req(), #state{}}.
init(Req, #{view := View} = Config) ->
    try serve(View, cowboy_req:binding(id, Req), Req, Config)
    catch
        throw:{problem, Reason} -> {ok, beamline_service_http:reply_problem(Reason, route(Config), Req), none}
    end.

serve(task, Id, Req, Config) ->
    Method = beamline_service_http:allow([<<"GET">>, <<"HEAD">>, <<"DELETE">>], Req),
    {ok, task(Method, Id, Req, Config), none};
serve(events, Id, Req, #{name := Name} = Config) ->
    _ = beamline_service_http:allow([<<"GET">>], Req),
    _ = beamline_service_http:accept([{<<"text">>, <<"event-stream">>}], Req),
    events(beamline_service_store:watch(Name, Id), Req, Config).

route(#{view := task}) -> task;
route(#{view := events}) -> task_events.

task(<<"DELETE">>, Id, Req, #{name := Name}) ->
    case beamline_service_store:delete(Name, Id) of
        ok ->
            beamline_service_metrics:request(task, 204),
            cowboy_req:reply(204, #{}, Req);
        {error, Reason} -> throw({problem, Reason})
    end;
task(_, Id, Req, #{name := Name, prefix := Prefix}) ->
    _ = beamline_service_http:accept([{<<"application">>, <<"json">>}], Req),
    case beamline_service_store:lookup(Name, Id) of
        {ok, Task} -> beamline_service_http:reply_json(200, #{}, view(Task, Prefix), task, Req);
        {error, Reason} -> throw({problem, Reason})
    end.

%% A task as its JSON.
-spec view(beamline_service_store:task(), binary()) -> map().
view(#{id := Id, state := State, created := Created} = Task, Prefix) ->
    Self = <<Prefix/binary, "/v1/tasks/", Id/binary>>,
    maps:merge(ended(Task), #{id => Id, state => State, created => time(Created),
                              links => #{self => Self, events => <<Self/binary, "/events">>}}).

ended(#{outcome := Outcome, expires := Expires}) ->
    maps:merge(outcome(Outcome), #{expires => time(Expires)});
ended(#{progress := Progress}) -> #{progress => Progress};
ended(_) -> #{}.

outcome({done, Result}) -> #{result => Result};
outcome({error, Reason}) ->
    {_, _, Problem} = beamline_service_problem:from(Reason),
    #{problem => Problem}.

time(Ms) -> list_to_binary(calendar:system_time_to_rfc3339(Ms, [{unit, millisecond}, {offset, "Z"}])).

%%% Events

events({ok, Ref, Task}, Req0, #{heartbeat := Heartbeat} = Config) ->
    beamline_service_http:outlive(Req0),
    Req = beamline_service_http:open_stream(task_events, Req0),
    _ = erlang:send_after(Heartbeat, self(), heartbeat),
    State = #state{config = Config, ref = Ref, stream = beamline_service_sse:new(cowboy_req:version(Req))},
    case stream(fun(S) -> first(Task, S) end, Req, State) of
        {ok, _, Next} -> {cowboy_loop, Req, Next};
        {stop, _, _} -> {ok, Req, none}
    end;
events({error, Reason}, _, _) -> throw({problem, Reason}).

first(#{outcome := Outcome}, Stream) -> beamline_service_sse:last(last_event(Outcome), Stream);
first(#{progress := Progress}, Stream) -> beamline_service_sse:progress(Progress, Stream);
first(_, Stream) -> beamline_service_sse:heartbeat(Stream).

last_event({done, Result}) -> beamline_service_sse:event(result, Result);
last_event({error, Reason}) ->
    {_, _, Problem} = beamline_service_problem:from(Reason),
    beamline_service_sse:event(problem, Problem).

-spec info(term(), cowboy_req:req(), #state{}) -> {ok | stop, cowboy_req:req(), #state{}}.
info({beamline_service_store, Ref, News}, Req, #state{ref = Ref} = State) ->
    stream(fun(S) -> news(News, S) end, Req, State);
info({data_ack, _}, Req, State) -> stream(fun beamline_service_sse:taken/1, Req, State);
info(heartbeat, Req, #state{config = #{heartbeat := Heartbeat}} = State) ->
    beamline_service_http:outlive(Req),
    _ = erlang:send_after(Heartbeat, self(), heartbeat),
    stream(fun beamline_service_sse:heartbeat/1, Req, State);
info(_, Req, State) -> {ok, Req, State}.

news({progress, Progress}, Stream) -> beamline_service_sse:progress(Progress, Stream);
news({finished, #{outcome := Outcome}}, Stream) -> beamline_service_sse:last(last_event(Outcome), Stream);
news(gone, Stream) -> beamline_service_sse:last(last_event({error, gone}), Stream).

stream(Tell, Req, #state{stream = Stream} = State) ->
    {Status, Next} = beamline_service_http:flush(Tell(Stream), Req),
    {case Status of done -> stop; open -> ok end, Req, State#state{stream = Next}}.
