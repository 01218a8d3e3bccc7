%% SPDX-License-Identifier: Apache-2.0
%% Trajectories over the public API.
-module(crystal_trajectory_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SILICON, #{type => stillinger_weber, parameters => silicon}).

all_test_() ->
    {setup, fun beamline_test:start/0, [
        {timeout, 60, {"a run keeps its energy and goes on where it ended", fun goes_on/0}},
        {timeout, 60, {"progress is told, a deadline ends it", fun deadline/0}},
        {timeout, 60, {"a cancelled run answers once", fun cancelled/0}},
        {"options that make no sense are refused", fun refused/0}
    ]}.

crystal(N) ->
    {ok, Cell} = beamline_crystal:prototype(diamond, [<<"Si">>], #{a => 5.431}),
    {ok, Big} = beamline_crystal:supercell(N, Cell),
    Big.

goes_on() ->
    {ok, #{structure := S, kinetic_energy_before := Heat, drift := Drift, steps := 100, time := 100.0} = First} =
        beamline_crystal:trajectory(crystal(2), ?SILICON, #{steps => 100, temperature => 300, seed => 4}),
    ?assert(Drift < 0.01 * Heat),
    ?assertMatch(#{velocities := <<_:(64 * 24)/binary>>, forces := <<_:(64 * 24)/binary>>}, S),
    {ok, #{kinetic_energy_before := Again, energy_before := Energy}} = beamline_crystal:trajectory(S, ?SILICON, #{steps => 1}),
    #{kinetic_energy := Kinetic, energy := Potential} = First,
    ?assert(abs(Again - Kinetic) < 1.0e-12),
    ?assert(abs(Energy - Potential) < 1.0e-10),
    ?assertEqual({ok, First}, beamline_crystal:trajectory(crystal(2), ?SILICON, #{steps => 100, temperature => 300, seed => 4})),
    {ok, #{structure := Other}} = beamline_crystal:trajectory(crystal(2), ?SILICON, #{steps => 100, temperature => 300, seed => 5}),
    ?assertNotEqual(maps:get(positions, S), maps:get(positions, Other)).

deadline() ->
    {ok, Ref} = beamline_crystal:submit_trajectory(crystal(2), ?SILICON, #{steps => 1 bsl 60, temperature => 300},
                                                   #{timeout => 300, progress => 10}),
    receive {beamline, Ref, {progress, #{step := Step, temperature := T}}} -> ?assert(Step > 0 andalso T > 0)
    after 5000 -> error(no_progress)
    end,
    ?assertEqual({error, timeout}, ended(Ref)).

cancelled() ->
    {ok, Ref} = beamline_crystal:submit_trajectory(crystal(2), ?SILICON, #{steps => 1 bsl 60}, #{}),
    _ = beamline_runtime:cancel(Ref),
    ?assertEqual({error, cancelled}, ended(Ref)).

ended(Ref) ->
    receive
        {beamline, Ref, {progress, _}} -> ended(Ref);
        {beamline, Ref, Answer} -> Answer
    after 5000 -> error(no_answer)
    end.

refused() ->
    Refused = fun(Options) -> {error, {invalid, #{field := Field}}} = beamline_crystal:trajectory(crystal(1), ?SILICON, Options), Field end,
    ?assertEqual(dt, Refused(#{dt => 0})),
    ?assertEqual(dt, Refused(#{dt => 500, steps => 10, temperature => 1000})),
    ?assertEqual(temperature, Refused(#{temperature => -1})),
    ?assertEqual(steps, Refused(#{steps => -1})),
    ?assertMatch({error, {invalid, _}}, beamline_crystal:trajectory(crystal(1), ?SILICON, #{step => 1})).
