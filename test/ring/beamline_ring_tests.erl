%% SPDX-License-Identifier: Apache-2.0
%% Devices, actors, messages and buffers as a user meets them.
-module(beamline_ring_tests).

-include_lib("eunit/include/eunit.hrl").

with_device(Fun) -> with_device(#{threads => 2}, Fun).

with_device(Opts, Fun) -> ring_fixture:with_device(Opts, Fun).

unruly(Device) ->
    {ok, 2} = beamline_ring:load(Device, beamline_test:built_file("ring/histogram2_operations.so")),
    {ok, Actor} = beamline_ring:start(Device, unruly),
    Actor.

%%% Messages

a_message_of_any_size_comes_back_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        [begin
             Message = rand:bytes(Size),
             ?assertEqual({ok, Message}, beamline_ring:call(Echo, Message)),
             <<_, Part/binary>> = <<0, Message/binary>>,
             ?assertEqual({ok, Part}, beamline_ring:call(Echo, {echo, Part}))
         end || Size <- [0, 1, 23, 24, 25, 64, 65, 511, 512, 513, 65536, 5000000]]
    end) end}.

%% What doc/ring.md shows, built by the command that it names.
the_example_of_the_documentation_works_as_it_stands_test_() ->
    {timeout, 30, fun() ->
        ok = beamline_test:start(),
        {ok, Doc} = file:read_file(beamline_test:source_file("doc/ring.md")),
        Folder = beamline_test:scratch_dir("ring_example"),
        ok = file:write_file(filename:join(Folder, "histogram.c"), block(Doc, <<"```c\n">>)),
        Include = unicode:characters_to_binary("-I" ++ beamline_test:source_file("include")),
        Command = binary:replace(block(Doc, <<"```sh\n">>), <<"-Iinclude">>, Include),
        ?assertEqual("", os:cmd("cd " ++ Folder ++ " && " ++ unicode:characters_to_list(Command))),
        {ok, Device} = beamline_ring:open(#{handlers => [filename:join(Folder, "histogram.so")], isolation => ring_fixture:isolation()}),
        {ok, H} = beamline_ring:start(Device, histogram),
        ok = beamline_ring:cast(H, {add, <<"some bytes">>}),
        {ok, Counts} = beamline_ring:call(H, {read, <<>>}),
        ?assertEqual([0, 0, 1, 0, 0, 0, 5, 4], [N || <<N:64/little>> <= binary:part(Counts, 0, 64)]),
        ok = beamline_ring:close(Device)
    end}.

block(Doc, Begin) ->
    [_, Rest] = binary:split(Doc, Begin),
    hd(binary:split(Rest, <<"```">>)).

large_binaries_are_not_copied_test() ->
    with_device(fun(D) ->
        {ok, Reduce} = beamline_ring:start(D, reduce),
        Large = binary:copy(<<1.0:64/float-little>>, 1000000),
        {ok, #{memory := Before}} = beamline_ring:info(D),
        ?assertEqual({ok, <<1000000.0:64/float-little>>}, beamline_ring:call(Reduce, Large)),
        %% The message goes when its answer is on its way.
        beamline_test:eventually(fun() -> {ok, #{memory := After}} = beamline_ring:info(D), After =:= Before end)
    end).

errors_of_a_handler_are_values_and_the_actor_goes_on_test() ->
    with_device(fun(D) ->
        {ok, Kv} = beamline_ring:start(D, kv, #{state_size => 128}),
        ?assertEqual({ok, <<0>>}, beamline_ring:call(Kv, {put, <<1, "a", "1">>})),
        ?assertEqual({ok, <<1>>}, beamline_ring:call(Kv, {0, <<1, "a", "2">>})),
        ?assertEqual({ok, <<0>>}, beamline_ring:call(Kv, {put, <<1, "b">>})),
        ?assertMatch({error, {limit, #{what := state}}}, beamline_ring:call(Kv, {put, <<1, "c">>})),
        ?assertMatch({error, {invalid, #{field := message}}}, beamline_ring:call(Kv, {put, <<9, "c">>})),
        ?assertMatch({error, {invalid, _}}, beamline_ring:call(Kv, {put, <<1, (binary:copy(<<"x">>, 62))/binary>>})),
        ?assertEqual({error, {unsupported, function}}, beamline_ring:call(Kv, {77, <<>>})),
        ?assertEqual({error, {unsupported, function}}, beamline_ring:call(Kv, {no_such, <<>>})),
        ?assertEqual({ok, <<1, "2">>}, beamline_ring:call(Kv, {get, <<"a">>})),
        ?assertEqual({ok, <<1>>}, beamline_ring:call(Kv, {delete, <<"a">>})),
        ?assertEqual({ok, <<0>>}, beamline_ring:call(Kv, {get, <<"a">>})),
        ?assertEqual({ok, <<1:64/little>>}, beamline_ring:call(Kv, {count, <<>>}))
    end).

what_is_no_message_raises_badarg_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        [?assertError(badarg, Fun()) || Message <- [atom, 1, "list", [<<"a">>], {echo, 1}, {echo, [make_ref()]},
                                                    {<<"f">>, <<>>}, {echo, <<>>, 1}, <<1:3>>],
            Fun <- [fun() -> beamline_ring:cast(Echo, Message) end, fun() -> beamline_ring:call(Echo, Message) end]],
        [?assertError(badarg, beamline_ring:call(Echo, <<>>, Opts)) || Opts <- [#{timeout => -1}, #{timeout => 1 bsl 40}, #{x => 1}]],
        [?assertError(badarg, beamline_ring:start(D, echo, Opts)) || Opts <- [#{queue => 0}, #{priority => 5}, #{x => 1},
                                                                              #{owner => 1}, #{state => 1}]],
        [?assertError(badarg, beamline_ring:open(Opts)) || Opts <- [#{threads => 0}, #{threads => 65}, #{backend => gpu}, #{x => 1}, []]],
        ?assertEqual({ok, <<"still here">>}, beamline_ring:call(Echo, <<"still here">>))
    end).

what_is_no_library_raises_badarg_and_leaves_no_device_test_() ->
    {timeout, 30, fun() ->
        Devices = fun() -> length(element(2, beamline_ring:devices())) end,
        Before = Devices(),
        Bad = [17, {foo, bar}, "nul\0", [16#D800], {wasm, 17}, {wasm, <<>>, 17}, {wasm, <<>>, #{memory_limit => x}},
               {wasm, <<0, "asm", 1:32/little>>, #{timeout => x}}],
        with_device(fun(D) -> [?assertError(badarg, beamline_ring:load(D, Library)) || Library <- Bad] end),
        [?assertError(badarg, beamline_ring:open(#{threads => 1, isolation => ring_fixture:isolation(), handlers => Handlers}))
         || Handlers <- [[Library] || Library <- Bad] ++ ["histogram.so", [a | b], none]],
        beamline_test:eventually(fun() -> Devices() =:= Before end),
        ?assertError(badarg, beamline_ring:start_link(none)),
        ?assertError(badarg, beamline_ring:start_link(#{threads => 0})),
        ?assertError(badarg, beamline_ring:child_spec(none))
    end}.

a_library_that_was_cut_short_is_refused_test() ->
    with_device(fun(D) ->
        {ok, <<Half:10000/binary, _/binary>>} = file:read_file(beamline_test:built_file("ring/histogram2_operations.so")),
        Cut = filename:join(beamline_test:scratch_dir("cut_handlers"), "cut.so"),
        ok = file:write_file(Cut, Half),
        ?assertMatch({error, {invalid, #{field := handlers}}}, beamline_ring:load(D, Cut)),
        {ok, Echo} = beamline_ring:start(D, echo),
        ?assertEqual({ok, <<1>>}, beamline_ring:call(Echo, <<1>>))
    end).

what_is_no_time_raises_badarg_and_ends_nothing_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        ok = beamline_ring:suspend(Echo),
        {ok, Request} = beamline_ring:request(Echo, <<"x">>),
        [begin
             ?assertError(badarg, beamline_ring:await(Request, Time)),
             ?assertError(badarg, beamline_ring:stop(Echo, Time))
         end || Time <- [soon, -1, 1.5, 1 bsl 32]],
        ok = beamline_ring:resume(Echo),
        ?assertEqual({ok, <<"x">>}, beamline_ring:await(Request, infinity)),
        ?assertEqual(ok, beamline_ring:stop(Echo, infinity))
    end).

smallest_and_largest_pass_over_what_is_no_number_test() ->
    with_device(fun(D) ->
        {ok, Reduce} = beamline_ring:start(D, reduce),
        NaN = <<0:48, 16#F8, 16#7F>>,
        [?assertEqual({ok, <<1.0:64/float-little>>}, beamline_ring:call(Reduce, {Function, Bytes}))
         || Function <- [min, max], Bytes <- [<<NaN/binary, 1.0:64/float-little>>, <<1.0:64/float-little, NaN/binary>>]],
        ?assertEqual({ok, NaN}, beamline_ring:call(Reduce, {sum, <<NaN/binary, 1.0:64/float-little>>}))
    end).

closing_what_is_no_device_ends_nothing_test() ->
    ok = beamline_test:start(),
    Sup = whereis(beamline_sup),
    ?assert(is_pid(Sup)),
    [?assertEqual(ok, beamline_ring:close(Device)) || Device <- [beamline_sup, Sup, nobody]],
    ?assertEqual(Sup, whereis(beamline_sup)),
    ?assertError(badarg, beamline_ring:close(17)).

a_full_queue_is_busy_and_nothing_accepted_is_lost_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 4}),
        ok = beamline_ring:suspend(Echo),
        Requests = [beamline_ring:request(Echo, <<N>>) || N <- lists:seq(1, 6)],
        {Taken, Refused} = lists:split(4, Requests),
        ?assertMatch([{error, {busy, Ms}}, {error, {busy, Ms}}] when Ms > 0, Refused),
        ?assertMatch({error, {busy, _}}, beamline_ring:cast(Echo, <<>>)),
        ?assertMatch({ok, #{queued := 4, queue := 4, state := suspended, busy := 3}}, beamline_ring:info(Echo)),
        ok = beamline_ring:resume(Echo),
        ?assertEqual([{ok, <<1>>}, {ok, <<2>>}, {ok, <<3>>}, {ok, <<4>>}], [beamline_ring:await(R) || {ok, R} <- Taken])
    end).

a_call_is_answered_at_its_deadline_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        ok = beamline_ring:suspend(Echo),
        ?assertEqual({error, timeout}, beamline_ring:call(Echo, <<1>>, #{timeout => 20})),
        ok = beamline_ring:resume(Echo),
        ?assertEqual({ok, <<2>>}, beamline_ring:call(Echo, <<2>>)),
        ?assertMatch({ok, #{expired := 1}}, beamline_ring:info(Echo)),
        receive Message -> ?assertEqual(nothing, Message) after 20 -> ok end
    end).

many_casts_at_once_keep_their_order_and_a_refused_one_ends_them_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 1024}),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{}),
        Messages = [<<I:32>> || I <- lists:seq(1, 600)],
        ?assertEqual(ok, beamline_ring:cast_all(Echo, [])),
        ?assertEqual(ok, beamline_ring:cast_all(Echo, Messages)),
        ?assertEqual(Messages, batched(Sub, 600)),
        ?assertError(badarg, beamline_ring:cast_all(Echo, [<<"one">>, none, <<"two">>])),
        ?assertError(badarg, beamline_ring:cast_all(Echo, [<<"three">> | improper])),
        ?assertError(badarg, beamline_ring:cast_all(Echo, <<"no list">>)),
        ?assertEqual([<<"one">>, <<"three">>], batched(Sub, 2)),
        ok = beamline_ring:suspend(Echo),
        {error, {busy, _}, Rest} = beamline_ring:cast_all(Echo, lists:append(lists:duplicate(10, Messages))),
        ok = beamline_ring:resume(Echo),
        Accepted = 6000 - length(Rest),
        ?assertEqual(Rest, lists:nthtail(Accepted, lists:append(lists:duplicate(10, Messages)))),
        ?assertEqual(Accepted, length(batched(Sub, Accepted))),
        ok = beamline_ring:stop(Echo),
        ?assertEqual({error, closed, [<<"late">>]}, beamline_ring:cast_all(Echo, [<<"late">>]))
    end) end}.

batched(_, 0) -> [];
batched(Sub, N) ->
    receive {beamline, Sub, {batch, Results}} -> Results ++ batched(Sub, N - length(Results)) after 5000 -> [] end.

a_cast_that_expires_or_is_refused_is_told_to_its_sender_test() ->
    with_device(fun(D) ->
        {ok, Kv} = beamline_ring:start(D, kv),
        Ref = beamline_ring:ref(Kv),
        ok = beamline_ring:suspend(Kv),
        ok = beamline_ring:cast(Kv, {put, <<1, "a">>}, #{timeout => 0}),
        ok = beamline_ring:cast(Kv, {get, <<>>}),
        ok = beamline_ring:cast(Kv, {put, <<200>>}),
        ok = beamline_ring:resume(Kv),
        ?assertEqual({undelivered, 0, timeout}, told(Ref)),
        ?assertMatch({undelivered, 0, {invalid, _}}, told(Ref)),
        ok = beamline_ring:suspend(Kv),
        ok = beamline_ring:cast(Kv, {get, <<"a">>}),
        ok = beamline_ring:close(Kv),
        ?assertEqual({undelivered, 1, closed}, told(Ref)),
        {ok, Echo} = beamline_ring:start(D, echo),
        ok = beamline_ring:cast(Echo, {16#FFFFFFFF, <<>>}),
        ?assertEqual({undelivered, 16#FFFFFFFF, {unsupported, function}}, told(beamline_ring:ref(Echo))),
        ?assertEqual({error, closed}, beamline_ring:cast(Kv, {get, <<>>}))
    end).

told(Ref) -> receive {beamline, Ref, What} -> What after 2000 -> nothing end.

messages_of_each_sender_keep_their_order_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 64}),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{}),
        Senders = [spawn_link(fun() -> cast_all(Echo, S, 1, 2000) end) || S <- lists:seq(1, 8)],
        ?assertEqual(maps:from_list([{S, 2001} || S <- lists:seq(1, 8)]), in_order(Sub, #{}, 8 * 2000)),
        8 = length(Senders)
    end) end}.

cast_all(_, _, N, Most) when N > Most -> ok;
cast_all(Actor, S, N, Most) ->
    case beamline_ring:cast(Actor, <<S:32, N:32>>) of
        ok -> cast_all(Actor, S, N + 1, Most);
        {error, {busy, _}} -> erlang:yield(), cast_all(Actor, S, N, Most)
    end.

in_order(_, Next, 0) -> Next;
in_order(Sub, Next, Left) ->
    Batch = receive {beamline, Sub, {batch, Results}} -> Results after 5000 -> error(nothing_came) end,
    Count = fun(<<S:32, N:32>>, Seen) -> N = maps:get(S, Seen, 1), Seen#{S => N + 1} end,
    in_order(Sub, lists:foldl(Count, Next, Batch), Left - length(Batch)).

%%% Actors to actors

actors_send_to_each_other_without_the_host_test() ->
    with_device(fun(D) ->
        [A, B, C] = [element(2, beamline_ring:start(D, echo)) || _ <- [1, 2, 3]],
        ok = beamline_ring:connect(A, out, B),
        ok = beamline_ring:connect(B, 0, C),
        ?assertMatch({error, {invalid, #{field := port}}}, beamline_ring:connect(A, nowhere, B)),
        ?assertMatch({error, {invalid, #{field := port}}}, beamline_ring:connect(A, 3, B)),
        [?assertEqual({ok, <<>>}, beamline_ring:call(A, {forward, <<N>>})) || N <- lists:seq(1, 10)],
        beamline_test:eventually(fun() -> {ok, #{handled := N}} = beamline_ring:info(C), N =:= 10 end),
        ?assertEqual({ok, 1}, beamline_ring:disconnect(B, out, C)),
        ?assertEqual({ok, 0}, beamline_ring:disconnect(B, out, all)),
        {ok, <<>>} = beamline_ring:call(A, {forward, <<>>}),
        beamline_test:eventually(fun() -> {ok, #{handled := N}} = beamline_ring:info(B), N =:= 11 end),
        ?assertMatch({ok, #{handled := 10}}, beamline_ring:info(C))
    end).

one_that_failed_is_connected_to_nobody_test() ->
    with_device(fun(D) ->
        A = unruly(D),
        {ok, Echo} = beamline_ring:start(D, echo),
        {error, {device_failed, _}} = beamline_ring:call(A, {fail, <<>>}),
        {failed, _} = told(beamline_ring:ref(A)),
        ?assertEqual({error, closed}, beamline_ring:connect(Echo, out, A)),
        ?assertEqual({error, closed}, beamline_ring:connect(A, 0, Echo))
    end).

one_of_another_device_is_connected_to_nobody_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        {ok, A} = beamline_ring:start(D, echo),
        [begin
             {ok, Other} = beamline_ring:open(#{threads => 1, isolation => Isolation}),
             {ok, B} = beamline_ring:start(Other, echo),
             [?assertMatch({error, {invalid, #{field := to}}}, beamline_ring:connect(From, out, To)) || {From, To} <- [{A, B}, {B, A}]],
             ok = beamline_ring:close(Other)
         end || Isolation <- [vm, os_process]]
    end) end}.

those_that_have_ended_take_no_place_in_a_port_test_() ->
    {timeout, 60, fun() -> with_device(fun(D) ->
        {ok, A} = beamline_ring:start(D, echo),
        [begin
             {ok, B} = beamline_ring:start(D, echo),
             ok = beamline_ring:connect(A, out, B),
             ok = beamline_ring:stop(B)
         end || _ <- lists:seq(1, 4200)],
        {ok, #{memory := Bytes}} = beamline_ring:info(D),
        ?assert(Bytes < 100000),
        ?assertEqual({ok, 1}, beamline_ring:disconnect(A, out, all))
    end) end}.

%% Also while others still know those that have ended.
what_a_device_has_handled_only_grows_test() ->
    with_device(fun(D) ->
        [A, B] = [element(2, beamline_ring:start(D, echo)) || _ <- [1, 2]],
        ok = beamline_ring:connect(A, out, B),
        [{ok, _} = beamline_ring:call(B, <<>>) || _ <- lists:seq(1, 100)],
        ok = beamline_ring:stop(B),
        ?assertMatch({ok, #{handled := 100, actors := 1}}, beamline_ring:info(D))
    end).

an_actor_that_stopped_refuses_its_neighbours_test() ->
    with_device(fun(D) ->
        {ok, A} = beamline_ring:start(D, echo),
        {ok, B} = beamline_ring:start(D, echo),
        ok = beamline_ring:connect(A, out, B),
        ok = beamline_ring:stop(B),
        ?assertMatch({error, {limit, _}}, beamline_ring:call(A, {forward, <<1>>})),
        ?assertEqual({error, closed}, beamline_ring:connect(A, out, B))
    end).

%% Four tiles of 8 x 8 step as one grid of 16 x 16 does.
stencil_tiles_agree_with_one_grid_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        Grid = list_to_tuple([rand:uniform() || _ <- lists:seq(1, 256)]),
        Steps = 20,
        All = maps:from_list([{{R, C}, tile(D, Grid, R, C)} || R <- [0, 1], C <- [0, 1]]),
        [ok = beamline_ring:connect(maps:get(From, All), Port, maps:get(To, All))
         || {R, C} = From <- maps:keys(All),
            {Port, To} <- [{north, {R - 1, C}}, {south, {R + 1, C}}, {west, {R, C - 1}}, {east, {R, C + 1}}], maps:is_key(To, All)],
        [ok = beamline_ring:cast(T, {run, <<Steps:32/little>>}) || T <- maps:values(All)],
        [beamline_test:eventually(fun() -> {ok, <<Steps:32/little>>} =:= beamline_ring:call(T, {step, <<>>}) end) || T <- maps:values(All)],
        Expected = jacobi(Grid, Steps),
        [begin
             {ok, Bytes} = beamline_ring:call(T, {read, <<>>}),
             Got = [X || <<X:64/float-little>> <= Bytes],
             ?assertEqual([element(1 + (8 * R + I) * 16 + 8 * C + J, Expected) || I <- lists:seq(0, 7), J <- lists:seq(0, 7)], Got)
         end || {{R, C}, T} <- maps:to_list(All)]
    end) end}.

%% Else nobody could restore its checkpoint.
a_stencil_tile_takes_no_more_edges_than_a_step_has_test() ->
    with_device(fun(D) ->
        {ok, Tile} = beamline_ring:start(D, stencil, #{state => <<2:32/little>>, state_size => 24 + 8 * (8 * 2 + 2 * 4)}),
        Edge = fun(Side) -> <<0:32/little, Side:16/little, 0:16/little, 1.0:64/float-little, 1.0:64/float-little>> end,
        [?assertEqual({ok, <<>>}, beamline_ring:call(Tile, {edge, Edge(Side)})) || Side <- [0, 1, 2, 3]],
        ?assertMatch({error, {invalid, #{field := message}}}, beamline_ring:call(Tile, {edge, Edge(0)})),
        {ok, C} = beamline_ring:checkpoint(Tile),
        ?assertMatch({ok, _}, beamline_ring:restore(D, C))
    end).

tile(D, Grid, R, C) ->
    Size = 24 + 8 * (8 * 8 + 2 * 64),
    {ok, T} = beamline_ring:start(D, stencil, #{state => <<8:32/little>>, state_size => Size, queue => 64}),
    Cells = << <<(element(1 + (8 * R + I) * 16 + 8 * C + J, Grid)):64/float-little>> || I <- lists:seq(0, 7), J <- lists:seq(0, 7)>>,
    {ok, <<>>} = beamline_ring:call(T, {set, Cells}),
    T.

jacobi(Grid, 0) -> Grid;
jacobi(Grid, N) ->
    At = fun(R, C) when R >= 0, R < 16, C >= 0, C < 16 -> element(1 + R * 16 + C, Grid); (_, _) -> 0.0 end,
    Next = [0.25 * (At(R - 1, C) + At(R + 1, C) + At(R, C - 1) + At(R, C + 1)) || R <- lists:seq(0, 15), C <- lists:seq(0, 15)],
    jacobi(list_to_tuple(Next), N - 1).

%%% Subscribers

a_window_holds_the_actor_and_its_senders_back_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 8}),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{window => 5}),
        beamline_test:eventually(fun() -> {error, {busy, 1}} =:= beamline_ring:cast(Echo, <<"x">>) end),
        ?assertEqual(5, length(results(Sub, 5))),
        receive {beamline, Sub, _} = More -> ?assertEqual(nothing, More) after 20 -> ok end,
        ?assert(beamline_ring:credit(Sub, 3)),
        ?assertEqual(3, length(results(Sub, 3))),
        ?assert(beamline_ring:unsubscribe(Sub)),
        ?assertNot(beamline_ring:unsubscribe(Sub)),
        ?assertNot(beamline_ring:credit(Sub, 1)),
        ?assertEqual({ok, <<"y">>}, beamline_ring:call(Echo, <<"y">>))
    end).

results(_, 0) -> [];
results(Sub, N) ->
    receive {beamline, Sub, {batch, B}} -> B ++ results(Sub, N - length(B)) after 2000 -> [] end.

a_subscriber_that_dies_frees_the_actor_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        Self = self(),
        Pid = spawn(fun() -> {ok, _} = beamline_ring:subscribe(Echo, #{window => 1}), Self ! ready, receive stop -> ok end end),
        receive ready -> ok end,
        [ok = beamline_ring:cast(Echo, <<N>>) || N <- [1, 2, 3]],
        exit(Pid, kill),
        ?assertEqual({ok, <<4>>}, beamline_ring:call(Echo, <<4>>)),
        ?assertMatch({ok, #{subscribers := 0}}, beamline_ring:info(Echo))
    end).

%% Whatever the actor is in the middle of.
a_new_subscriber_gets_no_more_than_its_window_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1}, fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 4096}),
        Load = spawn_link(fun() -> cast_for_ever(Echo) end),
        [begin
             {ok, Sub} = beamline_ring:subscribe(Echo, #{window => 1}),
             ?assertEqual(1, receive {beamline, Sub, {batch, Batch}} -> length(Batch) after 5000 -> nothing_came end),
             ?assert(beamline_ring:unsubscribe(Sub))
         end || _ <- lists:seq(1, 500)],
        unlink(Load),
        exit(Load, kill)
    end) end}.

a_window_counts_what_came_before_a_control_test() ->
    with_device(#{threads => 1}, fun(D) ->
        A = unruly(D),
        {ok, Sub} = beamline_ring:subscribe(A, #{window => 10}),
        ok = beamline_ring:cast(A, {listen, <<100:16/little>>}), % meanwhile
        Cast = fun(N) -> [ok = beamline_ring:cast(A, {count, <<>>}) || _ <- lists:seq(1, N)] end,
        Cast(3),
        Self = self(),
        spawn_link(fun() -> Self ! {checkpoint, beamline_ring:checkpoint(A)} end),
        timer:sleep(20),
        Cast(12),
        ?assertEqual(10, length(results(Sub, 10))),
        ?assertMatch({ok, _}, receive {checkpoint, C} -> C end),
        receive {beamline, Sub, _} = More -> ?assertEqual(nothing, More) after 50 -> ok end
    end).

stopping_needs_no_credit_when_all_is_handled_test() ->
    with_device(#{threads => 1}, fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{window => 1}),
        [ok = beamline_ring:cast(Echo, <<N>>) || N <- [1, 2]],
        Self = self(),
        spawn_link(fun() -> Self ! {stop, beamline_ring:stop(Echo)} end),
        beamline_test:eventually(fun() -> is_draining(Echo) end),
        true = beamline_ring:credit(Sub, 1),
        ?assertEqual([<<1>>, <<2>>], results(Sub, 2)),
        ?assertEqual(ok, receive {stop, Answer} -> Answer end)
    end).

is_draining(Actor) -> {ok, #{state := State}} = beamline_ring:info(Actor), State =:= draining.

cast_for_ever(Actor) ->
    _ = beamline_ring:cast_all(Actor, lists:duplicate(256, <<"x">>)),
    cast_for_ever(Actor).

large_results_reach_every_subscriber_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{}),
        {ok, Other} = beamline_ring:subscribe(Echo, #{}),
        Large = rand:bytes(100000),
        ok = beamline_ring:cast(Echo, Large),
        ?assertEqual([Large], results(Sub, 1)),
        ?assertEqual([Large], results(Other, 1))
    end).

%%% Between two messages

a_checkpoint_restores_what_was_before_it_test() ->
    with_device(fun(D) ->
        {ok, Kv} = beamline_ring:start(D, kv),
        [ok = beamline_ring:cast(Kv, {put, <<1, N, N>>}) || N <- lists:seq(1, 10)],
        {ok, #{handler := kv, version := 1} = C} = beamline_ring:checkpoint(Kv),
        {ok, <<0>>} = beamline_ring:call(Kv, {put, <<1, 11, 11>>}),
        {ok, Again} = beamline_ring:restore(D, C),
        ?assertEqual({ok, <<10:64/little>>}, beamline_ring:call(Again, {count, <<>>})),
        ?assertEqual({ok, <<1, 7>>}, beamline_ring:call(Again, {get, <<7>>})),
        [?assertMatch({error, {_, _}}, beamline_ring:restore(D, maps:merge(C, Bad)))
         || Bad <- [#{state => binary:copy(<<255>>, 4096)}, #{state => <<1, 2, 3>>, version => 7}, #{handler => nobody},
                    #{state => binary:copy(<<1>>, 5000)}]],
        ?assertError(badarg, beamline_ring:restore(D, #{handler => kv}))
    end).

a_checkpoint_keeps_the_size_of_its_state_test() ->
    with_device(fun(D) ->
        [begin
             {ok, Kv} = beamline_ring:start(D, kv, #{state_size => Size}),
             {ok, C} = beamline_ring:checkpoint(Kv),
             {ok, Again} = beamline_ring:restore(D, C),
             ?assertMatch({ok, #{state_size := Size}}, beamline_ring:info(Again))
         end || Size <- [64, 100, 128, 4096, 8192]]
    end).

an_upgrade_takes_the_state_along_test() ->
    with_device(#{threads => 1, handlers => [beamline_test:built_file("ring/histogram_operations.so")]}, fun(D) ->
        {ok, H} = beamline_ring:start(D, histogram),
        {ok, <<>>} = beamline_ring:call(H, {add, <<16#10, 16#1F, 16#F8>>}),
        {ok, Old} = beamline_ring:call(H, {read, <<>>}),
        ?assertEqual([2, 1], [lists:nth(I + 1, counts(Old)) || I <- [1, 15]]),
        {ok, C} = beamline_ring:checkpoint(H),
        ok = beamline_ring:upgrade(H, #{library => beamline_test:built_file("ring/histogram2_operations.so")}),
        {ok, <<>>} = beamline_ring:call(H, {add, <<16#F8>>}),
        {ok, New} = beamline_ring:call(H, {read, <<>>}),
        ?assertEqual([2, 0, 1, 1], [lists:nth(I + 1, counts(New)) || I <- [2, 3, 30, 31]]),
        {ok, Restored} = beamline_ring:restore(D, C),
        {ok, #{version := 2}} = beamline_ring:info(Restored),
        ?assertMatch({error, {invalid, #{field := handlers}}}, beamline_ring:load(D, "/nonexistent.so")),
        ?assertMatch({error, {invalid, #{field := handlers}}},
                     beamline_ring:load(D, beamline_test:built_file("runtime/example_operations.so")))
    end).

a_library_that_is_loaded_again_is_the_newest_test() ->
    with_device(fun(D) ->
        [First, Second] = [beamline_test:built_file("ring/" ++ Name ++ "_operations.so") || Name <- ["histogram", "histogram2"]],
        [begin
             {ok, _} = beamline_ring:load(D, Library),
             {ok, Handlers} = beamline_ring:handlers(D),
             ?assertEqual(Version, hd([V || #{name := histogram, version := V} <- Handlers])),
             {ok, H} = beamline_ring:start(D, histogram),
             ?assertMatch({ok, #{version := Version}}, beamline_ring:info(H))
         end || {Library, Version} <- [{First, 1}, {Second, 2}, {First, 1}, {Second, 2}]]
    end).

a_library_may_be_loaded_for_each_of_many_actors_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1}, fun(D) ->
        {ok, Before} = beamline_ring:handlers(D),
        [First, Second] = [beamline_test:built_file("ring/" ++ Name ++ "_operations.so") || Name <- ["histogram", "histogram2"]],
        [{ok, _} = beamline_ring:load(D, First) || _ <- lists:seq(1, 600)],
        {ok, H} = beamline_ring:start(D, histogram),
        [ok = beamline_ring:upgrade(H, #{library => Second}) || _ <- lists:seq(1, 600)],
        ?assertMatch({ok, #{version := 2}}, beamline_ring:info(H)),
        {ok, Handlers} = beamline_ring:handlers(D),
        ?assertEqual(length(Before) + 3, length(Handlers)),
        {ok, 1} = beamline_ring:load(D, First), % the newest again
        {ok, Last} = beamline_ring:start(D, histogram),
        ?assertMatch({ok, #{version := 1}}, beamline_ring:info(Last))
    end) end}.

counts(Bytes) -> [N || <<N:64/little>> <= Bytes].

%% Whoever waits for a checkpoint.
suspending_and_stopping_come_at_once_test_() ->
    {timeout, 30, fun() -> with_device(#{threads => 1}, fun(D) ->
        [begin
             {ok, Echo} = beamline_ring:start(D, echo),
             {ok, Sub} = beamline_ring:subscribe(Echo, #{window => 1}),
             [ok = beamline_ring:cast(Echo, <<N>>) || N <- [1, 2, 3]],
             Self = self(),
             spawn_link(fun() -> Self ! {checkpoint, beamline_ring:checkpoint(Echo)} end),
             timer:sleep(20), % it waits for messages that wait for credit
             _ = spawn_link(fun() -> Self ! {At, beamline_ring:At(Echo)} end),
             At =:= suspend andalso ?assertEqual(ok, receive {suspend, Answer} -> Answer after 2000 -> waits end),
             At =:= stop andalso beamline_test:eventually(fun() -> is_draining(Echo) end, 2000),
             true = beamline_ring:credit(Sub, 2),
             ?assertMatch({ok, _}, receive {checkpoint, C} -> C after 2000 -> waits end),
             At =:= stop andalso ?assertEqual({ok, [<<1>>, <<2>>, <<3>>]}, {receive {stop, S} -> S end, results(Sub, 3)})
         end || At <- [suspend, stop]]
    end) end}.

stopping_handles_what_waits_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo, #{queue => 64}),
        Requests = [element(2, beamline_ring:request(Echo, <<N>>)) || N <- lists:seq(1, 50)],
        ?assertEqual(ok, beamline_ring:stop(Echo)),
        ?assertEqual([{ok, <<N>>} || N <- lists:seq(1, 50)], [beamline_ring:await(R) || R <- Requests]),
        ?assertEqual({error, closed}, beamline_ring:call(Echo, <<>>)),
        ?assertEqual({error, closed}, beamline_ring:stop(Echo)),
        ?assertEqual({error, closed}, beamline_ring:info(Echo)),
        ok = beamline_ring:close(Echo)
    end).

a_device_that_is_closed_says_so_at_once_test() ->
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, _} = beamline_ring:info(Echo),
        ok = beamline_ring:close(D),
        [?assertEqual({error, closed}, Ask()) || Ask <- [fun() -> beamline_ring:info(Echo) end, fun() -> beamline_ring:info(D) end,
            fun() -> beamline_ring:call(Echo, <<>>) end, fun() -> beamline_ring:cast(Echo, <<>>) end, fun() -> beamline_ring:stop(Echo) end,
            fun() -> beamline_ring:suspend(Echo) end, fun() -> beamline_ring:start(D, echo) end,
            fun() -> beamline_ring:subscribe(Echo, #{}) end, fun() -> beamline_ring:connect(Echo, 0, Echo) end]]
    end).

%%% Owners

everything_ends_with_its_owner_test() ->
    with_device(fun(D) ->
        Self = self(),
        {Pid, Monitor} = spawn_monitor(fun() ->
            {ok, A} = beamline_ring:start(D, echo),
            {ok, B} = beamline_ring:buffer(D, 1000000),
            {ok, Mine} = beamline_ring:open(#{threads => 1}),
            Self ! {made, A, B, Mine},
            receive stop -> ok end
        end),
        {A, B, Mine} = receive {made, X, Y, Z} -> {X, Y, Z} end,
        {ok, <<1>>} = beamline_ring:call(A, <<1>>),
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
        beamline_test:eventually(fun() -> {error, closed} =:= beamline_ring:call(A, <<1>>) end),
        beamline_test:eventually(fun() -> {error, closed} =:= beamline_ring:read(B, 0, 1) end),
        beamline_test:eventually(fun() -> {error, closed} =:= beamline_ring:info(Mine) end),
        beamline_test:eventually(fun() -> {ok, #{actors := N, buffers := M, memory := Bytes}} = beamline_ring:info(D),
                                 {N, M, Bytes} =:= {0, 0, 0} end)
    end).

%% Whether a term was collected must not decide whether what was accepted is handled.
devices_and_actors_live_on_without_a_term_test() ->
    Devices = fun() -> length(element(2, beamline_ring:devices())) end,
    Before = Devices(),
    Self = self(),
    Pid = spawn_link(fun() ->
        Sub = suspended_echo_with_a_message(),
        receive collect -> erlang:garbage_collect() end,
        [D] = [Info || #{actors := 1} = Info <- element(2, beamline_ring:devices())],
        Self ! {still_there, D},
        receive {beamline, Sub, {batch, [<<"x">>]}} -> Self ! {self(), handled} end,
        receive stop -> ok end
    end),
    Pid ! collect,
    #{actors := 1, handled := 0} = receive {still_there, Seen} -> Seen end,
    receive {Pid, handled} -> ok end,
    ?assertEqual(Before + 1, Devices()),
    Pid ! stop,
    beamline_test:eventually(fun() -> Devices() =:= Before end).

%% Handled at last when it is resumed, by one who then forgets it, too.
suspended_echo_with_a_message() ->
    {ok, D} = beamline_ring:open(#{threads => 1}),
    {ok, A} = beamline_ring:start(D, echo),
    {ok, Sub} = beamline_ring:subscribe(A, #{}),
    ok = beamline_ring:suspend(A),
    ok = beamline_ring:cast(A, <<"x">>),
    spawn_link(fun() -> timer:sleep(100), ok = beamline_ring:resume(A) end),
    Sub.

a_handle_can_be_handed_over_test() ->
    with_device(fun(D) ->
        Heir = spawn_link(fun() -> receive stop -> ok end end),
        {ok, A} = beamline_ring:start(D, echo, #{owner => Heir}),
        ?assertMatch({error, {invalid, #{field := owner}}}, beamline_ring:controlling_process(A, self())),
        ?assertEqual({ok, <<1>>}, beamline_ring:call(A, <<1>>)),
        Heir ! stop,
        beamline_test:eventually(fun() -> {error, closed} =:= beamline_ring:call(A, <<1>>) end)
    end).

%%% Handlers that misbehave

a_handler_that_fails_ends_its_actor_only_test() ->
    with_device(fun(D) ->
        A = unruly(D),
        {ok, B} = beamline_ring:start(D, unruly),
        ?assertMatch({error, {device_failed, _}}, beamline_ring:call(A, {fail, <<>>})),
        ?assertMatch({failed, {device_failed, _}}, told(beamline_ring:ref(A))),
        ?assertMatch({error, {device_failed, _}}, beamline_ring:call(A, {count, <<>>})),
        ?assertMatch({ok, #{state := failed}}, beamline_ring:info(A)),
        ?assertEqual({ok, <<1:64/little>>}, beamline_ring:call(B, {count, <<>>}))
    end).

a_runaway_is_failed_at_its_deadline_and_its_thread_replaced_test_() ->
    {timeout, 30, fun() -> with_device(#{threads => 1, max_lost => 1}, fun(D) ->
        A = unruly(D),
        [B, C] = [element(2, beamline_ring:start(D, unruly)) || _ <- [1, 2]],
        ?assertEqual({error, timeout}, beamline_ring:call(A, {work, <<1500:16/little>>}, #{timeout => 200})),
        ?assertMatch({failed, {device_failed, _}}, told(beamline_ring:ref(A))),
        ?assertEqual({ok, <<1:64/little>>}, beamline_ring:call(B, {count, <<>>})),
        ?assertMatch({ok, #{lost := 1}}, beamline_ring:info(D)),
        {error, timeout} = beamline_ring:call(C, {work, <<1500:16/little>>}, #{timeout => 200}),
        beamline_test:eventually(fun() -> {ok, #{lost := N}} = beamline_ring:info(D), N =:= 2 end),
        ?assertMatch({error, {device_failed, _}}, beamline_ring:call(B, {count, <<>>})),
        ?assertMatch({error, {device_failed, _}}, beamline_ring:start(D, echo)),
        beamline_test:eventually(fun() -> {ok, #{lost := N}} = beamline_ring:info(D), N =:= 0 end),
        ?assertEqual({ok, <<2:64/little>>}, beamline_ring:call(B, {count, <<>>}))
    end) end}.

what_was_handled_before_a_runaway_reaches_subscribers_test_() ->
    {timeout, 30, fun() -> with_device(#{threads => 1}, fun(D) ->
        A = unruly(D),
        {ok, Sub} = beamline_ring:subscribe(A, #{}),
        ok = beamline_ring:suspend(A),
        [ok = beamline_ring:cast(A, {count, <<>>}) || _ <- [1, 2, 3]],
        ok = beamline_ring:cast(A, {work, <<1500:16/little>>}, #{timeout => 200}),
        ok = beamline_ring:resume(A),
        ?assertEqual([<<N:64/little>> || N <- [1, 2, 3]], results(Sub, 3)),
        ?assertEqual({undelivered, 0, timeout}, told(beamline_ring:ref(A))),
        beamline_test:eventually(fun() -> {ok, #{undelivered := N}} = beamline_ring:info(D), N =:= 1 end)
    end) end}.

a_handler_that_listens_survives_its_deadline_test() ->
    with_device(fun(D) ->
        A = unruly(D),
        {ok, Request} = beamline_ring:request(A, {listen, <<5000:16/little>>}, #{timeout => 20}),
        ?assertEqual({error, timeout}, beamline_ring:await(Request)),
        ?assertEqual({ok, <<1:64/little>>}, beamline_ring:call(A, {count, <<>>}))
    end).

an_actor_goes_through_its_states_test_() ->
    {timeout, 30, fun() -> with_device(fun(D) ->
        A = unruly(D),
        Is = fun(State) -> beamline_test:eventually(fun() -> {ok, #{state := S}} = beamline_ring:info(A), S =:= State end) end,
        Is(created),
        {ok, _} = beamline_ring:call(A, {count, <<>>}),
        Is(idle),
        ok = beamline_ring:suspend(A),
        Is(suspended),
        ok = beamline_ring:resume(A),
        Is(idle),
        Long = [beamline_ring:request(A, {listen, <<100:16/little>>}) || _ <- lists:seq(1, 15)], % 1.5 seconds
        Is(running),
        Self = self(),
        spawn_link(fun() -> Self ! {stopped, beamline_ring:stop(A)} end),
        Is(draining),
        ?assertEqual({error, closed}, beamline_ring:cast(A, {count, <<>>})),
        ?assertEqual({stopped, ok}, receive {stopped, _} = S -> S after 10000 -> nothing end),
        ?assertEqual({error, closed}, beamline_ring:info(A)),
        [?assertMatch({ok, _}, beamline_ring:await(Request)) || {ok, Request} <- Long],
        Failing = unruly(D),
        {error, _} = beamline_ring:call(Failing, {fail, <<>>}),
        beamline_test:eventually(fun() -> {ok, #{state := State}} = beamline_ring:info(Failing), State =:= failed end)
    end) end}.

a_long_handler_does_not_hold_others_back_test_() ->
    {timeout, 30, fun() -> with_device(#{threads => 1}, fun(D) ->
        A = unruly(D),
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, Long} = beamline_ring:request(A, {listen, <<20000:16/little>>}),
        [{ok, _} = beamline_ring:call(Echo, <<>>) || _ <- lists:seq(1, 200)],
        ?assertMatch({ok, #{handled := 0, state := running}}, beamline_ring:info(A)),
        ok = beamline_ring:close(A),
        ?assertEqual({error, timeout}, beamline_ring:await(Long))
    end) end}.

%%% Buffers

buffers_hold_what_was_written_and_become_binaries_test() ->
    with_device(#{threads => 1, memory_limit => 3000000}, fun(D) ->
        Data = rand:bytes(1000000),
        {ok, B} = beamline_ring:buffer(D, Data),
        ?assertEqual({ok, 1000000}, beamline_ring:size(B)),
        ?assertEqual({ok, binary:part(Data, 500, 70000)}, beamline_ring:read(B, 500, 70000)),
        ok = beamline_ring:write(B, 999990, <<"0123456789">>),
        {ok, View} = beamline_ring:view(B, 999995, 5),
        ?assertEqual({ok, <<"56789">>}, beamline_ring:read(View, 0, 5)),
        [?assertMatch({error, {invalid, _}}, Answer)
         || Answer <- [beamline_ring:read(B, 999991, 10), beamline_ring:write(B, 1 bsl 62, <<1>>), beamline_ring:read(View, 6, 0),
                       beamline_ring:view(B, 1, 1000000), beamline_ring:take(View), beamline_ring:read(B, 0, 1 bsl 62)]],
        ?assertMatch({error, {limit, #{what := device_memory}}}, beamline_ring:buffer(D, 3000000)),
        {ok, Taken} = beamline_ring:take(B),
        ?assertEqual(<<(binary:part(Data, 0, 999990))/binary, "0123456789">>, Taken),
        ?assertEqual({error, closed}, beamline_ring:read(B, 0, 1)),
        ?assertEqual({error, closed}, beamline_ring:read(View, 0, 1)),
        ok = beamline_ring:close(View)
    end).

triad_and_reduce_work_on_buffers_test() ->
    with_device(fun(D) ->
        N = 100000,
        {ok, Triad} = beamline_ring:start(D, triad, #{state => <<3.0:64/float-little>>}),
        {ok, Reduce} = beamline_ring:start(D, reduce),
        {ok, A} = beamline_ring:buffer(D, 8 * N),
        {ok, B} = beamline_ring:buffer(D, << <<(float(I)):64/float-little>> || I <- lists:seq(1, N) >>),
        {ok, C} = beamline_ring:buffer(D, binary:copy(<<2.0:64/float-little>>, N)),
        ?assertEqual({ok, <<>>}, beamline_ring:call(Triad, {triad, [A, B, C]})),
        ?assertEqual({ok, <<(N * (N + 1) / 2 + 6.0 * N):64/float-little>>}, beamline_ring:call(Reduce, {sum, [A]})),
        ?assertEqual({ok, <<7.0:64/float-little>>}, beamline_ring:call(Reduce, {min, [A]})),
        ?assertEqual({ok, <<(N + 6.0):64/float-little>>}, beamline_ring:call(Reduce, {max, [A]})),
        ?assertMatch({error, {invalid, _}}, beamline_ring:call(Triad, {triad, [A, B]})),
        ?assertEqual({error, {busy, 0}}, beamline_ring:call(Triad, {triad, [A, A, B]})),
        ok = beamline_ring:suspend(Reduce),
        {ok, R} = beamline_ring:request(Reduce, {sum, [A]}),
        ?assertEqual({error, {busy, 0}}, beamline_ring:write(A, 0, <<1>>)),
        ?assertEqual({error, {busy, 0}}, beamline_ring:take(A)),
        ok = beamline_ring:resume(Reduce),
        {ok, _} = beamline_ring:await(R),
        ?assertEqual(ok, beamline_ring:write(A, 0, <<1>>))
    end).

%%% Devices

there_is_no_gpu_here_test() ->
    ?assertEqual({error, {unsupported, cuda}}, beamline_ring:open(#{backend => cuda})).

a_device_knows_its_handlers_test() ->
    with_device(fun(D) ->
        {ok, Handlers} = beamline_ring:handlers(D),
        ?assertEqual([echo, kv, reduce, stencil, triad], lists:sort([N || #{name := N} <- Handlers])),
        ?assertEqual({error, {unsupported, handler}}, beamline_ring:start(D, nothing)),
        _ = unruly(D),
        {ok, [#{name := unruly, summary := Summary} | _]} = beamline_ring:handlers(D),
        ?assertEqual(<<"Naïve, for tests."/utf8>>, Summary)
    end).

an_idle_device_uses_no_processor_test_() ->
    {timeout, 20, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, _} = beamline_ring:call(Echo, <<>>),
        beamline_test:eventually(fun() -> {ok, #{threads := N, parked := P}} = beamline_ring:info(D), N =:= P end)
    end) end}.

what_a_device_does_is_a_metric_test() ->
    ok = beamline_test:start(),
    with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        {ok, _} = beamline_ring:call(Echo, <<>>),
        {ok, #{number := Number}} = beamline_ring:info(D),
        [Samples] = [S || #{name := beamline_ring_handled_total, samples := S} <- beamline_metrics:families()],
        ?assertEqual([1], [V || {[{device, N}], V} <- Samples, N =:= Number])
    end).

%%% One thing at a time, with room for one

%% What was answered holds nothing any more: who does one thing after the other is never refused.
who_was_answered_finds_room_for_the_next_message_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1, memory_limit => 28000}, fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        Large = rand:bytes(10000),
        again_and_again(fun() -> {ok, Large} = beamline_ring:call(Echo, Large) end),
        {ok, Sub} = beamline_ring:subscribe(Echo, #{}),
        again_and_again(fun() -> ok = beamline_ring:cast(Echo, Large), [Large] = results(Sub, 1) end),
        {ok, Kv} = beamline_ring:start(D, kv, #{state_size => 8000}),
        again_and_again(fun() -> {ok, _} = beamline_ring:checkpoint(Kv) end),
        again_and_again(fun() -> {error, {unsupported, function}} = beamline_ring:call(Kv, {99, Large}) end)
    end) end}.

who_was_told_that_an_actor_has_ended_can_start_another_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1, max_actors => 1}, fun(D) ->
        again_and_again(fun() ->
            {ok, Echo} = beamline_ring:start(D, echo),
            {ok, <<1>>} = beamline_ring:call(Echo, <<1>>),
            ok = beamline_ring:stop(Echo)
        end),
        again_and_again(fun() -> {error, {invalid, _}} = beamline_ring:start(D, kv, #{state => binary:copy(<<255>>, 4096)}) end)
    end) end}.

an_actor_that_is_closed_right_after_an_answer_ends_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1}, fun(D) ->
        again_and_again(fun() ->
            {ok, Echo} = beamline_ring:start(D, echo),
            {ok, <<1>>} = beamline_ring:call(Echo, <<1>>),
            ok = beamline_ring:close(Echo)
        end),
        beamline_test:eventually(fun() -> {ok, #{actors := N}} = beamline_ring:info(D), N =:= 0 end)
    end) end}.

what_was_given_to_a_process_that_ends_right_then_ends_with_it_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1}, fun(D) ->
        Rounds = case ring_fixture:isolation() of vm -> 20000; os_process -> 1000 end,
        Words = atomics:new(2, []),
        {Giver, M} = spawn_opt(fun() -> give(D, Words, Rounds) end, [{scheduler, 1}, monitor]),
        receive {'DOWN', M, process, Giver, Why} -> ?assertEqual(normal, Why) end
    end) end}.

%% The giver is still there when it looks: what was refused is its own.
give(D, _, 0) ->
    beamline_test:eventually(fun() -> {ok, #{actors := N}} = beamline_ring:info(D), N =:= 0 end);
give(D, Words, Round) ->
    {ok, Echo} = beamline_ring:start(D, echo),
    ok = atomics:put(Words, 1, 0),
    Taker = spawn_opt(fun() ->
        ok = atomics:put(Words, 2, 1),
        until_set(Words, 1),
        again(Round rem 200, fun(I) -> I end)
    end, [{scheduler, 2}]),
    until_set(Words, 2),
    ok = atomics:put(Words, 2, 0),
    ok = atomics:put(Words, 1, 1),
    case beamline_ring:controlling_process(Echo, Taker) of
        ok -> ok;
        {error, {invalid, _}} -> ok = beamline_ring:close(Echo)
    end,
    give(D, Words, Round - 1).

until_set(Words, I) ->
    case atomics:get(Words, I) of
        1 -> ok;
        0 -> until_set(Words, I)
    end.

a_closed_buffer_leaves_its_room_at_once_test_() ->
    {timeout, 60, fun() -> with_device(#{threads => 1, memory_limit => 4000000}, fun(D) ->
        [begin
             {ok, B} = beamline_ring:buffer(D, 3000000),
             ok = beamline_ring:close(B)
         end || _ <- lists:seq(1, 200)]
    end) end}.

again_and_again(Fun) ->
    Rounds = case ring_fixture:isolation() of vm -> 5000; os_process -> 1000 end,
    [Fun() || _ <- lists:seq(1, Rounds)].

%%% From many processes

closing_while_everybody_calls_answers_everybody_test_() ->
    {timeout, 60, fun() ->
        [begin
             {ok, D} = beamline_ring:open(#{threads => 2}),
             Actors = list_to_tuple([element(2, beamline_ring:start(D, echo, #{queue => 4})) || _ <- lists:seq(1, 4)]),
             Callers = [spawn_monitor(fun() -> call_until_closed(Actors, I) end) || I <- lists:seq(1, 16)],
             timer:sleep(5),
             ok = beamline_ring:close(D),
             [receive {'DOWN', M, process, P, Why} -> ?assertEqual(normal, Why) after 10000 -> error(hangs) end || {P, M} <- Callers],
             [told(beamline_ring:ref(A)) || A <- tuple_to_list(Actors)]
         end || _ <- lists:seq(1, 20)],
        beamline_test:eventually(fun() -> {Open, _} = beamline_ring:devices(), Open =:= 0 end)
    end}.

%% A call may find its answer before it would be suspended, or just not.
answers_come_once_however_long_they_take_test_() ->
    {timeout, 60, fun() -> with_device(fun(D) ->
        Rounds = case ring_fixture:isolation() of vm -> 10000; os_process -> 1000 end,
        Sums = [begin
             {ok, B} = beamline_ring:buffer(D, binary:copy(<<1.0:64/float-little>>, 400 * I)),
             {B, <<(400.0 * I):64/float-little>>}
         end || I <- lists:seq(1, 20)],
        Reduces = [element(2, beamline_ring:start(D, reduce)) || _ <- lists:seq(1, 3)],
        Callers = [spawn_monitor(fun() ->
            again(Rounds, fun(I) ->
                {B, Sum} = lists:nth(1 + (I * 7 + N) rem 20, Sums),
                {ok, Sum} = beamline_ring:call(lists:nth(1 + N rem 3, Reduces), {sum, [B]})
            end),
            receive Message -> error({unexpected, Message}) after 0 -> ok end
        end) || N <- lists:seq(1, 6)],
        [receive {'DOWN', M, process, P, Why} -> ?assertEqual(normal, Why) end || {P, M} <- Callers],
        beamline_test:eventually(fun() -> {Open, _} = beamline_ring:devices(), Open =:= 0 end)
    end) end}.

%% It may be given up while its answer is being made.
no_answer_comes_to_a_call_that_was_given_up_test_() ->
    {timeout, 60, fun() -> with_device(fun(D) ->
        Rounds = case ring_fixture:isolation() of vm -> 50000; os_process -> 1000 end,
        {ok, Echo} = beamline_ring:start(D, echo),
        Callers = [spawn_monitor(fun() ->
            again(Rounds, fun
                (I) when I rem 8 =:= 0 -> beamline_ring:call(Echo, <<I:32>>); %% looked for, because these come at once
                (I) -> beamline_ring:call(Echo, <<I:32>>, #{timeout => 0})
            end),
            beamline_test:eventually(fun() -> {Open, _} = beamline_ring:devices(), Open =:= 0 end),
            receive Message -> error({unexpected, Message}) after 0 -> ok end
        end) || _ <- lists:seq(1, 4)],
        [receive {'DOWN', M, process, P, Why} -> ?assertEqual(normal, Why) end || {P, M} <- Callers]
    end) end}.

again(0, _) -> ok;
again(N, Fun) -> Fun(N), again(N - 1, Fun).

call_until_closed(Actors, I) ->
    case beamline_ring:call(element(1 + I rem 4, Actors), <<I:64>>) of
        {ok, <<I:64>>} -> call_until_closed(Actors, I + 1);
        {error, {busy, _}} -> call_until_closed(Actors, I + 1);
        {error, closed} -> ok
    end.

reloading_is_safe_under_load_test_() ->
    {timeout, 60, fun() -> with_device(fun(D) ->
        {ok, Echo} = beamline_ring:start(D, echo),
        Self = self(),
        Callers = [spawn_monitor(fun() -> call_until_told(Echo, Self) end) || _ <- lists:seq(1, 4)],
        [begin
             beamline_test:eventually(fun() -> code:soft_purge(beamline_ring_nif) end),
             {module, _} = code:load_file(beamline_ring_nif)
         end || _ <- lists:seq(1, 20)],
        [P ! stop || {P, _} <- Callers],
        [receive {'DOWN', M, process, P, Why} -> ?assertEqual(normal, Why) end || {P, M} <- Callers]
    end) end}.

call_until_told(Echo, Parent) ->
    case beamline_ring:call(Echo, <<"x">>) of
        {ok, <<"x">>} -> ok;
        {error, {busy, _}} -> ok
    end,
    receive stop -> ok after 0 -> call_until_told(Echo, Parent) end.

%% The last use of an actor's term is the call itself: it must not be collected while the call waits.
an_actor_lives_until_its_last_call_is_answered_test() ->
    with_device(fun(D) ->
        Self = self(),
        Caller = spawn_link(fun() ->
            {ok, A} = beamline_ring:start(D, echo),
            ok = beamline_ring:suspend(A),
            Self ! {self(), beamline_ring:call(A, <<"x">>, #{timeout => 300})}
        end),
        ?assertEqual({error, timeout}, collected_until_answer(Caller))
    end).

collected_until_answer(Caller) ->
    _ = erlang:garbage_collect(Caller),
    receive {Caller, Answer} -> Answer after 10 -> collected_until_answer(Caller) end.
