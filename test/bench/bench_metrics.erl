%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc What counting costs.
-module(bench_metrics).

-export([run/0]).

-define(TIMES, 300_000).

-spec run() -> ok.
run() ->
    ok = beamline_metrics:counter(bench_plain_total, #{help => "A bench."}),
    ok = beamline_metrics:counter(bench_labelled_total, #{help => "A bench.", labels => [method]}),
    Series = beamline_metrics:series(bench_plain_total, []),
    line("metrics/counter", fun() -> beamline_metrics:add(bench_plain_total, 1) end),
    line("metrics/counter_labelled", fun() -> beamline_metrics:add(bench_labelled_total, [get], 1) end),
    line("metrics/counter_series", fun() -> beamline_metrics:add(Series, 1) end),
    ok = beamline_metrics:remove(bench_plain_total),
    ok = beamline_metrics:remove(bench_labelled_total).

line(Name, Increment) ->
    Bare = counters:new(1, []),
    ok = beamline_bench:compare(#{
        name => Name, unit => "ns", better => lower,
        against => "counters:add",
        value => fun() -> each_ns(Increment) end,
        floor => fun() -> each_ns(fun() -> counters:add(Bare, 1, 1) end) end
    }).

%% The call of the fun is in both.
each_ns(Fun) -> 1000 * beamline_bench:mean_us(?TIMES, Fun).
