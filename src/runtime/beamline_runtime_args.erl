%% SPDX-License-Identifier: Apache-2.0
%% @private
%% An argument on its way to native code: external term format in pieces, large binaries by reference. Pure.
-module(beamline_runtime_args).

-export([pieces/1]).

%% Of the external term format: of a binary alone its head is enough.
-define(VERSION, 131).
-define(BINARY_EXT, 109).
%% A term with more pieces than this is cheaper in one, and the NIF that looks at each of them stays short.
-define(MAX_PIECES, 1024).
%% From here on the NIF keeps a piece by reference (KEEP_FROM in bl_rt_task.c).
-define(KEEP_FROM, 256).
%% A reference pins the whole binary. So slices up to this size of one more than twice as large are copied,
-define(COPY_SLICE, 65536).
%% but no more than this in one call.
-define(COPY_IN_ALL, 262144).

%% The pieces, and how many bytes they pin beyond their own.
-spec pieces(term()) -> {[binary()], Pinned :: non_neg_integer()}.
pieces(Binary) when is_binary(Binary), byte_size(Binary) >= ?KEEP_FROM, byte_size(Binary) < 1 bsl 32 ->
    unpin([<<?VERSION, ?BINARY_EXT, (byte_size(Binary)):32>>, Binary], 0, 0, []);
pieces(Term) ->
    Pieces = erlang:term_to_iovec(Term),
    case length(Pieces) =< ?MAX_PIECES of
        true -> unpin(Pieces, 0, 0, []);
        false -> {[term_to_binary(Term)], 0}
    end.

unpin([], _Copied, Pinned, Done) ->
    {lists:reverse(Done), Pinned};
unpin([Piece | Pieces], Copied, Pinned, Done) when byte_size(Piece) < ?KEEP_FROM ->
    unpin(Pieces, Copied, Pinned, [Piece | Done]);
unpin([Piece | Pieces], Copied, Pinned, Done) ->
    Size = byte_size(Piece),
    Whole = binary:referenced_byte_size(Piece),
    case Size =< ?COPY_SLICE andalso 2 * Size < Whole andalso Copied + Size =< ?COPY_IN_ALL of
        true -> unpin(Pieces, Copied + Size, Pinned, [binary:copy(Piece) | Done]);
        false -> unpin(Pieces, Copied, Pinned + Whole - Size, [Piece | Done])
    end.
