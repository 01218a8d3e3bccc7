%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc What it costs that a task runs in an OS process.
-module(bench_runtime_host).

-export([run/0]).

-define(POOL, bench_host_pool).
-define(LARGE, 100_000_000).

-spec run() -> ok.
run() ->
    {ok, Pid} = beamline_runtime:start_link(#{name => ?POOL, threads => 2, isolation => os_process}),
    ok = roundtrip(),
    ok = bandwidth(),
    gen_server:stop(Pid).

%% An empty task, beside a frame of four bytes that a bare program sends back.
roundtrip() ->
    beamline_bench:compare(#{
        name => "runtime/host_roundtrip", unit => "us", better => lower, goal => 2,
        against => "floor_socket_echo",
        value => fun() -> beamline_bench:mean_us(5000, fun() -> {ok, ok} = beamline_runtime:call(?POOL, noop, [], #{}) end) end,
        floor => fun() -> with_echo(fun(Socket) -> beamline_bench:mean_us(5000, fun() -> echo(Socket) end) end) end
    }).

echo(Socket) ->
    ok = gen_tcp:send(Socket, <<"ping">>),
    receive {tcp, Socket, <<"ping">>} -> ok end.

with_echo(Fun) ->
    Path = filename:join(beamline_test:scratch_dir("bench_runtime_host"), "echo"),
    _ = file:delete(Path),
    {ok, Listening} = gen_tcp:listen(0, [{ifaddr, {local, Path}}, binary, {packet, 4}, {active, true}]),
    Program = open_port({spawn_executable, beamline_bench:built("floor_socket_echo")}, [{args, [Path]}, exit_status]),
    {ok, Socket} = gen_tcp:accept(Listening, 5000),
    try
        Fun(Socket)
    after
        gen_tcp:close(Socket),
        gen_tcp:close(Listening),
        receive {Program, {exit_status, _}} -> ok end
    end.

%% 100 MB there and back.
bandwidth() ->
    Large = binary:copy(<<"0123456789">>, ?LARGE div 10),
    beamline_bench:compare(#{
        name => "runtime/host_bandwidth", unit => "MB/s", better => higher, goal => 0.5,
        against => "floor_socket_copy",
        value => fun() -> rate(1000 * beamline_bench:mean_us(1, fun() -> send_large(Large) end)) end,
        floor => fun() -> rate(hd(beamline_bench:program("floor_socket_copy", [integer_to_list(?LARGE)]))) end
    }).

send_large(Large) ->
    {ok, Same} = beamline_runtime:call(?POOL, echo, Large, #{}),
    ?LARGE = byte_size(Same).

rate(Nanoseconds) -> 2 * ?LARGE / Nanoseconds * 1000.
