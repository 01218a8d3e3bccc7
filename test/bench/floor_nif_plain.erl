%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Loads floor_nif_plain.c.
-module(floor_nif_plain).

-export([load/0, nothing/1]).
-nifs([nothing/1]).

-spec load() -> ok.
load() ->
    case erlang:load_nif(beamline_bench:built("floor_nif_plain"), 0) of
        ok -> ok;
        {error, {reload, _}} -> ok
    end.

-spec nothing(term()) -> term().
nothing(_) -> erlang:nif_error(not_loaded).
