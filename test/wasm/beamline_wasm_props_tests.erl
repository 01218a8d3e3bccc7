%% SPDX-License-Identifier: Apache-2.0
%% Random trees of calls between guest and Erlang, with work, traps, throws, cancels and kills at random places, against
%% a model in a few lines; random code on the plain way of the C API, on the resident fiber and on the direct path.
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

%%% Three ways to run the same code: the plain way of the C API (reference_tool.c), on the resident fiber, which a loop
%%% needs, and on the scheduler's own stack.

-define(TYPES, [i32, i64, f32, f64]).

all_ways_agree_test_() ->
    {timeout, 240, fun() ->
        ok = wasm_fixture:start(),
        Property = ?FORALL({Bodies, Calls}, {[body(T) || T <- ?TYPES], non_empty(list([bits(T) || T <- ?TYPES]))},
            begin
                Wat = iolist_to_binary(["(module ", function("direct", "", Bodies), function("fiber", "(loop)", Bodies), ")"]),
                Module = wasm_fixture:module(Wat),
                {ok, G} = beamline_wasm:start(Module),
                Plain = plainly(Wat, Calls),
                [Fiber, Direct] = [[called(G, Way, Call) || Call <- Calls] || Way <- [<<"fiber">>, <<"direct">>]],
                Short = beamline_wasm:module_info(Module, short) =:= [<<"direct">>],
                ok = beamline_wasm:stop(G),
                ?WHENFAIL(io:format("~s~n~p~n~p~n~p~n", [Wat, Plain, Fiber, Direct]),
                          aggregate([Short], Plain =:= Fiber andalso Plain =:= Direct))
            end),
        ?assert(proper:quickcheck(Property, [{numtests, ?RUNS div 4} | options()]))
    end}.

function(Name, Loop, Bodies) ->
    ["(func (export \"", Name, "\") (param i32 i64 f32 f64) (result i32 i64 f32 f64) ", Loop, Bodies, ")"].

%% Bits of a number: any, and those where things happen.
bits(i32) -> frequency([{2, bits(32)}, {3, oneof([0, 1, 2, 16#7fffffff, 16#80000000, 16#ffffffff])}]);
bits(i64) -> frequency([{2, bits(64)}, {3, oneof([0, 1, 3, 1 bsl 63 - 1, 1 bsl 63, 1 bsl 64 - 1])}]);
bits(f32) -> frequency([{2, bits(32)}, {3, oneof([0, 16#3f800000, 16#7f800000, 16#80000000, 16#7fc00000, 1, 16#4f000000])}]);
bits(f64) -> frequency([{2, bits(64)}, {3, oneof([0, 16#3ff0000000000000, 16#7ff0000000000000, 1 bsl 63, 16#7ff8000000000000, 1,
                                                  16#43e0000000000000])}]);
bits(N) when is_integer(N) -> integer(0, 1 bsl N - 1).

%% An expression of the type, as text.
body(Type) -> ?SIZED(Size, body(Type, Size div 4)).

body(Type, 0) -> leaf(Type);
body(Type, Size) ->
    Part = fun(T) -> ?LAZY(body(T, Size div 2)) end,
    frequency([{1, leaf(Type)}] ++
        [{6, ?LET({Op, A, B}, {oneof(binary_ops(Type)), Part(Type), Part(Type)}, ["(", atom_to_list(Type), ".", Op, " ", A, B, ")"])}] ++
        [{3, ?LET({Op, From}, oneof(unary_ops(Type)), ?LET(A, Part(From), ["(", Op, " ", A, ")"]))}] ++
        [{1, ?LET({A, B, C}, {Part(Type), Part(Type), Part(i32)}, ["(select ", A, B, C, ")"])},
         {1, ?LET({C, A, B}, {Part(i32), Part(Type), Part(Type)},
                  ["(if (result ", atom_to_list(Type), ") ", C, "(then ", A, ") (else ", B, "))"])}]).

leaf(Type) ->
    Local = ["(local.get ", integer_to_list(length(lists:takewhile(fun(T) -> T =/= Type end, ?TYPES))), ")"],
    Constant = case Type of
        i32 -> ?LET(N, bits(i32), ["(i32.const ", integer_to_list(N), ")"]);
        i64 -> ?LET(N, bits(i64), ["(i64.const ", integer_to_list(N), ")"]);
        f32 -> ?LET(N, bits(f32), ["(f32.reinterpret_i32 (i32.const ", integer_to_list(N), "))"]);
        f64 -> ?LET(N, bits(f64), ["(f64.reinterpret_i64 (i64.const ", integer_to_list(N), "))"])
    end,
    oneof([Local, Constant]).

binary_ops(Type) when Type =:= i32; Type =:= i64 ->
    ["add", "sub", "mul", "div_s", "div_u", "rem_s", "rem_u", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr"];
binary_ops(_) ->
    ["add", "sub", "mul", "div", "min", "max", "copysign"].

%% And what each takes.
unary_ops(Type) -> [{[atom_to_list(Type), ".", Op], Type} || Op <- own_ops(Type)] ++ converting_ops(Type).

own_ops(i32) -> ["clz", "ctz", "popcnt", "eqz", "extend8_s", "extend16_s"];
own_ops(i64) -> ["clz", "ctz", "popcnt", "extend8_s", "extend32_s"];
own_ops(_) -> ["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"].

converting_ops(i32) ->
    [{"i32.wrap_i64", i64}, {"i64.eqz", i64}, {"i32.trunc_f32_s", f32}, {"i32.trunc_f64_u", f64}, {"i32.trunc_sat_f64_s", f64},
     {"i32.reinterpret_f32", f32}];
converting_ops(i64) ->
    [{"i64.extend_i32_s", i32}, {"i64.extend_i32_u", i32}, {"i64.trunc_f64_s", f64}, {"i64.trunc_f32_u", f32},
     {"i64.trunc_sat_f32_u", f32}, {"i64.reinterpret_f64", f64}];
converting_ops(f32) ->
    [{"f32.convert_i32_s", i32}, {"f32.convert_i64_u", i64}, {"f32.demote_f64", f64}, {"f32.reinterpret_i32", i32}];
converting_ops(f64) ->
    [{"f64.convert_i32_u", i32}, {"f64.convert_i64_s", i64}, {"f64.promote_f32", f32}, {"f64.reinterpret_i64", i64}].

called(Guest, Way, [I32, I64, F32, F64]) ->
    case beamline_wasm:call(Guest, Way, [I32, I64, {f32, F32}, {f64, F64}], #{floats => bits}) of
        {ok, [A, B, {f32, C}, {f64, D}]} -> seen([A band (1 bsl 32 - 1), B band (1 bsl 64 - 1), C, D]);
        {error, {trap, #{code := Code}}} -> {trap, Code}
    end.

%% Which of the many NaN it is may differ.
seen([A, B, C, D]) ->
    [A, B, if C band 16#7fffffff > 16#7f800000 -> nan; true -> C end, if D band (1 bsl 63 - 1) > 16#7ff0000000000000 -> nan; true -> D end].

plainly(Wat, Calls) ->
    {ok, #{path := Library}} = beamline_wasm:library(),
    Folder = beamline_test:scratch_dir("reference_path"),
    [Source, Input] = [filename:join(Folder, Name) || Name <- ["module.wat", "calls"]],
    ok = file:write_file(Source, Wat),
    ok = file:write_file(Input, [io_lib:format("~b ~b ~b ~b~n", Call) || Call <- Calls]),
    Tool = beamline_test:source_file("_build/c/san/test/wasm/reference_tool"),
    filelib:is_regular(Tool) orelse beamline_test:skip("not built: reference_tool (make test builds it)"),
    Said = os:cmd(lists:join(" ", ["ASAN_OPTIONS=detect_leaks=0", Tool, binary_to_list(Library), Source, "direct", "<", Input])),
    [answer(string:lexemes(Line, " ")) || Line <- string:lexemes(Said, "\n")].

answer(["trap", Code]) ->
    {trap, lists:nth(list_to_integer(Code) - 5, [integer_overflow, integer_division_by_zero, bad_conversion_to_integer])};
answer(Numbers) -> seen([list_to_integer(N) || N <- Numbers]).

options() ->
    _ = beamline_test:seed(),
    [{numtests, ?RUNS}, {max_size, 40}, {to_file, user}].
