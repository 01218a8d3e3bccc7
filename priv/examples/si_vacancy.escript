#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%% Writes si_vacancy.poscar: 4 x 4 x 4 conventional cells of silicon with one atom left out.
%%
%% Lattice constant 5.431 angstrom: NIST SRM 640f gives 5.431144 at 22.5 degrees C, CODATA
%% 5.431020511. Every atom is moved by up to 0.05 angstrom along each axis, reproducibly: in the
%% Stillinger-Weber model the perfect lattice around a vacancy is at rest already (all forces
%% below 3e-4 eV/angstrom), and a minimiser would have nothing to do.
main([]) ->
    A = 5.431,
    Edge = 4 * A,
    Cells = lists:seq(0, 3),
    _ = rand:seed(exsss, 5431),
    Faces = [{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}],
    Sites = Faces ++ [{X + 0.25, Y + 0.25, Z + 0.25} || {X, Y, Z} <- Faces],
    All = [{(X + I) / 4, (Y + J) / 4, (Z + K) / 4} || I <- Cells, J <- Cells, K <- Cells, {X, Y, Z} <- Sites],
    Kept = All -- [{0.5, 0.5, 0.5}],
    Moved = fun(X) -> X + 0.05 * (2 * rand:uniform() - 1) / Edge end,
    io:format("Si 4x4x4 diamond cells, a = 5.431 A (cf. NIST SRM 640f), "
              "one atom left out, rattled by 0.05 A (si_vacancy.escript)~n1.0~n"),
    [io:format("  ~.6f  ~.6f  ~.6f~n", Row) || Row <- [[Edge, 0.0, 0.0], [0.0, Edge, 0.0], [0.0, 0.0, Edge]]],
    io:format("  Si~n  ~b~nDirect~n", [length(Kept)]),
    [io:format("  ~.8f  ~.8f  ~.8f~n", [Moved(X), Moved(Y), Moved(Z)]) || {X, Y, Z} <- Kept].
