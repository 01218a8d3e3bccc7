%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The loader of c_src/beam/bl_wasm_nif*.c. Nothing here raises when a library is missing, broken or of another version:
%% every function answers `{error, {unsupported, {nif, Why}}}'.
-module(beamline_wasm_nif).

-export([load_library/2, library/0, compile/5, module_imports/1, module_exports/2, module_info_/1, module/1, same_function/3]).
-export([start/6, kept_fun/2, stop/1, info/1, totals/0, traps/0, controlling_process/2]).
-export([function/2, call/5, call_start/2, resume/4, refuse/3, cancel/1, wait/2, unwait/2, next_turn/1]).
-export([size/2, grow/3, read/4, write/4, fill/5, find_zero/4]).
-export([global_get/3, global_set/3, table_size/2, table_get/3, table_set/4, table_grow/4]).
-export_type([handle/0, step/0, settings/0, limits/0, link/0]).

-on_load(load/0).

-type handle() :: reference().
-type reason() :: beamline_wasm:reason().
-type name() :: binary() | undefined.
%% {Validate, Preset, Off, StackKiB, MaxBytes, MaxImports, Timeout, Expose}
-type settings() :: {boolean(), 0..2, non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer(), timeout(), boolean()}.
%% {MemoryBytes, TableElements, Instances, FuelPerCall, FuelTotal}
-type limits() :: {limit(), limit(), limit(), limit(), limit()}.
-type limit() :: non_neg_integer() | infinity.
-type link() :: host | {handle(), binary()}.
%% MsLeft: until the deadline, where whoever called cannot know.
-type step() :: {ok, [term()]} | {import, Token :: pos_integer(), Id :: non_neg_integer(), [term()]}
              | {import, Token :: pos_integer(), Id :: non_neg_integer(), [term()], MsLeft :: non_neg_integer()}
              | bad() | {error, reason()} | undefined | none.
-type bad() :: {badarg, pos_integer(), term()} | no_memory. % the guest has no room for a term

-spec load() -> ok.
load() -> beamline_native:loaded(?MODULE, erlang:load_nif(beamline_native:nif("beamline_wasm_nif"), beamline_native:version())).

missing() -> beamline_native:missing(?MODULE).

-spec load_library(binary(), boolean()) -> {ok, binary(), binary()} | {error, term()}.
load_library(_Path, _AnyVersion) -> missing().
-spec library() -> {ok, binary(), binary()} | undefined | {error, term()}.
library() -> missing().

%% The result comes as a message {beamline_wasm, Ref, {ok, Module} | ok | {error, Reason}}.
-spec compile(reference(), binary(), settings(), Folder :: binary() | undefined, Key :: binary() | undefined) -> ok | {error, reason()}.
compile(_Ref, _Bytes, _Settings, _Folder, _Key) -> missing().
-spec module_imports(handle()) -> [{binary(), binary(), beamline_wasm:type()}].
module_imports(_Module) -> missing().
%% All: also those that the option `expose' added.
-spec module_exports(handle(), All :: boolean()) -> [{binary(), beamline_wasm:type()}].
module_exports(_Module, _All) -> missing().
%% Of an instance.
-spec module(handle()) -> handle().
module(_Instance) -> missing().
-spec same_function(handle(), reference(), binary()) -> boolean() | {error, reason()}.
same_function(_Instance, _Function, _Name) -> missing().
-spec module_info_(handle()) -> tuple().
module_info_(_Module) -> missing().

%% Funs: of the module's imports, each {Import, Fun}. Who joins a guest leaves them there, for handles that are older.
-spec start(handle(), limits(), [link()], handle() | undefined, pid(), Funs :: tuple()) ->
    {ok, handle(), FirstImport :: non_neg_integer(), HasStart :: boolean()} | {error, reason()}.
start(_Module, _Limits, _Links, _With, _Owner, _Funs) -> missing().
-spec kept_fun(handle(), non_neg_integer()) -> {{binary(), binary()}, fun(([term()], map()) -> term())} | undefined.
kept_fun(_Instance, _Id) -> missing().
-spec stop(handle()) -> ok.
stop(_Instance) -> missing().
-spec info(handle()) -> [{atom(), term()}].
info(_Instance) -> missing().
-spec totals() -> [{atom(), non_neg_integer()}] | {error, term()}.
totals() -> missing().
%% By their codes.
-spec traps() -> [{atom(), pos_integer()}] | {error, term()}.
traps() -> missing().
-spec controlling_process(handle(), pid()) -> ok | {error, reason()}.
controlling_process(_Instance, _Pid) -> missing().

-spec function(handle(), binary()) -> {ok, reference()} | {error, reason()}.
function(_Instance, _Name) -> missing().
-spec call(handle(), binary() | reference(), [term()], timeout(), Flags :: non_neg_integer()) -> step().
call(_Instance, _Name, _Args, _Timeout, _Flags) -> missing().
-spec call_start(handle(), timeout()) -> step().
call_start(_Instance, _Timeout) -> missing().
-spec resume(handle(), pos_integer(), [term()], Flags :: non_neg_integer()) -> step().
resume(_Instance, _Token, _Results, _Flags) -> missing().
-spec refuse(handle(), pos_integer(), Flags :: non_neg_integer()) -> step().
refuse(_Instance, _Token, _Flags) -> missing().
-spec cancel(handle()) -> boolean().
cancel(_Instance) -> missing().

%% ok: the caller gets {beamline_wasm_turn, Turn, ok | closed} when it is its turn. own: it has the guest, in an import.
-spec wait(handle(), Turn :: reference()) -> ok | own | {error, reason()}.
wait(_Instance, _Turn) -> missing().
-spec unwait(handle(), Turn :: reference()) -> ok.
unwait(_Instance, _Turn) -> missing().
%% Looks whether the guest is idle and somebody waits.
-spec next_turn(handle()) -> ok.
next_turn(_Instance) -> missing().

-spec size(handle(), name()) -> {ok, non_neg_integer()} | {error, reason()}.
size(_Instance, _Memory) -> missing().
-spec grow(handle(), non_neg_integer(), name()) -> {ok, non_neg_integer()} | {error, reason()}.
grow(_Instance, _Pages, _Memory) -> missing().
-spec read(handle(), integer(), integer(), name()) -> {ok, binary()} | {error, reason()}.
read(_Instance, _Offset, _Length, _Memory) -> missing().
-spec write(handle(), integer(), binary(), name()) -> ok | {error, reason()}.
write(_Instance, _Offset, _Bytes, _Memory) -> missing().
-spec fill(handle(), integer(), integer(), byte(), name()) -> ok | {error, reason()}.
fill(_Instance, _Offset, _Length, _Byte, _Memory) -> missing().
-spec find_zero(handle(), integer(), integer(), name()) -> {ok, non_neg_integer()} | {error, reason()}.
find_zero(_Instance, _Offset, _Most, _Memory) -> missing().

-spec global_get(handle(), Flags :: non_neg_integer(), binary()) -> {ok, term()} | {error, reason()}.
global_get(_Instance, _Flags, _Name) -> missing().
-spec global_set(handle(), term(), binary()) -> ok | bad() | {error, reason()}.
global_set(_Instance, _Value, _Name) -> missing().
-spec table_size(handle(), binary()) -> {ok, non_neg_integer()} | {error, reason()}.
table_size(_Instance, _Name) -> missing().
-spec table_get(handle(), integer(), binary()) -> {ok, term()} | {error, reason()}.
table_get(_Instance, _Index, _Name) -> missing().
-spec table_set(handle(), integer(), term(), binary()) -> ok | bad() | {error, reason()}.
table_set(_Instance, _Index, _Value, _Name) -> missing().
-spec table_grow(handle(), integer(), term(), binary()) -> {ok, non_neg_integer()} | bad() | {error, reason()}.
table_grow(_Instance, _More, _Value, _Name) -> missing().
