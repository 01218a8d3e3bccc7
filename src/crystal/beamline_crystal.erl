%% SPDX-License-Identifier: Apache-2.0
%% @doc Crystal structures: their files, energies, relaxation, gates.
%%
%% A structure is a map of numbers and binaries ({@type structure()}): immutable, shared
%% without copying, sent anywhere. The functions here are its constructors and accessors;
%% nobody else needs to take the binaries apart. What computes runs as a task of
%% {@link beamline_runtime}: the caller's scheduler is never held, every call has a deadline.
%%
%% Units: angstrom, eV, amu, GPa; velocities angstrom/fs.
%%
%% ```
%% {ok, File} = file:read_file("priv/examples/si_vacancy.poscar"),
%% {ok, #{structures := [Si]}} = beamline_crystal:parse(File),
%% Potential = #{type => stillinger_weber, parameters => silicon},
%% {ok, #{structure := Relaxed, energy := E}} = beamline_crystal:relax(Si, Potential),
%% {ok, Poscar} = beamline_crystal:write([Relaxed], poscar).
%% '''
%% Errors of all functions that compute are those of {@link beamline_runtime}, and
%% `{syntax, #{line, column, expected}}', `{invalid, #{field, why}}',
%% `{limit, #{what, limit, asked}}', `{unsupported, What}'.
-module(beamline_crystal).

-export([new/1, number_of_atoms/1, species/1, symbols/1, formula/1, positions/1, forces/1, cell/1, volume/1]).
-export([distance/3, vector/3, distance_between/3, fixed/1, fix/2]).
-export([parse/1, parse/2, parse/3, write/2, write/3, write/4]).
-export([symmetry/1, symmetry/2, symmetry/3, standard_cell/2, standard_cell/4, match/2, match/3, match/4]).
-export([prototype/3, prototype/4, prototypes/0, expand/2, expand/4, supercell/2, supercell/3]).
-export([transform/2, wrap/1, sort/2, delete/2, substitute/3, merge/2, rattle/3, config/1, pattern/1, pattern/2]).
-export([energy/2, energy/3, energy/4, neighbours/2, neighbours/3, potentials/0, potentials/1]).
-export([relax/2, relax/3, relax/4, relax_batch/2, relax_batch/3, relax_batch/4]).
-export([trajectory/2, trajectory/3, trajectory/4, submit_trajectory/4]).
-export([verify/2, verify/3, verify/4, aims/2, elastic/2, elastic/3, elastic/4]).
-export([submit_parse/3, submit_relax/4, submit_relax_batch/4, submit_verify/4, submit_elastic/4, submit_energy/4]).

-export_type([structure/0, column/0, symbol/0, vector/0, potential/0, lj_pair/0, morse_pair/0, sutton_chen_element/0, sw_parameters/0]).
-export_type([format/0, parse_options/0, write_options/0, energy_options/0, relax_options/0, verify_options/0]).
-export_type([report/0, refusal/0, symmetry/0, found_symmetry/0, prototype_parameters/0]).
-export_type([parsed/0, energies/0, neighbours/0, relaxed/0, batch/0, verified/0, gate/0]).
-export_type([trajectory_options/0, trajectory/0]).
-export_type([elastic_options/0, elastic/0, strain/0, match_options/0, match/0]).

%% 1 eV per cubic angstrom in GPa.
-define(GPA, 160.2176634).

-type symbol() :: binary().
%% An element, or any name of 1 to 15 bytes.

-type vector() :: {X :: float(), Y :: float(), Z :: float()}.

-type structure() :: #{
    %% rows a, b, c in angstrom; a zero vector where there is no lattice direction
    cell := {vector(), vector(), vector()},
    pbc := {boolean(), boolean(), boolean()},
    %% all different
    species := [symbol()],
    %% per atom uint32, little-endian: index into species, from 0
    types := binary(),
    %% 3 per atom float64, little-endian: Cartesian, angstrom; may lie outside the cell
    positions := binary(),
    %% 3 per atom float64: angstrom/fs
    velocities => binary(),
    %% 3 per atom float64: eV/angstrom
    forces => binary(),
    %% per atom float64: amu
    masses => binary(),
    %% per atom float64: elementary charges
    charges => binary(),
    %% per atom one byte: the sum of 1 (x), 2 (y), 4 (z) for the axes that must not move
    fixed => binary(),
    %% per atom float64: how much of the site its atom takes; without it all are whole
    occupancies => binary(),
    %% per atom uint32: index into labels, the row of the file that an atom came from
    sites => binary(),
    labels => [binary()],
    %% what the file said; changes of the atoms may break it
    symmetry => symmetry(),
    %% remarks of the file
    info => #{binary() => binary() | boolean() | number() | [number() | boolean()] | [[number() | boolean()]]},
    %% per-atom quantities without a key of their own
    columns => #{binary() => column()},
    %% keys the engine does not know are carried through untouched
    atom() => term()
}.

-type column() :: #{type := real | integer | boolean, width := pos_integer(), data := binary()}.

-type potential() ::
    %% 4 epsilon [(sigma/r)^12 - (sigma/r)^6] below the cut-off; `shift' subtracts the energy
    %% there; `pairs' overrides the general numbers for the species it names
    #{
        type := lennard_jones,
        epsilon => number(),
        sigma => number(),
        cutoff => number(),
        shift => boolean(),
        pairs => [lj_pair()]
    }
    %% `silicon' is the original parametrisation, epsilon = 2.1683 eV; a map is for one species; `table' is
    %% a .sw file
    | #{type := stillinger_weber, parameters := silicon | sw_parameters()}
    | #{type := stillinger_weber, table := binary()}
    %% depth [exp(-2 alpha (r - r0)) - 2 exp(-alpha (r - r0))] below the cut-off
    | #{
        type := morse,
        depth => number(),
        alpha => number(),
        r0 => number(),
        cutoff => number(),
        shift => boolean(),
        pairs => [morse_pair()]
    }
    %% 16 metals, each alone; cut-off r0 + 9.2/alpha if not given
    | #{type := morse, parameters := girifalco_weizer, cutoff => number(), shift => boolean()}
    %% ten metals, built in, and their mixtures; cut-off 2.64 times the largest a if not given
    | #{type := sutton_chen, parameters => sutton_chen | [sutton_chen_element()], cutoff => number()}
    %% files of tables; several for funcfl, one for each element
    | #{type := eam, format := setfl | funcfl | finnis_sinclair, table := binary() | [binary()]}
    %% Si of 1988; C, Si, Ge, Si-C and Si-Ge of 1989; or a .tersoff file
    | #{type := tersoff, parameters := silicon | silicon_carbide_germanium}
    | #{type := tersoff, table := binary()}.

-type lj_pair() :: #{species := {symbol(), symbol()}, epsilon := number(), sigma := number(), cutoff := number()}.

-type morse_pair() :: #{species := {symbol(), symbol()}, depth := number(), alpha := number(), r0 := number(), cutoff := number()}.

-type sutton_chen_element() :: #{species := symbol(), epsilon := number(), a := number(), c := number(), n := number(), m := number()}.

-type sw_parameters() :: #{
    epsilon := number(),
    sigma := number(),
    a := number(),
    lambda := number(),
    gamma := number(),
    cos_theta0 := number(),
    a_coefficient := number(),
    b_coefficient := number(),
    p := number(),
    q := number()
}.

-type format() :: poscar | extxyz | cif | lammps.

-type parse_options() :: #{
    %% default `auto'
    format => auto | format(),
    %% the file's name, where its content does not tell the format
    name => binary(),
    %% the species of a VASP 4 file without symbols, one for each count; of a LAMMPS file, one for each type
    species => [symbol()],
    %% CIF: the setting when the file leaves it open, as Hermann-Mauguin or Hall symbol or number;
    %% wins over what the file says, so `<<"P 1">>' takes the atoms as they are listed
    setting => binary() | 1..230,
    %% CIF: only the block of this name
    block => binary(),
    %% LAMMPS: atomic, charge, bond, angle, molecular or full
    atom_style => binary(),
    %% bytes that a compressed file may grow to; default 1 GiB; can only be lowered
    max_inflated => non_neg_integer(),
    %% default 8 Mi; can only be lowered
    max_atoms => non_neg_integer(),
    %% default 100,000; can only be lowered
    max_frames => non_neg_integer()
}.

-type parsed() :: #{
    format := format(),
    structures := [structure()],
    %% what was assumed because the file does not say it
    warnings := [binary()],
    %% CIF: one for each structure
    reports => [report()],
    %% CIF: the blocks with atoms that could not be built, where others could
    refused => [refusal()]
}.

-type refusal() :: #{
    block := binary(),
    %% where the block begins
    line := pos_integer(),
    %% as the file would be refused if it had no other block
    reason := beamline_runtime:reason()
}.

-type report() :: #{
    block := binary(),
    symmetry_from := none | option | operations | magnetic | hall | name | number | refused,
    %% atoms in the file
    rows := non_neg_integer(),
    %% distinct ones in the cell, whatever the elements on them
    positions := non_neg_integer(),
    %% sum over the atoms of the cell
    occupancy := float(),
    %% Z times the atoms of the formula, where the file has both
    expected_occupancy => float()
}.

-type symmetry() :: #{
    number => 1..230,
    %% Hermann-Mauguin and Hall symbol
    name => binary(),
    hall => binary(),
    %% like <<"-x,y+1/2,-z">>
    operations := [binary()]
}.

-type write_options() :: #{
    %% POSCAR: Cartesian positions; default false (Direct)
    cartesian => boolean(),
    %% POSCAR, LAMMPS: the first line; default: the comment in `info', or the formula
    comment => binary(),
    %% with gzip; default false
    compressed => boolean(),
    %% CIF: one atom of each orbit with the operations of the structure's symmetry, where its atoms still
    %% have it; default false (P 1)
    symmetry => boolean()
}.

-type found_symmetry() :: #{
    number := 1..230,
    %% of spglib's 530 settings
    hall_number := 1..530,
    name := binary(),
    hall := binary(),
    choice := binary(),
    point_group := binary(),
    %% a letter for each atom
    wyckoff := binary(),
    %% per atom uint32: the first atom of its orbit, from 0
    equivalent := binary(),
    %% the operations in the cell as given
    symmetry := symmetry(),
    %% x_standard = transformation x + origin_shift
    transformation := {vector(), vector(), vector()},
    origin_shift := vector()
}.

-type prototype_parameters() :: #{a := number(), c => number(), c_over_a => number(), u => number()}.
%% angstrom; c or c/a of tetragonal and hexagonal ones, and the free coordinate, have usual values.

-type energy_options() :: #{
    %% default true
    forces => boolean(),
    %% default true
    virial => boolean(),
    %% default false
    atom_energies => boolean()
}.

-type energies() :: #{
    %% eV, of the cell
    energy := float(),
    %% which compiled path computed it
    code_path := avx2 | portable,
    %% 3 per atom float64, little-endian: eV/angstrom
    forces => binary(),
    %% eV: xx yy zz yz xz xy
    virial => [float()],
    %% minus virial over volume, positive = under tension; where all directions are periodic
    stress_gpa => [float()],
    pressure_gpa => float(),
    %% per atom float64: eV
    atom_energies => binary()
}.

-type neighbours() :: #{
    pairs := non_neg_integer(),
    %% atoms + 1 uint64: row i is first(i) .. first(i + 1) - 1
    first := binary(),
    %% uint32 per pair: the other atom, from 0
    other := binary(),
    %% 3 int32 per pair: cells added to the other atom
    shift := binary(),
    %% 3 float64 per pair: from the atom to the other
    vector := binary()
}.

-type relax_options() :: #{
    %% `none': only forces; `fast': FIRE at fixed cell to 0.05 eV/angstrom, 500 force calls;
    %% `default': FIRE, then L-BFGS, atoms and cell, to 0.01 eV/angstrom and 0.1 GPa, 20,000 force calls;
    %% `tight': L-BFGS, atoms and cell, to 1.0e-4 eV/angstrom and 0.01 GPa. `search': unsupported.
    level => none | fast | default | tight | search,
    %% default `auto': what the level says
    method => auto | fire | lbfgs | cg,
    %% `isotropic' keeps the shape; a list names the strains that are free. Default: free at the levels
    %% `default' and `tight' where all directions are periodic, else fixed
    cell => fixed | free | isotropic | [strain()],
    %% GPa, the target: what is minimised is the enthalpy
    pressure => number(),
    %% GPa, instead of a pressure: xx, yy, zz, yz, xz, xy, positive under tension
    stress => [number()],
    %% GPa, largest component of stress beside the target
    smax => number(),
    %% eV/angstrom, largest force on an atom
    fmax => number(),
    %% force calls
    max_steps => pos_integer(),
    %% angstrom an axis may move in one step; default: a tenth of the potential's length
    max_move => number()
}.

-type relaxed() :: #{
    structure := structure(),
    energy := float(),
    energy_before := float(),
    %% eV/angstrom, fixed axes left out
    max_force := float(),
    max_force_before := float(),
    %% force calls
    steps := pos_integer(),
    converged := boolean(),
    reason := converged | max_steps | stagnated | diverged | not_run,
    %% the cell was free to change
    cell_relaxed := boolean(),
    %% GPa, beside the target, of the components that were free
    max_stress => float(),
    %% eV, E + P V, with a target
    enthalpy => float(),
    enthalpy_before => float(),
    code_path := avx2 | portable,
    virial := [float()],
    stress_gpa => [float()],
    pressure_gpa => float()
}.

-type trajectory_options() :: #{
    %% default 1,000
    steps => non_neg_integer(),
    %% fs, default 1
    dt => number(),
    %% kelvin: velocities are drawn for it; default: those of the structure, at rest where it has none
    temperature => number(),
    %% of the drawing: the same seed, the same velocities; default 1
    seed => non_neg_integer(),
    %% steps between looks at the energy, for `drift'; default 100; 0: at the ends only
    energy_every => non_neg_integer()
}.

-type trajectory() :: #{
    %% with positions (not wrapped), velocities and forces of the end
    structure := structure(),
    steps := non_neg_integer(),
    %% fs
    time := float(),
    %% eV, potential
    energy := float(),
    energy_before := float(),
    kinetic_energy := float(),
    kinetic_energy_before := float(),
    %% eV: the largest difference of the sum of both from the first, where it was looked at
    drift := float(),
    %% kelvin, at the end
    temperature := float(),
    code_path := avx2 | portable,
    %% as in {@type energies()}, at the end, without the part of the velocities
    virial := [float()]
}.

-type match_options() :: #{
    %% angstrom an atom may be off; default 0.1, at most 1
    tolerance => number(),
    %% of the lattices against each other; default 0.02, at most 0.2
    strain_tolerance => number(),
    %% mirror images are equal, too; default false
    mirror => boolean()
}.

-type match() ::
    %% angstrom: root mean square and largest distance of atoms, with what each structure deviates from its own
    %% primitive cell; strain: largest component of the Green-Lagrange strain between the lattices
    #{
        equal := true,
        primitive_atoms := {pos_integer(), pos_integer()},
        rmsd := float(),
        max_distance := float(),
        strain := float()
    }
    | #{
        equal := false,
        primitive_atoms := {non_neg_integer(), non_neg_integer()},
        why := {composition | primitive_cell | volume | lattice | mirror | positions, binary()}
    }.

-type strain() :: xx | yy | zz | yz | xz | xy.

-type batch() :: #{
    %% all of them
    done := non_neg_integer(),
    failed := non_neg_integer(),
    %% one for each structure, in their order
    results := [{ok, relaxed()} | {error, beamline_runtime:reason()}]
}.

-type elastic_options() :: #{
    %% of the finite differences; default 1.0e-4
    strain => number(),
    %% atoms follow the strain and do not relax; default false
    clamped_only => boolean(),
    %% force calls for the atoms under one strain; default 5,000
    max_steps => pos_integer()
}.

-type elastic() :: #{
    %% false: `why' says why not, and there is nothing else
    known := boolean(),
    why => binary(),
    %% Born: the smallest eigenvalue is positive
    stable => boolean(),
    %% GPa, 6 x 6, Voigt order with engineering shears; with atoms that relax, and that follow the strain
    relaxed => [[float()]],
    clamped => [[float()]],
    %% GPa, of `relaxed' in Mandel's form, ascending
    eigenvalues => [float()],
    %% of `relaxed' before it was made symmetric, relative to its largest element
    asymmetry => float(),
    %% GPa, of the state they belong to
    stress_gpa => [float()],
    strain => float(),
    steps => pos_integer(),
    %% GPa; from `bulk_reuss' on only for a stable crystal
    bulk_voigt => float(),
    shear_voigt => float(),
    bulk_reuss => float(),
    shear_reuss => float(),
    bulk_hill => float(),
    shear_hill => float(),
    young => float(),
    poisson => float(),
    %% universal anisotropy index (Ranganathan and Ostoja-Starzewski 2008)
    anisotropy => float()
}.

-type verify_options() :: #{
    %% angstrom; default: half the sum of the covalent radii of each pair
    min_distance => number(),
    %% eV/angstrom; default 0.01
    fmax => number(),
    %% eV of the cell before: the energy gate asks that it did not go up
    energy_before => number(),
    %% eV it may go up; default 0
    energy_tolerance => number(),
    %% eV/atom of the best state known under the same potential
    reference_energy => number(),
    %% eV/atom allowed above it; default 0
    stability_threshold => number(),
    %% GPa: the equilibrium gate looks at the stress, too
    smax => number(),
    %% GPa, the target, as in {@type relax_options()}; energies are then E + P V
    pressure => number(),
    stress => [number()],
    %% run the elastic gate; default false. The next three are as in {@type elastic_options()}
    elastic => boolean(),
    strain => number(),
    clamped_only => boolean(),
    max_steps => pos_integer()
}.

-type gate() :: #{
    name := geometry | equilibrium | energy | elastic | dynamic | thermodynamic,
    quantity := binary(),
    unit := binary(),
    pass := boolean() | unknown,
    value => float() | infinity,
    threshold => float(),
    why => binary()
}.

-type verified() :: #{
    %% `unknown' as long as one of the gates was not run; one failure is `unstable'
    verdict := stable | metastable | unstable | unknown,
    %% geometry, equilibrium and energy all ran and passed, and no gate failed
    passed := boolean(),
    code_path := avx2 | portable,
    energy := float() | infinity,
    max_force := float() | infinity,
    %% GPa, beside the target; where all directions are periodic
    max_stress => float() | infinity,
    %% where the elastic gate ran
    elastic => elastic(),
    gates := [gate()]
}.

%%% ---- structures ----------------------------------------------------------------------

%% @doc A structure from symbols and positions.
%%
%% `pbc' is all true by default where there is a cell. Raises `badarg' on anything else.
%% ```
%% 1> Si2 = beamline_crystal:new(#{cell => {{0, 2.7155, 2.7155}, {2.7155, 0, 2.7155}, {2.7155, 2.7155, 0}},
%%                                 atoms => [{<<"Si">>, {0, 0, 0}}, {<<"Si">>, {1.35775, 1.35775, 1.35775}}]}),
%%    beamline_crystal:number_of_atoms(Si2).
%% 2
%% '''
-spec new(#{
    cell => {Row, Row, Row},
    pbc => {boolean(), boolean(), boolean()},
    atoms := [{symbol(), Row}]
}) -> structure() when Row :: {number(), number(), number()}.
new(Given) -> pure(fun() -> made(Given) end).

made(#{atoms := Atoms} = Given) ->
    [] = maps:keys(Given) -- [cell, pbc, atoms],
    {A, B, C} = maps:get(cell, Given, {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}),
    Periodic = is_map_key(cell, Given),
    {_, _, _} = Pbc = maps:get(pbc, Given, {Periodic, Periodic, Periodic}),
    true = lists:all(fun is_boolean/1, tuple_to_list(Pbc)),
    Symbols = [symbol(Atom) || Atom <- Atoms],
    Species = lists:usort(Symbols),
    Index = maps:from_list(lists:zip(Species, lists:seq(0, length(Species) - 1))),
    #{
        cell => {floats(A), floats(B), floats(C)},
        pbc => Pbc,
        species => Species,
        types => <<<<(map_get(Symbol, Index)):32/little>> || Symbol <- Symbols>>,
        positions => <<<<(place(Atom))/binary>> || Atom <- Atoms>>
    }.

symbol({Symbol, _}) when is_binary(Symbol), byte_size(Symbol) >= 1, byte_size(Symbol) =< 15 -> Symbol.

place({_, {X, Y, Z}}) -> <<X:64/float-little, Y:64/float-little, Z:64/float-little>>.

floats({X, Y, Z}) -> {X * 1.0, Y * 1.0, Z * 1.0}.

%% Of functions in which nothing but their arguments can be wrong.
pure(Change) ->
    try Change() catch error:_ -> error(badarg) end.

-spec number_of_atoms(structure()) -> non_neg_integer().
number_of_atoms(#{types := Types}) -> byte_size(Types) div 4;
number_of_atoms(_) -> error(badarg).

%% @doc The species in use, in the order of their index.
-spec species(structure()) -> [symbol()].
species(#{species := Species}) -> Species;
species(_) -> error(badarg).

%% @doc The symbol of each atom.
-spec symbols(structure()) -> [symbol()].
symbols(#{species := Species, types := Types}) ->
    Table = list_to_tuple(Species),
    [element(Type + 1, Table) || <<Type:32/little>> <= Types];
symbols(_) ->
    error(badarg).

%% @doc How many atoms of each species there are.
-spec formula(structure()) -> #{symbol() => pos_integer()}.
formula(Structure) ->
    lists:foldl(fun(Symbol, Counts) -> maps:update_with(Symbol, fun(N) -> N + 1 end, 1, Counts) end, #{}, symbols(Structure)).

%% @doc Cartesian positions in angstrom.
-spec positions(structure()) -> [vector()].
positions(#{positions := Positions}) -> vectors(Positions);
positions(_) -> error(badarg).

%% @doc Forces in eV/angstrom, or `unknown'.
-spec forces(structure()) -> [vector()] | unknown.
forces(#{forces := Forces}) -> vectors(Forces);
forces(_) -> unknown.

-spec cell(structure()) -> {vector(), vector(), vector()}.
cell(#{cell := Cell}) -> Cell;
cell(_) -> error(badarg).

%% @doc Cubic angstrom; 0 where a lattice direction is missing. A left-handed cell has a
%% volume all the same.
-spec volume(structure()) -> float().
volume(Structure) ->
    pure(fun() ->
        {A, B, C} = cell(Structure),
        abs(dot(A, cross(B, C)))
    end).

%% @doc The axes of each atom that must not move.
-spec fixed(structure()) -> [[x | y | z]].
fixed(#{fixed := Fixed}) -> [axes(Flags) || <<Flags>> <= Fixed];
fixed(Structure) -> lists:duplicate(number_of_atoms(Structure), []).

%% @doc Fixes whole atoms, numbered from 1; others keep what they have.
-spec fix([pos_integer()], structure()) -> structure().
fix(Atoms, Structure) -> pure(fun() -> fix_atoms(Atoms, Structure) end).

fix_atoms(Atoms, Structure) ->
    N = number_of_atoms(Structure),
    lists:all(fun(I) -> is_integer(I) andalso I >= 1 andalso I =< N end, Atoms) orelse error(badarg),
    Before = maps:get(fixed, Structure, binary:copy(<<0>>, N)),
    Chosen = sets:from_list(Atoms, [{version, 2}]),
    Flags = [flags(sets:is_element(I, Chosen), F) || {I, F} <- lists:zip(lists:seq(1, N), binary_to_list(Before))],
    Structure#{fixed => list_to_binary(Flags)}.

flags(true, _) -> 7;
flags(false, Before) -> Before.

axes(Flags) -> [Axis || {Bit, Axis} <- [{1, x}, {2, y}, {4, z}], Flags band Bit =/= 0].

%% @doc The shortest distance between two atoms (numbered from 1) and any of their periodic
%% images, in angstrom. For many pairs use {@link neighbours/2}.
-spec distance(pos_integer(), pos_integer(), structure()) -> float().
distance(I, J, Structure) -> norm(vector(I, J, Structure)).

%% @doc The shortest vector from atom I to atom J or one of its images.
-spec vector(pos_integer(), pos_integer(), structure()) -> vector().
vector(I, J, Structure) -> pure(fun() -> vector_in(I, J, Structure) end).

vector_in(I, J, #{positions := Positions, cell := Cell, pbc := Pbc}) ->
    D = subtract(position(J, Positions), position(I, Positions)),
    shortest(D, periodic_rows(Cell, Pbc)).

%% @doc The shortest distance between two points or any of their images in a structure's cell.
-spec distance_between(vector(), vector(), structure()) -> float().
distance_between(P, Q, Structure) ->
    pure(fun() ->
        #{cell := Cell, pbc := Pbc} = Structure,
        norm(shortest(subtract(Q, P), periodic_rows(Cell, Pbc)))
    end).

position(I, Positions) when is_integer(I), I >= 1, 24 * I =< byte_size(Positions) ->
    <<X:64/float-little, Y:64/float-little, Z:64/float-little>> = binary:part(Positions, 24 * (I - 1), 24),
    {X, Y, Z};
position(_, _) ->
    error(badarg).

periodic_rows(Cell, Pbc) -> [Row || {Row, true} <- lists:zip(tuple_to_list(Cell), tuple_to_list(Pbc))].

%% Exact in any cell: reduce the rows pairwise until they are short. Then a vector that no neighbouring cell makes shorter is the
%% shortest: all faces of the Voronoi cell belong to sums of the reduced rows with factors of -1, 0 and 1. One
%% look around is not always enough.
shortest(D, Rows) ->
    Reduced = reduce(Rows),
    Steps = lists:foldl(fun(Row, Ds) -> [add(X, scale(S, Row)) || X <- Ds, S <- [-1, 0, 1]] end, [{0.0, 0.0, 0.0}], Reduced),
    descend(lists:foldl(fun nearest/2, D, Reduced), Steps).

descend(D, Steps) ->
    case shorter(D, [add(D, Step) || Step <- Steps]) of
        D -> D;
        Shorter -> descend(Shorter, Steps)
    end.

nearest(Row, D) -> subtract(D, scale(round(dot(D, Row) / dot(Row, Row)), Row)).

reduce(Rows) ->
    Sorted = lists:sort(fun(A, B) -> dot(A, A) =< dot(B, B) end, Rows),
    case shorten_last(Sorted) of
        Sorted -> Sorted;
        Shorter -> reduce(Shorter)
    end.

%% The longest row made shorter by the others, if that is possible.
shorten_last([A, B, C]) ->
    [A1, B1] = reduce([A, B]),
    Candidates = [add(C, add(scale(I, A1), scale(J, B1))) || I <- near(C, A1), J <- near(C, B1)],
    [A1, B1, shorter(C, Candidates)];
shorten_last([A, B]) ->
    [A, shorter(B, [add(B, scale(I, A)) || I <- near(B, A)])];
shorten_last(Rows) ->
    Rows.

near(C, A) ->
    K = -round(dot(C, A) / dot(A, A)),
    [K - 1, K, K + 1].

%% Only by a real amount: rounding must not keep the reduction going.
shorter(C, Candidates) ->
    {Best, Row} = lists:min([{dot(X, X), X} || X <- Candidates]),
    case Best < dot(C, C) * (1 - 1.0e-12) of
        true -> Row;
        false -> C
    end.

vectors(Binary) -> [{X, Y, Z} || <<X:64/float-little, Y:64/float-little, Z:64/float-little>> <= Binary].

add({A, B, C}, {X, Y, Z}) -> {A + X, B + Y, C + Z}.
subtract({A, B, C}, {X, Y, Z}) -> {A - X, B - Y, C - Z}.
scale(S, {X, Y, Z}) -> {S * X, S * Y, S * Z}.
dot({A, B, C}, {X, Y, Z}) -> A * X + B * Y + C * Z.
cross({A, B, C}, {X, Y, Z}) -> {B * Z - C * Y, C * X - A * Z, A * Y - B * X}.
norm(V) -> math:sqrt(dot(V, V)).

%%% ---- files -----------------------------------------------------------------------------

%% @equiv parse(Data, #{})
-spec parse(binary()) -> {ok, parsed()} | {error, beamline_runtime:reason()}.
parse(Data) -> parse(Data, #{}).

%% @equiv parse(Data, Options, #{})
-spec parse(binary(), parse_options()) -> {ok, parsed()} | {error, beamline_runtime:reason()}.
parse(Data, Options) -> parse(Data, Options, #{}).

%% @doc Reads a CIF (1.1 or 2.0, all blocks, symmetry expanded), a POSCAR/CONTCAR (VASP 4 and 5), a plain
%% or extended XYZ file (all frames) or a LAMMPS data file, also when it is compressed with gzip. A CIF
%% without atoms has no structures.
%%
%% A file that leaves a question open is refused with `{invalid, #{field, why}}', where `why'
%% names the option that answers it; what was assumed stands in `warnings'. A CIF of several blocks is refused
%% only when none of them can be built; else those that cannot stand in `refused' and `warnings'.
-spec parse(binary(), parse_options(), beamline_runtime:task_options()) -> {ok, parsed()} | {error, beamline_runtime:reason()}.
parse(Data, Options, Task) -> beamline_runtime:call(crystal_parse, parse_arguments(Data, Options), Task).

%% @doc As {@link parse/3}, answered by a message of {@link beamline_runtime}.
-spec submit_parse(binary(), parse_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_parse(Data, Options, Task) -> beamline_runtime:submit(crystal_parse, parse_arguments(Data, Options), Task).

parse_arguments(Data, Options) when is_binary(Data), is_map(Options), not is_map_key(data, Options) -> Options#{data => Data};
parse_arguments(_, _) -> error(badarg).

%% @equiv write(Structures, Format, #{})
-spec write([structure()], format()) -> {ok, binary()} | {error, beamline_runtime:reason()}.
write(Structures, Format) -> write(Structures, Format, #{}).

%% @equiv write(Structures, Format, Options, #{})
-spec write([structure()], format(), write_options()) -> {ok, binary()} | {error, beamline_runtime:reason()}.
write(Structures, Format, Options) -> write(Structures, Format, Options, #{}).

%% @doc Writes structures. Every number reads back as the same double. A POSCAR holds exactly
%% one structure, with a cell.
-spec write([structure()], format(), write_options(), beamline_runtime:task_options()) ->
    {ok, binary()} | {error, beamline_runtime:reason()}.
write(Structures, Format, Options, Task) when is_list(Structures), is_atom(Format), is_map(Options) ->
    beamline_runtime:call(crystal_write, Options#{structures => Structures, format => Format}, Task);
write(_, _, _, _) ->
    error(badarg).

%%% ---- symmetry -----------------------------------------------------------------------------

%% @equiv symmetry(Structure, #{}, #{})
-spec symmetry(structure()) -> {ok, found_symmetry()} | {error, beamline_runtime:reason()}.
symmetry(Structure) -> symmetry(Structure, #{}, #{}).

%% @equiv symmetry(Structure, Options, #{})
-spec symmetry(structure(), #{symprec => number()}) -> {ok, found_symmetry()} | {error, beamline_runtime:reason()}.
symmetry(Structure, Options) -> symmetry(Structure, Options, #{}).

%% @doc The space group as spglib finds it within `symprec' (angstrom, default 0.001).
%% `{unsupported, spglib}' where the library is not installed. At most 20,000 atoms.
-spec symmetry(structure(), #{symprec => number()}, beamline_runtime:task_options()) ->
    {ok, found_symmetry()} | {error, beamline_runtime:reason()}.
symmetry(Structure, Options, Task) when is_map(Structure), is_map(Options) ->
    beamline_runtime:call(crystal_symmetry, Options#{structure => Structure}, Task);
symmetry(_, _, _) ->
    error(badarg).

%% @equiv standard_cell(Kind, Structure, #{}, #{})
-spec standard_cell(primitive | conventional | niggli, structure()) -> {ok, structure()} | {error, beamline_runtime:reason()}.
standard_cell(Kind, Structure) -> standard_cell(Kind, Structure, #{}, #{}).

%% @doc The structure in the standard primitive or conventional cell (idealised and turned), or in the
%% Niggli cell of the primitive one (as it lies). Only species, positions and occupancies are kept.
-spec standard_cell(primitive | conventional | niggli, structure(), #{symprec => number()}, beamline_runtime:task_options()) ->
    {ok, structure()} | {error, beamline_runtime:reason()}.
standard_cell(Kind, Structure, Options, Task) when is_atom(Kind), is_map(Structure), is_map(Options) ->
    beamline_runtime:call(crystal_cell, Options#{structure => Structure, kind => Kind}, Task);
standard_cell(_, _, _, _) ->
    error(badarg).

%% @equiv match(A, B, #{}, #{})
-spec match(structure(), structure()) -> {ok, match()} | {error, beamline_runtime:reason()}.
match(A, B) -> match(A, B, #{}, #{}).

%% @equiv match(A, B, Options, #{})
-spec match(structure(), structure(), match_options()) -> {ok, match()} | {error, beamline_runtime:reason()}.
match(A, B, Options) -> match(A, B, Options, #{}).

%% @doc Are two crystals the same up to the choice of the cell, the origin, the orientation and the order of the
%% atoms? Each is brought to its primitive cell within the tolerance first, so a supercell is equal to its cell.
%% A difference is an answer that says why. At most 4,096 atoms, periodic in all directions.
-spec match(structure(), structure(), match_options(), beamline_runtime:task_options()) ->
    {ok, match()} | {error, beamline_runtime:reason()}.
match(A, B, Options, Task) when is_map(A), is_map(B), is_map(Options) ->
    beamline_runtime:call(crystal_match, Options#{structure => A, other => B}, Task);
match(_, _, _, _) ->
    error(badarg).

%%% ---- building -------------------------------------------------------------------------------

%% @doc The names that {@link prototype/3} knows.
-spec prototypes() -> [atom()].
prototypes() -> beamline_crystal_build:prototypes().

%% @equiv prototype(Name, Elements, Parameters, #{})
-spec prototype(atom(), [symbol()], prototype_parameters()) -> {ok, structure()} | {error, beamline_runtime:reason()}.
prototype(Name, Elements, Parameters) -> prototype(Name, Elements, Parameters, #{}).

%% @doc A prototype in its conventional cell; elements in the order of the formula (A B X of a
%% perovskite, A B X of AB2X4 in spinel, A3 B in L1_2 and A15, A2 B C of a Heusler alloy).
%% What does not go, a name, a number of elements, a parameter that is not one of this crystal, is `{invalid, #{field, why}}'.
%% ```
%% {ok, Salt} = beamline_crystal:prototype(rock_salt, [<<"Na">>, <<"Cl">>], #{a => 5.6402}).
%% '''
-spec prototype(atom(), [symbol()], prototype_parameters(), beamline_runtime:task_options()) ->
    {ok, structure()} | {error, beamline_runtime:reason()}.
prototype(Name, Elements, Parameters, Task) when is_atom(Name), is_list(Elements), is_map(Parameters) ->
    beamline_runtime:call(crystal_prototype, Parameters#{prototype => Name, elements => Elements}, Task);
prototype(_, _, _, _) ->
    error(badarg).

%% @equiv expand(Setting, Asymmetric, #{}, #{})
-spec expand(binary() | 1..230 | [binary()], structure()) -> {ok, structure()} | {error, beamline_runtime:reason()}.
expand(Setting, Asymmetric) -> expand(Setting, Asymmetric, #{}, #{}).

%% @doc All atoms of the cell from an asymmetric unit and a space group: Hermann-Mauguin or Hall
%% symbol, number (the standard setting), or a list of operations. Images of an atom
%% within `tolerance' (angstrom, default 0.02) are one, at their mean.
-spec expand(binary() | 1..230 | [binary()], structure(), #{tolerance => number()}, beamline_runtime:task_options()) ->
    {ok, structure()} | {error, beamline_runtime:reason()}.
expand(Setting, Asymmetric, Options, Task) when is_map(Asymmetric), is_map(Options) ->
    beamline_runtime:call(crystal_expand, Options#{structure => Asymmetric, setting => Setting}, Task);
expand(_, _, _, _) ->
    error(badarg).

%% @equiv supercell(Matrix, Structure, #{})
-spec supercell(pos_integer() | {_, _, _}, structure()) -> {ok, structure()} | {error, beamline_runtime:reason()}.
supercell(Matrix, Structure) -> supercell(Matrix, Structure, #{}).

%% @doc The cell whose vectors are the rows of an integer matrix times the old vectors, filled; a
%% number or three repeat along the vectors. Velocities, forces, masses, charges, fixed axes and
%% occupancies go with the atoms.
-spec supercell(pos_integer() | {_, _, _}, structure(), beamline_runtime:task_options()) ->
    {ok, structure()} | {error, beamline_runtime:reason()}.
supercell(N, Structure, Task) when is_integer(N) -> supercell({N, N, N}, Structure, Task);
supercell({A, B, C}, Structure, Task) when is_integer(A), is_integer(B), is_integer(C) ->
    supercell({{A, 0, 0}, {0, B, 0}, {0, 0, C}}, Structure, Task);
supercell({_, _, _} = Matrix, Structure, Task) when is_map(Structure) ->
    beamline_runtime:call(crystal_supercell, #{structure => Structure, matrix => Matrix}, Task);
supercell(_, _, _) ->
    error(badarg).

%% @doc Turns, scales or strains cell and atoms: `{rotate, {X, Y, Z}}' in degrees, about z, then y,
%% then x; `{scale, Factor}' or `{scale, {X, Y, Z}}'; `{strain, {Xx, Yy, Zz, Yz, Xz, Xy}}' with
%% engineering shears; `{shear, {Axis, By, Amount}}' adds Amount times the coordinate By to that along
%% Axis; or three rows that multiply vectors from the right. Only rotations keep velocities and forces. Anything else, and
%% numbers that leave the range of floats, raises `badarg'.
-spec transform(term(), structure()) -> structure().
transform(What, Structure) ->
    pure(fun() -> beamline_crystal_build:deform(beamline_crystal_build:matrix(What), Structure) end).

%% @doc Atoms into the cell, along its periodic directions.
-spec wrap(structure()) -> structure().
wrap(Structure) -> pure(fun() -> beamline_crystal_build:wrap(Structure) end).

%% @doc Atoms by species or along an axis; ties keep their order.
-spec sort(species | x | y | z, structure()) -> structure().
sort(By, Structure) -> pure(fun() -> beamline_crystal_build:sort(By, Structure) end).

%% @doc Without some atoms, numbered from 1.
-spec delete([pos_integer()], structure()) -> structure().
delete(Atoms, Structure) -> pure(fun() -> beamline_crystal_build:delete(Atoms, Structure) end).

%% @doc Some atoms, numbered from 1, become another element. Masses are dropped.
-spec substitute([pos_integer()], symbol(), structure()) -> structure().
substitute(Atoms, Symbol, Structure) -> pure(fun() -> beamline_crystal_build:substitute(Atoms, Symbol, Structure) end).

%% @doc The atoms of the second structure beside those of the first, in its cell.
-spec merge(structure(), structure()) -> structure().
merge(First, Second) -> pure(fun() -> beamline_crystal_build:merge(First, Second) end).

%% @doc Moves each coordinate by a normal deviate of this width in angstrom; the same seed, the same places.
-spec rattle(number(), integer(), structure()) -> structure().
rattle(Width, Seed, Structure) -> pure(fun() -> beamline_crystal_build:rattle(Width, Seed, Structure) end).

%% @doc Prism's `CrystalConfig' with defaults: system_type (a crystal system or quasicrystal),
%% optimization_level (as in {@link relax/3}), stability_threshold (eV/atom), max_nodes (atoms).
-spec config(map()) -> {ok, map()} | {error, beamline_runtime:reason()}.
config(Given) when is_map(Given) -> beamline_crystal_build:config(Given);
config(_) -> error(badarg).

%% @doc Prism's `PatternConfig' with defaults: pattern_type (a prototype of one element), spacing
%% (angstrom, the edge a), scale, rotation (degrees), symmetry (alias of fold), count (cells along each vector).
-spec pattern(map()) -> {ok, map()} | {error, beamline_runtime:reason()}.
pattern(Given) when is_map(Given) -> beamline_crystal_build:pattern(Given);
pattern(_) -> error(badarg).

%% @doc Builds a pattern of one element. A fold without a lattice is `{unsupported, quasicrystal}'.
-spec pattern(symbol(), map()) -> {ok, structure()} | {error, beamline_runtime:reason()}.
pattern(Symbol, Given) when is_binary(Symbol), is_map(Given) ->
    case pattern(Given) of
        {ok, #{pattern_type := Type, fold := Fold}} when Type =:= quasicrystal; Fold =:= 5; Fold > 6 ->
            {error, {unsupported, quasicrystal}};
        {ok, Pattern} -> build_pattern(Symbol, Pattern);
        Error -> Error
    end;
pattern(_, _) ->
    error(badarg).

build_pattern(Symbol, #{pattern_type := Type, spacing := A, scale := Scale, rotation := Rotation, count := Count}) ->
    Edge = pure(fun() -> A * Scale end),
    maybe_turned(Rotation, case prototype(Type, [Symbol], #{a => Edge}) of
        {ok, Cell} -> supercell(Count, Cell);
        {error, {invalid, #{field := elements}}} -> {error, {invalid, #{field => pattern_type, why => <<"a prototype of one element">>}}};
        Error -> Error
    end).

maybe_turned(Rotation, {ok, Structure}) -> {ok, transform({rotate, Rotation}, Structure)};
maybe_turned(_, Error) -> Error.

%%% ---- energies ----------------------------------------------------------------------------

%% @equiv energy(Structure, Potential, #{})
-spec energy(structure(), potential()) -> {ok, energies()} | {error, beamline_runtime:reason()}.
energy(Structure, Potential) -> energy(Structure, Potential, #{}).

%% @equiv energy(Structure, Potential, Options, #{})
-spec energy(structure(), potential(), energy_options()) -> {ok, energies()} | {error, beamline_runtime:reason()}.
energy(Structure, Potential, Options) -> energy(Structure, Potential, Options, #{}).

%% @doc Energy, forces and virial. Atoms on top of each other are `{invalid, #{field => positions}}'.
-spec energy(structure(), potential(), energy_options(), beamline_runtime:task_options()) ->
    {ok, energies()} | {error, beamline_runtime:reason()}.
energy(Structure, Potential, Options, Task) ->
    beamline_runtime:call(crystal_energy, arguments(Structure, Potential, Options), Task).

%% @doc As {@link energy/4}, answered by a message.
-spec submit_energy(structure(), potential(), energy_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_energy(Structure, Potential, Options, Task) ->
    beamline_runtime:submit(crystal_energy, arguments(Structure, Potential, Options), Task).

%% @equiv neighbours(Structure, Cutoff, #{})
-spec neighbours(structure(), number()) -> {ok, neighbours()} | {error, beamline_runtime:reason()}.
neighbours(Structure, Cutoff) -> neighbours(Structure, Cutoff, #{}).

%% @doc All pairs within a cut-off in angstrom, each in both directions, with the cells between
%% them; an atom and its own image are a pair. Any cell, also one smaller than the cut-off.
-spec neighbours(structure(), number(), beamline_runtime:task_options()) -> {ok, neighbours()} | {error, beamline_runtime:reason()}.
neighbours(Structure, Cutoff, Task) when is_map(Structure), is_number(Cutoff) ->
    beamline_runtime:call(crystal_neighbours, #{structure => Structure, cutoff => Cutoff}, Task);
neighbours(_, _, _) ->
    error(badarg).

%% @doc The built-in potentials: for which species each is, and the paper.
-spec potentials() -> [beamline_crystal_potentials:entry()].
potentials() -> beamline_crystal_potentials:built_in().

%% @doc The built-in potentials that serve a structure, best first. None: a table, or numbers, must be given.
-spec potentials(structure()) -> [beamline_crystal_potentials:entry()].
potentials(Structure) -> beamline_crystal_potentials:for(lists:sort(maps:keys(formula(Structure)))).

%%% ---- relaxation and gates --------------------------------------------------------------------

%% @equiv relax(Structure, Potential, #{})
-spec relax(structure(), potential()) -> {ok, relaxed()} | {error, beamline_runtime:reason()}.
relax(Structure, Potential) -> relax(Structure, Potential, #{}).

%% @equiv relax(Structure, Potential, Options, #{})
-spec relax(structure(), potential(), relax_options()) -> {ok, relaxed()} | {error, beamline_runtime:reason()}.
relax(Structure, Potential, Options) -> relax(Structure, Potential, Options, #{}).

%% @doc Moves the atoms, and the cell where it is free, to a minimum of the energy, or of the enthalpy
%% under a target pressure or stress. Fixed axes keep their place, in a cell that changes relative to the cell.
%%
%% A run that ends without convergence is an answer, not an error: `reason' says why, the
%% structure is the best state seen; after `diverged' the one it began with. Progress messages carry `step', `energy',
%% `max_force', with a free cell `max_stress' and `volume', too.
-spec relax(structure(), potential(), relax_options(), beamline_runtime:task_options()) ->
    {ok, relaxed()} | {error, beamline_runtime:reason()}.
relax(Structure, Potential, Options, Task) ->
    beamline_runtime:call(crystal_relax, arguments(Structure, Potential, Options), Task).

%% @doc As {@link relax/4}, answered by messages: progress if the task options ask for it.
-spec submit_relax(structure(), potential(), relax_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_relax(Structure, Potential, Options, Task) ->
    beamline_runtime:submit(crystal_relax, arguments(Structure, Potential, Options), Task).

%% @equiv relax_batch(Structures, Potential, #{}, #{})
-spec relax_batch([structure()], potential()) -> {ok, batch()} | {error, beamline_runtime:reason()}.
relax_batch(Structures, Potential) -> relax_batch(Structures, Potential, #{}, #{}).

%% @equiv relax_batch(Structures, Potential, Options, #{})
-spec relax_batch([structure()], potential(), relax_options()) -> {ok, batch()} | {error, beamline_runtime:reason()}.
relax_batch(Structures, Potential, Options) -> relax_batch(Structures, Potential, Options, #{}).

%% @doc Relaxes many structures in one task, in parallel, each as {@link relax/4} would alone. A bad one
%% hurts only itself. Deadline, cancel and memory limit are those of the whole.
%%
%% Progress messages carry `done', `failed', `total' and `results': `{Index, Result}' (from 1) of those that
%% ended since the last message. The answer has all of them.
-spec relax_batch([structure()], potential(), relax_options(), beamline_runtime:task_options()) ->
    {ok, batch()} | {error, beamline_runtime:reason()}.
relax_batch(Structures, Potential, Options, Task) ->
    beamline_runtime:call(crystal_relax_batch, batch_arguments(Structures, Potential, Options), Task).

%% @doc As {@link relax_batch/4}, answered by messages.
-spec submit_relax_batch([structure()], potential(), relax_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_relax_batch(Structures, Potential, Options, Task) ->
    beamline_runtime:submit(crystal_relax_batch, batch_arguments(Structures, Potential, Options), Task).

batch_arguments(Structures, Potential, Options) when is_list(Structures), is_map(Potential), is_map(Options) ->
    Options#{structures => Structures, potential => Potential};
batch_arguments(_, _, _) ->
    error(badarg).

%% @equiv trajectory(Structure, Potential, #{})
-spec trajectory(structure(), potential()) -> {ok, trajectory()} | {error, beamline_runtime:reason()}.
trajectory(Structure, Potential) -> trajectory(Structure, Potential, #{}).

%% @equiv trajectory(Structure, Potential, Options, #{})
-spec trajectory(structure(), potential(), trajectory_options()) -> {ok, trajectory()} | {error, beamline_runtime:reason()}.
trajectory(Structure, Potential, Options) -> trajectory(Structure, Potential, Options, #{}).

%% @doc Follows the atoms in time at constant energy (velocity Verlet), in a cell that stays. Masses are the
%% structure's or the elements', fixed axes do not move. `dt' so long that an atom would cross the cut-off in one step is
%% `{invalid, #{field => dt}}'. Progress messages carry `step', `energy', `kinetic_energy' and `temperature'.
-spec trajectory(structure(), potential(), trajectory_options(), beamline_runtime:task_options()) ->
    {ok, trajectory()} | {error, beamline_runtime:reason()}.
trajectory(Structure, Potential, Options, Task) ->
    beamline_runtime:call(crystal_trajectory, arguments(Structure, Potential, Options), Task).

%% @doc As {@link trajectory/4}, answered by messages: progress if the task options ask for it.
-spec submit_trajectory(structure(), potential(), trajectory_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_trajectory(Structure, Potential, Options, Task) ->
    beamline_runtime:submit(crystal_trajectory, arguments(Structure, Potential, Options), Task).

%% @equiv elastic(Structure, Potential, #{}, #{})
-spec elastic(structure(), potential()) -> {ok, elastic()} | {error, beamline_runtime:reason()}.
elastic(Structure, Potential) -> elastic(Structure, Potential, #{}, #{}).

%% @equiv elastic(Structure, Potential, Options, #{})
-spec elastic(structure(), potential(), elastic_options()) -> {ok, elastic()} | {error, beamline_runtime:reason()}.
elastic(Structure, Potential, Options) -> elastic(Structure, Potential, Options, #{}).

%% @doc Elastic constants of the cell as it is, by finite strain of the stress. Relax the cell first
%% (`level => tight'): under stress they are the stress-strain stiffness (Wallace), not the C at rest.
-spec elastic(structure(), potential(), elastic_options(), beamline_runtime:task_options()) ->
    {ok, elastic()} | {error, beamline_runtime:reason()}.
elastic(Structure, Potential, Options, Task) ->
    known_or_called(crystal_elastic, arguments(Structure, Potential, Options), Task).

%% @doc As {@link elastic/4}, answered by messages.
-spec submit_elastic(structure(), potential(), elastic_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_elastic(Structure, Potential, Options, Task) ->
    beamline_runtime:submit(crystal_elastic, arguments(Structure, Potential, Options), Task).

%% @equiv verify(Structure, Potential, #{})
-spec verify(structure(), potential()) -> {ok, verified()} | {error, beamline_runtime:reason()}.
verify(Structure, Potential) -> verify(Structure, Potential, #{}).

%% @equiv verify(Structure, Potential, Options, #{})
-spec verify(structure(), potential(), verify_options()) -> {ok, verified()} | {error, beamline_runtime:reason()}.
verify(Structure, Potential, Options) -> verify(Structure, Potential, Options, #{}).

%% @doc Runs the gates geometry, equilibrium, energy, and elastic where it is asked for. The dynamic and
%% thermodynamic gates are not built yet: they answer `unknown', and so does the verdict unless a gate failed.
-spec verify(structure(), potential(), verify_options(), beamline_runtime:task_options()) ->
    {ok, verified()} | {error, beamline_runtime:reason()}.
verify(Structure, Potential, Options, Task) ->
    case Options of
        #{elastic := true} -> known_or_called(crystal_verify, arguments(Structure, Potential, Options), Task);
        _ -> beamline_runtime:call(crystal_verify, arguments(Structure, Potential, Options), Task)
    end.

%% What is costly and was answered before is answered from memory: by the hash of structure, potential and options.
known_or_called(Op, #{structure := Structure} = Arguments, Task) ->
    Key = beamline_crystal_cache:key({Op, beamline_crystal_version:hash(Structure), maps:remove(structure, Arguments)}),
    case beamline_crystal_cache:find(Key) of
        {ok, Answer} -> {ok, Answer};
        none ->
            Called = beamline_runtime:call(Op, Arguments, Task),
            _ = [beamline_crystal_cache:store(Key, Answer) || {ok, Answer} <- [Called]],
            Called
    end.

%% @doc Verify options for the answer of a relaxation with these options: the forces, the stress and the target
%% that it aimed at, and the energy, or enthalpy, that it began with. {@link beamline_crystal_version:run/3} uses it.
-spec aims(relax_options(), relaxed()) -> verify_options().
aims(Options, #{energy_before := Energy, cell_relaxed := Cell} = Relaxed) ->
    {Fmax, Smax} = case maps:get(level, Options, default) of
        fast -> {0.05, 0.1};
        tight -> {1.0e-4, 0.01};
        _ -> {0.01, 0.1}
    end,
    Free = maps:get(cell, Options, free),
    Aims = #{fmax => maps:get(fmax, Options, Fmax), energy_before => Energy + load(Options, Relaxed)},
    %% Where only a part of the cell was free, the rest of the stress is what it is.
    Whole = Cell andalso Free =:= free,
    maps:merge(Aims, maps:merge(maps:with([pressure, stress], Options),
        case Whole of true -> #{smax => maps:get(smax, Options, Smax)}; false -> #{} end)).

%% What the gate's E + P V has to be compared with beside the energy before: then the difference is the enthalpy's.
load(Options, #{enthalpy := After, enthalpy_before := Before, structure := Structure} = Relaxed) ->
    [Xx, Yy, Zz | _] = case Options of
        #{stress := Stress} -> Stress;
        #{pressure := P} -> [-P, -P, -P]
    end,
    #{energy := Energy, energy_before := EnergyBefore} = Relaxed,
    Energy - (Xx + Yy + Zz) / 3 / ?GPA * volume(Structure) - (After - Before) - EnergyBefore;
load(_, _) ->
    0.0.

%% @doc As {@link verify/4}, answered by a message.
-spec submit_verify(structure(), potential(), verify_options(), beamline_runtime:task_options()) -> {ok, reference()}.
submit_verify(Structure, Potential, Options, Task) ->
    beamline_runtime:submit(crystal_verify, arguments(Structure, Potential, Options), Task).

arguments(Structure, Potential, Options) when is_map(Structure), is_map(Potential), is_map(Options) ->
    Options#{structure => Structure, potential => Potential};
arguments(_, _, _) ->
    error(badarg).
