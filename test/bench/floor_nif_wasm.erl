%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Loads floor_nif_wasm.c.
-module(floor_nif_wasm).

-export([load/0, new/0, add/3, empty/1, copy/1, yields/1]).
-nifs([new/0, add/3, empty/1, copy/1, yields/1]).

-spec load() -> ok.
load() ->
    case erlang:load_nif(beamline_bench:built("floor_nif_wasm"), 0) of
        ok -> ok;
        {error, {reload, _}} -> ok
    end.

-spec new() -> reference().
new() -> erlang:nif_error(not_loaded).
-spec add(reference(), binary(), [integer()]) -> {ok, [integer()]}.
add(_, _, _) -> erlang:nif_error(not_loaded).
-spec empty(T) -> T.
empty(_) -> erlang:nif_error(not_loaded).
-spec copy(non_neg_integer()) -> binary().
copy(_) -> erlang:nif_error(not_loaded).
-spec yields(non_neg_integer()) -> 0.
yields(_) -> erlang:nif_error(not_loaded).
