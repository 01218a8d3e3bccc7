%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Loads handlers of WebAssembly: the wasm part compiles them, the device finds the module by its number.
-module(beamline_ring_guest).

-export([load/3]).

-define(MEMORY_LIMIT, 16 bsl 20).
-define(MOST, 1 bsl 32).

-spec load(beamline_ring_nif:handle(), binary() | beamline_wasm:module_(), beamline_ring:guest_options()) ->
    {ok, pos_integer()} | {error, beamline_ring:reason()}.
load(Device, Code, Opts) when is_map(Opts), is_binary(Code) orelse is_reference(Code) ->
    Limit = maps:get(memory_limit, Opts, ?MEMORY_LIMIT),
    is_integer(Limit) andalso Limit > 0 andalso Limit =< ?MOST orelse error(badarg),
    case module(Code, maps:remove(memory_limit, Opts)) of
        {ok, Module} -> add(Device, Module, Limit);
        {error, _} = Error -> Error
    end;
load(_, _, _) ->
    error(badarg).

module(Bytes, Opts) when is_binary(Bytes) -> beamline_wasm:compile(Bytes, maps:merge(#{engine => dense}, Opts));
module(Module, Opts) when map_size(Opts) =:= 0 -> {ok, Module};
module(_, _) -> error(badarg). % it is compiled already

%% The term keeps the module until the device has it.
add(Device, Module, Limit) ->
    Answer = beamline_ring_nif:load_guest(Device, beamline_wasm:module_info(Module, id), Limit),
    _ = beamline_wasm:module_info(Module, id),
    Answer.
