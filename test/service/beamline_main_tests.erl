%% SPDX-License-Identifier: Apache-2.0
%%
%% The main job as `make run ONCE=1 FILE=path' starts it, in a VM of its own, with a file of each kind.
-module(beamline_main_tests).

-include_lib("eunit/include/eunit.hrl").

-define(CUBE, "_cell_length_a 5.43\n_cell_length_b 5.43\n_cell_length_c 5.43\n_space_group_name_H-M_alt 'F d -3 m:1'\n").
-define(SITE(Symbol), "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n" Symbol " 0 0 0\n").

%% File, its text, exit code, and what the terminal says.
cases() ->
    Cif = "data_bad\n" ?SITE("Si") "data_one\n" ?CUBE ?SITE("Si") "data_two\n" ?CUBE ?SITE("C"),
    Xyz = "2\nLattice=\"3.6 0 0 0 3.6 0 0 0 3.6\"\nCu 0 0 0\nCu 1.8 1.8 0.1\n",
    Lammps = "copper\n\n2 atoms\n1 atom types\n0 3 xlo xhi\n0 3 ylo yhi\n0 3 zlo zhi\n\nMasses\n\n1 63.546\n\nAtoms # atomic\n\n"
             "1 1 0 0 0\n2 1 1.4 1.5 1.5\n",
    Poscar = "argon\n5.3\n1 0 0\n0 1 0\n0 0 1\nAr\n1\nDirect\n0 0 0\n",
    [
        {"blocks.cif", Cif, 0, ["8 atoms", "structure 1 of 2 (block one) is taken", "block \"bad\" (line 1) is left out", "-relaxed.cif"]},
        {"frames.xyz", [Xyz, Xyz], 0, ["2 atoms", "structure 1 of 2 is taken", "frames-relaxed.extxyz"]},
        {"today's $2.xyz", Xyz, 0, ["today's $2-relaxed.extxyz", "/today'\\''s $2.xyz' 'http://", "&name=today%27s+%242.xyz&frame=1'"]},
        {"copper.data", Lammps, 0, ["2 atoms", "copper-relaxed.lammps"]},
        {"POSCAR.gz", zlib:gzip(Poscar), 0, ["1 atoms", "POSCAR-relaxed.poscar"]},
        {"salt.vasp", string:replace(Poscar, "Ar", "NaF"), 1, ["Not relaxed", "no potential is built in for", "lennard_jones&epsilon="]},
        {"broken.cif", "data_x\n_a 'b\n", 1, ["Not relaxed", "Line 2, column 4"]}
    ].

a_file_of_each_kind_is_relaxed_or_says_why_not_test_() ->
    [{File, {timeout, 120, fun() ->
        Path = filename:join(beamline_test:scratch_dir("main"), File),
        ok = file:write_file(Path, Text),
        {Code, Said} = run(Path),
        ?assertEqual({Exit, Said}, {Code, Said}),
        [?assertNotEqual({nomatch, Part, Said}, {string:find(Said, Part), Part, Said}) || Part <- Says]
    end}} || {File, Text, Exit, Says} <- cases()].

what_is_no_port_is_said_test_() ->
    [{Given, {timeout, 120, fun() ->
        Path = filename:join(beamline_test:scratch_dir("main"), "none"),
        ok = file:write_file(Path, ""),
        {Code, Said} = run(Path, Given),
        ?assertEqual({1, Said}, {Code, Said}),
        ?assertNotEqual({nomatch, Said}, {string:find(Said, "PORT=" ++ Given ++ " is not the number of a port\n"), Said})
    end}} || Given <- ["http", "65536", "80 80"]].

a_port_that_is_taken_is_said_in_one_line_test_() ->
    {timeout, 120, fun() ->
        Path = filename:join(beamline_test:scratch_dir("main"), "none"),
        ok = file:write_file(Path, ""),
        {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
        {ok, Port} = inet:port(Socket),
        {Code, Said} = run(Path, integer_to_list(Port)),
        ok = gen_tcp:close(Socket),
        ?assertEqual({1, Said}, {Code, Said}),
        ?assertNotEqual({nomatch, Said}, {string:find(Said, "address already in use\n"), Said}),
        ?assertEqual({nomatch, Said}, {string:find(Said, "SUPERVISOR REPORT"), Said})
    end}.

run(Path) -> run(Path, "0").

run(Path, Number) ->
    Paths = lists:append([["-pa", filename:absname(Dir)] || Dir <- code:get_path(), filename:basename(Dir) =:= "ebin"]),
    Port = open_port({spawn_executable, os:find_executable("erl")},
        [{args, ["-noinput"] ++ Paths ++ ["-s", "beamline_main", "run"]}, {cd, filename:dirname(Path)},
         {env, [{"FILE", Path}, {"ONCE", "1"}, {"PORT", Number}, {"XDG_CACHE_HOME", filename:dirname(Path)}]},
         exit_status, stderr_to_stdout, binary]),
    collect(Port, []).

collect(Port, Said) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Said, Data]);
        {Port, {exit_status, Code}} -> {Code, unicode:characters_to_list(iolist_to_binary(Said))}
    after 100000 ->
        error({no_end, Said})
    end.
