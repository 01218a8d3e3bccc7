%% SPDX-License-Identifier: Apache-2.0
%% @private What the guests of this node do and hold, as metrics: the native code counts, and is read when somebody looks.
-module(beamline_wasm_metrics).

-export([register/0, collect/0, compiled/1]).

-define(SECONDS, beamline_wasm_compile_seconds).
-define(COMPILED, beamline_wasm_compiled_total).
-define(US, [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]).

-spec register() -> ok.
register() ->
    ok = beamline_metrics:histogram(?SECONDS, #{help => "Time to make a module's code, from the cache or not.", divisor => 1_000_000,
        buckets => ?US}),
    ok = beamline_metrics:counter(?COMPILED, #{help => "Modules compiled, by how.", labels => [outcome]}),
    beamline_metrics:collector(?MODULE, {?MODULE, collect, []}).

%% Works without the application, too: then nobody counts.
-spec compiled({ok, beamline_wasm:module_()} | {error, term()}) -> ok.
compiled({ok, Module}) ->
    #{compile_us := Us, cached := Cached} = beamline_wasm_compile:info(Module),
    count(case Cached of true -> cached; false -> compiled end),
    try beamline_metrics:observe(?SECONDS, Us) catch error:_ -> ok end,
    ok;
compiled({error, _}) ->
    count(refused).

count(Outcome) ->
    try beamline_metrics:add(?COMPILED, [Outcome], 1) catch error:_ -> ok end,
    ok.

-spec collect() -> [beamline_metrics:family()].
collect() ->
    case beamline_wasm_nif:totals() of
        {error, _} -> [];
        Totals ->
            Traps = [{[{code, Code}], N} || {Code, N} <- beamline_wasm_nif:traps()],
            [#{name => beamline_wasm_traps_total, type => counter, help => "Traps, by their code.", samples => Traps}
             | [family(Name, Type, Help, maps:get(Key, maps:from_list(Totals)) / Unit) || {Key, Name, Type, Help, Unit} <- families()]]
    end.

families() ->
    [{guests, beamline_wasm_guests, gauge, "Guests that are alive.", 1},
     {calls, beamline_wasm_calls_total, counter, "Calls on a fiber.", 1},
     {direct_calls, beamline_wasm_direct_calls_total, counter, "Calls of short functions.", 1},
     {imports, beamline_wasm_imports_total, counter, "Imports that Erlang answered.", 1},
     {slices, beamline_wasm_slices_total, counter, "Slices of calls.", 1},
     {slices_over_1ms, beamline_wasm_long_slices_total, counter, "Slices longer than a millisecond.", 1},
     {longest_slice_ns, beamline_wasm_longest_slice_seconds, gauge, "The longest slice so far.", 1_000_000_000},
     {migrations, beamline_wasm_migrations_total, counter, "Calls that went to a dirty scheduler.", 1},
     {cancelled, beamline_wasm_cancelled_total, counter, "Calls ended by cancel, close or a death.", 1},
     {timed_out, beamline_wasm_timed_out_total, counter, "Calls ended by their deadline.", 1},
     {fuel, beamline_wasm_fuel_total, counter, "Instructions executed, as the library counts them and as last seen.", 1},
     {memory_bytes, beamline_wasm_memory_bytes, gauge, "Bytes of the guests' memories, as last seen.", 1}].

family(Name, Type, Help, Value) -> #{name => Name, type => Type, help => Help, samples => [{[], Value}]}.
