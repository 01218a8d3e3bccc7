%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Trajectories beside LAMMPS, files beside ASE and gemmi (`make peers' installs both), by turns
%% in one run, one core each.
-module(bench_crystal).

-export([run/0, peer/3]).

-define(STEPS, "200").

-spec run() -> ok.
run() ->
    Python = beamline_test:source_file("_build/peers/bin/python"),
    case filelib:is_regular(Python) of
        true -> run(Python);
        false -> io:format("not measured: crystal: the peers are not here (make peers)~n")
    end.

run(Python) ->
    [Lammps] = peer(Python, "lammps_rate.py", ["version"]),
    [trajectory(Name, Goal, Ours, Theirs, Python, Lammps) || {Name, Goal, Ours, Theirs} <- [
        {"crystal/lj", 1.2, ["lj"], ["lj"]}, {"crystal/sw", 1.2, ["sw"], ["sw"]} | decks_with_files()]],
    neighbours(Python),
    bytes(),
    [reading(Name, What, Format, Python) || {Name, What, Format} <- [{"crystal/poscar_read", "poscar", "vasp"},
            {"crystal/extxyz_read", "extxyz", "extxyz"}]],
    cif(Python),
    beamline_bench:compare(#{
        name => "crystal/lattice", unit => "bytes/s", better => higher, goal => 0.5, against => "memcpy",
        value => fun() -> hd(beamline_bench:program("bench_crystal", ["lattice"])) end,
        floor => fun() -> hd(beamline_bench:program("bench_crystal", ["memcpy"])) end
    }).

cif(Python) ->
    File = filename:join(beamline_test:scratch_dir("bench_crystal"), "blocks.cif"),
    beamline_bench:program("bench_crystal", ["make-cif", File]),
    Version = string:trim(os:cmd(Python ++ " " ++ beamline_test:source_file("test/bench/gemmi_rate.py") ++ " version")),
    [beamline_bench:compare(#{
        name => Name, unit => "bytes/s", better => higher, goal => Goal, against => "gemmi " ++ Version,
        value => fun() -> hd(beamline_bench:program("bench_crystal", ["cif-" ++ What, File, "0.5"])) end,
        floor => fun() -> hd(peer(Python, "gemmi_rate.py", [What, File, "0.5"])) end
    }) || {Name, What, Goal} <- [{"crystal/cif_parse", "parse", 1.5}, {"crystal/cif_expand", "expand", 2.0}]].

%% With the files of Debian's lammps-data, which `make peers' brings.
decks_with_files() ->
    File = fun(Name) -> filename:join(beamline_test:source_file("_build/lammps-data"), Name) end,
    {U3, Mishin, Silicon} = {File("Cu_u3.eam"), File("Cu_mishin1.eam.alloy"), File("Si.tersoff")},
    case filelib:is_regular(U3) of
        true -> [
            {"crystal/eam", 1.2, ["eam", U3], ["eam", "eam", U3]},
            {"crystal/eam_mishin", 1.2, ["eam_mishin", Mishin], ["eam", "eam/alloy", Mishin ++ " Cu"]},
            {"crystal/tersoff", 1.5, ["tersoff"], ["tersoff", "tersoff", Silicon ++ " Si"]}];
        false ->
            io:format("not measured: crystal/eam, eam_mishin, tersoff: lammps-data is not here (make peers)~n"),
            []
    end.

trajectory(Name, Goal, Ours, [Deck | Style], Python, Version) ->
    beamline_bench:compare(#{
        name => Name, unit => "atom-steps/s", better => higher, goal => Goal,
        against => "LAMMPS " ++ integer_to_list(Version),
        value => fun() -> hd(beamline_bench:program("bench_crystal", Ours ++ [?STEPS])) end,
        floor => fun() -> hd(peer(Python, "lammps_rate.py", [Deck, ?STEPS | Style])) end
    }).

%% Rattled copper: 12 neighbours each, 108,000 atoms and a million.
neighbours(Python) ->
    Version = string:trim(os:cmd(Python ++ " " ++ beamline_test:source_file("test/bench/vesin_rate.py") ++ " version")),
    [beamline_bench:compare(#{
        name => Name, unit => "pairs/s", better => higher, goal => 2.0, against => "vesin " ++ Version,
        value => fun() -> hd(beamline_bench:program("bench_crystal", ["neighbours", Cells, Cutoff])) end,
        floor => fun() -> hd(peer(Python, "vesin_rate.py", [Cells, Cutoff])) end
    }) || {Name, Cells, Cutoff} <- [{"crystal/neighbours", "30", "3.2"}, {"crystal/neighbours_1m", "63", "3.2"}]].

%% What an engine holds beside positions and forces, of a Lennard-Jones melt of a million atoms.
bytes() ->
    [beamline_bench:compare(#{
        name => Name, unit => "bytes", better => lower, against => "limit",
        value => fun() -> lists:nth(N, beamline_bench:program("bench_crystal", ["bytes", "63"])) end,
        floor => fun() -> Limit end
    }) || {Name, N, Limit} <- [{"crystal/bytes_per_atom", 1, 100}, {"crystal/bytes_per_atom_with_list", 2, 320}]].

reading(Name, Format, AseFormat, Python) ->
    File = filename:join(beamline_test:scratch_dir("bench_crystal"), "salt." ++ Format),
    beamline_bench:program("bench_crystal", ["make-" ++ Format, File]),
    beamline_bench:compare(#{
        name => Name, unit => "atoms/s", better => higher, against => "ASE",
        value => fun() -> hd(beamline_bench:program("bench_crystal", ["read", File])) end,
        floor => fun() -> hd(peer(Python, "ase_rate.py", [File, AseFormat])) end,
        rounds => 5
    }).

%% The numbers a Python program prints, run with the libraries of its environment, on one thread.
peer(Python, Script, Args) ->
    Lib = filename:join(filename:dirname(filename:dirname(Python)), "lib"),
    Port = open_port({spawn_executable, Python}, [
        {args, [beamline_test:source_file("test/bench/" ++ Script) | Args]},
        {env, [{"LD_LIBRARY_PATH", Lib}, {"OMP_NUM_THREADS", "1"}]}, exit_status, binary, use_stdio
    ]),
    [list_to_integer(Word) || Word <- string:lexemes(collect(Port, <<>>), " \n")].

collect(Port, Said) ->
    receive
        {Port, {data, Data}} -> collect(Port, <<Said/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> binary_to_list(Said);
        {Port, {exit_status, Status}} -> error({exit_status, Status})
    end.
