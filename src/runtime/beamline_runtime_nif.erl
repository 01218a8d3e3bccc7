%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The loader of the runtime's NIFs. They live in the port driver's file (beamline_runtime_drv).
-module(beamline_runtime_nif).

-export([submit/5, submit_pieces/6, cancel/2, owners/1, trace/2, version/0]).

-on_load(load/0).
-nifs([submit/5, submit_pieces/6, cancel/2, owners/1, trace/2, version/0]).

%% Of a pool, as the driver gave it.
-type id() :: non_neg_integer().
-export_type([id/0]).

load() -> beamline_native:loaded(?MODULE, erlang:load_nif(beamline_native:nif("beamline_runtime_drv"), beamline_native:version())).

%% Starts a task for the calling process, if its argument is small. `large': use submit_pieces/6.
-spec submit(id(), reference(), atom(), beamline_runtime_opts:wire_options(), term()) -> ok | large | {error, beamline_runtime:reason()}.
submit(_Id, _Ref, _Op, _Options, _Args) -> missing().

%% The same; the argument in external term format, in pieces, and how many bytes these pin beyond their own.
-spec submit_pieces(id(), reference(), atom(), beamline_runtime_opts:wire_options(), [binary()], non_neg_integer()) ->
    ok | {error, beamline_runtime:reason()}.
submit_pieces(_Id, _Ref, _Op, _Options, _Pieces, _Pinned) -> missing().

%% True when this call answered the task.
-spec cancel(id(), reference()) -> boolean().
cancel(_Id, _Ref) -> missing().

%% Processes with unanswered tasks: their number, and the bytes of their arguments. 64 of each source at most.
-spec owners(id()) -> [{pid(), pos_integer(), non_neg_integer()}].
owners(_Id) -> missing().

%% Microseconds from submission, -1: not yet. False: not here, or forgotten.
-spec trace(id(), reference()) ->
    {Priority :: 0..3, Status :: atom(), Started :: integer(), Answered :: integer(), Finished :: integer()} | false.
trace(_Id, _Ref) -> missing().

%% Of the native code; an error when it is not there.
-spec version() -> string() | {error, beamline_runtime:reason()}.
version() -> missing().

missing() -> beamline_native:missing(?MODULE).
