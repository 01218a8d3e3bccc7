%% SPDX-License-Identifier: Apache-2.0
-module(beamline_metrics_tests).

-include_lib("eunit/include/eunit.hrl").

-export([families/1, crash/0, hang/0]).

%% Metrics are global, so every test uses a name of its own and removes it.
with(Names, Fun) ->
    try Fun() after [beamline_metrics:remove(Name) || Name <- Names] end.

%% As a socket takes it.
text() -> iolist_to_binary(beamline_metrics:render(text)).

lines(Prefix) ->
    [Line || Line <- binary:split(text(), <<"\n">>, [global]), string:prefix(Line, Prefix) =/= nomatch].

%%% Values

a_counter_counts_test() ->
    with([t_counted_total], fun() ->
        ok = beamline_metrics:counter(t_counted_total, #{help => "Counted."}),
        ok = beamline_metrics:add(t_counted_total, 2),
        ok = beamline_metrics:add(beamline_metrics:series(t_counted_total, []), 3),
        ?assertEqual(5, beamline_metrics:value(t_counted_total)),
        ?assertEqual([<<"t_counted_total 5">>], lines(<<"t_counted_total">>))
    end).

a_counter_does_not_go_down_test() ->
    with([t_up_total], fun() ->
        ok = beamline_metrics:counter(t_up_total, #{help => "Up."}),
        ?assertError(badarg, beamline_metrics:add(t_up_total, -1)),
        ?assertError(badarg, beamline_metrics:set(t_up_total, 7)),
        Series = beamline_metrics:series(t_up_total, []),
        ?assertError(badarg, beamline_metrics:add(Series, -1)),
        ?assertError(badarg, beamline_metrics:set(Series, 7)),
        ?assertError(badarg, beamline_metrics:observe(Series, 7)),
        ?assertEqual(0, beamline_metrics:value(t_up_total))
    end).

a_gauge_is_set_and_moved_test() ->
    with([t_level], fun() ->
        ok = beamline_metrics:gauge(t_level, #{help => "Level.", labels => [tank]}),
        ok = beamline_metrics:set(t_level, [a], 7),
        ok = beamline_metrics:add(t_level, [a], -10),
        ?assertEqual(-3, beamline_metrics:value(t_level, [a])),
        Series = beamline_metrics:series(t_level, [a]),
        ok = beamline_metrics:set(Series, 5),
        ok = beamline_metrics:add(Series, -8),
        ?assertEqual(0, beamline_metrics:value(t_level, [never_seen])),
        ?assertEqual([<<"t_level{tank=\"a\"} -3">>], lines(<<"t_level">>))
    end).

a_histogram_has_cumulative_buckets_in_the_scaled_unit_test() ->
    with([t_wait_seconds], fun() ->
        ok = beamline_metrics:histogram(t_wait_seconds, #{help => "Wait.", divisor => 1000000, buckets => [1000, 1000000]}),
        [ok = beamline_metrics:observe(t_wait_seconds, N) || N <- [0, 1000, 1001, 1000000, 5000000]],
        ?assertError(badarg, beamline_metrics:observe(t_wait_seconds, 1 bsl 64)),
        ?assertEqual([<<"t_wait_seconds_bucket{le=\"0.001\"} 2">>,
                      <<"t_wait_seconds_bucket{le=\"1.0\"} 4">>,
                      <<"t_wait_seconds_bucket{le=\"+Inf\"} 5">>,
                      <<"t_wait_seconds_sum 6.002001">>,
                      <<"t_wait_seconds_count 5">>], lines(<<"t_wait_seconds">>))
    end).

nothing_is_lost_between_processes_test_() ->
    {timeout, 30, fun() ->
        with([t_busy_total], fun() ->
            ok = beamline_metrics:counter(t_busy_total, #{help => "Busy.", labels => [k]}),
            Workers = [spawn_monitor(fun() -> [beamline_metrics:add(t_busy_total, [I rem 7], 1) || I <- lists:seq(1, 10000)] end)
                       || _ <- lists:seq(1, 8)],
            [receive {'DOWN', M, process, P, R} -> ?assertEqual(normal, R) end || {P, M} <- Workers],
            ?assertEqual(80000, lists:sum([beamline_metrics:value(t_busy_total, [K]) || K <- lists:seq(0, 6)]))
        end)
    end}.

%%% Registration

registering_again_keeps_the_count_test() ->
    with([t_again_total], fun() ->
        Options = #{help => "Again."},
        ok = beamline_metrics:counter(t_again_total, Options),
        ok = beamline_metrics:add(t_again_total, 1),
        ok = beamline_metrics:counter(t_again_total, Options),
        ?assertEqual(1, beamline_metrics:value(t_again_total)),
        ?assertError(badarg, beamline_metrics:counter(t_again_total, #{help => "Other."}))
    end).

two_who_register_at_once_share_one_metric_test() ->
    with([t_shared_total], fun() ->
        Workers = [spawn_monitor(fun() ->
                       ok = beamline_metrics:counter(t_shared_total, #{help => "Shared."}),
                       ok = beamline_metrics:add(t_shared_total, 1)
                   end) || _ <- lists:seq(1, 50)],
        [receive {'DOWN', M, process, P, R} -> ?assertEqual(normal, R) end || {P, M} <- Workers],
        ?assertEqual(50, beamline_metrics:value(t_shared_total))
    end).

a_killed_registrar_does_not_hold_the_lock_test() ->
    with([t_after_total], fun() ->
        Holder = spawn(fun() -> register(beamline_metrics_lock, self()), receive after infinity -> ok end end),
        timer:apply_after(50, erlang, exit, [Holder, kill]),
        ?assertEqual(ok, beamline_metrics:counter(t_after_total, #{help => "After."}))
    end).

bad_names_and_options_are_refused_test_() ->
    [?_assertError(badarg, beamline_metrics:Type(Name, Options)) || {Type, Name, Options} <- [
        {counter, 't bad_total', #{help => "x"}}, {counter, t_no_suffix, #{help => "x"}},
        {gauge, t_gauge_total, #{help => "x"}}, {counter, '1_total', #{help => "x"}},
        {counter, t_x_total, #{}}, {counter, t_x_total, #{help => "x", lables => []}},
        {counter, t_x_total, #{help => "x", labels => ['__x']}}, {counter, t_x_total, #{help => "x", labels => [a, a]}},
        {gauge, t_x, #{help => "x", max_series => 0}}, {histogram, t_x, #{help => "x"}},
        {counter, t_x_total, #{help => "x", labels => [a], max_series => 1 bsl 40}},
        {counter, t_x_total, #{help => "x", labels => [a | b]}},
        {histogram, t_x, #{help => "x", buckets => lists:seq(1, 30), labels => [a], max_series => 1 bsl 19}},
        {histogram, t_x, #{help => "x", buckets => [1 | 2]}}, {counter, t_x_total, [{help, "x"}]},
        {histogram, t_x, #{help => "x", buckets => [2, 1]}}, {histogram, t_x, #{help => "x", buckets => [1], labels => [le]}}]].

an_unknown_metric_or_the_wrong_number_of_labels_is_badarg_test() ->
    with([t_two_total], fun() ->
        ok = beamline_metrics:counter(t_two_total, #{help => "Two.", labels => [a, b]}),
        ?assertError(badarg, beamline_metrics:add(t_never_registered_total, 1)),
        ?assertError(badarg, beamline_metrics:add(t_two_total, [x], 1)),
        ?assertError(badarg, beamline_metrics:add(t_two_total, 1))
    end).

arguments_of_wrong_types_are_badarg_test() ->
    with([t_one_total, t_times], fun() ->
        ok = beamline_metrics:counter(t_one_total, #{help => "One.", labels => [a]}),
        ok = beamline_metrics:histogram(t_times, #{help => "Times.", buckets => [1]}),
        [?assertError(badarg, apply(beamline_metrics, F, Args)) || {F, Args} <- [
            {collector, ["name", {m, f, []}]}, {collector, [name, fun() -> [] end]}, {remove, ["name"]}, {series, [t_one_total, [{a, b}]]},
            {add, [t_one_total, [1.5], 1]}, {observe, [{a, b, c}, 1]}, {observe, [t_times, 1.5]}, {value, [t_times]}, {value, ["name"]},
            {render, [xml]}, {content_type, [xml]}, {negotiate, ["text/plain"]}]]
    end).

%%% Bounds

label_sets_beyond_the_limit_share_one_series_and_are_counted_test() ->
    with([t_many_total], fun() ->
        ok = beamline_metrics:counter(t_many_total, #{help => "Many.", labels => [who, what], max_series => 3}),
        [ok = beamline_metrics:add(t_many_total, [I, x], 1) || I <- lists:seq(1, 10)],
        ok = beamline_metrics:add(t_many_total, [<<"2">>, <<"x">>], 5),
        Lines = lines(<<"t_many_total">>),
        ?assertEqual(4, length(Lines)),
        ?assert(lists:member(<<"t_many_total{who=\"other\",what=\"other\"} 7">>, Lines)),
        ?assert(lists:member(<<"t_many_total{who=\"2\",what=\"x\"} 6">>, Lines)),
        ?assertEqual([<<"beamline_metrics_overflow_total{metric=\"t_many_total\"} 7">>],
                     lines(<<"beamline_metrics_overflow_total{metric=\"t_many_total\"}">>))
    end).

long_label_values_are_cut_and_leave_nothing_behind_test() ->
    with([t_long_total], fun() ->
        ok = beamline_metrics:counter(t_long_total, #{help => "Long.", labels => [v]}),
        Head = binary:copy(<<"a">>, 128),
        [ok = beamline_metrics:add(t_long_total, [<<Head/binary, I:32>>], 1) || I <- lists:seq(1, 200)],
        ?assertEqual([<<"t_long_total{v=\"", Head/binary, "\"} 200">>], lines(<<"t_long_total">>)),
        Kept = [K || {K, _} <- persistent_term:get(), is_tuple(K), tuple_size(K) > 1, element(2, K) =:= t_long_total],
        ?assert(length(Kept) =< 4)
    end).

values_are_escaped_test() ->
    with([t_odd_total], fun() ->
        ok = beamline_metrics:counter(t_odd_total, #{help => "A \\ and\nmore.", labels => [v]}),
        ok = beamline_metrics:add(t_odd_total, [<<"q\"b\\n\n", 255>>], 1),
        ?assertEqual([<<"t_odd_total{v=\"q\\\"b\\\\n\\n?\"} 1">>], lines(<<"t_odd_total">>)),
        ?assertEqual([<<"# HELP t_odd_total A \\\\ and\\nmore.">>], lines(<<"# HELP t_odd_total">>))
    end).

characters_beside_escaped_ones_stay_utf8_test() ->
    with([t_far_total], fun() ->
        ok = beamline_metrics:counter(t_far_total, #{help => "Größe\n€\\\"", labels => [v]}),
        ok = beamline_metrics:add(t_far_total, [<<"€\"é\\ß\n"/utf8>>], 1),
        ?assertEqual([<<"t_far_total{v=\"€\\\"é\\\\ß\\n\"} 1"/utf8>>], lines(<<"t_far_total">>)),
        ?assertEqual([<<"# HELP t_far_total Größe\\n€\\\\\""/utf8>>], lines(<<"# HELP t_far_total">>)),
        ?assertNotEqual(nomatch, binary:match(iolist_to_binary(beamline_metrics:render(openmetrics)),
                                              <<"# HELP t_far Größe\\n€\\\\\\\"\n"/utf8>>))
    end).

%%% Collectors

families(Families) -> Families.
crash() -> error(on_purpose).
hang() -> receive after infinity -> ok end.

collected_metrics_appear_and_merge_test() ->
    with([t_one, t_two], fun() ->
        Family = fun(K, V) -> #{name => t_pool_depth, type => gauge, help => "Depth.", samples => [{[{pool, K}], V}]} end,
        ok = beamline_metrics:collector(t_one, {?MODULE, families, [[Family(a, 1), Family(a, 9)]]}),
        ok = beamline_metrics:collector(t_two, {?MODULE, families, [[Family(b, 2.5)]]}),
        ?assertEqual([<<"t_pool_depth{pool=\"a\"} 1">>, <<"t_pool_depth{pool=\"b\"} 2.5">>], lines(<<"t_pool_depth">>)),
        ?assertEqual(1, length(lines(<<"# TYPE t_pool_depth gauge">>)))
    end).

odd_families() ->
    Gauge = #{name => t_v, type => gauge, help => "x", samples => []},
    Histogram = fun(Buckets) ->
        #{name => t_v, type => histogram, help => "x", samples => [{[], #{buckets => Buckets, sum => 1, count => 2}}]}
    end,
    [[Gauge | no_end], [Gauge#{samples => [{[], 1} | no_end]}], [Gauge#{samples => [{[{a, 1} | no_end], 1}]}],
     [Gauge#{samples => [{[{a, 1}, {a, 2}], 1}]}],
     [Histogram([{1, 1} | no_end])], [Histogram([{2, 1}, {1, 1}])], [Histogram([{1, 1}, {1.0, 1}])], [Histogram([{1, 2}, {2, 1}])]].

a_bad_collector_is_counted_and_harms_nobody_test_() ->
    {timeout, 20, fun() ->
        Bad = [{t_crash, {?MODULE, crash, []}}, {t_hang, {?MODULE, hang, []}},
               {t_nonsense, {?MODULE, families, [42]}},
               {t_name, {?MODULE, families, [[#{name => 'a b', type => gauge, help => "x", samples => []}]]}},
               {t_value, {?MODULE, families, [[#{name => t_v, type => gauge, help => "x", samples => [{[], nan}]}]]}}
               | [{list_to_atom("t_odd_" ++ integer_to_list(I)), {?MODULE, families, [Odd]}}
                  || {I, Odd} <- lists:zip(lists:seq(1, length(odd_families())), odd_families())]],
        with([t_fine | [Name || {Name, _} <- Bad]], fun() ->
            ok = beamline_metrics:gauge(t_fine, #{help => "Fine."}),
            [ok = beamline_metrics:collector(Name, MFA) || {Name, MFA} <- Bad],
            _ = text(),
            ?assertEqual([<<"t_fine 0">>], lines(<<"t_fine">>)),
            [?assert(beamline_metrics:value(beamline_metrics_collector_failures_total, [Name]) >= 1) || {Name, _} <- Bad]
        end)
    end}.

the_vm_is_described_test() ->
    ok = beamline_metrics_vm:register(),
    ?assertMatch([<<"beamline_vm_memory_bytes{", _/binary>> | _], lines(<<"beamline_vm_memory_bytes{kind=\"binary\"}">>)).

%%% Formats

openmetrics_ends_with_eof_and_names_counters_without_total_test() ->
    with([t_open_total], fun() ->
        ok = beamline_metrics:counter(t_open_total, #{help => "Say \"open\"."}),
        Text = unicode:characters_to_binary(beamline_metrics:render(openmetrics)),
        ?assertNotEqual(nomatch, binary:match(Text, <<"# TYPE t_open counter\nt_open_total 0\n">>)),
        ?assertNotEqual(nomatch, binary:match(Text, <<"# HELP t_open Say \\\"open\\\".\n">>)),
        ?assertEqual(<<"# EOF\n">>, binary:part(Text, byte_size(Text), -6))
    end).

the_format_is_chosen_by_accept_test_() ->
    [?_assertEqual(text, beamline_metrics:negotiate(undefined)),
     ?_assertEqual(text, beamline_metrics:negotiate(<<"*/*">>)),
     ?_assertEqual(openmetrics, beamline_metrics:negotiate(<<"application/openmetrics-text;version=1.0.0,text/plain;q=0.5">>)),
     ?_assertEqual(openmetrics, beamline_metrics:negotiate(<<"text/plain;q=0.5, Application/OpenMetrics-Text; q=0.05">>)),
     ?_assertEqual(text, beamline_metrics:negotiate(<<"application/openmetrics-text; q=0.00, text/plain">>)),
     ?_assertEqual(text, beamline_metrics:negotiate(<<"application/openmetrics-texture, ", 255>>))].

promtool_has_nothing_to_say_test_() ->
    {timeout, 30, fun() ->
        case os:find_executable("promtool") of
            false -> beamline_test:skip("promtool is not installed");
            Promtool -> promtool(Promtool)
        end
    end}.

promtool(Promtool) ->
    with([t_lint_total, t_lint_seconds, t_lint], fun() ->
        ok = beamline_metrics_vm:register(),
        ok = beamline_metrics:counter(t_lint_total, #{help => "Lint.", labels => [v]}),
        ok = beamline_metrics:add(t_lint_total, [<<"odd \"\\\n">>], 1),
        ok = beamline_metrics:gauge(t_lint, #{help => "Lint.", divisor => 2}),
        ok = beamline_metrics:histogram(t_lint_seconds, #{help => "Lint.", buckets => [1, 10], divisor => 10, labels => [a]}),
        ok = beamline_metrics:observe(t_lint_seconds, [x], 5),
        File = filename:join(beamline_test:scratch_dir("promtool"), "metrics.txt"),
        ok = file:write_file(File, text()),
        ?assertEqual("0\n", os:cmd(Promtool ++ " check metrics < '" ++ File ++ "'; echo $?"))
    end).
