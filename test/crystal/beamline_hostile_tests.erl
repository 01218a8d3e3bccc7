%% SPDX-License-Identifier: Apache-2.0
%%
%% Inputs that were found to hold threads or to end the node.
-module(beamline_hostile_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SILICON, #{type => stillinger_weber, parameters => silicon}).

cube(N, Edge) ->
    _ = rand:seed(exsss, 1),
    #{
        cell => {{Edge, 0.0, 0.0}, {0.0, Edge, 0.0}, {0.0, 0.0, Edge}},
        pbc => {true, true, true},
        species => [<<"Si">>],
        types => binary:copy(<<0:32>>, N),
        positions => << <<(Edge * rand:uniform()):64/float-little>> || _ <- lists:seq(1, 3 * N) >>
    }.

a_cluster_too_dense_for_three_body_terms_is_refused_soon_test() ->
    beamline_test:start(),
    ?assertMatch(
        {error, {limit, #{what := neighbours_per_atom}}},
        beamline_crystal:energy(cube(1000, 2.0), ?SILICON, #{}, #{timeout => 5_000})
    ).

too_many_species_are_refused_test() ->
    beamline_test:start(),
    Structure = (cube(2, 5.0))#{species => [integer_to_binary(N) || N <- lists:seq(1, 100_001)]},
    ?assertMatch({error, {limit, #{what := species}}}, beamline_crystal:energy(Structure, ?SILICON, #{}, #{timeout => 5_000})).

a_file_with_many_remarks_is_read_test() ->
    beamline_test:start(),
    Remarks = [[" k", integer_to_binary(N), "=1"] || N <- lists:seq(1, 200)],
    Xyz = iolist_to_binary(["1\nLattice=\"5 0 0 0 5 0 0 0 5\" Properties=species:S:1:pos:R:3", Remarks, "\nSi 0 0 0\n"]),
    {ok, #{structures := [#{info := Info}]}} = beamline_crystal:parse(Xyz),
    ?assertEqual(200, map_size(Info)).
