%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc How soon: the start of an urgent task, the answer to a cancel, a thread that nobody needs any more.
-module(bench_runtime_soon).

-export([run/0]).

-define(POOL, bench_soon_pool).
-define(TASK_MS, 20).       % one running task
-define(QUEUED, 10_000).
-define(FOREVER, 1 bsl 50). % steps of probe_spin, which computes and listens at each 2^18th

-spec run() -> ok.
run() ->
    Probes = beamline_test:built_file("runtime/probe_operations.so"),
    {ok, Pid} = beamline_runtime:start_link(#{name => ?POOL, threads => 1, max_queue => 2 * ?QUEUED, operations => [Probes]}),
    ok = limit("runtime/priority_start", "tasks", 1.5, fun() -> behind_a_queue(fun start_of_high/0) end),
    ok = limit("runtime/cancel_p99", "us", 1000, fun() -> p99(500, fun cancel/0) end),
    ok = limit("runtime/cancel_free_p99", "us", 5000, fun() -> p99(500, fun free_after_cancel/0) end),
    ok = limit("runtime/owner_death_p99", "us", 5000, fun() -> p99(500, fun free_after_death/0) end),
    gen_server:stop(Pid).

limit(Name, Unit, Limit, Value) ->
    beamline_bench:compare(#{
        name => Name, unit => Unit, better => lower, goal => 1, against => "limit", value => Value, floor => fun() -> Limit end
    }).

%% ---- a queue of low tasks ----

%% The longest of 20 waits, in lengths of a running task.
behind_a_queue(Wait) ->
    Owner = owner(fun() -> [submit(probe_wait, ?TASK_MS, #{priority => low, timeout => infinity}) || _ <- lists:seq(0, ?QUEUED)] end),
    try
        lists:max([Wait() || _ <- lists:seq(1, 20)])
    after
        exit(Owner, kill),
        ok = beamline_test:eventually(fun() -> maps:get(running, beamline_runtime:info(?POOL)) =:= 0 end)
    end.

%% An empty task is answered when it starts. Not always at the same point of the running one.
start_of_high() ->
    receive after rand:uniform(?TASK_MS) -> ok end,
    {Us, {ok, ok}} = timed_us(fun() -> beamline_runtime:call(?POOL, noop, [], #{priority => high}) end),
    Us / 1000 / ?TASK_MS.

%% ---- the end of a running task ----

p99(Times, Fun) -> lists:nth(Times * 99 div 100, lists:sort([Fun() || _ <- lists:seq(1, Times)])).

cancel() ->
    Ref = running(),
    {Us, {error, cancelled}} = timed_us(fun() -> cancelled(Ref) end),
    Us.

free_after_cancel() ->
    Ref = running(),
    until_next_us(fun() -> {error, cancelled} = cancelled(Ref) end).

free_after_death() ->
    Owner = owner(fun running/0),
    until_next_us(fun() -> exit(Owner, kill) end).

cancelled(Ref) ->
    ok = beamline_runtime:cancel(Ref),
    beamline_runtime:await(Ref).

%% The next task waits for the only thread.
until_next_us(End) ->
    Next = submit(noop, [], #{}),
    {Us, {ok, ok}} = timed_us(fun() -> End(), beamline_runtime:await(Next) end),
    Us.

%% A task that computes, alone in the pool.
running() ->
    Ref = submit(probe_spin, ?FOREVER, #{}),
    ok = wait_until_running(),
    Ref.

wait_until_running() ->
    case beamline_runtime:info(?POOL) of
        #{running := 1, behind := 0} -> ok;
        _ -> wait_until_running()
    end.

%% ---- tools ----

submit(Op, Args, Opts) ->
    {ok, Ref} = beamline_runtime:submit(?POOL, Op, Args, Opts),
    Ref.

%% A process that has submitted, and lives on.
owner(Submit) ->
    Self = self(),
    Pid = spawn(fun() -> Submit(), Self ! {ready, self()}, receive after infinity -> ok end end),
    receive {ready, Pid} -> Pid end.

timed_us(Fun) ->
    Begin = erlang:monotonic_time(nanosecond),
    Result = Fun(),
    {(erlang:monotonic_time(nanosecond) - Begin) / 1000, Result}.
