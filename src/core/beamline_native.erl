%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Where the native libraries lie, and whether they can be opened without danger. The only place that knows
%% the version compiled into the beam files.
-module(beamline_native).

-export([version/0, library/1, host/0, unsupported/1]).
-export([nif/1, loaded/2, missing/1]).

-define(VERSION, "0.1.0").

-type why() :: {error, term()}.

-spec version() -> string().
version() -> ?VERSION.

%% The folder and file name (without `.so') of a skin, after a look at it and at the core that it needs.
-spec library(Skin :: string()) -> {ok, file:filename(), string()} | why().
library(Skin) ->
    Name = Skin ++ "-" ++ ?VERSION,
    case whole(priv_dir(), [Name, "libbeamline-" ++ ?VERSION]) of
        {error, _} = Error -> Error;
        Dir -> {ok, Dir, Name}
    end.

%% For `-on_load': what erlang:load_nif/2 shall load, with {@link version/0} as its second argument. (It loads
%% for the module that calls it, so it must stand there.)
-spec nif(Skin :: string()) -> file:filename().
nif(Skin) ->
    case library(Skin) of
        {ok, Dir, Name} -> filename:join(Dir, Name);
        {error, Why} -> lists:flatten(io_lib:format("~ts", [Why]))
    end.

%% The end of an `-on_load' function. `ok' in any case, because a release in embedded mode would not boot otherwise;
%% what went wrong the module's stubs tell, with {@link missing/1}.
-spec loaded(module(), ok | {error, {atom(), string()}}) -> ok.
loaded(_Module, ok) -> ok;
loaded(Module, {error, {_, Text}}) -> persistent_term:put({?MODULE, Module}, unsupported(unicode:characters_to_binary(Text))).

%% What a stub answers: `{error, {unsupported, {nif, Why}}}'. (From a table, so that dialyzer does not take the stub for
%% the function.)
-spec missing(module()) -> term().
missing(Module) -> persistent_term:get({?MODULE, Module}).

%% The program for pools with an OS process.
-spec host() -> {ok, file:filename()} | why().
host() ->
    case priv_dir() of
        {error, _} = Error ->
            Error;
        Dir ->
            Program = filename:join(Dir, "beamline_host"),
            case filelib:is_regular(Program) of
                true -> {ok, Program};
                false -> {error, unicode:characters_to_binary([Program, ": no such file"])}
            end
    end.

-spec unsupported(term()) -> {error, {unsupported, {nif, term()}}}.
unsupported(Why) -> {error, {unsupported, {nif, Why}}}.

%% `BEAMLINE_PRIV' names another folder: sanitized builds never go to priv/.
priv_dir() ->
    case os:getenv("BEAMLINE_PRIV", "") of
        "" ->
            case code:priv_dir(beamline) of
                {error, bad_name} -> beside_ebin();
                Dir -> Dir
            end;
        Dir ->
            Dir
    end.

beside_ebin() ->
    case code:which(?MODULE) of
        File when is_list(File) -> filename:join([filename:dirname(filename:dirname(File)), "priv"]);
        _ -> {error, <<"priv folder of beamline not found">>}
    end.

whole({error, _} = Error, _Names) ->
    Error;
whole(Dir, Names) ->
    case [File || Name <- Names, File <- [filename:join(Dir, Name ++ ".so")], is_cut_short(File)] of
        [] -> Dir;
        [File | _] -> {error, unicode:characters_to_binary([File, ": file too short"])}
    end.

%% The dynamic loader maps a library that was cut short and dies of SIGBUS, and the node with it.
%% An ELF file is whole if its section headers, which come last, are inside.
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
