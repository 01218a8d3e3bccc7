%% SPDX-License-Identifier: Apache-2.0
%% Compiled code on disk: used when it is whole and ours, made again when not.
-module(beamline_wasm_cache_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("kernel/include/file.hrl").

-define(WAT, <<"(module $m (func $s) (start $s) (func $boom (unreachable)) (func (export \"one\") (result i32) (i32.const 1))
    (func (export \"trap\") (call $boom)))">>).

folder() ->
    ok = wasm_fixture:start(),
    filename:join(beamline_test:scratch_dir(atom_to_list(?MODULE)), integer_to_list(erlang:unique_integer([positive]))).

compile(Folder) -> compile(Folder, #{}).

compile(Folder, Options) ->
    {ok, M} = beamline_wasm:compile(?WAT, Options#{cache => Folder}),
    {ok, G} = beamline_wasm:start(M),
    {ok, [1]} = beamline_wasm:call(G, <<"one">>, []),
    {error, {trap, #{backtrace := [{_, <<"boom">>, Offset} | _]}}} = beamline_wasm:call(G, <<"trap">>, []),
    ok = beamline_wasm:stop(G),
    {beamline_wasm:module_info(M, cached), Offset}.

code(Folder) -> hd(filelib:wildcard(filename:join(Folder, "*.cwasm"))).

the_second_time_the_code_comes_from_disk_test() ->
    Folder = folder(),
    {false, Offset} = compile(Folder),
    ?assertEqual({true, Offset}, compile(Folder)),
    ?assertMatch({ok, #file_info{mode = Mode}} when Mode band 8#777 =:= 8#700, file:read_file_info(Folder)),
    %% Other settings are other code.
    ?assertMatch({false, _}, compile(Folder, #{engine => dense})),
    ?assertMatch({true, _}, compile(Folder, #{engine => dense})).

damaged_files_are_dropped_and_made_again_test_() ->
    [{Name, fun() ->
        Folder = folder(),
        {false, _} = compile(Folder),
        {ok, Code} = file:read_file(code(Folder)),
        ok = Damage(code(Folder), Code),
        ?assertMatch({false, _}, compile(Folder)),
        ?assertMatch({true, _}, compile(Folder))
     end} || {Name, Damage} <- [
        {"cut short", fun(File, Code) -> rewrite(File, binary:part(Code, 0, byte_size(Code) div 2)) end},
        {"a bit", fun(File, Code) ->
            <<Head:1000/binary, B, Tail/binary>> = Code,
            rewrite(File, <<Head/binary, (B bxor 1), Tail/binary>>)
        end},
        {"empty", fun(File, _) -> rewrite(File, <<>>) end},
        {"longer", fun(File, Code) -> rewrite(File, [Code, 0]) end},
        {"gone", fun(File, _) -> file:delete(File) end},
        {"no sum", fun(File, _) -> file:delete(filename:rootname(File) ++ ".sum") end},
        {"a broken sum", fun(File, _) -> rewrite(filename:rootname(File) ++ ".sum", <<1, 2, 3>>) end},
        {"a link", fun(File, Code) ->
            Other = File ++ ".other",
            ok = file:write_file(Other, Code),
            ok = file:delete(File),
            file:make_symlink(Other, File)
        end},
        {"a pipe", fun(File, _) -> pipe(File) end},
        {"a sum that is a pipe", fun(File, _) -> pipe(filename:rootname(File) ++ ".sum") end}]].

pipe(File) ->
    ok = file:delete(File),
    "" = os:cmd("mkfifo " ++ File),
    ok.

%% Not written over: code may be mapped.
rewrite(File, Bytes) ->
    ok = file:delete(File),
    file:write_file(File, Bytes).

a_folder_that_others_can_enter_is_not_used_test() ->
    Folder = folder(),
    ok = filelib:ensure_dir(filename:join(Folder, "x")),
    ok = file:change_mode(Folder, 8#755),
    ?assertMatch({false, _}, compile(Folder)),
    ?assertMatch({false, _}, compile(Folder)),
    ?assertEqual([], filelib:wildcard(filename:join(Folder, "*"))),
    %% Nor one that cannot be made.
    ?assertMatch({false, _}, compile("/proc/nowhere/cache")).

bad_modules_are_not_kept_test() ->
    Folder = folder(),
    ?assertMatch({error, {invalid, _}}, beamline_wasm:compile(<<"(module (func (result i32)))">>, #{cache => Folder})),
    ?assertEqual([], filelib:wildcard(filename:join(Folder, "*"))).
