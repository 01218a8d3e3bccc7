%% SPDX-License-Identifier: Apache-2.0
%% Relaxation of cells, batches, elastic constants, gates and versions over the public API.
-module(crystal_relax_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SILICON, #{type => stillinger_weber, parameters => silicon}).
-define(LJ(Cutoff), #{type => lennard_jones, epsilon => 1, sigma => 1, cutoff => Cutoff}).

all_test_() ->
    {setup, fun beamline_test:start/0, [
        {timeout, 120, {atom_to_list(Name), fun() -> ?MODULE:Name() end}}
     || {Name, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(Name))
    ]}.

-compile(export_all).
-compile(nowarn_export_all).

prototype(Name, Symbol, A) ->
    {ok, S} = beamline_crystal:prototype(Name, [Symbol], #{a => A}),
    S.

rattled(Width, Seed, N, S) ->
    {ok, Big} = beamline_crystal:supercell(N, S),
    beamline_crystal:rattle(Width, Seed, Big).

near(A, B, Tolerance) -> ?assert(abs(A - B) =< Tolerance, {A, B}).

%% ---- cells ----

a_relaxation_takes_a_method_a_cell_and_a_pressure_case() ->
    S = rattled(0.05, 1, 2, prototype(diamond, <<"Si">>, 5.5)),
    [begin
        Options = #{method => Method, pressure => 3, fmax => 1.0e-5, smax => 1.0e-4},
        {ok, #{converged := true, cell_relaxed := true, pressure_gpa := P, stress_gpa := Stress, max_stress := Most} = R} =
            beamline_crystal:relax(S, ?SILICON, Options),
        near(P, 3, 1.1e-4),
        near(hd(Stress), -3, 1.1e-4),
        ?assert(Most =< 1.0e-4),
        ?assert(maps:get(enthalpy, R) < maps:get(enthalpy_before, R))
     end || Method <- [auto, fire, lbfgs, cg]],
    {ok, #{cell_relaxed := false}} = beamline_crystal:relax(S, ?SILICON, #{cell => fixed}),
    {ok, #{structure := Film}} = beamline_crystal:relax(S, ?SILICON, #{cell => [zz]}),
    {A, B, {_, _, Height}} = beamline_crystal:cell(Film),
    ?assertEqual({element(1, beamline_crystal:cell(S)), element(2, beamline_crystal:cell(S))}, {A, B}),
    ?assert(Height < 11.0).

targets_that_make_no_sense_are_refused_case() ->
    S = prototype(diamond, <<"Si">>, 5.431),
    Refused = fun(Options) -> {error, {invalid, #{field := Field}}} = beamline_crystal:relax(S, ?SILICON, Options), Field end,
    ?assert(lists:member(Refused(#{pressure => 1, stress => [1, 1, 1, 0, 0, 0]}), [pressure, stress])),
    ?assertEqual(stress, Refused(#{stress => [1, 2, 3]})),
    ?assertEqual(stress, Refused(#{pressure => 1, cell => fixed})),
    ?assertEqual(cell, Refused(#{cell => [xx, yx]})),
    ?assertEqual(cell, Refused(#{cell => []})),
    ?assertEqual(cell, Refused(#{cell => round})),
    ?assertEqual(method, Refused(#{method => newton})),
    ?assertEqual(smax, Refused(#{smax => 0})),
    ?assertEqual(pressure, Refused(#{pressure => 1.0e300})).

%% ---- what goes wrong ----

bad_states_are_typed_errors_case() ->
    S = prototype(diamond, <<"Si">>, 5.431),
    Nan = <<0, 0, 0, 0, 0, 0, 16#f8, 16#7f>>,
    <<_:8/binary, Rest/binary>> = maps:get(positions, S),
    Bad = [
        S#{positions => binary:copy(<<0>>, 192)},                    % all atoms at one place
        S#{positions => <<Nan/binary, Rest/binary>>},
        S#{cell => {{5.4, 0.0, 0.0}, {10.8, 0.0, 0.0}, {0.0, 0.0, 5.4}}}, % no volume
        S#{cell => {{0.0, 0.0, 0.0}, {0.0, 5.4, 0.0}, {0.0, 0.0, 5.4}}}
    ],
    [?assertMatch({error, {invalid, _}}, Op(B)) || B <- Bad, Op <- [
        fun(X) -> beamline_crystal:relax(X, ?SILICON) end,
        fun(X) -> beamline_crystal:relax(X, ?SILICON, #{level => tight}) end,
        fun(X) -> beamline_crystal:elastic(X, ?SILICON) end]].

a_potential_that_diverges_gives_a_state_that_was_seen_case() ->
    %% only attraction: the crystal falls into itself
    Falling = #{type => stillinger_weber, parameters => #{epsilon => 2.1683, sigma => 2.0951, a => 1.8, lambda => 0.0, gamma => 1.2,
            cos_theta0 => -1 / 3, a_coefficient => 7.05, b_coefficient => 0.0, p => 4, q => 6}},
    S = rattled(0.1, 3, 1, prototype(diamond, <<"Si">>, 5.431)),
    [case beamline_crystal:relax(S, Falling, #{method => M, max_steps => 3000}) of
        {ok, #{converged := false, structure := R, energy := E}} ->
            ?assert(is_float(E)),
            ?assert(lists:all(fun({X, _, _}) -> abs(X) < 1.0e6 end, beamline_crystal:positions(R)));
        {error, {invalid, _}} -> ok
     end || M <- [auto, fire, lbfgs, cg]].

cancel_deadline_and_quota_hold_at_every_stage_case() ->
    S = rattled(0.1, 4, 5, prototype(diamond, <<"Si">>, 5.5)),
    Endless = #{fmax => 1.0e-300, max_steps => 1000000000},
    Jobs = [fun(T) -> beamline_crystal:submit_relax(S, ?SILICON, Endless#{method => M}, T) end || M <- [fire, lbfgs, cg]] ++ [
        fun(T) -> beamline_crystal:submit_elastic(S, ?SILICON, #{}, T) end,
        fun(T) -> beamline_crystal:submit_verify(S, ?SILICON, #{elastic => true}, T) end,
        fun(T) -> beamline_crystal:submit_relax_batch([S || _ <- lists:seq(1, 50)], ?SILICON, #{fmax => 1.0e-10}, T) end
    ],
    [begin
        {ok, Ref} = Job(#{}),
        timer:sleep(Wait),
        _ = beamline_runtime:cancel(Ref), % a line search may have stagnated by then
        Cancelled = beamline_runtime:await(Ref, 5000),
        ?assert(Cancelled =:= {error, cancelled} orelse element(1, Cancelled) =:= ok),
        {ok, Late} = Job(#{timeout => Wait}),
        InTime = beamline_runtime:await(Late, 5000),
        ?assert(InTime =:= {error, timeout} orelse element(1, InTime) =:= ok),
        {ok, Poor} = Job(#{memory_limit => 300000}),
        case beamline_runtime:await(Poor, 10000) of
            {error, {limit, #{what := memory_limit}}} -> ok;
            {error, {limit, _}} -> ok;
            %% of a batch each structure has its own error
            {ok, #{done := 50, failed := 50, results := [{error, {limit, _}} | _]}} -> ok
        end
     end || Job <- Jobs, Wait <- [1, 15]],
    beamline_test:eventually(fun() -> #{running := R, behind := B} = beamline_runtime:info(beamline_runtime), R + B =:= 0 end).

%% ---- batches ----

a_batch_answers_as_each_would_alone_and_a_bad_one_hurts_only_itself_case() ->
    Good = [rattled(0.05, I, 2, prototype(fcc, <<"Ar">>, 1.55)) || I <- lists:seq(1, 20)],
    Bad = [(hd(Good))#{positions => binary:copy(<<0>>, 32 * 24)}, #{}, (hd(Good))#{types => <<1, 2, 3>>},
           prototype(diamond, <<"Si">>, 5.431)],
    All = lists:sublist(Good, 10) ++ Bad ++ lists:nthtail(10, Good),
    Potential = #{type => lennard_jones, pairs => [#{species => {<<"Ar">>, <<"Ar">>}, epsilon => 1, sigma => 1, cutoff => 2.5}]},
    {ok, #{done := 24, failed := 4, results := Results}} = beamline_crystal:relax_batch(All, Potential, #{fmax => 1.0e-4}),
    [?assertEqual(beamline_crystal:relax(S, Potential, #{fmax => 1.0e-4}), R) || {S, R} <- lists:zip(All, Results), is_map_key(cell, S)],
    ?assertMatch([{error, {invalid, #{field := positions}}}, {error, {invalid, _}}, {error, {invalid, #{field := types}}},
                  {error, {invalid, #{field := pairs}}}], lists:sublist(Results, 11, 4)),
    ?assertEqual({ok, #{done => 0, failed => 0, results => []}}, beamline_crystal:relax_batch([], Potential)),
    ?assertMatch({error, {invalid, #{field := structures}}},
                 beamline_runtime:call(crystal_relax_batch, #{structures => atom, potential => Potential}, #{})),
    ?assertMatch({error, {invalid, #{field := level}}}, beamline_crystal:relax_batch(Good, Potential, #{level => quick})).

results_of_a_batch_are_streamed_once_each_in_either_place_case() ->
    {ok, Isolated} = beamline_runtime:start_link(#{name => relax_isolated, isolation => os_process, threads => 2}),
    S = prototype(diamond, <<"Si">>, 5.5),
    All = [rattled(0.1, I, 3, S) || I <- lists:seq(1, 120)],
    Arguments = #{structures => All, potential => ?SILICON, fmax => 1.0e-6},
    [begin
        {ok, Ref} = beamline_runtime:submit(Pool, crystal_relax_batch, Arguments, #{progress => 10}),
        {Streamed, {ok, #{done := 120, failed := 0, results := Results}}} = streamed(Ref, []),
        Numbers = [I || {I, _} <- Streamed],
        ?assertEqual(lists:usort(Numbers), lists:sort(Numbers)),
        ?assert(length(Numbers) > 16),
        [?assertEqual(lists:nth(I, Results), R) || {I, R} <- Streamed]
     end || Pool <- [beamline_runtime, Isolated]],
    ok = gen_server:stop(Isolated).

streamed(Ref, Before) ->
    receive
        {beamline, Ref, {progress, #{done := Done, failed := 0, total := 120, results := Results}}} ->
            ?assert(length(Before) + length(Results) =< Done),
            streamed(Ref, Before ++ Results);
        {beamline, Ref, Answer} -> {Before, Answer}
    end.

the_same_request_gives_the_same_bytes_whatever_the_number_of_threads_case() ->
    S = rattled(0.1, 9, 5, prototype(diamond, <<"Si">>, 5.5)),
    Pools = [begin {ok, P} = beamline_runtime:start_link(#{name => Name, threads => N}), P end
             || {Name, N} <- [{relax_one, 1}, {relax_two, 2}, {relax_three, 3}]],
    Arguments = #{structure => S, potential => ?SILICON},
    Same = fun(Op, Args) ->
        [One | Others] = [beamline_runtime:call(P, Op, Args, #{}) || P <- Pools ++ Pools],
        ?assertMatch({ok, _}, One),
        [?assertEqual(term_to_binary(One), term_to_binary(Other)) || Other <- Others]
    end,
    Same(crystal_relax, Arguments#{level => default}),
    Same(crystal_relax, Arguments#{method => cg, pressure => 1}),
    Same(crystal_verify, Arguments#{elastic => true}),
    [ok = gen_server:stop(P) || P <- Pools].

%% ---- elastic constants and gates ----

elastic_constants_come_with_moduli_case() ->
    {ok, #{known := true, stable := true, relaxed := [[C11, C12 | _] | _] = C, clamped := Clamped, eigenvalues := Eigen,
           bulk_hill := B, poisson := Nu, young := E, shear_hill := G}} =
        beamline_crystal:elastic(prototype(diamond, <<"Si">>, 5.43094977840521), ?SILICON),
    near(C11, 151.4245, 1.0e-4),
    near(C12, 76.4221, 1.0e-4),
    near(lists:nth(4, lists:nth(4, C)), 56.4493, 1.0e-4),
    near(lists:nth(4, lists:nth(4, Clamped)), 109.7565, 1.0e-4),
    near(B, 101.4229, 1.0e-4),
    near(hd(Eigen), C11 - C12, 1.0e-6),
    near(E, 2 * G * (1 + Nu), 1.0e-9).

the_verdict_of_the_literature_comes_out_case() ->
    %% Lennard-Jones: fcc is stable, bcc and sc are not; Stillinger-Weber silicon is.
    Run = fun(Name, Symbol, A, Potential, Distance) ->
        Options = #{relax => #{level => tight}, verify => #{min_distance => Distance}},
        beamline_crystal_version:run(beamline_crystal_version:new(prototype(Name, Symbol, A)), Potential, Options)
    end,
    ?assertEqual(committed, beamline_crystal_version:state(Run(fcc, <<"Ar">>, 1.56, ?LJ(5), 0.9))),
    ?assertEqual(committed, beamline_crystal_version:state(Run(diamond, <<"Si">>, 5.4, ?SILICON, 1.5))),
    [begin
        H = Run(Name, <<"Ar">>, A, ?LJ(5), 0.9),
        ?assertMatch([#{state := rolled_back, why := {gates, [elastic]}} | _], beamline_crystal_version:history(H))
     end || {Name, A} <- [{bcc, 1.24}, {sc, 1.07}]].

at_the_level_none_the_gates_judge_the_structure_as_it_is_case() ->
    Perfect = prototype(diamond, <<"Si">>, 5.43094977840521),
    Run = fun(S) -> beamline_crystal_version:run(beamline_crystal_version:new(S), ?SILICON, #{config => #{optimization_level => none}}) end,
    ?assertMatch([#{state := committed, structure := #{positions := Same}} | _] when Same =:= map_get(positions, Perfect),
                 beamline_crystal_version:history(Run(Perfect))),
    ?assertMatch([#{state := rolled_back, why := {gates, [equilibrium | _]}} | _],
                 beamline_crystal_version:history(Run(rattled(0.05, 1, 1, Perfect)))).

gates_look_at_stress_and_stiffness_where_asked_case() ->
    S = prototype(diamond, <<"Si">>, 5.5),
    Gate = fun(Name, Options) ->
        {ok, #{gates := Gates}} = beamline_crystal:verify(S, ?SILICON, Options),
        hd([G || #{name := N} = G <- Gates, N =:= Name])
    end,
    ?assertMatch(#{pass := true}, Gate(equilibrium, #{})),
    ?assertMatch(#{pass := false, unit := <<"GPa">>}, Gate(equilibrium, #{smax => 0.1})),
    {ok, #{pressure_gpa := P}} = beamline_crystal:energy(S, ?SILICON),
    ?assertMatch(#{pass := true}, Gate(equilibrium, #{smax => 0.1, pressure => P})),
    ?assertMatch(#{pass := unknown, why := <<"not asked for">>}, Gate(elastic, #{})),
    ?assertMatch(#{pass := true, value := V} when V > 1, Gate(elastic, #{elastic => true})).

what_was_asked_before_is_answered_from_memory_case() ->
    ok = beamline_crystal_cache:clear(),
    S = rattled(0.01, 77, 2, prototype(diamond, <<"Si">>, 5.431)),
    #{hits := Hits, misses := Misses} = beamline_crystal_cache:info(),
    {ok, First} = beamline_crystal:verify(S, ?SILICON, #{elastic => true}),
    beamline_test:eventually(fun() -> maps:get(entries, beamline_crystal_cache:info()) =:= 1 end),
    {ok, Again} = beamline_crystal:verify(S#{my_key => 1}, ?SILICON, #{elastic => true}),
    ?assertEqual(First, Again),
    ?assertMatch(#{hits := H, misses := M} when H =:= Hits + 1 andalso M =:= Misses + 1, beamline_crystal_cache:info()),
    {ok, _} = beamline_crystal:verify(S, ?SILICON, #{elastic => true, fmax => 1}),
    {ok, _} = beamline_crystal:verify(beamline_crystal:rattle(0.01, 1, S), ?SILICON, #{elastic => true}),
    beamline_test:eventually(fun() -> maps:get(entries, beamline_crystal_cache:info()) =:= 3 end),
    ?assertEqual(beamline_crystal_cache:hash(#{a => 1, b => [#{c => 2, d => 3}]}),
                 beamline_crystal_cache:hash(#{b => [#{d => 3, c => 2}], a => 1})).

the_memory_is_bounded_case() ->
    ok = beamline_crystal_cache:clear(),
    Big = binary:copy(<<7>>, 200000),
    [beamline_crystal_cache:store(beamline_crystal_cache:key(I), {I, Big}) || I <- lists:seq(1, 200)],
    ok = beamline_crystal_cache:store(beamline_crystal_cache:key(too_big), binary:copy(<<7>>, 300000)),
    beamline_test:eventually(fun() -> beamline_crystal_cache:find(beamline_crystal_cache:key(200)) =/= none end),
    #{entries := Entries, bytes := Bytes} = beamline_crystal_cache:info(),
    ?assert(Bytes =< 32 * 1024 * 1024),
    ?assert(Entries > 100 andalso Entries < 200),
    ?assertEqual(none, beamline_crystal_cache:find(beamline_crystal_cache:key(1))),
    ?assertEqual(none, beamline_crystal_cache:find(beamline_crystal_cache:key(too_big))),
    ok = beamline_crystal_cache:clear().

%% ---- equality ----

prototypes_are_equal_to_themselves_however_they_are_described_case() ->
    Cells = [{fcc, [<<"Cu">>]}, {hcp, [<<"Mg">>]}, {diamond, [<<"Si">>]}, {rock_salt, [<<"Na">>, <<"Cl">>]}, {rutile, [<<"Ti">>, <<"O">>]},
             {perovskite, [<<"Ca">>, <<"Ti">>, <<"O">>]}, {wurtzite, [<<"Zn">>, <<"S">>]}, {spinel, [<<"Mg">>, <<"Al">>, <<"O">>]}],
    Structures = [begin {ok, S} = beamline_crystal:prototype(Name, Elements, #{a => 4.2}), S end || {Name, Elements} <- Cells],
    [begin
        {ok, Other} = beamline_crystal:supercell({{1, 1, 0}, {0, 1, 0}, {0, -1, 2}}, S),
        Turned = beamline_crystal:sort(x, beamline_crystal:wrap(beamline_crystal:transform({rotate, {10, 20, 30}}, Other))),
        {ok, #{equal := true, rmsd := Rmsd}} = beamline_crystal:match(S, Turned),
        ?assert(Rmsd < 1.0e-6),
        {ok, #{equal := true, rmsd := Moved}} = beamline_crystal:match(S, beamline_crystal:rattle(0.01, 1, Turned)),
        ?assert(Moved > 0.005 andalso Moved < 0.03)
     end || S <- Structures],
    [?assertMatch({ok, #{equal := false, why := {Why, Text}}} when is_atom(Why) andalso is_binary(Text), beamline_crystal:match(A, B))
     || A <- Structures, B <- Structures, A =/= B].

a_relaxed_crystal_is_its_prototype_again_case() ->
    Si = prototype(diamond, <<"Si">>, 5.431),
    {ok, #{structure := R}} = beamline_crystal:relax(rattled(0.1, 3, 2, Si), ?SILICON, #{level => tight}),
    ?assertMatch({ok, #{equal := true, rmsd := D}} when D < 1.0e-3, beamline_crystal:match(Si, R)),
    ?assertMatch({error, {invalid, #{field := tolerance}}}, beamline_crystal:match(Si, R, #{tolerance => 0})),
    ?assertMatch({error, {invalid, #{field := pbc}}}, beamline_crystal:match(Si, R#{pbc => {true, true, false}})),
    ?assertMatch({error, {invalid, #{field := other}}}, beamline_runtime:call(crystal_match, #{structure => Si}, #{})),
    ?assertError(badarg, beamline_crystal:match(Si, atom)).

%% ---- versions ----

a_version_tells_what_it_was_made_from_case() ->
    S = rattled(0.1, 5, 1, prototype(diamond, <<"Si">>, 5.5)),
    H = beamline_crystal_version:run(beamline_crystal_version:new(S), ?SILICON, #{}),
    [#{lineage := Committed}, #{lineage := Verified}, #{lineage := Optimised, hash := Hash}, #{hash := Draft}] =
        beamline_crystal_version:history(H),
    ?assertEqual(Draft, maps:get(input, Optimised)),
    ?assertEqual(Hash, maps:get(input, Verified)),
    ?assertEqual(Verified, Committed),
    ?assertMatch(#{verdict := unknown, engine := <<"0.", _/binary>>, code_path := Path} when Path =/= unknown, Committed),
    ?assertEqual(beamline_crystal_cache:hash(?SILICON), maps:get(potential, Optimised)),
    #{same := false, atoms := {8, 8}, formula := same, cell := {_, _}, moved := Moved, lineage := Keys} =
        beamline_crystal_version:diff(1, 4, H),
    ?assert(Moved > 0.01 andalso Moved < 2),
    ?assert(lists:member(potential, Keys)),
    #{same := true, cell := same, moved := None, energy := {E1, E2}} = beamline_crystal_version:diff(2, 4, H),
    near(None, 0, 0),
    near(E1, E2, 1.0e-12),
    ?assertError(badarg, beamline_crystal_version:diff(1, 9, H)).

a_run_under_load_is_committed_too_case() ->
    S = rattled(0.05, 6, 1, prototype(diamond, <<"Si">>, 5.431)),
    [begin
        H = beamline_crystal_version:run(beamline_crystal_version:new(S), ?SILICON, #{relax => Relax}),
        ?assertEqual({committed, Relax}, {beamline_crystal_version:state(H), Relax})
     end || Relax <- [#{pressure => 5}, #{pressure => -2, level => tight}, #{stress => [1, -2, 0.5, 0, 1, 0]}, #{cell => [zz]},
                      #{cell => isotropic}, #{cell => fixed}, #{level => fast}]].

prisms_names_configure_a_run_case() ->
    Si = prototype(diamond, <<"Si">>, 5.45),
    Run = fun(Config) -> hd(beamline_crystal_version:history(
            beamline_crystal_version:run(beamline_crystal_version:new(Si), ?SILICON, #{config => Config}))) end,
    ?assertMatch(#{state := committed}, Run(#{optimization_level => tight, max_nodes => 8})),
    ?assertMatch(#{state := rolled_back, why := {limit, #{what := max_nodes, limit := 7, asked := 8}}}, Run(#{max_nodes => 7})),
    ?assertMatch(#{state := rolled_back, why := {invalid, #{field := colour}}}, Run(#{colour => red})),
    ?assertMatch(#{state := rolled_back, why := {unsupported, _}}, Run(#{optimization_level => search})),
    case Run(#{system_type => cubic}) of
        #{state := rolled_back, why := {unsupported, spglib}} -> ok;
        Committed ->
            ?assertMatch(#{state := committed}, Committed),
            Why = {symmetry, #{asked => hexagonal, found => cubic}},
            ?assertMatch(#{state := rolled_back, why := Why}, Run(#{system_type => hexagonal}))
    end.
