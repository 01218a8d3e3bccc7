%% SPDX-License-Identifier: Apache-2.0
%%
%% Tests that go wrong in every way, for beamline_eunit_tests; not run by themselves, because this
%% module does not include eunit.hrl.
-module(beamline_eunit_sample).
-export([a_test/0, b_test_/0, c_test/0, d_test_/0, e_test_/0, f_test_/0, g_test/0]).

a_test() -> ok.
b_test_() -> beamline_test:skip("no tool").
c_test() -> exit(self(), kill), receive never -> ok end.
d_test_() -> error(bad).
e_test_() -> [fun() -> ok end, fun() -> ok end].
f_test_() -> [fun() -> beamline_test:skip("no data") end, fun() -> error(bad) end].
g_test() -> ok.
