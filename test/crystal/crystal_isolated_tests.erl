%% SPDX-License-Identifier: Apache-2.0
%%
%% Every operation of the part gives the same answer in a process of the operating system as in the VM.
-module(crystal_isolated_tests).

-include_lib("eunit/include/eunit.hrl").

every_operation_answers_the_same_in_either_place_test_() ->
    {timeout, 120, fun() ->
        beamline_test:start(),
        {ok, Isolated} = beamline_runtime:start_link(#{name => crystal_isolated, isolation => os_process, threads => 1}),
        Requests = requests(),
        Known = [Op || Op <- beamline_runtime:operations(Isolated), lists:prefix("crystal_", atom_to_list(Op))],
        ?assertEqual(lists:usort(Known), lists:usort([Op || {Op, _} <- Requests])),
        [?assertEqual({Op, beamline_runtime:call(beamline_runtime, Op, Arguments, #{})},
                      {Op, beamline_runtime:call(Isolated, Op, Arguments, #{})}) || {Op, Arguments} <- Requests],
        ok = gen_server:stop(Isolated)
    end}.

%% Good ones and bad ones.
requests() ->
    Cif = <<"data_bad\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nSi 0 0 0\n"
            "data_si\n_cell_length_a 5.5\n_cell_length_b 5.5\n_cell_length_c 5.5\n_space_group_name_H-M_alt 'F d -3 m :1'\n"
            "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nSi 0 0 0\n">>,
    {ok, #{structures := [Si], refused := [_]}} = beamline_crystal:parse(Cif),
    Rattled = beamline_crystal:rattle(0.05, 1, Si),
    One = beamline_crystal:new(#{cell => {{4, 0, 0}, {0, 4, 0}, {0, 0, 4}}, atoms => [{<<"Cu">>, {0, 0, 0}}]}),
    S = #{structure => Rattled, potential => #{type => stillinger_weber, parameters => silicon}},
    Good = [
        {crystal_parse, #{data => Cif}},
        {crystal_parse, #{data => zlib:gzip(Cif)}},
        {crystal_write, #{structures => [Si], format => cif, symmetry => true}},
        {crystal_write, #{structures => [Rattled], format => lammps}},
        {crystal_write, #{structures => [Rattled], format => extxyz, compressed => true}},
        {crystal_symmetry, #{structure => Si}},
        {crystal_cell, #{structure => Si, kind => niggli}},
        {crystal_match, #{structure => Si, other => Rattled}},
        {crystal_prototype, #{prototype => rutile, elements => [<<"Ti">>, <<"O">>], a => 4.59}},
        {crystal_expand, #{structure => One, setting => <<"F m -3 m">>}},
        {crystal_supercell, #{structure => Si, matrix => {{1, 1, 0}, {0, 1, 0}, {0, 0, 2}}}},
        {crystal_neighbours, #{structure => Rattled, cutoff => 3.0}},
        {crystal_energy, S},
        {crystal_relax, S},
        {crystal_relax_batch, maps:remove(structure, S#{structures => [Si, Rattled, One]})},
        {crystal_trajectory, S#{steps => 20, temperature => 300}},
        {crystal_verify, S#{elastic => true}},
        {crystal_elastic, S}
    ],
    Good ++ [{Op, #{}} || {Op, _} <- Good] ++ [{Op, maps:map(fun(_, _) -> bad end, Arguments)} || {Op, Arguments} <- Good].
