%% SPDX-License-Identifier: Apache-2.0
%% Modules that want to hurt, and every call that would make the library end the process, had it no guard.
%% doc/wasm.md lists those calls; the tests here bear their numbers.
-module(beamline_wasm_hostile_tests).

-include_lib("eunit/include/eunit.hrl").

-import(wasm_fixture, [guest/2, imports/1]).

-define(RANDOM, 3000).

refused({error, {Reason, _}}) -> lists:member(Reason, [syntax, invalid, limit, unsupported]);
refused(_) -> false.

%%% Generated modules

section(Id, Bytes) -> [Id, leb(iolist_size(Bytes)), Bytes].

leb(N) when N < 128 -> [N];
leb(N) -> [128 bor (N band 127) | leb(N bsr 7)].

binary_module(Sections) -> iolist_to_binary([<<0, "asm", 1, 0, 0, 0>>, Sections]).

vector(Items) -> [leb(length(Items)), Items].

hostile_modules_are_refused_test_() ->
    Types = section(1, vector([<<16#60, 0, 0>>])),
    Modules = [
        {"a count that lies", binary_module(section(1, [leb(16#FFFFFFFF)]))},
        {"a name that lies", binary_module(section(2, [1, leb(16#FFFFFFF), "x"]))},
        {"a section that lies", binary_module([1, leb(16#FFFFFFFF)])},
        {"a number that never ends", binary_module([1, binary:copy(<<255>>, 100)])},
        {"a section twice", binary_module([Types, Types])},
        {"sections in the wrong order", binary_module([section(3, vector([[0]])), Types])},
        {"an unknown section", binary_module(section(99, []))},
        {"two start sections", binary_module([Types, section(3, vector([[0]])), section(8, [0]), section(8, [0]), section(10, vector([[2,
            0, 16#0b]]))])},
        {"a start that is not there", binary_module([Types, section(8, [7])])},
        {"an export that is not there", binary_module([Types, section(7, vector([["\1x", 0, 9]]))])},
        {"an export twice", binary_module([Types, section(3, vector([[0]])), section(7, vector([["\1x", 0, 0], ["\1x", 0, 0]])),
                                           section(10, vector([[2, 0, 16#0b]]))])},
        {"a function of an unknown type", binary_module([Types, section(3, vector([[5]])), section(10, vector([[2, 0, 16#0b]]))])},
        {"functions without code", binary_module([Types, section(3, vector([[0], [0]])), section(10, vector([[2, 0, 16#0b]]))])},
        {"2,000 parameters", ["(module (func (param", lists:duplicate(2000, " i32"), ")))"]},
        {"too many locals", binary_module([Types, section(3, vector([[0]])), section(10, vector([[9, 1, leb(16#FFFFFFFF), 16#7f, 16#0b,
            0]]))])},
        {"a memory of 2^32 pages", <<"(module (memory 4294967295))">>},
        {"a memory that shrinks", <<"(module (memory 2 1))">>},
        {"shared memory", <<"(module (memory 1 1 shared))">>},
        {"20,000 imports", ["(module ", [io_lib:format("(import \"m\" \"~b\" (func))", [I]) || I <- lists:seq(1, 20_000)], ")"]},
        {"parentheses without end", binary:copy(<<"(">>, 1 bsl 20)},
        {"nested blocks without end", ["(module (func ", lists:duplicate(100_000, "(block "), "))"]},
        {"nested comments without end", binary:copy(<<"(;">>, 1 bsl 20)},
        {"no UTF-8", <<"(module (import \"\\ff\" \"x\" (func)))">>},
        {"our own module name", <<"(module (import \"\\01beamline\" \"nothing\" (func))">>},
        {"a proposal that is off", <<"(module (memory 1 (pagesize 1)))">>}],
    {setup, fun wasm_fixture:start/0, fun(_) ->
        [{Name, {timeout, 60, fun() -> ?assert(refused(beamline_wasm:compile(M)) orelse {Name, beamline_wasm:compile(M)}) end}} || {Name,
            M} <- Modules]
    end}.

%% An answer that comes after its deadline reaches nobody, and what nobody waits for any more is not begun.
a_module_that_is_late_is_dropped_test_() ->
    {timeout, 60, fun() ->
        wasm_fixture:start(),
        Line = "(local.set 0 (i32.mul (local.get 0) (i32.const 7)))",
        Slow = ["(module", lists:duplicate(1500, ["(func (param i32) (result i32)", lists:duplicate(40, Line), "(local.get 0))"]), ")"],
        ?assertEqual({error, timeout}, beamline_wasm:compile(Slow, #{timeout => 20})),
        Killed = [spawn(fun() -> beamline_wasm:compile(Slow) end) || _ <- lists:seq(1, 50)],
        receive after 100 -> ok end,
        [exit(Pid, kill) || Pid <- Killed],
        ?assertMatch({ok, _}, beamline_wasm:compile(<<"(module)">>, #{timeout => 20_000})),
        receive Any -> ?assertEqual(nothing, Any) after 0 -> ok end,
        [?assertError(badarg, beamline_wasm:compile(<<"(module)">>, #{timeout => T})) || T <- [-1, soon, 1.5, 1 bsl 32]]
    end}.

large_but_good_modules_work_test_() ->
    {timeout, 120, fun() ->
        wasm_fixture:start(),
        Thousand = ["(module (func (export \"f\") (param", lists:duplicate(1000, " i32"), ") (result", lists:duplicate(1000, " i32"), ")",
                    [io_lib:format("(local.get ~b)", [I]) || I <- lists:seq(0, 999)], "))"],
        G = guest(Thousand, #{}),
        ?assertEqual({ok, lists:seq(1, 1000)}, beamline_wasm:call(G, <<"f">>, lists:seq(1, 1000))),
        Deep = ["(module (func (export \"f\") ", lists:duplicate(1000, "(block "), "(nop)", lists:duplicate(1000, ")"), "))"],
        ?assertEqual({ok, []}, beamline_wasm:call(guest(Deep, #{}), <<"f">>, [])),
        Name = binary:copy(<<"n">>, 60_000),
        ?assertEqual({ok, [1]}, beamline_wasm:call(guest(["(module (func (export \"", Name, "\") (result i32) (i32.const 1)))"], #{}),
            Name, [])),
        {ok, M} = beamline_wasm:compile(["(module ", [io_lib:format("(import \"m\" \"~b\" (func))", [I]) || I <- lists:seq(1, 20_000)],
            ")"],
                                        #{max_imports => 20_000}),
        ?assertEqual(20_000, length(beamline_wasm:imports(M))),
        {error, {invalid, #{missing := Missing}}} = beamline_wasm:start(M),
        ?assertEqual(20_000, length(Missing)),
        {ok, I} = beamline_wasm:start(M, #{imports => maps:from_list([{{<<"m">>, integer_to_binary(K)}, fun(_,
            _) -> [] end} || K <- lists:seq(1, 20_000)])}),
        ?assertEqual(ok, beamline_wasm:stop(I)),
        ?assertMatch({ok, _}, beamline_wasm:compile(<<"(module (import \"env\" \"invoke_x\" (func (param i32))))">>))
    end}.

%% A good module with bytes changed, cut and doubled: never anything but a value, and what compiles can be started and called.
damaged_modules_never_end_the_vm_test_() ->
    {timeout, 240, fun() ->
        wasm_fixture:start(),
        rand:seed(exsss, beamline_test:seed()),
        Good = sample(),
        [try_module(damaged(Good)) || _ <- lists:seq(1, ?RANDOM)],
        wasm_fixture:all_gone()
    end}.

%% A module in binary form, with most kinds of sections.
sample() ->
    Name = fun(Text) -> [leb(length(Text)), Text] end,
    binary_module([
        section(1, vector([<<16#60, 2, 16#7f, 16#7f, 1, 16#7f>>, <<16#60, 0, 0>>])),
        section(2, vector([[Name("env"), Name("ask"), 0, 0]])),
        section(3, vector([[0], [1], [1]])), section(4, vector([[16#70, 0, 4]])), section(5, vector([[1, 1, 3]])),
        section(6, vector([[16#7f, 1, 16#41, 7, 16#0b]])),
        section(7, vector([[Name("add"), 0, 1], [Name("memory"), 2, 0], [Name("g"), 3, 0], [Name("t"), 1, 0], [Name("loop"), 0, 2]])),
        section(8, [3]), section(9, vector([[0, 16#41, 0, 16#0b, 1, 1]])),
        section(10, vector([[7, 0, 16#20, 0, 16#20, 1, 16#6a, 16#0b], [9, 0, 16#03, 16#40, 16#41, 0, 16#0d, 0, 16#0b, 16#0b], [2, 0,
            16#0b]])),
        section(11, vector([[0, 16#41, 0, 16#0b, Name("data")]]))]).

damaged(Bytes) -> lists:foldl(fun(_, B) -> damage(rand:uniform(4), B) end, Bytes, lists:seq(1, rand:uniform(3))).

damage(_, <<>>) -> <<0>>;
damage(1, B) -> binary:part(B, 0, rand:uniform(byte_size(B)));
damage(2, B) -> {Head, <<_, Tail/binary>>} = split_binary(B, rand:uniform(byte_size(B)) - 1), <<Head/binary, Tail/binary>>;
damage(_, B) -> {Head, <<_, Tail/binary>>} = split_binary(B, rand:uniform(byte_size(B)) - 1), <<Head/binary, (rand:uniform(256) - 1),
    Tail/binary>>.

try_module(Bytes) ->
    case beamline_wasm:compile(Bytes) of
        {ok, Module} ->
            Funs = maps:from_list([{{M, N}, fun(_, _) -> [0] end} || {M, N, {func, _, _}} <- beamline_wasm:imports(Module)]),
            case beamline_wasm:start(Module, #{imports => Funs, fuel => 100_000, timeout => 500}) of
                {ok, G} ->
                    [catch beamline_wasm:call(G, N, [0 || _ <- Params], #{timeout => 500}) || {N, {func, Params,
                        _}} <- beamline_wasm:exports(Module)],
                    beamline_wasm:stop(G);
                {error, _} ->
                    ok
            end;
        {error, _} = Error ->
            ?assert(refused(Error))
    end.

%%% Calls that would end the process (numbers of doc/wasm.md)

%% 1, 6: while a cancelled fiber is unwound, through several imports, nothing suspends again.
n1_a_fiber_that_is_unwound_does_not_suspend_test() ->
    G = guest(<<"(module (import \"env\" \"ask\" (func $ask (param i32) (result i32)))
        (tag $t) (func (export \"f\") (param i32) (result i32)
          (block $h (try_table (catch_all $h) (return (call $ask (local.get 0))))) (call $ask (i32.const 99))))">>,
        #{imports => imports(fun([0], #{instance := I}) -> beamline_wasm:cancel(I), [1];
                                ([99], _) -> error(not_reached);
                                ([N], #{instance := I}) -> {error, cancelled} = beamline_wasm:call(I, <<"f">>, [N - 1]), [N] end)}),
    ?assertEqual({error, cancelled}, beamline_wasm:call(G, <<"f">>, [5])),
    ?assertEqual({error, cancelled}, beamline_wasm:call(G, <<"f">>, [0])).

%% 2: a function that reaches an import is never run without a fiber.
n2_what_reaches_an_import_is_not_short_test() ->
    M = wasm_fixture:module(<<"(module (import \"env\" \"ask\" (func $ask (param i32) (result i32)))
        (table 1 funcref) (elem (i32.const 0) $ask) (memory 1)
        (func $inner (param i32) (result i32) (call $ask (local.get 0)))
        (func (export \"direct\") (param i32) (result i32) (call $ask (local.get 0)))
        (func (export \"through\") (param i32) (result i32) (call $inner (local.get 0)))
        (func (export \"table\") (param i32) (result i32) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))
        (func (export \"tail\") (param i32) (result i32) (return_call $inner (local.get 0)))
        (export \"import\" (func $ask))
        (func (export \"loop\") (loop)) (func $r (export \"rec\") (call $r))
        (func (export \"bulk\") (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))
        (func (export \"grow\") (result i32) (memory.grow (i32.const 0)))
        (func (export \"ok\") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))">>),
    ?assertEqual([<<"ok">>], beamline_wasm:module_info(M, short)),
    {ok, G} = beamline_wasm:start(M, #{imports => imports(fun([N], _) -> [N + 1] end)}),
    [?assertEqual({ok, [8]}, beamline_wasm:call(G, F, [7])) || F <- [<<"direct">>, <<"through">>, <<"table">>, <<"tail">>, <<"import">>,
        <<"ok">>]].

%% 3: deep recursion on a dirty scheduler traps.
n3_deep_recursion_after_a_migration_traps_test_() ->
    {timeout, 60, fun() ->
        G = guest(<<"(module (memory 1024) (func $rec (param i32) (result i32) (i32.add (call $rec (local.get 0)) (i32.const 1)))
            (func (export \"f\") (result i32) (memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864)) (call $rec
              (i32.const 0))))">>, #{}),
        ?assertMatch({error, {trap, #{code := stack_overflow}}}, beamline_wasm:call(G, <<"f">>, []))
    end}.

%% 4, 5: functions of another guest, of one that is gone, and terms that were collected.
n4_functions_belong_to_their_guest_test() ->
    G = guest(wasm_fixture:wat(), #{imports => imports(fun([N], _) -> erlang:garbage_collect(), [N] end)}),
    {ok, F} = beamline_wasm:function(G, <<"asks">>),
    H = guest(wasm_fixture:wat(), #{imports => imports(fun([N], _) -> [N] end)}),
    ?assertError(badarg, beamline_wasm:call(H, F, [3])),
    ?assertError(badarg, beamline_wasm:table_set(H, <<"tab">>, 0, F)),
    ?assertEqual({ok, [6]}, beamline_wasm:call(G, F, [3])),
    Call = fun() -> {ok, Temporary} = beamline_wasm:function(G, <<"asks">>), beamline_wasm:call(G, Temporary, [1000]) end,
    ?assertEqual({ok, [500500]}, Call()),
    ok = beamline_wasm:stop(G),
    ?assertEqual({error, closed}, beamline_wasm:call(G, F, [3])),
    ?assertError(badarg, beamline_wasm:call(H, make_ref(), [3])).

%% 10: there can be only so many guests.
n10_there_are_only_so_many_guests_test_() ->
    {timeout, 120, fun() ->
        {ok, M} = begin wasm_fixture:start(), beamline_wasm:compile(<<"(module (memory 1) (func (export \"f\")))">>,
            #{engine => dense}) end,
        wasm_fixture:all_gone(),
        {Guests, Last} = fill(M, []),
        ?assertMatch({error, {limit, #{what := guests}}}, Last),
        ?assert(length(Guests) >= 1000),
        [ok = beamline_wasm:stop(G) || G <- Guests],
        wasm_fixture:all_gone(),
        ?assertMatch({ok, _}, beamline_wasm:start(M))
    end}.

fill(M, Guests) ->
    case beamline_wasm:start(M) of
        {ok, G} -> fill(M, [G | Guests]);
        Error -> {Guests, Error}
    end.

%% 12, 13: types that the old reflection dies of.
n12_types_of_all_kinds_can_be_told_test() ->
    M = wasm_fixture:module(<<"(module (table (export \"t\") i64 5 18446744073709551615 externref) (memory
      (export \"m\") i64 1 281474976710656)
        (type $s (struct (field i8))) (type $a (array i16)) (type $f (func))
        (func (export \"f\") (param v128 anyref eqref i31ref structref arrayref nullref exnref (ref $s) (ref null $a) (ref $f)
          (ref func) nullexternref nullfuncref)))">>),
    [{<<"t">>, {table, #{index := i64, max := Max}}}, {<<"m">>, {memory, #{index := i64}}}, {<<"f">>, {func, Params,
        []}}] = beamline_wasm:exports(M),
    ?assertEqual({(1 bsl 64) - 1, 14}, {Max, length(Params)}),
    {ok, G} = beamline_wasm:start(M, #{memory_limit => infinity}),
    ?assertError(badarg, beamline_wasm:call(G, <<"f">>, lists:duplicate(14, null))).

%% 14: references that are something else on the other side.
n14_references_of_all_kinds_come_back_test() ->
    G = guest(<<"(module (type $s (struct)) (type $a (array i32))
        (func (export \"i31\") (param i32) (result anyref) (ref.i31 (local.get 0)))
        (func (export \"struct\") (result anyref) (struct.new $s))
        (func (export \"array\") (result eqref) (array.new $a (i32.const 1) (i32.const 3)))
        (func (export \"any\") (param anyref) (result anyref) (local.get 0))
        (func (export \"eq\") (param eqref) (result i32) (ref.is_null (local.get 0)))
        (func (export \"out\") (param anyref) (result externref) (extern.convert_any (local.get 0)))
        (func (export \"in\") (param externref) (result anyref) (any.convert_extern (local.get 0))))">>, #{}),
    Call = fun(F, Args) -> {ok, [V]} = beamline_wasm:call(G, F, Args), V end,
    ?assertEqual({i31, -5}, Call(<<"i31">>, [-5])),
    Struct = Call(<<"struct">>, []),
    ?assert(is_reference(Struct)),
    ?assert(is_reference(Call(<<"any">>, [Struct]))),
    ?assertEqual(0, Call(<<"eq">>, [Call(<<"array">>, [])])),
    ?assertEqual(0, Call(<<"eq">>, [{i31, 7}])),
    ?assertEqual({host, [a, term]}, Call(<<"in">>, [[a, term]])),
    ?assertEqual([a, term], Call(<<"out">>, [{host, [a, term]}])),
    Out = Call(<<"out">>, [Struct]),
    ?assert(is_reference(Out)),
    ?assert(is_reference(Call(<<"in">>, [Out]))),
    I31 = Call(<<"out">>, [{i31, 3}]),
    ?assertEqual({i31, 3}, Call(<<"in">>, [I31])),
    ?assertError(badarg, beamline_wasm:call(G, <<"eq">>, [{host, x}])),
    ?assertError(badarg, beamline_wasm:call(G, <<"any">>, [{i31, 1 bsl 40}])).

%% Terms that a guest drops are freed with it.
terms_in_a_guest_are_given_back_test_() ->
    {timeout, 60, fun() ->
        G = guest(<<"(module (global $g (mut externref) (ref.null extern)) (func (export \"keep\") (param externref) (global.set $g
          (local.get 0)))
            (func (export \"get\") (result externref) (global.get $g)))">>, #{}),
        Big = binary:copy(<<1>>, 1 bsl 20),
        erlang:garbage_collect(),
        Before = binary_memory(),
        [{ok, []} = beamline_wasm:call(G, <<"keep">>, [{N, binary:copy(Big)}]) || N <- lists:seq(1, 50)],
        ?assertMatch({ok, [{50, _}]}, beamline_wasm:call(G, <<"get">>, [])),
        ok = beamline_wasm:stop(G),
        beamline_test:eventually(fun() -> erlang:garbage_collect(), binary_memory() - Before < 8 bsl 20 end, 5000)
    end}.

%% So are funs for imports, also those that refer to the guest that keeps them.
funs_in_a_guest_are_given_back_test_() ->
    {timeout, 60, fun() ->
        wasm_fixture:start(),
        erlang:garbage_collect(),
        Before = binary_memory(),
        [begin
             A = guest(<<"(module (memory (export \"m\") 1))">>, #{}),
             Big = binary:copy(<<1>>, 1 bsl 20),
             B = guest(<<"(module (import \"env\" \"ask\" (func $ask (result i32))) (func (export \"f\") (result i32) (call $ask)))">>,
                 #{with => A, imports => imports(fun(_, _) -> {ok, _} = beamline_wasm:size(A), [byte_size(Big)] end)}),
             {ok, [1048576]} = beamline_wasm:call(B, <<"f">>, []),
             [ok = beamline_wasm:stop(I) || I <- [A, B]]
         end || _ <- lists:seq(1, 30)],
        beamline_test:eventually(fun() -> erlang:garbage_collect(), binary_memory() - Before < 8 bsl 20 end, 5000)
    end}.

%% Each term that goes in may begin a collection; those before it must outlive it, on the way in and back.
many_terms_go_in_and_come_back_at_once_test_() ->
    {timeout, 60, fun() ->
        N = 500,
        Types = lists:duplicate(N, " externref"),
        Gets = [io_lib:format("(local.get ~b)", [I]) || I <- lists:seq(0, N - 1)],
        G = guest(["(module (import \"env\" \"swap\" (func $swap (param", Types, ") (result", Types, ")))
            (func (export \"echo\") (param", Types, ") (result", Types, ")", Gets, ")
            (func (export \"swap\") (param", Types, ") (result", Types, ") (call $swap ", Gets, ")))"],
            #{imports => #{{<<"env">>, <<"swap">>} => fun(Terms, _) -> lists:reverse(Terms) end}}),
        [begin
             Terms = [{Round, I} || I <- lists:seq(1, N)],
             ?assertEqual({ok, Terms}, beamline_wasm:call(G, <<"echo">>, Terms)),
             ?assertEqual({ok, lists:reverse(Terms)}, beamline_wasm:call(G, <<"swap">>, Terms))
         end || Round <- lists:seq(1, 100)],
        %% Those that were made before one that does not fit are given back.
        ?assertError(badarg, beamline_wasm:call(G, <<"echo">>, lists:seq(1, N + 1))),
        ?assertError(badarg, beamline_wasm:call(G, <<"echo">>, lists:seq(1, N - 1)))
    end}.

%% What a guest holds while it waits for an import, only in its frames, outlives the terms that come from there: as results, as
%% arguments of nested calls, into tables and globals.
terms_in_waiting_frames_are_kept_test_() ->
    {timeout, 60, fun() ->
        M = wasm_fixture:module(<<"(module (import \"env\" \"ask\" (func $ask (result externref)))
            (table (export \"t\") 2 externref) (global (export \"g\") (mut externref) (ref.null extern))
            (func (export \"nested\") (param externref))
            (func (export \"keep\") (param externref) (result externref) (local $n i32) (local.set $n (i32.const 3000))
              (loop $l (drop (call $ask)) (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get 0)))">>),
        Asks = [fun(_, _) -> [[a, make_ref()]] end,
                fun(_, #{instance := I}) -> {ok, []} = beamline_wasm:call(I, <<"nested">>, [{a, make_ref()}]), [null] end,
                fun(_, #{instance := I}) -> ok = beamline_wasm:table_set(I, <<"t">>, 1, {a, make_ref()}), [null] end,
                fun(_, #{instance := I}) -> ok = beamline_wasm:global_set(I, <<"g">>, {a, make_ref()}), [null] end],
        [begin
             {ok, G} = beamline_wasm:start(M, #{imports => imports(Ask)}),
             [?assertEqual({ok, [{kept, N}]}, beamline_wasm:call(G, <<"keep">>, [{kept, N}])) || N <- lists:seq(1, 5)]
         end || Ask <- Asks]
    end}.

%% A guest whose heap is full of terms takes no more: wherever one comes in it is refused, and freed once.
a_guest_that_is_full_of_terms_refuses_the_next_one_test_() ->
    {timeout, 60, fun() ->
        G = guest(<<"(module (import \"env\" \"ask\" (func $ask (result externref externref)))
            (table $t (export \"t\") 0 externref) (global (export \"g\") (mut externref) (ref.null extern))
            (func (export \"keep\") (param externref) (drop (table.grow $t (local.get 0) (i32.const 1))))
            (func (export \"two\") (param externref externref))
            (func (export \"ask\") (call $ask) drop drop))">>,
            #{memory_limit => 65536, table_limit => infinity,
              imports => imports(fun(_, #{instance := I}) ->
                  {error, no_memory} = beamline_wasm:call(I, <<"keep">>, [{a, b}]),
                  [x, y]
              end)}),
        Keep = fun Keep(N) -> case beamline_wasm:call(G, <<"keep">>, [{term, N}]) of {ok, []} -> Keep(N + 1); Error -> {Error, N} end end,
        {Answer, N} = Keep(0),
        ?assertEqual({error, no_memory}, Answer),
        [begin
             ?assertEqual({error, no_memory}, beamline_wasm:call(G, <<"two">>, [{a, b}, {c, d}])),
             ?assertEqual({error, no_memory}, beamline_wasm:table_set(G, <<"t">>, 0, {a, b})),
             ?assertEqual({error, no_memory}, beamline_wasm:table_grow(G, <<"t">>, 1, {a, b})),
             ?assertEqual({error, no_memory}, beamline_wasm:global_set(G, <<"g">>, {a, b})),
             ?assertMatch({error, {import_failed, #{reason := no_memory}}}, beamline_wasm:call(G, <<"ask">>, []))
         end || _ <- lists:seq(1, 100)],
        ?assertError(badarg, beamline_wasm:call(G, <<"two">>, [null])),
        ?assertEqual({ok, {term, N - 1}}, beamline_wasm:table_get(G, <<"t">>, N - 1)),
        [ok = beamline_wasm:table_set(G, <<"t">>, I, null) || I <- lists:seq(0, N - 1)],
        ?assertEqual({ok, []}, beamline_wasm:call(G, <<"two">>, [{a, b}, {c, d}]))
    end}.

%% A VM that takes each block from malloc (under the sanitizers) does not count it.
binary_memory() ->
    try erlang:memory(binary) catch error:notsup -> 0 end.
