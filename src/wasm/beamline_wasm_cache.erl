%% SPDX-License-Identifier: Apache-2.0
%% @private Where compiled code of some bytes lies on disk. c_src/wasm/bl_wasm_cache.c reads and writes it.
-module(beamline_wasm_cache).

-export([place/2]).

%% The folder and the first part of the files' name. Raises `badarg'.
-spec place(binary(), file:filename_all() | none) -> {binary() | undefined, binary() | undefined}.
place(_, none) ->
    {undefined, undefined};
place(Bytes, Folder) when is_binary(Bytes) ->
    {path(Folder), list_to_binary([hex(B) || <<B:4>> <= crypto:hash(sha256, Bytes)])};
place(_, _) ->
    error(badarg).

path(Folder) ->
    try unicode:characters_to_binary(filename:absname(Folder)) of
        Path when is_binary(Path) -> Path;
        _ -> error(badarg)
    catch
        error:_ -> error(badarg)
    end.

hex(B) when B < 10 -> $0 + B;
hex(B) -> $a + B - 10.
