%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc What a task costs beyond its work.
-module(bench_runtime).

-export([run/0]).

-define(POOL, bench_pool).
-define(IDLE_MS, 2). % as in floor_condvar

-spec run() -> ok.
run() ->
    {ok, Pid} = beamline_runtime:start_link(#{name => ?POOL, threads => 1}),
    ok = roundtrip_idle(),
    ok = roundtrip_busy(),
    ok = zero_copy(),
    gen_server:stop(Pid),
    ok = scaling("loop"),
    ok = scaling("tasks").

%% ---- an empty task ------------------------------------------------------------

%% The pool's thread was parked and the scheduler idle, as both threads of the floor were.
roundtrip_idle() ->
    beamline_bench:compare(#{
        name => "runtime/roundtrip_idle", unit => "us", better => lower, goal => 1.3,
        against => "floor_condvar",
        value => fun() -> beamline_bench:median([idle_call_ns() || _ <- lists:seq(1, 300)]) / 1000 end,
        floor => fun() -> hd(beamline_bench:program("floor_condvar", ["300"])) / 1000 end
    }).

idle_call_ns() ->
    receive after ?IDLE_MS -> ok end,
    elapsed_ns(fun() -> {ok, ok} = beamline_runtime:call(?POOL, noop, [], #{}) end).

%% One caller that asks again at once: the pool's thread has not parked.
roundtrip_busy() ->
    ok = load_floor_driver(),
    Calls = 20000,
    beamline_bench:compare(#{
        name => "runtime/roundtrip_busy", unit => "us", better => lower, goal => 1.3,
        against => "floor_port_spin",
        value => fun() -> elapsed_ns(fun() -> call_again(Calls) end) / Calls / 1000 end,
        floor => fun() -> with_floor_port(fun(Port) -> elapsed_ns(fun() -> command_again(Port, Calls) end) end) / Calls / 1000 end
    }).

call_again(0) -> ok;
call_again(N) ->
    {ok, ok} = beamline_runtime:call(?POOL, noop, [], #{}),
    call_again(N - 1).

command_again(_Port, 0) -> ok;
command_again(Port, N) ->
    port_command(Port, []),
    receive {Port, ok} -> command_again(Port, N - 1) end.

load_floor_driver() ->
    Dir = filename:dirname(beamline_bench:built("floor_port_spin.so")),
    case erl_ddll:load(Dir, "floor_port_spin") of
        ok -> ok;
        {error, already_loaded} -> ok;
        {error, Why} -> error(erl_ddll:format_error(Why))
    end.

with_floor_port(Fun) ->
    Port = open_port({spawn_driver, "floor_port_spin"}, [binary]),
    try
        Fun(Port)
    after
        port_close(Port)
    end.

%% ---- large arguments -----------------------------------------------------------

%% Binaries go there and back by reference: their size must not matter.
zero_copy() ->
    Large = binary:copy(<<"0123456789">>, 10_000_000),
    Small = binary:copy(<<"0123456789">>, 100),
    {ok, Large} = beamline_runtime:call(?POOL, echo, Large, #{}),
    beamline_bench:compare(#{
        name => "runtime/zero_copy", unit => "us/100 MB", better => lower, goal => 1.5,
        against => "1 KB",
        value => fun() -> echo_us(Large) end,
        floor => fun() -> echo_us(Small) end
    }).

echo_us(Binary) ->
    Calls = 5000,
    Bytes = byte_size(Binary),
    elapsed_ns(fun() -> echo_again(Binary, Bytes, Calls) end) / Calls / 1000.

echo_again(_Binary, _Bytes, 0) -> ok;
echo_again(Binary, Bytes, N) ->
    {ok, Same} = beamline_runtime:call(?POOL, echo, Binary, #{}),
    Bytes = byte_size(Same),
    echo_again(Binary, Bytes, N - 1).

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
