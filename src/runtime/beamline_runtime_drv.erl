%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The loader of the port driver, and its commands: a port is a pool. Nothing here raises when the library is
%% missing or broken: every function answers `{error, {unsupported, {nif, Why}}}'.
-module(beamline_runtime_drv).

-export([open/1, info/1, operations/1]).
-export([remote/3, listen/1, host_exited/2]).

%% As in c_src/beam/bl_runtime_drv.c.
-define(DRV_VERSION, 1).
-define(DRV_CREATE, 2).
-define(DRV_INFO, 3).
-define(DRV_OPERATIONS, 4).
-define(DRV_REMOTE, 5).
-define(DRV_LISTEN, 6).
-define(DRV_EXITED, 7).

-type reason() :: beamline_runtime:reason().

%% A pool that lives as long as its port, and a port that belongs to the caller. Numbers by name; see bl_pool_terms.c.
-spec open(#{atom() => non_neg_integer() | binary()}) -> {ok, port(), beamline_runtime_nif:id()} | {error, reason()}.
open(Config) ->
    case load(beamline_native:library("beamline_runtime_drv")) of
        {ok, Name} -> open(Name, Config);
        {error, Why} -> beamline_native:unsupported(Why)
    end.

load({ok, Dir, Name}) ->
    case erl_ddll:load_driver(Dir, Name) of
        ok -> {ok, Name};
        {error, already_loaded} -> {ok, Name};
        {error, permanent} -> {ok, Name};
        {error, Why} -> {error, unicode:characters_to_binary(erl_ddll:format_error(Why))}
    end;
load({error, _} = Error) ->
    Error.

open(Name, Config) ->
    try open_port({spawn_driver, Name}, [binary]) of
        Port -> create(Port, Config, control(Port, ?DRV_VERSION, <<>>), beamline_runtime_nif:version())
    catch
        error:Why -> beamline_native:unsupported(Why)
    end.

create(Port, Config, Driver, Nif) ->
    Version = beamline_native:version(),
    Binary = list_to_binary(Version),
    Created = case {Driver, Nif} of
        {{ok, Text}, Version} when Text =:= Binary -> control(Port, ?DRV_CREATE, term_to_binary(Config));
        {{ok, _}, {error, _}} -> Nif;
        _ -> beamline_native:unsupported({version, Version, Driver, Nif})
    end,
    opened(Port, Created).

opened(Port, {ok, Id}) ->
    {ok, Port, Id};
opened(Port, {error, _} = Error) ->
    port_close(Port),
    Error.

-spec info(port()) -> {ok, map()} | {error, reason()}.
info(Port) -> control(Port, ?DRV_INFO, <<>>).

-spec operations(port()) -> {ok, [atom()]} | {error, reason()}.
operations(Port) -> control(Port, ?DRV_OPERATIONS, <<>>).

%% The tasks of this pool run in an OS process, which gets HostConfig and is killed when it is silent for so long.
-spec remote(port(), HeartbeatMs :: pos_integer(), HostConfig :: term()) -> ok | {error, reason()}.
remote(Port, HeartbeatMs, HostConfig) -> done(control(Port, ?DRV_REMOTE, term_to_binary({HeartbeatMs, term_to_binary(HostConfig)}))).

%% The socket where the next host shall join. `busy': the last one is not forgotten yet.
-spec listen(port()) -> {ok, file:filename()} | {error, reason()}.
listen(Port) ->
    case control(Port, ?DRV_LISTEN, <<>>) of
        {ok, Path} -> {ok, binary_to_list(Path)};
        {error, _} = Error -> Error
    end.

%% The host's process ended, and how.
-spec host_exited(port(), binary()) -> ok.
host_exited(Port, Why) ->
    _ = control(Port, ?DRV_EXITED, term_to_binary(Why)),
    ok.

done({ok, true}) -> ok;
done({error, _} = Error) -> Error.

control(Port, Command, Data) ->
    try erlang:port_control(Port, Command, Data) of
        <<>> -> {error, no_memory};
        Answer -> binary_to_term(Answer)
    catch
        error:badarg -> {error, closed}
    end.
