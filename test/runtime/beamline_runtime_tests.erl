%% SPDX-License-Identifier: Apache-2.0
-module(beamline_runtime_tests).
-include_lib("eunit/include/eunit.hrl").

-export([log/2]).
-import(beamline_test, [eventually/1]).

%% ---- pools for tests ----

%% Runs Test with a pool of its own and checks that nothing is left in it. The same tests run with an OS process
%% behind the pool: see beamline_runtime_host_tests.
with_pool(Opts, Test) ->
    beamline_test:start(),
    Probes = beamline_test:built_file("runtime/probe_operations.so"),
    Isolation = persistent_term:get({beamline_test, isolation}, vm),
    Defaults = #{name => test_pool, threads => 2, operations => [Probes], isolation => Isolation},
    {ok, Pid} = beamline_runtime:start_link(maps:merge(Defaults, Opts)),
    try
        Test(maps:get(name, Opts, test_pool)),
        eventually(fun() -> is_empty(beamline_runtime:info(maps:get(name, Opts, test_pool))) end)
    after
        stop(Pid)
    end.

is_empty({error, closed}) -> true;
is_empty(#{running := R, behind := B, queue_bytes := Q, memory := M, queued := Classes}) ->
    {0, 0, 0, 0, 0} =:= {R, B, Q, M, lists:sum(maps:values(Classes))}.

stop(Pid) ->
    unlink(Pid),
    Monitor = monitor(process, Pid),
    exit(Pid, shutdown),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

no_message() -> receive Any -> error({unexpected, Any}) after 20 -> ok end.

%% The reports of a pool that ends on purpose are expected.
quiet(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    logger:set_primary_config(level, none),
    try Fun() after logger:set_primary_config(level, Level) end.

elapsed(Fun) ->
    T0 = erlang:monotonic_time(millisecond),
    Result = Fun(),
    {erlang:monotonic_time(millisecond) - T0, Result}.

%% Fills both threads; returns when they run.
occupy(Pool, N) ->
    Refs = [element(2, beamline_runtime:submit(Pool, probe_wait, 60_000, #{progress => 3_600_000})) || _ <- lists:seq(1, N)],
    [receive {beamline, R, {progress, _}} -> ok end || R <- Refs], % each runs, also in an OS process
    Refs.

release(Refs) -> [begin ok = beamline_runtime:cancel(R), {error, cancelled} = beamline_runtime:await(R) end || R <- Refs].

%% ---- many arguments ----

map_gives_what_each_call_gives_test() ->
    with_pool(#{}, fun(Pool) ->
        Large = crypto:strong_rand_bytes(300_000),
        Terms = [1, a, 1.5, -1 bsl 70, {}, [], "bytes", <<>>, <<1:3>>, Large, {Large, binary:part(Large, 7, 100_000)}, #{},
            maps:from_list([{I, I} || I <- lists:seq(1, 200)]), lists:seq(1, 1000), [1 | 2], make_ref(), self()],
        Calls = [beamline_runtime:call(Pool, echo, Term, #{}) || Term <- Terms],
        [?assertEqual(Calls, beamline_runtime:map(Pool, echo, Terms, Opts)) || Opts <- [#{}, #{piece => 1}, #{piece => 3},
            #{piece => 1000, priority => high, timeout => infinity}]],
        [?assertEqual([{ok, I} || I <- List], beamline_runtime:map(Pool, echo, List, #{piece => Piece}))
         || List <- [[], "s", lists:seq(1, 300), lists:seq(1, 5000)], Piece <- [7, 250, 100_000]]
    end).

results_that_are_equal_share_their_memory_test() ->
    with_pool(#{}, fun(Pool) ->
        Length = 100,
        Results = beamline_runtime:map(Pool, noop, lists:duplicate(Length, []), #{piece => Length}),
        ?assertEqual(lists:duplicate(Length, {ok, ok}), Results),
        ?assertEqual(2 * Length + 3, erts_debug:size(Results)),
        Pairs = [{a, b}, {a, b}, {a, c}, {a, c}, {b, c}, {ok, ok}, {a, b}, {{a, b}, {a, b}}, {1.5, 1.5}, {1.5, 1.5}, {<<1>>, <<1>>}],
        ?assertEqual([{ok, Pair} || Pair <- Pairs], beamline_runtime:map(Pool, echo, Pairs, #{piece => Length}))
    end).

an_element_that_fails_leaves_the_others_test() ->
    with_pool(#{}, fun(Pool) ->
        Good = {ok, [0, <<0:80>>]},
        What = [0, 1, 0, 2, 3, 0, 4, 5, x, 0, 5, 0, 7, 0, 8, 3, 9],
        ?assertEqual([beamline_runtime:call(Pool, probe_half, W, #{}) || W <- What], beamline_runtime:map(Pool, probe_half, What, #{})),
        [begin
            Results = beamline_runtime:map(Pool, probe_half, What, #{piece => Piece}),
            ?assertEqual(length(What), length(Results)),
            [case W of 0 -> ?assertEqual(Good, R); _ -> ?assertMatch({error, {invalid, #{field := _, why := _}}}, R) end
             || {W, R} <- lists:zip(What, Results)]
         end || Piece <- [1, 4, 17]],
        ?assertMatch([{ok, _}, {error, {unsupported, _}}, {ok, _}], beamline_runtime:map(Pool, probe_half, [0, 6, 0], #{piece => 3})),
        ?assertMatch([{ok, _}, {error, {limit, #{what := memory}}}, {ok, _}],
            beamline_runtime:map(Pool, probe_allocate, [10, 1_000_000, 10], #{memory_limit => 100_000, piece => 3})),
        ?assertEqual([{error, {unsupported, no_such}} || _ <- "four"], beamline_runtime:map(Pool, no_such, "four", #{}))
    end).

an_operation_sees_the_end_of_its_element_test() ->
    with_pool(#{}, fun(Pool) ->
        Large = fun(I) -> binary:copy(<<I:32>>, 100 * (I rem 3 + 1)) end,
        [begin
            Expected = [beamline_runtime:call(Pool, probe_half, Element, #{}) || Element <- List],
            [?assertEqual(Expected, beamline_runtime:map(Pool, probe_half, List, #{piece => Piece})) || Piece <- [1, 7, 1000]]
         end || List <- [lists:duplicate(300, 0), [{0, I} || I <- lists:seq(1, 300)], [{0, Large(I)} || I <- lists:seq(1, 50)],
            [{0, {Large(I), I, Large(I + 1)}} || I <- lists:seq(1, 50)], [{0}, 0, {0, 1, 2}, x, {0, "s"}, {0, [1 | 2]}, 0]]]
    end).

a_piece_without_memory_for_its_results_says_so_test() ->
    with_pool(#{}, fun(Pool) ->
        Small = [[I, I + 1] || I <- lists:seq(1000, 4000)],
        [[?assertMatch({error, {limit, #{what := memory}}}, R)
          || R <- beamline_runtime:map(Pool, Op, List, #{piece => 5000, memory_limit => Limit})]
         || {Op, List} <- [{echo, Small}, {probe_half, Small}, {echo, lists:duplicate(3000, $x)}], Limit <- [500, 5000, 20_000]],
        [begin
            Results = beamline_runtime:map(Pool, echo, Small, #{piece => 5000, fail_allocation => N}),
            ?assertEqual(length(Small), length(Results)),
            [?assert(R =:= {ok, E} orelse R =:= {error, no_memory}) || {E, R} <- lists:zip(Small, Results)]
         end || N <- lists:seq(1, 20)]
    end).

a_map_has_one_deadline_test() ->
    with_pool(#{}, fun(Pool) ->
        Waits = lists:duplicate(40, 60_000),
        {Ms, Results} = elapsed(fun() -> beamline_runtime:map(Pool, probe_wait, Waits, #{timeout => 50, piece => 1}) end),
        ?assertEqual(lists:duplicate(40, {error, timeout}), Results),
        ?assert(Ms < 10_000),
        Numbers = lists:seq(1, 500_000),
        {Late, Rest} = elapsed(fun() -> beamline_runtime:map(Pool, noop, Numbers, #{timeout => 20, piece => 1}) end),
        ?assertEqual({500_000, {error, timeout}}, {length(Rest), lists:last(Rest)}),
        ?assert(Late < 1_000),
        no_message()
    end).

a_map_ends_with_its_caller_test() ->
    with_pool(#{}, fun(Pool) ->
        Pid = spawn(fun() -> beamline_runtime:map(Pool, probe_wait, lists:duplicate(100, 60_000), #{}) end),
        eventually(fun() -> maps:get(running, beamline_runtime:info(Pool)) > 0 end),
        exit(Pid, kill)
    end). % with_pool looks whether it is empty

a_map_is_not_refused_because_of_itself_test() ->
    List = lists:seq(1, 50),
    [with_pool(Bound#{threads => 1}, fun(Pool) ->
        ?assertEqual([{ok, I} || I <- List], beamline_runtime:map(Pool, echo, List, #{piece => 1}))
    end) || Bound <- [#{max_queue => 1}, #{max_per_owner => 1}]].

a_map_that_is_refused_says_so_for_each_test() ->
    with_pool(#{max_queue => 1}, fun(Pool) ->
        Busy = occupy(Pool, 1) ++ occupy(Pool, 1), % the queue holds one
        {ok, Queued} = beamline_runtime:submit(Pool, noop, x, #{}),
        ?assertMatch([{error, {busy, _}}, {error, {busy, _}}, {error, {busy, _}}], beamline_runtime:map(Pool, noop, [a, b, c], #{})),
        release(Busy),
        ?assertEqual({ok, ok}, beamline_runtime:await(Queued))
    end),
    ?assertEqual([{error, closed}, {error, closed}], beamline_runtime:map(no_such_pool, noop, [1, 2], #{})),
    [?assertError(badarg, beamline_runtime:map(beamline_runtime, Op, List, Opts)) || {Op, List, Opts} <- [
        {"noop", [], #{}}, {noop, x, #{}}, {noop, [1 | 2], #{}}, {noop, [1], #{piece => 0}}, {noop, [1], #{piece => x}},
        {noop, [1], []}, {noop, [], #{no_such => 1}}]].

%% ---- one task ----

a_task_is_answered_with_its_value_test() ->
    beamline_test:start(),
    ?assertEqual({ok, ok}, beamline_runtime:call(noop, #{})),
    {ok, Ref} = beamline_runtime:submit(echo, hello),
    ?assert(is_reference(Ref)),
    receive {beamline, Ref, Answer} -> ?assertEqual({ok, hello}, Answer) end,
    no_message().

every_term_survives_the_round_trip_test() ->
    with_pool(#{}, fun(Pool) ->
        Terms = [
            0, -1, 255, 256, 1 bsl 31, -(1 bsl 31), 1 bsl 59, 1 bsl 63, 1 bsl 64, -(1 bsl 63), -(1 bsl 63) - 1, 1 bsl 1000,
            0.0, -0.0, 1.5e300, atom, '', 'an atom é', true,
            'ok\0x', 'ok\0', 'o', 'okk', 'error\0busy', [], "string", [1 | 2], lists:seq(1, 1000), [a, [b, [c]]],
            {}, {a}, list_to_tuple(lists:seq(1, 300)), #{}, #{a => #{b => [c]}}, <<>>, <<"small">>, <<5:3>>,
            binary:copy(<<"large">>, 10_000), self(), make_ref(), fun lists:map/2, fun(X) -> X end,
            hd(erlang:ports()), maps:from_list([{N, integer_to_binary(N)} || N <- lists:seq(1, 100)])
        ],
        [?assertEqual({ok, T}, beamline_runtime:call(Pool, echo, T, #{})) || T <- Terms],
        ?assertEqual({ok, Terms}, beamline_runtime:call(Pool, echo, Terms, #{}))
    end).

random_terms_survive_the_round_trip_test_() ->
    {timeout, 60, fun() ->
        with_pool(#{}, fun(Pool) ->
            Property = proper:forall(proper_types:term(), fun(T) -> {ok, T} =:= beamline_runtime:call(Pool, echo, T, #{}) end),
            ?assert(proper:quickcheck(Property, [{numtests, 300}, quiet]))
        end)
    end}.

unusual_results_become_terms_test() ->
    with_pool(#{}, fun(Pool) ->
        ?assertEqual(
            {ok, [infinity, neg_infinity, nan, -(1 bsl 63), (1 bsl 64) - 1, 'an atom that nobody interned é', <<>>, [], #{}]},
            beamline_runtime:call(Pool, probe_extremes, x, #{})
        )
    end).

a_malformed_result_is_an_error_not_silence_test() ->
    with_pool(#{}, fun(Pool) ->
        ?assertMatch({error, {invalid, #{}}}, beamline_runtime:call(Pool, probe_two, x, #{})),
        ?assertMatch({error, {invalid, #{}}}, beamline_runtime:call(Pool, probe_half, 7, #{timeout => 5000}))
    end).

large_binaries_are_shared_not_copied_test() ->
    with_pool(#{}, fun(Pool) ->
        Binary = binary:copy(<<"0123456789">>, 1_000_000),
        {ok, Back} = beamline_runtime:call(Pool, echo, {Binary, tail}, #{}),
        ?assertEqual({Binary, tail}, Back),
        %% What came back is the same memory: the VM counts it once.
        {binary, Held} = process_info(self(), binary),
        ?assertEqual(1, length(lists:usort([Address || {Address, Size, _} <- Held, Size =:= byte_size(Binary)])))
    end).

large_maps_survive_the_round_trip_test() ->
    with_pool(#{}, fun(Pool) ->
        Map = fun(N) -> maps:from_list([{X, X} || X <- lists:seq(1, N)]) end,
        [?assertEqual({ok, Map(N)}, beamline_runtime:call(Pool, echo, Map(N), #{})) || N <- lists:seq(30, 200) ++ [100_000]],
        Nested = [{x, [#{y => Map(200)}]}, #{Map(129) => 1}, #{1 => Map(1000), 2 => Map(33)}],
        ?assertEqual({ok, Nested}, beamline_runtime:call(Pool, echo, Nested, #{}))
    end).

%% The VM cannot build it outside of a scheduler; see bl_nif_term.h.
a_large_map_in_an_improper_list_is_refused_and_does_not_end_the_node_test() ->
    with_pool(#{}, fun(Pool) ->
        Map = maps:from_list([{X, X} || X <- lists:seq(1, 129)]),
        ?assertMatch({error, {limit, #{what := map_keys, limit := 128}}}, beamline_runtime:call(Pool, echo, [Map | improper], #{}))
    end).

random_small_maps_survive_the_round_trip_test() ->
    with_pool(#{}, fun(Pool) ->
        [
            begin
                Map = maps:from_list([{crypto:strong_rand_bytes(8), N} || N <- lists:seq(1, 33 + N0 rem 96)]),
                ?assertEqual({ok, Map}, beamline_runtime:call(Pool, echo, Map, #{}))
            end
         || N0 <- lists:seq(1, 500)
        ]
    end).

more_than_a_gigabyte_is_refused_as_a_value_test_() ->
    {timeout, 60, fun() ->
        beamline_test:start(),
        Large = binary:copy(<<7>>, 600 bsl 20),
        ?assertMatch({error, {busy, _}}, beamline_runtime:call(echo, [Large, Large]))
    end}.

many_binaries_in_one_argument_test() ->
    with_pool(#{}, fun(Pool) ->
        Many = [binary:copy(<<N:32>>, N) || N <- lists:seq(1, 600)],
        ?assertEqual({ok, Many}, beamline_runtime:call(Pool, echo, Many, #{}))
    end).

an_unknown_operation_says_its_name_test() ->
    with_pool(#{}, fun(Pool) ->
        Wrong = [no_such_operation, list_to_atom(lists:duplicate(255, $x)), 'π', '', 'echo\0', 'ec\0ho', 'Echo', 'no such', 'é',
            list_to_atom(lists:duplicate(63, $x))],
        [?assertEqual({error, {unsupported, Op}}, beamline_runtime:call(Pool, Op, x, #{})) || Op <- Wrong]
    end).

wrong_arguments_are_errors_with_the_place_test() ->
    with_pool(#{}, fun(Pool) ->
        ?assertMatch({error, {invalid, #{why := _}}}, beamline_runtime:call(Pool, probe_wait, <<"ten">>, #{})),
        ?assertMatch({error, {invalid, #{why := _}}}, beamline_runtime:call(Pool, probe_wait, -1, #{}))
    end).

wrong_options_raise_badarg_test_() ->
    Wrong = [
        #{priority => urgent}, #{timeout => -1}, #{timeout => soon}, #{timeout => 1 bsl 70}, #{memory_limit => 0},
        #{progress => 0}, #{progress => yes}, #{colour => red}, [], nil
    ],
    [?_assertError(badarg, beamline_runtime:submit(beamline_runtime, noop, x, Opts)) || Opts <- Wrong] ++
        [
            ?_assertError(badarg, beamline_runtime:submit("noop", x)),
            ?_assertError(badarg, beamline_runtime:await(not_a_reference)),
            ?_assertError(badarg, beamline_runtime:child_spec([{name, pool}])),
            ?_assertError(badarg, beamline_runtime:cancel(self())),
            ?_assertError(badarg, beamline_runtime:info("beamline_runtime")),
            ?_assertError(badarg, beamline_runtime:operations({refused, beamline_runtime}))
        ] ++
        [?_assertError(badarg, beamline_runtime:start_link(Opts)) || Opts <- [
            #{name => "pool"}, #{threads => 0}, #{threads => 100_000}, #{stack_size => -1}, #{max_queue => many},
            #{isolation => container}, #{operations => "path"}, #{operations => [[a]]},
            #{operations => [""]}, #{operations => [<<"x">> | y]}, #{unknown => 1}, #{use_hardware_threads => 1}
        ]].

a_wait_may_be_longer_than_a_receive_can_test() ->
    {ok, Ref} = beamline_runtime:submit(noop, x),
    ?assertEqual({ok, ok}, beamline_runtime:await(Ref, 1 bsl 40)),
    ?assertEqual({ok, ok}, beamline_runtime:call(beamline_runtime, noop, x, #{timeout => 1 bsl 40})).

%% ---- deadlines, cancel, owners ----

the_deadline_includes_waiting_test() ->
    with_pool(#{}, fun(Pool) ->
        Refs = occupy(Pool, 2),
        {Ms, Result} = elapsed(fun() -> beamline_runtime:call(Pool, noop, x, #{timeout => 50}) end),
        ?assertEqual({error, timeout}, Result),
        ?assert(Ms >= 50 andalso Ms < 5000), % the threads are busy for a minute
        release(Refs)
    end).

a_running_operation_is_stopped_at_the_deadline_test() ->
    with_pool(#{}, fun(Pool) ->
        {Ms, Result} = elapsed(fun() -> beamline_runtime:call(Pool, probe_wait, 60_000, #{timeout => 50}) end),
        ?assertEqual({error, timeout}, Result),
        ?assert(Ms < 5000)
    end).

an_early_answer_leaves_the_slot_free_test() ->
    with_pool(#{threads => 1, max_queue => 1}, fun(Pool) ->
        Refs = occupy(Pool, 1),
        [?assertEqual({error, timeout}, beamline_runtime:call(Pool, noop, x, #{timeout => 2})) || _ <- lists:seq(1, 20)],
        release(Refs)
    end).

%% The deadline may pass between the task's entry in the table and its entry in the queue.
a_task_answered_before_it_is_queued_takes_no_slot_test() ->
    with_pool(#{threads => 1, max_queue => 1}, fun(Pool) ->
        Refs = occupy(Pool, 1),
        Answers = [beamline_runtime:call(Pool, noop, x, #{timeout => 0}) || _ <- lists:seq(1, 1000)],
        ?assertEqual([{error, timeout}], lists:usort(Answers)),
        release(Refs)
    end).

a_deadline_of_zero_is_answered_once_test() ->
    with_pool(#{}, fun(Pool) ->
        [
            begin
                {ok, Ref} = beamline_runtime:submit(Pool, noop, x, #{timeout => 0}),
                ?assert(lists:member(beamline_runtime:await(Ref), [{ok, ok}, {error, timeout}]))
            end
         || _ <- lists:seq(1, 200)
        ],
        no_message()
    end).

cancel_answers_at_once_waiting_or_running_test() ->
    with_pool(#{}, fun(Pool) ->
        Running = occupy(Pool, 2),
        {ok, Waiting} = beamline_runtime:submit(Pool, noop, x, #{}),
        ?assertEqual(ok, beamline_runtime:cancel(Waiting)),
        ?assertEqual({error, cancelled}, beamline_runtime:await(Waiting)),
        ?assertEqual({error, closed}, beamline_runtime:cancel(Waiting)),
        release(Running),
        no_message()
    end).

any_process_can_cancel_test() ->
    with_pool(#{}, fun(Pool) ->
        {ok, Ref} = beamline_runtime:submit(Pool, probe_wait, 60_000, #{}),
        spawn_link(fun() -> ok = beamline_runtime:cancel(Ref) end),
        ?assertEqual({error, cancelled}, beamline_runtime:await(Ref))
    end).

cancel_of_something_unknown_is_harmless_test() ->
    beamline_test:start(),
    ?assertEqual({error, closed}, beamline_runtime:cancel(make_ref())).

await_gives_up_cancels_and_leaves_no_message_test() ->
    with_pool(#{}, fun(Pool) ->
        {ok, Ref} = beamline_runtime:submit(Pool, probe_wait, 60_000, #{progress => 10}),
        ?assertEqual({error, timeout}, beamline_runtime:await(Ref, 60)),
        no_message()
    end).

the_death_of_the_caller_cancels_its_tasks_test() ->
    with_pool(#{}, fun(Pool) ->
        {Pid, Monitor} = spawn_monitor(fun() ->
            [beamline_runtime:submit(Pool, probe_wait, 60_000, #{}) || _ <- lists:seq(1, 20)],
            receive after infinity -> ok end
        end),
        eventually(fun() -> maps:get(submitted, beamline_runtime:info(Pool)) >= 20 end),
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
        eventually(fun() -> is_empty(beamline_runtime:info(Pool)) end),
        ?assertEqual(20, maps:get(cancelled, beamline_runtime:info(Pool)))
    end).

many_callers_die_and_nothing_stays_test_() ->
    {timeout, 60, fun() ->
        with_pool(#{}, fun(Pool) ->
            Monitors = [element(2, spawn_monitor(fun() -> caller(Pool, N) end)) || N <- lists:seq(1, 2000)],
            [receive {'DOWN', M, process, _, _} -> ok end || M <- Monitors]
        end)
    end}.

%% Some wait for their answer, some die before it.
caller(Pool, N) when N rem 2 =:= 0 ->
    {ok, ok} = beamline_runtime:call(Pool, noop, N, #{});
caller(Pool, _N) ->
    beamline_runtime:submit(Pool, probe_wait, 1000, #{}),
    exit(kill).

%% ---- progress ----

progress_comes_as_often_as_asked_and_never_after_the_answer_test() ->
    with_pool(#{}, fun(Pool) ->
        {ok, Ref} = beamline_runtime:submit(Pool, probe_wait, 1000, #{progress => 100}),
        Maps = collect_progress(Ref, []),
        ?assert(length(Maps) >= 2 andalso length(Maps) =< 11),
        ?assertMatch(#{left_ms := _}, hd(Maps)),
        no_message()
    end).

collect_progress(Ref, Maps) ->
    receive
        {beamline, Ref, {progress, Map}} -> collect_progress(Ref, [Map | Maps]);
        {beamline, Ref, {ok, ok}} -> Maps
    end.

keys_of_progress_are_what_the_header_allows_test() ->
    with_pool(#{}, fun(Pool) ->
        Told = fun(Key) ->
            {ok, Ref} = beamline_runtime:submit(Pool, probe_tell, Key, #{progress => 10}),
            collect_progress(Ref, [])
        end,
        [?assertEqual([#{binary_to_atom(Key) => 1}], Told(Key)) || Key <- [<<"step">>, <<"maxForce">>, <<"max force / eV">>, <<"-">>]],
        [?assertEqual([], Told(Key)) || Key <- [<<>>, <<"é"/utf8>>, <<"a\n">>, binary:copy(<<"a">>, 24)]],
        is_map(maps:get(host, beamline_runtime:info(Pool), none)) andalso
            ?assertMatch(#{host := #{state := up, starts := 1}}, beamline_runtime:info(Pool))
    end).

no_progress_unless_asked_test() ->
    with_pool(#{}, fun(Pool) ->
        {ok, Ref} = beamline_runtime:submit(Pool, probe_wait, 50, #{}),
        receive {beamline, Ref, First} -> ?assertEqual({ok, ok}, First) end
    end).

%% ---- bounds ----

a_full_queue_is_refused_as_a_value_test() ->
    with_pool(#{max_queue => 5}, fun(Pool) ->
        Running = occupy(Pool, 2),
        Waiting = [element(2, beamline_runtime:submit(Pool, noop, x, #{})) || _ <- lists:seq(1, 5)],
        ?assertMatch({error, {busy, Ms}} when is_integer(Ms), beamline_runtime:call(Pool, noop, x, #{})),
        ?assertEqual(1, maps:get(refused_queue, beamline_runtime:info(Pool))),
        release(Running),
        [?assertEqual({ok, ok}, beamline_runtime:await(R)) || R <- Waiting]
    end).

referenced_bytes_are_bounded_test() ->
    with_pool(#{max_queue_bytes => 1_000_000}, fun(Pool) ->
        Large = binary:copy(<<0>>, 900_000),
        {ok, First} = beamline_runtime:submit(Pool, probe_deaf, 100, #{}),
        ?assertEqual({ok, Large}, beamline_runtime:call(Pool, echo, Large, #{})),
        ?assertMatch({error, {busy, _}}, beamline_runtime:call(Pool, echo, {Large, binary:copy(Large)}, #{})),
        ?assertEqual(1, maps:get(refused_bytes, beamline_runtime:info(Pool))),
        ?assertEqual({ok, ok}, beamline_runtime:await(First))
    end).

a_small_slice_does_not_pin_its_parent_test() ->
    with_pool(#{}, fun(Pool) ->
        Parent = binary:copy(<<"x">>, 50_000_000),
        Slice = binary:part(Parent, 1000, 1000),
        Refs = occupy(Pool, 2),
        {ok, Ref} = beamline_runtime:submit(Pool, echo, Slice, #{}),
        ?assert(maps:get(queue_bytes, beamline_runtime:info(Pool)) < 10_000),
        release(Refs),
        ?assertEqual({ok, Slice}, beamline_runtime:await(Ref))
    end).

a_task_has_its_memory_quota_test() ->
    with_pool(#{}, fun(Pool) ->
        ?assertMatch(
            {error, {limit, #{what := memory, limit := 100_000, asked := Asked}}} when Asked > 100_000,
            beamline_runtime:call(Pool, probe_allocate, 1_000_000, #{memory_limit => 100_000})
        ),
        {ok, Zeros} = beamline_runtime:call(Pool, probe_allocate, 10_000, #{memory_limit => 100_000}),
        ?assertEqual(10_000, byte_size(Zeros))
    end).

a_pool_has_its_memory_quota_test() ->
    with_pool(#{memory_limit => 1_000_000}, fun(Pool) ->
        ?assertMatch({error, {limit, #{what := pool_memory}}}, beamline_runtime:call(Pool, probe_allocate, 900_000, #{})),
        ?assertMatch({ok, _}, beamline_runtime:call(Pool, probe_allocate, 100_000, #{}))
    end).

every_failing_allocation_is_an_error_and_leaves_nothing_test() ->
    with_pool(#{}, fun(Pool) -> fail_each_allocation(Pool, probe_allocate, 100_000, 1) end).

fail_each_allocation(Pool, Op, Args, N) when N < 1000 ->
    case beamline_runtime:call(Pool, Op, Args, #{fail_allocation => N}) of
        {error, no_memory} -> fail_each_allocation(Pool, Op, Args, N + 1);
        {ok, _} -> ?assert(N > 1)
    end.

an_opaque_operation_is_answered_in_time_and_bounded_test() ->
    with_pool(#{threads => 1, max_behind => 1}, fun(Pool) ->
        {Ms, Result} = elapsed(fun() -> beamline_runtime:call(Pool, probe_deaf, 2000, #{timeout => 30}) end),
        ?assertEqual({error, timeout}, Result),
        ?assert(Ms < 1500),
        ?assertEqual(1, maps:get(behind, beamline_runtime:info(Pool))),
        ?assertEqual({ok, ok}, beamline_runtime:call(Pool, noop, x, #{})),
        ?assertMatch({error, {busy, _}}, beamline_runtime:call(Pool, probe_deaf, 1, #{}))
    end).

classes_go_in_order_test() ->
    with_pool(#{threads => 1, ageing => 10_000, heartbeat => 200}, fun(Pool) ->
        Refs = occupy(Pool, 1),
        Order = [low, normal, high, critical],
        Tasks = [{C, element(2, beamline_runtime:submit(Pool, echo, C, #{priority => C}))} || C <- Order],
        eventually(fun() -> wait_in_the_host(beamline_runtime:info(Pool), 4) end),
        release(Refs),
        Answers = [receive {beamline, _, {ok, C}} -> C end || _ <- Tasks],
        ?assertEqual(lists:reverse(Order), Answers)
    end).

wait_in_the_host(#{host := #{queued := N}}, N) -> true;
wait_in_the_host(#{host := #{}}, _) -> false;
wait_in_the_host(#{}, _) -> true.

%% A `low' task starts under a flood of `critical' ones after at most `ageing' and 48 other tasks (doc/runtime.md).
a_flood_of_critical_tasks_starves_nobody_test_() ->
    {timeout, 60, fun() ->
        with_pool(#{threads => 1, ageing => 50}, fun(Pool) ->
            Flood = spawn_link(fun() -> flood(Pool, self(), 0) end),
            eventually(fun() -> maps:get(completed, beamline_runtime:info(Pool)) > 10 end),
            {Ms, Result} = elapsed(fun() -> beamline_runtime:call(Pool, noop, x, #{priority => low}) end),
            unlink(Flood),
            exit(Flood, kill),
            ?assertEqual({ok, ok}, Result),
            ?assert(Ms < 5000) % how many go before it: test/runtime/runtime_test.c
        end)
    end}.

%% Always some hundred waiting.
flood(Pool, Self, Waiting) when Waiting < 300 ->
    {ok, _} = beamline_runtime:submit(Pool, probe_wait, 1, #{priority => critical}),
    flood(Pool, Self, Waiting + 1);
flood(Pool, Self, Waiting) ->
    receive {beamline, _, _} -> flood(Pool, Self, Waiting - 1) end.

one_process_may_hold_so_many_tasks_and_info_tells_who_holds_what_test() ->
    with_pool(#{max_per_owner => 5}, fun(Pool) ->
        Refs = [element(2, beamline_runtime:submit(Pool, probe_wait, 60_000, #{})) || _ <- lists:seq(1, 5)],
        ?assertMatch({error, {busy, _}}, beamline_runtime:call(Pool, noop, x, #{})),
        {Other, Monitor} = spawn_monitor(fun() ->
            {ok, Ref} = beamline_runtime:submit(Pool, probe_wait, 60_000, #{timeout => infinity}),
            receive done -> release([Ref]) end
        end),
        eventually(fun() -> length(maps:get(owners, beamline_runtime:info(Pool))) =:= 2 end),
        #{owners := Owners, refused_owner := 1} = beamline_runtime:info(Pool),
        [{Self, #{tasks := 5, argument_bytes := Bytes}}, {Other, #{tasks := 1}}] = Owners,
        ?assertEqual(self(), Self),
        ?assert(Bytes > 0),
        release(Refs),
        Other ! done,
        receive {'DOWN', Monitor, process, Other, Reason} -> ?assertEqual(normal, Reason) end,
        ?assertEqual([], maps:get(owners, beamline_runtime:info(Pool)))
    end).

%% An answered task holds nothing any more.
a_caller_with_one_task_at_a_time_is_never_refused_test_() ->
    List = lists:seq(1, 5000),
    Binary = binary:copy(<<0>>, 600_000),
    [{timeout, 60, fun() ->
        with_pool(Opts, fun(Pool) ->
            [?assertEqual({ok, Answer}, beamline_runtime:call(Pool, Op, Arg, #{})) || _ <- lists:seq(1, 3000)]
        end)
    end} || {Opts, Op, Arg, Answer} <- [
        {#{max_per_owner => 1}, echo, x, x}, {#{max_queue_bytes => 1_000_000}, echo, Binary, Binary},
        {#{memory_limit => 200_000}, echo, List, List}, {#{memory_limit => 45_000}, probe_allocate, 20_000, <<0:160_000>>}
    ]].

%% What does not run is not behind, not even for a moment; and operations that listen are not counted here.
cancelled_tasks_that_listen_keep_no_opaque_one_out_test_() ->
    {timeout, 60, fun() ->
        with_pool(#{max_behind => 1}, fun(Pool) ->
            Canceller = spawn_link(fun() -> submit_and_cancel(Pool) end),
            Answers = [beamline_runtime:call(Pool, probe_deaf, 0, #{}) || _ <- lists:seq(1, 3000)],
            unlink(Canceller),
            exit(Canceller, kill),
            ?assertEqual([{ok, ok}], lists:usort(Answers))
        end)
    end}.

submit_and_cancel(Pool) ->
    {ok, Ref} = beamline_runtime:submit(Pool, noop, x, #{}),
    _ = beamline_runtime:cancel(Ref),
    _ = beamline_runtime:await(Ref),
    submit_and_cancel(Pool).

a_task_can_be_followed_test() ->
    with_pool(#{threads => 1}, fun(Pool) ->
        [Running] = occupy(Pool, 1),
        {ok, Waiting} = beamline_runtime:submit(Pool, noop, x, #{priority => high}),
        ?assertMatch({ok, #{state := running, started := _}}, beamline_runtime:trace(Running)),
        release([Running]),
        ?assertEqual({ok, ok}, beamline_runtime:await(Waiting)),
        eventually(fun() -> element(2, beamline_runtime:trace(Waiting)) =/= closed end),
        eventually(fun() -> maps:get(state, element(2, beamline_runtime:trace(Waiting))) =:= done end),
        {ok, #{priority := high, outcome := ok, started := S, finished := F, answered := A}} = beamline_runtime:trace(Waiting),
        ?assert(0 =< S andalso S =< F andalso F =< A),
        ?assertMatch({ok, #{outcome := cancelled}}, beamline_runtime:trace(Running)),
        ?assertEqual({error, closed}, beamline_runtime:trace(make_ref())),
        ?assertError(badarg, beamline_runtime:trace(x))
    end).

what_finishes_behind_can_be_followed_to_its_end_test() ->
    with_pool(#{threads => 1}, fun(Pool) ->
        {ok, Ref} = beamline_runtime:submit(Pool, probe_deaf, 2000, #{timeout => 20}),
        ?assertEqual({error, timeout}, beamline_runtime:await(Ref)),
        %% The answer is sent before it is written down.
        eventually(fun() -> maps:with([state, outcome], followed(Ref)) =:= #{state => behind, outcome => timeout} end),
        eventually(fun() -> maps:get(state, followed(Ref)) =:= done end),
        {ok, #{answered := A, finished := F}} = beamline_runtime:trace(Ref),
        ?assert(F > A)
    end).

followed(Ref) -> {ok, Trace} = beamline_runtime:trace(Ref), Trace.

refusals_are_told_to_the_logger_once_a_second_test() ->
    with_pool(#{threads => 1, max_queue => 1}, fun(Pool) ->
        Self = self(),
        ok = logger:add_handler(beamline_test, ?MODULE, #{config => Self}),
        #{level := Level} = logger:get_primary_config(),
        logger:set_primary_config(level, warning),
        Refs = occupy(Pool, 1),
        Full = [element(2, beamline_runtime:submit(Pool, noop, x, #{})) || _ <- lists:seq(1, 500)],
        [beamline_runtime:cancel(R) || R <- Refs],
        [beamline_runtime:await(R) || R <- Refs ++ Full],
        logger:set_primary_config(level, Level),
        logger:remove_handler(beamline_test),
        Events = logged(),
        ?assert(length(Events) >= 1 andalso length(Events) =< 3),
        ?assertMatch([{[beamline, runtime], #{event := refused, pool := Pool, reason := {busy, _}}} | _], Events)
    end).

%% A logger handler.
log(#{msg := {report, Report}, meta := #{domain := [beamline | _] = Domain}}, #{config := To}) -> To ! {logged, Domain, Report};
log(_, _) -> ok.

logged() -> receive {logged, Domain, Report} -> [{Domain, Report} | logged()] after 50 -> [] end.

%% ---- pools ----

a_pool_that_does_not_exist_is_closed_test() ->
    beamline_test:start(),
    ?assertEqual({error, closed}, beamline_runtime:call(no_such_pool, noop, x, #{})),
    ?assertEqual({error, closed}, beamline_runtime:info(no_such_pool)),
    ?assertEqual({error, closed}, beamline_runtime:operations(no_such_pool)),
    ?assertEqual({error, closed}, beamline_runtime:call(self(), noop, x, #{})).

stopping_a_pool_answers_everything_test() ->
    stopped_with(shutdown).

killing_a_pool_answers_everything_test() ->
    stopped_with(kill).

stopped_with(Reason) ->
    beamline_test:start(),
    Probes = beamline_test:built_file("runtime/probe_operations.so"),
    {ok, Pid} = beamline_runtime:start_link(#{name => doomed_pool, threads => 2, operations => [Probes]}),
    unlink(Pid),
    Refs = [element(2, beamline_runtime:submit(doomed_pool, probe_wait, 60_000, #{})) || _ <- lists:seq(1, 100)],
    exit(Pid, Reason),
    [?assertEqual({error, closed}, beamline_runtime:await(R, 2000)) || R <- Refs],
    eventually(fun() -> beamline_runtime:call(doomed_pool, noop, x, #{}) =:= {error, closed} end),
    no_message().

%% The callback that closes a pool hands over, and a deaf operation keeps nobody.
a_pool_with_a_long_queue_ends_at_once_test_() ->
    {timeout, 60, fun() ->
        beamline_test:start(),
        Probes = beamline_test:built_file("runtime/probe_operations.so"),
        {ok, Pid} = beamline_runtime:start_link(#{name => doomed_pool, threads => 1, operations => [Probes]}),
        unlink(Pid),
        {ok, Deaf} = beamline_runtime:submit(doomed_pool, probe_deaf, 5000, #{}),
        Refs = [element(2, beamline_runtime:submit(doomed_pool, noop, x, #{})) || _ <- lists:seq(1, 9_990)],
        Monitor = monitor(process, Pid),
        {Ms, _} = elapsed(fun() -> exit(Pid, kill), receive {'DOWN', Monitor, process, Pid, killed} -> ok end end),
        ?assert(Ms < 2000),
        [?assertEqual({error, closed}, beamline_runtime:await(R, 5000)) || R <- [Deaf | Refs]],
        no_message()
    end}.

%% The answer goes to the reference that the caller holds, whatever the node is called meanwhile.
distribution_may_start_and_stop_while_tasks_run_test_() ->
    {timeout, 60, fun() ->
        Script =
            "{ok, _} = application:ensure_all_started(beamline), "
            "{ok, _} = beamline_runtime:start_link(#{name => p, threads => 2, operations => [\"" ++
            beamline_test:built_file("runtime/probe_operations.so") ++ "\"]}), "
            "Submit = fun() -> [element(2, beamline_runtime:submit(p, probe_wait, 400, #{progress => 50})) || _ <- [1, 2]] end, "
            "Await = fun(Rs) -> [{ok, ok} = beamline_runtime:await(R, 5000) || R <- Rs] end, "
            "A = Submit(), {ok, _} = net_kernel:start([list_to_atom(\"beamline_test@127.0.0.1\"), longnames]), "
            "Await(A), B = Submit(), ok = net_kernel:stop(), Await(B), "
            "io:format(\"answered\"), halt().",
        Command = "erl -noshell -start_epmd false -epmd_module beamline_runtime_test_epmd -pa " ++
            lists:join(" ", [filename:absname(P) || P <- code:get_path(), filelib:is_file(P ++ "/beamline.app") orelse
                is_in(P, "beamline_runtime_test_epmd.beam")]) ++ " -eval '" ++ Script ++ "'",
        ?assertEqual("answered", os:cmd(lists:flatten(Command)))
    end}.

is_in(Dir, File) -> filelib:is_file(filename:join(Dir, File)).

a_pool_under_a_supervisor_comes_back_test() ->
    quiet(fun() ->
        beamline_test:start(),
        Spec = beamline_runtime:child_spec(#{name => supervised_pool, threads => 1}),
        {ok, Sup} = start_supervisor([Spec]),
        ?assertEqual({ok, ok}, beamline_runtime:call(supervised_pool, noop, x, #{})),
        Old = whereis(supervised_pool),
        exit(Old, kill),
        eventually(fun() -> whereis(supervised_pool) =/= Old andalso beamline_runtime:call(supervised_pool, noop, x, #{}) =:= {ok, ok} end),
        stop(Sup)
    end).

a_killed_pool_is_forgotten_when_the_next_one_comes_test() ->
    beamline_test:start(),
    Before = lists:sort(ets:tab2list(beamline_runtime_pools)),
    {ok, Pid} = beamline_runtime:start_link(#{name => undefined, threads => 1, max_queue_bytes => 1}),
    unlink(Pid),
    ?assertMatch({error, {busy, _}}, beamline_runtime:call(Pid, noop, <<"more than a byte">>, #{})),
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    with_pool(#{}, fun(_) -> ok end),
    ?assertEqual(Before, [Row || {Key, _, _} = Row <- lists:sort(ets:tab2list(beamline_runtime_pools)), Key =/= {refused, test_pool}]).

%% Each forgets the dead ones as it comes: not those that have come back before it.
pools_that_are_killed_together_all_come_back_test_() ->
    {timeout, 60, fun() ->
        quiet(fun() ->
            beamline_test:start(),
            Names = [list_to_atom("supervised_pool_" ++ integer_to_list(I)) || I <- lists:seq(1, 16)],
            Sups = [Sup || Name <- Names, {ok, Sup} <- [start_supervisor([beamline_runtime:child_spec(#{name => Name, threads => 1})])]],
            [begin
                Old = [whereis(Name) || Name <- Names],
                [exit(Pid, kill) || Pid <- Old],
                eventually(fun() -> New = [whereis(Name) || Name <- Names], lists:all(fun is_pid/1, New) andalso New -- Old =:= New end),
                [_ = sys:get_state(Name) || Name <- Names], % each has come so far
                ?assertEqual([], [Name || Name <- Names, beamline_runtime:call(Name, noop, x, #{}) =/= {ok, ok}])
             end || _ <- lists:seq(1, 40)],
            lists:foreach(fun stop/1, Sups)
        end)
    end}.

start_supervisor(Specs) ->
    supervisor:start_link(beamline_runtime_test_sup, Specs).

a_port_that_is_closed_by_force_restarts_the_pool_test() ->
    quiet(fun() ->
        beamline_test:start(),
        {ok, Sup} = start_supervisor([beamline_runtime:child_spec(#{name => supervised_pool, threads => 1})]),
        Old = whereis(supervised_pool),
        exit(beamline_runtime_pool:port(supervised_pool), kill),
        eventually(fun() -> whereis(supervised_pool) =/= Old andalso beamline_runtime:call(supervised_pool, noop, x, #{}) =:= {ok, ok} end),
        stop(Sup)
    end).

%% Its tasks could be submitted without the application's table, but not be cancelled.
a_pool_ends_with_the_application_test() ->
    quiet(fun() ->
        beamline_test:start(),
        process_flag(trap_exit, true),
        {ok, Pid} = beamline_runtime:start_link(#{name => left_alone, threads => 1}),
        ok = application:stop(beamline),
        receive {'EXIT', Pid, {shutdown, closed}} -> ok end,
        ?assertEqual({error, closed}, beamline_runtime:call(left_alone, noop, x, #{})),
        ?assertEqual({error, closed}, beamline_runtime:start_link(#{name => left_alone, threads => 1})),
        receive {'EXIT', _, closed} -> ok end,
        beamline_test:start(),
        process_flag(trap_exit, false)
    end).

%% As a process that does not trap exits would.
a_pool_outlives_who_linked_himself_to_it_and_ended_well_test() ->
    with_pool(#{}, fun(Pool) ->
        Pid = whereis(Pool),
        {_, Monitor} = spawn_monitor(fun() -> link(Pid) end),
        receive {'DOWN', Monitor, process, _, normal} -> ok end,
        _ = sys:get_state(Pid), % its signal came before
        ?assertEqual(Pid, whereis(Pool)),
        ?assertEqual({ok, ok}, beamline_runtime:call(Pool, noop, x, #{}))
    end).

an_application_stopped_and_started_answers_what_was_in_flight_test_() ->
    {timeout, 60, fun() ->
        quiet(fun() ->
            beamline_test:start(),
            [begin
                Refs = [element(2, beamline_runtime:submit(noop, x)) || _ <- lists:seq(1, 50)],
                ok = application:stop(beamline),
                [?assert(lists:member(beamline_runtime:await(Ref, 5000), [{ok, ok}, {error, closed}])) || Ref <- Refs],
                ?assertEqual({error, closed}, beamline_runtime:call(noop, x)),
                ok = application:start(beamline),
                ?assertEqual({ok, ok}, beamline_runtime:call(noop, x))
             end || _ <- lists:seq(1, 20)],
            no_message()
        end)
    end}.

an_unnamed_pool_is_called_by_its_pid_test() ->
    beamline_test:start(),
    {ok, Pid} = beamline_runtime:start_link(#{name => undefined, threads => 1}),
    ?assertEqual({ok, x}, beamline_runtime:call(Pid, echo, x, #{})),
    stop(Pid),
    ?assertEqual({error, closed}, beamline_runtime:call(Pid, echo, x, #{})).

a_named_pool_answers_to_its_pid_too_test() ->
    with_pool(#{}, fun(Pool) ->
        ?assertEqual({ok, x}, beamline_runtime:call(whereis(Pool), echo, x, #{})),
        ?assertNot(lists:member(whereis(Pool), beamline_runtime_pool:pools()))
    end).

other_names_for_the_number_of_threads_test_() ->
    Online = erlang:system_info(schedulers_online),
    [
        {timeout, 20, fun() -> has_threads(Opts, N) end}
     || {Opts, N} <- [
            {#{threads => 3}, 3},
            {#{threads => 3, thread_count => 4}, 3}
        ]
    ] ++
        [
            ?_assertMatch({#{threads := 4}, _}, beamline_runtime_opts:pool(#{thread_count => 4})),
            ?_assertMatch({#{threads := Online}, _}, beamline_runtime_opts:pool(#{})),
            ?_assertMatch({#{threads := N}, _} when N > 0, beamline_runtime_opts:pool(#{thread_count => 4, use_hardware_threads => true})),
            ?_assertMatch(
                {#{stack_size := 4_000_000, memory_limit := 5}, _},
                beamline_runtime_opts:pool(#{stack_size => 4_000_000, memory_limit => 5})
            )
        ].

has_threads(Opts, N) ->
    with_pool(Opts, fun(Pool) -> eventually(fun() -> maps:get(threads, beamline_runtime:info(Pool)) =:= N end) end).

too_small_a_stack_is_refused_with_the_field_test() ->
    quiet(fun() ->
        beamline_test:start(),
        process_flag(trap_exit, true),
        ?assertMatch({error, {invalid, #{field := stack_size}}}, beamline_runtime:start_link(#{name => tiny, stack_size => 1000})),
        receive {'EXIT', _, _} -> ok after 100 -> ok end
    end).

statistics_add_up_test() ->
    with_pool(#{}, fun(Pool) ->
        [beamline_runtime:call(Pool, noop, x, #{}) || _ <- lists:seq(1, 50)],
        beamline_runtime:call(Pool, probe_wait, x, #{}),
        #{submitted := S, completed := C, failed := F, run := #{counts := Counts}} = beamline_runtime:info(Pool),
        ?assertEqual(S, C + F),
        ?assertEqual(1, F),
        ?assertEqual(S, lists:sum(Counts))
    end).

%% Refused, or answered by the deadline before the queue could refuse it.
statistics_add_up_when_the_queue_is_full_and_deadlines_pass_test_() ->
    {timeout, 60, fun() ->
        with_pool(#{threads => 1, max_queue => 1}, fun(Pool) ->
            Running = occupy(Pool, 1),
            {ok, Waiting} = beamline_runtime:submit(Pool, probe_wait, 60_000, #{}),
            Before = maps:get(refused_queue, beamline_runtime:info(Pool)),
            Answers = [beamline_runtime:call(Pool, noop, x, #{timeout => 0}) || _ <- lists:seq(1, 20_000)],
            Refused = length([busy || {error, {busy, _}} <- Answers]),
            release([Waiting | Running]),
            eventually(fun() -> is_empty(beamline_runtime:info(Pool)) end),
            #{submitted := S, refused_queue := R} = Info = beamline_runtime:info(Pool),
            ?assertEqual(Refused, R - Before),
            ?assertEqual(S, lists:sum([maps:get(K, Info) || K <- [completed, failed, cancelled, timed_out, closed]]))
        end)
    end}.

%% ---- a user's own operations ----

an_operation_of_ones_own_test() ->
    beamline_test:start(),
    Path = beamline_test:built_file("runtime/example_operations.so"),
    {ok, Pid} = beamline_runtime:start_link(#{name => mine, operations => [Path]}),
    ?assert(lists:member(example_dot, beamline_runtime:operations(mine))),
    ?assertNot(lists:member(example_dot, beamline_runtime:operations())),
    A = << <<(float(N)):64/float-little>> || N <- lists:seq(1, 10_000) >>,
    ?assertEqual({ok, 333383335000.0}, beamline_runtime:call(mine, example_dot, #{a => A, b => A}, #{})),
    ?assertMatch({error, {invalid, #{field := b}}}, beamline_runtime:call(mine, example_dot, #{a => A, b => <<1>>}, #{})),
    ?assertMatch({error, {invalid, #{field := a}}}, beamline_runtime:call(mine, example_dot, #{b => A}, #{})),
    ?assertMatch({error, {invalid, _}}, beamline_runtime:call(mine, example_dot, #{a => A, b => A, c => 1}, #{})),
    stop(Pid).

a_library_that_is_none_stops_the_pool_with_the_reason_test() ->
    quiet(fun() ->
        beamline_test:start(),
        process_flag(trap_exit, true),
        Wrong = #{name => none, operations => ["/no/such/file.so"]},
        ?assertMatch({error, {invalid, #{field := path}}}, beamline_runtime:start_link(Wrong)),
        receive {'EXIT', _, _} -> ok after 100 -> ok end,
        ?assertEqual({error, closed}, beamline_runtime:call(none, noop, x, #{}))
    end).

a_library_may_have_any_name_a_file_can_have_test() ->
    beamline_test:start(),
    Dir = beamline_test:scratch_dir("named_operations"),
    [begin
        {ok, _} = file:copy(beamline_test:built_file("runtime/example_operations.so"), Path),
        Isolation = persistent_term:get({beamline_test, isolation}, vm),
        {ok, Pid} = beamline_runtime:start_link(#{name => named, isolation => Isolation, operations => [Path], threads => 1}),
        ?assert(lists:member(example_dot, beamline_runtime:operations(named))),
        stop(Pid)
     end || Path <- [filename:join(Dir, "plain name.so"), filename:join(list_to_binary(Dir), <<"raw_", 255, ".so">>)]].

%% In the VM the reason is that of the error, from an OS process it is in the text of why it ended.
a_library_with_a_wrong_table_is_refused_test() ->
    quiet(fun() ->
        beamline_test:start(),
        process_flag(trap_exit, true),
        Whole = beamline_test:built_file("runtime/wrong_operations.so"),
        Dir = beamline_test:scratch_dir("wrong_operations"),
        Start = fun(Name) ->
            Path = filename:join(Dir, Name),
            {ok, _} = file:copy(Whole, Path),
            Isolation = persistent_term:get({beamline_test, isolation}, vm),
            beamline_runtime:start_link(#{name => wrong_pool, isolation => Isolation, operations => [Path], threads => 1})
        end,
        Wrong = ["no_table.so", "other_abi.so", "no_name.so", "empty_name.so", "name_in_utf8.so", "name_in_latin1.so",
            "long_name.so", "name_twice.so", "no_function.so"],
        [begin
            case Start(Name) of
                {error, {invalid, #{field := _, why := _}}} -> ok;
                {error, {unsupported, abi}} -> ok;
                {error, {host_exited, <<"invalid: ", _/binary>>}} -> ok;
                {error, {host_exited, <<"unsupported: abi">>}} -> ok;
                Other -> error({Name, Other})
            end,
            receive {'EXIT', _, _} -> ok after 1000 -> ok end
         end || Name <- Wrong],
        {ok, <<Half:10_000/binary, _/binary>>} = file:read_file(Whole),
        Cut = filename:join(Dir, "cut_short.so"),
        ok = file:write_file(Cut, Half),
        ?assertMatch({error, {invalid, #{field := path}}}, beamline_runtime:start_link(#{name => wrong_pool, operations => [Cut]})),
        receive {'EXIT', _, _} -> ok after 1000 -> ok end,
        {ok, Pid} = Start("longest_name.so"),
        Longest = list_to_atom(lists:duplicate(63, $a)),
        ?assert(lists:member(Longest, beamline_runtime:operations(wrong_pool))),
        ?assertEqual({ok, 1}, beamline_runtime:call(wrong_pool, Longest, x, #{})),
        stop(Pid)
    end).

a_library_cut_anywhere_is_refused_test_() ->
    {timeout, 60, fun() -> with_pool(#{}, fun(Pool) ->
        Dir = beamline_test:scratch_dir("cut_libraries"),
        {ok, Whole} = file:read_file(beamline_test:built_file("runtime/example_operations.so")),
        Load = fun(Path) -> beamline_runtime:call(Pool, load_operations, unicode:characters_to_binary(Path), #{}) end,
        [begin
             Path = filename:join(Dir, lists:concat(["cut_", Length, ".so"])),
             ok = file:write_file(Path, binary:part(Whole, 0, Length)),
             ?assertMatch({error, {invalid, #{field := path, why := _}}}, Load(Path))
         end || Length <- lists:usort([0, 1, 63, 64, 65, 119, 120, byte_size(Whole) - 1 | lists:seq(128, byte_size(Whole) - 1, 997)])],
        Fifo = filename:join(Dir, "fifo.so"),
        os:cmd(["mkfifo ", Fifo]),
        [?assertMatch({error, {invalid, #{field := path, why := _}}}, Load(Path))
         || Path <- [Fifo, Dir, "/dev/null", "/dev/zero", filename:join(Dir, "none.so")]]
    end) end}.

%% ---- hostile commands ----

garbage_on_the_port_is_ignored_test() ->
    with_pool(#{}, fun(Pool) ->
        Port = beamline_runtime_pool:port(Pool),
        [catch port_command(Port, G) || G <- [<<>>, <<131>>, crypto:strong_rand_bytes(1000)]],
        [
            catch erlang:port_control(Port, N, G)
         || N <- lists:seq(0, 12), G <- [<<>>, <<1>>, <<131>>, crypto:strong_rand_bytes(50)]
        ],
        flush(),
        ?assertEqual({ok, ok}, beamline_runtime:call(Pool, noop, x, #{}))
    end).

garbage_for_the_nifs_is_refused_test() ->
    with_pool(#{}, fun(Pool) ->
        Id = beamline_runtime_pool:id(Pool),
        Ref = make_ref(),
        Good = term_to_binary(lists:seq(1, 200)),
        Options = [x, {9, 9, 9, 9, 9, 9}, {1, 2, 3}, {1, 1, 0, 0, 0}, {4, 1, 0, 0, 0, 0}, {1, -5, -1, 0, 0, 0}, {1, 1, 1, 1 bsl 40, 0, 0},
            {1, 1, 0, 0, 0, x}, []],
        [?assertError(badarg, beamline_runtime_nif:submit(Id, Ref, noop, O, x)) || O <- Options],
        [?assertError(badarg, beamline_runtime_nif:submit(I, R, Op, 0, x)) || {I, R, Op} <- [
            {x, Ref, noop}, {-1, Ref, noop}, {Id, self(), noop}, {Id, Ref, "noop"}
        ]],
        Gone = [0, Id + 1, Id + (1 bsl 32), (1 bsl 64) - 1],
        [?assertEqual({error, closed}, beamline_runtime_nif:submit(I, Ref, noop, 0, x)) || I <- Gone],
        [?assertMatch({error, {invalid, _}}, beamline_runtime_nif:submit_pieces(Id, Ref, noop, 0, P, 0)) || P <- [
            [], x, [x], [<<1:3>>], <<>>, [<<>>], [<<>>, binary:copy(<<131>>, 300)], [<<131>>], [<<131, 97, 1>> | x]
        ]],
        [
            begin
                R = make_ref(),
                ok = beamline_runtime_nif:submit_pieces(Id, R, echo, 0, [binary:part(Good, 0, N)], 0),
                ?assertMatch({error, {syntax, _}}, beamline_runtime:await(R, 5000))
            end
         || N <- lists:seq(2, byte_size(Good) - 1)
        ],
        flush()
    end).

references_have_names_of_their_own_test() ->
    with_pool(#{}, fun(Pool) ->
        Refs = occupy(Pool, 2) ++ [element(2, beamline_runtime:submit(Pool, probe_wait, 60_000, #{})) || _ <- lists:seq(1, 1000)],
        release(lists:reverse(Refs))
    end).

flush() -> receive _ -> flush() after 50 -> ok end.

%% ---- races ----

submit_cancel_and_close_race_and_each_task_is_answered_once_test_() ->
    {timeout, 60, fun() ->
        beamline_test:start(),
        Probes = beamline_test:built_file("runtime/probe_operations.so"),
        [race(Probes, Round) || Round <- lists:seq(1, 10)]
    end}.

race(Probes, Round) ->
    {ok, Pool} = beamline_runtime:start_link(#{name => race_pool, threads => 2, max_queue => 50, operations => [Probes]}),
    unlink(Pool),
    Workers = [element(2, spawn_monitor(fun() -> racer(500) end)) || _ <- lists:seq(1, 8)],
    receive after 20 * Round -> ok end,
    exit(Pool, case Round rem 2 of 0 -> kill; 1 -> shutdown end),
    [receive {'DOWN', M, process, _, Reason} -> ?assertEqual(normal, Reason) end || M <- Workers],
    eventually(fun() -> whereis(race_pool) =:= undefined end).

racer(0) ->
    no_message();
racer(N) ->
    {ok, Ref} = beamline_runtime:submit(race_pool, probe_wait, N rem 3, #{timeout => N rem 5, progress => 10}),
    N rem 7 =:= 0 andalso beamline_runtime:cancel(Ref),
    %% Exactly one answer: await takes the first; no_message finds a second.
    {_, _} = beamline_runtime:await(Ref, 5000),
    racer(N - 1).

same_version_reload_and_purge_while_tasks_run_test() ->
    with_pool(#{}, fun(Pool) ->
        Refs = occupy(Pool, 2),
        [
            begin
                code:purge(M),
                {module, M} = code:load_file(M),
                code:purge(M)
            end
         || M <- [
                beamline_native, beamline_runtime_drv, beamline_runtime_nif, beamline_runtime_args, beamline_runtime_opts,
                beamline_runtime
            ]
        ],
        ?assertMatch(#{running := 2}, beamline_runtime:info(Pool)),
        release(Refs)
    end).
