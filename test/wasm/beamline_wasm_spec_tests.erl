%% SPDX-License-Identifier: Apache-2.0
%% The scripts of the specification that are among the shared test data.
-module(beamline_wasm_spec_tests).

-include_lib("eunit/include/eunit.hrl").

scripts_of_the_specification_pass_test_() ->
    {timeout, 300, fun() ->
        Dir = beamline_test:shared_data("wasm-spec"),
        ok = wasm_fixture:start(),
        {Passed, Failed, Skipped} = conformance_wasm:run(Dir, fun(Format, Args) -> io:format(user, Format, Args) end),
        io:format(user, "~b passed, ~b skipped of the scripts~n", [Passed, Skipped]),
        ?assert(Passed > 20_000),
        ?assertEqual(0, Failed)
    end}.
