%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Relaxations of 32 Lennard-Jones atoms from Erlang, one thread, beside LAMMPS as a library in one process: the
%% same cells, the same largest force, at fixed cell. Alone (a task each) and in a batch (a task for all).
-module(bench_crystal_relax).

-export([run/0]).

-define(CELLS, 200).
-define(POOL, bench_relax).

-spec run() -> ok.
run() ->
    case filelib:is_regular(beamline_test:source_file("_build/peers/bin/python")) of
        true -> measure();
        false -> io:format("not measured: crystal/relax32: the peers are not here (make peers)~n")
    end.

measure() ->
    {ok, Pool} = beamline_runtime:start_link(#{name => ?POOL, threads => 1}),
    Versions = bench_crystal:peer("lammps_rate.py"),
    Version = bench_crystal:ask(Versions, ["version"]),
    port_close(Versions),
    Cells = cells(),
    File = filename:join(beamline_test:scratch_dir("bench_crystal"), "relax32.f64"),
    ok = file:write_file(File, [P || #{positions := P} <- Cells]),
    Lammps = bench_crystal:peer("lammps_relax.py", [File]),
    Line = fun(Name, Fmax, Goal, Value) ->
        beamline_bench:compare(#{name => Name, unit => "relaxations/s", better => higher, goal => Goal, rounds => 7,
                                 against => "LAMMPS " ++ Version ++ " FIRE", value => Value,
                                 floor => fun() -> bench_crystal:rate(Lammps, [Fmax]) end})
    end,
    Options = fun(Method, Fmax) -> #{potential => #{type => lennard_jones, epsilon => 1, sigma => 1, cutoff => 2.5}, cell => fixed,
                                     method => Method, fmax => Fmax} end,
    [begin
        Line("crystal/relax32" ++ Suffix, Text, 1.5, fun() -> rate(fun() -> alone(Cells, Options(Method, Fmax)) end) end),
        Line("crystal/relax32_batch" ++ Suffix, Text, 2.5, fun() -> rate(fun() -> batch(Cells, Options(Method, Fmax)) end) end)
     end || {Suffix, Method, Text, Fmax} <- [{"", auto, "1e-4", 1.0e-4}, {"_1e-2", auto, "1e-2", 1.0e-2},
                                             {"_fire", fire, "1e-4", 1.0e-4}, {"_fire_1e-2", fire, "1e-2", 1.0e-2}]],
    port_close(Lammps),
    gen_server:stop(Pool).

cells() ->
    {ok, Cell} = beamline_crystal:prototype(fcc, [<<"Ar">>], #{a => 1.5496}),
    {ok, Perfect} = beamline_crystal:supercell(2, Cell),
    [beamline_crystal:rattle(0.05, Seed, Perfect) || Seed <- lists:seq(1, ?CELLS)].

alone(Cells, Options) ->
    [{ok, #{converged := true}} = beamline_runtime:call(?POOL, crystal_relax, Options#{structure => Cell}, #{}) || Cell <- Cells].

batch(Cells, Options) ->
    {ok, #{failed := 0}} = beamline_runtime:call(?POOL, crystal_relax_batch, Options#{structures => Cells}, #{}).

rate(Fun) ->
    {Us, _} = timer:tc(Fun),
    ?CELLS * 1000000 / Us.
