%% SPDX-License-Identifier: Apache-2.0
%% Potentials against reference numbers, against their papers, and against what the list of built-in ones says.
-module(crystal_potential_tests).
-include_lib("eunit/include/eunit.hrl").

-define(GPA, 160.2176634).

%%% Reference values, with the files of Debian's lammps-data

reference_values_test_() ->
    {setup, fun beamline_test:start/0, {generator, fun() ->
        #{<<"cu_mishin_2001_EAM1">> := Mishin, <<"other_potentials_lammps">> := Others} = reference("reference_values.json"),
        #{<<"Cu_u3">> := U3, <<"Al_mm">> := Al, <<"Fe_mm">> := Fe, <<"Si_tersoff_1988">> := Tersoff} = Others,
        [
            {timeout, 60, {Name, fun() -> constants(Potential(), Lattice, Symbol, Numbers, Clamped) end}}
         || {Name, Potential, Lattice, Symbol, Numbers, Clamped} <- [
                {"Mishin's copper", mishin(), fcc, <<"Cu">>, Mishin, <<"C44">>},
                {"copper u3", eam(funcfl, "Cu_u3.eam"), fcc, <<"Cu">>, U3, <<"C44">>},
                {"aluminium of Mendelev", eam(finnis_sinclair, "Al_mm.eam.fs"), fcc, <<"Al">>, Al, <<"C44">>},
                {"iron of Mendelev", eam(finnis_sinclair, "Fe_mm.eam.fs"), bcc, <<"Fe">>, Fe, <<"C44">>},
                {"Tersoff's silicon", fun() -> #{type => tersoff, parameters => silicon} end, diamond, <<"Si">>, Tersoff,
                    <<"C44_unrelaxed">>},
                {"Tersoff's silicon from the file", file(tersoff, "Si.tersoff"), diamond, <<"Si">>, Tersoff, <<"C44_unrelaxed">>}
            ]
        ] ++ [
            {timeout, 60, {"Mishin's copper against other lattices", fun() -> differences((mishin())(), Mishin) end}},
            {timeout, 120, {"a vacancy in Mishin's copper", fun() -> vacancy((mishin())(), Mishin) end}},
            {timeout, 60, {"forces of Mishin's copper", fun() -> oracle((mishin())()) end}}
        ]
    end}}.

%% The lattice constant is where the pressure vanishes; constants by strain of the virial, atoms clamped.
constants(Potential, Lattice, Symbol, #{<<"a0">> := A, <<"E0">> := E0, <<"C11">> := C11, <<"C12">> := C12} = Numbers, Clamped) ->
    {ok, #{energy := E, virial := Virial}} = beamline_crystal:energy(S = cubic(Lattice, Symbol, A), Potential),
    Volume = beamline_crystal:volume(S),
    close(E0, E / beamline_crystal:number_of_atoms(S), 1.0e-9),
    [?assert(abs(W / Volume) * ?GPA < 2.0e-5) || W <- Virial],
    [Sxx, Syy | _] = slope(S, Potential, fun(D) -> {D, 0, 0, 0, 0, 0} end),
    [_, _, _, Syz | _] = slope(S, Potential, fun(D) -> {0, 0, 0, D, 0, 0} end),
    %% Elastic constants of a diamond crystal need its atoms relaxed: here only C44 is known clamped.
    Lattice =:= diamond orelse begin near(C11, Sxx, 2.0e-2), near(C12, Syy, 2.0e-2) end,
    near(C11 + 2 * C12, Sxx + 2 * Syy, 4.0e-2),
    near(maps:get(Clamped, Numbers), Syz, 2.0e-2).

%% d stress / d strain in GPa.
slope(S, Potential, Strain) ->
    D = 1.0e-4,
    [Low, High] = [begin
        T = beamline_crystal:transform({strain, Strain(X)}, S),
        {ok, #{stress_gpa := Stress}} = beamline_crystal:energy(T, Potential),
        Stress
    end || X <- [-D, D]],
    [(B - A) / (2 * D) || {A, B} <- lists:zip(Low, High)].

differences(Potential, #{<<"E0">> := E0, <<"dE_bcc">> := Bcc, <<"dE_hcp">> := Hcp, <<"dE_sc">> := Sc}) ->
    near(Bcc, lowest(Potential, bcc, 2.7, 3.1) - E0, 2.0e-6),
    near(Sc, lowest(Potential, sc, 2.2, 2.7) - E0, 2.0e-6),
    near(Hcp, lowest(Potential, hcp, 2.4, 2.7) - E0, 2.0e-5).

%% A vacancy in 864 atoms at fixed cell.
vacancy(Potential, #{<<"a0">> := A, <<"E_vacancy">> := Expected}) ->
    {ok, Full} = beamline_crystal:supercell({{6, 0, 0}, {0, 6, 0}, {0, 0, 6}}, cubic(fcc, <<"Cu">>, A)),
    {ok, #{energy := E}} = beamline_crystal:energy(Full, Potential),
    {ok, #{energy := Vacant, converged := true}} = beamline_crystal:relax(beamline_crystal:delete([1], Full), Potential,
            #{fmax => 1.0e-4, cell => fixed}),
    near(Expected, Vacant - E * 863 / 864, 1.0e-5).

oracle(Potential) ->
    #{<<"cell">> := Cell, <<"positions">> := Positions, <<"forces">> := Forces, <<"energy">> := Energy} =
        reference("forces/eam_cu_mishin108.json"),
    S = beamline_crystal:new(#{cell => list_to_tuple([list_to_tuple(V) || V <- Cell]),
                               atoms => [{<<"Cu">>, list_to_tuple(R)} || R <- Positions]}),
    {ok, #{energy := E, forces := F}} = beamline_crystal:energy(S, Potential),
    close(Energy, E, 1.0e-12),
    Expected = lists:append(Forces),
    Largest = lists:max([abs(X) || X <- Expected]),
    [?assert(abs(X - Y) < 1.0e-10 * Largest) || {X, Y} <- lists:zip(Expected, [X || <<X:64/float-little>> <= F])].

%%% The papers

%% Sutton and Chen fixed c by equilibrium at the lattice constant, and epsilon by the cohesive energy (eV).
sutton_chen_metals_are_at_rest_at_their_lattice_constant_test_() ->
    {setup, fun beamline_test:start/0, [
        {binary_to_list(Symbol), fun() ->
            %% They summed over the whole crystal: a cut-off of six lattice constants leaves little.
            Potential = #{type => sutton_chen, cutoff => 6 * A},
            {ok, #{energy := E, virial := [W | _]}} = beamline_crystal:energy(S = cubic(fcc, Symbol, A), Potential),
            ?assert(abs(W) / beamline_crystal:volume(S) * ?GPA < 0.25),
            near(Cohesive, -E / 4, 0.02)
        end}
     || {Symbol, A, Cohesive} <- [{<<"Ni">>, 3.52, 4.44}, {<<"Cu">>, 3.61, 3.50}, {<<"Rh">>, 3.80, 5.75}, {<<"Pd">>, 3.89, 3.94},
            {<<"Ag">>, 4.09, 2.96}, {<<"Ir">>, 3.84, 6.93}, {<<"Pt">>, 3.92, 5.86}, {<<"Au">>, 4.08, 3.78}, {<<"Pb">>, 4.95, 2.04},
            {<<"Al">>, 4.05, 3.34}]
    ]}.

%% Girifalco and Weizer fitted lattice constant, compressibility and energy of vaporisation.
girifalco_weizer_metals_have_their_lattice_constants_test_() ->
    {setup, fun beamline_test:start/0, [
        {timeout, 60, {binary_to_list(Symbol), fun() ->
            Potential = #{type => morse, parameters => girifalco_weizer},
            Found = minimum(fun(X) -> energy_per_atom(Potential, Lattice, Symbol, X) end, 0.9 * A, 1.1 * A),
            near(A, Found, 0.015 * A)
        end}}
     || {Symbol, Lattice, A} <- [{<<"Pb">>, fcc, 4.95}, {<<"Ag">>, fcc, 4.09}, {<<"Ni">>, fcc, 3.52}, {<<"Cu">>, fcc, 3.61},
            {<<"Al">>, fcc, 4.05}, {<<"Ca">>, fcc, 5.58}, {<<"Sr">>, fcc, 6.08}, {<<"Mo">>, bcc, 3.147}, {<<"W">>, bcc, 3.165},
            {<<"Cr">>, bcc, 2.885}, {<<"Fe">>, bcc, 2.866}, {<<"Ba">>, bcc, 5.02}, {<<"K">>, bcc, 5.225}, {<<"Na">>, bcc, 4.29},
            {<<"Cs">>, bcc, 6.14}, {<<"Rb">>, bcc, 5.585}]
    ]}.

%%% What is built in

every_built_in_potential_serves_what_it_says_test_() ->
    {setup, fun beamline_test:start/0, [
        fun() -> serves(Potential, Species) end
     || #{potential := Potential, species := Covers} <- beamline_crystal:potentials(), Species <- examples(Covers)
    ]}.

examples({any, All}) -> [[S] || S <- All] ++ [All];
examples({alone, All}) -> [[S] || S <- All];
examples({groups, Groups}) -> [[S] || S <- lists:usort(lists:append(Groups))] ++ Groups.

serves(Potential, Species) ->
    S = beamline_crystal:new(#{atoms => [{X, {2.6 * I, 0.0, 0.0}} || {I, X} <- lists:zip(lists:seq(1, length(Species)), Species)]}),
    ?assertMatch({ok, _}, beamline_crystal:energy(S, Potential)),
    ?assert(lists:member(Potential, [P || #{potential := P} <- beamline_crystal:potentials(S)])).

a_composition_finds_its_potentials_test() ->
    Types = fun(Symbols) -> [T || #{potential := #{type := T}} <- beamline_crystal:potentials(
        beamline_crystal:new(#{atoms => [{S, {0, 0, 0}} || S <- Symbols]}))] end,
    ?assertEqual([stillinger_weber, tersoff, tersoff], Types([<<"Si">>])),
    ?assertEqual([tersoff], Types([<<"Si">>, <<"C">>])),
    ?assertEqual([], Types([<<"Ge">>, <<"C">>])),
    ?assertEqual([sutton_chen, morse], Types([<<"Cu">>])),
    ?assertEqual([sutton_chen], Types([<<"Cu">>, <<"Au">>])),
    ?assertEqual([lennard_jones], Types([<<"Ar">>])),
    ?assertEqual([], Types([<<"Na">>, <<"Cl">>])).

potentials_that_make_no_sense_are_refused_test_() ->
    Copper = fun() -> cubic(fcc, <<"Cu">>, 3.6) end,
    {setup, fun beamline_test:start/0, [
        ?_assertMatch({error, {invalid, #{field := Field}}}, beamline_crystal:energy(Copper(), Potential))
     || {Field, Potential} <- [
            {potential, #{type => morse}},
            {potential, #{type => morse, parameters => girifalco_weizer, depth => 1}},
            {potential, #{type => morse, parameters => girifalco_weizer, table => <<>>}},
            {parameters, #{type => morse, parameters => silicon}},
            {alpha, #{type => morse, depth => 1, alpha => -1, r0 => 2, cutoff => 5}},
            {cutoff, #{type => morse, depth => 1, alpha => 1, r0 => 2}},
            {cutoff, #{type => sutton_chen, cutoff => -1}},
            {species, #{type => sutton_chen, parameters => [#{species => <<"Ni">>, epsilon => 1, a => 1, c => 1, n => 9, m => 6}]}},
            {parameters, #{type => sutton_chen, parameters => [#{species => <<"Cu">>, epsilon => 1, a => 1, c => 1, n => 9}]}},
            {potential, #{type => eam, table => <<>>}},
            {potential, #{type => eam, format => setfl}},
            {format, #{type => eam, format => adp, table => <<>>}},
            {table, #{type => eam, format => setfl, table => []}},
            {table, #{type => eam, format => setfl, table => [<<>>, <<>>]}},
            {species, #{type => tersoff, parameters => silicon}},
            {parameters, #{type => tersoff, parameters => copper}},
            {potential, #{type => tersoff, parameters => silicon, table => <<>>}},
            {potential, #{type => stillinger_weber}}
        ]
    ] ++ [
        ?_assertMatch({error, {syntax, #{line := 4, column := 1, expected := _}}},
                      beamline_crystal:energy(Copper(), #{type => eam, format => setfl, table => <<"a\nb\nc\nx">>}))
    ]}.

%%% Helpers

reference(File) ->
    {ok, Text} = file:read_file(beamline_test:shared_data("crystal/reference/" ++ File)),
    jiffy:decode(Text, [return_maps]).

mishin() -> eam(setfl, "Cu_mishin1.eam.alloy").
eam(Format, Name) -> fun() -> #{type => eam, format => Format, table => table(Name)} end.
file(Type, Name) -> fun() -> #{type => Type, table => table(Name)} end.

table(Name) ->
    case file:read_file(filename:join(beamline_test:source_file("_build/lammps-data"), Name)) of
        {ok, Table} -> Table;
        {error, _} -> beamline_test:skip("the files of lammps-data are not here (make peers)")
    end.

cubic(Lattice, Symbol, A) ->
    {ok, S} = beamline_crystal:prototype(Lattice, [Symbol], #{a => A}),
    S.

energy_per_atom(Potential, Lattice, Symbol, A) ->
    S = cubic(Lattice, Symbol, A),
    {ok, #{energy := E}} = beamline_crystal:energy(S, Potential, #{forces => false, virial => false}),
    E / beamline_crystal:number_of_atoms(S).

lowest(Potential, Lattice, Low, High) ->
    Energy = fun(A) -> energy_per_atom(Potential, Lattice, <<"Cu">>, A) end,
    Energy(minimum(Energy, Low, High)).

%% Golden sections.
minimum(F, Low, High) -> minimum(F, Low, High, 40).
minimum(_, Low, High, 0) -> (Low + High) / 2;
minimum(F, Low, High, N) ->
    Step = 0.381966011250105 * (High - Low),
    case F(Low + Step) < F(High - Step) of
        true -> minimum(F, Low, High - Step, N - 1);
        false -> minimum(F, Low + Step, High, N - 1)
    end.

close(Expected, Actual, Relative) -> near(Expected, Actual, Relative * abs(Expected)).

near(Expected, Actual, Tolerance) ->
    abs(Expected - Actual) =< Tolerance orelse error({expected, Expected, within, Tolerance, got, Actual}).
