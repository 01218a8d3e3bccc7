%% SPDX-License-Identifier: Apache-2.0
%% @doc Plain and extended XYZ files of any length, a piece at a time: what is in memory is a piece of the
%% file and the structures in it, whatever the file's size. Files compressed with gzip are read, too.
%%
%% ```
%% {ok, Sum} = beamline_crystal_frames:fold(fun(S, N) -> N + beamline_crystal:number_of_atoms(S) end, 0,
%%                                          {file, "run.xyz"}, #{}).
%% {ok, Writer} = beamline_crystal_frames:create("out.xyz", #{}),
%% ok = beamline_crystal_frames:append([Structure], Writer),
%% ok = beamline_crystal_frames:close(Writer).
%% '''
%% A reader or writer belongs to the process that opened it and is used by it alone; each reading
%% continues with the reader that the last one answered. Errors are those of {@link beamline_crystal:parse/3}, with the
%% line in the whole file, and `{file, Posix}'.
-module(beamline_crystal_frames).

-export([open/2, next/1, fold/4, create/2, append/2, close/1]).

-export_type([source/0, options/0, reader/0, writer/0]).

-type source() :: {file, file:name_all()} | {binary, binary()}.

-type options() :: #{
    %% how much is read at a time; a frame that is longer is read whole. Default 1 MiB
    chunk_bytes => pos_integer(),
    %% default 256 MiB
    max_frame_bytes => pos_integer(),
    %% default infinity
    max_frames => non_neg_integer() | infinity,
    %% of one frame; default 8 Mi
    max_atoms => non_neg_integer(),
    %% for the tasks that parse and write; default: those of beamline_runtime:call/3
    task => beamline_runtime:task_options(),
    %% of the file to be written; default false
    compressed => boolean()
}.

%% Not file:open/2 with `compressed': that takes a file that is cut off for a whole one.
-record(gzip, {
    device :: file:io_device(),
    stream :: zlib:zstream(),
    read :: non_neg_integer(), % bytes of the file
    more = false :: boolean()  % the stream holds input
}).
-record(reader, {
    device :: file:io_device() | {binary, binary()} | #gzip{},
    rest :: binary(),          % read, not parsed
    ended = false :: boolean(), % nothing comes after it
    line = 0 :: non_neg_integer(), % lines before it
    frames = 0 :: non_neg_integer(),
    options :: options()
}).
-record(writer, {device :: file:io_device(), options :: options()}).
-opaque reader() :: #reader{}.
-opaque writer() :: #writer{}.

-define(CHUNK, 1024 * 1024).
-define(PACKED, 64 * 1024).
-define(FRAME_MAX, 256 * 1024 * 1024).

%% @doc Opens a file or a binary. Options that are none raise `badarg'.
-spec open(source(), options()) -> {ok, reader()} | {error, beamline_runtime:reason() | {file, term()}}.
open({binary, <<16#1f, 16#8b, _/binary>>}, Options) ->
    _ = checked(Options),
    {error, {unsupported, gzip_in_memory}};
open({binary, Binary}, Options) when is_binary(Binary) ->
    {ok, #reader{device = {binary, Binary}, rest = <<>>, options = checked(Options)}};
open({file, Name}, Options) ->
    Checked = checked(Options),
    case file:open(Name, [read, raw, binary]) of
        {ok, Device} -> opened(Device, file:read(Device, 2), Checked);
        {error, Why} -> {error, {file, Why}}
    end;
open(_, _) ->
    error(badarg).

opened(Device, {ok, <<16#1f, 16#8b>> = Begin}, Options) ->
    Stream = zlib:open(),
    ok = zlib:inflateInit(Stream, 31, reset), % gzip, one behind the other
    {finished, _} = zlib:safeInflate(Stream, Begin),
    {ok, #reader{device = #gzip{device = Device, stream = Stream, read = 2}, rest = <<>>, options = Options}};
opened(Device, {ok, Begin}, Options) -> {ok, #reader{device = Device, rest = Begin, options = Options}};
opened(Device, eof, Options) -> {ok, #reader{device = Device, rest = <<>>, options = Options}};
opened(Device, {error, Why}, _) ->
    _ = file:close(Device),
    {error, {file, Why}}.

checked(Options) ->
    is_map(Options) orelse error(badarg),
    Valid = fun
        (Key, V) when Key =:= chunk_bytes; Key =:= max_frame_bytes -> is_integer(V) andalso V > 0;
        (max_frames, infinity) -> true;
        (Key, V) when Key =:= max_frames; Key =:= max_atoms -> is_integer(V) andalso V >= 0;
        (task, V) -> is_map(V);
        (compressed, V) -> is_boolean(V);
        (_, _) -> false
    end,
    maps:foreach(fun(Key, V) -> Valid(Key, V) orelse error(badarg) end, Options),
    Options.

%% @doc The structures of the next piece, at least one; `done' at the end. After an error the reader is of no use.
-spec next(reader()) -> {ok, [beamline_crystal:structure()], reader()} | done | {error, beamline_runtime:reason() | {file, term()}}.
next(#reader{rest = Rest, ended = true} = Reader) ->
    case cut(Rest, Reader) of
        {0, _} -> last(Reader);
        {Bytes, Lines} -> parse(Bytes, Lines, Reader)
    end;
next(#reader{rest = Rest, device = Device, options = Options} = Reader) ->
    %% A long frame doubles what is read: it is not scanned from its begin over and over.
    case read(Device, max(maps:get(chunk_bytes, Options, ?CHUNK), byte_size(Rest))) of
        {ok, More, Left} -> whole(Reader#reader{device = Left, rest = <<Rest/binary, More/binary>>});
        eof -> next(Reader#reader{ended = true});
        Error -> Error
    end;
next(_) ->
    error(badarg).

read({binary, <<>>}, _) -> eof;
read({binary, Binary}, Bytes) ->
    N = min(Bytes, byte_size(Binary)),
    <<Piece:N/binary, Left/binary>> = Binary,
    {ok, Piece, {binary, Left}};
read(#gzip{} = Gzip, Bytes) -> inflate(Gzip, Bytes, []);
read(Device, Bytes) ->
    case file:read(Device, Bytes) of
        {ok, Piece} -> {ok, Piece, Device};
        eof -> eof;
        {error, Why} -> {error, {file, Why}}
    end.

inflate(Gzip, Bytes, Parts) when Bytes =< 0 -> {ok, iolist_to_binary(Parts), Gzip};
inflate(#gzip{stream = Stream, read = Read} = Gzip, Bytes, Parts) ->
    case packed(Gzip) of
        {ok, Packed} ->
            try zlib:safeInflate(Stream, Packed) of
                {Status, Part} ->
                    Left = Gzip#gzip{read = Read + byte_size(Packed), more = Status =:= continue},
                    inflate(Left, Bytes - iolist_size(Part), [Parts, Part])
            catch
                error:data_error -> {error, {syntax, #{offset => Read, expected => <<"sound gzip data in what follows">>}}};
                error:not_initialized -> {error, {file, einval}} % closed, as the file would say
            end;
        eof -> inflated(Gzip, iolist_to_binary(Parts));
        {error, Why} -> {error, {file, Why}}
    end.

packed(#gzip{more = true}) -> {ok, <<>>};
packed(#gzip{device = Device}) -> file:read(Device, ?PACKED).

inflated(#gzip{stream = Stream, read = Read}, <<>>) ->
    try zlib:inflateEnd(Stream) of
        ok -> eof
    catch
        error:data_error -> {error, {syntax, #{offset => Read, expected => <<"more gzip data: the file is cut off">>}}}
    end;
inflated(Gzip, Piece) -> {ok, Piece, Gzip}.

whole(#reader{rest = Rest, options = Options} = Reader) ->
    Limit = maps:get(max_frame_bytes, Options, ?FRAME_MAX),
    case cut(Rest, Reader) of
        {0, _} when byte_size(Rest) > Limit -> {error, {limit, #{what => frame_bytes, limit => Limit, asked => byte_size(Rest)}}};
        {0, _} -> next(Reader);
        {Bytes, Lines} -> parse(Bytes, Lines, Reader)
    end.

%% What is left may lack its last line's end, or be malformed: the parser says.
last(#reader{rest = Rest} = Reader) ->
    case re:run(Rest, "[^ \t\r\n]", [{capture, none}]) of
        match -> parse(byte_size(Rest), 0, Reader);
        nomatch -> done
    end.

parse(Bytes, Lines, #reader{rest = Rest, line = Line, frames = Before, options = Options} = Reader) ->
    <<Piece:Bytes/binary, Next/binary>> = Rest,
    {Text, Blank} = case Before of 0 -> {Piece, 0}; _ -> without_blank_lines(Piece) end,
    Limits = (maps:with([max_atoms], Options))#{format => extxyz},
    case beamline_crystal:parse(Text, Limits, maps:get(task, Options, #{})) of
        {ok, #{structures := Structures}} ->
            Frames = Before + length(Structures),
            case maps:get(max_frames, Options, infinity) of
                Limit when Frames > Limit -> {error, {limit, #{what => frames, limit => Limit, asked => Frames}}};
                %% copied: else each small rest keeps the whole piece
                _ -> {ok, Structures, Reader#reader{rest = binary:copy(Next), line = Line + Lines, frames = Frames}}
            end;
        {error, {syntax, #{line := At} = Where}} -> {error, {syntax, Where#{line := At + Blank + Line}}};
        {error, Reason} -> {error, Reason}
    end.

%% Between frames the parser takes blank lines, before the first it does not.
without_blank_lines(Text) -> without_blank_lines(Text, Text, 0).

without_blank_lines(<<C, Left/binary>>, Line, N) when C =:= $\s; C =:= $\t -> without_blank_lines(Left, Line, N);
without_blank_lines(<<"\r\n", Left/binary>>, _, N) -> without_blank_lines(Left, Left, N + 1);
without_blank_lines(<<C, Left/binary>>, _, N) when C =:= $\n; C =:= $\r -> without_blank_lines(Left, Left, N + 1);
without_blank_lines(_, Line, N) -> {Line, N}.

%% How many bytes and lines of it are whole frames. Text that is no frame is left: if it is
%% at the end, or if more does not help, the parser will say what is wrong with it.
cut(Text, #reader{ended = Ended}) ->
    Ends = [Pos + Length || {Pos, Length} <- binary:matches(Text, [<<"\r\n">>, <<"\n">>, <<"\r">>]),
            %% a carriage return at the very end may be half a line's end
            Ended orelse Pos + Length < byte_size(Text) orelse binary:last(Text) =:= $\n],
    frames(0, Ends, Text, 0, 0).

frames(Begin, Ends, Text, Bytes, Lines) ->
    case head(Begin, Ends, Text, 0) of
        {Count, Left, Blank} ->
            case skip(Count + 1, Left) of
                {End, More} -> frames(End, More, Text, End, Lines + Blank + Count + 2);
                none -> {Bytes, Lines}
            end;
        none -> {Bytes, Lines}
    end.

%% The number of atoms, past blank lines.
head(_, [], _, _) -> none;
head(Begin, [End | Left], Text, Blank) ->
    case re:run(binary_part(Text, Begin, End - Begin), "^\\s*+(\\+?[0-9]{1,11}|)\\s*+$", [{capture, all_but_first, binary}]) of
        {match, [<<>>]} -> head(End, Left, Text, Blank + 1);
        {match, [Count]} -> {binary_to_integer(Count), Left, Blank};
        nomatch -> none
    end.

skip(1, [End | Left]) -> {End, Left};
skip(N, [_ | Left]) -> skip(N - 1, Left);
skip(_, []) -> none.

%% @doc Calls a function with each structure, in order, and what it answered before.
-spec fold(fun((beamline_crystal:structure(), Acc) -> Acc), Acc, source(), options()) ->
    {ok, Acc} | {error, beamline_runtime:reason() | {file, term()}}.
fold(Fun, Acc, Source, Options) when is_function(Fun, 2) ->
    case open(Source, Options) of
        {ok, Reader} ->
            try fold_pieces(Fun, Acc, next(Reader))
            after close(Reader)
            end;
        Error -> Error
    end;
fold(_, _, _, _) ->
    error(badarg).

fold_pieces(Fun, Acc, {ok, Structures, Reader}) -> fold_pieces(Fun, lists:foldl(Fun, Acc, Structures), next(Reader));
fold_pieces(_, Acc, done) -> {ok, Acc};
fold_pieces(_, _, Error) -> Error.

%% @doc A new file, or an old one from its begin.
-spec create(file:name_all(), options()) -> {ok, writer()} | {error, {file, term()}}.
create(Name, Options) ->
    Modes = [compressed || maps:get(compressed, checked(Options), false)],
    case file:open(Name, [write, raw, binary | Modes]) of
        {ok, Device} -> {ok, #writer{device = Device, options = Options}};
        {error, Why} -> {error, {file, Why}}
    end.

%% @doc Writes structures at the end, as extended XYZ.
-spec append([beamline_crystal:structure()], writer()) -> ok | {error, beamline_runtime:reason() | {file, term()}}.
append(Structures, #writer{device = Device, options = Options}) ->
    case beamline_crystal:write(Structures, extxyz, #{}, maps:get(task, Options, #{})) of
        {ok, Text} ->
            case file:write(Device, Text) of
                ok -> ok;
                {error, Why} -> {error, {file, Why}}
            end;
        Error -> Error
    end;
append(_, _) ->
    error(badarg).

-spec close(reader() | writer()) -> ok | {error, {file, term()}}.
close(#reader{device = {binary, _}}) -> ok;
close(#reader{device = #gzip{device = Device, stream = Stream}}) ->
    %% A second time there is no stream, and the file says so.
    _ = try zlib:close(Stream) catch error:not_initialized -> ok end,
    closed(file:close(Device));
close(#reader{device = Device}) -> closed(file:close(Device));
close(#writer{device = Device}) -> closed(file:close(Device));
close(_) -> error(badarg).

closed(ok) -> ok;
closed({error, Why}) -> {error, {file, Why}}.
