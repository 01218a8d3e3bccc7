%% SPDX-License-Identifier: Apache-2.0
%% What users of hb_beamr rely on, and what that gets wrong: see the table in doc/wasm.md.
-module(beamline_beamr_tests).

-include_lib("eunit/include/eunit.hrl").

wat() ->
    <<"(module (import \"env\" \"pow\" (func $pow (param i32 i32) (result i32))) (import \"env\" \"log\" (func $log (param f64)))
     (memory (export \"memory\") 2 100) (global $sp (mut i32) (i32.const 65536)) (table 2 funcref) (elem (i32.const 0) $one)
     (func $one (export \"one\") (result i32) (i32.const 1))
     (func $two (export \"two\") (result i32) (i32.const 2))
     (func (export \"swap\") (table.set (i32.const 0) (ref.func $two)) (global.set $sp (i32.sub (global.get $sp) (i32.const 16))))
     (func (export \"through\") (result i32) (i32.add (global.get $sp) (call_indirect (result i32) (i32.const 0))))
     (func $fac (export \"fac\") (param f64) (result f64)
       (if (result f64) (f64.lt (local.get 0) (f64.const 1)) (then (f64.const 1))
         (else (f64.mul (local.get 0) (call $fac (f64.sub (local.get 0) (f64.const 1)))))))
     (func (export \"pow_calculator\") (param i32 i32) (result i32) (call $pow (local.get 0) (local.get 1)))
     (func (export \"log\") (param f64) (call $log (local.get 0)))
     (func (export \"i64\") (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
     (func (export \"f32\") (param f32) (result f32) (local.get 0))
     (func (export \"inf\") (result f64) (f64.div (f64.const 1) (f64.const 0)))
     (func (export \"trap\") unreachable) (func (export \"spin\") (loop $l (br $l)))
     (func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))
     (global $at (mut i32) (i32.const 1024))
     (func (export \"malloc\") (param i32) (result i32) (local $p i32) (local.set $p (global.get $at))
       (if (result i32) (i32.gt_u (local.get 0) (i32.const 60000)) (then (i32.const 0))
         (else (global.set $at (i32.add (local.get $p) (local.get 0))) (local.get $p))))
     (func (export \"free\") (param i32)))">>.

start() ->
    ok = wasm_fixture:start(),
    {ok, W, _, _} = beamline_beamr:start(wat()),
    W.

multiply(State, #{func := "pow", module := "env", args := [A, B], func_sig := "(ii)i"}, _Opts) -> {ok, [A * B], State + 1};
multiply(State, #{func := "log"}, _) -> {ok, [], State}.

start_tells_imports_and_exports_test() ->
    ok = wasm_fixture:start(),
    {ok, W, Imports, Exports} = beamline_beamr:start(wat()),
    ?assertEqual([{func, "env", "pow", "(ii)i"}, {func, "env", "log", "(F)"}], Imports),
    ?assert(lists:member({func, "fac", "(F)F"}, Exports)),
    ?assert(lists:member({memory, "memory", ""}, Exports)),
    ?assertEqual([], [N || {_, [1 | _] = N, _} <- Exports]), % nothing of our own
    ?assertMatch({error, Text} when is_binary(Text), beamline_beamr:start(<<"no module">>)),
    ?assertMatch({error, _}, beamline_beamr:start(wat(), aot)),
    ?assertEqual(ok, beamline_beamr:stop(W)),
    ?assertEqual(ok, beamline_beamr:stop(W)).

calls_have_the_known_shapes_test() ->
    W = start(),
    ?assertEqual({ok, [120.0]}, beamline_beamr:call(W, "fac", [5.0])),
    ?assertEqual({ok, [120.0]}, beamline_beamr:call(W, <<"fac">>, [5.0])),
    ?assertEqual({ok, [32], 1}, beamline_beamr:call(W, "pow_calculator", [8, 4], fun multiply/3, 0)),
    ?assertEqual({ok, [32], 8}, beamline_beamr:call(W, "pow_calculator", [8, 4], fun multiply/3, 7, #{})),
    ?assertEqual({ok, [0]}, beamline_beamr:call(W, "pow_calculator", [8, 4])), % imports answer zeros
    ?assertEqual({ok, []}, beamline_beamr:call(W, "log", [1.0])),
    ?assertEqual(ok, beamline_beamr:wasm_send(W, {command, x})),
    Self = self(),
    spawn(fun() -> Self ! beamline_beamr:call(W, "fac", [3.0]) end),
    ?assertEqual({ok, [6.0]}, receive R -> R after 2000 -> late end).

%%% What goes wrong there

values_are_exact_test() ->
    W = start(),
    [?assertEqual({ok, [N + 1]}, beamline_beamr:call(W, "i64", [N])) || N <- [1 bsl 31, -(1 bsl 40), (1 bsl 62), -(1 bsl 63)]],
    ?assertEqual({ok, [1.5]}, beamline_beamr:call(W, "f32", [1.5])),
    ?assertEqual({ok, [infinity]}, beamline_beamr:call(W, "inf", [])).

bad_arguments_are_values_test_() ->
    {setup, fun start/0, fun(W) ->
        [?_assertEqual({error, {invalid_args, Args}}, beamline_beamr:call(W, F, Args, fun multiply/3, 0))
         || {F, Args} <- [{"fac", []}, {"fac", [1]}, {"fac", [1.0, 2.0]}, {"i64", [1.0]}, {"pow_calculator", [1]}, {"i64", [a]}, {"fac",
             nonsense},
                          {"i64", [1 bsl 64]}]]
        ++ [?_assertMatch({error, Text, 0} when is_binary(Text), beamline_beamr:call(W, F, [], fun multiply/3, 0))
            || F <- [lists:duplicate(300, $x), lists:duplicate(60_000, $y), "", "trap"]]
        ++ [?_assertEqual({ok, [120.0]}, beamline_beamr:call(W, "fac", [5.0]))]
    end}.

imports_that_misbehave_hurt_only_the_call_test_() ->
    {setup, fun start/0, fun(W) ->
        Call = fun(F) -> beamline_beamr:call(W, "pow_calculator", [2, 3], F, s) end,
        [?_assertMatch({error, error, boo, [_ | _], s}, Call(fun(_, _, _) -> error(boo) end)),
         ?_assertMatch({error, throw, boo, [_ | _], s}, Call(fun(_, _, _) -> throw(boo) end)),
         ?_assertMatch({error, exit, boo, [_ | _], s}, Call(fun(_, _, _) -> exit(boo) end)),
         ?_assertMatch({error, Text, s} when is_binary(Text), Call(fun(_, _, _) -> junk end)),
         ?_assertEqual({error, <<"the import fun answered '\x{65e5}\x{e9}'"/utf8>>, s}, Call(fun(_, _, _) -> '\x{65e5}\x{e9}' end)),
         ?_assertMatch({error, error, {bad_results, [], _}, [], _}, Call(fun(S, _, _) -> {ok, [], S} end)),
         ?_assertMatch({error, error, {bad_results, [1.5], _}, [], _}, Call(fun(S, _, _) -> {ok, [1.5], S} end)),
         %% A foreign message that looks like an answer stays in the mailbox.
         fun() ->
            self() ! {error, foreign},
            ?assertEqual({ok, [6], s}, Call(fun(S, #{args := [A, B]}, _) -> {ok, [A * B], S} end)),
            receive {error, foreign} -> ok after 0 -> ?assert(false) end
         end,
         %% The guest's malloc from inside an import.
         ?_assertMatch({ok, [P], s} when P >= 1024, Call(fun(S, #{instance := I}, _) -> {ok, P} = beamline_beamr_io:malloc(I, 100), {ok,
             [P], S} end)),
         ?_assertEqual({ok, [120.0]}, beamline_beamr:call(W, "fac", [5.0]))]
    end}.

an_endless_guest_stops_nobody_else_test() ->
    W = start(),
    Pid = spawn(fun() -> beamline_beamr:call(W, "spin", []) end),
    beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(W)) =/= idle end),
    ?assertEqual({ok, [120.0]}, beamline_beamr:call(start(), "fac", [5.0])),
    ?assertEqual(ok, beamline_beamr:stop(W)),
    beamline_test:eventually(fun() -> not is_process_alive(Pid) end).

two_processes_take_turns_test() ->
    W = start(),
    Self = self(),
    Slow = fun(S, #{args := [A, B]}, _) -> receive after 5 -> ok end, {ok, [A * B], S} end,
    [spawn(fun() -> Self ! {N, beamline_beamr:call(W, "pow_calculator", [N, 2], Slow, N)} end) || N <- lists:seq(1, 10)],
    [?assertEqual({ok, [2 * N], N}, receive {N, Got} -> Got after 5000 -> late end) || N <- lists:seq(1, 10)].

%%% Memory

another_process_waits_for_the_memory_test_() ->
    {timeout, 30, fun() ->
        W = start(),
        {ok, P} = beamline_beamr_io:write_string(W, <<"text">>),
        Self = self(),
        Uses = [fun() -> beamline_beamr_io:size(W) end, fun() -> beamline_beamr_io:read(W, P, 4) end,
                fun() -> beamline_beamr_io:write(W, 100, <<"x">>) end, fun() -> beamline_beamr_io:read_string(W, P) end,
                fun() -> beamline_beamr_io:write_string(W, "more") end, fun() -> beamline_beamr_io:malloc(W, 8) end,
                fun() -> beamline_beamr_io:malloc(W, 1 bsl 20) end, fun() -> beamline_beamr_io:free(W, P) end],
        Slow = fun(S, _, _) -> Self ! inside, receive after 30 -> {ok, [0], S} end end,
        [begin
             {Pid, Monitor} = spawn_monitor(fun() -> {ok, _, _} = beamline_beamr:call(W, "pow_calculator", [1, 1], Slow, s) end),
             receive inside -> ok end,
             Got = Use(),
             receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
             ?assert(Got =:= ok orelse Got =:= {error, malloc_failed} orelse element(1, Got) =:= ok orelse Got)
         end || Use <- Uses]
    end}.

memory_is_checked_test() ->
    W = start(),
    ?assertEqual({ok, 131072}, beamline_beamr_io:size(W)),
    ?assertEqual(ok, beamline_beamr_io:write(W, 100, <<"hello">>)),
    ?assertEqual({ok, <<"hello">>}, beamline_beamr_io:read(W, 100, 5)),
    [?assertMatch({error, Text} when is_binary(Text), beamline_beamr_io:read(W, Offset, Size))
     || {Offset, Size} <- [{-1, 1}, {(1 bsl 63) - 1, 1}, {0, -1}, {131072, 1}, {1 bsl 64, 1}, {1, (1 bsl 64) - 1}]],
    ?assertMatch({error, _}, beamline_beamr_io:write(W, 131070, <<"abc">>)),
    {ok, P} = beamline_beamr_io:write_string(W, <<"round trip">>),
    ?assertEqual({ok, <<"round trip">>}, beamline_beamr_io:read_string(W, P)),
    ?assertEqual({ok, <<"round trip">>}, beamline_beamr_io:read_string(W, P, 3)),
    {ok, Q} = beamline_beamr_io:malloc(W, 100),
    ?assertEqual(ok, beamline_beamr_io:free(W, Q)),
    [?assertEqual({error, malloc_failed}, beamline_beamr_io:malloc(W, Size)) || Size <- [128 bsl 20, 1 bsl 32, 1 bsl 70]],
    ?assertMatch({error, Text} when is_binary(Text), beamline_beamr_io:free(W, 1 bsl 40)).

%%% Snapshots

a_snapshot_holds_globals_and_tables_that_are_not_exported_test() ->
    W = start(),
    ?assertEqual({ok, [65537]}, beamline_beamr:call(W, "through", [])),
    {ok, Before} = beamline_beamr:serialize(W),
    ok = beamline_beamr_io:write(W, 70_000, <<"state">>),
    {ok, []} = beamline_beamr:call(W, "swap", []),
    {ok, [2]} = beamline_beamr:call(W, "grow", [3]),
    ?assertEqual({ok, [65536 - 16 + 2]}, beamline_beamr:call(W, "through", [])),
    {ok, After} = beamline_beamr:serialize(W),
    Other = start(),
    ?assertEqual(ok, beamline_beamr:deserialize(Other, After)), % a smaller one grows
    ?assertEqual({ok, [65536 - 16 + 2]}, beamline_beamr:call(Other, "through", [])),
    ?assertEqual({ok, <<"state">>}, beamline_beamr_io:read(Other, 70_000, 5)),
    ?assertEqual({ok, 5 * 65536}, beamline_beamr_io:size(Other)),
    ?assertEqual(ok, beamline_beamr:deserialize(W, Before)), % a larger one is emptied
    ?assertEqual({ok, [65537]}, beamline_beamr:call(W, "through", [])),
    ?assertEqual({ok, <<0:40>>}, beamline_beamr_io:read(W, 70_000, 5)).

what_is_no_snapshot_is_refused_test() ->
    W = start(),
    {ok, Snapshot} = beamline_beamr:serialize(W),
    {ok, Small, _, _} = beamline_beamr:start(<<"(module (memory (export \"memory\") 1 1))">>),
    [?assertMatch({error, Text} when is_binary(Text), beamline_beamr:deserialize(I, Bytes))
     || {I, Bytes} <- [{Small, Snapshot}, {W, <<>>}, {W, <<"junk">>}, {W, term_to_binary(junk)}, {W, binary:part(Snapshot, 0, 20)}]],
    ?assertEqual({ok, [65537]}, beamline_beamr:call(W, "through", [])).

%% One that somebody made up, for the right module.
a_hostile_snapshot_is_refused_test() ->
    W = start(),
    {ok, Snapshot} = beamline_beamr:serialize(W),
    {Mark, Exports, Values} = binary_to_term(Snapshot),
    [?assertMatch({error, Text} when is_binary(Text), beamline_beamr:deserialize(W, term_to_binary({Mark, Exports, Bad})))
     || Bad <- [foo, [foo], [], tl(Values), [{nope, {global, 1}}]] ++
            [lists:keyreplace(<<"memory">>, 1, Values, {<<"memory">>, Memory})
             || Memory <- [b, {global, 1}, {memory, b, []}, {memory, 2, [{0, b}]}, {memory, 2, [{1 bsl 40, <<1>>}]}, {memory, 1 bsl 40, []},
                           {memory, 2, b}, {table, []}]]],
    ?assertEqual({ok, [65537]}, beamline_beamr:call(W, "through", [])).

%% One that goes wrong late changes nothing of what comes before.
a_snapshot_is_put_back_as_a_whole_or_not_at_all_test() ->
    ok = wasm_fixture:start(),
    {ok, W, _, _} = beamline_beamr:start(<<"(module (memory (export \"memory\") 1) (global (export \"a\") (mut i32) (i32.const 3))
        (table (export \"t\") 2 funcref) (func (export \"f\")) (global (export \"z\") (mut i32) (i32.const 4)))">>),
    {ok, Snapshot} = beamline_beamr:serialize(W),
    {ok, F} = beamline_wasm:function(W, <<"f">>),
    ok = beamline_beamr_io:write(W, 0, <<"kept">>),
    ok = beamline_wasm:table_set(W, <<"t">>, 1, F),
    ok = beamline_wasm:global_set(W, <<"a">>, 5),
    {Mark, Exports, Values} = binary_to_term(Snapshot),
    State = fun() -> [beamline_beamr_io:read(W, 0, 4), beamline_wasm:table_get(W, <<"t">>, 0), beamline_wasm:global_get(W, <<"a">>),
                      beamline_wasm:global_get(W, <<"z">>), is_reference(element(2, beamline_wasm:table_get(W, <<"t">>, 1)))] end,
    Before = State(),
    Memory = fun(Pieces) -> {memory, 1, Pieces} end,
    [begin
         Bad = lists:keyreplace(Name, 1, Values, {Name, Value}),
         ?assertMatch({error, Text} when is_binary(Text), beamline_beamr:deserialize(W, term_to_binary({Mark, Exports, Bad}))),
         ?assertEqual({Name, Before}, {Name, State()})
     end || {Name, Value} <- [{<<"memory">>, Memory([{0, <<"evil">>}, Piece])} || Piece <- [{65535, <<1, 2>>}, {-1, <<1>>}, {1, "text"}]] ++
                [{<<"z">>, {global, Value}} || Value <- [1 bsl 40, {export, <<"f">>}]] ++
                [{<<"t">>, {table, [{export, <<"f">>} | Rest]}} || Rest <- [[17], [{export, <<"g">>}], [null, null | x]]]],
    ?assertEqual(ok, beamline_beamr:deserialize(W, Snapshot)),
    ?assertEqual([{ok, <<0:32>>}, {ok, null}, {ok, 3}, {ok, 4}, false], State()).

%% A table cannot become smaller; what it has beyond the snapshot is empty, as memory is.
a_table_that_has_grown_is_emptied_test() ->
    ok = wasm_fixture:start(),
    {ok, W, _, _} = beamline_beamr:start(<<"(module (func $f (export \"f\")) (table (export \"t\") 1 funcref) (table (export \"u\") 1
        (ref func) (ref.func $f)))">>),
    {ok, Snapshot} = beamline_beamr:serialize(W),
    {ok, F} = beamline_wasm:function(W, <<"f">>),
    [{ok, 1} = beamline_wasm:table_grow(W, Table, 2, F) || Table <- [<<"t">>, <<"u">>]],
    ?assertEqual(ok, beamline_beamr:deserialize(W, Snapshot)),
    ?assertEqual([{ok, null}, {ok, null}], [beamline_wasm:table_get(W, <<"t">>, I) || I <- [1, 2]]).

%% All of one moment, and no call in between: memory far apart, and a global.
snapshots_take_turns_with_calls_test_() ->
    {timeout, 60, fun() ->
        ok = wasm_fixture:start(),
        {ok, W, _, _} = beamline_beamr:start(<<"(module (memory (export \"memory\") 40) (global $n (export \"n\") (mut i32) (i32.const 0))
            (func (export \"step\") (loop) (global.set $n (i32.add (global.get $n) (i32.const 1)))
              (i32.store (i32.const 0) (global.get $n)) (i32.store (i32.const 2600000) (global.get $n))))">>),
        Caller = spawn_link(fun Again() -> {ok, []} = beamline_beamr:call(W, "step", []), Again() end),
        [begin
             {ok, Snapshot} = beamline_beamr:serialize(W),
             ?assertMatch({N, N, N}, numbers(Snapshot)),
             ?assertEqual(ok, beamline_beamr:deserialize(W, Snapshot))
         end || _ <- lists:seq(1, 100)],
        unlink(Caller),
        exit(Caller, kill)
    end}.

numbers(Snapshot) ->
    {_, _, Values} = binary_to_term(Snapshot),
    {memory, 40, Pieces} = proplists:get_value(<<"memory">>, Values),
    {global, N} = proplists:get_value(<<"n">>, Values),
    At = fun(Offset) ->
        hd([binary:decode_unsigned(binary:part(Bytes, Offset - From, 4), little) || {From, Bytes} <- Pieces, Offset >= From,
            Offset < From + byte_size(Bytes)] ++ [0])
    end,
    {At(0), At(2600000), N}.

%% In an import the process has the instance already.
an_import_may_take_a_snapshot_test() ->
    W = start(),
    Take = fun(S, #{instance := I}, _) -> {ok, Snapshot} = beamline_beamr:serialize(I), {ok, [0], [Snapshot | S]} end,
    {ok, [0], [Snapshot]} = beamline_beamr:call(W, "pow_calculator", [1, 2], Take, []),
    Put = fun(S, #{instance := I}, _) -> ok = beamline_beamr:deserialize(I, Snapshot), {ok, [0], S} end,
    ?assertEqual({ok, [0], []}, beamline_beamr:call(W, "pow_calculator", [1, 2], Put, [])).

null_references_are_saved_test() ->
    ok = wasm_fixture:start(),
    {ok, W, _, _} = beamline_beamr:start(<<"(module (global (mut externref) (ref.null extern)) (table 2 externref))">>),
    {ok, Snapshot} = beamline_beamr:serialize(W),
    ?assertEqual(ok, beamline_beamr:deserialize(W, Snapshot)).

what_cannot_be_saved_is_said_test() ->
    ok = wasm_fixture:start(),
    {ok, W, _, _} = beamline_beamr:start(<<"(module (table 1 funcref) (elem (i32.const 0) $f) (func $f))">>),
    {error, Why} = beamline_beamr:serialize(W),
    ?assertMatch({_, _}, binary:match(Why, <<"no exported function">>)),
    {ok, T, _, _} = beamline_beamr:start(<<"(module (table (export \"t\") 1 externref) (func (export \"f\")))">>),
    [begin
         ok = beamline_wasm:table_set(T, <<"t">>, 0, Term),
         ?assertMatch({error, Text} when is_binary(Text), beamline_beamr:serialize(T))
     end || Term <- [make_ref(), {a, term}]].
