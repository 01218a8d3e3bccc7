%% SPDX-License-Identifier: Apache-2.0
%% @private What the services of this node count. Names and meanings: doc/service.md.
-module(beamline_service_metrics).

-export([register/1, request/2, finished/3, refused/1, cancelled/1, event_sent/0]).
-export([collect/1]).

-spec register(atom()) -> ok.
register(Name) ->
    [ok = beamline_metrics:Type(Metric, Options) || {Type, Metric, Options} <- metrics()],
    ok = beamline_metrics:collector(beamline_service_sup:process(Name, gate), {?MODULE, collect, [Name]}).

metrics() ->
    [{counter, beamline_service_requests_total,
      #{help => "Answers by route and HTTP status.", labels => [route, status]}},
     {counter, beamline_service_relaxations_total,
      #{help => "Relaxations that ended, by outcome: done, cancelled, or the reason of a failure.", labels => [outcome]}},
     {counter, beamline_service_structures_total,
      #{help => "Requests about structures that ended, by outcome: done, cancelled, or the reason of a failure.", labels => [outcome]}},
     {histogram, beamline_service_relaxation_seconds,
      #{help => "Time from the request's body to the outcome, for relaxations that were done.", divisor => 1000000,
        buckets => [1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000,
                    10000000, 30000000, 60000000, 300000000, 600000000]}},
     {counter, beamline_service_refused_total,
      #{help => "Requests for work that were answered with a problem, by reason.", labels => [reason]}},
     {counter, beamline_service_cancelled_total,
      #{help => "Running work that was cancelled, by whom: client (went away), delete, drain.", labels => [by]}},
     {counter, beamline_service_events_total,
      #{help => "Chunks sent on event streams, heartbeats included."}}].

-spec request(atom(), 200..599) -> ok.
request(Route, Status) -> beamline_metrics:add(beamline_service_requests_total, [Route, Status], 1).

-spec finished(relaxation | structure, cancelled | beamline_service_work:outcome(), integer()) -> ok.
finished(structure, Outcome, _) -> beamline_metrics:add(beamline_service_structures_total, [outcome(Outcome)], 1);
finished(relaxation, Outcome, Us) ->
    case Outcome of
        {done, _} -> beamline_metrics:observe(beamline_service_relaxation_seconds, Us);
        _ -> ok
    end,
    beamline_metrics:add(beamline_service_relaxations_total, [outcome(Outcome)], 1).

outcome({done, _}) -> done;
outcome({error, Reason}) -> name(Reason);
outcome(cancelled) -> cancelled.

-spec refused(beamline_service_problem:reason()) -> ok.
refused(Reason) -> beamline_metrics:add(beamline_service_refused_total, [name(Reason)], 1).

-spec cancelled(client | delete | drain) -> ok.
cancelled(By) -> beamline_metrics:add(beamline_service_cancelled_total, [By], 1).

-spec event_sent() -> ok.
event_sent() -> beamline_metrics:add(beamline_service_events_total, 1).

name({Name, _}) -> Name;
name(Name) -> Name.

%% What is known without counting. A service that is not running contributes nothing.
-spec collect(atom()) -> [beamline_metrics:family()].
collect(Name) ->
    case {beamline_service_gate:info(Name), beamline_service_store:info(Name)} of
        {#{open := Open, count := Count, bytes := Bytes},
         #{running := Running, finished := Finished, bytes := Kept, watchers := Watchers}} ->
            Accepting = case Open of true -> 1; false -> 0 end,
            [gauge(Name, beamline_service_accepting, "1 while new work is taken, 0 while draining.", Accepting),
             gauge(Name, beamline_service_in_flight, "Relaxations being read or computed.", Count),
             gauge(Name, beamline_service_in_flight_bytes, "Bytes of their bodies.", Bytes),
             gauge(Name, beamline_service_connections, "Open connections.", beamline_service_listener:connections(Name)),
             gauge(Name, beamline_service_watchers, "Open event streams of asynchronous tasks.", Watchers),
             gauge(Name, beamline_service_stored_bytes, "Bytes kept or reserved for asynchronous tasks.", Kept),
             #{name => beamline_service_tasks, type => gauge, help => "Asynchronous tasks by state.",
               samples => [{[{service, Name}, {state, running}], Running}, {[{service, Name}, {state, finished}], Finished}]}];
        _ -> []
    end.

gauge(Name, Metric, Help, Value) ->
    #{name => Metric, type => gauge, help => Help, samples => [{[{service, Name}], Value}]}.
