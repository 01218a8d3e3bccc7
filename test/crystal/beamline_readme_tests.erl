%% SPDX-License-Identifier: Apache-2.0
-module(beamline_readme_tests).
-include_lib("eunit/include/eunit.hrl").

the_example_of_the_readme_works_test() ->
    beamline_test:start(),
    {ok, File} = file:read_file(beamline_test:source_file("priv/examples/si_vacancy.poscar")),
    {ok, #{structures := [Silicon]}} = beamline_crystal:parse(File),
    Potential = #{type => stillinger_weber, parameters => silicon},
    {ok, Relaxed} = beamline_crystal:relax(Silicon, Potential, #{fmax => 1.0e-3}, #{timeout => 5_000}),
    ?assertMatch(#{reason := converged, max_force := F} when F =< 1.0e-3, Relaxed).
