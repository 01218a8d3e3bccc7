%% SPDX-License-Identifier: Apache-2.0
%% The public surface: what a user of beamline_crystal relies on.
-module(beamline_crystal_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SILICON, #{type => stillinger_weber, parameters => silicon}).
-define(ARGON, #{type => lennard_jones, epsilon => 1, sigma => 1, cutoff => 2.5}).

all_test_() ->
    {setup, fun beamline_test:start/0, [
        {timeout, 60, {atom_to_list(Name), fun() -> ?MODULE:Name() end}}
     || {Name, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(Name))
    ]}.

-compile(export_all).
-compile(nowarn_export_all).

silicon() ->
    Sites = [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}, {0.25, 0.25, 0.25}, {0.25, 0.75, 0.75}, {0.75, 0.25, 0.75},
            {0.75, 0.75, 0.25}],
    A = 5.431,
    beamline_crystal:new(#{cell => {{A, 0, 0}, {0, A, 0}, {0, 0, A}}, atoms => [{<<"Si">>, {A * X, A * Y, A * Z}} || {X, Y, Z} <- Sites]}).

rattled(#{positions := Positions} = Structure) ->
    _ = rand:seed(exsss, 4711),
    Structure#{positions => <<<<(X + 0.2 * (rand:uniform() - 0.5)):64/float-little>> || <<X:64/float-little>> <= Positions>>}.

%% ---- structures ----

a_structure_tells_what_it_holds_case() ->
    Salt = beamline_crystal:new(#{cell => {{4, 0, 0}, {1, 5, 0}, {0, 0, 6}}, pbc => {true, true, false},
                                  atoms => [{<<"Na">>, {0, 0, 0}}, {<<"Cl">>, {2, 2.5, 3}}, {<<"Na">>, {1, 1, 1}}]}),
    ?assertEqual(3, beamline_crystal:number_of_atoms(Salt)),
    ?assertEqual([<<"Na">>, <<"Cl">>, <<"Na">>], beamline_crystal:symbols(Salt)),
    ?assertEqual(#{<<"Na">> => 2, <<"Cl">> => 1}, beamline_crystal:formula(Salt)),
    ?assertEqual(120.0, beamline_crystal:volume(Salt)),
    ?assertEqual({2.0, 2.5, 3.0}, lists:nth(2, beamline_crystal:positions(Salt))),
    ?assertEqual(unknown, beamline_crystal:forces(Salt)),
    ?assertError(badarg, beamline_crystal:new(#{})).

what_makes_no_structure_raises_badarg_case() ->
    Cell = {{4, 0, 0}, {0, 4, 0}, {0, 0, 4}},
    Atom = {<<"Si">>, {0, 0, 0}},
    [?assertError(badarg, beamline_crystal:new(Given)) || Given <- [
        none, #{cell => {{4, 0, 0}, {0, 4, 0}, {0, 0}}, atoms => [Atom]}, #{cell => {{4, 0, 0}, {0, 4, 0}}, atoms => [Atom]},
        #{cell => {{a, 0, 0}, {0, 4, 0}, {0, 0, 4}}, atoms => []}, #{cell => {{1 bsl 2000, 0, 0}, {0, 4, 0}, {0, 0, 4}}, atoms => []},
        #{cell => Cell, pbc => {1, 1, 1}, atoms => []}, #{cell => Cell, pbc => true, atoms => []}, #{lattice => Cell, atoms => [Atom]}
        | [#{cell => Cell, atoms => Atoms} || Atoms <- [[Atom, {<<"Si">>, {0, 0}}], [Atom, none], [Atom | no_end], [{<<"Si">>, {a, 0, 0}}],
              [{<<"Si">>, {1 bsl 2000, 0, 0}}], [{si, {0, 0, 0}}], [{"Si", {0, 0, 0}}], [{<<>>, {0, 0, 0}}],
              [{<<"sixteen bytes ..">>, {0, 0, 0}}]]]]],
    [?assertEqual({I, badarg}, {I, try Use() catch error:Why -> Why end}) || {I, Use} <- lists:zip(lists:seq(1, length(uses())), uses())].

%% Of what is no structure, or no list of atoms, or no cell.
uses() ->
    S = silicon(),
    Flat = S#{cell := {{1.0, 0.0, 0.0}, {2.0, 0.0, 0.0}, {0.0, 0.0, 1.0}}},
    Huge = S#{cell := {{1.0e200, 0.0, 0.0}, {0.0, 1.0e200, 0.0}, {0.0, 0.0, 1.0e200}}},
    Functions = [number_of_atoms, species, symbols, formula, positions, cell, volume, fixed, wrap, config, pattern, potentials],
    [fun() -> beamline_crystal:F(none) end || F <- Functions] ++
    [fun() -> beamline_crystal:distance(1, 2, Bad) end || Bad <- [none, Flat, Huge]] ++
    [fun() -> beamline_crystal:F(Atoms, S) end || F <- [fix, delete], Atoms <- [none, [1 | no_end], [0]]] ++
    [fun() -> beamline_crystal:distance_between({0.0, 0.0, 0.0}, {1.0, 0.0, 0.0}, Flat) end,
     fun() -> beamline_crystal:volume(Huge) end, fun() -> beamline_crystal:wrap(Huge) end,
     fun() -> beamline_crystal:substitute([1 | no_end], <<"C">>, S) end, fun() -> beamline_crystal:substitute([1], "C", S) end,
     fun() -> beamline_crystal:merge(S, none) end, fun() -> beamline_crystal:sort(x, none) end,
     fun() -> beamline_crystal:transform({scale, 2}, none) end, fun() -> beamline_crystal:rattle(0.1, 1, none) end,
     fun() -> beamline_crystal:pattern("Al", #{}) end,
     fun() -> beamline_crystal:pattern(<<"Al">>, #{spacing => 1.0e200, scale => 1.0e200}) end].

versions_without_a_cell_can_be_compared_case() ->
    S = silicon(),
    Flat = S#{cell := {{1.0, 0.0, 0.0}, {2.0, 0.0, 0.0}, {0.0, 0.0, 1.0}}},
    H = beamline_crystal_version:generated(Flat, beamline_crystal_version:new(S)),
    ?assertMatch(#{same := false, cell := {_, _}}, beamline_crystal_version:diff(1, 2, H)),
    ?assertNot(is_map_key(moved, beamline_crystal_version:diff(1, 2, H))).

the_shortest_image_counts_for_a_distance_case() ->
    Cell = {{4, 0, 0}, {3.9, 1, 0}, {0, 0, 6}},
    S = beamline_crystal:new(#{cell => Cell, atoms => [{<<"Cu">>, {0.1, 0, 0}}, {<<"Cu">>, {3.9, 0.9, 5.9}}]}),
    {ok, #{first := First, vector := Vectors}} = beamline_crystal:neighbours(S, 5),
    <<0:64, End:64/little, _/binary>> = First,
    Shortest = lists:min([math:sqrt(X * X + Y * Y + Z * Z) || <<X:64/float-little, Y:64/float-little,
            Z:64/float-little>> <= binary:part(Vectors, 0, 24 * End)]),
    ?assert(abs(beamline_crystal:distance(1, 2, S) - math:sqrt(0.1 * 0.1 * 3)) < 1.0e-12),
    ?assert(beamline_crystal:distance(1, 2, S) >= Shortest - 1.0e-12),
    ?assertError(badarg, beamline_crystal:distance(1, 3, S)).

distances_in_random_cells_agree_with_the_neighbour_list_case() ->
    _ = beamline_test:seed(),
    [one_random_distance() || _ <- lists:seq(1, 100)].

one_random_distance() ->
    R = fun() -> 6 * (rand:uniform() - 0.5) end,
    Vector = fun() -> {R(), R(), R()} end,
    S = beamline_crystal:new(#{cell => {Vector(), Vector(), Vector()}, atoms => [{<<"Cu">>, Vector()}, {<<"Cu">>, Vector()}]}),
    case beamline_crystal:volume(S) > 5 of
        true ->
            D = beamline_crystal:distance(1, 2, S),
            {ok, #{first := <<0:64, End:64/little, _/binary>>, other := Others, vector := Vectors}} = beamline_crystal:neighbours(S,
                    D + 0.1),
            Js = [J || <<J:32/little>> <= binary:part(Others, 0, 4 * End)],
            Ds = [math:sqrt(X * X + Y * Y + Z * Z) || <<X:64/float-little, Y:64/float-little,
                    Z:64/float-little>> <= binary:part(Vectors, 0, 24 * End)],
            Shortest = lists:min([X || {1, X} <- lists:zip(Js, Ds)]),
            ?assert(abs(D - Shortest) < 1.0e-9);
        false ->
            flat
    end.

the_shortest_image_may_be_more_than_one_cell_from_the_nearest_corner_case() ->
    S = #{cell => {{1.3469923867119782, -1.6680595363825121, 1.739546957471995},
                   {0.6276598661056536, -1.9845142645694822, -0.7700034918943781},
                   {-1.0725284278120268, -1.416080331460397, 1.9697991829225558}},
          pbc => {true, true, true},
          positions => <<109, 155, 183, 137, 6, 246, 246, 191, 170, 204, 120, 236, 235, 0, 236, 63, 208, 147, 166, 85, 164, 51, 5, 192,
                         97, 18, 133, 140, 53, 172, 250, 191, 158, 27, 83, 38, 63, 252, 2, 192, 102, 6, 238, 167, 177, 43, 6, 64>>},
    ?assert(abs(beamline_crystal:distance(1, 2, S) - 1.3979138355668852) < 1.0e-12).

fixing_atoms_keeps_what_was_fixed_case() ->
    S = (silicon())#{fixed => <<1, 0, 0, 0, 0, 0, 0, 6>>},
    F = beamline_crystal:fix([2], S),
    ?assertEqual([[x], [x, y, z], [], [], [], [], [], [y, z]], beamline_crystal:fixed(F)),
    ?assertError(badarg, beamline_crystal:fix([9], S)).

%% ---- files ----

a_structure_written_and_read_is_the_same_case() ->
    S = (rattled(silicon()))#{fixed => <<7, 0, 0, 0, 0, 0, 0, 2>>, info => #{<<"note">> => <<"a \"b\"">>, <<"n">> => 3,
            <<"v">> => [1.5, 2.0]},
                             columns => #{<<"tag">> => #{type => integer, width => 1, data => <<0:448, 7:64/little>>}}},
    {ok, File} = beamline_crystal:write([S, S], extxyz),
    {ok, #{format := extxyz, structures := [S1, S2], warnings := []}} = beamline_crystal:parse(File),
    ?assertEqual(S, S1),
    ?assertEqual(S, S2),
    {ok, Poscar} = beamline_crystal:write([S], poscar, #{cartesian => true, comment => <<"hello">>}),
    {ok, #{format := poscar, structures := [P]}} = beamline_crystal:parse(Poscar),
    ?assertEqual(maps:with([cell, pbc, species, types, positions, fixed], S), maps:with([cell, pbc, species, types, positions, fixed], P)),
    ?assertEqual(#{<<"comment">> => <<"hello">>}, maps:get(info, P)).

errors_of_files_name_the_place_case() ->
    ?assertMatch({error, {syntax, #{line := 4, column := 1, expected := _}}}, beamline_crystal:parse(<<"2\n\nC 0 0 0\n">>)),
    ?assertMatch({error, {invalid, #{field := format}}}, beamline_crystal:parse(<<>>, #{format => gzip})),
    ?assertMatch({error, {limit, #{what := atoms, limit := 1, asked := 2}}}, beamline_crystal:parse(<<"2\n\nC 0 0 0\nC 1 0 0\n">>,
            #{max_atoms => 1})),
    ?assertMatch({error, {invalid, #{field := colour}}}, beamline_crystal:parse(<<>>, #{colour => red})),
    ?assertError(badarg, beamline_crystal:parse("string")).

vasp_4_files_ask_for_their_species_case() ->
    File = <<"x\n1\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0\n.5 .5 .5\n">>,
    ?assertMatch({error, {invalid, #{field := species}}}, beamline_crystal:parse(File)),
    {ok, #{structures := [S]}} = beamline_crystal:parse(File, #{species => [<<"Cs">>, <<"Cl">>]}),
    ?assertEqual([<<"Cs">>, <<"Cl">>], beamline_crystal:symbols(S)).

%% ---- energies ----

energies_come_with_what_was_asked_for_case() ->
    {ok, All} = beamline_crystal:energy(silicon(), ?SILICON, #{atom_energies => true}),
    ?assert(abs(maps:get(energy, All) / 8 + 4.3366) < 1.0e-7),
    ?assertEqual(8 * 8, byte_size(maps:get(atom_energies, All))),
    ?assertEqual(6, length(maps:get(stress_gpa, All))),
    {ok, Only} = beamline_crystal:energy(silicon(), ?SILICON, #{forces => false, virial => false}),
    ?assertEqual([code_path, energy], lists:sort(maps:keys(Only))).

mixtures_take_pairs_case() ->
    S = beamline_crystal:new(#{atoms => [{<<"Ar">>, {0, 0, 0}}, {<<"Kr">>, {1.2, 0, 0}}]}),
    Pair = #{species => {<<"Kr">>, <<"Ar">>}, epsilon => 2, sigma => 1, cutoff => 3},
    {ok, #{energy := E}} = beamline_crystal:energy(S, ?ARGON#{pairs => [Pair]}),
    {ok, #{energy := E2}} = beamline_crystal:energy(S, ?ARGON#{epsilon => 2, cutoff => 3}),
    ?assertEqual(E, E2),
    %% every pair of the species that are there needs parameters
    ?assertMatch({error, {invalid, #{field := pairs}}}, beamline_crystal:energy(S, #{type => lennard_jones,
            pairs => [Pair#{species => {<<"Ar">>, <<"Ar">>}}]})).

wrong_requests_are_values_case() ->
    S = silicon(),
    ?assertMatch({error, {invalid, #{field := epsilon}}}, beamline_crystal:energy(S, ?ARGON#{epsilon => -1})),
    ?assertMatch({error, {unsupported, _}}, beamline_crystal:energy(S, #{type => reaxff})),
    ?assertMatch({error, {invalid, #{field := parameters}}}, beamline_crystal:energy(S, ?SILICON#{parameters => #{epsilon => 1}})),
    ?assertMatch({error, {invalid, #{field := positions}}}, beamline_crystal:energy(S#{positions => <<0:1536>>}, ?SILICON)),
    ?assertMatch({error, {invalid, #{field := positions}}}, beamline_crystal:energy(S#{positions => <<1>>}, ?SILICON)),
    ?assertMatch({error, {invalid, #{field := cell}}}, beamline_crystal:energy(maps:remove(cell, S), ?SILICON)),
    ?assertMatch({error, {invalid, #{field := types}}}, beamline_crystal:energy(S#{types => <<9:32/little, 0:224>>}, ?SILICON)),
    ?assertMatch({error, {limit, #{what := images}}}, beamline_crystal:neighbours(S, 1.0e6)),
    ?assertError(badarg, beamline_crystal:energy(S, silicon)).

%% ---- relaxation ----

a_relaxation_reports_and_keeps_unknown_keys_case() ->
    S = (rattled(silicon()))#{my_key => {some, "thing"}, info => #{<<"energy">> => 1.0, <<"note">> => <<"x">>}},
    {ok, #{structure := R, converged := true, reason := converged, cell_relaxed := true, max_stress := Stress} = Answer} =
        beamline_crystal:relax(S, ?SILICON, #{fmax => 1.0e-6, smax => 1.0e-3}),
    ?assert(Stress =< 1.0e-3),
    ?assert(abs(maps:get(energy, Answer) / 8 + 4.3366) < 1.0e-7),
    ?assertEqual({some, "thing"}, maps:get(my_key, R)),
    ?assertEqual(#{<<"note">> => <<"x">>}, maps:get(info, R)),
    ?assert(lists:all(fun({X, Y, Z}) -> X * X + Y * Y + Z * Z =< 1.0e-12 end, beamline_crystal:forces(R))).

a_relaxation_sends_progress_and_can_be_cancelled_case() ->
    S = rattled(big_silicon()),
    {ok, Ref} = beamline_crystal:submit_relax(S, ?SILICON, #{fmax => 1.0e-300, max_steps => 1000000000}, #{progress => 10}),
    receive
        {beamline, Ref, {progress, #{step := Step, energy := E, max_force := F}}} ->
            ?assert(is_integer(Step) andalso is_float(E) andalso is_float(F))
    end,
    ok = beamline_runtime:cancel(Ref),
    ?assertEqual({error, cancelled}, beamline_runtime:await(Ref, 2000)).

a_relaxation_has_a_deadline_case() ->
    ?assertEqual({error, timeout}, beamline_crystal:relax(rattled(big_silicon()), ?SILICON, #{fmax => 1.0e-300,
            max_steps => 1000000000}, #{timeout => 50})).

a_relaxation_has_a_memory_limit_case() ->
    ?assertMatch({error, {limit, _}}, beamline_crystal:relax(big_silicon(), ?SILICON, #{}, #{memory_limit => 100000})).

big_silicon() ->
    #{positions := P, types := T, cell := {{A, _, _}, _, _}} = S = silicon(),
    Cells = [{A * X, A * Y, A * Z} || X <- lists:seq(0, 4), Y <- lists:seq(0, 4), Z <- lists:seq(0, 4)],
    Positions = <<<<(X + Dx):64/float-little, (Y + Dy):64/float-little, (Z + Dz):64/float-little>>
                 || {Dx, Dy, Dz} <- Cells, <<X:64/float-little, Y:64/float-little, Z:64/float-little>> <= P>>,
    S#{positions => Positions, types => binary:copy(T, 125), cell => {{5 * A, 0.0, 0.0}, {0.0, 5 * A, 0.0}, {0.0, 0.0, 5 * A}}}.

levels_that_are_not_there_are_refused_case() ->
    ?assertMatch({error, {unsupported, _}}, beamline_crystal:relax(silicon(), ?SILICON, #{level => search})),
    ?assertMatch({error, {invalid, #{field := level}}}, beamline_crystal:relax(silicon(), ?SILICON, #{level => quick})).

gates_say_what_was_measured_case() ->
    {ok, #{verdict := unknown, passed := true, gates := Gates}} = beamline_crystal:verify(silicon(), ?SILICON, #{energy_before => 0.0}),
    ?assertEqual([geometry, equilibrium, energy, elastic, dynamic, thermodynamic], [N || #{name := N} <- Gates]),
    ?assertMatch([true, true, true, unknown, unknown, unknown], [P || #{pass := P} <- Gates]),
    {ok, #{verdict := unstable, passed := false}} = beamline_crystal:verify(rattled(silicon()), ?SILICON, #{energy_before => 0.0}).

%% ---- versions ----

a_good_run_is_committed_case() ->
    H = beamline_crystal_version:run(beamline_crystal_version:new(rattled(silicon())), ?SILICON, #{}),
    ?assertEqual([committed, verified, optimised, draft], [S || #{state := S} <- beamline_crystal_version:history(H)]),
    ?assertEqual([4, 3, 2, 1], [N || #{number := N} <- beamline_crystal_version:history(H)]),
    {ok, #{structure := Committed}} = beamline_crystal_version:committed(H),
    ?assertEqual(Committed, beamline_crystal_version:structure(H)).

every_kind_of_failure_rolls_back_to_the_last_commit_case() ->
    H = beamline_crystal_version:run(beamline_crystal_version:new(rattled(silicon())), ?SILICON, #{}),
    {ok, Good} = beamline_crystal_version:committed(H),
    Next = beamline_crystal_version:generated(rattled(big_silicon()), H),
    Bad = [
        {Next, #{relax => #{fmax => 1.0e-300}, task => #{timeout => 20}}},
        {Next, #{task => #{memory_limit => 1000}}},
        {Next, #{relax => #{max_steps => 2}}},
        {Next, #{relax => #{level => search}}},
        {Next, #{verify => #{fmax => 1.0e-12}}},
        {Next, #{verify => #{reference_energy => -5.0}}},
        {beamline_crystal_version:generated((silicon())#{positions => <<0:1536>>}, H), #{}}
    ],
    [begin
        R = beamline_crystal_version:run(From, ?SILICON, Options),
        ?assertEqual(rolled_back, beamline_crystal_version:state(R)),
        ?assertEqual({ok, Good}, beamline_crystal_version:committed(R)),
        ?assertEqual(maps:get(structure, Good), beamline_crystal_version:structure(R)),
        #{parent := Parent} = hd(beamline_crystal_version:history(R)),
        ?assertEqual(maps:get(number, Good), Parent)
     end || {From, Options} <- Bad].

steps_out_of_order_are_badarg_case() ->
    H = beamline_crystal_version:new(silicon()),
    ?assertError(badarg, beamline_crystal_version:commit(H)),
    ?assertError(badarg, beamline_crystal_version:verified(#{verdict => stable}, H)),
    [?assertError(badarg, beamline_crystal_version:Step(none, H)) || Step <- [generated, optimised, verified]],
    ?assertError(badarg, beamline_crystal_version:new(none)),
    [?assertError(badarg, beamline_crystal_version:run(H, #{type => stillinger_weber, parameters => silicon}, Options))
     || Options <- [none, #{level => fast}, #{relax => #{}, energy_tolerence => 1}]],
    R = beamline_crystal_version:rollback(why_not, H),
    ?assertEqual(silicon(), beamline_crystal_version:structure(R)).

equal_content_has_an_equal_hash_case() ->
    S = silicon(),
    ?assertEqual(beamline_crystal_version:hash(S), beamline_crystal_version:hash(S#{info => #{<<"x">> => 1}})),
    ?assertNotEqual(beamline_crystal_version:hash(S), beamline_crystal_version:hash(rattled(S))).
