%% SPDX-License-Identifier: Apache-2.0
%%
%% Faults of the runtime, in the VM and with an OS process: see beamline_chaos_tests, which runs them.
-module(beamline_chaos_runtime).
-include_lib("stdlib/include/assert.hrl").

-export([quotas/0, allocations/1, owners/1, endings/1, race/1, reload/0, versions/0]).

-import(beamline_chaos, [with_pool/2, size/2, seconds/1, in_flight/3, answers/1, at_once/2]).

%% ---- every bound is hit, by eight processes at once ----

quotas() ->
    Bounds = #{max_queue => 20, max_queue_bytes => 200_000, memory_limit => 2_000_000, max_behind => 1, max_per_owner => 10},
    with_pool(Bounds, fun(Pool) ->
        #{threads := Threads} = beamline_runtime:info(Pool),
        Held = [element(2, beamline_runtime:submit(Pool, probe_wait, 300, #{})) || _ <- lists:seq(1, Threads)], % so that the queue fills
        at_once(8, fun(I) -> hit_all(Pool, I, size(300, 3000)) end),
        [?assertMatch({ok, _}, beamline_runtime:await(Ref)) || Ref <- Held],
        Info = beamline_runtime:info(Pool),
        [?assert(maps:get(Key, Info) > 0) || Key <- [refused_queue, refused_bytes, refused_owner]],
        ?assertMatch({error, {limit, #{what := pool_memory}}}, beamline_runtime:call(Pool, probe_allocate, 1_900_000, #{})),
        ?assertMatch({error, {limit, #{what := memory}}}, beamline_runtime:call(Pool, probe_allocate, 10_000, #{memory_limit => 9_000})),
        ?assertMatch({ok, _}, beamline_runtime:call(Pool, probe_allocate, 100_000, #{}))
    end).

hit_all(_, _, 0) ->
    ok;
hit_all(Pool, I, N) ->
    Refs = [element(2, beamline_runtime:submit(Pool, Op, Args, Opts)) || {Op, Args, Opts} <- [
        {echo, binary:copy(<<N:32>>, 25_000), #{}},
        {echo, binary:copy(<<N:32>>, 30_000), #{priority => low}},
        {probe_allocate, 1_200_000, #{}},
        {probe_allocate, 100_000, #{memory_limit => 1000 * (N rem 300 + 1)}}
    ] ++ [{probe_wait, 0, #{timeout => N rem 3}} || _ <- lists:seq(1, 10)]
      ++ [{probe_deaf, 2, #{timeout => 1}} || I =:= 1, N rem 50 =:= 0]],
    [?assert(is_expected(Answer)) || Answer <- [beamline_runtime:await(Ref) || Ref <- Refs]],
    hit_all(Pool, I, N - 1).

is_expected({ok, _}) -> true;
is_expected({error, {Why, _}}) -> lists:member(Why, [busy, limit]);
is_expected({error, Why}) -> Why =:= timeout.

%% ---- every allocation of one task of each operation ----

allocations(Isolation) ->
    with_pool(#{isolation => Isolation}, fun(Pool) ->
        Operations = beamline_runtime:operations(),
        Arguments = arguments(),
        ?assertEqual([], Operations -- maps:keys(Arguments)), % a new operation needs an argument here
        Failed = [{Op, fail_each(Pool, Op, maps:get(Op, Arguments), 1)} || Op <- Operations -- [load_operations]],
        io:format(user, "    failed allocations, ~p: ~0p~n", [Isolation, Failed]),
        ?assert(lists:sum([N || {_, N} <- Failed]) > 50)
    end).

%% How many there were. Every one of them fails once, with everything before it well.
fail_each(Pool, Op, Args, N) when N < 100_000 ->
    case beamline_runtime:call(Pool, Op, Args, #{fail_allocation => N}) of
        {error, no_memory} -> fail_each(Pool, Op, Args, N + 1);
        {ok, #{failed := Failed}} when Failed > 0 -> fail_each(Pool, Op, Args, N + 1); % of a batch only one was hurt
        {ok, _} -> N - 1;
        {error, {unsupported, spglib}} -> N - 1
    end.

arguments() ->
    A = 5.431,
    Sites = [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}, {0.25, 0.25, 0.25}, {0.25, 0.75, 0.75}, {0.75, 0.25, 0.75},
             {0.75, 0.75, 0.26}],
    Atoms = [{<<"Si">>, {A * X, A * Y, A * Z}} || {X, Y, Z} <- Sites],
    Crystal = beamline_crystal:new(#{cell => {{A, 0, 0}, {0, A, 0}, {0, 0, A}}, atoms => Atoms}),
    {ok, Text} = beamline_crystal:write([Crystal], poscar),
    Model = #{structure => Crystal, potential => #{type => stillinger_weber, parameters => silicon}},
    #{
        noop => x,
        echo => [lists:seq(1, 300), #{map => maps:from_list([{N, N} || N <- lists:seq(1, 200)])}, binary:copy(<<"b">>, 5000)],
        crystal_parse => #{data => Text},
        crystal_write => #{structures => [Crystal], format => extxyz},
        crystal_energy => Model,
        crystal_neighbours => #{structure => Crystal, cutoff => 5.0},
        crystal_relax => Model,
        crystal_relax_batch => #{structures => [Crystal, Crystal], potential => maps:get(potential, Model)},
        crystal_verify => Model,
        crystal_elastic => Model,
        crystal_match => #{structure => Crystal, other => Crystal},
        crystal_trajectory => Model#{steps => 3},
        crystal_symmetry => #{structure => Crystal},
        crystal_cell => #{structure => Crystal, kind => primitive},
        crystal_prototype => #{prototype => fcc, elements => [<<"Cu">>], a => 3.6},
        crystal_expand => #{structure => Crystal, setting => <<"P 1">>},
        crystal_supercell => #{structure => Crystal, matrix => {{2, 0, 0}, {0, 1, 0}, {0, 0, 1}}},
        load_operations => none
    }.

%% ---- callers die ----

owners(Isolation) ->
    N = size(1000, 10_000),
    with_pool(#{isolation => Isolation, max_queue => 5 * N}, fun(Pool) ->
        #{submitted := Before} = beamline_runtime:info(Pool),
        Killed = [spawn_monitor(fun() -> _ = in_flight(Pool, 3, #{}), receive after infinity -> ok end end) || _ <- lists:seq(1, N)],
        beamline_test:eventually(fun() -> maps:get(submitted, beamline_runtime:info(Pool)) =:= Before + 3 * N end, 20_000),
        [exit(Pid, kill) || {Pid, _} <- Killed],
        [receive {'DOWN', M, process, _, Why} -> ?assertEqual(killed, Why) end || {_, M} <- Killed],
        beamline_test:eventually(fun() -> beamline_chaos:is_empty(beamline_runtime:info(Pool)) end, 20_000),
        ?assertMatch(#{cancelled := Cancelled} when Cancelled =:= 3 * N, beamline_runtime:info(Pool)),
        ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
    end).

%% ---- the pool ends with a thousand in flight ----

endings(Isolation) ->
    [with_pool(#{isolation => Isolation}, fun(Pool) ->
        Refs = in_flight(Pool, 1000, #{progress => 10}),
        end_pool(How, Pool),
        ?assertEqual([{error, closed}], lists:usort(answers(Refs))),
        beamline_chaos:no_message(),
        ?assertEqual({error, closed}, beamline_runtime:call(Pool, noop, x, #{}))
     end) || _ <- lists:seq(1, size(2, 50)), How <- [shutdown, kill, port]].

end_pool(port, Pool) ->
    Pid = whereis(Pool),
    port_close(beamline_runtime_pool:port(Pool)),
    gone(Pid);
end_pool(How, Pool) ->
    Pid = whereis(Pool),
    exit(Pid, How),
    gone(Pid).

gone(Pid) ->
    receive {'EXIT', Pid, _} -> ok end,
    beamline_test:eventually(fun() -> not is_process_alive(Pid) end).

%% ---- submit, cancel and close race from eight processes ----

race(Isolation) ->
    Until = erlang:monotonic_time(millisecond) + 1000 * seconds(2),
    Seed = beamline_test:seed(),
    Tasks = counters:new(1, [write_concurrency]),
    Racers = [spawn_monitor(fun() ->
        rand:seed(exsss, Seed + I),
        racer(Until, Tasks)
    end) || I <- lists:seq(1, 8)],
    Pools = open_and_close(Isolation, Until, 0),
    [receive {'DOWN', M, process, _, Why} -> ?assertEqual(normal, Why) end || {_, M} <- Racers],
    io:format(user, "    race, ~p: ~b pools, ~b tasks~n", [Isolation, Pools, counters:get(Tasks, 1)]).

open_and_close(Isolation, Until, N) ->
    case erlang:monotonic_time(millisecond) < Until of
        true ->
            Opts = #{isolation => Isolation, max_queue => 50, memory_limit => 10_000_000},
            Any = fun(_) -> true end, % the racers go on
            beamline_chaos:with_pool(Opts, Any, fun(Pool) ->
                receive after rand:uniform(50) -> ok end,
                N rem 3 =:= 0 andalso exit(whereis(Pool), kill)
            end),
            open_and_close(Isolation, Until, N + 1);
        false ->
            N
    end.

racer(Until, Tasks) ->
    case erlang:monotonic_time(millisecond) < Until of
        true ->
            Refs = [start_any() || _ <- lists:seq(1, rand:uniform(8))],
            [rand:uniform(3) =:= 1 andalso beamline_runtime:cancel(Ref) || Ref <- Refs],
            [?assertNotEqual(none, Answer) || Answer <- answers(Refs)],
            counters:add(Tasks, 1, length(Refs)),
            racer(Until, Tasks);
        false ->
            beamline_chaos:no_message()
    end.

start_any() ->
    Opts = #{timeout => rand:uniform(5) - 1, priority => lists:nth(rand:uniform(4), [low, normal, high, critical])},
    {Op, Args} = lists:nth(rand:uniform(5), [
        {probe_wait, rand:uniform(3) - 1}, {echo, binary:copy(<<"x">>, rand:uniform(5000))}, {probe_deaf, 1},
        {probe_allocate, rand:uniform(100_000)}, {no_such_operation, x}
    ]),
    {ok, Ref} = beamline_runtime:submit(chaos_pool, Op, Args, case rand:uniform(2) of 1 -> Opts#{progress => 10}; 2 -> Opts end),
    Ref.

%% ---- modules are loaded again ----

reload() ->
    Modules = [M || {M, File} <- code:all_loaded(), is_list(File), lists:prefix("beamline_runtime", atom_to_list(M)),
                    not lists:suffix("_tests", atom_to_list(M))] ++ [beamline_native, beamline_metrics],
    with_pool(#{}, fun(Pool) ->
        Loader = spawn_link(fun() -> reload_forever(Modules) end),
        at_once(4, fun(_) -> echo_until(Pool, erlang:monotonic_time(millisecond) + 1000 * size(2, 15)) end),
        unlink(Loader),
        exit(Loader, kill),
        ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
    end).

%% Who still runs old code is not killed: soft_purge, as a release does it. A second load waits for that.
reload_forever(Modules) ->
    [code:soft_purge(M) andalso ({module, M} = code:load_file(M)) || M <- Modules],
    reload_forever(Modules).

echo_until(Pool, Until) ->
    Refs = [element(2, beamline_runtime:submit(Pool, probe_wait, 1, #{})) || _ <- lists:seq(1, 10)],
    Term = binary:copy(<<"x">>, 1000),
    ?assertEqual({ok, Term}, beamline_runtime:call(Pool, echo, Term, #{})),
    [?assertEqual({ok, ok}, beamline_runtime:await(Ref)) || Ref <- Refs],
    erlang:monotonic_time(millisecond) < Until andalso echo_until(Pool, Until).

%% ---- a core of another version ----

%% In a VM of its own: there the skin finds a core that says another version, and so does not load.
versions() ->
    beamline_chaos:is_sanitized() andalso beamline_test:skip("the other VM would need the sanitizers, too"),
    Priv = beamline_chaos_host:other_priv(fun(Core) -> beamline_chaos_host:other_version(Core) end),
    Expression = "application:ensure_all_started(beamline), io:format(\"~0p\", [beamline_runtime:call(noop, x)]), halt().",
    Path = [" -pa '" ++ Dir ++ "'" || Dir <- code:get_path(), string:find(Dir, "_build") =/= nomatch],
    Answer = os:cmd(lists:flatten(["BEAMLINE_PRIV='", Priv, "' erl -noshell -noinput", Path, " -eval '", Expression, "'"])),
    ?assertMatch("{error,{unsupported,{nif," ++ _, Answer).
