%% SPDX-License-Identifier: Apache-2.0
%% @private What the pools of this node do, hold and refused, as metrics: beamline_runtime:info/1
%% of each pool, read when somebody looks.
-module(beamline_runtime_metrics).

-export([register/0, collect/0]).

-spec register() -> ok.
register() -> beamline_metrics:collector(?MODULE, {?MODULE, collect, []}).

-spec collect() -> [beamline_metrics:family()].
collect() ->
    lists:append([pool(label(Pool), beamline_runtime:info(Pool)) || Pool <- beamline_runtime_pool:pools()]).

label(Pool) when is_atom(Pool) -> Pool;
label(Pool) -> list_to_binary(pid_to_list(Pool)).

pool(_, {error, _}) -> []; % closed, or its library is not here
pool(Pool, Info) ->
    Per = fun(Label, Keys) -> [{[{pool, Pool}, {Label, Name}], maps:get(Key, Info)} || {Name, Key} <- Keys] end,
    One = fun(Key) -> [{[{pool, Pool}], maps:get(Key, Info)}] end,
    [family(beamline_runtime_submitted_total, counter, "Tasks that were accepted.", One(submitted)),
     family(beamline_runtime_answered_total, counter, "Tasks that were answered, by how.",
            Per(outcome, [{K, K} || K <- [completed, failed, cancelled, timed_out, closed]])),
     family(beamline_runtime_refused_total, counter, "Tasks that were refused, by the bound that was reached.",
            Per(bound, [{queue, refused_queue}, {bytes, refused_bytes}, {behind, refused_behind}, {memory, refused_memory},
                        {owner, refused_owner}])),
     family(beamline_runtime_queued, gauge, "Tasks waiting, by priority.",
            [{[{pool, Pool}, {priority, Class}], N} || {Class, N} <- maps:to_list(maps:get(queued, Info))]),
     family(beamline_runtime_running, gauge, "Tasks running.", One(running)),
     family(beamline_runtime_behind, gauge, "Tasks that were answered while their operation still runs.", One(behind)),
     family(beamline_runtime_queue_bytes, gauge, "Bytes of arguments held by unfinished tasks.", One(queue_bytes)),
     family(beamline_runtime_memory_bytes, gauge, "Bytes allocated by operations.", One(memory)),
     family(beamline_runtime_memory_peak_bytes, gauge, "Most bytes allocated by operations at one time.", One(memory_peak)),
     family(beamline_runtime_threads, gauge, "Threads of the pool.", One(threads)),
     family(beamline_runtime_parked, gauge, "Threads that sleep because there is nothing to do.", One(parked)),
     family(beamline_runtime_wait_seconds, histogram, "Time from submission to start.",
            [{[{pool, Pool}], histogram(maps:get(wait, Info))}]),
     family(beamline_runtime_run_seconds, histogram, "Time from start to end of the operation.",
            [{[{pool, Pool}], histogram(maps:get(run, Info))}])] ++ host(Pool, Info).

host(Pool, #{host := #{state := State, starts := Starts, tasks := Tasks}}) ->
    [family(beamline_runtime_host_up, gauge, "Whether the pool's OS process is there.",
            [{[{pool, Pool}], case State of up -> 1; _ -> 0 end}]),
     family(beamline_runtime_host_starts_total, counter, "How often the pool's OS process was started.", [{[{pool, Pool}], Starts}]),
     family(beamline_runtime_host_tasks, gauge, "Tasks in the pool's OS process.", [{[{pool, Pool}], Tasks}])];
host(_, _) ->
    [].

family(Name, Type, Help, Samples) -> #{name => Name, type => Type, help => Help, samples => Samples}.

%% The engine's buckets end at 2^i microseconds; every second one up to 2^28 (268 s) is enough
%% for a graph.
histogram(#{sum_us := Sum, counts := Counts}) ->
    #{buckets => pairs(0, Counts), sum => Sum / 1000000, count => lists:sum(Counts)}.

pairs(0, [First | Counts]) -> [{1.0e-6, First} | pairs(2, Counts)];
pairs(I, [A, B | Counts]) when I =< 28 -> [{(1 bsl I) / 1000000, A + B} | pairs(I + 2, Counts)];
pairs(_, _) -> [].
