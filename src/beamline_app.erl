%% SPDX-License-Identifier: Apache-2.0
%%
%% @private
-module(beamline_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    ok = beamline_metrics_vm:register(),
    ok = beamline_runtime_metrics:register(),
    ok = beamline_wasm_metrics:register(),
    ok = beamline_ring_metrics:register(),
    beamline_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
