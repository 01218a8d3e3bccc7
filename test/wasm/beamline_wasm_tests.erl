%% SPDX-License-Identifier: Apache-2.0
%% Modules, values, memories, globals, tables, imports: what a user relies on.
-module(beamline_wasm_tests).

-include_lib("eunit/include/eunit.hrl").

-import(wasm_fixture, [guest/1, guest/2, imports/1, module/1]).

none([N], _) -> [N].

kit() -> guest(imports(fun none/2)).

%%% Values

numbers_of_every_type_go_in_and_come_back_test() ->
    G = kit(),
    ?assertEqual({ok, [42]}, beamline_wasm:call(G, <<"add">>, [40, 2])),
    ?assertEqual({ok, [4.5, (1 bsl 40) + 1, -1.5]}, beamline_wasm:call(G, <<"mixed">>, [1 bsl 40, 1.5, 2.25])),
    ?assertEqual({ok, [-1]}, beamline_wasm:call(G, <<"add">>, [16#FFFFFFFF, 0])),
    ?assertEqual({ok, [-1 bsl 31]}, beamline_wasm:call(G, <<"add">>, [16#7FFFFFFF, 1])),
    ?assertMatch({ok, [_, 0, _]}, beamline_wasm:call(G, <<"mixed">>, [(1 bsl 64) - 1, 0.0, 0.0])),
    ?assertMatch({ok, [_, I, _]} when I =:= -1 bsl 63, beamline_wasm:call(G, <<"mixed">>, [(1 bsl 63) - 1, 0.0, 0.0])),
    ?assertEqual({ok, [<<2, 4, 6, 0:104>>]}, beamline_wasm:call(G, <<"v">>, [<<1, 2, 3, 0:104>>])).

floats_that_erlang_does_not_have_are_atoms_or_bits_test() ->
    G = kit(),
    ?assertEqual({ok, [infinity]}, beamline_wasm:call(G, <<"div0">>, [1.0, 0.0])),
    ?assertEqual({ok, [neg_infinity]}, beamline_wasm:call(G, <<"div032">>, [-1.0, 0.0])),
    ?assertEqual({ok, [nan]}, beamline_wasm:call(G, <<"div0">>, [0.0, 0.0])),
    ?assertEqual({ok, [nan]}, beamline_wasm:call(G, <<"div0">>, [nan, 1.0])),
    ?assertEqual({ok, [0.0]}, beamline_wasm:call(G, <<"div0">>, [1.0, infinity])),
    ?assertEqual({ok, [{f64, 16#8000000000000000}]}, beamline_wasm:call(G, <<"div0">>, [-0.0, 1.0], #{floats => bits})),
    ?assertEqual({ok, [{f32, 16#7FC00001}]}, beamline_wasm:call(G, <<"div032">>, [{f32, 16#7FC00001}, 1.0], #{floats => bits})).

references_come_back_as_they_were_test() ->
    G = kit(),
    Term = #{a => [self(), make_ref(), <<0:800>>], b => fun() -> ok end},
    ?assertEqual({ok, [Term]}, beamline_wasm:call(G, <<"echo_extern">>, [Term])),
    ?assertEqual({ok, [null]}, beamline_wasm:call(G, <<"echo_extern">>, [null])),
    {ok, Add} = beamline_wasm:function(G, <<"add">>),
    {ok, [Same]} = beamline_wasm:call(G, <<"echo_func">>, [Add]),
    ?assertEqual({ok, [7]}, beamline_wasm:call(G, Same, [3, 4])),
    ?assertEqual({ok, [null]}, beamline_wasm:call(G, <<"echo_func">>, [null])),
    Other = kit(),
    ?assertError(badarg, beamline_wasm:call(Other, <<"echo_func">>, [Add])),
    ?assertError(badarg, beamline_wasm:call(Other, Add, [1, 2])).

wrong_arguments_are_badarg_and_name_the_place_test_() ->
    {setup, fun kit/0, fun(G) ->
        [{lists:flatten(io_lib:format("~s ~0p", [F, Args])), fun() -> ?assertEqual(Cause, cause(G, F, Args)) end} || {F, Args, Cause} <- [
            {<<"add">>, [], {1, i32}}, {<<"add">>, [1], {2, i32}}, {<<"add">>, [1, 2, 3], {3, none}}, {<<"add">>, [1, 2.0], {2, i32}},
            {<<"add">>, [1 bsl 32, 2], {1, i32}}, {<<"add">>, [-(1 bsl 31) - 1, 2], {1, i32}}, {<<"add">>, [a, 2], {1, i32}},
            {<<"mixed">>, [1 bsl 64, 1.0, 1.0], {1, i64}}, {<<"mixed">>, [1, 1, 1.0], {2, f32}}, {<<"mixed">>, [1, 1.0, 1], {3, f64}},
            {<<"mixed">>, [1, 1.0e300, 1.0], {2, f32}}, {<<"v">>, [<<1>>], {1, v128}}, {<<"echo_func">>, [17], {1, funcref}},
            {<<"add">>, not_a_list, {1, i32}}, {<<"add">>, [1, 2 | 3], {3, none}}]]
    end}.

cause(G, F, Args) ->
    try beamline_wasm:call(G, F, Args) of Got -> {returned, Got}
    catch error:badarg:Stack ->
        [{_, _, _, Info} | _] = Stack,
        #{cause := #{argument := 3, position := P, expected := T}} = proplists:get_value(error_info, Info),
        #{3 := Text} = beamline_wasm:format_error(badarg, Stack),
        true = is_binary(Text),
        {P, T}
    end.

a_function_that_is_not_there_is_an_error_test() ->
    G = kit(),
    [?assertMatch({error, {invalid, #{field := function}}}, beamline_wasm:call(G, Name, []))
     || Name <- [<<"nope">>, <<>>, binary:copy(<<"x">>, 60_000), <<"memory">>, <<0, 255>>]].

%%% Modules

types_are_told_in_full_test() ->
    M = module(<<"(module (import \"a\" \"f\" (func (param i32 v128) (result f32 externref)))
        (import \"a\" \"m\" (memory i64 1 2)) (import \"a\" \"t\" (table 3 funcref)) (import \"a\" \"g\" (global (mut f64)))
        (import \"a\" \"e\" (tag (param i32)))
        (type $s (struct)) (func (export \"r\") (param (ref null $s) (ref i31)) (unreachable)))">>),
    ?assertEqual([{<<"a">>, <<"f">>, {func, [i32, v128], [f32, externref]}},
                  {<<"a">>, <<"m">>, {memory, #{min => 1, max => 2, index => i64, shared => false, page_size => 65536}}},
                  {<<"a">>, <<"t">>, {table, #{min => 3, max => infinity, index => i32, element => funcref}}},
                  {<<"a">>, <<"g">>, {global, var, f64}}, {<<"a">>, <<"e">>, {tag, [i32]}}], beamline_wasm:imports(M)),
    ?assertMatch([{<<"r">>, {func, [{ref, null, {type, _}}, {ref, none, i31}], []}}], beamline_wasm:exports(M)).

what_is_malformed_says_where_test_() ->
    {setup, fun wasm_fixture:start/0, fun(_) ->
        [?_assertMatch({error, {syntax, #{line := 1, column := 15}}}, beamline_wasm:compile(<<"(module (func i32.ad))">>)),
         ?_assertMatch({error, {syntax, #{offset := 10}}}, beamline_wasm:compile(<<0, "asm", 1, 0, 0, 0, 1, 200>>)),
         ?_assertMatch({error, {syntax, _}}, beamline_wasm:compile(<<>>)),
         ?_assertMatch({error, {syntax, _}}, beamline_wasm:compile(<<0, "asm">>)),
         ?_assertMatch({error, {syntax, _}}, beamline_wasm:compile(<<255, 254, 253>>)),
         ?_assertMatch({error, {invalid, #{why := _}}}, beamline_wasm:compile(<<"(module (func (result i32)))">>)),
         ?_assertMatch({error, {invalid, _}}, beamline_wasm:validate(<<"(module (func (result i32)))">>)),
         ?_assertEqual(ok, beamline_wasm:validate(<<"(module (func (result i32) (i32.const 1)))">>)),
         %% A start function is looked at before it is taken out.
         ?_assertMatch({error, {invalid, _}}, beamline_wasm:compile(<<"(module (func $f (param i32)) (start $f))">>)),
         ?_assertMatch({error, {limit, #{what := module_bytes, limit := 10}}}, beamline_wasm:compile(<<"(module (func))">>,
             #{max_bytes => 10})),
         ?_assertError(badarg, beamline_wasm:compile(<<"(module)">>, #{engines => fast})),
         [?_assertError(badarg, beamline_wasm:compile(module, Options)) || Options <- [#{}, #{cache => "cache"}]],
         [?_assertError(badarg, beamline_wasm:compile(<<"(module)">>, Options))
          || Options <- [#{engine => faster}, #{off => simd}, #{off => [simd, speed]}, #{off => [simd | gc]}, #{stack => much},
                         #{stack => -1}, #{stack => -5000}, #{expose => 1}, #{cache => "a\0b"}, #{cache => 17}, #{cache => [a, 17, -1]},
                         #{max_bytes => -1}, #{max_imports => many}, []]]]
    end}.

proposals_can_be_turned_off_test_() ->
    {setup, fun wasm_fixture:start/0, fun(_) ->
        [{atom_to_list(Off), fun() ->
            ?assertMatch({error, {_, _}}, beamline_wasm:compile(Wat, #{off => [Off]})),
            ?assertMatch({ok, _}, beamline_wasm:compile(Wat))
         end} || {Off, Wat} <- [
            {simd, <<"(module (func (result v128) (v128.const i64x2 0 0)))">>},
            {relaxed_simd, <<"(module (func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))">>},
            {bulk_memory, <<"(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))">>},
            {multi_value, <<"(module (func (result i32 i32) (i32.const 0) (i32.const 0)))">>},
            {reference_types, <<"(module (func (param externref)))">>},
            {function_references, <<"(module (type $t (func)) (func (param (ref $t))))">>},
            {gc, <<"(module (type (struct)))">>},
            {exceptions, <<"(module (tag))">>},
            {tail_call, <<"(module (func $f (return_call $f)))">>},
            {multi_memory, <<"(module (memory 1) (memory 1))">>},
            {memory64, <<"(module (memory i64 1))">>},
            {threads, <<"(module (memory 1) (func (result i32) (i32.atomic.load (i32.const 0))))">>}]]
    end}.

the_presets_give_the_same_results_test_() ->
    {setup, fun wasm_fixture:start/0, fun(_) ->
        [{atom_to_list(Engine), fun() ->
            {ok, M} = beamline_wasm:compile(<<"(module (memory (export \"memory\") 1 100)
                (func $fib (export \"fib\") (param i32) (result i32)
                  (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
                    (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
                (func (export \"nan\") (result i32) (i32.reinterpret_f32 (f32.div (f32.const 0) (f32.const 0)))))">>, #{engine => Engine}),
            {ok, G} = beamline_wasm:start(M),
            ?assertEqual(Engine, beamline_wasm:module_info(M, engine)),
            ?assertEqual({ok, [6765]}, beamline_wasm:call(G, <<"fib">>, [20])),
            {ok, 1} = beamline_wasm:grow(G, 40), % a dense memory moves
            ?assertEqual(ok, beamline_wasm:write(G, 40 * 65536, <<"x">>)),
            [?assertEqual({ok, [16#7FC00000]}, beamline_wasm:call(G, <<"nan">>, [])) || Engine =:= deterministic]
         end} || Engine <- [fast, dense, deterministic]]
    end}.

every_mix_of_proposals_makes_an_engine_test_() ->
    Names = [simd, relaxed_simd, bulk_memory, multi_value, reference_types, function_references, gc, exceptions, tail_call, multi_memory,
             memory64, threads],
    {timeout, 60, fun() ->
        ok = wasm_fixture:start(),
        %% Each alone, and pairs; a mix too many is refused, not fatal.
        Answers = [beamline_wasm:compile(<<"(module)">>, #{off => [A, B], engine => E}) || E <- [fast, deterministic], A <- Names,
            B <- Names, A =< B],
        ?assertEqual([], [A || A <- Answers, not (element(1, A) =:= ok orelse element(1, element(2, A)) =:= limit)])
    end}.

%%% Memory, globals, tables

memory_is_read_and_written_within_its_bounds_test() ->
    G = kit(),
    ?assertEqual({ok, 131072}, beamline_wasm:size(G)),
    ?assertEqual(ok, beamline_wasm:write(G, 10, [<<"hello">>, 0])),
    ?assertEqual({ok, <<"hello">>}, beamline_wasm:read_string(G, 10)),
    ?assertEqual({ok, <<"ell">>}, beamline_wasm:read(G, {<<"memory">>, 11}, 3)),
    ?assertEqual(ok, beamline_wasm:fill(G, 0, 100_000, 7)),
    {ok, Sevens} = beamline_wasm:read(G, 0, 100_001),
    ?assertEqual({100_000, 0}, {length([7 || <<7>> <= Sevens]), binary:last(Sevens)}),
    ?assertEqual({ok, <<>>}, beamline_wasm:read(G, 131072, 0)),
    [?assertMatch({error, {invalid, #{field := range}}}, beamline_wasm:read(G, Offset, Length))
     || {Offset, Length} <- [{131072, 1}, {131073, 0}, {-1, 1}, {0, -1}, {1 bsl 63, 1}, {(1 bsl 64) - 1, 2}, {1 bsl 70, 1}, {1,
         (1 bsl 64) - 1},
                             {0, 131073}, {65536, 65537}]],
    [?assertMatch({error, {invalid, #{field := range}}}, beamline_wasm:write(G, Offset, <<"ab">>)) || Offset <- [131071, -1,
        (1 bsl 63) - 1, (1 bsl 64) - 1]],
    ?assertMatch({error, {invalid, #{field := range}}}, beamline_wasm:fill(G, 131000, 100, 0)),
    ?assertError(badarg, beamline_wasm:read(G, a, 1)),
    ?assertError(badarg, beamline_wasm:read(G, 0, 1.0)),
    ?assertError(badarg, beamline_wasm:grow(G, 1.0)),
    ?assertError(badarg, beamline_wasm:fill(G, 0, 1, 256)),
    ?assertMatch({error, {invalid, #{field := string}}}, beamline_wasm:read_string(G, 0, 5)),
    ?assertMatch({error, {invalid, #{field := name}}}, beamline_wasm:read(G, {<<"other">>, 0}, 1)).

large_copies_are_whole_test() ->
    G = guest(<<"(module (memory (export \"memory\") 64))">>, #{}),
    Bytes = crypto:strong_rand_bytes(3 bsl 20),
    ?assertEqual(ok, beamline_wasm:write(G, 12345, Bytes)),
    ?assertEqual({ok, Bytes}, beamline_wasm:read(G, 12345, byte_size(Bytes))).

memory_grows_to_its_limit_test() ->
    G = guest(wasm_fixture:wat(), #{imports => imports(fun none/2), memory_limit => 3 * 65536}),
    ?assertEqual({ok, 2}, beamline_wasm:grow(G, 1)),
    ?assertEqual({ok, 196608}, beamline_wasm:size(G)),
    [?assertMatch({error, {limit, #{what := memory_pages, limit := 3}}}, beamline_wasm:grow(G, N)) || N <- [1, 1 bsl 16, (1 bsl 64) - 1,
        1 bsl 80]],
    ?assertEqual({ok, [-1]}, beamline_wasm:call(G, <<"grow">>, [1])),
    [?assertEqual({error, {limit, What}}, beamline_wasm:start(module(wasm_fixture:wat()), Limits#{imports => imports(fun none/2)}))
     || {Limits, What} <- [{#{memory_limit => 65536}, #{what => memory_pages, limit => 1, asked => 2}},
                           {#{table_limit => 3}, #{what => table_elements, limit => 3, asked => 4}},
                           {#{instance_limit => 0}, #{what => instances, limit => 0, asked => 1}}]].

globals_have_types_test() ->
    G = kit(),
    ?assertEqual({ok, 7}, beamline_wasm:global_get(G, <<"g">>)),
    ?assertEqual(ok, beamline_wasm:global_set(G, <<"g">>, -9)),
    ?assertEqual({ok, -9}, beamline_wasm:global_get(G, <<"g">>)),
    ?assertMatch({error, {invalid, #{why := <<"the global is constant">>}}}, beamline_wasm:global_set(G, <<"c">>, 1)),
    ?assertError(badarg, beamline_wasm:global_set(G, <<"g">>, 1.0)),
    ?assertMatch({error, {invalid, _}}, beamline_wasm:global_get(G, <<"memory">>)).

tables_hold_references_test() ->
    G = kit(),
    {ok, Add} = beamline_wasm:table_get(G, <<"tab">>, 1),
    ?assertEqual({ok, [5]}, beamline_wasm:call(G, Add, [2, 3])),
    ?assertEqual({ok, null}, beamline_wasm:table_get(G, <<"tab">>, 3)),
    ?assertEqual(ok, beamline_wasm:table_set(G, <<"tab">>, 3, Add)),
    ?assertEqual({ok, 4}, beamline_wasm:table_grow(G, <<"tab">>, 2, Add)),
    ?assertEqual({ok, 6}, beamline_wasm:table_size(G, <<"tab">>)),
    {ok, Again} = beamline_wasm:table_get(G, <<"tab">>, 5),
    ?assertEqual({ok, [9]}, beamline_wasm:call(G, Again, [4, 5])),
    [?assertMatch({error, {invalid, #{field := index}}}, beamline_wasm:table_get(G, <<"tab">>, I)) || I <- [6, -1, 1 bsl 64]],
    [?assertMatch({error, {limit, _}}, beamline_wasm:table_grow(G, <<"tab">>, N)) || N <- [5, 1 bsl 33]],
    ?assertError(badarg, beamline_wasm:table_set(G, <<"tab">>, 0, 17)).

functions_of_a_type_of_the_module_can_be_held_test() ->
    G = guest(<<"(module (type $t (func (result i32))) (func $f (export \"f\") (result i32) (i32.const 7)) (func (export \"other\"))
        (global (export \"g\") (mut (ref null $t)) (ref.null $t)) (table (export \"tab\") 1 (ref null $t))
        (func (export \"call\") (result i32) (call_ref $t (global.get 0))))">>, #{}),
    {ok, F} = beamline_wasm:function(G, <<"f">>),
    {ok, Other} = beamline_wasm:function(G, <<"other">>),
    ?assertEqual(ok, beamline_wasm:global_set(G, <<"g">>, F)),
    ?assertEqual({ok, [7]}, beamline_wasm:call(G, <<"call">>, [])),
    ?assertEqual(ok, beamline_wasm:table_set(G, <<"tab">>, 0, F)),
    ?assertEqual({ok, 1}, beamline_wasm:table_grow(G, <<"tab">>, 2, F)),
    {ok, Held} = beamline_wasm:table_get(G, <<"tab">>, 2),
    ?assertEqual({ok, [7]}, beamline_wasm:call(G, Held, [])),
    [?assertError(badarg, Set()) || Set <- [fun() -> beamline_wasm:global_set(G, <<"g">>, Other) end,
                                            fun() -> beamline_wasm:table_set(G, <<"tab">>, 0, Other) end,
                                            fun() -> beamline_wasm:table_grow(G, <<"tab">>, 1, Other) end]],
    ?assertMatch({error, {limit, _}}, beamline_wasm:table_grow(G, <<"tab">>, 1 bsl 40, F)),
    ?assertEqual({ok, 3}, beamline_wasm:table_size(G, <<"tab">>)).

malloc_and_free_are_the_guests_own_test() ->
    G = guest(<<"(module (memory (export \"memory\") 1) (global $at (mut i32) (i32.const 1024))
        (func (export \"malloc\") (param i32) (result i32) (local $p i32) (local.set $p (global.get $at))
          (if (result i32) (i32.gt_u (local.get 0) (i32.const 60000)) (then (i32.const 0))
            (else (global.set $at (i32.add (local.get $p) (local.get 0))) (local.get $p))))
        (func (export \"free\") (param i32)))">>, #{}),
    {ok, At} = beamline_wasm:write_string(G, "grüezi"),
    ?assertEqual({ok, unicode:characters_to_binary("grüezi", unicode, latin1)}, beamline_wasm:read_string(G, At)),
    ?assertEqual({error, no_memory}, beamline_wasm:malloc(G, 128 bsl 20)),
    ?assertEqual(ok, beamline_wasm:free(G, At)),
    ?assertMatch({error, {invalid, #{field := function}}}, beamline_wasm:malloc(kit(), 1)).

%%% Traps

traps_have_a_code_and_frames_and_the_instance_goes_on_test_() ->
    {setup, fun kit/0, fun(G) ->
        [{atom_to_list(Code), fun() ->
            {error, {trap, #{code := Got, message := Message, backtrace := Frames}}} = beamline_wasm:call(G, F, Args),
            ?assertEqual({Code, true}, {Got, byte_size(Message) > 0}),
            ?assertMatch([{<<"kit">>, _, _} | _], Frames),
            ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add">>, [1, 2])),
            ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add_slow">>, [1, 2]))
         end} || {F, Args, Code} <- [
            {<<"trap">>, [], unreachable}, {<<"div">>, [1, 0], integer_division_by_zero}, {<<"div">>, [-(1 bsl 31), -1], integer_overflow},
            {<<"load">>, [-8], memory_out_of_bounds}, {<<"rec">>, [0], stack_overflow}]]
    end}.

frames_have_names_and_offsets_of_the_module_as_it_came_test() ->
    %% With and without a start function, which is taken out of the module.
    Frames = fun(Start) -> frames(Start, "", #{}) end,
    Made = fun(Start) -> frames(Start, "(import \"h\" \"m\" (memory 1))", #{{<<"h">>, <<"m">>} => {memory, #{min => 1}}}) end,
    ?assertEqual(Frames("") + 3, Frames("(start $f)")),
    ?assertEqual(Made("") + 3, Made("(start $f)")).

frames(Start, Import, Imports) ->
    G = guest(["(module $m ", Import, " (func $f) ", Start, "(func $boom (unreachable)) (func (export \"x\") (call $boom)))"],
        #{imports => Imports}),
    {error, {trap, #{backtrace := [{<<"m">>, <<"boom">>, Offset}, {<<"m">>, 2, _}]}}} = beamline_wasm:call(G, <<"x">>, []),
    Offset.

long_names_in_a_trap_are_cut_between_characters_test() ->
    [begin
         Name = unicode:characters_to_binary([lists:duplicate(N, $a), lists:duplicate(100, 16#65e5)]),
         G = guest(["(module $\"", Name, "\" (func $\"", Name, "\" (export \"x\") (unreachable)))"], #{}),
         {error, {trap, #{backtrace := [{Module, Function, _}]}}} = beamline_wasm:call(G, <<"x">>, []),
         [?assert(byte_size(Cut) > Most - 3 andalso is_list(unicode:characters_to_list(Cut)))
          || {Cut, Most} <- [{Module, 47}, {Function, 111}]]
     end || N <- [0, 1, 2]].

an_exception_that_nobody_catches_is_a_trap_test() ->
    G = guest(<<"(module (tag $t (param i32)) (func (export \"x\") (throw $t (i32.const 1)))
        (func (export \"y\") (result i32) (block $h (result i32) (try_table (catch $t $h) (throw $t (i32.const 5)))
          (i32.const 0))))">>, #{}),
    ?assertMatch({error, {trap, #{code := uncaught_exception}}}, beamline_wasm:call(G, <<"x">>, [])),
    ?assertEqual({ok, [5]}, beamline_wasm:call(G, <<"y">>, [])).

%%% Imports

imports_run_in_the_caller_and_thread_a_state_test() ->
    Self = self(),
    G = guest(imports(fun([N], #{state := S, import := {<<"env">>, <<"ask">>}}) -> Self = self(), {[N * 2], S + 1} end)),
    ?assertEqual({ok, [110], 10}, beamline_wasm:call(G, <<"asks">>, [10], #{state => 0})),
    ?assertEqual({error, {invalid, #{field => function, why => <<"no function is exported under this name">>}}, x},
                 beamline_wasm:call(G, <<"nope">>, [], #{state => x})).

an_import_may_call_the_instance_again_test() ->
    G = guest(imports(fun([0], _) -> [0];
                         ([N], #{instance := I}) ->
                             {ok, [Fib]} = beamline_wasm:call(I, <<"fib">>, [N]),
                             {ok, [Deeper]} = beamline_wasm:call(I, <<"ask1">>, [N - 1]),
                             ok = beamline_wasm:write(I, 4 * N, <<Fib:32/little>>),
                             {error, {trap, _}} = beamline_wasm:call(I, <<"trap">>, []),
                             {ok, [5]} = beamline_wasm:call(I, <<"add">>, [2, 3]),
                             [Fib + Deeper]
                      end)),
    Sum = lists:sum([fib(N) + 1000 || N <- lists:seq(1, 10)]) + 1000,
    ?assertEqual({ok, [Sum]}, beamline_wasm:call(G, <<"ask1">>, [10])),
    ?assertEqual({ok, << <<(fib(N)):32/little>> || N <- lists:seq(1, 10) >>}, beamline_wasm:read(G, 4, 40)).

fib(N) when N < 2 -> N;
fib(N) -> fib(N - 1) + fib(N - 2).

calls_that_are_nested_too_deep_are_refused_and_unwound_test() ->
    G = guest(imports(fun([N], #{instance := I}) ->
        case beamline_wasm:call(I, <<"ask1">>, [N + 1]) of {ok, [V]} -> [V]; {error, {trap, #{code := host}}} -> [N] end
    end)),
    {ok, [V]} = beamline_wasm:call(G, <<"ask1">>, [0]),
    ?assert(V > 100_000), % more than a hundred levels
    ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add_slow">>, [1, 2])).

an_import_that_fails_unwinds_the_guest_test_() ->
    Fails = [{error, boo, fun(_, _) -> error(boo) end}, {exit, boo, fun(_, _) -> exit(boo) end}, {throw, boo, fun(_, _) -> throw(boo) end},
             {error, bad_results, fun(_, _) -> [] end}, {error, bad_results, fun(_, _) -> [1, 2] end}, {error, bad_results, fun(_,
                 _) -> [a] end},
             {error, bad_results, fun(_, _) -> junk end}, {error, bad_results, fun(_, _) -> {error, x} end}, {error, bad_results, fun(_,
                 _) -> [1.0] end}],
    {setup, fun wasm_fixture:start/0, fun(_) ->
        [fun() ->
            G = guest(imports(Fun)),
            {error, {import_failed, #{class := Class, reason := Reason, stacktrace := Stack, import := {<<"env">>, <<"ask">>}}}} =
                beamline_wasm:call(G, <<"ask1">>, [1]),
            ?assert(is_list(Stack)),
            ?assertEqual(Why, case Reason of boo -> boo; _ -> element(1, Reason) end),
            ?assertEqual({ok, [3]}, beamline_wasm:call(G, <<"add_slow">>, [1, 2]))
         end || {Class, Why, Fun} <- Fails]
    end}.

missing_imports_are_named_all_at_once_test() ->
    M = module(<<"(module (import \"a\" \"b\" (func)) (import \"a\" \"c\" (global i32)) (import \"d\" \"e\" (memory 1)))">>),
    {error, {invalid, #{field := imports, missing := Missing}}} = beamline_wasm:start(M, #{imports => #{{<<"a">>, <<"b">>} => fun none/2}}),
    ?assertMatch([{<<"a">>, <<"c">>, {global, const, i32}}, {<<"d">>, <<"e">>, {memory, _}}], Missing),
    ?assertMatch({error, {invalid, #{wrong := [{<<"a">>, <<"c">>}]}}},
                 beamline_wasm:start(M, #{imports => #{{<<"a">>, <<"b">>} => fun none/2, {<<"a">>, <<"c">>} => fun none/2,
                                                       {<<"d">>, <<"e">>} => {memory, #{min => 1}}}})).

things_of_the_host_and_of_other_instances_can_be_imported_test() ->
    M = module(<<"(module (import \"h\" \"m\" (memory 1 2)) (import \"h\" \"g\" (global i64)) (import \"h\" \"t\" (table 4 funcref))
        (import \"k\" \"add\" (func $add (param i32 i32) (result i32))) (import \"k\" \"twice\" (func $twice (param i32) (result i32)))
        (elem (i32.const 0) $add)
        (func $s (i64.store (i32.const 8) (global.get 0))) (start $s) (export \"memory\" (memory 0))
        (func (export \"x\") (result i32) (call $add (call $twice (i32.const 20)) (i32.const 2))))">>),
    Kit = kit(),
    {ok, G} = beamline_wasm:start(M, #{imports => #{
        {<<"h">>, <<"m">>} => {memory, #{min => 1, max => 2}}, {<<"h">>, <<"g">>} => {global, #{type => i64, value => 77}},
        {<<"h">>, <<"t">>} => {table, #{min => 4}}, {<<"k">>, <<"add">>} => {export, Kit, <<"add">>},
        {<<"k">>, <<"twice">>} => fun([N], _) -> [2 * N] end}}),
    ?assertEqual({ok, [42]}, beamline_wasm:call(G, <<"x">>, [])),
    ?assertEqual({ok, <<77:64/little>>}, beamline_wasm:read(G, 8, 8)),
    %% An import of the other instance is answered through this one's handle, too.
    {ok, H} = beamline_wasm:start(module(<<"(module (import \"k\" \"ask1\" (func $f (param i32) (result i32)))
        (func (export \"y\") (result i32) (call $f
          (i32.const 9))))">>), #{imports => #{{<<"k">>, <<"ask1">>} => {export, Kit, <<"ask1">>}}}),
    ?assertEqual({ok, [1009]}, beamline_wasm:call(H, <<"y">>, [])),
    ?assertMatch({error, {invalid, #{field := imports}}},
                 beamline_wasm:start(M, #{imports => #{
                    {<<"h">>, <<"m">>} => {memory, #{min => 1, max => 2}}, {<<"h">>, <<"g">>} => {global, #{type => i32}},
                    {<<"h">>, <<"t">>} => {table, #{min => 4}}, {<<"k">>, <<"add">>} => {export, kit(), <<"add">>},
                    {<<"k">>, <<"twice">>} => fun([N], _) -> [2 * N] end}})).

what_the_host_gives_is_checked_test_() ->
    Export = fun("(global" ++ _) -> "(export \"x\" (global 0))"; (_) -> "" end,
    Module = fun(Type) -> module(["(module (import \"h\" \"x\" ", Type, ") ", Export(Type), ")"]) end,
    Start = fun(Type, Import) -> beamline_wasm:start(Module(Type), #{imports => #{{<<"h">>, <<"x">>} => Import}}) end,
    Bad = [{"(memory 1)", {memory, M}} || M <- [#{}, #{min => -1}, #{min => one}, #{min => 2, max => 1}, #{min => 1, index => i16}]] ++
          [{"(table 1 funcref)", {table, T}} || T <- [#{}, #{min => 1, element => i32}, #{min => 1, max => -1}]] ++
          [{"(global f32)", {global, G}} || G <- [#{}, #{type => f32, value => 1}, #{type => f32, value => 1.0e300},
              #{type => f32, value => {f32, -1}},
              #{type => f16}, #{type => f32, mutable => yes},
              #{type => i32, value => 1 bsl 32}, #{type => externref, value => term}, #{type => v128}]] ++
          [{"(tag)", {tag, #{}}}, {"(func)", fun() -> [] end}, {"(memory 1)", {export, nobody, <<"m">>}}],
    Get = fun(Type, Value) ->
        {ok, G} = Start("(global " ++ atom_to_list(Type) ++ ")", {global, #{type => Type, value => Value}}),
        beamline_wasm:global_get(G, <<"x">>, #{floats => bits})
    end,
    {setup, fun wasm_fixture:start/0, fun(_) ->
        [{lists:flatten(io_lib:format("~0p", [Import])),
          ?_assertMatch({error, {invalid, #{field := imports, wrong := [{<<"h">>, <<"x">>}]}}}, Start(Type, Import))}
         || {Type, Import} <- Bad] ++
        [?_assertEqual({ok, {f32, 16#3F800000}}, Get(f32, 1.0000000596046448)), % half way between two: to the even one
         ?_assertEqual({ok, {f32, 16#7F7FFFFF}}, Get(f32, 3.4028235677973362e38))] ++
        [?_assertEqual({ok, Value}, Get(Type, Value)) || {Type, Value} <-
            [{f32, {f32, B}} || B <- [0, 1, 16#80000000, 16#7FC00001, 16#FF800001, 16#7F800000, 16#FF800000, 16#3DCCCCCD, 16#7F7FFFFF]]
            ++ [{f64, {f64, B}} || B <- [1, 1 bsl 63, 16#FFF0000000000001, 16#3FB999999999999A]]
            ++ [{i32, -1}, {i64, -(1 bsl 63)}, {externref, null}, {funcref, null}]] ++
        [?_assertEqual({ok, -1}, Get(i32, 16#FFFFFFFF))]
    end}.

what_no_machine_has_is_refused_test() ->
    [?assertEqual({error, no_memory}, beamline_wasm:start(module(Wat), #{memory_limit => infinity, table_limit => infinity}))
     || Wat <- [<<"(module (memory i64 4294967296))">>, <<"(module (table i64 18446744073709551615 funcref))">>]].

%% A guest that lives long keeps nothing of instances that did not fit.
imports_that_do_not_fit_leave_nothing_test_() ->
    {timeout, 60, fun() ->
        A = guest(<<"(module (func (export \"f\") (result i32) (i32.const 1)))">>, #{}),
        M = wasm_fixture:module(<<"(module (import \"a\" \"f\" (func (param i64))) (import \"a\" \"g\" (func)))">>),
        Imports = #{{<<"a">>, <<"f">>} => {export, A, <<"f">>}, {<<"a">>, <<"g">>} => fun(_, _) -> [] end},
        Start = fun(_) -> ?assertMatch({error, {invalid, #{field := imports}}}, beamline_wasm:start(M, #{imports => Imports})) end,
        Fail = fun(Times) -> lists:foreach(Start, lists:seq(1, Times)) end,
        Fail(2000),
        Before = resident_kib(),
        Fail(20_000),
        %% A sanitizer keeps what was freed.
        ?assert(os:getenv("ASAN_OPTIONS") =/= false orelse resident_kib() - Before < 8192),
        ?assertEqual({ok, [1]}, beamline_wasm:call(A, <<"f">>, []))
    end}.

resident_kib() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [KiB]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, [1], binary}]),
    binary_to_integer(KiB).

%% What is asked for twice is made twice, however it is described.
equal_things_of_the_host_are_not_one_thing_test() ->
    M = module(<<"(module (import \"h\" \"a\" (global (mut i32))) (import \"h\" \"b\" (global (mut i32))) (import \"h\" \"m\" (memory 1))
        (import \"h\" \"n\" (memory 1)) (export \"a\" (global 0)) (export \"b\" (global 1))
        (export \"m\" (memory 0)) (export \"n\" (memory 1)))">>),
    Global = {global, #{type => i32, mutable => true, value => 7}},
    Memory = {memory, #{min => 1}},
    {ok, G} = beamline_wasm:start(M, #{imports => #{{<<"h">>, <<"a">>} => Global, {<<"h">>, <<"b">>} => Global,
                                                    {<<"h">>, <<"m">>} => Memory, {<<"h">>, <<"n">>} => Memory}}),
    ok = beamline_wasm:global_set(G, <<"a">>, 8),
    ?assertEqual({ok, 7}, beamline_wasm:global_get(G, <<"b">>)),
    ok = beamline_wasm:write(G, {<<"m">>, 0}, <<"x">>),
    ?assertEqual({ok, <<0>>}, beamline_wasm:read(G, {<<"n">>, 0}, 1)).

start_options_are_checked_test_() ->
    {setup, fun() -> {module(<<"(module (import \"a\" \"f\" (func)))">>), module(<<"(module)">>)} end, fun({Importing, Alone}) ->
        Imports = #{imports => #{{<<"a">>, <<"f">>} => fun(_, _) -> [] end}},
        Bad = [#{owner => nobody}, #{owner => nil}, #{memory_limit => -1}, #{table_limit => 1.5}, #{instance_limit => many},
               #{fuel => 1 bsl 63},
               #{fuel_limit => <<>>}, #{timeout => -1}, #{timeout => soon}, #{with => make_ref()}, #{limits => 1}, [], foo],
        [{lists:flatten(io_lib:format("~0p", [Options])), fun() ->
            ?assertError(badarg, beamline_wasm:start(Alone, Options)),
            [?assertError(badarg, beamline_wasm:start(Importing, maps:merge(Imports, Options))) || is_map(Options)]
         end} || Options <- [#{imports => []} | Bad]]
    end}.

%% The first instance calls, through a table, a function that the second one put there, and whose import it does not know.
imports_of_later_instances_are_found_test() ->
    First = guest(<<"(module (table (export \"t\") 1 funcref) (func (export \"f\") (result i32) (call_indirect (result i32)
      (i32.const 0))))">>, #{}),
    {ok, Second} = beamline_wasm:start(module(<<"(module (import \"a\" \"t\" (table 1 funcref)) (import \"h\" \"n\" (func $n (result i32)))
        (elem (i32.const 0) $g) (func $g (result i32) (i32.add (call $n) (i32.const 1))))">>),
        #{imports => #{{<<"a">>, <<"t">>} => {export, First, <<"t">>}, {<<"h">>, <<"n">>} => fun([], #{import := {<<"h">>,
            <<"n">>}}) -> [41] end}}),
    ?assertEqual({ok, [42]}, beamline_wasm:call(First, <<"f">>, [])),
    ?assertEqual(ok, beamline_wasm:stop(Second)),
    ?assertEqual({ok, [42]}, beamline_wasm:call(First, <<"f">>, [])).

%% One that failed when it was half made has left a function in the table: it can be called, and so can its import.
imports_of_instances_that_failed_are_found_test() ->
    First = guest(<<"(module (table (export \"t\") 1 funcref) (func (export \"f\") (result i32) (call_indirect (result i32)
      (i32.const 0))))">>, #{}),
    Failing = module(<<"(module (import \"a\" \"t\" (table 1 funcref)) (import \"h\" \"n\" (func $n (result i32))) (memory 1)
        (elem (i32.const 0) $n) (data (i32.const 65536) \"x\"))">>),
    Imports = #{{<<"a">>, <<"t">>} => {export, First, <<"t">>}, {<<"h">>, <<"n">>} => fun([], _) -> [41] end},
    ?assertMatch({error, {trap, _}}, beamline_wasm:start(Failing, #{imports => Imports})),
    ?assertEqual({ok, [41]}, beamline_wasm:call(First, <<"f">>, [])).

%% At once: somebody else may call while the instance is made.
imports_are_found_while_instances_are_made_test_() ->
    {timeout, 60, fun() ->
        First = guest(<<"(module (func $f (result i32) (i32.const 7)) (table (export \"t\") 1 funcref) (elem (i32.const 0) $f)
            (func (export \"f\") (result i32) (call_indirect (result i32) (i32.const 0))))">>, #{instance_limit => 2000}),
        M = module(<<"(module (import \"a\" \"t\" (table 1 funcref)) (import \"h\" \"n\" (func $n (result i32)))
            (elem (i32.const 0) $n))">>),
        Start = fun Start() ->
            case beamline_wasm:start(M, #{imports => #{{<<"a">>, <<"t">>} => {export, First, <<"t">>}, {<<"h">>, <<"n">>} => fun([], _) ->
                [7] end}}) of
                {ok, _} -> ok;
                {error, {busy, 0}} -> Start()
            end
        end,
        Caller = spawn_link(fun Again() ->
            case beamline_wasm:call(First, <<"f">>, []) of {ok, [7]} -> ok; {error, {busy, 0}} -> ok end,
            Again()
        end),
        [Start() || _ <- lists:seq(1, 1000)],
        unlink(Caller),
        exit(Caller, kill)
    end}.

a_start_function_is_a_call_like_others_test() ->
    Wat = <<"(module (import \"env\" \"ask\" (func $ask (param i32) (result i32))) (global $g (export \"g\") (mut i32) (i32.const 0))
        (func $s (global.set $g (call $ask (i32.const 1)))) (start $s))">>,
    ?assertEqual({ok, 5}, beamline_wasm:global_get(guest(Wat, #{imports => imports(fun([1], #{instance := I, state := x}) ->
        {ok, 0} = beamline_wasm:global_get(I, <<"g">>), [5] end), state => x}), <<"g">>)),
    ?assertMatch({error, {import_failed, _}}, beamline_wasm:start(module(Wat), #{imports => imports(fun(_, _) -> error(x) end)})),
    Spin = module(<<"(module (func $s (loop $l (br $l))) (start $s))">>),
    ?assertEqual({error, timeout}, beamline_wasm:start(Spin, #{timeout => 30})),
    ?assertMatch({error, {trap, #{code := unreachable}}}, beamline_wasm:start(module(<<"(module (func $s (unreachable)) (start $s))">>))),
    ?assertMatch({error, {trap, _}}, beamline_wasm:start(module(<<"(module (memory 1) (data (i32.const 65536) \"x\"))">>))),
    wasm_fixture:all_gone().
