%% SPDX-License-Identifier: Apache-2.0
%%
%% Pools with an OS process: the tests of beamline_runtime_tests once more, and what only such a pool can suffer.
-module(beamline_runtime_host_tests).
-include_lib("eunit/include/eunit.hrl").

-import(beamline_test, [eventually/1]).

%% About ports, NIFs and pools of the VM, or about Erlang alone.
-define(OF_THE_VM, [
    a_task_is_answered_with_its_value_test, what_finishes_behind_can_be_followed_to_its_end_test,
    an_opaque_operation_is_answered_in_time_and_bounded_test,
    garbage_on_the_port_is_ignored_test, garbage_for_the_nifs_is_refused_test,
    a_library_that_is_none_stops_the_pool_with_the_reason_test, a_port_that_is_closed_by_force_restarts_the_pool_test,
    too_small_a_stack_is_refused_with_the_field_test, wrong_options_raise_badarg_test_,
    distribution_may_start_and_stop_while_tasks_run_test_, more_than_a_gigabyte_is_refused_as_a_value_test_
]).

the_same_as_in_the_vm_test_() ->
    {setup, fun() -> persistent_term:put({beamline_test, isolation}, os_process) end,
        fun(_) -> persistent_term:erase({beamline_test, isolation}) end,
        [again(F) || {F, 0} <- beamline_runtime_tests:module_info(exports), is_test(F), not lists:member(F, ?OF_THE_VM)]}.

is_test(F) -> lists:any(fun(End) -> lists:suffix(End, atom_to_list(F)) end, ["_test", "_test_"]).

again(F) ->
    case lists:suffix("_test_", atom_to_list(F)) of
        true -> {generator, fun() -> beamline_runtime_tests:F() end};
        false -> {atom_to_list(F), {timeout, 30, fun() -> beamline_runtime_tests:F() end}}
    end.

%% ---- what only a process can suffer ----

with_host(Opts, Test) ->
    beamline_test:start(),
    process_flag(trap_exit, true),
    #{level := Level} = logger:get_primary_config(),
    logger:set_primary_config(level, none),
    Probes = beamline_test:built_file("runtime/probe_operations.so"),
    Defaults = #{name => host_pool, threads => 2, isolation => os_process, operations => [Probes]},
    {ok, Pid} = beamline_runtime:start_link(maps:merge(Defaults, Opts)),
    try
        Test(host_pool),
        eventually(fun() -> nothing_is_left(beamline_runtime:info(host_pool)) end)
    after
        gen_server:stop(Pid),
        receive {'EXIT', Pid, _} -> ok end,
        logger:set_primary_config(level, Level)
    end.

nothing_is_left(#{running := R, behind := B, queue_bytes := Q, queued := Classes, host := #{tasks := T, argument_bytes := A}}) ->
    0 =:= lists:sum([R, B, Q, T, A | maps:values(Classes)]).

host(Pool) -> maps:get(host, beamline_runtime:info(Pool)).

signal(Pool, Signal) ->
    #{pid := Pid} = host(Pool),
    [] = os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(Pid)).

no_message() -> receive {beamline, _, _} = Any -> error({unexpected, Any}) after 20 -> ok end.

in_flight(Pool, N, Opts) -> [element(2, beamline_runtime:submit(Pool, probe_wait, 60_000, Opts)) || _ <- lists:seq(1, N)].

is_back(Pool, Starts) -> eventually(fun() -> #{state := S, starts := N} = host(Pool), S =:= up andalso N > Starts end).

a_killed_host_answers_what_it_had_and_comes_back_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            Refs = in_flight(Pool, 1000, #{}),
            eventually(fun() -> maps:get(tasks, host(Pool)) =:= 256 end),
            signal(Pool, "KILL"),
            is_back(Pool, 1),
            %% Those that were sent tell how it ended; those that were waiting go to the next host.
            Answers = [beamline_runtime:await(R, 0) || R <- Refs],
            Told = [A || {error, {host_exited, <<"killed by signal 9">>}} = A <- Answers],
            ?assertEqual(256, length(Told)),
            ?assertEqual([{error, timeout}], lists:usort(Answers -- Told)),
            ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{})),
            ?assertMatch(#{why := <<"killed by signal 9">>, starts := 2}, host(Pool)),
            no_message()
        end)
    end}.

a_host_that_is_gone_holds_nothing_test_() ->
    {timeout, 30, fun() ->
        with_host(#{heartbeat => 200}, fun(Pool) ->
            [First | _] = Refs = in_flight(Pool, 3, #{}),
            eventually(fun() -> #{running := R, queued := Q} = host(Pool), {R, Q} =:= {2, 1} end),
            signal(Pool, "KILL"),
            ?assertMatch({error, {host_exited, _}}, beamline_runtime:await(First)),
            ?assertMatch(#{running := 0, behind := 0, queued := 0, memory := 0}, host(Pool)),
            [{error, {host_exited, _}} = beamline_runtime:await(Ref) || Ref <- tl(Refs)],
            is_back(Pool, 1)
        end)
    end}.

a_stopped_host_keeps_no_deadline_from_being_kept_test_() ->
    {timeout, 60, fun() ->
        with_host(#{heartbeat => 3000}, fun(Pool) ->
            signal(Pool, "STOP"),
            Refs = in_flight(Pool, 1000, #{timeout => 100}),
            T0 = erlang:monotonic_time(millisecond),
            [?assertEqual({error, timeout}, beamline_runtime:await(R)) || R <- Refs],
            ?assert(erlang:monotonic_time(millisecond) - T0 < 2500),
            %% The silence is noticed, the host killed, another one started.
            is_back(Pool, 1),
            ?assertMatch(#{why := <<"it missed its heartbeat">>}, host(Pool)),
            ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{})),
            no_message()
        end)
    end}.

a_host_whose_port_somebody_closes_is_followed_by_another_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            [Ref] = in_flight(Pool, 1, #{}),
            {links, Links} = process_info(whereis(Pool), links),
            [Process] = [P || P <- Links, is_port(P), erlang:port_info(P, os_pid) =:= {os_pid, maps:get(pid, host(Pool))}],
            port_close(Process),
            ?assertMatch({error, {host_exited, _}}, beamline_runtime:await(Ref, 5000)),
            is_back(Pool, 1),
            ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
        end)
    end}.

%% The last one's long life is no reason to try every 100 ms.
a_host_that_cannot_be_started_is_tried_less_and_less_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            {Host, Hour} = {fun(State) -> element(4, State) end, 3_600_000},
            Age = fun(State) -> H = Host(State), setelement(4, State, setelement(6, H, element(6, H) - Hour)) end,
            _ = sys:replace_state(Pool, Age),
            BackOff = fun() -> element(7, Host(sys:get_state(Pool))) end,
            Before = os:getenv("BEAMLINE_PRIV"),
            os:putenv("BEAMLINE_PRIV", "/nowhere"),
            signal(Pool, "KILL"),
            try
                eventually(fun() -> is_integer(BackOff()) andalso BackOff() > 400 end)
            after
                case Before of false -> os:unsetenv("BEAMLINE_PRIV"); _ -> os:putenv("BEAMLINE_PRIV", Before) end
            end,
            is_back(Pool, 1)
        end)
    end}.

a_host_that_hangs_before_it_joins_is_killed_and_the_next_comes_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            Pid = beamline_test:with_hanging_host(fun() -> signal(Pool, "KILL") end),
            ?assertEqual({ok, later}, beamline_runtime:call(Pool, echo, later, #{timeout => 30_000})),
            ?assertNotEqual("", os:cmd("kill -0 " ++ integer_to_list(Pid)))
        end)
    end}.

without_a_descriptor_a_process_is_not_killed_and_nobody_crashes_test_() ->
    {timeout, 60, fun() ->
        Script =
            "Port = open_port({spawn_executable, \"/bin/sleep\"}, [{args, [\"5\"]}]), "
            "{module, _} = code:ensure_loaded(beamline_os_process), \"\" = os:cmd(\"true\"), "
            "Fill = fun Fill(L) -> case file:open(\"/dev/null\", [read, raw]) of {ok, F} -> Fill([F | L]); {error, emfile} -> L end end, "
            "Files = Fill([]), Killed = (catch beamline_os_process:kill(Port)), [file:close(F) || F <- Files], "
            "io:format(\"~p\", [Killed]), halt().",
        Paths = [filename:absname(P) || P <- code:get_path(), filelib:is_file(filename:join(P, "beamline.app"))],
        ?assertEqual("ok", os:cmd(lists:flatten(["ulimit -n 64; erl -noshell -pa ", lists:join(" ", Paths), " -eval '", Script, "'"])))
    end}.

a_crash_hurts_only_its_own_host_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            ?assertMatch({error, {host_exited, <<"killed by signal ", _/binary>>}}, beamline_runtime:call(Pool, probe_crash, x, #{})),
            is_back(Pool, 1),
            ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
        end)
    end}.

a_host_has_no_more_memory_than_it_may_test_() ->
    {timeout, 60, fun() ->
        with_host(#{memory_limit => 100_000_000}, fun(Pool) ->
            ?assertMatch({error, {limit, #{what := pool_memory}}}, beamline_runtime:call(Pool, probe_allocate, 200_000_000, #{})),
            os:getenv("BEAMLINE_PRIV") =/= false andalso beamline_test:skip("a sanitizer takes all addresses"),
            %% Past the accounting the kernel says no.
            ?assertEqual({error, no_memory}, beamline_runtime:call(Pool, probe_malloc, 2_000_000_000, #{})),
            ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
        end)
    end}.

%% The addresses that it may have are enough for the stacks of all threads that were asked for.
a_host_with_little_memory_has_all_its_threads_test_() ->
    {timeout, 60, fun() ->
        with_host(#{threads => 600, memory_limit => 1_000_000}, fun(Pool) ->
            Tasks = filename:join(["/proc", integer_to_list(maps:get(pid, host(Pool))), "task"]),
            eventually(fun() -> {ok, Threads} = file:list_dir(Tasks), length(Threads) > 600 end)
        end)
    end}.

a_host_may_not_open_files_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            Opens = beamline_runtime:call(Pool, probe_open, <<"/etc/passwd">>, #{}),
            case host(Pool) of
                #{sandbox := true} -> ?assertEqual({ok, false}, Opens);
                #{sandbox := false} -> beamline_test:skip("libseccomp is not installed")
            end
        end)
    end}.

a_host_may_not_reach_other_processes_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            #{sandbox := Sandbox, pid := Host} = host(Pool),
            Sandbox orelse beamline_test:skip("libseccomp is not installed"),
            Reaches = [beamline_runtime:call(Pool, probe_reach, Pid, #{}) || Pid <- [0, list_to_integer(os:getpid()), Host]],
            ?assertEqual([{ok, false}, {ok, false}, {ok, true}], Reaches)
        end)
    end}.

a_host_dies_with_its_pool_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(_) ->
            Probes = beamline_test:built_file("runtime/probe_operations.so"),
            {ok, Pid} = beamline_runtime:start_link(#{name => doomed_pool, isolation => os_process, operations => [Probes]}),
            #{pid := Os} = host(doomed_pool),
            {ok, Ref} = beamline_runtime:submit(doomed_pool, probe_wait, 60_000, #{}),
            ?assert(filelib:is_dir("/proc/" ++ integer_to_list(Os))),
            exit(Pid, kill),
            ?assertEqual({error, closed}, beamline_runtime:await(Ref, 5000)),
            eventually(fun() -> not filelib:is_dir("/proc/" ++ integer_to_list(Os)) end)
        end)
    end}.

a_library_that_is_none_stops_the_pool_with_the_reason_test() ->
    with_host(#{}, fun(_) ->
        Wrong = #{name => none, isolation => os_process, operations => ["/no/such/file.so"]},
        ?assertMatch({error, {host_exited, _}}, beamline_runtime:start_link(Wrong)),
        ?assertEqual({error, closed}, beamline_runtime:call(none, noop, x, #{}))
    end).

large_answers_and_small_ones_do_not_wait_for_each_other_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            Large = binary:copy(<<"0123456789">>, 5_000_000),
            {ok, Ref} = beamline_runtime:submit(Pool, echo, Large, #{}),
            ?assertEqual({ok, small}, beamline_runtime:call(Pool, echo, small, #{})),
            ?assertEqual({ok, Large}, beamline_runtime:await(Ref, 20_000))
        end)
    end}.

an_opaque_operation_is_answered_in_time_and_bounded_test_() ->
    {timeout, 60, fun() ->
        with_host(#{threads => 1, max_behind => 1, heartbeat => 200}, fun(Pool) ->
            ?assertEqual({error, timeout}, beamline_runtime:call(Pool, probe_deaf, 3000, #{timeout => 30})),
            eventually(fun() -> maps:get(behind, host(Pool)) =:= 1 end),
            ?assertEqual({ok, ok}, beamline_runtime:call(Pool, noop, x, #{})),
            ?assertMatch({error, {busy, _}}, beamline_runtime:call(Pool, probe_deaf, 1, #{})),
            eventually(fun() -> maps:get(behind, host(Pool)) =:= 0 end)
        end)
    end}.

%% The sandbox opens no files: these libraries are there before it closes.
foreign_libraries_work_in_the_sandbox_test_() ->
    {timeout, 60, fun() ->
        with_host(#{}, fun(Pool) ->
            Gzip = zlib:gzip(<<"x\n1.0\n3 0 0\n0 3 0\n0 0 3\nSi\n1\nDirect\n0 0 0\n">>),
            {ok, #{structures := [Structure]}} = Here = beamline_runtime:call(crystal_parse, #{data => Gzip}),
            ?assertEqual(Here, beamline_runtime:call(Pool, crystal_parse, #{data => Gzip}, #{})),
            ?assertEqual(
                beamline_runtime:call(crystal_symmetry, #{structure => Structure}),
                beamline_runtime:call(Pool, crystal_symmetry, #{structure => Structure}, #{})
            )
        end)
    end}.
