%% SPDX-License-Identifier: Apache-2.0
%% A supervisor of given children, as a user's own tree would have.
-module(beamline_runtime_test_sup).
-behaviour(supervisor).
-export([init/1]).

init(Specs) -> {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, Specs}}.
