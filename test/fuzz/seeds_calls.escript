#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% Writes seeds for fuzz_calls, a call of each operation: seeds_calls.escript DIR

main([Dir]) ->
    ok = filelib:ensure_dir(filename:join(Dir, "any")),
    [ok = file:write_file(filename:join(Dir, atom_to_list(Op) ++ integer_to_list(N)), term_to_binary({Op, Args}))
     || {N, {Op, Args}} <- lists:zip(lists:seq(1, length(calls())), calls())],
    %% Choices: each operation with different first bytes behind it.
    [ok = file:write_file(filename:join(Dir, io_lib:format("choices~2..0b~2..0b", [Op, N])), [Op, N, choices(N)])
     || Op <- lists:seq(0, 24), N <- [0, 1, 3]];
main(_) ->
    io:format(standard_error, "usage: seeds_calls.escript DIR~n", []),
    halt(2).

choices(N) -> [(I * 37 * N + I div 3) rem 251 || I <- lists:seq(1, 200)].

calls() ->
    Both = #{structure => silicon(), potential => #{type => stillinger_weber, parameters => silicon}},
    Pairs = Both#{potential => #{type => lennard_jones, shift => true,
                                 pairs => [#{species => {<<"Si">>, <<"Si">>}, epsilon => 0.1, sigma => 2.1, cutoff => 5}]}},
    [{crystal_parse, #{data => <<"Si2\n-40\n0 .5 .5\n.5 0 .5\n.5 .5 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n">>,
                       format => auto, species => [<<"Si">>], name => <<"POSCAR">>, max_atoms => 100}},
     {crystal_write, #{structures => [silicon(), silicon()], format => extxyz}},
     {crystal_write, #{structures => [silicon()], format => cif, symmetry => true}},
     {crystal_symmetry, #{structure => silicon(), symprec => 1.0e-3}},
     {crystal_cell, #{structure => silicon(), kind => niggli}},
     {crystal_prototype, #{prototype => rutile, elements => [<<"Ti">>, <<"O">>], a => 4.59, c_over_a => 0.644, u => 0.305}},
     {crystal_expand, #{structure => silicon(), setting => <<"F d -3 m:1">>}},
     {crystal_expand, #{structure => silicon(), setting => [<<"x,y,z">>, <<"-x,y,-z+1/2">>], tolerance => 0.1}},
     {crystal_supercell, #{structure => silicon(), matrix => {{1, 1, 0}, {0, 2, 0}, {0, 0, -1}}}},
     {crystal_match, #{structure => silicon(), other => silicon(), tolerance => 0.2, strain_tolerance => 0.05, mirror => true}},
     {crystal_energy, Pairs#{forces => true, virial => true, atom_energies => true}},
     {crystal_neighbours, #{structure => silicon(), cutoff => 3.0}},
     {crystal_relax, Both#{level => default, method => lbfgs, max_steps => 30, pressure => 1, cell => [xx, yy]}},
     {crystal_relax_batch, Pairs#{structures => [silicon(), silicon()], level => fast, max_steps => 30}},
     {crystal_elastic, Both#{strain => 1.0e-4, max_steps => 100, clamped_only => false}},
     {crystal_verify, Both#{elastic => true, fmax => 100, smax => 5.0, energy_before => 0, reference_energy => -4.3}},
     {crystal_trajectory, Both#{steps => 10, dt => 1, temperature => 300, seed => 7}}].

silicon() ->
    Positions = [0.1, 0, 0, 0, 2.7, 2.7, 2.7, 0, 2.7, 2.7, 2.7, 0, 1.3, 1.35, 1.35, 1.35, 4, 4, 4, 1.35, 4, 4, 4, 1.35],
    #{cell => {{5.431, 0, 0}, {0, 5.431, 0}, {0, 0, 5.431}}, pbc => {true, true, true}, species => [<<"Si">>],
      types => <<0:256>>, positions => << <<X:64/float-little>> || X <- Positions >>, fixed => <<7, 0:56>>,
      info => #{<<"a">> => [1, 2.5], <<"b">> => <<"text">>},
      columns => #{<<"tag">> => #{type => boolean, width => 1, data => <<0, 1, 0:48>>}}, mine => {7, <<"seven">>}}.
