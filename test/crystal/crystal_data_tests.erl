%% SPDX-License-Identifier: Apache-2.0
%% Real files and reference numbers of the shared test data (BEAMLINE_SHARED).
-module(crystal_data_tests).
-include_lib("eunit/include/eunit.hrl").

-compile({no_auto_import, [size/1]}).

start() -> beamline_test:start().

json(Path) ->
    {ok, Text} = file:read_file(Path),
    jiffy:decode(Text, [return_maps]).

%% ---- expected.json ----

expected_files_test_() ->
    {setup, fun start/0, {generator, fun() ->
        conformance_crystal:cases(beamline_test:shared_data("crystal"))
    end}}.

read(Root, File, Options) ->
    {ok, Data} = file:read_file(filename:join(Root, File)),
    beamline_crystal:parse(Data, Options).

close(Expected, Actual, Relative) ->
    case abs(Expected - Actual) =< Relative * max(abs(Expected), 1.0e-300) of
        true -> ok;
        false -> error({not_close, [{expected, Expected}, {actual, Actual}, {relative, Relative}]})
    end.

%% ---- details that expected.json does not tell ----

file_details_test_() ->
    {setup, fun start/0, {generator, fun() ->
        Root = beamline_test:shared_data("crystal"),
        Read = fun(File) -> {ok, #{structures := S}} = read(Root, File, #{}), S end,
        [
            {"the second atom of three scales", fun() ->
                [S] = Read("poscar/made/POSCAR_three_scales"),
                ?assertEqual({1.0, 1.5, 2.0}, lists:nth(2, beamline_crystal:positions(S)))
            end},
            {"flags of selective dynamics", fun() ->
                [S] = Read("poscar/made/POSCAR_selective_cartesian"),
                ?assertEqual([[x, y, z], [x], [], []], beamline_crystal:fixed(S))
            end},
            {"velocities in angstrom/fs", fun() ->
                [#{velocities := <<V:64/float-little, _/binary>>}] = Read("poscar/made/POSCAR_velocities"),
                ?assertEqual(0.1, V)
            end},
            {"forces of the extended XYZ are those of its potential", fun() ->
                [#{forces := F, info := #{<<"energy">> := E}} = S] = Read("xyz/made/si8-forces.extxyz"),
                {ok, #{forces := Mine, energy := MyE}} = beamline_crystal:energy(S, #{type => stillinger_weber, parameters => silicon}),
                close(E, MyE, 1.0e-12),
                forces_agree([X || <<X:64/float-little>> <= F], [X || <<X:64/float-little>> <= Mine])
            end}
        ]
    end}}.

%% ---- 80 POSCARs without symbols ----

spglib_files_test_() ->
    {setup, fun start/0, {generator, fun() ->
        Root = beamline_test:shared_data("crystal/spglib"),
        Files = filelib:wildcard("*/POSCAR*", Root),
        [?_assertEqual(80, length(Files)) | [{File, fun() -> check_vasp4(Root, File) end} || File <- Files]]
    end}}.

check_vasp4(Root, File) ->
    {ok, Data} = file:read_file(filename:join(Root, File)),
    ?assertMatch({error, {invalid, #{field := species}}}, beamline_crystal:parse(Data)),
    Lines = binary:split(Data, <<"\n">>, [global]),
    Counts = [binary_to_integer(N) || N <- string:lexemes(lists:nth(6, Lines), " \t\r")],
    Species = lists:sublist([<<"H">>, <<"C">>, <<"N">>, <<"O">>, <<"F">>, <<"Na">>, <<"Mg">>, <<"Al">>], length(Counts)),
    {ok, #{structures := [S], warnings := []}} = beamline_crystal:parse(Data, #{species => Species}),
    ?assertEqual(lists:append([lists:duplicate(N, X) || {N, X} <- lists:zip(Counts, Species)]), beamline_crystal:symbols(S)),
    Last = lists:last([L || L <- lists:sublist(Lines, 8, lists:sum(Counts))]),
    [Fx, Fy, Fz] = [number(W) || W <- lists:sublist(string:lexemes(Last, " \t\r"), 3)],
    {A, B, C} = beamline_crystal:cell(S),
    Expected = [Fx * element(K, A) + Fy * element(K, B) + Fz * element(K, C) || K <- [1, 2, 3]],
    Actual = tuple_to_list(lists:last(beamline_crystal:positions(S))),
    [?assert(abs(X - Y) < 1.0e-12) || {X, Y} <- lists:zip(Expected, Actual)].

number(Word) ->
    case string:to_float(Word) of
        {F, _} when is_float(F) -> F;
        _ -> float(binary_to_integer(Word))
    end.

%% ---- force oracles ----

force_oracles_test_() ->
    {setup, fun start/0, {generator, fun() ->
        Root = beamline_test:shared_data("crystal/reference/forces"),
        [{timeout, 60, {File, fun() -> check_oracle(json(filename:join(Root, File))) end}}
         || File <- ["lj_fcc108_ortho.json", "lj_fcc32_small_box.json", "sw_si64.json", "sw_si8_small_box.json"]]
    end}}.

check_oracle(#{<<"cell">> := Cell, <<"positions">> := Positions, <<"forces">> := Forces, <<"energy">> := Energy} = Oracle) ->
    S = beamline_crystal:new(#{cell => list_to_tuple([list_to_tuple(V) || V <- Cell]),
                               atoms => [{<<"Si">>, list_to_tuple(R)} || R <- Positions]}),
    {ok, #{energy := E, forces := F, virial := Virial}} = beamline_crystal:energy(S, potential(Oracle)),
    close(Energy, E, 1.0e-12),
    forces_agree(lists:append(Forces), [X || <<X:64/float-little>> <= F]),
    check_pressure(Oracle, Virial, beamline_crystal:volume(S)).

potential(#{<<"units">> := <<"metal">>}) ->
    #{type => stillinger_weber, parameters => silicon};
potential(#{<<"potential">> := Text}) ->
    %% ends in the cut-off
    #{type => lennard_jones, epsilon => 1, sigma => 1, cutoff => number(lists:last(string:lexemes(Text, " \n")))}.

forces_agree(Expected, Actual) ->
    Largest = lists:max([abs(X) || X <- Expected]),
    Worst = lists:max([abs(X - Y) || {X, Y} <- lists:zip(Expected, Actual)]),
    ?assert(Worst =< 1.0e-9 * Largest).

%% LAMMPS of 2021 multiplies metal pressures with 1.6021765e6: 1e-7 relative at best.
check_pressure(#{<<"pressure_tensor">> := P, <<"units">> := Units}, Virial, Volume) ->
    {Factor, Relative} = case Units of <<"metal">> -> {1.602176634e6, 1.0e-7}; <<"lj">> -> {1, 1.0e-11} end,
    Reference = [maps:get(K, P) || K <- [<<"xx">>, <<"yy">>, <<"zz">>, <<"yz">>, <<"xz">>, <<"xy">>]],
    Largest = lists:max([abs(X) || X <- Reference]),
    [?assert(abs(R - Factor * W / Volume) =< Relative * Largest) || {R, W} <- lists:zip(Reference, Virial)].

%% ---- reference_values.json ----

reference_values_test_() ->
    {setup, fun start/0, {generator, fun() ->
        #{<<"lj_cut">> := Lj, <<"sw_si">> := Sw, <<"lattice_sums_nn">> := Sums} =
            json(beamline_test:shared_data("crystal/reference/reference_values.json")),
        #{<<"fcc_rc2.5_zeroP">> := #{<<"a0">> := A0, <<"E0">> := E0}} = Lj,
        Argon = #{type => lennard_jones, epsilon => 1, sigma => 1, cutoff => 2.5},
        Silicon = #{type => stillinger_weber, parameters => silicon},
        [
            {"fcc, density 0.8442", fun() -> energy_is(maps:get(<<"fcc_rho_0.8442_rc2.5_unshifted">>, Lj), fcc, edge(0.8442), Argon,
                    1.0e-13) end},
            {"fcc, density 1.0931, shifted", fun() -> energy_is(maps:get(<<"fcc_rho_1.0931_rc2.5_shifted">>, Lj), fcc, edge(1.0931),
                    Argon#{shift => true}, 1.0e-13) end},
            {"fcc, density 1.0931", fun() -> energy_is(maps:get(<<"fcc_rho_1.0931_rc2.5_unshifted">>, Lj), fcc, edge(1.0931), Argon,
                    1.0e-13) end},
            {"fcc at zero pressure", fun() -> energy_is(E0, fcc, A0, Argon, 1.0e-11) end},
            {"silicon", fun() -> energy_is(maps:get(<<"E0">>, Sw), diamond, maps:get(<<"a0">>, Sw), Silicon, 1.0e-13) end},
            {"silicon at 5.431", fun() -> energy_is(maps:get(<<"E_at_5.431">>, Sw), diamond, 5.431, Silicon, 1.0e-13) end}
            | [{"lattice sum of " ++ atom_to_list(L), {timeout, 60, fun() -> lattice_sum(L, maps:get(atom_to_binary(L),
                    Sums)) end}} || L <- [fcc, bcc, sc, diamond]]
        ]
    end}}.

nist_configuration_4_test() ->
    beamline_test:skip("the 30 positions of NIST's Lennard-Jones reference configuration 4 are not among the data").

edge(Density) -> math:pow(4 / Density, 1 / 3).

energy_is(Expected, Lattice, A, Potential, Relative) -> close(Expected, energy_per_atom(Lattice, A, Potential), Relative).

energy_per_atom(Lattice, A, Potential) ->
    S = crystal(Lattice, A),
    {ok, #{energy := E}} = beamline_crystal:energy(S, Potential, #{forces => false, virial => false}),
    E / beamline_crystal:number_of_atoms(S).

%% Sums of (r_nn / r)^6 and ^12 from two energies with one large cut-off; what lies beyond is
%% an integral over the density.
lattice_sum(Lattice, #{<<"L6">> := L6, <<"L12">> := L12}) ->
    Nn = nearest(Lattice),
    Cutoff = 20.0,
    Sum = fun(Sigma) -> energy_per_atom(Lattice, 1 / Nn, #{type => lennard_jones, epsilon => 0.5, sigma => Sigma, cutoff => Cutoff}) end,
    %% E(s) = s^12 L12 - s^6 L6 with the nearest distance 1
    E1 = Sum(1.0),
    S = 1.3,
    E2 = Sum(S),
    S6 = math:pow(S, 6),
    Mine6 = (E2 - S6 * S6 * E1) / (S6 * S6 - S6),
    Mine12 = E1 + Mine6,
    Density = length(sites(Lattice)) * math:pow(Nn, 3),
    Tail = 4 * math:pi() * Density / (3 * math:pow(Cutoff, 3)),
    close(L12, Mine12, 1.0e-9),
    close(L6, Mine6 + Tail, 1.0e-5).

nearest(sc) -> 1.0;
nearest(bcc) -> math:sqrt(3) / 2;
nearest(fcc) -> math:sqrt(0.5);
nearest(diamond) -> math:sqrt(3) / 4.

crystal(Lattice, A) ->
    beamline_crystal:new(#{cell => {{A, 0, 0}, {0, A, 0}, {0, 0, A}}, atoms => [{<<"Si">>, {A * X, A * Y, A * Z}} || {X, Y,
            Z} <- sites(Lattice)]}).

sites(sc) -> [{0, 0, 0}];
sites(bcc) -> [{0, 0, 0}, {0.5, 0.5, 0.5}];
sites(fcc) -> [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}];
sites(diamond) -> sites(fcc) ++ [{X + 0.25, Y + 0.25, Z + 0.25} || {X, Y, Z} <- sites(fcc)].
