%% SPDX-License-Identifier: Apache-2.0
%% @private What the devices of this node do, hold and refused, as metrics; read when somebody looks.
-module(beamline_ring_metrics).

-export([register/0, collect/0]).

-spec register() -> ok.
register() -> beamline_metrics:collector(?MODULE, {?MODULE, collect, []}).

-spec collect() -> [beamline_metrics:family()].
collect() ->
    case beamline_ring:devices() of
        {error, _} -> []; % the library is not here
        {Open, Devices} ->
            [family(beamline_ring_requests, gauge, "Requests without an answer.", [{[], Open}])
             | [family(Name, Type, Help, [{[{device, Number}], maps:get(Key, Device)} || #{number := Number} = Device <- Devices])
                || {Name, Type, Key, Help} <- families()]]
    end.

families() ->
    [{beamline_ring_handled_total, counter, handled, "Messages that a handler took."},
     {beamline_ring_busy_total, counter, busy, "Messages that found no room."},
     {beamline_ring_expired_total, counter, expired, "Messages whose deadline passed before they were handled."},
     {beamline_ring_undelivered_total, counter, undelivered, "Casts whose sender was told that they were not handled."},
     {beamline_ring_failed_total, counter, failed, "Actors that failed."},
     {beamline_ring_lost_threads_total, counter, lost_total, "Handlers that were given up."},
     {beamline_ring_moved_aside_total, counter, moved_aside, "Actors that were moved aside because a message took long."},
     {beamline_ring_started_total, counter, started, "Actors that were started."},
     {beamline_ring_actors, gauge, actors, "Actors."},
     {beamline_ring_buffers, gauge, buffers, "Buffers and views."},
     {beamline_ring_lost_threads, gauge, lost, "Threads that are in a handler which was given up."},
     {beamline_ring_memory_bytes, gauge, memory, "Bytes of actors, buffers and messages."},
     {beamline_ring_threads, gauge, threads, "Threads, without those for long handlers."},
     {beamline_ring_parked, gauge, parked, "Threads that sleep because there is nothing to do."}].

family(Name, Type, Help, Samples) -> #{name => Name, type => Type, help => Help, samples => Samples}.
