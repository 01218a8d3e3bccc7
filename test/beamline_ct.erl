%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Runs one Common Test suite and ends with the closing line that test/run counts.
%% A suite skips with `{skip, Why}', as Common Test does.
-module(beamline_ct).

-export([main/1]).
-export([id/1, init/2, on_tc_fail/4, on_tc_skip/4]).

%% @doc `erl -run beamline_ct main Suite BeamDir LogDir'.
-spec main([string()]) -> no_return().
main([Suite, BeamDir, LogDir]) ->
    Options = [{suite, list_to_atom(Suite)}, {dir, BeamDir}, {logdir, LogDir},
               {auto_compile, false}, {ct_hooks, [?MODULE]}],
    {Passed, Failed, Skipped} = case ct:run_test(Options) of
        %% Skipped by Common Test itself: something before the test failed.
        {Ok, NotOk, {BySuite, ByItself}} -> {Ok, NotOk + ByItself, BySuite};
        Error -> io:format("FAILED: ~s: ~tp~n", [Suite, Error]), {0, 1, 0}
    end,
    io:format("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]),
    erlang:halt(case Failed of 0 -> 0; _ -> 1 end).

%% ---- the hook: says on the terminal what Common Test writes into its pages only ----

-spec id(term()) -> module().
id(_Options) -> ?MODULE.

-spec init(term(), term()) -> {ok, none}.
init(_Id, _Options) -> {ok, none}.

-spec on_tc_fail(module(), term(), term(), State) -> State.
on_tc_fail(Suite, Case, Reason, State) ->
    io:format(user, "FAILED: ~s:~tp~n    ~tP~n", [Suite, Case, Reason, 30]),
    State.

-spec on_tc_skip(module(), term(), term(), State) -> State.
on_tc_skip(Suite, Case, {_Who, Why}, State) ->
    io:format(user, "skipped: ~s:~tp: ~tp~n", [Suite, Case, Why]),
    State.
