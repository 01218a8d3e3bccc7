%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Loads handlers of WebAssembly. For a device in the VM the wasm part compiles them, and the device finds the module by its number;
%% for one in an OS process the bytes go there as they are.
-module(beamline_ring_guest).

-export([load/3]).

-define(MEMORY_LIMIT, 16 bsl 20).
-define(MOST, 1 bsl 32).
-define(TIMEOUT, 60_000).
-define(MAX_TIMEOUT, 16#FFFFFFFF).

%% A request: to be awaited so many milliseconds.
-spec load(beamline_ring_nif:handle(), binary() | beamline_wasm:module_(), beamline_ring:guest_options()) ->
    {ok, pos_integer()} | {beamline_ring:request(), timeout()} | {error, beamline_ring:reason()}.
load(Device, Code, Opts) when is_map(Opts), is_binary(Code) orelse is_reference(Code) ->
    Limit = maps:get(memory_limit, Opts, ?MEMORY_LIMIT),
    is_integer(Limit) andalso Limit > 0 andalso Limit =< ?MOST orelse error(badarg),
    load_there(beamline_ring_nif:device_info(Device), Device, Code, maps:remove(memory_limit, Opts), Limit);
load(_, _, _) ->
    error(badarg).

load_there(ask, Device, Bytes, Opts, Limit) when is_binary(Bytes) ->
    case beamline_wasm:recipe(compile_options(Opts)) of
        {ok, Recipe} -> ask(Device, Bytes, Recipe, Limit, maps:get(timeout, Opts, ?TIMEOUT));
        {error, _} = Error -> Error
    end;
load_there(ask, _, _, _, _) ->
    {error, {unsupported, compiled_module}}; % it is code of this process
load_there({ok, _}, Device, Code, Opts, Limit) ->
    case module(Code, Opts) of
        {ok, Module} -> add(Device, Module, Limit);
        {error, _} = Error -> Error
    end;
load_there({error, _} = Error, _, _, _, _) ->
    Error.

module(Bytes, Opts) when is_binary(Bytes) -> beamline_wasm:compile(Bytes, compile_options(Opts));
module(Module, Opts) when map_size(Opts) =:= 0 -> {ok, Module};
module(_, _) -> error(badarg). % it is compiled already

compile_options(Opts) -> maps:merge(#{engine => dense}, Opts).

%% The term keeps the module until the device has it.
add(Device, Module, Limit) ->
    Answer = beamline_ring_nif:load_guest(Device, beamline_wasm:module_info(Module, id), Limit),
    _ = beamline_wasm:module_info(Module, id),
    Answer.

ask(Device, Bytes, Recipe, Limit, Timeout) ->
    Timeout =:= infinity orelse is_integer(Timeout) andalso Timeout >= 0 andalso Timeout =< ?MAX_TIMEOUT orelse error(badarg),
    Ref = make_ref(),
    case beamline_ring_nif:far_load_guest(Device, Bytes, Recipe, Limit, Ref) of
        Id when is_integer(Id) -> {{Ref, {Id, Device}}, Timeout};
        {error, _} = Error -> Error
    end.
