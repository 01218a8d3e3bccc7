%% SPDX-License-Identifier: Apache-2.0
%% @private Structures from other structures: transforms, atoms chosen and replaced; Prism's configurations.
%% Public behind {@link beamline_crystal}. Lengths in angstrom, angles in degrees.
-module(beamline_crystal_build).

-export([prototypes/0, matrix/1, deform/2, wrap/1, sort/2, delete/2, substitute/3, merge/2, rattle/3]).
-export([config/1, pattern/1]).

-type structure() :: beamline_crystal:structure().
-type row() :: {number(), number(), number()}.
-type matrix() :: {row(), row(), row()}.

-spec prototypes() -> [atom()].
prototypes() ->
    [sc, bcc, fcc, hcp, diamond, graphite, beta_sn, rock_salt, cscl, zinc_blende, wurtzite, nias, fluorite, rutile, perovskite,
     spinel, l1_2, l1_0, a15, heusler].

%%% ---- transforms: r' = r M for positions and cell alike ---------------------------------------

%% Rotation by angles about z, then y, then x; one factor, or three; strain in Voigt order
%% (xx yy zz yz xz xy, shears as engineering strains); shear of one axis along another.
-spec matrix(term()) -> matrix().
matrix({rotate, {X, Y, Z}}) when is_number(X), is_number(Y), is_number(Z) ->
    multiply(multiply(turn(z, Z), turn(y, Y)), turn(x, X));
matrix({scale, Factor}) when is_number(Factor) -> matrix({scale, {Factor, Factor, Factor}});
matrix({scale, {X, Y, Z}}) when is_number(X), is_number(Y), is_number(Z), X > 0, Y > 0, Z > 0 -> {{X, 0, 0}, {0, Y, 0}, {0, 0, Z}};
matrix({strain, {Xx, Yy, Zz, Yz, Xz, Xy}}) when is_number(Xx), is_number(Yy), is_number(Zz), is_number(Yz), is_number(Xz), is_number(Xy) ->
    {{1 + Xx, Xy / 2, Xz / 2}, {Xy / 2, 1 + Yy, Yz / 2}, {Xz / 2, Yz / 2, 1 + Zz}};
matrix({shear, {Axis, By, Amount}}) when Axis =/= By, is_number(Amount) ->
    I = index(Axis),
    J = index(By),
    list_to_tuple([list_to_tuple([entry(R, C, I, J, Amount) || C <- [1, 2, 3]]) || R <- [1, 2, 3]]);
matrix({{_, _, _}, {_, _, _}, {_, _, _}} = M) ->
    lists:all(fun is_number/1, lists:append([tuple_to_list(Row) || Row <- tuple_to_list(M)])) orelse error(badarg),
    M;
matrix(_) -> error(badarg).

entry(R, R, _, _, _) -> 1;
entry(J, I, I, J, Amount) -> Amount;
entry(_, _, _, _, _) -> 0.

index(x) -> 1;
index(y) -> 2;
index(z) -> 3;
index(_) -> error(badarg).

turn(Axis, Angle) ->
    C = math:cos(Angle * math:pi() / 180),
    S = math:sin(Angle * math:pi() / 180),
    case Axis of
        x -> {{1, 0, 0}, {0, C, S}, {0, -S, C}};
        y -> {{C, 0, -S}, {0, 1, 0}, {S, 0, C}};
        z -> {{C, S, 0}, {-S, C, 0}, {0, 0, 1}}
    end.

multiply(A, {R1, R2, R3}) ->
    list_to_tuple([begin {X, Y, Z} = Row, add(add(times(X, R1), times(Y, R2)), times(Z, R3)) end || Row <- tuple_to_list(A)]).

add({A, B, C}, {X, Y, Z}) -> {A + X, B + Y, C + Z}.
times(S, {X, Y, Z}) -> {S * X, S * Y, S * Z}.

%% Velocities and forces of the old shape would be wrong: they go, unless the matrix is a rotation.
-spec deform(matrix(), structure()) -> structure().
deform(M, #{cell := Cell, positions := Positions} = S) ->
    Row = fun(R) -> apply_matrix(R, M) end,
    Moved = S#{cell => list_to_tuple([Row(R) || R <- tuple_to_list(Cell)]), positions => map_vectors(Row, Positions)},
    Vectors = maps:map(fun(_, Binary) -> map_vectors(Row, Binary) end, maps:with([velocities, forces], S)),
    Kept = case is_rotation(M) of true -> maps:merge(Moved, Vectors); false -> maps:without([forces, velocities], Moved) end,
    stale(Kept).

apply_matrix({X, Y, Z}, {{A1, A2, A3}, {B1, B2, B3}, {C1, C2, C3}}) ->
    {X * A1 + Y * B1 + Z * C1, X * A2 + Y * B2 + Z * C2, X * A3 + Y * B3 + Z * C3}.

is_rotation({A, B, C}) ->
    Near = fun(X, Y) -> abs(X - Y) < 1.0e-12 end,
    Near(dot(A, A), 1) andalso Near(dot(B, B), 1) andalso Near(dot(C, C), 1) andalso
        Near(dot(A, B), 0) andalso Near(dot(B, C), 0) andalso Near(dot(A, C), 0).

dot({A, B, C}, {X, Y, Z}) -> A * X + B * Y + C * Z.

map_vectors(F, Binary) ->
    <<<<(vector(F({X, Y, Z})))/binary>> || <<X:64/float-little, Y:64/float-little, Z:64/float-little>> <= Binary>>.

vector({X, Y, Z}) -> <<X:64/float-little, Y:64/float-little, Z:64/float-little>>.

%% What the engine or the file said about other positions.
stale(#{info := Info} = S) ->
    Kept = maps:without([<<"energy">>, <<"free_energy">>, <<"stress">>, <<"virial">>], Info),
    maps:without([symmetry], S#{info := Kept});
stale(S) -> maps:without([symmetry], S).

-spec wrap(structure()) -> structure().
wrap(#{cell := Cell, pbc := Pbc, positions := Positions} = S) ->
    Whole = complete(tuple_to_list(Cell)),
    Inverse = inverse(Whole),
    Periodic = tuple_to_list(Pbc),
    S#{positions => map_vectors(fun(R) ->
        F = tuple_to_list(apply_matrix(R, Inverse)),
        Shifts = [case P of true -> floor(X); false -> 0 end || {X, P} <- lists:zip(F, Periodic)],
        lists:foldl(fun({N, Row}, Acc) -> add(Acc, times(-N, Row)) end, R, lists:zip(Shifts, tuple_to_list(Whole)))
    end, Positions)}.

%% Missing vectors replaced by ones that make the rows independent.
complete(Rows) ->
    list_to_tuple([case dot(R, R) == 0 of
        true -> perpendicular(lists:delete(R, Rows), I);
        false -> R
    end || {I, R} <- lists:zip([1, 2, 3], Rows)]).

perpendicular([A, B], I) ->
    case cross(A, B) of
        {X, Y, Z} when X == 0, Y == 0, Z == 0 -> element(I, {{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}});
        N -> times(1 / math:sqrt(dot(N, N)), N)
    end;
perpendicular(_, I) -> element(I, {{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}).

cross({A, B, C}, {X, Y, Z}) -> {B * Z - C * Y, C * X - A * Z, A * Y - B * X}.

inverse({A, B, C}) ->
    Volume = dot(A, cross(B, C)),
    Volume == 0 andalso error(badarg),
    {{X1, X2, X3}, {Y1, Y2, Y3}, {Z1, Z2, Z3}} = list_to_tuple([times(1 / Volume, V) || V <- [cross(B, C), cross(C, A), cross(A, B)]]),
    {{X1, Y1, Z1}, {X2, Y2, Z2}, {X3, Y3, Z3}}.

%%% ---- atoms chosen, reordered, replaced -----------------------------------------------------------

-define(WIDTHS, [{types, 4}, {positions, 24}, {velocities, 24}, {forces, 24}, {masses, 8}, {charges, 8}, {occupancies, 8}, {sites, 4},
                 {fixed, 1}]).

%% By species in the order of the list, or along an axis.
-spec sort(species | x | y | z, structure()) -> structure().
sort(By, #{types := Types, positions := Positions} = S) ->
    Keys = case By of
        species -> [T || <<T:32/little>> <= Types];
        _ -> [element(index(By), V) || V <- vectors(Positions)]
    end,
    Order = [I || {_, I} <- lists:sort(lists:zip(Keys, lists:seq(0, length(Keys) - 1)))],
    choose(Order, S).

-spec delete([pos_integer()], structure()) -> structure().
delete(Atoms, #{types := Types} = S) ->
    N = byte_size(Types) div 4,
    Gone = sets:from_list(Atoms, [{version, 2}]),
    lists:all(fun(I) -> is_integer(I) andalso I >= 1 andalso I =< N end, Atoms) orelse error(badarg),
    stale(maps:without([forces], choose([I - 1 || I <- lists:seq(1, N), not sets:is_element(I, Gone)], S))).

choose(Order, #{types := Types} = S) ->
    N = byte_size(Types) div 4,
    Arrays = maps:from_list([{Key, pick(Order, map_get(Key, S), Width)} || {Key, Width} <- ?WIDTHS, is_map_key(Key, S)]),
    Columns = case S of
        #{columns := C} -> #{columns => maps:map(fun(_, #{data := D} = Column) ->
            Column#{data := case N of 0 -> D; _ -> pick(Order, D, byte_size(D) div N) end} end, C)};
        _ -> #{}
    end,
    maps:merge(maps:merge(S, Arrays), Columns).

pick(Order, Binary, Width) -> <<<<(binary:part(Binary, I * Width, Width))/binary>> || I <- Order>>.

vectors(Binary) -> [{X, Y, Z} || <<X:64/float-little, Y:64/float-little, Z:64/float-little>> <= Binary].

-spec substitute([pos_integer()], binary(), structure()) -> structure().
substitute(Atoms, Symbol, #{species := Species, types := Types} = S) when is_binary(Symbol), Symbol =/= <<>> ->
    {Index, NewSpecies} = case lists:member(Symbol, Species) of
        true -> {length(lists:takewhile(fun(X) -> X =/= Symbol end, Species)), Species};
        false -> {length(Species), Species ++ [Symbol]}
    end,
    N = byte_size(Types) div 4,
    lists:all(fun(I) -> is_integer(I) andalso I >= 1 andalso I =< N end, Atoms) orelse error(badarg),
    Chosen = sets:from_list(Atoms, [{version, 2}]),
    New = [case sets:is_element(I, Chosen) of true -> Index; false -> T end
           || {I, T} <- lists:zip(lists:seq(1, N), [T || <<T:32/little>> <= Types])],
    stale(maps:without([masses, forces], S#{species => NewSpecies, types => <<<<T:32/little>> || T <- New>>})).

%% The atoms of the second in the cell of the first; arrays that only one of them has are left out.
-spec merge(structure(), structure()) -> structure().
merge(#{species := A, types := TypesA} = First, #{species := B, types := TypesB} = Second) ->
    Species = A ++ [X || X <- B, not lists:member(X, A)],
    Index = maps:from_list(lists:zip(Species, lists:seq(0, length(Species) - 1))),
    Table = list_to_tuple([map_get(X, Index) || X <- B]),
    Moved = <<<<(element(T + 1, Table)):32/little>> || <<T:32/little>> <= TypesB>>,
    Both = [{K, <<(map_get(K, First))/binary, (map_get(K, Second))/binary>>}
            || K <- [positions, velocities, masses, charges, occupancies, fixed], is_map_key(K, First), is_map_key(K, Second)],
    Arrays = maps:from_list([{species, Species}, {types, <<TypesA/binary, Moved/binary>>} | Both]),
    maps:merge(stale(maps:with([cell, pbc, info], First)), Arrays).

%% Each coordinate by a normal deviate of the width given: the same seed, the same places.
-spec rattle(number(), integer(), structure()) -> structure().
rattle(Width, Seed, #{positions := Positions} = S) when is_number(Width), Width >= 0, is_integer(Seed) ->
    {Moved, _} = lists:mapfoldl(fun(X, State) ->
        {D, Next} = rand:normal_s(State),
        {X + Width * D, Next}
    end, rand:seed_s(exsss, Seed), [X || <<X:64/float-little>> <= Positions]),
    stale(maps:without([forces], S#{positions => <<<<X:64/float-little>> || X <- Moved>>}));
rattle(_, _, _) ->
    error(badarg).

%%% ---- the configurations of Prism ------------------------------------------------------------------

%% system_type, optimization_level, stability_threshold (eV/atom), max_nodes (atoms).
-spec config(map()) -> {ok, map()} | {error, {invalid, map()}}.
config(Given) ->
    Defaults = #{system_type => cubic, optimization_level => default, stability_threshold => 0.0, max_nodes => 1_000_000},
    checked(Given, Defaults, fun
        (system_type, V) -> lists:member(V, [triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal, cubic, quasicrystal]);
        (optimization_level, V) -> lists:member(V, [none, fast, default, tight, search]);
        (stability_threshold, V) -> is_number(V) andalso V >= 0;
        (max_nodes, V) -> is_integer(V) andalso V > 0
    end).

%% pattern_type, spacing (angstrom), scale, rotation (degrees about z, y, x), symmetry = fold, count (cells along each axis).
-spec pattern(map()) -> {ok, map()} | {error, {invalid, map()}}.
pattern(#{symmetry := Fold} = Given) when not is_map_key(fold, Given) -> pattern(maps:remove(symmetry, Given#{fold => Fold}));
pattern(Given) ->
    Defaults = #{pattern_type => fcc, spacing => 1.0, scale => 1.0, rotation => {0, 0, 0}, fold => 4, count => 1},
    checked(Given, Defaults, fun
        (pattern_type, V) -> lists:member(V, prototypes()) orelse V =:= quasicrystal;
        (Key, V) when Key =:= spacing; Key =:= scale -> is_number(V) andalso V > 0;
        (rotation, {X, Y, Z}) -> is_number(X) andalso is_number(Y) andalso is_number(Z);
        (rotation, _) -> false;
        (fold, V) -> is_integer(V) andalso V > 0;
        (count, V) -> is_integer(V) andalso V > 0
    end).

checked(Given, Defaults, Valid) ->
    Config = maps:merge(Defaults, Given),
    case [Key || {Key, Value} <- lists:sort(maps:to_list(Config)), not (is_map_key(Key, Defaults) andalso Valid(Key, Value))] of
        [] -> {ok, Config};
        [Key | _] -> {error, {invalid, #{field => Key, why => <<"unknown, or a bad value">>}}}
    end.
