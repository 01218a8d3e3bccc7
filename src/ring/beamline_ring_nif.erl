%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The loader of c_src/beam/bl_ring_nif.c. Nothing here raises when the library is missing, broken or of another
%% version: every function answers `{error, {unsupported, {nif, Why}}}'.
-module(beamline_ring_nif).

-export([open/1, close/1, device_info/1, devices/0, handlers/1, load/2, load_guest/3, start/4, cast/3, cast_some/3, call/4,
         request/4, cancel/1, control/4, actor_info/1, route/4, subscribe/2, unsubscribe/1, credit/2, buffer/2, view/3, write/3, read/3,
         take/1, size/1, give/2, far_open/1, far_listen/1, far_exited/2, far_state/1, far_ask/3, far_load_guest/5]).
-export_type([handle/0, id/0]).

-on_load(load/0).
-nifs([open/1, close/1, device_info/1, devices/0, handlers/1, load/2, load_guest/3, start/4, cast/3, cast_some/3, call/4,
       request/4, cancel/1, control/4, actor_info/1, route/4, subscribe/2, unsubscribe/1, credit/2, buffer/2, view/3, write/3, read/3,
       take/1, size/1, give/2, far_open/1, far_listen/1, far_exited/2, far_state/1, far_ask/3, far_load_guest/5]).

-type handle() :: reference().
-type id() :: pos_integer().
-type error() :: {error, beamline_ring:reason()}.
-type message() :: beamline_ring:message().
-type timeout_ms() :: -1 | non_neg_integer().

-spec load() -> ok.
load() -> beamline_native:loaded(?MODULE, erlang:load_nif(beamline_native:nif("beamline_ring_nif"), beamline_native:version())).

missing() -> beamline_native:missing(?MODULE).

%% {Threads, MemoryLimit | 0, MaxLost, MaxActors, SpinUs, StackBytes | 0}
-spec open({pos_integer(), non_neg_integer(), non_neg_integer(), pos_integer(), non_neg_integer(), non_neg_integer()}) ->
    {ok, handle()} | error().
open(_) -> missing().

%% Of any kind; closed or not.
-spec close(handle()) -> ok | error().
close(_) -> missing().

%% `ask': far_ask knows.
-spec device_info(handle()) -> {ok, map()} | ask | error().
device_info(_) -> missing().

%% Requests that wait for an answer, and all devices.
-spec devices() -> {non_neg_integer(), [map()]} | error().
devices() -> missing().

-spec handlers(handle()) -> {ok, [{atom(), non_neg_integer(), non_neg_integer(), [atom()], [atom()], string(), boolean()}]} | error().
handlers(_) -> missing().

-spec load(handle(), binary()) -> {ok, pos_integer()} | ask | error().
load(_, _) -> missing().

%% The module by its number, and how much memory each actor may have.
-spec load_guest(handle(), pos_integer(), pos_integer()) -> {ok, pos_integer()} | error().
load_guest(_, _, _) -> missing().

%% {State, StateSize | 0, Queue, Priority, FromVersion | -1, Stamp}. A request: its answer says whether it is there.
-spec start(handle(), atom(), {binary(), non_neg_integer(), pos_integer(), 0..3, integer(), non_neg_integer()}, reference()) ->
    {ok, handle()} | {id(), RequestRef :: reference(), handle()} | error().
start(_, _, _, _) -> missing().

-spec cast(handle(), message(), timeout_ms()) -> ok | error().
cast(_, _, _) -> missing().

%% The messages in front of the rest were accepted; `ok': the rest was not tried yet.
-spec cast_some(handle(), [message()], timeout_ms()) -> {ok | error(), Rest :: [message()]} | error().
cast_some(_, _, _) -> missing().

%% The answer if it comes at once, else as request.
-spec call(handle(), message(), timeout_ms(), reference()) -> id() | {ok, binary()} | error().
call(_, _, _, _) -> missing().
%% `{beamline, Ref, Answer}' comes, unless it is cancelled.
-spec request(handle(), message(), timeout_ms(), reference()) -> id() | error().
request(_, _, _, _) -> missing().

%% False: answered; the message is there or on its way.
-spec cancel(id()) -> boolean().
cancel(_) -> missing().

%% `ok': done already.
-spec control(handle(), suspend | resume | checkpoint | upgrade | stop, atom(), reference()) -> ok | id() | error().
control(_, _, _, _) -> missing().

-spec actor_info(handle()) -> {ok, map()} | ask | error().
actor_info(_) -> missing().

-spec route(Connect :: boolean(), handle(), atom() | non_neg_integer(), handle() | all) -> ok | {ok, non_neg_integer()} | error().
route(_, _, _, _) -> missing().

%% A window of 0: none.
-spec subscribe(handle(), non_neg_integer()) -> {ok, reference()} | error().
subscribe(_, _) -> missing().

-spec unsubscribe(reference()) -> boolean().
unsubscribe(_) -> missing().

-spec credit(reference(), non_neg_integer()) -> boolean().
credit(_, _) -> missing().

-spec buffer(handle(), non_neg_integer()) -> {ok, handle()} | {id(), RequestRef :: reference(), handle()} | error().
buffer(_, _) -> missing().

-spec view(handle(), non_neg_integer(), non_neg_integer()) -> {ok, handle()} | error().
view(_, _, _) -> missing().

-spec write(handle(), non_neg_integer(), binary()) -> ok | error().
write(_, _, _) -> missing().

-spec read(handle(), non_neg_integer(), non_neg_integer()) -> {ok, binary()} | error().
read(_, _, _) -> missing().

-spec take(handle()) -> {ok, binary()} | error().
take(_) -> missing().

-spec size(handle()) -> {ok, non_neg_integer()} | error().
size(_) -> missing().

-spec give(handle(), pid()) -> ok | error().
give(_, _) -> missing().

%%% Devices in an OS process

%% {Threads, MemoryLimit | 0, MaxLost, MaxActors, SpinUs, StackBytes | 0, HeartbeatMs, CheckpointMs | 0, CheckpointMessages | 0}.
%% The device ends with the calling process, whoever owns it.
-spec far_open({pos_integer(), non_neg_integer(), non_neg_integer(), pos_integer(), non_neg_integer(), non_neg_integer(), pos_integer(),
                non_neg_integer(), non_neg_integer()}) -> {ok, handle()} | error().
far_open(_) -> missing().

%% Where the process is awaited.
-spec far_listen(handle()) -> {ok, file:filename()} | error().
far_listen(_) -> missing().

-spec far_exited(handle(), binary()) -> ok | error().
far_exited(_, _) -> missing().

%% And how the last process ended.
-spec far_state(handle()) -> {down | listening | up | broken | closed, binary()} | error().
far_state(_) -> missing().

%% A request of what only the process knows: a device's or an actor's `info', the loading of a file. `last': of a device what it
%% has told already.
-spec far_ask(handle(), info | last | binary(), reference()) -> id() | {ok, map()} | error().
far_ask(_, _, _) -> missing().

%% A module of WebAssembly, to be compiled so in the process, and how much memory each actor may have.
-spec far_load_guest(handle(), binary(), beamline_wasm:recipe(), pos_integer(), reference()) -> id() | error().
far_load_guest(_, _, _, _, _) -> missing().
