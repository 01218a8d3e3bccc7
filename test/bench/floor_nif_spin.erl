%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Loads floor_nif_spin.c. One thread for the life of a VM: `ask(-1)' ends it.
-module(floor_nif_spin).

-export([load/0, start/1, ask/1]).
-nifs([start/1, ask/1]).

-spec load() -> ok.
load() ->
    case erlang:load_nif(beamline_bench:built("floor_nif_spin"), 0) of
        ok -> ok;
        {error, {reload, _}} -> ok
    end.

-spec start(0 | 1) -> integer().
start(_) -> erlang:nif_error(not_loaded).

-spec ask(integer()) -> integer().
ask(_) -> erlang:nif_error(not_loaded).
