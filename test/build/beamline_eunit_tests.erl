%% SPDX-License-Identifier: Apache-2.0
%%
%% The reporter counts what happened: the closing line of `make test' stands on it.
-module(beamline_eunit_tests).
-include_lib("eunit/include/eunit.hrl").

a_passing_test_is_passed_test() ->
    ?assertMatch({{2, 0, 0}, _}, report([fun pass/0, fun pass/0])).

a_skip_is_skipped_and_says_why_and_nothing_after_it_runs_test() ->
    {Counts, Text} = report([fun() -> beamline_test:skip("no data"), exit(went_on) end]),
    ?assertEqual({0, 0, 1}, Counts),
    ?assertMatch({match, _}, re:run(Text, "^skipped: .*: no data$", [multiline])).

a_skip_in_a_generator_is_skipped_test() ->
    ?assertMatch({{0, 0, 1}, _}, report([{generator, fun() -> beamline_test:skip("no tool") end}])).

a_skip_in_a_setup_is_skipped_once_test() ->
    Fixture = {setup, fun() -> beamline_test:skip("no device") end, [fun pass/0, fun pass/0]},
    ?assertMatch({{0, 0, 1}, _}, report([Fixture])).

a_failed_assertion_is_failed_and_is_shown_test() ->
    {Counts, Text} = report([fun() -> ?assertEqual(2, erlang:phash2(one, 1)) end]),
    ?assertEqual({0, 1, 0}, Counts),
    ?assertMatch({match, _}, re:run(Text, "FAILED: .*assertEqual", [dotall])).

an_exit_an_error_and_a_throw_are_failed_test() ->
    ?assertMatch({{0, 3, 0}, _}, report([fun() -> exit(bad) end, fun() -> error(bad) end, fun() -> throw(bad) end])).

a_test_out_of_time_is_failed_test() ->
    ?assertMatch({{0, 1, 0}, _}, report([{timeout, 0.05, fun() -> receive never -> ok end end}])).

a_killed_test_process_is_failed_test() ->
    ?assertMatch({{0, 1, 0}, _}, report([fun() -> exit(self(), kill), receive never -> ok end end])).

a_failing_setup_and_a_failing_generator_are_failed_test() ->
    ?assertMatch({{0, 1, 0}, _}, report([{setup, fun() -> error(bad) end, [fun pass/0]}])),
    ?assertMatch({{0, 1, 0}, _}, report([{generator, fun() -> error(bad) end}])).

what_happens_to_one_function_costs_the_others_of_its_module_nothing_test() ->
    Print = fun(_, _) -> ok end,
    ?assertEqual({4, 3, 2}, beamline_eunit:run(beamline_eunit_sample, [{print, Print}])).

pass() -> ok.

%% Runs tests under a reporter of their own; its counts and all that it printed.
report(Tests) ->
    Self = self(),
    Print = fun(Format, Args) -> Self ! {print, io_lib:format(Format, Args)}, ok end,
    _ = eunit:test(Tests, [no_tty, {report, {beamline_eunit, [{report_to, Self}, {print, Print}]}}]),
    Counts = receive {beamline_eunit, counts, C} -> C after 5000 -> error(no_report) end,
    {Counts, unicode:characters_to_binary(printed())}.

printed() ->
    receive {print, Text} -> [Text | printed()] after 0 -> [] end.
