%% SPDX-License-Identifier: Apache-2.0
%%
%% More memory is asked for than there is. With few addresses (ulimit -v, see vm_variants.sh) the system says no, to
%% operations and to threads; anywhere else the quota does. Either way it is an answer, and the VM lives on.
-module(beamline_chaos_memory_tests).
-include_lib("eunit/include/eunit.hrl").

are_addresses_few() -> string:find(os:cmd("ulimit -v"), "unlimited") =:= nomatch.

more_than_there_is_is_an_answer_test_() ->
    {timeout, 120, fun() ->
        beamline_chaos:is_sanitized() andalso beamline_test:skip("a sanitizer ends the process instead"),
        beamline_chaos:unchanged(fun() ->
            beamline_chaos:with_pool(#{}, fun(Pool) ->
                ?assertEqual({error, no_memory}, beamline_runtime:call(Pool, probe_allocate, 1 bsl 46, #{})),
                [?assertMatch({error, _}, beamline_runtime:call(Pool, Op, 1 bsl 46, #{})) || Op <- [probe_allocate, probe_malloc],
                    _ <- lists:seq(1, 100)],
                ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
            end)
        end)
    end}.

memory_that_runs_out_under_many_tasks_is_an_answer_test_() ->
    {timeout, 120, fun() ->
        are_addresses_few() orelse beamline_test:skip("addresses are not limited here"),
        beamline_chaos:unchanged(fun() ->
            beamline_chaos:with_pool(#{threads => 4}, fun(Pool) ->
                Asked = [beamline_runtime:submit(Pool, probe_malloc, 600_000_000, #{}) || _ <- lists:seq(1, 20)],
                Answers = beamline_chaos:answers([Ref || {ok, Ref} <- Asked]),
                ?assert(lists:all(fun(A) -> A =:= {error, no_memory} orelse element(1, A) =:= ok end, Answers)),
                ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
            end)
        end)
    end}.

a_pool_works_with_the_threads_that_can_be_had_test_() ->
    {timeout, 120, fun() ->
        are_addresses_few() orelse beamline_test:skip("addresses are not limited here"),
        beamline_chaos:unchanged(fun() ->
            beamline_chaos:with_pool(#{threads => 1000, stack_size => 64 bsl 20}, fun(Pool) ->
                Refs = [element(2, beamline_runtime:submit(Pool, probe_wait, 1, #{})) || _ <- lists:seq(1, 2000)],
                ?assertEqual([{ok, ok}], lists:usort(beamline_chaos:answers(Refs)))
            end)
        end)
    end}.
