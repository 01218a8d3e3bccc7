%% SPDX-License-Identifier: Apache-2.0
%% Random trees of calls between guest and Erlang, with work, traps, throws, cancels and kills at random places, against
%% a model in a few lines; the same trees on the fiber and, where they are short, on the direct path.
-module(beamline_wasm_props_tests).

-include_lib("proper/include/proper.hrl").
-include_lib("eunit/include/eunit.hrl").

-define(RUNS, 400).

%% node(N): asks the host for what to do at N: a child to call, work, or an end.
wat() ->
    <<"(module (import \"h\" \"child\" (func $child (param i32 i32) (result i64)))
     (func $work (param $n i32) (result i64) (local $s i64)
       (block $out (loop $l (br_if $out (i32.eqz (local.get $n)))
         (local.set $s (i64.add (i64.mul (local.get $s) (i64.const 31)) (i64.extend_i32_u (local.get $n))))
         (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br $l)))
       (local.get $s))
     (func (export \"node\") (param $id i32) (param $work i32) (param $children i32) (param $trap i32) (result i64) (local $i i32)
       (local $sum i64)
       (local.set $sum (call $work (local.get $work)))
       (block $out (loop $l (br_if $out (i32.ge_u (local.get $i) (local.get $children)))
         (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 7)) (call $child (local.get $id) (local.get $i))))
         (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l)))
       (if (local.get $trap) (then unreachable))
       (local.get $sum)))">>.

%%% Trees: {node, Work, End, Children}; End: fine | trap | throw

tree() -> ?SIZED(Size, tree(Size)).

tree(Size) when Size =< 1 -> {node, work(), an_end(), []};
tree(Size) -> ?LET(N, choose(0, 4), {node, work(), an_end(), vector(N, tree(Size div 4))}).

work() -> frequency([{6, choose(0, 20)}, {2, choose(0, 20_000)}, {1, choose(0, 300_000)}]).
an_end() -> frequency([{20, fine}, {1, trap}, {1, throw}]).

%%% The model

model({node, Work, End, Children}) ->
    try
        Sum = lists:foldl(fun(Child, S) -> wrap(S * 7 + child(Child)) end, worked(Work, 0), Children),
        End =:= trap andalso throw(trap),
        {ok, Sum}
    catch
        throw:Why -> {error, Why}
    end.

%% An import calls the child; what fails there it turns into a failure of its own, or into a number.
child({node, _, throw, _}) -> throw(throw);
child(Tree) ->
    case model(Tree) of
        {ok, Sum} -> Sum;
        {error, _} -> -1
    end.

worked(0, S) -> S;
worked(N, S) -> worked(N - 1, wrap(S * 31 + N)).

wrap(N) -> <<S:64/signed>> = <<N:64>>, S.

%%% The guest

run(Guest, Tree) -> run(Guest, Tree, #{}).

run(Guest, {node, Work, End, Children} = Tree, Options) ->
    Args = [0, Work, length(Children), case End of trap -> 1; _ -> 0 end],
    case beamline_wasm:call(Guest, <<"node">>, Args, Options#{state => Tree}) of
        {ok, [Sum], Tree} -> {ok, Sum};
        {error, {trap, #{code := unreachable}}, Tree} -> {error, trap};
        {error, {import_failed, #{reason := thrown}}, Tree} -> {error, throw};
        {error, Other, _} -> {error, Other}
    end.

guest() ->
    Child = fun([_, I], #{instance := G, state := {node, _, _, Children}}) ->
        case lists:nth(I + 1, Children) of
            {node, _, throw, _} -> throw(thrown);
            Tree ->
                case run(G, Tree) of
                    {ok, Sum} -> [Sum];
                    {error, Why} when Why =:= trap; Why =:= throw -> [-1];
                    {error, Why} -> exit(Why)
                end
        end
    end,
    {ok, Guest} = beamline_wasm:start(wasm_fixture:module(wat()), #{imports => #{{<<"h">>, <<"child">>} => Child}}),
    Guest.

call_trees_give_what_the_model_gives_test_() ->
    {timeout, 240, fun() ->
        Guest = guest(),
        ?assert(proper:quickcheck(?FORALL(Tree, tree(), equals(model(Tree), run(Guest, Tree))), options()))
    end}.

%% Cancelled or killed at a random moment: the answer is right or says so, and the guest works afterwards.
call_trees_can_be_ended_anywhere_test_() ->
    {timeout, 240, fun() ->
        Guest = guest(),
        Property = ?FORALL({Tree, Delay, How}, {tree(), choose(0, 300), oneof([cancel, kill, timeout])}, begin
            Expected = model(Tree),
            Self = self(),
            Options = case How of timeout -> #{timeout => Delay div 100}; _ -> #{} end,
            {Pid, Monitor} = spawn_monitor(fun() -> Self ! {self(), run(Guest, Tree, Options)} end),
            spin(Delay),
            case How of cancel -> beamline_wasm:cancel(Guest); kill -> exit(Pid, kill); timeout -> ok end,
            Got = receive {Pid, Answer} -> Answer; {'DOWN', Monitor, _, _, killed} -> killed end,
            erlang:demonitor(Monitor, [flush]),
            receive {Pid, _} -> ok after 0 -> ok end,
            ok = beamline_test:eventually(fun() -> maps:get(state, beamline_wasm:info(Guest)) =:= idle end),
            lists:member(Got, [Expected, killed, {error, cancelled}, {error, timeout}]) andalso {ok, worked(5, 0)} =:= run(Guest, {node,
                5, fine, []})
        end),
        ?assert(proper:quickcheck(Property, options()))
    end}.

%% Microseconds, roughly.
spin(Us) ->
    End = erlang:monotonic_time(microsecond) + Us,
    (fun Wait() -> case erlang:monotonic_time(microsecond) < End of true -> Wait(); false -> ok end end)().

%% The same function body with and without a loop in it: on the fiber and on the scheduler's own stack.
direct_path_and_fiber_agree_test_() ->
    Body = <<"(i64.rotl (i64.xor (i64.mul (local.get 0) (i64.const 6364136223846793005)) (i64.extend_i32_s (local.get 1))) (i64.const 13))
        (f64.div (f64.convert_i64_s (local.get 0)) (local.get 2)) (i32.div_s (local.get 1) (i32.const 3)) (f32.demote_f64 (local.get 2))">>,
    Wat = fun(Loop) -> ["(func (export \"", case Loop of "" -> "direct"; _ -> "fiber" end,
        "\") (param i64 i32 f64) (result i64 f64 i32 f32)", Loop, Body, ")"] end,
    {timeout, 60, fun() ->
        M = wasm_fixture:module(["(module ", Wat(""), Wat("(loop)"), ")"]),
        ?assertEqual([<<"direct">>], beamline_wasm:module_info(M, short)),
        {ok, G} = beamline_wasm:start(M),
        Property = ?FORALL({A, B, C}, {integer(-(1 bsl 63), (1 bsl 63) - 1), integer(-(1 bsl 31), (1 bsl 31) - 1), float()},
            beamline_wasm:call(G, <<"direct">>, [A, B, C], #{floats => bits}) =:= beamline_wasm:call(G, <<"fiber">>, [A, B, C],
                #{floats => bits})),
        ?assert(proper:quickcheck(Property, options()))
    end}.

options() ->
    _ = beamline_test:seed(),
    [{numtests, ?RUNS}, {max_size, 40}, {to_file, user}].
