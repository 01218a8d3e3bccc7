%% SPDX-License-Identifier: Apache-2.0
%% The README's example: a guest in C, called under a supervisor.
-module(beamline_wasm_example_tests).

-include_lib("eunit/include/eunit.hrl").

a_guest_in_c_counts_words_under_a_supervisor_test_() ->
    {timeout, 60, fun() ->
        ok = wasm_fixture:start(),
        Bytes = compiled(beamline_test:source_file("test/wasm/guest_example.c")),
        Log = fun([At, Length], #{instance := I, state := Lines}) -> {ok, Line} = beamline_wasm:read(I, At, Length), {[],
            [Line | Lines]} end,
        Now = fun([], _) -> [erlang:system_time(millisecond)] end,
        {ok, Sup} = supervisor:start_link(beamline_wasm_test_sup, [beamline_wasm:child_spec(#{
            module => Bytes, name => {local, word_counter},
            start => #{imports => #{{<<"host">>, <<"log">>} => Log, {<<"host">>, <<"now">>} => Now}, memory_limit => 4 bsl 20,
                state => []}})]),
        {ok, Guest} = beamline_wasm_server:instance(word_counter),
        Text = <<"so much depends upon a red wheel barrow">>,
        {ok, At} = beamline_wasm:malloc(Guest, byte_size(Text)),
        ok = beamline_wasm:write(Guest, At, Text),
        ?assertEqual({ok, [8]}, beamline_wasm_server:call(word_counter, <<"words">>, [At, byte_size(Text)])),
        ?assertEqual({ok, [<<"counted">>]}, beamline_wasm_server:state(word_counter)),
        ok = beamline_wasm:free(Guest, At),
        {ok, [Ms]} = beamline_wasm_server:call(word_counter, <<"elapsed">>, [erlang:system_time(millisecond) - 5]),
        ?assert(Ms >= 5),
        unlink(Sup),
        exit(Sup, shutdown)
    end}.

compiled(Source) ->
    [beamline_test:skip([Tool, " is not installed"]) || Tool <- ["clang", "wasm-ld"], os:find_executable(Tool) =:= false],
    Wasm = filename:join(beamline_test:scratch_dir("wasm_example"), "guest.wasm"),
    Said = os:cmd("clang -O2 --target=wasm32 -nostdlib -Wl,--no-entry -o " ++ Wasm ++ " " ++ Source),
    case file:read_file(Wasm) of
        {ok, Bytes} -> Bytes;
        {error, _} -> error({clang, Said})
    end.
