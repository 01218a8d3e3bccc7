%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Loads floor_nif_dirty.c.
-module(floor_nif_dirty).

-export([load/0, nothing/0]).
-nifs([nothing/0]).

-spec load() -> ok.
load() ->
    case erlang:load_nif(beamline_bench:built("floor_nif_dirty"), 0) of
        ok -> ok;
        {error, {reload, _}} -> ok
    end.

-spec nothing() -> ok.
nothing() -> erlang:nif_error(not_loaded).
