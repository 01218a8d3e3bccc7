%% SPDX-License-Identifier: Apache-2.0
%% The six manners: slices, deaths, refusals, deadlines, faults, numbers to watch.
-module(beamline_wasm_manners_tests).

-include_lib("eunit/include/eunit.hrl").

-import(wasm_fixture, [guest/1, guest/2, imports/1]).

none([N], _) -> [N].

kit() -> guest(imports(fun none/2)).

in_time(MostMs, Fun) ->
    Begin = erlang:monotonic_time(millisecond),
    Got = Fun(),
    Took = erlang:monotonic_time(millisecond) - Begin,
    ?assert(Took =< MostMs orelse {took, Took}),
    Got.

%%% Deadlines and cancel

a_guest_that_does_not_end_is_ended_at_its_deadline_test() ->
    G = kit(),
    ?assertEqual({error, timeout}, in_time(1000, fun() -> beamline_wasm:call(G, <<"spin">>, [], #{timeout => 30}) end)),
    ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add_slow">>, [1, 2])),
    ?assertMatch(#{timed_out := 1, state := idle}, beamline_wasm:info(G)).

an_import_that_is_late_unwinds_the_guest_test() ->
    Self = self(),
    G = guest(imports(fun([N], #{instance := I, deadline := Deadline}) ->
        true = Deadline - erlang:monotonic_time(millisecond) =< 30,
        Self ! {info, spin_until_idle(I)},
        [N]
    end)),
    ?assertEqual({error, timeout}, in_time(2000, fun() -> beamline_wasm:call(G, <<"ask_then_spin">>, [], #{timeout => 30}) end)),
    %% The janitor had taken the guest while the import still ran.
    receive {info, State} -> ?assertEqual(idle, State) after 0 -> ?assert(false) end,
    ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add_slow">>, [1, 2])).

spin_until_idle(I) ->
    ok = beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(I)) =:= idle end),
    idle.

a_nested_call_has_a_deadline_of_its_own_test() ->
    G = guest(imports(fun([N], #{instance := I}) ->
        {error, timeout} = beamline_wasm:call(I, <<"spin">>, [], #{timeout => 20}),
        {ok, [3]} = beamline_wasm:call(I, <<"add_slow">>, [1, 2]),
        [N]
    end)),
    ?assertEqual({ok, [1005]}, beamline_wasm:call(G, <<"ask1">>, [5])),
    %% And that of the call around it, if it is earlier.
    H = guest(imports(fun([N], #{instance := I}) -> {error, timeout} = beamline_wasm:call(I, <<"spin">>, [], #{timeout => infinity}),
        [N] end)),
    ?assertEqual({error, timeout}, in_time(1000, fun() -> beamline_wasm:call(H, <<"ask1">>, [5], #{timeout => 30}) end)).

%% Also when the guest worked for long before it asked, and in a nested call.
an_import_is_told_the_deadline_of_the_call_test() ->
    Self = self(),
    Left = fun(#{deadline := Deadline}) -> Deadline - erlang:monotonic_time(millisecond) end,
    G = guest(<<"(module (import \"env\" \"ask\" (func $ask (param i32) (result i32)))
        (func (export \"ask1\") (param i32) (result i32) (call $ask (local.get 0)))
        (func (export \"work\") (param $n i32) (result i32)
          (loop $l (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $l (local.get $n))) (call $ask (i32.const 0))))">>,
        #{imports => imports(fun([0], Ctx) -> Self ! Left(Ctx), [0];
                                ([1], #{instance := I}) ->
                                    [{ok, [0]} = beamline_wasm:call(I, <<"ask1">>, [0], #{timeout => Ms}) || Ms <- [infinity, 60_000, 700]],
                                    [1]
                             end)}),
    Told = fun() -> receive Ms -> Ms after 0 -> none end end,
    Begin = erlang:monotonic_time(millisecond),
    ?assertEqual({ok, [0]}, beamline_wasm:call(G, <<"work">>, [300_000_000], #{timeout => 60_000})),
    Took = erlang:monotonic_time(millisecond) - Begin,
    First = Told(),
    ?assert(First =< 60_000 - Took + 20 orelse {First, Took}),
    ?assertEqual({ok, [1]}, beamline_wasm:call(G, <<"ask1">>, [1], #{timeout => 5000})),
    ?assertMatch([A, B, C] when A =< 5000 andalso B =< 5000 andalso C =< 700, [Told() || _ <- [1, 2, 3]]),
    ?assertEqual({ok, [0]}, beamline_wasm:call(G, <<"ask1">>, [0], #{timeout => 5000})),
    ?assertMatch(Ms when Ms > 3000 andalso Ms =< 5000, Told()).

%% One whose time is over while it waits for an import ends when that answers, alone.
a_nested_call_that_waits_for_an_import_has_its_deadline_test() ->
    Self = self(),
    G = guest(imports(fun([0], #{instance := I}) ->
                             Calls = [{1, 5}, {2, 5}, {1, 5000}],
                             Self ! {nested, [beamline_wasm:call(I, <<"ask1">>, [N], #{timeout => Ms}) || {N, Ms} <- Calls]},
                             [0];
                         ([1], _) -> receive after 30 -> [1] end;
                         ([2], _) -> receive after 30 -> error(late) end
                      end)),
    ?assertEqual({ok, [1000]}, beamline_wasm:call(G, <<"ask1">>, [0])),
    ?assertEqual({nested, [{error, timeout}, {error, timeout}, {ok, [1001]}]}, receive Got -> Got after 0 -> none end),
    ?assertMatch(#{timed_out := 2, cancelled := 0, state := idle}, beamline_wasm:info(G)).

a_caller_that_is_suspended_does_not_keep_the_instance_test() ->
    G = kit(),
    {Pid, _} = Caller = caller(fun() -> beamline_wasm:call(G, <<"spin">>, [], #{timeout => 50}) end),
    busy(G),
    true = erlang:suspend_process(Pid),
    ?assertEqual({ok, [3]}, in_time(2000, fun() -> beamline_wasm:call(G, <<"add">>, [1, 2], #{wait => 5000}) end)),
    true = erlang:resume_process(Pid),
    ?assertEqual({error, timeout}, answer(Caller)).

any_process_may_cancel_test() ->
    G = kit(),
    ?assertEqual(false, beamline_wasm:cancel(G)),
    [begin
         Caller = caller(fun() -> beamline_wasm:call(G, Spin, []) end),
         busy(G),
         ?assertEqual(true, beamline_wasm:cancel(G)),
         ?assertEqual({error, cancelled}, answer(Caller)),
         ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add_slow">>, [1, 2]))
     end || Spin <- [<<"spin">>, <<"spinstore">>, <<"spin">>]],
    P = guest(imports(fun(_, _) -> receive go -> [1] end end)),
    Caller = caller(fun() -> beamline_wasm:call(P, <<"ask1">>, [1]) end),
    ok = beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(P)) =:= parked end),
    ?assertEqual(true, beamline_wasm:cancel(P)),
    ?assertEqual({ok, [3]}, beamline_wasm:call(P, <<"add_slow">>, [1, 2])), % at once, while the import still waits
    element(1, Caller) ! go,
    ?assertEqual({error, cancelled}, answer(Caller)).

caller(Fun) ->
    Self = self(),
    Pid = spawn(fun() -> Self ! {self(), Fun()} end),
    {Pid, Pid}.

answer({_, Pid}) -> receive {Pid, Got} -> Got after 5000 -> no_answer end.

busy(G) -> beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(G)) =/= idle end).

%%% Deaths

a_dead_caller_leaves_an_idle_guest_test_() ->
    {timeout, 60, fun() ->
        G = kit(),
        P = guest(imports(fun(_, _) -> receive never -> [1] end end)),
        [begin
             {Pid, _} = caller(fun() -> beamline_wasm:call(I, F, A) end),
             busy(I),
             exit(Pid, kill),
             ok = beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(I)) =:= idle end),
             ?assertEqual({ok, [3]}, beamline_wasm:call(I, <<"add_slow">>, [1, 2]))
         end || _ <- lists:seq(1, 20), {I, F, A} <- [{G, <<"spin">>, []}, {G, <<"spinstore">>, []}, {P, <<"ask1">>, [1]}]]
    end}.

an_instance_dies_with_its_owner_test() ->
    wasm_fixture:start(),
    Self = self(),
    {Owner, Monitor} = spawn_monitor(fun() -> Self ! kit(), receive stop -> ok end end),
    G = receive I -> I end,
    Caller = caller(fun() -> beamline_wasm:call(G, <<"spin">>, []) end),
    busy(G),
    exit(Owner, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?assertEqual({error, closed}, answer(Caller)),
    [?assertEqual({error, closed}, F()) || F <- [fun() -> beamline_wasm:call(G, <<"add">>, [1, 2]) end, fun() -> beamline_wasm:read(G, 0,
        1) end,
                                                 fun() -> beamline_wasm:size(G) end, fun() -> beamline_wasm:global_get(G, <<"g">>) end]],
    ?assertMatch(#{state := closed}, beamline_wasm:info(G)).

ownership_can_be_handed_over_test() ->
    G = kit(),
    Next = spawn(fun() -> receive stop -> ok end end),
    ?assertEqual(ok, beamline_wasm:controlling_process(G, Next)),
    ?assertMatch(#{owner := Next}, beamline_wasm:info(G)),
    ?assertError(badarg, beamline_wasm:controlling_process(G, self())),
    Next ! stop,
    beamline_test:eventually(fun() -> beamline_wasm:call(G, <<"add">>, [1, 2]) =:= {error, closed} end).

stop_ends_what_runs_and_twice_is_harmless_test() ->
    G = kit(),
    Caller = caller(fun() -> beamline_wasm:call(G, <<"spin">>, [], #{timeout => infinity}) end),
    busy(G),
    ?assertEqual(ok, in_time(100, fun() -> beamline_wasm:stop(G) end)),
    ?assertEqual({error, closed}, answer(Caller)),
    ?assertEqual(ok, beamline_wasm:stop(G)),
    P = guest(imports(fun(_, #{instance := I}) -> ok = beamline_wasm:stop(I), [1] end)),
    ?assertEqual({error, closed}, beamline_wasm:call(P, <<"ask1">>, [1])).

%% Others keep the guest: the memory that was made for it.
stop_ends_a_call_in_a_guest_that_is_shared_test() ->
    Self = self(),
    M = wasm_fixture:module(<<"(module (import \"h\" \"m\" (memory 1)) (import \"h\" \"f\" (func $f))
        (func (export \"spin\") (loop $l (br $l))) (func (export \"ask\") (call $f)))">>),
    Start = fun(Fun) ->
        {ok, I} = beamline_wasm:start(M, #{imports => #{{<<"h">>, <<"m">>} => {memory, #{min => 1}}, {<<"h">>, <<"f">>} => Fun}}),
        I
    end,
    G = Start(fun(_, _) -> [] end),
    Caller = caller(fun() -> beamline_wasm:call(G, <<"spin">>, []) end),
    busy(G),
    ok = beamline_wasm:stop(G),
    ?assertEqual({error, closed}, answer(Caller)),
    %% In an import, by itself.
    P = Start(fun(_, #{instance := I}) -> ok = beamline_wasm:stop(I), Self ! stopped, [] end),
    ?assertEqual({error, closed}, beamline_wasm:call(P, <<"ask">>, [])),
    receive stopped -> ok after 0 -> ?assert(false) end.

what_nobody_refers_to_is_collected_test() ->
    Before = wasm_fixture:live(),
    Owner = self(),
    {_, Monitor} = spawn_monitor(fun() ->
        [{ok, [3]} = beamline_wasm:call(guest(wasm_fixture:wat(), #{imports => imports(fun none/2), owner => Owner}), <<"add_slow">>, [1,
            2]) || _ <- lists:seq(1, 10)]
    end),
    receive {'DOWN', Monitor, _, _, normal} -> ok end,
    beamline_test:eventually(fun() -> wasm_fixture:live() =< Before end).

%% A thousand at a time, spinning and parked: nothing is left.
thousands_of_killed_callers_leave_nothing_test_() ->
    {timeout, 120, fun() ->
        wasm_fixture:start(),
        {ok, M} = beamline_wasm:compile(<<"(module (import \"env\" \"ask\" (func $ask (param i32) (result i32))) (memory 1)
            (func (export \"spin\") (loop $l (br $l))) (func (export \"ask1\") (param i32) (result i32) (call $ask (local.get 0))))">>,
            #{engine => dense}),
        wasm_fixture:all_gone(),
        Round = fun(F, A) ->
            Pids = [spawn(fun() ->
                {ok, G} = beamline_wasm:start(M, #{imports => imports(fun(_, _) -> receive never -> [1] end end)}),
                beamline_wasm:call(G, F, A)
            end) || _ <- lists:seq(1, 500)],
            ok = beamline_test:eventually(fun() -> wasm_fixture:live() =:= 500 end, 20_000),
            [exit(Pid, kill) || Pid <- Pids],
            wasm_fixture:all_gone()
        end,
        ok = Round(<<"spin">>, []),
        ok = Round(<<"ask1">>, [1]),
        Before = maps_count(),
        [ok = Round(F, A) || _ <- [1, 2], {F, A} <- [{<<"spin">>, []}, {<<"ask1">>, [1]}]],
        ?assert(maps_count() - Before < 50)
    end}.

maps_count() ->
    {ok, Maps} = file:read_file("/proc/self/maps"),
    length(binary:matches(Maps, <<"\n">>)).

%%% Refusals

one_process_at_a_time_test() ->
    G = kit(),
    Caller = caller(fun() -> beamline_wasm:call(G, <<"spin">>, []) end),
    busy(G),
    [?assertEqual({error, {busy, 0}}, F()) || F <- [fun() -> beamline_wasm:call(G, <<"add">>, [1, 2]) end, fun() -> beamline_wasm:read(G,
        0, 1) end,
                                                    fun() -> beamline_wasm:grow(G, 1) end, fun() -> beamline_wasm:table_get(G, <<"tab">>,
                                                        0) end,
                                                    fun() -> beamline_wasm:call(G, <<"add">>, [1, 2], #{wait => 30}) end]],
    beamline_wasm:cancel(G),
    ?assertEqual({error, cancelled}, answer(Caller)),
    %% A parked guest is its caller's only.
    P = guest(imports(fun(_, _) -> receive go -> [1] end end)),
    {Pid, _} = Parked = caller(fun() -> beamline_wasm:call(P, <<"ask1">>, [1]) end),
    ok = beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(P)) =:= parked end),
    [?assertEqual({error, {busy, 0}}, F()) || F <- [fun() -> beamline_wasm:call(P, <<"add">>, [1, 2]) end, fun() -> beamline_wasm:read(P,
        0, 1) end]],
    Pid ! go,
    ?assertEqual({ok, [1001]}, answer(Parked)).

who_waits_is_served_in_order_test_() ->
    {timeout, 30, fun() ->
        G = guest(imports(fun([1000], _) -> receive go -> [1000] end; ([N], _) -> receive after N -> [N] end end)),
        Holder = caller(fun() -> beamline_wasm:call(G, <<"ask1">>, [1000]) end),
        busy(G),
        Self = self(),
        Waiters = [begin
            Pid = spawn(fun() -> Self ! {served, N, beamline_wasm:call(G, <<"ask1">>, [5], #{wait => 20_000})} end),
            ok = beamline_test:eventually(fun() -> process_info(Pid, status) =:= {status, waiting} end),
            receive after 5 -> ok end,
            Pid
        end || N <- lists:seq(1, 8)],
        exit(lists:nth(3, Waiters), kill), % one that dies gives its place away
        element(1, Holder) ! go,
        ?assertEqual({ok, [2000]}, answer(Holder)),
        Served = [receive {served, N, {ok, [1005]}} -> N after 5000 -> late end || _ <- lists:seq(1, 7)],
        ?assertEqual([1, 2, 4, 5, 6, 7, 8], Served),
        ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add">>, [1, 2]))
    end}.

%% Who asks for info does not use the instance: nobody is refused for it, and a turn that meets it is not lost.
who_asks_for_info_is_in_nobodys_way_test_() ->
    {timeout, 60, fun() ->
        G = kit(),
        Lookers = [spawn_link(fun Look() -> beamline_wasm:info(G), Look() end) || _ <- [1, 2]],
        ?assertEqual([], [Got || N <- lists:seq(1, 3000), Got <- [beamline_wasm:call(G, <<"add_slow">>, [N, 0])], Got =/= {ok, [N]}]),
        Callers = [caller(fun() -> [beamline_wasm:call(G, <<"add_slow">>, [N, 0], #{wait => 10_000}) || N <- lists:seq(1, 1000)] end)
                   || _ <- [1, 2, 3]],
        [?assertEqual([{ok, [N]} || N <- lists:seq(1, 1000)], receive {Pid, Got} -> Got after 30_000 -> late end) || {Pid, _} <- Callers],
        [begin unlink(Pid), exit(Pid, kill) end || Pid <- Lookers]
    end}.

a_wait_that_is_none_leaves_no_place_in_the_queue_test() ->
    G = kit(),
    Caller = caller(fun() -> beamline_wasm:call(G, <<"spin">>, []) end),
    busy(G),
    [?assertError(badarg, beamline_wasm:call(G, <<"add">>, [1, 2], #{wait => Wait})) || Wait <- [soon, 1.5, -1, []]],
    [?assertError(badarg, beamline_wasm:call(G, <<"add">>, [1, 2], Options))
     || Options <- [#{timeout => soon}, #{timeout => -1}, #{timout => 5}, #{floats => maybe}, [{timeout, 5}], none]],
    beamline_wasm:cancel(G),
    ?assertEqual({error, cancelled}, answer(Caller)),
    ?assertEqual({ok, [3]}, answer(caller(fun() -> beamline_wasm:call(G, <<"add">>, [1, 2]) end))).

fuel_is_limited_for_a_call_and_for_all_of_them_test() ->
    G = guest(wasm_fixture:wat(), #{imports => imports(fun none/2), fuel => 100_000}),
    ?assertMatch({error, {limit, #{what := fuel, limit := 100_000}}}, beamline_wasm:call(G, <<"spin">>, [])),
    ?assertEqual({ok, [55]}, beamline_wasm:call(G, <<"fib">>, [10])),
    Z = guest(wasm_fixture:wat(), #{imports => imports(fun none/2), fuel => 0}),
    ?assertMatch({error, {limit, #{what := fuel, limit := 0}}}, beamline_wasm:call(Z, <<"add">>, [1, 2])),
    T = guest(wasm_fixture:wat(), #{imports => imports(fun none/2), fuel_limit => 100_000}),
    Spend = fun Spend(N) -> case beamline_wasm:call(T, <<"fib">>, [10]) of {ok, [55]} -> Spend(N + 1); {error, {limit,
        #{what := fuel}}} -> N end end,
    ?assert(lists:member(Spend(0), lists:seq(20, 100))),
    ?assertMatch({error, {limit, #{what := fuel}}}, beamline_wasm:call(T, <<"add">>, [1, 2])),
    ?assertMatch(#{fuel := Fuel} when Fuel >= 99_000, beamline_wasm:info(T)).

the_same_fuel_every_time_test() ->
    Used = [begin
        G = kit(),
        {ok, _} = beamline_wasm:call(G, <<"fib">>, [20]),
        maps:get(fuel, beamline_wasm:info(G))
    end || _ <- [1, 2, 3]],
    ?assertMatch([F, F, F] when F > 100_000, Used).

%%% Schedulers

%% A ticking process on the same schedulers: what it sees is published by the bench; here only that it is not starved.
spinning_guests_do_not_hold_schedulers_test_() ->
    {timeout, 60, fun() ->
        N = 2 * erlang:system_info(schedulers_online),
        Callers = [caller(fun() -> G = kit(), beamline_wasm:call(G, <<"spinstore">>, [], #{timeout => 1500}) end) || _ <- lists:seq(1, N)],
        receive after 300 -> ok end,
        Late = [begin
            Begin = erlang:monotonic_time(microsecond),
            receive after 1 -> ok end,
            erlang:monotonic_time(microsecond) - Begin - 1000
        end || _ <- lists:seq(1, 200)],
        ?assert(lists:nth(100, lists:sort(Late)) < 20_000),
        [?assertEqual({error, timeout}, answer(C)) || C <- Callers]
    end}.

%% Starting and describing: many imports or exports, arrays in constant expressions.
large_modules_do_not_hold_schedulers_test_() ->
    {timeout, 60, fun() ->
        Names = [integer_to_list(I) || I <- lists:seq(1, 10_000)],
        Exporting = wasm_fixture:module(["(module (func)", [["(export \"", A, B, "\" (func 0))"] || A <- "abcdefgh", B <- Names], ")"]),
        Importing = wasm_fixture:module(["(module ", [["(import \"m\" \"", Name, "\" (func))"] || Name <- Names], ")"]),
        Imports = maps:from_list([{{<<"m">>, list_to_binary(Name)}, fun(_, _) -> [] end} || Name <- Names]),
        Array = wasm_fixture:module(<<"(module (type $a (array i32))
            (global (ref $a) (array.new $a (i32.const 1) (i32.const 20000000))))">>),
        Work = [fun() -> 80_000 = length(beamline_wasm:exports(Exporting)) end, fun() -> {ok, _} = beamline_wasm:start(Exporting) end,
                fun() -> {ok, _} = beamline_wasm:start(Importing, #{imports => Imports}) end,
                fun() -> {ok, _} = beamline_wasm:start(Array) end],
        %% On a busy machine the kernel takes the processor away, too: once is enough.
        [beamline_test:eventually(fun() -> held(Fun) =:= [] end, 10_000) || Fun <- Work]
    end}.

%% How often Fun held a scheduler for 15 ms.
held(Fun) ->
    Old = erlang:system_monitor(self(), [{long_schedule, 15}]),
    {Pid, Monitor} = spawn_monitor(Fun),
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end,
    receive after 20 -> ok end,
    erlang:system_monitor(Old),
    held_by(Pid).

held_by(Pid) ->
    receive
        {monitor, Pid, long_schedule, Info} -> [Info | held_by(Pid)];
        {monitor, _, long_schedule, _} -> held_by(Pid)
    after 0 -> []
    end.

a_large_bulk_instruction_goes_to_a_dirty_scheduler_test_() ->
    {timeout, 60, fun() ->
        G = guest(<<"(module (memory (export \"memory\") 1024) (func (export \"fill\") (param i32) (memory.fill (i32.const 0)
          (i32.const 1) (local.get 0))))">>, #{}),
        ?assertEqual({ok, []}, beamline_wasm:call(G, <<"fill">>, [64 bsl 20])),
        ?assertMatch(#{migrations := M} when M >= 1, beamline_wasm:info(G)),
        ?assertEqual({ok, <<1, 1>>}, beamline_wasm:read(G, (64 bsl 20) - 2, 2)),
        %% What is called there may be killed and cancelled as well.
        Caller = caller(fun() -> [beamline_wasm:call(G, <<"fill">>, [64 bsl 20]) || _ <- lists:seq(1, 50)] end),
        receive after 10 -> ok end,
        exit(element(1, Caller), kill),
        beamline_test:eventually(fun() -> beamline_wasm:call(G, <<"fill">>, [1]) =:= {ok, []} end)
    end}.

a_guest_may_change_schedulers_between_slices_test_() ->
    {timeout, 60, fun() ->
        Callers = [caller(fun() -> G = kit(), {beamline_wasm:call(G, <<"turns">>, [3_000_000]), beamline_wasm:call(G, <<"trap">>,
            [])} end) || _ <- lists:seq(1, 20)],
        Answers = [answer(C) || C <- Callers],
        ?assertMatch([{{ok, [_]}, {error, {trap, _}}}], lists:usort(Answers))
    end}.

%%% Watching

numbers_are_counted_test() ->
    G = kit(),
    {ok, _} = beamline_wasm:call(G, <<"add">>, [1, 2]),
    {ok, _} = beamline_wasm:call(G, <<"asks">>, [10]),
    {error, _} = beamline_wasm:call(G, <<"trap">>, []),
    Self = self(),
    ?assertMatch(#{calls := 3, direct_calls := 2, imports := 10, traps := 1, memory := 131072, owner := Self, state := idle},
        beamline_wasm:info(G)),
    #{samples := Traps} = hd([F || #{name := beamline_wasm_traps_total} = F <- beamline_metrics:families()]),
    ?assert(proplists:get_value([{code, unreachable}], Traps) >= 1),
    Names = [Name || #{name := Name} <- beamline_metrics:families()],
    [?assert(lists:member(Name, Names)) || Name <- [beamline_wasm_guests, beamline_wasm_calls_total, beamline_wasm_compile_seconds,
        beamline_wasm_traps_total]].

%% Of guests that live, without anybody who asks for info, and of those that are gone.
fuel_of_all_guests_is_counted_test() ->
    Before = total(fuel),
    G = kit(),
    ?assertEqual({error, timeout}, beamline_wasm:call(G, <<"spin">>, [], #{timeout => 30})),
    ?assert(total(fuel) - Before > 100_000),
    {ok, _} = beamline_wasm:call(G, <<"fib">>, [15]),
    #{fuel := Used} = beamline_wasm:info(G),
    ok = beamline_wasm:stop(G),
    ok = beamline_test:eventually(fun() -> total(fuel) - Before >= Used end).

%% Also of one that nobody has looked at yet; what several have is counted once.
memory_of_all_guests_is_counted_test() ->
    wasm_fixture:start(),
    wasm_fixture:all_gone(),
    A = guest(<<"(module (memory (export \"m\") 10) (func (export \"spin\") (loop $l (br $l))))">>, #{}),
    ?assertEqual(10 * 65536, total(memory_bytes)),
    B = guest(<<"(module (import \"a\" \"m\" (memory 1)) (export \"m\" (memory 0)))">>, #{imports => #{{<<"a">>,
        <<"m">>} => {export, A, <<"m">>}}}),
    C = guest(<<"(module (memory (export \"m\") 3))">>, #{with => A}),
    ?assertEqual(13 * 65536, total(memory_bytes)),
    {ok, 10} = beamline_wasm:grow(A, 2),
    Memory = fun() -> [maps:get(memory, beamline_wasm:info(I)) div 65536 || I <- [A, B, C]] end,
    ?assertEqual([12, 12, 3], Memory()),
    ?assertEqual(15 * 65536, total(memory_bytes)),
    %% Each its own, while none can be looked at.
    Caller = caller(fun() -> beamline_wasm:call(A, <<"spin">>, []) end),
    busy(A),
    ?assertEqual([12, 12, 3], Memory()),
    true = beamline_wasm:cancel(A),
    ?assertEqual({error, cancelled}, answer(Caller)).

total(Name) -> proplists:get_value(Name, beamline_wasm_nif:totals()).

a_server_owns_an_instance_under_a_supervisor_test() ->
    wasm_fixture:start(),
    Spec = beamline_wasm:child_spec(#{module => wasm_fixture:wat(), name => {local, wasm_kit},
                                      start => #{imports => imports(fun([N], #{state := S}) -> {[N + S], S + 1} end), state => 1}}),
    {ok, Sup} = gen_server_sup([Spec]),
    ?assertEqual({ok, [1011]}, beamline_wasm_server:call(wasm_kit, <<"ask1">>, [10])),
    ?assertEqual({ok, [1012]}, beamline_wasm_server:call(wasm_kit, <<"ask1">>, [10])),
    ?assertEqual({ok, 3}, beamline_wasm_server:state(wasm_kit)),
    ?assertError(badarg, beamline_wasm_server:call(wasm_kit, <<"ask1">>, [])),
    ?assertEqual({error, timeout}, beamline_wasm_server:call(wasm_kit, <<"spin">>, [], #{timeout => 20})),
    {ok, G} = beamline_wasm_server:instance(wasm_kit),
    Old = whereis(wasm_kit),
    exit(Old, kill),
    ok = beamline_test:eventually(fun() -> not lists:member(whereis(wasm_kit), [undefined, Old]) end),
    ?assertEqual({ok, [1011]}, beamline_wasm_server:call(wasm_kit, <<"ask1">>, [10])),
    ?assertEqual({error, closed}, beamline_wasm:call(G, <<"add">>, [1, 2])),
    unlink(Sup),
    exit(Sup, shutdown),
    ok = beamline_test:eventually(fun() -> whereis(wasm_kit) =:= undefined end),
    ?assertEqual({error, closed}, beamline_wasm_server:call(wasm_kit, <<"ask1">>, [10])).

a_server_takes_any_time_and_ends_when_its_instance_was_stopped_test() ->
    wasm_fixture:start(),
    {ok, Pid} = gen_server:start(beamline_wasm_server, #{module => <<"(module (func (export \"one\") (result i32) (i32.const 1)))">>}, []),
    Call = fun(Options) -> beamline_wasm_server:call(Pid, <<"one">>, [], Options) end,
    [?assertEqual({ok, [1]}, Call(#{timeout => Ms})) || Ms <- [infinity, 1000, 1 bsl 40]],
    [?assertError(badarg, Call(#{timeout => Ms})) || Ms <- [-1, soon, 1.5]],
    [?assertError(badarg, Call(Options)) || Options <- [none, [{timeout, 5}], #{timout => 5}]],
    ?assertEqual({error, {unsupported, request}}, gen_server:call(Pid, hello)),
    {ok, Instance} = beamline_wasm_server:instance(Pid),
    Monitor = monitor(process, Pid),
    ok = beamline_wasm:stop(Instance),
    ?assertEqual({error, closed}, Call(#{})),
    receive {'DOWN', Monitor, process, Pid, Why} -> ?assertEqual({shutdown, closed}, Why) after 2000 -> ?assert(false) end,
    ?assertEqual({error, closed}, Call(#{})).

gen_server_sup(Specs) -> supervisor:start_link(beamline_wasm_test_sup, Specs).
