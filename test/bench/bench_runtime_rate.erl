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
-define(TOGETHER, 10).   % times as many, to take as long

-spec run() -> ok.
run() ->
    {ok, Pid} = beamline_runtime:start_link(#{name => ?POOL}),
    ok = floor_nif_dirty:load(),
    ok = beamline_bench:load_floor_driver("floor_port_async"),
    ok = line("runtime/throughput_vs_dirty", #{goal => 3}, "floor_nif_dirty", fun() -> rate(?TOGETHER, fun together/0) end, fun dirty/0),
    ok = line("runtime/throughput_vs_async", #{goal => 5}, "floor_port_async", fun() -> rate(?TOGETHER, fun together/0) end, fun async/0),
    ok = line("runtime/throughput_singly_vs_dirty", #{}, "floor_nif_dirty", fun() -> rate(1, fun singly/0) end, fun dirty/0),
    ok = line("runtime/throughput_singly_vs_async", #{}, "floor_port_async", fun() -> rate(1, fun singly/0) end, fun async/0),
    gen_server:stop(Pid).

line(Name, Goal, Against, Tasks, Floor) ->
    beamline_bench:compare(Goal#{
        name => Name, unit => "tasks/s", better => higher, against => Against,
        value => Tasks,
        floor => fun() -> rate(1, Floor) end
    }).

rate(Times, Fun) ->
    Begin = erlang:monotonic_time(nanosecond),
    Processes = [spawn_monitor(Fun) || _ <- lists:seq(1, ?PROCESSES)],
    [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Processes],
    Times * ?PROCESSES * ?JOBS / (erlang:monotonic_time(nanosecond) - Begin) * 1.0e9.

%% As many as each process may have in flight, handed over together.
together() ->
    Empty = lists:duplicate(?IN_FLIGHT, []),
    Expected = lists:duplicate(?IN_FLIGHT, {ok, ok}),
    [Expected = beamline_runtime:map(?POOL, noop, Empty, #{piece => ?IN_FLIGHT}) || _ <- lists:seq(1, ?TOGETHER * ?JOBS div ?IN_FLIGHT)],
    ok.

%% One by one, a new one for each answer.
singly() ->
    [submit() || _ <- lists:seq(1, ?IN_FLIGHT)],
    singly(?JOBS).

singly(0) -> ok;
singly(Left) ->
    receive {beamline, _Ref, {ok, ok}} -> ok end,
    Left > ?IN_FLIGHT andalso submit(),
    singly(Left - 1).

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
