%% SPDX-License-Identifier: Apache-2.0
%% @private Memories, tables and globals that the host gives to a guest: each is a small module of its own that exports `it'.
-module(beamline_wasm_made).

-export([start/5]).

-spec start(beamline_wasm:import(), beamline_wasm:instance() | undefined, beamline_wasm:module_(), beamline_wasm:start_options(),
            beamline_wasm_nif:limits()) -> {ok, beamline_wasm:instance()} | {error, beamline_wasm:reason()}.
start(Import, With, For, Options, {Memory, Table, Instances, Fuel, FuelTotal}) ->
    %% The same engine as the module that it is for, else they could not be in one guest.
    Info = beamline_wasm_compile:info(For),
    case beamline_wasm_compile:compile(iolist_to_binary(text(Import)), (maps:with([engine, off, stack], Info))#{cache => none}) of
        {ok, Module} ->
            Limits = #{memory_limit => Memory, table_limit => Table, instance_limit => Instances, fuel => Fuel, fuel_limit => FuelTotal,
                       owner => maps:get(owner, Options, self())},
            case beamline_wasm_link:start(Module, case With of undefined -> Limits; _ -> Limits#{with => With} end) of
                {ok, Instance, false} -> {ok, Instance};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

text({memory, #{min := Min} = Spec}) ->
    io_lib:format("(module (memory (export \"it\") ~s ~b ~s))", [index(Spec), Min, max(Spec)]);
text({table, #{min := Min} = Spec}) ->
    io_lib:format("(module (table (export \"it\") ~s ~b ~s ~s))", [index(Spec), Min, max(Spec), maps:get(element, Spec, funcref)]);
text({global, #{type := Type} = Spec}) ->
    Form = case maps:get(mutable, Spec, false) of true -> io_lib:format("(mut ~s)", [Type]); false -> atom_to_list(Type) end,
    io_lib:format("(module (global (export \"it\") ~s ~s))", [Form, constant(Type, maps:get(value, Spec, default(Type)))]).

index(#{index := i64}) -> "i64";
index(_) -> "".

max(#{max := Max}) when is_integer(Max) -> integer_to_list(Max);
max(_) -> "".

default(Type) when Type =:= i32; Type =:= i64 -> 0;
default(Type) when Type =:= f32; Type =:= f64 -> 0.0;
default(_) -> null.

constant(Type, N) when (Type =:= i32 orelse Type =:= i64), is_integer(N) -> io_lib:format("(~s.const ~b)", [Type, N]);
constant(Type, F) when (Type =:= f32 orelse Type =:= f64), is_float(F) -> io_lib:format("(~s.const ~w)", [Type, F]);
constant(Type, nan) -> io_lib:format("(~s.const nan)", [Type]);
constant(Type, infinity) -> io_lib:format("(~s.const inf)", [Type]);
constant(Type, neg_infinity) -> io_lib:format("(~s.const -inf)", [Type]);
constant(funcref, null) -> "(ref.null func)";
constant(externref, null) -> "(ref.null extern)";
constant(Type, Value) -> error(badarg, [Type, Value]).
