%% SPDX-License-Identifier: Apache-2.0
%% @private Finds wasmtime's library and opens it, once for the life of the VM.
%%
%% Looked for in this order, and the first that is named is the only one tried: `BEAMLINE_WASMTIME_LIB', the application's
%% key `wasmtime_lib', what set-up brought into `_build/wasmtime'.
-module(beamline_wasm_library).

-export([info/0, loaded/0, any_version/0]).

-spec info() -> {ok, #{path := binary(), version := binary()}} | {error, {unsupported, #{what := wasmtime, looked := [{binary(),
    binary()}]}}}
              | {error, term()}.
info() ->
    case beamline_wasm_nif:library() of
        {ok, Path, Version} -> {ok, #{path => Path, version => Version}};
        undefined -> load(candidates(), []);
        {error, _} = Error -> Error
    end.

%% Whether there is one: ok, or the error that every function answers without it.
-spec loaded() -> ok | {error, beamline_wasm:reason()}.
loaded() ->
    case info() of
        {ok, _} -> ok;
        {error, {unsupported, #{}}} -> {error, {unsupported, wasmtime}};
        {error, _} = Error -> Error
    end.

load([], Looked) ->
    {error, {unsupported, #{what => wasmtime, looked => lists:reverse(Looked)}}};
load([Path | Paths], Looked) ->
    case beamline_wasm_nif:load_library(Path, any_version()) of
        {ok, _, Version} -> {ok, #{path => Path, version => Version}};
        {error, {unsupported, {nif, _}}} = Error -> Error;
        {error, Why} -> load(Paths, [{Path, Why} | Looked])
    end.

%% Whether one outside of the range is taken, too.
-spec any_version() -> boolean().
any_version() -> application:get_env(beamline, wasmtime_any_version, false) =:= true.

candidates() ->
    case {os:getenv("BEAMLINE_WASMTIME_LIB", ""), application:get_env(beamline, wasmtime_lib)} of
        {"", undefined} -> [iolist_to_binary(Path) || Path <- brought()];
        {"", {ok, Path}} -> [unicode:characters_to_binary(Path)];
        {Path, _} -> [unicode:characters_to_binary(Path)]
    end.

%% Beside the folder of the build: _build/<profile>/lib/beamline/ebin.
brought() ->
    case code:which(?MODULE) of
        Beam when is_list(Beam) ->
            Up = lists:foldl(fun(_, Dir) -> filename:dirname(Dir) end, filename:absname(Beam), lists:seq(1, 5)),
            [unicode:characters_to_binary(filename:join([Up, "wasmtime", "libwasmtime.so"]))];
        _ ->
            []
    end.
