%% SPDX-License-Identifier: Apache-2.0
%% Handlers of WebAssembly: what they can do, and what they cannot do to anybody else.
-module(beamline_ring_guest_tests).

-include_lib("eunit/include/eunit.hrl").

-export([load_and_start/0]).

%% Runs with a device that knows the kit, and looks afterwards that nothing is left of it.
with_kit(Fun) -> with_kit(#{threads => 2}, #{}, Fun).

with_kit(Opts, GuestOpts, Fun) ->
    ok = wasm_fixture:start(),
    ring_fixture:with_device(Opts, fun(Device) ->
        {ok, 1} = beamline_ring:load(Device, {wasm, ring_guest_fixture:kit(), GuestOpts}),
        Fun(Device)
    end),
    wasm_fixture:all_gone().

started(Device) -> started(Device, #{}).

started(Device, Opts) ->
    {ok, Actor} = beamline_ring:start(Device, kit, Opts),
    Actor.

count(Actor) ->
    {ok, <<N:64/little>>} = beamline_ring:call(Actor, {count, <<>>}),
    N.

%%% The example of doc/ring.md

the_handler_in_c_of_the_documentation_runs_in_a_sandbox_test_() ->
    {timeout, 60, fun() ->
        ok = wasm_fixture:start(),
        Bytes = compiled(beamline_test:source_file("test/ring/histogram_operations.c")),
        {ok, Device} = beamline_ring:open(#{handlers => [{wasm, Bytes}], isolation => ring_fixture:isolation()}),
        ?assertMatch({ok, [#{name := histogram, version := 1, functions := [add, read], ports := [], state_size := 128,
                             sandboxed := true} | _]},
                     beamline_ring:handlers(Device)),
        {ok, H} = beamline_ring:start(Device, histogram),
        Message = rand:bytes(100_000),
        ok = beamline_ring:cast(H, {add, <<"some bytes">>}),
        ok = beamline_ring:cast(H, {add, Message}),
        {ok, Counts} = beamline_ring:call(H, {read, <<>>}),
        All = <<"some bytes", Message/binary>>,
        ?assertEqual([length([B || <<B:4, _:4>> <= All, B =:= Bin]) || Bin <- lists:seq(0, 15)], [N || <<N:64/little>> <= Counts]),
        %% A checkpoint of one is a state of the other: it is the same source.
        {ok, Native} = beamline_ring:open(#{handlers => [beamline_test:built_file("ring/histogram_operations.so")]}),
        {ok, Checkpoint} = beamline_ring:checkpoint(H),
        {ok, N} = beamline_ring:restore(Native, Checkpoint),
        ?assertEqual({ok, Counts}, beamline_ring:call(N, {read, <<>>})),
        [ok = beamline_ring:close(D) || D <- [Device, Native]]
    end}.

compiled(Source) ->
    [beamline_test:skip([Tool, " is not installed"]) || Tool <- ["clang", "wasm-ld"], os:find_executable(Tool) =:= false],
    Wasm = filename:join(beamline_test:scratch_dir("ring_guest"), "histogram.wasm"),
    Said = os:cmd("clang -O2 --target=wasm32 -mbulk-memory -nostdlib -Wl,--no-entry,--export-table,-z,stack-size=8192 -I"
                  ++ beamline_test:source_file("include") ++ " -o " ++ Wasm ++ " " ++ Source),
    case file:read_file(Wasm) of
        {ok, Bytes} -> Bytes;
        {error, _} -> error({clang, Said})
    end.

%%% What other handlers have, too

a_message_of_any_size_comes_back_test_() ->
    {timeout, 30, fun() -> with_kit(fun(D) ->
        Actor = started(D),
        [begin
             Message = rand:bytes(Size),
             ?assertEqual({ok, Message}, beamline_ring:call(Actor, Message))
         end || Size <- [0, 1, 24, 25, 512, 513, 65536, 70000, 5_000_000, 10, 0]],
        ?assertEqual(12, count(Actor))
    end) end}.

a_compiled_module_serves_several_devices_test() ->
    with_kit(fun(_) ->
        {ok, Module} = beamline_wasm:compile(ring_guest_fixture:kit()), % engine: fast
        [begin
             {ok, D} = beamline_ring:open(#{threads => 1, handlers => [{wasm, Module}, {wasm, Module, #{memory_limit => 1 bsl 20}}]}),
             ?assertEqual(1, count(started(D))),
             ok = beamline_ring:close(D)
         end || _ <- [1, 2]],
        ?assertError(badarg, beamline_ring:open(#{handlers => [{wasm, Module, #{engine => dense}}]}))
    end).

codes_of_a_guest_mean_what_native_ones_mean_test() ->
    with_kit(fun(D) ->
        Actor = started(D),
        Code = fun(N) -> beamline_ring:call(Actor, {code, <<N:32/little>>}) end,
        ?assertEqual({ok, <<>>}, Code(0)),
        ?assertMatch({error, {invalid, #{field := message}}}, Code(1)),
        ?assertMatch({error, {limit, #{what := state}}}, Code(2)),
        ?assertEqual({error, {unsupported, function}}, Code(3)),
        ?assertEqual({error, timeout}, Code(4)),
        ?assertEqual({error, no_memory}, Code(5)),
        ?assertEqual(7, count(Actor)), % and what it did before it returned counts
        ?assertMatch({error, {device_failed, _}}, Code(6)),
        ?assertMatch({error, {device_failed, _}}, beamline_ring:call(Actor, <<>>)),
        Ref = beamline_ring:ref(Actor),
        ?assertMatch({failed, {device_failed, _}}, receive {beamline, Ref, Told} -> Told after 2000 -> nothing end),
        ?assertMatch({error, {device_failed, _}}, beamline_ring:call(started(D), {code, <<-1:32/little>>}))
    end).

guests_and_native_actors_send_to_each_other_test() ->
    with_kit(fun(D) ->
        [A, B] = [started(D) || _ <- [1, 2]],
        {ok, Echo} = beamline_ring:start(D, echo),
        ok = beamline_ring:connect(A, out, B),
        ok = beamline_ring:connect(A, out, Echo),
        ok = beamline_ring:connect(Echo, out, B),
        {ok, Sub} = beamline_ring:subscribe(B, #{}),
        ?assertEqual({ok, <<-3:32/little>>}, beamline_ring:call(A, {forward, <<"more than twenty-four bytes">>})),
        ?assertEqual({ok, <<2:32/little>>}, beamline_ring:call(A, {forward, <<"x">>})), % function 1: B counts, echo forwards
        beamline_test:eventually(fun() -> {ok, #{handled := N}} = beamline_ring:info(B), N =:= 2 end),
        ?assertEqual([<<1:64/little>>, <<2:64/little>>], [N || <<N:8/binary>> <- [pad(R) || R <- results(Sub, 2)]])
    end).

buffers_are_copied_in_and_those_that_are_written_out_test() ->
    with_kit(fun(D) ->
        {ok, Buffer} = beamline_ring:buffer(D, <<1, 2, 3>>),
        {ok, Other} = beamline_ring:buffer(D, <<7:800000>>),
        ?assertEqual({ok, <<3:64/little>>}, beamline_ring:call(started(D), {mark, [Buffer, Other]})),
        ?assertEqual({ok, <<42, 2, 3>>}, beamline_ring:read(Buffer, 0, 3)),
        ?assertEqual({ok, <<7:800000>>}, beamline_ring:read(Other, 0, 100000))
    end).

subscribers_suspend_and_stop_work_with_guests_test() ->
    with_kit(fun(D) ->
        Actor = started(D, #{priority => high, queue => 8}),
        {ok, Sub} = beamline_ring:subscribe(Actor, #{}),
        ok = beamline_ring:suspend(Actor),
        [ok = beamline_ring:cast(Actor, <<N:256>>) || N <- [1, 2, 3]],
        ok = beamline_ring:resume(Actor),
        ?assertEqual([<<N:256>> || N <- [1, 2, 3]], results(Sub, 3)),
        ok = beamline_ring:cast(Actor, {work, <<1000:64/little>>}),
        ?assertEqual(ok, beamline_ring:stop(Actor)),
        ?assertEqual({error, closed}, beamline_ring:call(Actor, <<>>))
    end).

pad(Bytes) -> <<Bytes/binary, 0:(8 * (8 - byte_size(Bytes)))>>.

results(_, 0) -> [];
results(Sub, N) ->
    receive {beamline, Sub, {batch, B}} -> B ++ results(Sub, N - length(B)) after 2000 -> [] end.

%%% States

a_checkpoint_of_a_guest_restores_test() ->
    with_kit(fun(D) ->
        Actor = started(D, #{state => <<40:64/little>>}),
        ?assertEqual(41, count(Actor)),
        {ok, #{handler := kit, version := 1, state := <<41:64/little>>} = Checkpoint} = beamline_ring:checkpoint(Actor),
        {ok, Again} = beamline_ring:restore(D, Checkpoint),
        ?assertEqual([42, 42, 43], [count(Again), count(Actor), count(Actor)]),
        {ok, Large} = beamline_ring:start(D, kit, #{state_size => 1_000_000}),
        {ok, #{state := State}} = beamline_ring:checkpoint(Large),
        ?assertEqual(<<0:8_000_000>>, State),
        ?assertMatch({error, {limit, #{what := state_size}}}, beamline_ring:start(D, kit, #{state_size => 4})),
        ?assertMatch({error, {limit, #{what := memory}}}, beamline_ring:start(D, kit, #{state_size => 16 bsl 20})),
        ?assertMatch({error, {limit, #{what := state_size}}}, beamline_ring:start(D, kit, #{state_size => 32 bsl 20}))
    end).

an_upgrade_goes_through_the_guests_migration_test() ->
    with_kit(fun(D) ->
        Actor = started(D),
        [ok = beamline_ring:cast(Actor, <<N>>) || N <- [1, 2, 3]],
        Next = {wasm, ring_guest_fixture:kit(#{version => 2, check => 2, migrate => 3, state => 16}), #{}},
        ?assertEqual(ok, beamline_ring:upgrade(Actor, #{library => Next})),
        ?assertEqual(3001, count(Actor)),
        ?assertMatch({ok, #{version := 2, state_size := 16}}, beamline_ring:info(Actor)),
        %% One without a migration function, and one that refuses a version.
        ?assertMatch({error, {invalid, #{field := version}}},
                     beamline_ring:upgrade(Actor, #{library => {wasm, ring_guest_fixture:kit(#{version => 3})}})),
        ?assertMatch({error, {invalid, #{field := state}}},
                     beamline_ring:upgrade(Actor, #{library => {wasm, ring_guest_fixture:kit(#{version => 4, migrate => 3})}})),
        ?assertEqual(3002, count(Actor)),
        %% The same version again: the state stays, the code is new.
        {ok, 1} = beamline_ring:load(D, Next),
        ok = beamline_ring:upgrade(Actor, #{}),
        ?assertEqual(3003, count(Actor)),
        Old = #{handler => kit, version => 1, state => <<7:64/little>>, stamp => 0},
        {ok, Restored} = beamline_ring:restore(D, Old),
        ?assertEqual(7001, count(Restored)),
        ?assertMatch({error, {invalid, #{field := state}}}, beamline_ring:restore(D, Old#{state := <<7000:64/little>>})),
        ?assertMatch({error, {invalid, #{field := state}}}, beamline_ring:start(D, kit, #{state => <<2000000:64/little>>}))
    end).

a_runaway_migration_leaves_the_actor_as_it_is_and_holds_nobody_test() ->
    with_kit(#{threads => 1}, #{}, fun(D) ->
        [Actor, Other] = [started(D), started(D)],
        Extra = <<"(func $away (param i32 i32 i64 i32 i64) (result i32) (loop $l (br $l)) (i32.const 0)) (elem (i32.const 4) $away)">>,
        {ok, 1} = beamline_ring:load(D, {wasm, ring_guest_fixture:kit(#{version => 2, migrate => 4, extra => Extra})}),
        Self = self(),
        spawn_link(fun() -> Self ! {upgraded, beamline_ring:upgrade(Actor, #{})} end),
        [?assertEqual(N, count(Other)) || N <- lists:seq(1, 20)],
        receive {upgraded, Early} -> ?assertEqual(not_yet, Early) after 0 -> ok end,
        ?assertEqual({upgraded, {error, timeout}}, receive {upgraded, _} = Answer -> Answer after 5000 -> nothing end),
        ?assertEqual(1, count(Actor)),
        ?assertMatch({ok, #{version := 1}}, beamline_ring:info(Actor))
    end).

a_native_handler_and_a_guest_follow_each_other_test() ->
    with_kit(fun(D) ->
        {ok, 2} = beamline_ring:load(D, beamline_test:built_file("ring/histogram2_operations.so")),
        {ok, Native} = beamline_ring:start(D, unruly),
        {ok, <<1:64/little>>} = beamline_ring:call(Native, {count, <<>>}),
        Guest = {wasm, ring_guest_fixture:kit(#{name => <<"unruly">>, version => 2, migrate => 3})},
        ok = beamline_ring:upgrade(Native, #{library => Guest}),
        ?assertEqual(1001, count(Native)),
        ?assertMatch({ok, #{guest_memory := Bytes}} when Bytes > 0, beamline_ring:info(Native))
    end).

%%% Faults

a_trap_is_an_answer_and_the_state_is_as_before_test() ->
    with_kit(fun(D) ->
        Actor = started(D),
        1 = count(Actor),
        {error, {trap, #{code := unreachable, message := Message}}} = beamline_ring:call(Actor, {trap, <<>>}),
        ?assertMatch({_, _}, binary:match(Message, <<"handle">>)),
        ?assertEqual(2, count(Actor)),
        ?assertMatch({error, {trap, #{code := stack_overflow}}}, beamline_ring:call(Actor, {recurse, <<>>})),
        ?assertMatch({error, {trap, _}}, beamline_ring:call(Actor, {scribble, <<>>})), % over its own room: its own trouble
        ?assertEqual(3, count(Actor)),
        Ref = beamline_ring:ref(Actor),
        ok = beamline_ring:cast(Actor, {trap, <<>>}),
        ?assertMatch({undelivered, 2, {trap, #{code := unreachable}}}, receive {beamline, Ref, What} -> What after 2000 -> nothing end),
        ?assertMatch({ok, #{refused := 4, expired := 0}}, beamline_ring:info(Actor))
    end).

bad_addresses_and_lengths_are_traps_test() ->
    with_kit(fun(D) ->
        Actor = started(D),
        [?assertMatch({error, {trap, #{code := memory_out_of_bounds}}},
                      beamline_ring:call(Actor, {far_reply, <<At:32/little, Size:64/little>>}))
         || {At, Size} <- [{0, 1 bsl 63}, {0, -1}, {16#FFFFFFF0, 16}, {16#FFFFFFFF, 1}, {131072, 1}, {131071, 2}, {0, 131073}]],
        ?assertEqual({ok, <<>>}, beamline_ring:call(Actor, {far_reply, <<131072:32/little, 0:64>>})),
        ?assertMatch({ok, <<_:131072/binary>>}, beamline_ring:call(Actor, {far_reply, <<0:32, 131072:64/little>>})),
        Send = fun(Port, At, Size) -> beamline_ring:call(Actor, {far_send, <<Port:32/little, At:32/little, Size:32/little>>}) end,
        ?assertEqual({ok, <<-2:32/little>>}, Send(8, 0, 4)),
        ?assertEqual({ok, <<-2:32/little>>}, Send(-1, 0, 4)),
        ?assertEqual({ok, <<-3:32/little>>}, Send(0, 0, 25)),
        ?assertEqual({ok, <<-3:32/little>>}, Send(0, -1, -1)),
        ?assertEqual({ok, <<0:32>>}, Send(7, 0, 24)), % nobody is connected
        ?assertMatch({error, {trap, #{code := memory_out_of_bounds}}}, Send(0, -1, 1)),
        ?assertMatch({error, {trap, #{code := memory_out_of_bounds}}}, Send(0, 131072, 24)),
        ?assertEqual(8, count(Actor))
    end).

replies_of_any_bytes_never_crash_test_() ->
    {timeout, 60, fun() -> with_kit(fun(D) ->
        Actor = started(D),
        beamline_test:seed(),
        [begin
             Words = [case rand:uniform(4) of 1 -> rand:uniform(1 bsl 32) - 1; 2 -> rand:uniform(131072); 3 -> 0; 4 -> 16#FFFFFFFF end
                      || _ <- [1, 2, 3]],
             Function = lists:nth(rand:uniform(4), [far_reply, far_send, code, big]),
             case beamline_ring:call(Actor, {Function, << <<(W band 16#FFFFFFFF):32/little>> || W <- Words>>}) of
                 {ok, _} -> ok;
                 {error, {Class, _}} when Class =:= trap; Class =:= invalid; Class =:= limit; Class =:= unsupported -> ok;
                 {error, Why} when Why =:= timeout; Why =:= no_memory -> ok;
                 {error, {device_failed, _}} -> ok
             end
         end || _ <- lists:seq(1, 500)]
    end) end}.

memory_is_limited_for_each_guest_test() ->
    with_kit(#{threads => 1}, #{memory_limit => 1 bsl 20}, fun(D) ->
        Actor = started(D),
        ?assertEqual({ok, <<2:32/little>>}, beamline_ring:call(Actor, {grow, <<14:32/little>>})),
        ?assertEqual({ok, <<-1:32/little>>}, beamline_ring:call(Actor, {grow, <<1:32/little>>})),
        ?assertEqual({ok, <<-1:32/little>>}, beamline_ring:call(Actor, {grow, <<-1:32/little>>})),
        ?assertMatch({ok, #{guest_memory := 1048576}}, beamline_ring:info(Actor)),
        ?assertMatch({error, {limit, #{what := memory, limit := 1048576}}}, beamline_ring:call(Actor, <<0:(8 bsl 20)>>)),
        ?assertEqual(4, count(Actor)),
        ?assertMatch({error, {trap, _}}, beamline_ring:call(Actor, {hog, <<>>})),
        ?assertEqual(5, count(Actor)),
        ?assertMatch({error, {limit, #{what := memory}}},
                     beamline_ring:load(D, {wasm, ring_guest_fixture:kit(), #{memory_limit => 131071}}))
    end).

memory_of_guests_counts_with_the_devices_test() ->
    with_kit(#{threads => 1, memory_limit => 1 bsl 20}, #{}, fun(D) ->
        {ok, #{memory := Before}} = beamline_ring:info(D),
        {[A | _] = Actors, Refused} = until_refused(fun() -> beamline_ring:start(D, kit) end),
        ?assertMatch({error, {limit, #{what := device_memory}}}, Refused),
        ?assertEqual(7, length(Actors)), % two pages each, and what an actor is
        ?assertMatch({error, {limit, #{what := device_memory}}}, beamline_ring:call(A, {grow, <<16:32/little>>})),
        1 = count(A), % it has what it had, after a fresh start
        [ok = beamline_ring:close(Actor) || Actor <- Actors],
        beamline_test:eventually(fun() -> erlang:garbage_collect(), {ok, #{memory := M}} = beamline_ring:info(D), M =:= Before end)
    end).

until_refused(Fun) ->
    case Fun() of
        {ok, Made} -> {All, Error} = until_refused(Fun), {[Made | All], Error};
        {error, _} = Error -> {[], Error}
    end.

%%% Runaways

a_runaway_is_unwound_and_its_thread_is_free_test() ->
    with_kit(#{threads => 1, max_lost => 0}, #{}, fun(D) ->
        [Actor, Other] = [started(D), started(D)],
        [begin
             {ok, Request} = beamline_ring:request(Actor, {spin, <<>>}, #{timeout => 30}),
             ?assertEqual({error, timeout}, beamline_ring:await(Request)), % from the device, not from the clock here
             ?assertEqual(2 * N - 1, count(Other)), % on the same thread
             ?assertEqual(N, count(Actor)), % as it was before the message
             ?assertEqual(2 * N, count(Other))
         end || N <- lists:seq(1, 5)],
        ?assertMatch({ok, #{lost := 0, lost_total := 0, failed := 0}}, beamline_ring:info(D)),
        {ok, #{refused := Unwound, expired := Late}} = beamline_ring:info(Actor), % late: on a busy machine
        ?assertEqual(5, Unwound + Late)
    end).

others_go_on_beside_a_runaway_test() ->
    with_kit(#{threads => 2}, #{}, fun(D) ->
        [Actor, Other] = [started(D), started(D)],
        {ok, Request} = beamline_ring:request(Actor, {spin, <<>>}, #{timeout => 300}),
        [?assertEqual(N, count(Other)) || N <- lists:seq(1, 200)],
        ?assertEqual({error, timeout}, beamline_ring:await(Request)),
        ?assertMatch({ok, #{lost := 0, lost_total := 0}}, beamline_ring:info(D))
    end).

bulk_instructions_are_unwound_too_test() ->
    with_kit(#{threads => 1, max_lost => 0}, #{memory_limit => 64 bsl 20}, fun(D) ->
        Actor = started(D),
        {ok, <<2:32/little>>} = beamline_ring:call(Actor, {grow, <<900:32/little>>}),
        ?assertEqual({error, timeout}, beamline_ring:await(element(2, beamline_ring:request(Actor, {flood, <<>>}, #{timeout => 100})))),
        ?assertEqual(2, count(Actor)),
        ?assertMatch({ok, #{lost := 0, failed := 0}}, beamline_ring:info(D))
    end).

one_that_listens_keeps_what_it_did_test() ->
    with_kit(fun(D) ->
        Actor = started(D),
        ?assertEqual({error, timeout}, beamline_ring:await(element(2, beamline_ring:request(Actor, {listen, <<>>}, #{timeout => 50})))),
        {ok, #{expired := Late}} = beamline_ring:info(Actor), % on a busy machine it may not have begun
        ?assertEqual(2 - Late, count(Actor))
    end).

a_runaway_without_deadline_ends_with_its_actor_test() ->
    with_kit(#{threads => 1}, #{}, fun(D) ->
        Actor = started(D),
        {ok, Request} = beamline_ring:request(Actor, {spin, <<>>}, #{timeout => infinity}),
        %% In an OS process it counts as queued until it is answered: it may not have begun.
        {Queued, Answers} = case ring_fixture:isolation() of vm -> {0, [timeout]}; os_process -> {1, [timeout, closed]} end,
        beamline_test:eventually(fun() -> {ok, #{state := S, queued := N}} = beamline_ring:info(Actor), {S, N} =:= {running, Queued} end),
        ok = beamline_ring:close(Actor),
        {error, Answer} = beamline_ring:await(Request),
        ?assert(lists:member(Answer, Answers)),
        ?assertEqual(1, count(started(D))),
        ?assertMatch({ok, #{lost_total := 0}}, beamline_ring:info(D))
    end).

a_device_that_closes_ends_its_guests_test() ->
    with_kit(#{threads => 2}, #{}, fun(D) ->
        Requests = [beamline_ring:request(started(D), {Function, <<>>}, #{timeout => infinity}) || Function <- [spin, listen, recurse]],
        ok = beamline_ring:close(D),
        [?assertMatch({error, _}, beamline_ring:await(R)) || {ok, R} <- Requests]
    end).

an_owner_that_dies_takes_a_running_guest_along_test() ->
    with_kit(#{threads => 1}, #{}, fun(D) ->
        Self = self(),
        Pid = spawn(fun() ->
            Actor = started(D),
            {ok, _} = beamline_ring:request(Actor, {spin, <<>>}, #{timeout => infinity}),
            Self ! spinning,
            receive never -> ok end
        end),
        receive spinning -> ok end,
        exit(Pid, kill),
        beamline_test:eventually(fun() -> {ok, #{actors := N}} = beamline_ring:info(D), N =:= 0 end),
        ?assertEqual(1, count(started(D)))
    end).

many_guests_work_and_go_test_() ->
    {timeout, 60, fun() -> with_kit(#{threads => 2}, #{}, fun(D) ->
        Actors = [started(D) || _ <- lists:seq(1, 500)],
        [ok = beamline_ring:cast(A, <<N:256>>) || A <- Actors, N <- lists:seq(1, 10)],
        ?assertEqual([11 || _ <- Actors], [count(A) || A <- Actors]),
        Bad = lists:sublist(Actors, 50),
        Requests = [beamline_ring:request(A, {trap, <<>>}) || A <- Bad],
        [?assertMatch({error, {trap, _}}, beamline_ring:await(R)) || {ok, R} <- Requests],
        ?assertEqual([12 || _ <- Actors], [count(A) || A <- Actors]),
        [ok = beamline_ring:close(A) || A <- Actors]
    end) end}.

callers_that_die_leave_working_guests_test_() ->
    {timeout, 60, fun() -> with_kit(#{threads => 2}, #{}, fun(D) ->
        Actor = started(D, #{queue => 256}),
        Work = fun() -> [beamline_ring:call(Actor, {work, <<100000:64/little>>}) || _ <- lists:seq(1, 1000)] end,
        Pids = [spawn(Work) || _ <- lists:seq(1, 20)],
        timer:sleep(20),
        [exit(Pid, kill) || Pid <- Pids],
        ?assertMatch({ok, _}, beamline_ring:call(Actor, <<"still here">>))
    end) end}.

%%% Modules that are no handlers

modules_that_are_no_handlers_are_refused_test_() ->
    {timeout, 60, fun() -> with_kit(fun(D) ->
        Load = fun(Wat) -> beamline_ring:load(D, {wasm, iolist_to_binary(Wat), #{memory_limit => 1 bsl 20}}) end,
        Kit = fun(Opts) -> Load(ring_guest_fixture:kit(Opts)) end,
        [?assertMatch({Opts, {error, {invalid, #{field := handlers}}}}, {Opts, Kit(Opts)})
         || Opts <- [#{abi => 2}, #{count => 0}, #{rows => -1}, #{rows => 131072}, #{rows => 131072 - 63}, #{name => <<"Kit">>},
                     #{name => <<>>}, #{name => binary:copy(<<"k">>, 64)}, #{name => <<"k-t">>}, #{handle => 0}, #{handle => 2},
                     #{handle => 99}, #{handle => -1}, #{check => 1}, #{migrate => 2}, #{check => 5}, #{version => -1},
                     #{row => <<0:512>>}, #{row => <<-1:512>>}, #{room => <<>>},
                     #{room => <<"(func (export \"beamline_ring_room\") (param i64) (result i32) (i32.const 65536))">>}]],
        ?assertMatch({error, {limit, #{what := handlers}}}, Kit(#{count => 17})),
        ?assertMatch({error, {limit, #{what := handlers}}}, Kit(#{count => -1})),
        ?assertMatch({error, {limit, #{what := memory}}}, Kit(#{state => 1 bsl 30})),
        ?assertMatch({error, {syntax, _}}, Load("(module")),
        ?assertMatch({error, {_, _}}, Load(rand:bytes(100))),
        ?assertMatch({error, {invalid, #{field := memory}}}, Load("(module)")),
        ?assertMatch({error, {invalid, #{field := memory}}}, Load("(module (memory (export \"memory\") i64 1))")),
        ?assertMatch({error, {invalid, #{field := memory}}}, Load("(module (memory (export \"memory\") 1) (memory 1))")),
        ?assertMatch({error, {limit, #{what := memory}}}, Load("(module (memory (export \"memory\") 65536))")),
        ?assertMatch({error, {invalid, #{field := handlers}}}, Load("(module (memory (export \"memory\") 1))")),
        ?assertMatch({error, {limit, #{what := table_elements, limit := 16384}}},
            Load("(module (memory (export \"memory\") 1) (table 16385 funcref))")),
        ?assertMatch({error, {limit, #{what := tables, limit := 1}}},
            Load("(module (memory (export \"memory\") 1) (table 1 funcref) (table 1 funcref))")),
        [?assertMatch({Import, {error, {invalid, #{field := imports}}}}, {Import, Load(["(module (import ", Import,
                                                                                 ") (memory (export \"memory\") 1))"])})
         || Import <- ["\"env\" \"malloc\" (func (param i32) (result i32))", "\"beamline_ring\" \"other\" (func)",
                       "\"beamline_ring\" \"send\" (func (param i32))", "\"beamline_ring\" \"stopped\" (global i32)",
                       "\"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32))"]],
        ?assertMatch({error, {trap, #{code := unreachable}}}, Kit(#{extra => <<"(func $s unreachable) (start $s)">>})),
        ?assertMatch({error, {trap, _}}, Kit(#{extra => <<"(data (i32.const 131072) \"x\")">>})),
        ?assertEqual({error, timeout}, Kit(#{extra => <<"(func (export \"_initialize\") (loop $l (br $l)))">>})),
        [?assertError(badarg, beamline_ring:load(D, {wasm, Code, Opts}))
         || {Code, Opts} <- [{1, #{}}, {<<>>, []}, {<<>>, #{memory_limit => 0}}, {<<>>, #{memory_limit => 1 bsl 33}}, {<<>>, #{x => 1}}]],
        ?assertMatch({ok, [#{name := kit, version := 1, sandboxed := true}, #{name := stencil, sandboxed := false} | _]},
                     beamline_ring:handlers(D))
    end) end}.

%% A byte of the table, of its row or of its texts is another one: refused, or a handler like any.
damaged_tables_never_crash_test_() ->
    {timeout, 120, fun() -> with_kit(fun(D) ->
        beamline_test:seed(),
        [begin
             Damage = [{lists:nth(rand:uniform(3), [0, 16, 2048]) + rand:uniform(80) - 1, rand:uniform(256) - 1}
                       || _ <- lists:seq(1, rand:uniform(3))],
             case beamline_ring:load(D, {wasm, ring_guest_fixture:kit(#{damage => Damage, name => <<"hurt">>})}) of
                 {ok, N} when N > 0 -> use(beamline_ring:start(D, hurt));
                 {error, {Class, _}} when Class =:= invalid; Class =:= limit; Class =:= trap -> ok
             end
         end || _ <- lists:seq(1, 300)],
        ?assertEqual(1, count(started(D)))
    end) end}.

use({ok, Actor}) ->
    [beamline_ring:call(Actor, {F, <<F:64>>}) || F <- [0, 1, 2, 5, 6, 9]],
    ok = beamline_ring:close(Actor);
use({error, {_, _}}) -> ok;
use({error, Why}) -> true = Why =:= no_memory orelse Why =:= timeout.

a_start_function_and_initialize_are_called_test() ->
    with_kit(fun(D) ->
        Extra = <<"(func $set (i32.store (i32.const 4000) (i32.const 5))) (start $set)
                   (func (export \"_initialize\") (i32.store (i32.const 4004) (i32.const 6)))">>,
        {ok, 1} = beamline_ring:load(D, {wasm, ring_guest_fixture:kit(#{extra => Extra})}),
        ?assertEqual({ok, <<5:32/little, 6:32/little>>}, beamline_ring:call(started(D), {far_reply, <<4000:32/little, 8:64/little>>}))
    end).

a_room_that_is_none_is_an_error_test() ->
    with_kit(fun(D) ->
        Room = fun(Answer) -> <<"(func (export \"beamline_ring_room\") (param i32) (result i32) ", Answer/binary, ")">> end,
        Start = fun(Answer) ->
            {ok, 1} = beamline_ring:load(D, {wasm, ring_guest_fixture:kit(#{room => Room(Answer)})}),
            beamline_ring:start(D, kit)
        end,
        ?assertMatch({error, {limit, #{what := memory}}}, Start(<<"(i32.const 0)">>)),
        [?assertMatch({error, {invalid, #{field := handlers}}}, Start(<<"(i32.const ", At/binary, ")">>))
         || At <- [<<"65537">>, <<"131072">>, <<"-64">>, <<"128000">>]],
        ?assertMatch({error, {trap, #{code := unreachable}}}, Start(<<"(unreachable)">>)),
        ?assertEqual({error, timeout}, Start(<<"(loop $l (br $l)) (i32.const 0)">>))
    end).

%%% Without the library

without_the_library_all_else_works_test_() ->
    {timeout, 60, fun() ->
        ok = beamline_test:start(),
        {ok, Peer, _} = peer:start_link(#{connection => standard_io, env => [{"BEAMLINE_WASMTIME_LIB", "/nonexistent"}],
                                          args => ["-pa" | code:get_path()]}),
        ?assertMatch({{error, {unsupported, wasmtime}}, {ok, <<"native">>}}, peer:call(Peer, ?MODULE, load_and_start, [], 30_000)),
        peer:stop(Peer)
    end}.

load_and_start() ->
    process_flag(trap_exit, true),
    {error, {not_started, beamline}} = beamline_ring:start_link(#{name => too_early}),
    {ok, _} = application:ensure_all_started(beamline),
    {ok, Device} = beamline_ring:open(#{}),
    {ok, Echo} = beamline_ring:start(Device, echo),
    {beamline_ring:load(Device, {wasm, ring_guest_fixture:kit()}), beamline_ring:call(Echo, <<"native">>)}.

%%% As OTP

a_guest_as_a_process_answers_traps_and_starts_again_from_its_checkpoint_test() ->
    with_kit(fun(D) ->
        process_flag(trap_exit, true),
        ok = beamline_ring_actor:forget(guest),
        Opts = #{device => D, handler => kit, checkpoint => guest},
        {ok, Pid} = beamline_ring_actor:start_link(Opts),
        ?assertEqual({ok, <<1:64/little>>}, gen_server:call(Pid, {count, <<>>})),
        {ok, _} = gen_server:call(Pid, checkpoint),
        ?assertMatch({error, {trap, _}}, gen_server:call(Pid, {trap, <<>>})),
        ?assertMatch({error, {device_failed, _}}, gen_server:call(Pid, {code, <<6:32/little>>})),
        receive {'EXIT', Pid, {actor_failed, _}} -> ok after 2000 -> error(still_there) end,
        {ok, Next} = beamline_ring_actor:start_link(Opts),
        ?assertEqual({ok, <<2:64/little>>}, gen_server:call(Next, {count, <<>>})),
        unlink(Next),
        gen_server:stop(Next),
        beamline_ring_actor:forget(guest)
    end).
