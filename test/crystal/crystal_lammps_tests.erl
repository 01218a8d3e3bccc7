%% SPDX-License-Identifier: Apache-2.0
%% Each potential beside LAMMPS (`make peers') with the files of Debian's lammps-data: energy, forces and
%% pressure of perturbed crystals in triclinic cells, some of them smaller than the cut-off.
-module(crystal_lammps_tests).
-include_lib("eunit/include/eunit.hrl").

%% LAMMPS' bar cubic angstrom per eV (update.cpp's nktv2p of units metal).
-define(BAR, 1.6021765e6).

lammps_agrees_test_() ->
    {setup, fun beamline_test:start/0, [
        {Name, {timeout, 60, fun() -> agrees(Potential(), Style, Coefficients, Structure()) end}}
     || {Name, Potential, Style, Coefficients, Structure} <- cases()
    ]}.

cases() ->
    [
        {"EAM, funcfl, copper", eam(funcfl, ["Cu_u3.eam"]), "eam", ["* * {Cu_u3.eam}"], fcc(<<"Cu">>, 3.615, 3)},
        {"EAM, funcfl, a cell smaller than the cut-off", eam(funcfl, ["Cu_u3.eam"]), "eam", ["* * {Cu_u3.eam}"], fcc(<<"Cu">>, 3.615, 1)},
        {"EAM, funcfl, gold and silver on one grid", eam(funcfl, ["Ag_u3.eam", "Au_u3.eam"]), "eam",
            ["1 1 {Ag_u3.eam}", "2 2 {Au_u3.eam}"], alloy(<<"Ag">>, <<"Au">>, 4.08, 2)},
        {"EAM, setfl, Mishin's copper", eam(setfl, ["Cu_mishin1.eam.alloy"]), "eam/alloy", ["* * {Cu_mishin1.eam.alloy} Cu"],
            fcc(<<"Cu">>, 3.615, 2)},
        {"EAM, setfl, nickel and aluminium of three", eam(setfl, ["NiAlH_jea.eam.alloy"]), "eam/alloy", ["* * {NiAlH_jea.eam.alloy} Al Ni"],
            alloy(<<"Ni">>, <<"Al">>, 3.6, 2)},
        {"EAM, Finnis-Sinclair, aluminium", eam(finnis_sinclair, ["Al_mm.eam.fs"]), "eam/fs", ["* * {Al_mm.eam.fs} Al"],
            fcc(<<"Al">>, 4.045, 2)},
        {"EAM, Finnis-Sinclair, copper and zirconium", eam(finnis_sinclair, ["CuZr_mm.eam.fs"]), "eam/fs", ["* * {CuZr_mm.eam.fs} Cu Zr"],
            alloy(<<"Cu">>, <<"Zr">>, 4.0, 2)},
        {"EAM, Finnis-Sinclair, iron and phosphorus", eam(finnis_sinclair, ["FeP_mm.eam.fs"]), "eam/fs", ["* * {FeP_mm.eam.fs} Fe P"],
            alloy(<<"Fe">>, <<"P">>, 3.6, 2)},
        {"EAM, above the densities of the table", eam(finnis_sinclair, ["Al_mm.eam.fs"]), "eam/fs", ["* * {Al_mm.eam.fs} Al"],
            fcc(<<"Al">>, 2.6, 2)},
        {"Stillinger-Weber, silicon", file(stillinger_weber, "Si.sw"), "sw", ["* * {Si.sw} Si"], diamond(<<"Si">>, <<"Si">>, 5.43, 2)},
        {"Stillinger-Weber, gallium nitride", file(stillinger_weber, "GaN.sw"), "sw", ["* * {GaN.sw} Ga N"],
            diamond(<<"Ga">>, <<"N">>, 4.5, 2)},
        {"Stillinger-Weber, cadmium telluride, a small cell", file(stillinger_weber, "CdTe.sw"), "sw", ["* * {CdTe.sw} Cd Te"],
            diamond(<<"Cd">>, <<"Te">>, 6.5, 1)},
        {"Tersoff, silicon of 1988", file(tersoff, "Si.tersoff"), "tersoff", ["* * {Si.tersoff} Si"], diamond(<<"Si">>, <<"Si">>, 5.43, 2)},
        {"Tersoff, silicon of 1988, built in, a small cell", set(tersoff, silicon), "tersoff", ["* * {Si.tersoff} Si"],
            diamond(<<"Si">>, <<"Si">>, 5.43, 1)},
        {"Tersoff, dense silicon within the cut-off's slope", set(tersoff, silicon), "tersoff", ["* * {Si.tersoff} Si"],
            fcc(<<"Si">>, 4.2, 2)},
        {"Tersoff, carbon, built in", set(tersoff, silicon_carbide_germanium), "tersoff", ["* * {SiCGe.tersoff} C"],
            diamond(<<"C">>, <<"C">>, 3.56, 2)},
        {"Tersoff, germanium, built in", set(tersoff, silicon_carbide_germanium), "tersoff", ["* * {SiCGe.tersoff} Ge"],
            diamond(<<"Ge">>, <<"Ge">>, 5.6, 2)},
        {"Tersoff, silicon carbide of Erhart and Albe", file(tersoff, "SiC_Erhart-Albe.tersoff"), "tersoff",
            ["* * {SiC_Erhart-Albe.tersoff} C Si"], diamond(<<"C">>, <<"Si">>, 4.4, 2)},
        {"Tersoff, gallium nitride, m = 3 and 1", file(tersoff, "GaN.tersoff"), "tersoff", ["* * {GaN.tersoff} Ga N"],
            diamond(<<"Ga">>, <<"N">>, 4.5, 2)},
        {"Tersoff, boron nitride in a small cell", file(tersoff, "BNC.tersoff"), "tersoff", ["* * {BNC.tersoff} B N"],
            diamond(<<"B">>, <<"N">>, 3.6, 1)},
        {"Morse, copper", fun() -> #{type => morse, parameters => girifalco_weizer, cutoff => 7} end, "morse 7",
            ["* * 0.3429 1.3588 2.866"],
            fcc(<<"Cu">>, 3.615, 2)},
        {"Morse, two species", fun() -> #{type => morse, depth => 0.3, alpha => 1.4, r0 => 2.8, cutoff => 6, pairs => [
            #{species => {<<"Ni">>, <<"Al">>}, depth => 0.4, alpha => 1.3, r0 => 2.7, cutoff => 6.5}]} end, "morse 6",
            ["1 1 0.3 1.4 2.8", "2 2 0.3 1.4 2.8", "1 2 0.4 1.3 2.7 6.5"], alloy(<<"Al">>, <<"Ni">>, 3.8, 1)}
    ].

file(Type, Name) -> fun() -> #{type => Type, table => table(Name)} end.
set(Type, Name) -> fun() -> #{type => Type, parameters => Name} end.

eam(Format, Files) -> fun() -> #{type => eam, format => Format, table => [table(F) || F <- Files]} end.

%%% Structures, in the cells that LAMMPS takes: a along x, b in the plane of x and y

fcc(Symbol, A, N) -> fun() -> perturbed(A, N, [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}], fun(_) -> Symbol end) end.

diamond(First, Second, A, N) ->
    fun() ->
        perturbed(A, N, [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0},
                         {0.25, 0.25, 0.25}, {0.25, 0.75, 0.75}, {0.75, 0.25, 0.75}, {0.75, 0.75, 0.25}],
                  fun(I) when (I - 1) rem 8 < 4 -> First; (_) -> Second end)
    end.

alloy(First, Second, A, N) ->
    fun() ->
        perturbed(A, N, [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}],
                  fun(1) -> First; (2) -> Second; (_) -> element(1 + rand:uniform(2) - 1, {First, Second}) end)
    end.

perturbed(A, N, Basis, Species) ->
    _ = rand:seed(exsss, 4711),
    L = A * N,
    {Xy, Xz, Yz} = {0.11 * L, -0.07 * L, 0.09 * L},
    Sites = [{X + I, Y + J, Z + K} || I <- lists:seq(0, N - 1), J <- lists:seq(0, N - 1), K <- lists:seq(0, N - 1), {X, Y, Z} <- Basis],
    Place = fun({U, V, W}) ->
        {(U * L + V * Xy + W * Xz) / N + noise(), (V * 1.03 * L + W * Yz) / N + noise(), W * 0.98 * L / N + noise()}
    end,
    Numbered = lists:zip(lists:seq(1, length(Sites)), Sites),
    beamline_crystal:new(#{cell => {{L, 0, 0}, {Xy, 1.03 * L, 0}, {Xz, Yz, 0.98 * L}},
                           atoms => [{Species(I), Place(Site)} || {I, Site} <- Numbered]}).

noise() -> 0.3 * (rand:uniform() - 0.5).

%%% Comparing

agrees(Potential, Style, Coefficients, Structure) ->
    {ok, #{energy := E, forces := Forces, virial := Virial}} = beamline_crystal:energy(Structure, Potential),
    [Version, E0 | Rest] = lammps(Structure, Style, Coefficients),
    {Pressures, Forces0} = lists:split(6, Rest),
    Scale = lists:max([abs(F) || F <- Forces0]),
    Off = lists:max([abs(F - F0) || {F, F0} <- lists:zip([X || <<X:64/float-little>> <= Forces], Forces0)]),
    Volume = beamline_crystal:volume(Structure),
    Largest = lists:max([abs(P) || P <- Pressures]),
    OffP = lists:max([abs(W / Volume * ?BAR - P) || {W, P} <- lists:zip(Virial, Pressures)]),
    io:format(user, "    LAMMPS ~b: energy ~.2e, forces ~.2e, pressure ~.2e~n", [trunc(Version), abs((E - E0) / E0),
              Off / Scale, OffP / Largest]),
    ?assert(abs(E - E0) < 1.0e-12 * abs(E0)),
    ?assert(Off < 1.0e-10 * Scale),
    ?assert(OffP < 1.0e-10 * Largest).

lammps(Structure, Style, Coefficients) ->
    Python = beamline_test:source_file("_build/peers/bin/python"),
    filelib:is_regular(Python) orelse beamline_test:skip("LAMMPS is not here (make peers)"),
    {ok, Data} = beamline_crystal:write([Structure], lammps),
    File = filename:join(beamline_test:scratch_dir("crystal_lammps"), "structure.data"),
    ok = file:write_file(File, Data),
    Args = [beamline_test:source_file("test/crystal/lammps_forces.py"), File, Style | [with_paths(C) || C <- Coefficients]],
    Port = open_port({spawn_executable, Python}, [{args, Args}, exit_status, binary, use_stdio, {env, [{"OMP_NUM_THREADS", "1"},
            {"LD_LIBRARY_PATH", beamline_test:source_file("_build/peers/lib")}]}]),
    [number(Word) || Word <- string:lexemes(collect(Port, <<>>), " \n")].

number(Word) ->
    try list_to_float(Word)
    catch error:badarg ->
        case re:run(Word, "^(-?[0-9]+)(e.*)?$", [{capture, all_but_first, list}]) of
            {match, [Whole]} -> float(list_to_integer(Whole));
            {match, [Whole, Exponent]} -> list_to_float(Whole ++ ".0" ++ Exponent)
        end
    end.

collect(Port, Said) ->
    receive
        {Port, {data, Data}} -> collect(Port, <<Said/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> binary_to_list(Said);
        {Port, {exit_status, 77}} -> beamline_test:skip(string:trim(binary_to_list(Said)) ++ " (make peers)");
        {Port, {exit_status, Status}} -> error({lammps_forces, Status, Said})
    after 50000 -> error(timeout)
    end.

with_paths(Text) ->
    lists:flatten(re:replace(Text, "{([^}]+)}", beamline_test:source_file("_build/lammps-data") ++ "/\\1", [global, {return, list}])).

table(Name) ->
    File = filename:join(beamline_test:source_file("_build/lammps-data"), Name),
    case file:read_file(File) of
        {ok, Table} -> Table;
        {error, _} -> beamline_test:skip("the files of lammps-data are not here (make peers)")
    end.
