%% SPDX-License-Identifier: Apache-2.0
%% @doc The functions of HyperBEAM's `hb_beamr_io', on instances of {@link beamline_beamr}: the guest's memory.
%%
%% Results have the same shapes. Different: every offset and length is checked, whatever it is; strings end at their zero
%% byte wherever it lies; while another process uses the instance they wait.
-module(beamline_beamr_io).

-export([size/1, read/3, write/3, read_string/2, read_string/3, write_string/2, malloc/2, free/2]).

-define(TIMEOUT_MS, 3_600_000).

-type instance() :: beamline_beamr:instance().

%% @doc Bytes of the memory.
-spec size(instance()) -> {ok, non_neg_integer()} | {error, binary()}.
size(Instance) -> use(Instance, fun() -> beamline_wasm:size(Instance) end).

%% @doc Bytes out of the memory.
-spec read(instance(), non_neg_integer(), non_neg_integer()) -> {ok, binary()} | {error, binary()}.
read(Instance, Offset, Length) when is_integer(Offset), is_integer(Length) ->
    use(Instance, fun() -> beamline_wasm:read(Instance, Offset, Length) end).

%% @doc Bytes into the memory.
-spec write(instance(), non_neg_integer(), binary()) -> ok | {error, binary()}.
write(Instance, Offset, Bytes) when is_integer(Offset), is_binary(Bytes) ->
    use(Instance, fun() -> beamline_wasm:write(Instance, Offset, Bytes) end).

%% @doc The bytes up to a zero byte.
-spec read_string(instance(), non_neg_integer()) -> {ok, binary()} | {error, binary()}.
read_string(Instance, Offset) -> read_string(Instance, Offset, 4096).

%% @doc The same. `Chunk' was how much to read at a time; here it makes no difference.
-spec read_string(instance(), non_neg_integer(), pos_integer()) -> {ok, binary()} | {error, binary()}.
read_string(Instance, Offset, Chunk) when is_integer(Offset), is_integer(Chunk) ->
    use(Instance, fun() ->
        case beamline_wasm:size(Instance) of
            {ok, Size} -> beamline_wasm:read_string(Instance, Offset, Size);
            {error, _} = Error -> Error
        end
    end).

%% @doc A string with its zero byte into memory that `malloc' gives.
-spec write_string(instance(), iodata()) -> {ok, non_neg_integer()} | {error, binary()}.
write_string(Instance, Text) -> use(Instance, fun() -> beamline_wasm:write_string(Instance, Text) end).

%% @doc Calls the export `malloc'.
-spec malloc(instance(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, malloc_failed | binary()}.
malloc(Instance, Size) when is_integer(Size) ->
    try use(Instance, fun() -> no_null(beamline_wasm:malloc(Instance, Size)) end)
    catch error:badarg -> {error, malloc_failed} % more than the guest has numbers for
    end.

no_null({error, no_memory}) -> {error, malloc_failed};
no_null(Answer) -> Answer.

%% @doc Calls the export `free'.
-spec free(instance(), non_neg_integer()) -> ok | {error, binary()}.
free(Instance, Address) when is_integer(Address) ->
    try use(Instance, fun() -> beamline_wasm:free(Instance, Address) end)
    catch error:badarg -> {error, <<"no address">>}
    end.

use({_, Ref, _}, Use) ->
    case Use() of
        {error, {busy, 0}} ->
            answer(beamline_wasm_turns:hold(Ref, ?TIMEOUT_MS, fun() -> beamline_wasm_turns:take(Use, ?TIMEOUT_MS) end));
        Answer ->
            answer(Answer)
    end.

answer({error, malloc_failed}) -> {error, malloc_failed};
answer({error, {_, #{why := Why}}}) when is_binary(Why) -> {error, Why};
answer({error, Reason}) -> {error, unicode:characters_to_binary(io_lib:format("~0tp", [Reason]))};
answer(Answer) -> Answer.
