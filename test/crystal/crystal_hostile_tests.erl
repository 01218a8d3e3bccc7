%% SPDX-License-Identifier: Apache-2.0
%% Structures, numbers and files that make no sense, against every operation: a typed error, or an answer that says so, soon,
%% and nothing else happens.
-module(crystal_hostile_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SILICON, #{type => stillinger_weber, parameters => silicon}).
-define(LJ, #{type => lennard_jones, epsilon => 1, sigma => 2, cutoff => 5}).

all_test_() ->
    {setup, fun beamline_test:start/0, [
        {timeout, 120, {"every operation answers every hostile structure", fun every_operation/0}},
        {timeout, 60, {"an improper list is refused wherever a list belongs", fun improper/0}},
        {timeout, 60, {"huge cut-offs are refused with what was asked", fun cutoffs/0}},
        {timeout, 60, {"more atoms than allowed are refused before they are made", fun atoms/0}},
        {timeout, 60, {"compressed files that grow without end are a limit", fun bombs/0}},
        {timeout, 60, {"atoms that are there in part are not taken for whole ones", fun in_part/0}},
        {timeout, 60, {"a memory limit is an error of each operation", fun memory/0}},
        {timeout, 60, {"whatever goes wrong, the committed version stands", fun committed/0}},
        {timeout, 60, {"configurations of any kind are an answer", fun configurations/0}}
    ]}.

crystal() ->
    {ok, S} = beamline_crystal:prototype(diamond, [<<"Si">>], #{a => 5.431}),
    S.

%%% What is wrong with a structure; all are maps of the right form.
hostile() ->
    S = #{positions := <<X:8/binary, Rest/binary>> = Positions} = crystal(),
    Double = fun(Bits) -> S#{positions := <<Bits:64/little, Rest/binary>>} end,
    Half = byte_size(Positions) div 2,
    <<First:Half/binary, _/binary>> = Positions,
    [{overlapping, S#{positions := <<First/binary, First/binary>>}},
     {nearly_overlapping, S#{positions := <<(1.0e-9):64/float-little, 0:128, 0:192, (binary:part(Positions, 48, 144))/binary>>}},
     {nan, Double(16#7FF8000000000000)},
     {infinity, Double(16#7FF0000000000000)},
     {far_away, Double(binary:decode_unsigned(<<1.0e300/float>>))},
     {flat, S#{cell := {{5.0, 0.0, 0.0}, {0.0, 5.0, 0.0}, {5.0, 5.0, 0.0}}}},
     {no_volume, S#{cell := {{0.0, 0.0, 0.0}, {0.0, 5.0, 0.0}, {0.0, 0.0, 5.0}}}},
     {nearly_flat, S#{cell := {{5.0, 0.0, 0.0}, {0.0, 5.0, 0.0}, {0.0, 0.0, 1.0e-9}}}},
     {huge_cell, S#{cell := {{1.0e300, 0.0, 0.0}, {0.0, 1.0e300, 0.0}, {0.0, 0.0, 1.0e300}}}},
     {tiny_cell, S#{cell := {{1.0e-3, 0.0, 0.0}, {0.0, 1.0e-3, 0.0}, {0.0, 0.0, 1.0e-3}}}},
     {short_types, S#{types := <<0:32>>}},
     {types_out_of_range, S#{types := binary:copy(<<7:32/little>>, 8)}},
     {unknown_species, S#{species := [<<"Qq">>]}},
     {same_species_twice, S#{species := [<<"Si">>, <<"Si">>]}},
     {odd_positions, S#{positions := X}}].

operations() ->
    Task = #{timeout => 10_000, memory_limit => 1 bsl 30},
    [{energy, fun(S) -> beamline_crystal:energy(S, ?SILICON, #{}, Task) end},
     {energy_lj, fun(S) -> beamline_crystal:energy(S, ?LJ, #{}, Task) end},
     {neighbours, fun(S) -> beamline_crystal:neighbours(S, 5.0, Task) end},
     {relax, fun(S) -> beamline_crystal:relax(S, ?SILICON, #{max_steps => 50}, Task) end},
     {relax_batch, fun(S) -> beamline_crystal:relax_batch([S], ?SILICON, #{max_steps => 50}, Task) end},
     {trajectory, fun(S) -> beamline_crystal:trajectory(S, ?SILICON, #{steps => 5, temperature => 300}, Task) end},
     {elastic, fun(S) -> beamline_crystal:elastic(S, ?SILICON, #{max_steps => 50}, Task) end},
     {verify, fun(S) -> beamline_crystal:verify(S, ?SILICON, #{elastic => true}, Task) end},
     {match, fun(S) -> beamline_crystal:match(S, crystal(), #{}, Task) end},
     {symmetry, fun(S) -> beamline_crystal:symmetry(S, #{}, Task) end},
     {supercell, fun(S) -> beamline_crystal:supercell(2, S, Task) end},
     {expand, fun(S) -> beamline_crystal:expand(<<"P -1">>, S) end},
     {write, fun(S) -> beamline_crystal:write([S], extxyz, #{}, Task) end}].

improper() ->
    S = crystal(),
    Pair = #{species => {<<"Si">>, <<"Si">>}, epsilon => 1, sigma => 2, cutoff => 5},
    [?assertMatch({Name, {error, {invalid, _}}}, {Name, Answer}) || {Name, Answer} <- [
        {write, beamline_crystal:write([S | none], extxyz)}, {write_one, beamline_crystal:write([S | none], poscar)},
        {relax_batch, beamline_crystal:relax_batch([S | none], ?LJ)}, {pairs, beamline_crystal:energy(S, (?LJ)#{pairs => [Pair | none]})},
        {species, beamline_crystal:energy(S#{species := [<<"Si">> | none]}, ?LJ)},
        {labels, beamline_crystal:energy(S#{labels => [<<"Si1">> | none], sites => binary:copy(<<0:32>>, 8)}, ?LJ)},
        {symmetry, beamline_crystal:energy(S#{symmetry => #{operations => [<<"x,y,z">> | none]}}, ?LJ)},
        {info, beamline_crystal:energy(S#{info => #{<<"a">> => [1 | none]}}, ?LJ)},
        {cell, beamline_crystal:relax(S, ?LJ, #{cell => [xx | none]})},
        {stress, beamline_crystal:relax(S, ?LJ, #{stress => [1, 1, 1, 0, 0, 0 | no]})},
        {operations, beamline_crystal:expand([<<"x,y,z">> | none], S)},
        {parse, beamline_crystal:parse(<<"x\n">>, #{species => [<<"Si">> | none]})},
        {elements, beamline_crystal:prototype(fcc, [<<"Cu">> | none], #{a => 3.6})}]].

every_operation() ->
    [answered(Operation, Kind, Run(S)) || {Operation, Run} <- operations(), {Kind, S} <- hostile()],
    beamline_test:eventually(fun() -> maps:get(running, beamline_runtime:info()) =:= 0 end).

answered(_, _, {ok, _}) -> ok; %% an answer: what it says is told by the other tests
answered(_, _, {error, {Class, #{} = Details}}) when Class =:= invalid; Class =:= limit; Class =:= syntax ->
    ?assert(map_size(Details) > 0);
answered(_, _, {error, {unsupported, spglib}}) -> ok;
answered(Operation, Kind, Other) -> error({Operation, Kind, Other}).

cutoffs() ->
    [?assertMatch({error, {limit, #{what := _, limit := _, asked := _}}}, Answer)
     || Cutoff <- [1.0e3, 1.0e6, 1.0e300],
        Answer <- [beamline_crystal:neighbours(crystal(), Cutoff, #{memory_limit => 1 bsl 28}),
                   beamline_crystal:energy(crystal(), ?LJ#{cutoff => Cutoff}, #{}, #{memory_limit => 1 bsl 28})]].

atoms() ->
    ?assertMatch({error, {limit, #{what := atoms}}}, beamline_crystal:supercell(108, crystal())), % ten million
    [?assertMatch({error, {Class, _}} when Class =:= syntax; Class =:= limit, beamline_crystal:parse(File, #{format => Format}))
     || {Format, File} <- [
         {extxyz, <<"10000000\n\nSi 0 0 0\n">>},
         {poscar, <<"Si\n1\n9 0 0\n0 9 0\n0 0 9\nSi\n10000000\nDirect\n0 0 0\n">>},
         {lammps, <<"lammps\n\n10000000 atoms\n1 atom types\n\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi\n\n"
                    "Masses\n\n1 28.0855\n\nAtoms # atomic\n\n1 1 0 0 0\n">>}]],
    Small = #{max_atoms => 4},
    {ok, Xyz} = beamline_crystal:write([crystal()], extxyz),
    ?assertMatch({error, {limit, #{what := atoms}}}, beamline_crystal:parse(Xyz, Small)).

bombs() ->
    Bomb = zlib:gzip(binary:copy(<<"Si 0 0 0\n">>, 20_000_000)),
    ?assert(byte_size(Bomb) < 1_000_000),
    [?assertMatch({error, {limit, _}}, beamline_crystal:parse(Bomb, Options, Task))
     || {Options, Task} <- [{#{max_inflated => 1_000_000}, #{}}, {#{}, #{memory_limit => 1 bsl 24}}]].

%% A disordered crystal has no one energy, and files without occupancies cannot hold it.
in_part() ->
    S = #{positions := Positions} = crystal(),
    Half = S#{occupancies => binary:copy(<<0.5:64/float-little>>, byte_size(Positions) div 24)},
    Computes = [energy, energy_lj, relax, trajectory, elastic, verify],
    [?assertMatch({_, {error, {invalid, #{field := occupancies}}}}, {Name, Run(Half)})
     || {Name, Run} <- operations(), lists:member(Name, Computes)],
    ?assertMatch({ok, #{failed := 1, results := [{error, {invalid, #{field := occupancies}}}, {ok, _}]}},
                 beamline_crystal:relax_batch([Half, S], ?SILICON)),
    [?assertMatch({error, {invalid, #{field := occupancies}}}, beamline_crystal:write([Half], Format)) || Format <- [poscar, lammps]],
    [begin
        {ok, File} = beamline_crystal:write([Half], Format),
        {ok, #{structures := [#{occupancies := Read}]}} = beamline_crystal:parse(File),
        ?assertEqual(maps:get(occupancies, Half), Read)
     end || Format <- [cif, extxyz]],
    ?assertNotEqual(beamline_crystal_version:hash(S), beamline_crystal_version:hash(Half)).

memory() ->
    {ok, Big} = beamline_crystal:supercell(12, crystal()),
    Task = #{memory_limit => 1_000_000},
    [?assertMatch({_, {error, {limit, #{}}}}, {Name, Answer}) || {Name, Answer} <- [
        {energy, beamline_crystal:energy(Big, ?SILICON, #{}, Task)},
        {neighbours, beamline_crystal:neighbours(Big, 5.0, Task)},
        {relax, beamline_crystal:relax(Big, ?SILICON, #{}, Task)},
        {trajectory, beamline_crystal:trajectory(Big, ?SILICON, #{}, Task)},
        {elastic, beamline_crystal:elastic(Big, ?SILICON, #{}, Task)},
        {verify, beamline_crystal:verify(Big, ?SILICON, #{}, Task)},
        {supercell, beamline_crystal:supercell(4, Big, Task)},
        {write, beamline_crystal:write([Big], extxyz, #{}, Task)}]].

committed() ->
    Options = #{relax => #{level => tight}, verify => #{elastic => false}},
    Good = beamline_crystal_version:run(beamline_crystal_version:new(crystal()), ?SILICON, Options),
    {committed, {ok, Committed}} = {beamline_crystal_version:state(Good), beamline_crystal_version:committed(Good)},
    [begin
        History = beamline_crystal_version:run(beamline_crystal_version:generated(S, Good), ?SILICON, Options),
        ?assertEqual({Kind, rolled_back}, {Kind, beamline_crystal_version:state(History)}),
        ?assertEqual({ok, Committed}, beamline_crystal_version:committed(History)),
        ?assertEqual(maps:get(structure, Committed), beamline_crystal_version:structure(History))
     end || {Kind, S} <- hostile(), Kind =/= nearly_overlapping]. % those come apart again

configurations() ->
    [begin
        ?assertMatch({Tag, _} when Tag =:= ok; Tag =:= error, beamline_crystal:config(Config)),
        ?assertMatch({Tag, _} when Tag =:= ok; Tag =:= error, beamline_crystal:pattern(Config)),
        ?assertMatch({Tag, _} when Tag =:= ok; Tag =:= error, beamline_crystal:pattern(<<"Si">>, Config))
     end || Config <- [#{Key => Value} || Key <- [system_type, optimization_level, stability_threshold, max_nodes, pattern_type, spacing,
                                                  scale, rotation, symmetry, fold, count, other, 7, <<"count">>],
                                          Value <- [0, -1, 1, 5, 1 bsl 70, 1.0e300, -0.0, <<>>, nope, cubic, fcc, {1, 2, 3},
                                                    {0, 0}, [1, 2], #{}]]].
