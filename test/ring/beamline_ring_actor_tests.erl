%% SPDX-License-Identifier: Apache-2.0
%% Actors as processes: calls, links, supervisors, other nodes.
-module(beamline_ring_actor_tests).

-include_lib("eunit/include/eunit.hrl").

-export([init/1]).

unruly_device() ->
    ok = beamline_test:start(),
    {ok, Pid} = beamline_ring:start_link(#{threads => 1, handlers => [beamline_test:built_file("ring/histogram2_operations.so")]}),
    Pid.

a_process_answers_what_the_handler_does_test() ->
    ok = beamline_test:start(),
    {ok, Device} = beamline_ring:start_link(#{threads => 1}),
    {ok, Pid} = beamline_ring_actor:start_link(#{device => Device, handler => kv, name => my_kv}),
    ?assertEqual({ok, <<0>>}, gen_server:call(my_kv, {put, <<1, "a", "b">>})),
    ok = gen_server:cast(my_kv, {put, <<1, "c", "d">>}),
    ?assertEqual({ok, <<1, "d">>}, gen_server:call(Pid, {get, <<"c">>})),
    ?assertMatch({error, {invalid, #{field := message}}}, gen_server:call(Pid, nonsense)),
    ?assertMatch({ok, #{handler := kv}}, gen_server:call(Pid, info)),
    ?assertEqual(ok, gen_server:call(Pid, suspend)),
    Waiting = [spawn_monitor(fun() -> exit(gen_server:call(Pid, {get, <<"a">>})) end) || _ <- [1, 2, 3]],
    ?assertEqual(ok, gen_server:call(Pid, resume)),
    [receive {'DOWN', M, process, P, Answer} -> ?assertEqual({ok, <<1, "b">>}, Answer) end || {P, M} <- Waiting],
    ?assertMatch({ok, #{state := <<_/binary>>}}, gen_server:call(Pid, checkpoint)),
    ?assertEqual(ok, gen_server:call(Pid, {upgrade, #{}})),
    ok = gen_server:stop(Pid),
    ok = gen_server:stop(Device).

a_failing_handler_exits_with_a_reason_test() ->
    Device = unruly_device(),
    process_flag(trap_exit, true),
    {ok, Pid} = beamline_ring_actor:start_link(#{device => Device, handler => unruly}),
    {error, {device_failed, _}} = gen_server:call(Pid, {fail, <<>>}),
    receive {'EXIT', Pid, Reason} -> ?assertMatch({actor_failed, {device_failed, _}}, Reason) after 2000 -> error(lives) end,
    {ok, Other} = beamline_ring_actor:start_link(#{device => Device, handler => unruly}),
    {error, timeout} = beamline_ring:call(element(2, beamline_ring_actor:actor(Other)), {work, <<1500:16/little>>}, #{timeout => 200}),
    receive {'EXIT', Other, Why} -> ?assertMatch({actor_failed, {device_failed, _}}, Why) after 2000 -> error(lives) end,
    {error, _} = beamline_ring_actor:start_link(#{device => Device, handler => no_such}),
    receive {'EXIT', _, {unsupported, handler}} -> ok after 2000 -> error(no_exit) end,
    ok = gen_server:stop(Device),
    receive {'EXIT', Device, normal} -> ok end,
    process_flag(trap_exit, false).

wrong_options_raise_badarg_test() ->
    [begin
         ?assertError(badarg, beamline_ring_actor:start_link(Opts)),
         ?assertError(badarg, beamline_ring_actor:child_spec(Opts))
     end || Opts <- [none, #{}, #{device => d}] ++
         [maps:merge(#{device => d, handler => echo}, Wrong)
          || Wrong <- [#{device => 1}, #{handler => 1}, #{name => "n"}, #{start => []}, #{start => #{owner => self()}}, #{timeout => -1},
                       #{checkpoint_every => 0}, #{checkpoint_every => soon}, #{x => 1}]]].

what_callers_do_does_not_end_the_process_test() ->
    ok = beamline_test:start(),
    {ok, Device} = beamline_ring:start_link(#{threads => 1}),
    {ok, Pid} = beamline_ring_actor:start_link(#{device => Device, handler => echo}),
    [?assertMatch({error, {invalid, #{field := options}}}, gen_server:call(Pid, {upgrade, Opts}))
     || Opts <- [#{x => 1}, #{library => 17}, #{library => {wasm, 17}}]],
    {Linked, Monitor} = spawn_monitor(fun() -> link(Pid), {ok, <<1>>} = gen_server:call(Pid, <<1>>) end),
    receive {'DOWN', Monitor, process, Linked, Why} -> ?assertEqual(normal, Why) end,
    ?assertEqual({ok, <<2>>}, gen_server:call(Pid, <<2>>)),
    ok = gen_server:stop(Pid),
    ok = gen_server:stop(Device).

%% The size that it was started with is not that of its last state.
one_that_was_upgraded_starts_again_from_its_checkpoint_test() ->
    ok = beamline_test:start(),
    process_flag(trap_exit, true),
    [First, Second] = [beamline_test:built_file("ring/" ++ Name ++ "_operations.so") || Name <- ["histogram", "histogram2"]],
    {ok, Device} = beamline_ring:start_link(#{threads => 1, handlers => [First]}),
    Start = fun() -> beamline_ring_actor:start_link(#{device => Device, handler => histogram, start => #{state_size => 128},
                                                      checkpoint => ?FUNCTION_NAME}) end,
    {ok, Pid} = Start(),
    {ok, <<>>} = gen_server:call(Pid, {add, <<16#10, 16#F8>>}),
    ok = gen_server:call(Pid, {upgrade, #{library => Second}}),
    {ok, #{version := 2}} = gen_server:call(Pid, checkpoint),
    exit(Pid, kill),
    receive {'EXIT', Pid, killed} -> ok end,
    {ok, Next} = Start(),
    {ok, Counts} = gen_server:call(Next, {read, <<>>}),
    ?assertEqual([1, 1], [N || <<N:64/little>> <= Counts, N > 0]),
    ok = beamline_ring_actor:forget(?FUNCTION_NAME),
    ok = gen_server:stop(Next),
    ok = gen_server:stop(Device),
    process_flag(trap_exit, false).

killed_devices_leave_no_trace_test() ->
    ok = beamline_test:start(),
    process_flag(trap_exit, true),
    [begin
         {ok, Device} = beamline_ring:start_link(#{name => killed_device, threads => 1}),
         exit(Device, kill),
         receive {'EXIT', Device, killed} -> ok end
     end || _ <- lists:seq(1, 5)],
    {ok, Device} = beamline_ring:start_link(#{name => killed_device, threads => 1}),
    ?assertEqual([killed_device, Device], lists:sort([Key || {Key, _} <- ets:tab2list(beamline_ring_devices)])),
    ok = gen_server:stop(Device),
    process_flag(trap_exit, false).

%%% The trees of doc/ring.md

init({one_for_one, Library}) ->
    {ok, {#{strategy => one_for_one},
          [beamline_ring:child_spec(#{name => tree_device, threads => 1, handlers => [Library]}),
           beamline_ring_actor:child_spec(#{name => tree_counter, device => tree_device, handler => unruly, checkpoint => tree_counter})]}};
init({rest_for_one, Library}) ->
    {ok, {#{strategy => rest_for_one},
          [beamline_ring:child_spec(#{name => tree_device, threads => 1, handlers => [Library]}),
           beamline_ring_actor:child_spec(#{name => tree_counter, device => tree_device, handler => unruly,
                                            checkpoint => tree_counter, checkpoint_every => 10}),
           beamline_ring_actor:child_spec(#{name => tree_other, device => tree_device, handler => unruly})]}}.

with_tree(Strategy, Fun) ->
    ok = beamline_test:start(),
    Library = beamline_test:built_file("ring/histogram2_operations.so"),
    ok = beamline_ring_actor:forget(tree_counter),
    {ok, Sup} = supervisor:start_link(?MODULE, {Strategy, Library}),
    unlink(Sup),
    try
        Fun()
    after
        Monitor = monitor(process, Sup),
        exit(Sup, shutdown),
        receive {'DOWN', Monitor, process, Sup, _} -> ok end
    end.

count(N) -> [{ok, <<I:64/little>>} = gen_server:call(tree_counter, {count, <<>>}) || I <- lists:seq(1, N)].

a_supervisor_starts_it_again_from_the_last_checkpoint_test() ->
    with_tree(one_for_one, fun() ->
        _ = count(5),
        {ok, _} = gen_server:call(tree_counter, checkpoint),
        {ok, <<6:64/little>>} = gen_server:call(tree_counter, {count, <<>>}),
        Old = whereis(tree_counter),
        {error, {device_failed, _}} = gen_server:call(tree_counter, {fail, <<>>}),
        beamline_test:eventually(fun() -> is_pid(whereis(tree_counter)) andalso whereis(tree_counter) =/= Old end),
        ?assertEqual({ok, <<6:64/little>>}, gen_server:call(tree_counter, {count, <<>>}))
    end).

when_the_device_dies_its_actors_start_again_on_the_next_test() ->
    with_tree(rest_for_one, fun() ->
        _ = count(5),
        beamline_test:eventually(fun() -> [] =/= ets:lookup(beamline_ring_checkpoints, tree_counter) end),
        {ok, _} = gen_server:call(tree_counter, checkpoint),
        Old = [whereis(N) || N <- [tree_device, tree_counter, tree_other]],
        exit(hd(Old), kill),
        beamline_test:eventually(fun() ->
            New = [whereis(N) || N <- [tree_device, tree_counter, tree_other]],
            lists:all(fun is_pid/1, New) andalso [] =:= [P || P <- New, lists:member(P, Old)]
        end),
        ?assertEqual({ok, <<6:64/little>>}, gen_server:call(tree_counter, {count, <<>>})),
        ?assertEqual({ok, <<1:64/little>>}, gen_server:call(tree_other, {count, <<>>}))
    end).

%% Two VMs, without a port mapper: the first one has the actor and starts the second, which calls it.
an_actor_can_be_called_from_another_node_test_() ->
    {timeout, 60, fun() ->
        Port = integer_to_list(20000 + rand:uniform(20000)),
        Common = " -noshell -start_epmd false -setcookie ring -erl_epmd_port " ++ Port ++ " ",
        Second = "erl -name b@127.0.0.1 -dist_listen false" ++ Common ++
            "-eval \"Far = list_to_atom([97, 64 | inet:ntoa({127, 0, 0, 1})]), " % without characters that a shell knows
            "io:format([126, 112], [gen_server:call({far_echo, Far}, <<102, 97, 114>>)]), halt().\"",
        First = "{ok, _} = application:ensure_all_started(beamline), {ok, D} = beamline_ring:start_link(#{threads => 1}), "
            "{ok, _} = beamline_ring_actor:start_link(#{name => far_echo, device => D, handler => echo}), "
            "io:put_chars(os:cmd(os:getenv(\"SECOND\"))), halt().",
        Said = run("erl -name a@127.0.0.1" ++ Common ++ "-pa " ++ filename:dirname(code:which(beamline_ring)), First, Second),
        ?assertEqual("{ok,<<\"far\">>}", Said)
    end}.

%% What an actor tells goes out under the reference that the caller holds, whatever the node is called meanwhile.
an_actor_keeps_its_name_when_distribution_starts_and_stops_test_() ->
    {timeout, 60, fun() ->
        Script = "{ok, _} = application:ensure_all_started(beamline), {ok, D} = beamline_ring:open(#{threads => 1}), "
            "Late = fun(A) -> ok = beamline_ring:cast(A, <<1>>, #{timeout => 0}), Ref = beamline_ring:ref(A), "
            "    receive {beamline, Ref, {undelivered, 0, timeout}} -> ok after 5000 -> halt(1) end end, "
            "Start = fun() -> {ok, A} = beamline_ring:start(D, echo), A end, "
            "A = Start(), Late(A), {ok, _} = net_kernel:start([list_to_atom(\"a@127.0.0.1\"), longnames]), "
            "B = Start(), Late(A), Late(B), ok = net_kernel:stop(), Late(A), Late(B), "
            "io:format(\"told\"), halt().",
        Port = integer_to_list(20000 + rand:uniform(20000)),
        Said = run("erl -noshell -start_epmd false -erl_epmd_port " ++ Port ++ " -pa " ++ filename:dirname(code:which(beamline_ring)),
                   Script, ""),
        ?assertEqual("told", Said)
    end}.

run(Erl, Script, Second) ->
    Words = string:lexemes(Erl, " "),
    Port = open_port({spawn_executable, os:find_executable(hd(Words))},
                     [{args, tl(Words) ++ ["-eval", Script]}, {env, [{"SECOND", Second}]}, exit_status, stderr_to_stdout]),
    collect(Port, []).

collect(Port, Said) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Said, Data]);
        {Port, {exit_status, _}} -> lists:flatten(Said)
    after 30000 -> lists:flatten(Said)
    end.
