%% SPDX-License-Identifier: Apache-2.0
%% @doc What the VM itself knows, as metrics: memory by kind, processes, run queue, uptime.
-module(beamline_metrics_vm).

-export([register/0, collect/0]).

%% @doc Registers the collector. Calling it again changes nothing.
-spec register() -> ok.
register() -> beamline_metrics:collector(?MODULE, {?MODULE, collect, []}).

%% @private
-spec collect() -> [beamline_metrics:family()].
collect() ->
    Kinds = [processes, binary, ets, code, atom, system],
    {Uptime, _} = erlang:statistics(wall_clock),
    [gauge(beamline_vm_memory_bytes, "Memory of the Erlang VM by kind; 'system' includes all but processes.",
           [{[{kind, Kind}], Bytes} || {Kind, Bytes} <- erlang:memory(Kinds)]),
     gauge(beamline_vm_processes, "Erlang processes.", [{[], erlang:system_info(process_count)}]),
     gauge(beamline_vm_run_queue_length, "Processes and ports ready to run.", [{[], erlang:statistics(run_queue)}]),
     gauge(beamline_vm_uptime_seconds, "Time since the VM started.", [{[], Uptime / 1000}])].

gauge(Name, Help, Samples) -> #{name => Name, type => gauge, help => Help, samples => Samples}.
