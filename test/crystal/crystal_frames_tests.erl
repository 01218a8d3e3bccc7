%% SPDX-License-Identifier: Apache-2.0
%% XYZ files a piece at a time.
-module(crystal_frames_tests).
-include_lib("eunit/include/eunit.hrl").

all_test_() ->
    {setup, fun beamline_test:start/0, [
        {timeout, 120, {atom_to_list(Name), fun() -> ?MODULE:Name() end}}
     || {Name, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(Name))
    ]}.

-compile(export_all).
-compile(nowarn_export_all).

frame(N) ->
    Atoms = [{<<"Cu">>, {I * 1.5, N * 0.25, -I * 1.0}} || I <- lists:seq(1, 1 + N rem 7)],
    (beamline_crystal:new(#{cell => {{20, 0, 0}, {0, 20, 0}, {1, 0, 20}}, atoms => Atoms}))#{info => #{<<"n">> => N}}.

all(Source, Options) -> beamline_crystal_frames:fold(fun(S, Acc) -> [S | Acc] end, [], Source, Options).

path(Name) -> filename:join(beamline_test:scratch_dir("crystal_frames"), Name).

what_was_written_is_read_in_pieces_of_any_size_case() ->
    Frames = [frame(N) || N <- lists:seq(1, 300)],
    {ok, Text} = beamline_crystal:write(Frames, extxyz),
    [begin
        File = path("frames" ++ Extension),
        {ok, Writer} = beamline_crystal_frames:create(File, #{compressed => Compressed}),
        [ok = beamline_crystal_frames:append(Part, Writer) || Part <- [lists:sublist(Frames, 100), [], lists:nthtail(100, Frames)]],
        ok = beamline_crystal_frames:close(Writer),
        {ok, Written} = file:read_file(File),
        ?assertEqual(Compressed, Written =/= Text),
        [begin
            {ok, Read} = all({file, File}, #{chunk_bytes => Bytes}),
            ?assertEqual(Frames, lists:reverse(Read))
         end || Bytes <- [1, 7, 100, 4096, 1000000]]
     end || {Extension, Compressed} <- [{".xyz", false}, {".xyz.gz", true}]],
    Dos = binary:replace(Text, <<"\n">>, <<"\r\n">>, [global]),
    Mac = binary:replace(Text, <<"\n">>, <<"\r">>, [global]),
    NoEnd = binary_part(Text, 0, byte_size(Text) - 1),
    [?assertEqual({T =:= x, {ok, lists:reverse(Frames)}}, {T =:= x, all({binary, T}, #{chunk_bytes => Bytes})})
     || T <- [Text, Dos, Mac, NoEnd, <<Text/binary, "\n \n">>], Bytes <- [1, 50, 100000]],
    {ok, Two} = beamline_crystal:write(lists:sublist(Frames, 2), extxyz),
    [?assertEqual({ok, lists:reverse(lists:sublist(Frames, 2) ++ Frames)},
                  all({binary, <<Two/binary, Blank/binary, Text/binary>>}, #{chunk_bytes => Bytes}))
     || Blank <- [<<"\n">>, <<" \n\t\r\n\r\n">>], Bytes <- [1, 60, 100000]],
    ?assertEqual({ok, []}, all({binary, <<>>}, #{})),
    ?assertEqual({ok, []}, all({binary, <<" \n\n">>}, #{})).

an_error_names_the_line_in_the_whole_file_case() ->
    {ok, Text} = beamline_crystal:write([frame(N) || N <- lists:seq(1, 50)], extxyz),
    Lines = length(binary:matches(Text, <<"\n">>)),
    [begin
        InPieces = all({binary, <<Text/binary, Bad/binary>>}, #{chunk_bytes => 100}),
        ?assertMatch({error, {syntax, #{line := L}}} when L =:= Lines + Where, InPieces),
        Whole = beamline_crystal:parse(<<Text/binary, Bad/binary>>, #{format => extxyz}),
        ?assertMatch({error, {syntax, #{line := L}}} when L =:= Lines + Where, Whole)
     end || {Bad, Where} <- [{<<"x\n">>, 1}, {<<255, "\n1\n\nCu 0 0 0\n">>, 1}, {<<"\n", 254, 255, "\n">>, 2},
                             {<<"2\n\nCu 0 0 0\nCu 0 zero 0\n">>, 4}, {<<"1\n\nCu 0 0\n">>, 3}]].

a_compressed_file_that_is_cut_off_or_broken_is_refused_case() ->
    Frames = [frame(N) || N <- lists:seq(1, 40)],
    {ok, Text} = beamline_crystal:write(Frames, extxyz),
    Whole = zlib:gzip(Text),
    File = path("cut.xyz.gz"),
    Read = fun(Bytes, Options) -> ok = file:write_file(File, Bytes), all({file, File}, Options) end,
    [?assertEqual({ok, lists:reverse(Expected)}, Read(Bytes, Options))
     || {Bytes, Expected} <- [{Whole, Frames}, {<<Whole/binary, Whole/binary>>, Frames ++ Frames}, {zlib:gzip(<<>>), []}],
        Options <- [#{}, #{chunk_bytes => 1}, #{chunk_bytes => 1000}]],
    [?assertMatch({N, {error, {syntax, #{expected := _}}}}, {N, Read(binary:part(Whole, 0, N), #{chunk_bytes => 1 + N rem 100})})
     || N <- lists:seq(2, byte_size(Whole) - 1)],
    ?assertMatch({error, {syntax, #{offset := _}}}, Read(<<Whole/binary, "more">>, #{})),
    Half = byte_size(Whole) div 2,
    <<Begin:Half/binary, Byte, End/binary>> = Whole,
    ?assertMatch({error, {syntax, _}}, Read(<<Begin/binary, (Byte bxor 255), End/binary>>, #{})),
    ok = file:write_file(File, Whole),
    {ok, Reader} = beamline_crystal_frames:open({file, File}, #{chunk_bytes => 1}),
    {ok, _, Next} = beamline_crystal_frames:next(Reader),
    ?assertEqual(ok, beamline_crystal_frames:close(Next)),
    ?assertMatch({error, {file, _}}, beamline_crystal_frames:close(Next)),
    {ok, Large} = file:open(File, [write, raw, compressed]),
    [ok = file:write(Large, Text) || _ <- lists:seq(1, 20)],
    ok = file:close(Large),
    {ok, Other} = beamline_crystal_frames:open({file, File}, #{chunk_bytes => 1}),
    {ok, _, Begun} = beamline_crystal_frames:next(Other),
    ?assertEqual(ok, beamline_crystal_frames:close(Begun)),
    ?assertMatch({error, {file, _}}, beamline_crystal_frames:next(Begun)).

bounds_hold_case() ->
    {ok, Text} = beamline_crystal:write([frame(N) || N <- lists:seq(1, 50)], extxyz),
    ?assertMatch({error, {limit, #{what := frames, limit := 10}}}, all({binary, Text}, #{max_frames => 10, chunk_bytes => 100})),
    ?assertMatch({error, {limit, #{what := atoms}}}, all({binary, Text}, #{max_atoms => 3})),
    Endless = iolist_to_binary(["1000000\n\n", lists:duplicate(1000, "Cu 0 0 0\n")]),
    ?assertMatch({error, {limit, #{what := frame_bytes, limit := 1000}}},
                 all({binary, Endless}, #{max_frame_bytes => 1000, chunk_bytes => 64})),
    ?assertMatch({error, {limit, _}}, all({binary, Text}, #{task => #{memory_limit => 1000}})),
    ?assertMatch({error, {file, enoent}}, all({file, path("nothing.xyz")}, #{})),
    ?assertMatch({error, {file, _}}, beamline_crystal_frames:create(path("no/such/folder.xyz"), #{})),
    ?assertMatch({error, {unsupported, _}}, beamline_crystal_frames:open({binary, zlib:gzip(Text)}, #{})),
    [?assertError(badarg, Use()) || Use <- [
        fun() -> beamline_crystal_frames:open(Source, Options) end
         || {Source, Options} <- [{{binary, Text}, none}, {none, #{}}, {{binary, none}, #{}}]] ++
        [fun() -> beamline_crystal_frames:F(none) end || F <- [next, close]] ++
        [fun() -> beamline_crystal_frames:append([], none) end, fun() -> beamline_crystal_frames:create(path("no.xyz"), none) end,
         fun() -> beamline_crystal_frames:fold(none, [], {binary, Text}, #{}) end]],
    ?assertError(badarg, beamline_crystal_frames:open({binary, Text}, #{colour => red})),
    ?assertError(badarg, beamline_crystal_frames:open({binary, Text}, #{chunk_bytes => 0})).

a_large_file_needs_little_memory_case() ->
    File = path("large.xyz"),
    {ok, Device} = file:open(File, [write, raw]),
    Line = <<"Cu 1.25 2.5 3.75\n">>,
    Body = binary:copy(Line, 1000),
    [ok = file:write(Device, ["1000\nframe ", integer_to_list(N), "\n", Body]) || N <- lists:seq(1, 2000)], % 34 MB
    ok = file:close(Device),
    Self = self(),
    {Pid, Monitor} = spawn_opt(fun() ->
        {ok, Count} = beamline_crystal_frames:fold(fun(S, N) -> N + beamline_crystal:number_of_atoms(S) end, 0, {file, File}, #{}),
        erlang:garbage_collect(),
        Self ! {self(), Count}
    end, [monitor, {max_heap_size, #{size => 3000000, kill => true, error_logger => false}}]), % words
    receive
        {Pid, Count} -> ?assertEqual(2000000, Count);
        {'DOWN', Monitor, process, Pid, Why} -> error(Why)
    end,
    ok = file:delete(File).
