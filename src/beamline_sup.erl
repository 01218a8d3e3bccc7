%% SPDX-License-Identifier: Apache-2.0
%%
%% @private The top of the application's tree: what every node has. Services, further pools,
%% guests and devices stand in their users' own trees.
-module(beamline_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% `{beamline, [{default_pool, PoolOptions}]}' in the environment configures the default pool.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = beamline_runtime_pool:new_table(),
    ok = beamline_ring_device:new_table(),
    ok = beamline_ring_actor:new_table(),
    Default = maps:merge(application:get_env(beamline, default_pool, #{}), #{name => beamline_runtime}),
    Children = [beamline_crystal_cache:child_spec(), beamline_runtime:child_spec(Default)],
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, Children}}.
