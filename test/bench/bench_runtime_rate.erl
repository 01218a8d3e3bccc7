%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc How many empty tasks a second, from 8 processes that keep 1,000 in flight together, beside the same number of
%% empty jobs by the VM's own means.
-module(bench_runtime_rate).

-export([run/0]).

-define(POOL, bench_rate_pool).
-define(PROCESSES, 8).
-define(IN_FLIGHT, 125). % of each process
-define(JOBS, 20_000).   % of each process

-spec run() -> ok.
run() ->
    {ok, Pid} = beamline_runtime:start_link(#{name => ?POOL}),
    ok = floor_nif_dirty:load(),
    ok = beamline_bench:load_floor_driver("floor_port_async"),
    ok = line("runtime/throughput_vs_dirty", 3, "floor_nif_dirty", fun dirty/0),
    ok = line("runtime/throughput_vs_async", 5, "floor_port_async", fun async/0),
    gen_server:stop(Pid).

line(Name, Goal, Against, Floor) ->
    beamline_bench:compare(#{
        name => Name, unit => "tasks/s", better => higher, goal => Goal, against => Against,
        value => fun() -> rate(fun tasks/0) end,
        floor => fun() -> rate(Floor) end
    }).

rate(Fun) ->
    Begin = erlang:monotonic_time(nanosecond),
    Processes = [spawn_monitor(Fun) || _ <- lists:seq(1, ?PROCESSES)],
    [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Processes],
    ?PROCESSES * ?JOBS / (erlang:monotonic_time(nanosecond) - Begin) * 1.0e9.

%% A new one for each answer.
tasks() ->
    [submit() || _ <- lists:seq(1, ?IN_FLIGHT)],
    tasks(?JOBS).

tasks(0) -> ok;
tasks(Left) ->
    receive {beamline, _Ref, {ok, ok}} -> ok end,
    Left > ?IN_FLIGHT andalso submit(),
    tasks(Left - 1).

submit() -> {ok, _Ref} = beamline_runtime:submit(?POOL, noop, [], #{}).

%% A call keeps its process, so only 8 are in flight.
dirty() -> dirty(?JOBS).

dirty(0) -> ok;
dirty(N) ->
    ok = floor_nif_dirty:nothing(),
    dirty(N - 1).

%% A port of its own for each process.
async() ->
    Port = open_port({spawn_driver, "floor_port_async"}, [binary]),
    [port_command(Port, []) || _ <- lists:seq(1, ?IN_FLIGHT)],
    async(Port, ?JOBS),
    port_close(Port).

async(_, 0) -> ok;
async(Port, Left) ->
    receive {Port, ok} -> ok end,
    Left > ?IN_FLIGHT andalso port_command(Port, []),
    async(Port, Left - 1).
