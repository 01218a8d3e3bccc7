%% SPDX-License-Identifier: Apache-2.0
%% @private Memories, tables and globals that the host gives to a guest: each is a small module of its own that exports `it'.
-module(beamline_wasm_made).

-export([start/5, is_good/1]).

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

constant(Type, N) when Type =:= i32; Type =:= i64 -> io_lib:format("(~s.const ~b)", [Type, N]);
constant(funcref, null) -> "(ref.null func)";
constant(externref, null) -> "(ref.null extern)";
constant(Type, {Type, Bits}) -> io_lib:format("(~s.const ~s)", [Type, float_of(size_of(Type), Bits)]);
constant(f32, F) when is_float(F) -> % rounded once, as an argument is
    <<Bits:32>> = <<F:32/float>>,
    constant(f32, {f32, Bits});
constant(Type, nan) -> io_lib:format("(~s.const nan)", [Type]);
constant(Type, infinity) -> io_lib:format("(~s.const inf)", [Type]);
constant(Type, neg_infinity) -> io_lib:format("(~s.const -inf)", [Type]);
constant(Type, F) -> io_lib:format("(~s.const ~w)", [Type, F]).

float_of(Size, Bits) ->
    Exponent = case Size of 32 -> 8; 64 -> 11 end,
    case <<Bits:Size>> of
        <<F:Size/float>> -> io_lib:format("~w", [F]);
        <<Sign:1, _:Exponent, 0:(Size - 1 - Exponent)>> -> [sign(Sign), "inf"];
        <<Sign:1, _:Exponent, Payload:(Size - 1 - Exponent)>> -> [sign(Sign), "nan:0x", integer_to_list(Payload, 16)]
    end.

sign(0) -> "";
sign(1) -> "-".

size_of(Type) when Type =:= i32; Type =:= f32 -> 32;
size_of(_) -> 64.

%%% What can be made

-define(LEAST_TOO_LARGE, 3.4028235677973366e38). % for 32 bits

%% Whether it is described as the type import() says.
-spec is_good(term()) -> boolean().
is_good({Kind, #{min := Min} = Spec}) when Kind =:= memory; Kind =:= table ->
    is_integer(Min) andalso Min >= 0 andalso is_most(maps:get(max, Spec, infinity), Min) andalso
        lists:member(maps:get(index, Spec, i32), [i32, i64]) andalso lists:member(maps:get(element, Spec, funcref), [funcref, externref]);
is_good({global, #{type := Type} = Spec}) ->
    lists:member(Type, [i32, i64, f32, f64, funcref, externref]) andalso is_boolean(maps:get(mutable, Spec, false)) andalso
        is_value(Type, maps:get(value, Spec, default(Type)));
is_good(_) ->
    false.

is_most(infinity, _) -> true;
is_most(Max, Min) -> is_integer(Max) andalso Max >= Min.

is_value(Type, N) when Type =:= i32; Type =:= i64 ->
    is_integer(N) andalso N >= -(1 bsl (size_of(Type) - 1)) andalso N < 1 bsl size_of(Type);
is_value(Type, null) -> Type =:= funcref orelse Type =:= externref;
is_value(Type, _) when Type =:= funcref; Type =:= externref -> false;
is_value(Type, {Type, Bits}) -> is_integer(Bits) andalso Bits >= 0 andalso Bits < 1 bsl size_of(Type);
is_value(f32, F) when is_float(F) -> abs(F) < ?LEAST_TOO_LARGE;
is_value(_, F) -> is_float(F) orelse lists:member(F, [nan, infinity, neg_infinity]).
