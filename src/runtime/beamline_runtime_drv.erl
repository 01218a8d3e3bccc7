%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The loader of the port driver, and its commands. Nothing here raises when the library is
%% missing or broken: every function answers `{error, {unsupported, {nif, Why}}}'.
-module(beamline_runtime_drv).

-export([open/0, create/2, attach/2, command/2, cancel/2, info/1, operations/1, drain/1]).
-export([version/0]).

%% The version compiled into the beam files; the driver's name and the driver itself carry theirs.
-define(VERSION, "0.1.0").

%% As in c_src/beam/bl_runtime_drv.h.
-define(DRV_VERSION, 1).
-define(DRV_CREATE, 2).
-define(DRV_ATTACH, 3).
-define(DRV_CANCEL, 4).
-define(DRV_INFO, 5).
-define(DRV_OPERATIONS, 6).
-define(DRV_DRAIN, 7).

-type reason() :: beamline_runtime:reason().
-type id() :: non_neg_integer().
-export_type([id/0]).

-spec version() -> string().
version() -> ?VERSION.

%% A port owned by the caller, without a pool yet.
-spec open() -> {ok, port()} | {error, reason()}.
open() ->
    Name = "beamline_runtime_drv-" ++ ?VERSION,
    case load(beamline_native:folder([Name, "libbeamline-" ++ ?VERSION]), Name) of
        ok -> open(Name);
        {error, Why} -> unsupported(Why)
    end.

open(Name) ->
    try open_port({spawn_driver, Name}, [binary]) of
        Port -> check_version(Port)
    catch
        error:Why -> unsupported(Why)
    end.

check_version(Port) ->
    case control(Port, ?DRV_VERSION, <<>>) of
        {ok, <<?VERSION>>} ->
            {ok, Port};
        Other ->
            port_close(Port),
            unsupported({version, ?VERSION, Other})
    end.

load({error, _} = Error, _Name) ->
    Error;
load({ok, Dir}, Name) ->
    case erl_ddll:load_driver(Dir, Name) of
        ok -> ok;
        {error, already_loaded} -> ok;
        {error, permanent} -> ok;
        {error, Why} -> {error, unicode:characters_to_binary(erl_ddll:format_error(Why))}
    end.

unsupported(Why) -> {error, {unsupported, {nif, Why}}}.

%% Gives the port a new pool. Numbers by name; see bl_drv_pool.c.
-spec create(port(), #{atom() => non_neg_integer() | binary()}) -> {ok, id()} | {error, reason()}.
create(Port, Config) -> control(Port, ?DRV_CREATE, term_to_binary(Config)).

%% Gives the port the pool of another one.
-spec attach(port(), id()) -> {ok, id()} | {error, reason()}.
attach(Port, Id) -> control(Port, ?DRV_ATTACH, term_to_binary(Id)).

%% `busy': the port has more commands queued than it may; nothing was taken.
-spec command(port(), iodata()) -> ok | busy | closed.
command(Port, Data) ->
    try port_command(Port, Data, [nosuspend]) of
        true -> ok;
        false -> busy
    catch
        error:badarg -> closed
    end.

%% True when this call answered the task.
-spec cancel(port(), reference()) -> boolean().
cancel(Port, Ref) ->
    case control(Port, ?DRV_CANCEL, term_to_binary(Ref)) of
        {ok, Done} -> Done;
        {error, _} -> false
    end.

-spec info(port()) -> {ok, map()} | {error, reason()}.
info(Port) -> control(Port, ?DRV_INFO, <<>>).

-spec operations(port()) -> {ok, [atom()]} | {error, reason()}.
operations(Port) -> control(Port, ?DRV_OPERATIONS, <<>>).

%% The port takes no more tasks, and those it has are answered `{error, closed}' soon, off the schedulers.
-spec drain(port()) -> {ok, true} | {error, reason()}.
drain(Port) -> control(Port, ?DRV_DRAIN, <<>>).

control(Port, Command, Data) ->
    try erlang:port_control(Port, Command, Data) of
        <<>> -> {error, no_memory};
        Answer -> binary_to_term(Answer)
    catch
        error:badarg -> {error, closed}
    end.
