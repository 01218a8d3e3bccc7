%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Where the native libraries are, and whether they may be loaded: for the loaders of the parts.
-module(beamline_native).

-export([folder/1]).

%% The folder that holds these libraries (names without ".so"), unless one of them was cut short.
%% `BEAMLINE_PRIV' names another folder: sanitized builds never go to priv/.
-spec folder([string()]) -> {ok, file:filename()} | {error, binary()}.
folder(Names) ->
    case os:getenv("BEAMLINE_PRIV", "") of
        "" ->
            case code:priv_dir(beamline) of
                {error, bad_name} -> whole(beside_ebin(), Names);
                Dir -> whole({ok, Dir}, Names)
            end;
        Dir ->
            whole({ok, Dir}, Names)
    end.

beside_ebin() ->
    case code:which(?MODULE) of
        File when is_list(File) -> {ok, filename:join([filename:dirname(filename:dirname(File)), "priv"])};
        _ -> {error, <<"priv folder of beamline not found">>}
    end.

%% The dynamic loader maps a library that was cut short and dies of SIGBUS, and the node with it.
%% An ELF file is whole if its section headers, which come last, are inside.
whole({error, _} = Error, _Names) ->
    Error;
whole({ok, Dir}, Names) ->
    case [File || Name <- Names, File <- [filename:join(Dir, Name ++ ".so")], is_cut_short(File)] of
        [] -> {ok, Dir};
        [File | _] -> {error, unicode:characters_to_binary([File, ": file too short"])}
    end.

is_cut_short(File) ->
    case file:open(File, [read, raw, binary]) of
        {ok, Io} ->
            Head = file:pread(Io, 0, 64),
            ok = file:close(Io),
            ends_after(Head) > filelib:file_size(File);
        {error, _} ->
            false
    end.

%% 64-bit little-endian ELF; what is none the loader refuses by itself.
ends_after({ok, <<16#7F, "ELF", 2, 1, _:34/binary, At:64/little, _:10/binary, Size:16/little, N:16/little, _/binary>>}) ->
    At + Size * N;
ends_after(_) ->
    0.
