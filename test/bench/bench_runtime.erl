%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc What a task costs beyond its work.
-module(bench_runtime).

-export([run/0]).

-define(POOL, bench_pool).
-define(SHORT_ROUNDS, 41).
-define(IDLE_MS, 2). % as in floor_condvar

-spec run() -> ok.
run() ->
    {ok, Pid} = beamline_runtime:start_link(#{name => ?POOL, threads => 1}),
    ok = roundtrip_idle(),
    ok = roundtrip_idle_erlang(),
    ok = roundtrip_idle_port(),
    ok = roundtrip_busy(),
    ok = zero_copy(),
    gen_server:stop(Pid),
    ok = scaling("loop"),
    ok = scaling("tasks").

%% ---- an empty task ------------------------------------------------------------

%% From C to C: the pool's thread was parked and the caller asleep, as both threads of the floor were.
roundtrip_idle() ->
    beamline_bench:compare(#{
        name => "runtime/roundtrip_idle", unit => "us", better => lower, goal => 1.3,
        against => "floor_condvar",
        value => fun() -> hd(beamline_bench:program("bench_roundtrip", ["300"])) / 1000 end,
        floor => fun() -> hd(beamline_bench:program("floor_condvar", ["300"])) / 1000 end
    }).

%% From Erlang, where the VM's scheduler sleeps and wakes as well. For information: the next line says what of it is ours.
roundtrip_idle_erlang() ->
    beamline_bench:compare(#{
        name => "runtime/roundtrip_idle_erlang", unit => "us", better => lower,
        against => "floor_condvar",
        value => fun() -> idle_us(fun call/0) end,
        floor => fun() -> hd(beamline_bench:program("floor_condvar", ["300"])) / 1000 end
    }).

%% The same beside a sleeping thread behind a bare port: what the VM itself costs is in both.
roundtrip_idle_port() ->
    beamline_bench:compare(#{
        name => "runtime/roundtrip_idle_port", unit => "us", better => lower,
        against => "floor_port_sleep",
        value => fun() -> idle_us(fun call/0) end,
        floor => fun() -> with_floor_port("floor_port_sleep", fun(Port) -> idle_us(fun() -> command(Port) end) end) end
    }).

idle_us(Fun) ->
    Times = [begin receive after ?IDLE_MS -> ok end, elapsed_ns(Fun) end || _ <- lists:seq(1, 300)],
    beamline_bench:median(Times) / 1000.

call() -> {ok, ok} = beamline_runtime:call(?POOL, noop, [], #{}).

command(Port) ->
    port_command(Port, []),
    receive {Port, ok} -> ok end.

%% One caller that asks again at once: the pool's thread has not parked.
roundtrip_busy() ->
    beamline_bench:compare(#{
        name => "runtime/roundtrip_busy", unit => "us", better => lower, goal => 1.3, rounds => ?SHORT_ROUNDS,
        against => "floor_port_spin",
        value => fun() -> busy_us(fun call/0) end,
        floor => fun() -> with_floor_port("floor_port_spin", fun(Port) -> busy_us(fun() -> command(Port) end) end) end
    }).

%% How soon the VM wakes a process changes from one moment to the next by a factor of ten: both sides of many short
%% rounds see the same moments.
busy_us(Fun) -> beamline_bench:mean_us(3000, Fun).

with_floor_port(Driver, Fun) ->
    ok = beamline_bench:load_floor_driver(Driver),
    Port = open_port({spawn_driver, Driver}, [binary]),
    try
        Fun(Port)
    after
        port_close(Port)
    end.

%% ---- large arguments -----------------------------------------------------------

%% Binaries go there and back by reference: their size must not matter. To the VM it does: a process is collected when what came to
%% it exceeds its virtual heap for binaries, here with each large one. The first line is of a caller that has room for some of them,
%% the second of one that was spawned without options.
zero_copy() ->
    Large = binary:copy(<<"0123456789">>, 10_000_000),
    Small = binary:copy(<<"0123456789">>, 100),
    {ok, Large} = beamline_runtime:call(?POOL, echo, Large, #{}),
    Room = [{min_bin_vheap_size, 200_000_000}, {min_heap_size, 2000}], % in words; alone the first has no effect (OTP 25)
    [ok = beamline_bench:compare(Goal#{
        name => Name, unit => "us/100 MB", better => lower, rounds => ?SHORT_ROUNDS,
        against => "1 KB",
        value => fun() -> echo_us(Large, Options) end,
        floor => fun() -> echo_us(Small, Options) end
     }) || {Name, Goal, Options} <- [{"runtime/zero_copy", #{goal => 1.5}, Room}, {"runtime/zero_copy_plain", #{}, []}]],
    ok.

%% In a process of its own: the bench's heap is not collected with it.
echo_us(Binary, Options) ->
    Bytes = byte_size(Binary),
    {Pid, Monitor} = spawn_opt(fun() -> exit({us, busy_us(fun() ->
        {ok, Same} = beamline_runtime:call(?POOL, echo, Binary, #{}),
        Bytes = byte_size(Same)
    end)}) end, [monitor | Options]),
    receive {'DOWN', Monitor, process, Pid, {us, Us}} -> Us end.

%% ---- two threads ----------------------------------------------------------------

%% Times as fast as on one thread; beside two bare pthreads on the same work.
scaling(How) ->
    beamline_bench:compare(#{
        name => "runtime/scaling_2_" ++ How, unit => "x", better => higher, goal => 0.93,
        against => "floor_pthreads",
        value => fun() -> gain(beamline_bench:program("bench_scaling", [How])) end,
        floor => fun() -> gain(beamline_bench:program("floor_pthreads", [])) end
    }).

gain([One, Two]) -> One / Two.

elapsed_ns(Fun) ->
    Begin = erlang:monotonic_time(nanosecond),
    _ = Fun(),
    erlang:monotonic_time(nanosecond) - Begin.
