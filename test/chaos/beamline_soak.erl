%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Hours of mixed guests; see test/chaos/soak.
-module(beamline_soak).

-export([main/0, slices/1, killed/1, mixed/1]).

-define(WORKERS, 16).
-define(RSS_MORE_KIB, 96 * 1024).

-spec main() -> no_return().
main() ->
    {ok, _} = application:ensure_all_started(beamline),
    case beamline_wasm:library() of
        {ok, _} -> ok;
        {error, Why} -> io:format("skipped: no wasmtime: ~0tp~n0 passed, 0 failed, 1 skipped~n", [Why]), halt(0)
    end,
    Parts = [{"a million slices that change schedulers", fun() -> slices(1_000_000) end}, {"20,000 killed callers",
        fun() -> killed(20) end},
             {"mixed guests", fun() -> mixed(list_to_integer(os:getenv("SECS", "3600"))) end}],
    Failed = [Name || {Name, Part} <- Parts, not passes(Name, Part)],
    io:format("~b passed, ~b failed, 0 skipped~n", [length(Parts) - length(Failed), length(Failed)]),
    halt(length(Failed)).

passes(Name, Part) ->
    io:format("== ~s~n", [Name]),
    try Part() of ok -> true
    catch
        Class:Reason:Stack ->
            io:format("FAILED: ~s: ~0tp~n", [Name, {Class, Reason, Stack}]),
            false
    end.

%% More guests than schedulers, each traps between its long calls.
-spec slices(pos_integer()) -> ok.
slices(Most) ->
    Module = wasm_fixture:module(wasm_fixture:wat()),
    {ok, [Expected]} = once(Module, fun(G) -> beamline_wasm:call(G, <<"turns">>, [2_000_000]) end),
    Begin = total(slices),
    Self = self(),
    Pids = [spawn_link(fun() -> once(Module, fun(G) -> turns(Self, G, Expected) end) end) || _ <- lists:seq(1,
        3 * erlang:system_info(schedulers))],
    until(fun() -> total(slices) - Begin >= Most end),
    [Pid ! stop || Pid <- Pids],
    Calls = lists:sum([receive {Pid, N} -> N end || Pid <- Pids]),
    io:format("~b slices, ~b calls with ~b traps, no wrong answer~n", [total(slices) - Begin, Calls, Calls]),
    nothing_left().

turns(To, G, Expected) -> turns(To, G, Expected, 0).

turns(To, G, Expected, N) ->
    {ok, [Expected]} = beamline_wasm:call(G, <<"turns">>, [2_000_000]),
    {error, {trap, #{code := integer_division_by_zero}}} = beamline_wasm:call(G, <<"div">>, [1, 0]),
    {error, {trap, #{code := stack_overflow}}} = beamline_wasm:call(G, <<"rec">>, [0]),
    receive stop -> To ! {self(), N + 1} after 0 -> turns(To, G, Expected, N + 1) end.

once(Module, Fun) ->
    {ok, G} = beamline_wasm:start(Module, #{imports => wasm_fixture:imports(fun ask/2)}),
    Answer = Fun(G),
    ok = beamline_wasm:stop(G),
    Answer.

ask([N], _) -> [N].

%% A thousand in each round, half of them computing, half parked.
-spec killed(pos_integer()) -> ok.
killed(Rounds) ->
    Module = wasm_fixture:module(wasm_fixture:wat()),
    ok = round_of_deaths(Module),
    Before = rss_kib(),
    [ok = round_of_deaths(Module) || _ <- lists:seq(2, Rounds)],
    More = rss_kib() - Before,
    io:format("~b callers killed, RSS ~b KiB more~n", [Rounds * 1000, More]),
    true = More < ?RSS_MORE_KIB,
    nothing_left().

round_of_deaths(Module) ->
    Never = wasm_fixture:imports(fun(_, _) -> receive never -> [1] end end),
    Pids = [spawn(fun() ->
        {ok, G} = beamline_wasm:start(Module, #{imports => Never}),
        case N rem 2 of 0 -> beamline_wasm:call(G, <<"spin">>, []); 1 -> beamline_wasm:call(G, <<"ask1">>, [1]) end
    end) || N <- lists:seq(1, 1000)],
    until(fun() -> total(guests) =:= 1000 end),
    [exit(Pid, kill) || Pid <- Pids],
    until(fun() -> total(guests) =:= 0 end).

%% Each worker does something at random with a guest of its own, and starts a new one now and then.
-spec mixed(pos_integer()) -> ok.
mixed(Seconds) ->
    End = erlang:monotonic_time(second) + Seconds,
    Module = wasm_fixture:module(wasm_fixture:wat()),
    Workers = [spawn_monitor(fun() -> worker(Module, End) end) || _ <- lists:seq(1, ?WORKERS)],
    Before = watch(End, undefined),
    [receive {'DOWN', Monitor, process, Pid, Why} -> normal = Why end || {Pid, Monitor} <- Workers],
    ok = nothing_left(),
    More = rss_kib() - Before,
    io:format("~b calls, RSS ~b KiB more than after the first minute~n", [total(calls) + total(direct_calls), More]),
    true = More < ?RSS_MORE_KIB,
    ok.

watch(End, First) ->
    Left = End - erlang:monotonic_time(second),
    receive after 1000 * max(0, min(60, Left)) -> ok end,
    Now = rss_kib(),
    io:format("~b s left, ~b guests, ~b calls, ~b imports, ~b slices, longest ~b us, RSS ~b KiB~n",
              [max(0, Left - 60), total(guests), total(calls) + total(direct_calls), total(imports), total(slices),
                  total(longest_slice_ns) div 1000, Now]),
    Before = case First of undefined -> Now; _ -> First end,
    case Left > 60 of true -> watch(End, Before); false -> Before end.

worker(Module, End) ->
    case erlang:monotonic_time(second) < End of
        true ->
            {Pid, Monitor} = spawn_monitor(fun() -> once(Module, fun(G) -> [ok = act(rand:uniform(9), G) || _ <- lists:seq(1,
                50)] end) end),
            rand:uniform(4) =:= 1 andalso begin receive after rand:uniform(20) -> ok end, exit(Pid, kill) end,
            receive {'DOWN', Monitor, process, Pid, Why} -> true = lists:member(Why, [normal, killed]) end,
            worker(Module, End);
        false ->
            ok
    end.

act(1, G) -> is({ok, [3]}, beamline_wasm:call(G, <<"add">>, [1, 2]));
act(2, G) -> is({ok, [6765]}, beamline_wasm:call(G, <<"fib">>, [20]));
act(3, G) -> is({ok, [5050]}, beamline_wasm:call(G, <<"asks">>, [100]));
act(4, G) -> is({error, timeout}, beamline_wasm:call(G, <<"spinstore">>, [], #{timeout => rand:uniform(3)}));
act(5, G) -> {error, {trap, _}} = beamline_wasm:call(G, <<"trap">>, []), ok;
act(6, G) -> {ok, [_]} = beamline_wasm:call(G, <<"grow">>, [1]), ok;
act(7, G) -> Term = {make_ref(), binary:copy(<<1>>, 1000)}, is({ok, [Term]}, beamline_wasm:call(G, <<"echo_extern">>, [Term]));
act(8, G) ->
    ok = beamline_wasm:write(G, 100, <<"some bytes">>),
    is({ok, <<"bytes">>}, beamline_wasm:read(G, 105, 5));
act(9, G) ->
    Self = self(),
    Canceller = spawn(fun() -> receive after rand:uniform(3) -> beamline_wasm:cancel(G), Self ! {self(), done} end end),
    is({error, cancelled}, beamline_wasm:call(G, <<"spin">>, [])),
    receive {Canceller, done} -> ok end.

is(Same, Same) -> ok.

nothing_left() -> until(fun() -> erlang:garbage_collect(), total(guests) =:= 0 end).

until(Check) -> beamline_test:eventually(Check, 600_000).

total(Key) -> proplists:get_value(Key, beamline_wasm_nif:totals()).

rss_kib() ->
    {ok, Rollup} = file:read_file("/proc/self/smaps_rollup"),
    {match, [Kib]} = re:run(Rollup, "Rss:\\s+(\\d+)", [{capture, [1], list}]),
    list_to_integer(Kib).
