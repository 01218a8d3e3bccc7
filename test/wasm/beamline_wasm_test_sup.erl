%% SPDX-License-Identifier: Apache-2.0
-module(beamline_wasm_test_sup).
-behaviour(supervisor).

-export([init/1]).

init(Specs) -> {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, Specs}}.
