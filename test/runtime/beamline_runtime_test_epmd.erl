%% SPDX-License-Identifier: Apache-2.0
%%
%% A port mapper that knows nobody: so a test can start distribution without a daemon.
-module(beamline_runtime_test_epmd).

-export([start_link/0, register_node/2, register_node/3, address_please/3, names/1]).

start_link() -> ignore.
register_node(Name, Port) -> register_node(Name, Port, inet).
register_node(_Name, _Port, _Driver) -> {ok, 1}.
address_please(_Name, _Host, _Family) -> {error, nxdomain}.
names(_Host) -> {ok, []}.
