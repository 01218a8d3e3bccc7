%% SPDX-License-Identifier: Apache-2.0
%% Devices in OS processes: what any device does, and what happens when the process ends.
-module(beamline_ring_process_tests).

-include_lib("eunit/include/eunit.hrl").

%%% The tests of beamline_ring_tests and beamline_ring_guest_tests, but for those of what is not the same there

%% That nothing is copied; `lost' threads, which end the process; what is asked of the device in the VM alone; modules that were
%% compiled in the VM; a VM without the library.
-define(NOT_THE_SAME, [a_runaway_is_failed_at_its_deadline_and_its_thread_replaced_test_,
                       devices_and_actors_live_on_without_a_term_test, there_is_no_gpu_here_test, large_binaries_are_not_copied_test,
                       a_compiled_module_serves_several_devices_test, without_the_library_all_else_works_test_]).

the_same_as_in_the_vm_test_() ->
    [conforms(Module, Name, atom_to_list(Name)) || Module <- [beamline_ring_tests, beamline_ring_guest_tests],
                                                   {Name, 0} <- Module:module_info(exports), not lists:member(Name, ?NOT_THE_SAME)].

conforms(Module, Name, Text) ->
    case {lists:suffix("_test", Text), lists:suffix("_test_", Text)} of
        {true, _} -> {Text, {timeout, 30, in_process(fun Module:Name/0)}};
        {_, true} ->
            {timeout, Seconds, Fun} = Module:Name(),
            {Text, {timeout, Seconds, in_process(Fun)}};
        _ -> []
    end.

%% Each in a process of its own, as EUnit does for tests by themselves: what the last one's device still tells goes nowhere.
in_process(Fun) ->
    fun() ->
        {Pid, Monitor} = spawn_monitor(fun() -> put(ring_isolation, os_process), exit(result(Fun)) end),
        receive
            {'DOWN', Monitor, process, Pid, passed} -> ok;
            {'DOWN', Monitor, process, Pid, {Class, Reason, Stack}} -> erlang:raise(Class, Reason, Stack)
        end
    end.

result(Fun) ->
    try Fun() of
        _ -> passed
    catch
        Class:Reason:Stack -> {Class, Reason, Stack}
    end.

%%% Faults

with_device(Fun) -> with_device(#{}, Fun).

with_device(Opts, Fun) ->
    {Before, _} = beamline_ring:devices(),
    {ok, Device} = beamline_ring:open(maps:merge(#{threads => 1, isolation => os_process,
                                                   handlers => [beamline_test:built_file("ring/faulty_operations.so")]}, Opts)),
    {ok, #{number := Number, host := #{pid := Pid}}} = beamline_ring:info(Device),
    try
        Fun(Device)
    after
        {ok, #{host := #{pid := Last}}} = beamline_ring:info(Device),
        ok = beamline_ring:close(Device),
        beamline_test:eventually(fun() ->
            {Open, Devices} = beamline_ring:devices(),
            Open =< Before andalso [] =:= [D || #{number := N} = D <- Devices, N =:= Number]
        end),
        [beamline_test:eventually(fun() -> not is_alive(P) end) || P <- [Pid, Last], P =/= 0]
    end.

%% A process that was waited for is not there any more, a zombie is.
is_alive(Pid) -> filelib:is_dir("/proc/" ++ integer_to_list(Pid)).

host(Device) -> {ok, #{host := Host}} = beamline_ring:info(Device), Host.

signal(Device, Signal) ->
    #{pid := Pid} = host(Device),
    [] = os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(Pid)).

%% The next process is up; `N' of them have been.
await_start(Device, N) ->
    beamline_test:eventually(fun() -> #{state := S, starts := Starts} = host(Device), S =:= up andalso Starts >= N end, 10000).

count(Actor) -> {ok, <<N:64/little>>} = beamline_ring:call(Actor, {count, <<>>}), N.

%% It goes on from its last checkpoint after the process has ended so.
goes_on_after(Opts, Why, Fault) ->
    with_device(Opts, fun(D) ->
        {ok, A} = beamline_ring:start(D, faulty),
        {ok, Other} = beamline_ring:start(D, kv),
        {ok, Fresh} = beamline_ring:start(D, faulty),
        [1, 2, 3] = [count(A) || _ <- [1, 2, 3]],
        {ok, <<0>>} = beamline_ring:call(Other, {put, <<1, "k", "v">>}),
        1 = count(Fresh),
        {ok, #{state := <<3:64/little>>, version := 1, handler := faulty}} = beamline_ring:checkpoint(A),
        {ok, _} = beamline_ring:checkpoint(Other),
        4 = count(A),
        ?assertMatch({error, _}, Fault(D, A)),
        await_start(D, 2),
        #{why := Said} = host(D),
        ?assertEqual({Why, match}, {Why, re:run(Said, Why, [{capture, none}])}),
        ?assertEqual(4, count(A)),
        ?assertEqual({ok, <<1, "v">>}, beamline_ring:call(Other, {get, <<"k">>})),
        ?assertEqual(1, count(Fresh)),
        ?assertMatch({ok, #{actors := 3, failed := 0}}, beamline_ring:info(D))
    end).

a_handler_that_crashes_takes_its_process_only_test_() ->
    {timeout, 30, fun() -> goes_on_after(#{}, "killed by signal 11|ended with status 1", fun(_, A) ->
        {error, {host_exited, Why}} = Answer = beamline_ring:call(A, {crash, <<>>}),
        ?assert(is_map(Why) orelse is_binary(Why)),
        Answer
    end) end}.

a_handler_that_exits_takes_its_process_only_test_() ->
    {timeout, 30, fun() -> goes_on_after(#{}, "ended with status 9", fun(_, A) -> beamline_ring:call(A, {leave, <<>>}) end) end}.

a_handler_that_takes_all_memory_ends_its_process_test_() ->
    {timeout, 60, fun() ->
        _ = os:getenv("ASAN_OPTIONS") =/= false andalso beamline_test:skip("a sanitizer takes more addresses than a limit leaves"),
        goes_on_after(#{memory_limit => 50000000}, "killed by signal", fun(_, A) -> beamline_ring:call(A, {exhaust, <<>>}) end)
    end}.

a_runaway_is_killed_at_its_deadline_test_() ->
    {timeout, 30, fun() -> goes_on_after(#{}, "did not return in time", fun(_, A) ->
        {error, timeout} = beamline_ring:call(A, {spin, <<>>}, #{timeout => 100})
    end) end}.

a_process_that_is_killed_test_() ->
    {timeout, 30, fun() -> goes_on_after(#{}, "killed by signal 9", fun(D, A) ->
        ok = beamline_ring:suspend(A),
        {ok, R} = beamline_ring:request(A, {count, <<>>}),
        signal(D, "KILL"),
        Answer = beamline_ring:await(R),
        ?assertMatch({error, {host_exited, _}}, Answer),
        await_start(D, 2),
        beamline_test:eventually(fun() -> {ok, #{state := State}} = beamline_ring:info(A), State =:= suspended end),
        ok = beamline_ring:resume(A),
        Answer
    end) end}.

a_process_that_hangs_before_it_joins_is_killed_and_the_next_comes_test_() ->
    {timeout, 60, fun() -> with_device(fun(D) ->
        Pid = beamline_test:with_hanging_host(fun() -> signal(D, "KILL") end),
        beamline_test:eventually(fun() -> #{state := S, starts := Starts} = host(D), S =:= up andalso Starts >= 2 end, 30000),
        ?assertNot(is_alive(Pid))
    end) end}.

%% Also when the news crosses the question.
one_that_failed_says_so_test_() ->
    {timeout, 30, fun() -> with_device(#{handlers => [beamline_test:built_file("ring/histogram2_operations.so")]}, fun(D) ->
        [begin
             {ok, Failing} = beamline_ring:start(D, unruly),
             {ok, _} = beamline_ring:request(Failing, {fail, <<>>}),
             ?assertEqual(failed, state_until_failed(Failing)),
             ok = beamline_ring:close(Failing)
         end || _ <- lists:seq(1, 2000)]
    end) end}.

state_until_failed(Actor) ->
    case beamline_ring:info(Actor) of
        {ok, #{state := failed}} -> failed;
        {ok, _} -> state_until_failed(Actor);
        {error, Reason} -> Reason
    end.

%% However much is allowed meanwhile.
credit_for_a_process_that_does_not_listen_takes_no_memory_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{window => 1}),
        {ok, #{number := Number}} = beamline_ring:info(D),
        signal(D, "STOP"),
        [true = beamline_ring:credit(Sub, 1) || _ <- lists:seq(1, 100000)],
        [InFlight] = [N || #{number := This, host := #{in_flight := N}} <- element(2, beamline_ring:devices()), This =:= Number],
        ?assert(InFlight < 100),
        [#{host := #{pid := Pid}}] = [I || #{number := This} = I <- element(2, beamline_ring:devices()), This =:= Number],
        [] = os:cmd("kill -CONT " ++ integer_to_list(Pid)),
        ok = beamline_ring:cast_all(Echo, lists:duplicate(16, <<"x">>)),
        ?assertEqual(16, length(batched(Sub, 16)))
    end) end}.

batched(_, 0) -> [];
batched(Sub, N) ->
    receive {beamline, Sub, {batch, Results}} -> Results ++ batched(Sub, N - length(Results)) after 5000 -> [] end.

a_process_that_stands_still_misses_its_heartbeat_test_() ->
    {timeout, 30, fun() -> goes_on_after(#{heartbeat => 200}, "missed its heartbeat", fun(D, A) ->
        signal(D, "STOP"),
        beamline_ring:call(A, {count, <<>>})
    end) end}.

%% As long as `max_lost' allows it a runaway costs its thread and its actor, as in the VM.
%% It leaves no room for the rest of a message that is longer than the shared memory.
a_process_that_stands_still_in_a_long_message_misses_its_heartbeat_test_() ->
    {timeout, 30, fun() -> goes_on_after(#{heartbeat => 200}, "missed its heartbeat", fun(D, A) ->
        signal(D, "STOP"),
        beamline_ring:call(A, {count, binary:copy(<<0>>, 5_000_000)}, #{timeout => 10_000})
    end) end}.

a_long_message_is_no_silence_test_() ->
    {timeout, 60, fun() -> with_device(#{heartbeat => 200}, fun(D) ->
        {ok, Reduce} = beamline_ring:start(D, reduce),
        ?assertEqual({ok, <<0:64>>}, beamline_ring:call(Reduce, binary:copy(<<0>>, 200_000_000))),
        ?assertMatch(#{starts := 1}, host(D))
    end) end}.

max_lost_runaways_are_borne_test_() ->
    {timeout, 30, fun() -> with_device(#{max_lost => 1}, fun(D) ->
        [A, B, C] = [element(2, beamline_ring:start(D, faulty)) || _ <- [1, 2, 3]],
        ?assertEqual({error, timeout}, beamline_ring:call(A, {spin, <<>>}, #{timeout => 50})),
        Ref = beamline_ring:ref(A),
        receive {beamline, Ref, {failed, {device_failed, _}}} -> ok after 5000 -> error(nothing) end,
        ?assertMatch({error, {device_failed, _}}, beamline_ring:call(A, {count, <<>>})),
        ?assertEqual(1, count(B)),
        ?assertMatch({ok, #{lost := 1, host := #{starts := 1}}}, beamline_ring:info(D)),
        ?assertEqual({error, timeout}, beamline_ring:call(B, {spin, <<>>}, #{timeout => 50})),
        await_start(D, 2),
        ?assertEqual([1, 1], [count(B), count(C)])
    end) end}.

%%% Everything under way is answered once

messages_in_flight_are_each_answered_once_test_() ->
    {timeout, 60, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 2048}),
        ok = beamline_ring:suspend(Echo),
        Requests = [element(2, beamline_ring:request(Echo, <<N:32, 0:(8 * (N rem 300))>>)) || N <- lists:seq(1, 1000)],
        [ok = beamline_ring:cast(Echo, {echo, <<N:64>>}) || N <- lists:seq(1, 1000)],
        signal(D, "KILL"),
        [?assertMatch({error, {host_exited, _}}, beamline_ring:await(R, 10000)) || R <- Requests],
        Ref = beamline_ring:ref(Echo),
        [receive {beamline, Ref, {undelivered, 0, {host_exited, _}}} -> ok after 5000 -> error({no, N}) end || N <- lists:seq(1, 1000)],
        receive {beamline, _, _} = Another -> error({twice, Another}) after 50 -> ok end,
        {0, _} = beamline_ring:devices()
    end) end}.

%% Callers that never stop while process after process is killed: each call has one answer.
nobody_waits_for_ever_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 2}, fun(D) ->
        Actors = list_to_tuple([element(2, beamline_ring:start(D, echo, #{queue => 8})) || _ <- lists:seq(1, 4)]),
        Callers = [spawn_monitor(fun() -> call_until_told(Actors, I) end) || I <- lists:seq(1, 8)],
        [begin
             timer:sleep(50),
             signal(D, "KILL"),
             await_start(D, N)
         end || N <- [2, 3, 4]],
        [P ! stop || {P, _} <- Callers],
        [receive {'DOWN', M, process, P, Why} -> ?assertEqual(normal, Why) after 10000 -> error(hangs) end || {P, M} <- Callers]
    end) end}.

call_until_told(Actors, I) ->
    Message = <<I:64, 0:(8 * (I * 97 rem 9000))>>,
    case beamline_ring:call(element(1 + I rem 4, Actors), Message) of
        {ok, Message} -> ok;
        {error, {busy, _}} -> receive after 1 -> ok end;
        {error, {host_exited, _}} -> ok
    end,
    receive stop -> ok after 0 -> call_until_told(Actors, I + 8) end.

%%% What outlives a process

checkpoints_are_taken_by_themselves_test_() ->
    {timeout, 30, fun() ->
        with_device(#{checkpoint => 20}, fun(D) ->
            {ok, A} = beamline_ring:start(D, faulty),
            [count(A) || _ <- lists:seq(1, 7)],
            timer:sleep(200),
            signal(D, "KILL"),
            await_start(D, 2),
            ?assertEqual(8, count(A))
        end),
        with_device(#{checkpoint => {messages, 5}}, fun(D) ->
            {ok, A} = beamline_ring:start(D, faulty),
            [count(A) || _ <- lists:seq(1, 7)],
            {ok, _} = beamline_ring:info(A), % a process answers in order
            signal(D, "KILL"),
            await_start(D, 2),
            ?assert(count(A) >= 6)
        end)
    end}.

%% For one that finds no room, room comes; no message has to.
a_checkpoint_that_failed_is_taken_later_test_() ->
    {timeout, 30, fun() -> with_device(#{checkpoint => 20, memory_limit => 1_000_000}, fun(D) ->
        Peak = fun() -> {ok, #{memory_peak := Bytes}} = beamline_ring:info(D), Bytes end,
        {ok, Kv} = beamline_ring:start(D, kv, #{state_size => 64 * 6000}),
        {ok, Room} = beamline_ring:start(D, kv, #{state_size => 64 * 5000}),
        {ok, <<0>>} = beamline_ring:call(Kv, {put, <<1, "k", "v">>}),
        ?assertMatch({error, {limit, #{what := device_memory}}}, beamline_ring:checkpoint(Kv)),
        Before = Peak(),
        ok = beamline_ring:stop(Room),
        beamline_test:eventually(fun() -> Peak() > Before end), % a copy of the state
        {ok, _} = beamline_ring:info(Kv), % a process answers in order
        signal(D, "KILL"),
        await_start(D, 2),
        ?assertEqual({ok, <<1, "v">>}, beamline_ring:call(Kv, {get, <<"k">>}))
    end) end}.

what_actors_send_to_each_other_is_in_checkpoints_too_test_() ->
    {timeout, 30, fun() -> with_device(#{checkpoint => 20}, fun(D) ->
        {ok, A} = beamline_ring:start(D, echo),
        {ok, B} = beamline_ring:start(D, triad),
        ok = beamline_ring:connect(A, out, B),
        {ok, <<>>} = beamline_ring:call(A, {forward, <<2.5:64/float-little>>}), % to its function scale
        timer:sleep(200),
        signal(D, "KILL"),
        await_start(D, 2),
        ?assertMatch({ok, #{state := <<2.5:64/float-little>>}}, beamline_ring:checkpoint(B))
    end) end}.

routes_and_subscribers_outlive_a_process_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        [A, B] = [element(2, beamline_ring:start(D, echo)) || _ <- [1, 2]],
        ok = beamline_ring:connect(A, out, B),
        {ok, Sub} = beamline_ring:subscribe(B, #{window => 1000}),
        signal(D, "KILL"),
        await_start(D, 2),
        ok = beamline_ring:cast(B, <<"batched">>),
        receive {beamline, Sub, {batch, [<<"batched">>]}} -> ok after 5000 -> error(nothing) end,
        {ok, <<>>} = beamline_ring:call(A, {forward, <<"routed">>}),
        beamline_test:eventually(fun() -> {ok, #{handled := N}} = beamline_ring:info(B), N =:= 2 end),
        ?assertEqual({ok, 1}, beamline_ring:disconnect(A, out, B))
    end) end}.

what_was_closed_stays_closed_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, A} = beamline_ring:start(D, faulty),
        {ok, B} = beamline_ring:start(D, faulty),
        ok = beamline_ring:stop(A),
        signal(D, "KILL"),
        ok = beamline_ring:close(B),
        await_start(D, 2),
        ?assertEqual({error, closed}, beamline_ring:call(B, {count, <<>>})),
        beamline_test:eventually(fun() -> {ok, #{actors := N}} = beamline_ring:info(D), N =:= 0 end)
    end) end}.

%% What actors found busy is counted in the process.
what_was_busy_outlives_a_process_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        [A, B] = [element(2, beamline_ring:start(D, echo, #{queue => 2})) || _ <- [1, 2]],
        ok = beamline_ring:connect(A, out, B),
        ok = beamline_ring:suspend(B),
        _ = [beamline_ring:call(A, {forward, <<N>>}) || N <- lists:seq(1, 10)],
        {ok, #{busy := Busy}} = beamline_ring:info(D),
        ?assert(Busy >= 8),
        signal(D, "KILL"),
        await_start(D, 2),
        ?assertMatch({ok, #{busy := Busy}}, beamline_ring:info(D))
    end) end}.

an_upgraded_actor_goes_on_with_its_new_version_test_() ->
    {timeout, 30, fun() -> with_device(#{handlers => [beamline_test:built_file("ring/histogram_operations.so")]}, fun(D) ->
        {ok, H} = beamline_ring:start(D, histogram),
        {ok, <<>>} = beamline_ring:call(H, {add, <<16#10, 16#1F, 16#F8>>}),
        {ok, #{version := 1}} = beamline_ring:checkpoint(H),
        ok = beamline_ring:upgrade(H, #{library => beamline_test:built_file("ring/histogram2_operations.so")}),
        signal(D, "KILL"),
        await_start(D, 2),
        {ok, #{version := 2}} = beamline_ring:info(H),
        {ok, Counts} = beamline_ring:call(H, {read, <<>>}),
        ?assertEqual(3, lists:sum([N || <<N:64/little>> <= Counts]))
    end) end}.

%%% Owners and bounds

everything_ends_with_its_owner_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        Self = self(),
        {Pid, Monitor} = spawn_monitor(fun() ->
            {ok, A} = beamline_ring:start(D, echo),
            {ok, Mine} = beamline_ring:open(#{threads => 1, isolation => os_process}),
            {ok, #{host := #{pid := Os}}} = beamline_ring:info(Mine),
            Self ! {made, A, Mine, Os},
            receive stop -> ok end
        end),
        {A, Mine, Os} = receive {made, X, Y, Z} -> {X, Y, Z} end,
        {ok, <<1>>} = beamline_ring:call(A, <<1>>),
        ?assert(is_alive(Os)),
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
        beamline_test:eventually(fun() -> {error, closed} =:= beamline_ring:call(A, <<1>>) end),
        beamline_test:eventually(fun() -> {error, closed} =:= beamline_ring:info(Mine) end),
        beamline_test:eventually(fun() -> not is_alive(Os) end),
        beamline_test:eventually(fun() -> {ok, #{actors := N}} = beamline_ring:info(D), N =:= 0 end)
    end) end}.

closing_tells_owners_and_whoever_waits_test_() ->
    {timeout, 30, fun() -> with_device(fun(_) ->
        {ok, D} = beamline_ring:open(#{threads => 1, isolation => os_process}),
        {ok, A} = beamline_ring:start(D, echo),
        ok = beamline_ring:suspend(A),
        {ok, R} = beamline_ring:request(A, <<1>>),
        ok = beamline_ring:cast(A, <<2>>),
        ok = beamline_ring:close(D),
        ?assertEqual({error, closed}, beamline_ring:await(R, 5000)),
        Ref = beamline_ring:ref(A),
        receive {beamline, Ref, {undelivered, 0, closed}} -> ok after 5000 -> error(nothing) end,
        receive {beamline, Ref, {failed, closed}} -> ok after 5000 -> error(nothing) end,
        ?assertEqual({error, closed}, beamline_ring:start(D, echo))
    end) end}.

between_two_processes_it_is_busy_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, A} = beamline_ring:start(D, echo),
        signal(D, "KILL"),
        beamline_test:eventually(fun() -> #{state := S} = host(D), S =:= down orelse S =:= listening end),
        Answers = [beamline_ring:call(A, <<>>), beamline_ring:cast(A, <<>>), beamline_ring:start(D, echo), beamline_ring:checkpoint(A)],
        [?assertMatch({error, {busy, Ms}} when Ms > 0, Answer) || Answer <- Answers],
        await_start(D, 2),
        ?assertEqual({ok, <<1>>}, beamline_ring:call(A, <<1>>))
    end) end}.

%%% Buffers

buffers_outlive_their_process_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, Reduce} = beamline_ring:start(D, reduce),
        {ok, Slow} = beamline_ring:start(D, faulty),
        {ok, B} = beamline_ring:buffer(D, << <<(float(I)):64/float-little>> || I <- lists:seq(1, 1000) >>),
        {ok, View} = beamline_ring:view(B, 8, 16),
        {ok, Gone} = beamline_ring:buffer(D, 100000),
        {ok, Sum} = beamline_ring:call(Reduce, {sum, [B]}),
        ok = beamline_ring:suspend(Reduce),
        {ok, Waiting} = beamline_ring:request(Reduce, {sum, [B]}),
        ?assertEqual({error, {busy, 0}}, beamline_ring:write(B, 0, <<1>>)),
        {error, {host_exited, _}} = beamline_ring:call(Slow, {crash, <<>>}),
        {error, {host_exited, _}} = beamline_ring:await(Waiting),
        ?assertEqual(ok, beamline_ring:write(B, 0, <<2.0:64/float-little>>)), % nobody uses it now
        ok = beamline_ring:close(Gone),
        await_start(D, 2),
        {ok, Late} = beamline_ring:buffer(D, <<7.0:64/float-little>>), % perhaps where the closed one was
        ok = beamline_ring:resume(Reduce),
        <<Before:64/float-little>> = Sum,
        ?assertEqual({ok, <<(Before + 1.0):64/float-little>>}, beamline_ring:call(Reduce, {sum, [B]})),
        ?assertEqual({ok, <<5.0:64/float-little>>}, beamline_ring:call(Reduce, {sum, [View]})),
        ?assertEqual({ok, <<7.0:64/float-little>>}, beamline_ring:call(Reduce, {sum, [Late]})),
        {ok, <<2.0:64/float-little, _/binary>> = Taken} = beamline_ring:take(B),
        ?assertEqual(8000, byte_size(Taken))
    end) end}.

%% One that was sent away with a buffer gives it back, in its own process and here, whatever becomes of it.
buffers_come_back_from_every_message_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, A} = beamline_ring:start(D, triad, #{queue => 2}),
        [X, Y, Z] = [element(2, beamline_ring:buffer(D, 8 * N)) || N <- [100, 100, 100]],
        {ok, Odd} = beamline_ring:buffer(D, 9),
        Free = fun() -> [ok = beamline_ring:write(B, 0, <<0>>) || B <- [X, Y, Z, Odd]] end,
        ?assertMatch({error, {invalid, _}}, beamline_ring:call(A, {triad, [X, Odd]})), Free(),
        ?assertMatch({error, {unsupported, _}}, beamline_ring:call(A, {99, [X, Y, Z]})), Free(),
        ?assertEqual({error, {busy, 0}}, beamline_ring:call(A, {triad, [X, Y, X]})), Free(),
        ?assertEqual({error, timeout}, beamline_ring:call(A, {triad, [X, Y, Z]}, #{timeout => 0})),
        beamline_test:eventually(fun() -> beamline_ring:write(X, 0, <<0>>) =:= ok end), Free(),
        ok = beamline_ring:suspend(A),
        ok = beamline_ring:cast(A, {scale, <<1.0:64/float-little>>}),
        ok = beamline_ring:cast(A, {triad, [X, Y, Z]}),
        ?assertMatch({error, {busy, _}}, beamline_ring:cast(A, {triad, [Odd]})), % the queue
        ?assertEqual({error, {busy, 0}}, beamline_ring:read(X, 0, 1)),
        ?assertEqual({ok, <<0>>}, beamline_ring:read(Y, 0, 1)),
        ok = beamline_ring:close(Odd),
        ?assertEqual({error, closed}, beamline_ring:cast(A, {triad, [Odd]})),
        ok = beamline_ring:close(A),
        beamline_test:eventually(fun() -> beamline_ring:write(X, 0, <<0>>) =:= ok end)
    end) end}.

%% Before the kernel takes it page by page from everybody.
a_buffer_that_the_machine_does_not_have_is_refused_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        [?assertEqual({error, no_memory}, beamline_ring:buffer(D, 1 bsl Bits)) || Bits <- [46, 50, 60, 62]]
    end) end}.

buffers_are_bounded_test_() ->
    {timeout, 60, fun() -> with_device(#{memory_limit => 40000000}, fun(D) ->
        {ok, #{memory := Before}} = beamline_ring:info(D),
        ?assertMatch({error, {limit, #{what := device_memory}}}, beamline_ring:buffer(D, 50000000)),
        ?assertMatch({error, _}, beamline_ring:buffer(D, 1 bsl 62)),
        {ok, Big} = beamline_ring:buffer(D, 30000000),
        ?assertMatch({error, {limit, #{what := device_memory}}}, beamline_ring:start(D, kv, #{state_size => 64 * 200000})), % together
        ok = beamline_ring:close(Big),
        Many = [B || _ <- lists:seq(1, 4096), {ok, B} <- [beamline_ring:buffer(D, 1)]],
        ?assertEqual(4096, length(Many)),
        ?assertMatch({error, {limit, #{what := buffers}}}, beamline_ring:buffer(D, 1)),
        {ok, #{buffers := 4096}} = beamline_ring:info(D),
        [ok = beamline_ring:close(B) || B <- Many],
        beamline_test:eventually(fun() -> {ok, #{buffers := N, memory := Now}} = beamline_ring:info(D), {N, Now} =:= {0, Before} end),
        {ok, Other} = beamline_ring:open(#{threads => 1}),
        {ok, [Near, Far]} = {ok, [element(2, beamline_ring:start(X, echo)) || X <- [Other, D]]},
        [NearBuffer, FarBuffer] = [element(2, beamline_ring:buffer(X, 8)) || X <- [Other, D]],
        [?assertMatch({error, {invalid, #{field := buffer}}}, beamline_ring:call(A, {echo, [B]}))
         || {A, B} <- [{Near, FarBuffer}, {Far, NearBuffer}]],
        ok = beamline_ring:close(Other)
    end) end}.

%%% Guests

with_guests(Opts, Fun) ->
    ok = wasm_fixture:start(),
    with_device(Opts, fun(D) ->
        {ok, 1} = beamline_ring:load(D, {wasm, ring_guest_fixture:kit()}),
        Fun(D)
    end).

guests_go_on_in_the_next_process_test_() ->
    {timeout, 30, fun() -> with_guests(#{}, fun(D) ->
        {ok, A} = beamline_ring:start(D, kit),
        {ok, Fresh} = beamline_ring:start(D, kit),
        [1, 2] = [count(A) || _ <- [1, 2]],
        {ok, _} = beamline_ring:checkpoint(A),
        [3, 1] = [count(X) || X <- [A, Fresh]],
        signal(D, "KILL"),
        await_start(D, 2),
        ?assertEqual([3, 1], [count(X) || X <- [A, Fresh]]),
        ?assertMatch({error, {trap, #{code := unreachable}}}, beamline_ring:call(A, {trap, <<>>})),
        %% The library in the process has handlers for signals; they are not for native code.
        {ok, F} = beamline_ring:start(D, faulty),
        ?assertMatch({error, {host_exited, _}}, beamline_ring:call(F, {crash, <<>>})),
        await_start(D, 3),
        #{why := Why} = host(D),
        ?assertMatch({match, _}, re:run(Why, "killed by signal 11|ended with status 1")),
        ?assertEqual(3, count(A))
    end) end}.

%% Not those of the version that it had in the process before.
functions_are_those_of_the_version_that_runs_test_() ->
    {timeout, 30, fun() -> with_guests(#{}, fun(D) ->
        {ok, A} = beamline_ring:start(D, kit),
        {ok, _} = beamline_ring:checkpoint(A),
        Renamed = ring_guest_fixture:kit(#{version => 2, migrate => 3, damage => [{512, $x}]}), % echo
        {ok, 1} = beamline_ring:load(D, {wasm, Renamed}),
        ?assertEqual({ok, <<"a">>}, beamline_ring:call(A, {echo, <<"a">>})),
        signal(D, "KILL"),
        await_start(D, 2),
        ?assertMatch({ok, #{version := 2}}, beamline_ring:info(A)),
        ?assertEqual({ok, <<"b">>}, beamline_ring:call(A, {xcho, <<"b">>})),
        ?assertEqual({error, {unsupported, function}}, beamline_ring:call(A, {echo, <<"c">>}))
    end) end}.

a_guest_that_does_not_start_holds_nobody_test_() ->
    {timeout, 30, fun() -> with_guests(#{heartbeat => 500}, fun(D) ->
        {ok, A} = beamline_ring:start(D, kit),
        Room = <<"(func (export \"beamline_ring_room\") (param i32) (result i32) (loop $l (br $l)) (i32.const 0))">>,
        {ok, 1} = beamline_ring:load(D, {wasm, ring_guest_fixture:kit(#{name => <<"lazy">>, room => Room})}),
        Self = self(),
        [spawn_link(fun() -> Self ! {started, beamline_ring:start(D, lazy)} end) || _ <- [1, 2]],
        [?assertEqual(N, count(A)) || N <- lists:seq(1, 50)],
        {ok, Native} = beamline_ring:start(D, faulty),
        1 = count(Native),
        receive {started, Early} -> ?assertEqual(not_yet, Early) after 0 -> ok end,
        [?assertEqual({started, {error, timeout}}, receive {started, _} = Told -> Told after 10000 -> nothing end) || _ <- [1, 2]],
        ?assertMatch(#{starts := 1}, host(D))
    end) end}.

%% Of a process whose memory the kernel limits; `fast' reserves gigabytes of addresses.
guests_have_no_more_memory_than_their_device_test_() ->
    {timeout, 60, fun() -> with_guests(#{memory_limit => 256 bsl 20}, fun(D) ->
        {ok, 1} = beamline_ring:load(D, {wasm, ring_guest_fixture:kit(#{name => <<"quick">>}), #{engine => fast}}),
        {ok, Quick} = beamline_ring:start(D, quick),
        1 = count(Quick),
        {Actors, Refused} = until_refused(fun() -> beamline_ring:start(D, kit) end),
        ?assertMatch({error, {limit, #{what := device_memory}}}, Refused),
        ?assert(length(Actors) > 1900), % more than fit into what the kernel allows without guests
        ?assertEqual([1 || _ <- Actors], [count(A) || A <- Actors]),
        ?assertMatch({error, {limit, _}}, beamline_ring:call(Quick, {grow, <<100:32/little>>})),
        ?assertMatch(#{starts := 1}, host(D))
    end) end}.

until_refused(Fun) ->
    case Fun() of
        {ok, Made} -> {All, Error} = until_refused(Fun), {[Made | All], Error};
        {error, _} = Error -> {[], Error}
    end.

modules_go_to_the_process_as_they_are_test_() ->
    {timeout, 30, fun() -> with_guests(#{}, fun(D) ->
        {ok, Module} = beamline_wasm:compile(ring_guest_fixture:kit()),
        ?assertEqual({error, {unsupported, compiled_module}}, beamline_ring:load(D, {wasm, Module})),
        ?assertMatch({error, {limit, #{what := module_bytes, limit := 10}}},
                     beamline_ring:load(D, {wasm, ring_guest_fixture:kit(), #{max_bytes => 10}})),
        ?assertMatch({error, {limit, #{what := imports}}}, beamline_ring:load(D, {wasm, ring_guest_fixture:kit(), #{max_imports => 1}})),
        ?assertMatch({error, {invalid, #{field := stack}}}, beamline_ring:load(D, {wasm, ring_guest_fixture:kit(), #{stack => 1}})),
        #{pid := Pid} = host(D),
        Signal = fun(Name) -> [] = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(Pid)) end,
        Signal("STOP"),
        ?assertEqual({error, timeout}, beamline_ring:load(D, {wasm, ring_guest_fixture:kit(), #{timeout => 50}})),
        Signal("CONT"),
        {ok, A} = beamline_ring:start(D, kit),
        ?assertEqual(1, count(A))
    end) end}.

what_is_not_there_is_said_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        ?assertMatch({error, {invalid, #{field := handlers}}}, beamline_ring:load(D, "/nonexistent.so")),
        {ok, Other} = beamline_ring:open(#{threads => 1}),
        {ok, Near} = beamline_ring:start(Other, echo),
        {ok, Far} = beamline_ring:start(D, echo),
        ?assertMatch({error, {invalid, #{field := to}}}, beamline_ring:connect(Far, out, Near)),
        ok = beamline_ring:close(Other),
        [?assertError(badarg, beamline_ring:open(Opts))
         || Opts <- [#{heartbeat => 1}, #{checkpoint => 0}, #{checkpoint => {messages, 0}}, #{isolation => x}, #{heartbeat => none}]]
    end) end}.

%%% As OTP

a_supervised_actor_does_not_notice_test_() ->
    {timeout, 30, fun() ->
        ok = beamline_test:start(),
        Library = beamline_test:built_file("ring/faulty_operations.so"),
        {ok, Device} = beamline_ring:start_link(#{name => ring_process_device, threads => 1, isolation => os_process,
                                                  handlers => [Library]}),
        {ok, Pid} = beamline_ring_actor:start_link(#{device => ring_process_device, handler => faulty}),
        {ok, <<1:64/little>>} = gen_server:call(Pid, {count, <<>>}),
        {ok, _} = gen_server:call(Pid, checkpoint),
        {error, {host_exited, _}} = gen_server:call(Pid, {crash, <<>>}),
        await_start(ring_process_device, 2),
        ?assertEqual({ok, <<2:64/little>>}, gen_server:call(Pid, {count, <<>>})),
        ok = gen_server:stop(Pid),
        ok = gen_server:stop(Device)
    end}.
