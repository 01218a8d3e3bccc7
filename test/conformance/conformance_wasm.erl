%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc The scripts of the WebAssembly specification (*.wast), run through the public API. All modules of a script share one
%% guest. A constant is read by the library's own text parser: all those of a script become globals of one module.
%%
%% A command that needs a proposal which the library does not have is skipped, and so is what depends on it.
-module(conformance_wasm).

-export([main/1, run/2]).

-type counts() :: {Passed :: non_neg_integer(), Failed :: non_neg_integer(), Skipped :: non_neg_integer()}.
-type print() :: fun((string(), [term()]) -> term()).

-record(script, {
    file :: string(),
    text :: binary(),
    print :: print(),
    values :: #{binary() => term()},  % of constants
    host :: beamline_wasm:instance(), % spectest, which founds the guest
    current :: instance() | undefined,
    named = #{} :: #{binary() => instance()},
    registered :: #{binary() => instance()},
    definitions = #{} :: #{binary() | last => {ok, beamline_wasm:module_()} | {skip, term()}},
    counts = {0, 0, 0} :: counts()
}).
-type instance() :: {beamline_wasm:instance(), beamline_wasm:module_()} | {skip, term()}.

-define(TIMEOUT_MS, 30_000).

-spec main([string()]) -> no_return().
main([Dir]) ->
    case beamline_wasm:library() of
        {ok, #{version := Version}} -> io:format("wasmtime ~s~n", [Version]);
        {error, Why} -> io:format("skipped: no wasmtime: ~0tp~n0 passed, 0 failed, 1 skipped~n", [Why]), halt(0)
    end,
    {Passed, Failed, Skipped} = run(Dir, fun(Format, Args) -> io:format(Format, Args) end),
    Passed + Failed + Skipped > 0 orelse io:format("FAILED: no script in ~ts~n", [Dir]),
    io:format("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]),
    halt(case Failed =:= 0 andalso Passed > 0 of true -> 0; false -> 1 end).

%% @doc All scripts below a folder; Print tells of each failure.
-spec run(file:filename(), print()) -> counts().
run(Dir, Print) ->
    Files = lists:sort(filelib:wildcard("**/*.wast", Dir)),
    lists:foldl(fun(File, Sum) -> add(Sum, script(Dir, File, Print)) end, {0, 0, 0}, Files).

add({A, B, C}, {D, E, F}) -> {A + D, B + E, C + F}.

script(Dir, File, Print) ->
    {ok, Text} = file:read_file(filename:join(Dir, File)),
    try
        Forms = commands(wast:read(Text), Text),
        {ok, Spectest} = beamline_wasm:compile(spectest(), options()),
        {ok, Host} = beamline_wasm:start(Spectest, limits()),
        Script = #script{file = File, text = Text, print = Print, values = values(Forms, Text), host = Host,
                         registered = #{<<"spectest">> => {Host, Spectest}}},
        #script{counts = Counts} = lists:foldl(fun guarded/2, Script, Forms),
        ok = beamline_wasm:stop(Host),
        Counts
    catch
        Class:Reason:Stack ->
            Print("FAILED: ~ts: ~0tp~n", [File, {Class, Reason, Stack}]),
            {0, 1, 0}
    end.

%% A script may be the bare fields of one module.
commands([{list, _, _, [{atom, Head} | _]} | _] = Forms, Text) ->
    case is_command(Head) of
        true -> Forms;
        false -> [{list, 0, byte_size(Text), [{atom, <<"module">>}, fields]}]
    end;
commands(Forms, _) ->
    Forms.

is_command(<<"assert_", _/binary>>) -> true;
is_command(Head) -> lists:member(Head, [<<"module">>, <<"register">>, <<"invoke">>, <<"get">>, <<"thread">>, <<"wait">>]).

options() -> #{stack => 256 bsl 10, timeout => ?TIMEOUT_MS}.
limits() -> #{memory_limit => infinity, table_limit => infinity, instance_limit => infinity, timeout => ?TIMEOUT_MS}.

spectest() ->
    <<"(module
        (global (export \"global_i32\") i32 (i32.const 666)) (global (export \"global_i64\") i64 (i64.const 666))
        (global (export \"global_f32\") f32 (f32.const 666.6)) (global (export \"global_f64\") f64 (f64.const 666.6))
        (table (export \"table\") 10 20 funcref) (table (export \"table64\") i64 10 20 funcref) (memory (export \"memory\") 1 2)
        (func (export \"print\")) (func (export \"print_i32\") (param i32)) (func (export \"print_i64\") (param i64))
        (func (export \"print_f32\") (param f32)) (func (export \"print_f64\") (param f64))
        (func (export \"print_i32_f32\") (param i32 f32)) (func (export \"print_f64_f64\") (param f64 f64)))">>.

%%% Commands

%% What a command says that this runner does not know is that command's failure, not the script's.
guarded(Form, Script) ->
    try command(Form, Script)
    catch Class:Reason:Stack -> verdict(Form, {failed, {Class, Reason, Stack}}, Script)
    end.

command({list, _, _, [{atom, <<"module">>} | _]} = Form, Script) -> module(Form, Script);
command({list, _, _, [{atom, <<"register">>}, {string, Name} | Id]}, #script{registered = Registered} = Script) ->
    Script#script{registered = Registered#{Name => instance(Id, Script)}};
command({list, _, _, [{atom, <<"invoke">>} | _]} = Form, Script) ->
    verdict(Form, case action(Form, Script) of {ok, _} -> ok; Other -> Other end, Script);
command({list, _, _, [{atom, <<"get">>} | _]} = Form, Script) ->
    verdict(Form, case action(Form, Script) of {ok, _} -> ok; Other -> Other end, Script);
command({list, _, _, [{atom, <<"assert_return">>}, Action | Expected]} = Form, Script) ->
    verdict(Form, returned(action(Action, Script), Expected, Script), Script);
command({list, _, _, [{atom, <<"assert_trap">>}, What, {string, Text}]} = Form, Script) ->
    verdict(Form, trapped(action(What, Script), Text), Script);
command({list, _, _, [{atom, <<"assert_exhaustion">>}, Action | _]} = Form, Script) ->
    verdict(Form, trapped(action(Action, Script), <<"call stack exhausted">>), Script);
command({list, _, _, [{atom, <<"assert_exception">>}, Action | _]} = Form, Script) ->
    verdict(Form, trapped(action(Action, Script), <<"exception">>), Script);
command({list, _, _, [{atom, <<"assert_unlinkable">>}, Module | _]} = Form, Script) ->
    verdict(Form, unlinkable(start_form(Module, Script)), Script);
command({list, _, _, [{atom, Head}, Module | _]} = Form, Script) when Head =:= <<"assert_invalid">>; Head =:= <<"assert_malformed">> ->
    verdict(Form, refused(Head, bytes(Module, Script#script.text)), Script);
command({list, _, _, [{atom, Head} | _]} = Form, Script) ->
    verdict(Form, {skip, {command, Head}}, Script).

refused(Head, Bytes) ->
    case {Head, beamline_wasm:compile(Bytes, options())} of
        {_, {error, {Reason, _}}} when Reason =:= syntax; Reason =:= invalid -> ok;
        {_, {error, {unsupported, _} = Why}} -> {skip, Why};
        {_, Other} -> {failed, {accepted, Other}}
    end.

unlinkable({error, {invalid, _}}) -> ok;
unlinkable({skip, _} = Skip) -> Skip;
unlinkable(Other) -> {failed, {linked, Other}}.

trapped({error, {trap, #{code := Code}}} = Got, Text) ->
    case lists:member(Code, codes(Text)) of
        true -> ok;
        false -> {failed, {expected, Text, got, Got}}
    end;
trapped({skip, _} = Skip, _) -> Skip;
trapped(Other, Text) -> {failed, {expected, Text, got, Other}}.

codes(<<"out of bounds memory access", _/binary>>) -> [memory_out_of_bounds];
codes(<<"out of bounds table access", _/binary>>) -> [table_out_of_bounds];
codes(<<"undefined element", _/binary>>) -> [table_out_of_bounds];
codes(<<"undefined">>) -> [table_out_of_bounds];
codes(<<"out of bounds array", _/binary>>) -> [array_out_of_bounds];
codes(<<"uninitialized", _/binary>>) -> [indirect_call_to_null];
codes(<<"indirect call", _/binary>>) -> [bad_signature];
codes(<<"integer overflow">>) -> [integer_overflow];
codes(<<"integer divide by zero">>) -> [integer_division_by_zero];
codes(<<"invalid conversion to integer">>) -> [bad_conversion_to_integer];
codes(<<"unreachable", _/binary>>) -> [unreachable];
codes(<<"null ", _/binary>>) -> [null_reference, indirect_call_to_null];
codes(<<"cast", _/binary>>) -> [cast_failure];
codes(<<"call stack exhausted">>) -> [stack_overflow];
codes(<<"unaligned", _/binary>>) -> [heap_misaligned];
codes(<<"expected shared memory">>) -> [atomic_wait_non_shared_memory];
codes(<<"allocation", _/binary>>) -> [allocation_too_large];
codes(<<"exception">>) -> [uncaught_exception];
codes(Text) -> error({unknown_trap, Text}).

%%% Modules

module({list, _, _, [_, {atom, <<"instance">>} | Names]} = Form, Script) ->
    {Id, Definition} = case Names of
        [{atom, I}, {atom, D}] -> {[I], D};
        [{atom, I}] -> {[I], last};
        [] -> {[], last}
    end,
    started(Form, Id, start(maps:get(Definition, Script#script.definitions), Script), Script);
module({list, _, _, [_, {atom, <<"definition">>} | Rest]} = Form, #script{definitions = Definitions} = Script) ->
    Compiled = compile(bytes(Form, Script#script.text)),
    Named = case Rest of [{atom, <<"$", _/binary>> = Id} | _] -> #{Id => Compiled, last => Compiled}; _ -> #{last => Compiled} end,
    verdict(Form, case Compiled of {ok, _} -> ok; Other -> Other end, Script#script{definitions = maps:merge(Definitions, Named)});
module({list, _, _, [_ | Rest]} = Form, #script{definitions = Definitions} = Script) ->
    Compiled = compile(bytes(Form, Script#script.text)),
    Id = case Rest of [{atom, <<"$", _/binary>> = Name} | _] -> [Name]; _ -> [] end,
    Named = maps:from_list([{Key, Compiled} || Key <- [last | Id]]),
    started(Form, Id, start(Compiled, Script), Script#script{definitions = maps:merge(Definitions, Named)}).

started(Form, Id, Started, Script) ->
    {Instance, Verdict} = case Started of
        {ok, I} -> {I, ok};
        {skip, Why} -> {{skip, Why}, {skip, Why}};
        {error, Why} -> {{skip, {not_started, Why}}, {failed, Why}}
    end,
    Named = maps:from_list([{Name, Instance} || Name <- Id]),
    verdict(Form, Verdict, Script#script{current = Instance, named = maps:merge(Script#script.named, Named)}).

start_form(Form, Script) -> start(compile(bytes(Form, Script#script.text)), Script).

compile(Bytes) ->
    case beamline_wasm:compile(Bytes, options()) of
        {ok, Module} -> {ok, Module};
        {error, {Class, Details}} = Error ->
            case lacking(Class, Details) of
                {true, Why} -> {skip, Why};
                false -> Error
            end;
        {error, _} = Error -> Error
    end.

%% What the library says of a proposal that it does not have, or that is off by default.
lacking(Class, Details) when is_map(Details) ->
    Text = maps:get(why, Details, maps:get(expected, Details, <<>>)),
    Words = [<<"custom page sizes">>, <<"custom-page-sizes">>, <<"wide arithmetic">>, <<"wide_arithmetic">>, <<"shared memor">>,
             <<"stack switching">>, <<"must be enabled">>, <<"not enabled">>, <<"not supported">>, <<"support is not">>, <<"disabled">>],
    case is_binary(Text) andalso binary:match(Text, Words) =/= nomatch of
        true -> {true, {Class, Text}};
        false -> false
    end;
lacking(unsupported, What) -> {true, {unsupported, What}};
lacking(_, _) -> false.

start({ok, Module}, #script{host = Host, registered = Registered}) ->
    Imports = lists:foldl(fun({M, N, _}, Acc) -> import(M, N, Registered, Acc) end, #{}, beamline_wasm:imports(Module)),
    case lists:keyfind(skip, 1, maps:values(Imports)) of
        {skip, Why} ->
            {skip, Why};
        false ->
            case beamline_wasm:start(Module, (limits())#{imports => Imports, with => Host}) of
                {ok, Instance} -> {ok, {Instance, Module}};
                {error, _} = Error -> Error
            end
    end;
start(Other, _) ->
    Other.

import(M, N, Registered, Acc) ->
    case Registered of
        #{M := {skip, Why}} -> Acc#{{M, N} => {skip, Why}};
        #{M := {Instance, Module}} ->
            case lists:keymember(N, 1, beamline_wasm:exports(Module)) of
                true -> Acc#{{M, N} => {export, Instance, N}};
                false -> Acc
            end;
        #{} -> Acc
    end.

%% What a module form says: bytes, or text.
bytes({list, Begin, End, [_, fields]}, Text) -> [<<"(module ">>, binary:part(Text, Begin, End - Begin), <<")">>];
bytes({list, _, End, [_ | Items]} = Form, Text) ->
    case [Item || Item <- Items, not is_name(Item), Item =/= {atom, <<"definition">>}] of
        [{atom, <<"binary">>} | Strings] -> [Bytes || {string, Bytes} <- Strings];
        [{atom, <<"quote">>} | Strings] -> [<<"(module ">>, lists:join("\n", [Bytes || {string, Bytes} <- Strings]), <<")">>];
        _ ->
            [<<"(module ">>, binary:part(Text, body(Form, Text), End - body(Form, Text))]
    end.

is_name({atom, <<"$", _/binary>>}) -> true;
is_name(_) -> false.

%% Behind `(module' and `definition'.
body({list, Begin, _, [{atom, _}, {atom, <<"definition">>} | _]}, Text) ->
    {At, Length} = binary:match(Text, <<"definition">>, [{scope, {Begin, byte_size(Text) - Begin}}]),
    At + Length;
body({list, Begin, _, _}, Text) ->
    {At, Length} = binary:match(Text, <<"module">>, [{scope, {Begin, byte_size(Text) - Begin}}]),
    At + Length.

instance([{atom, Id}], #script{named = Named}) -> maps:get(Id, Named);
instance([], #script{current = Current}) -> Current.

%%% Actions

action({list, _, _, [{atom, <<"module">>} | _]} = Form, Script) ->
    case start_form(Form, Script) of
        {ok, _} -> {ok, started};
        Other -> Other
    end;
action({list, _, _, [{atom, What}, {atom, Id}, {string, Name} | Args]}, Script) ->
    action(What, instance([{atom, Id}], Script), Name, Args, Script);
action({list, _, _, [{atom, What}, {string, Name} | Args]}, Script) ->
    action(What, instance([], Script), Name, Args, Script).

action(_, {skip, Why}, _, _, _) -> {skip, Why};
action(<<"get">>, {Instance, _}, Name, [], _) ->
    case beamline_wasm:global_get(Instance, Name, #{floats => bits}) of
        {ok, Value} -> {ok, [Value]};
        Error -> Error
    end;
action(<<"invoke">>, {Instance, _}, Name, Args, Script) ->
    beamline_wasm:call(Instance, Name, [argument(Arg, Script) || Arg <- Args], #{floats => bits, timeout => ?TIMEOUT_MS}).

argument({list, _, _, [{atom, <<"ref.null">>} | _]}, _) -> null;
argument({list, _, _, [{atom, <<"ref.extern">>}, {atom, N}]}, _) -> {extern, number(N)};
argument({list, _, _, [{atom, <<"ref.host">>}, {atom, N}]}, _) -> {host, {extern, number(N)}};
argument({list, Begin, End, _}, #script{text = Text, values = Values}) -> maps:get(binary:part(Text, Begin, End - Begin), Values).

number(<<"0x", Digits/binary>>) -> binary_to_integer(Digits, 16);
number(Digits) -> binary_to_integer(Digits).

%%% Results

returned({ok, Got}, Expected, Script) ->
    case length(Got) =:= length(Expected) andalso lists:all(fun({G, E}) -> same(G, E, Script) end, lists:zip(Got, Expected)) of
        true -> ok;
        false -> {failed, {got, Got}}
    end;
returned({error, Why}, _, _) -> {failed, Why};
returned({skip, _} = Skip, _, _) -> Skip.

same(Got, {list, _, _, [{atom, <<"either">>} | Choices]}, Script) -> lists:any(fun(Choice) -> same(Got, Choice, Script) end, Choices);
same(Got, {list, _, _, [{atom, <<"ref.null">>} | _]}, _) -> Got =:= null;
same(Got, {list, _, _, [{atom, <<"ref.extern">>}, {atom, N}]}, _) -> Got =:= {extern, number(N)};
same(Got, {list, _, _, [{atom, <<"ref.host">>}, {atom, N}]}, _) -> Got =:= {host, {extern, number(N)}};
same(Got, {list, _, _, [{atom, <<"ref.i31">>}]}, _) -> element(1, Got) =:= i31;
same(Got, {list, _, _, [{atom, Ref}]},
    _) when Ref =:= <<"ref.func">>; Ref =:= <<"ref.struct">>; Ref =:= <<"ref.array">>; Ref =:= <<"ref.exn">> ->
    is_reference(Got);
same(Got, {list, _, _, [{atom, <<"ref.eq">>}]}, _) -> is_reference(Got) orelse element(1, Got) =:= i31;
same(Got, {list, _, _, [{atom, Ref}]}, _) when Ref =:= <<"ref.any">>; Ref =:= <<"ref.extern">> -> Got =/= null;
same({f32, Bits}, {list, _, _, [_, {atom, <<"nan:canonical">>}]}, _) -> is_canonical(32, Bits);
same({f64, Bits}, {list, _, _, [_, {atom, <<"nan:canonical">>}]}, _) -> is_canonical(64, Bits);
same({f32, Bits}, {list, _, _, [_, {atom, <<"nan:arithmetic">>}]}, _) -> is_arithmetic(32, Bits);
same({f64, Bits}, {list, _, _, [_, {atom, <<"nan:arithmetic">>}]}, _) -> is_arithmetic(64, Bits);
same(Got, {list, _, _, [{atom, <<"v128.const">>}, {atom, <<"f", Size:2/binary, _/binary>>} | Lanes]} = Form, Script) ->
    lanes(binary_to_integer(Size), Got, plain(Form, Script), Lanes);
same(Got, {list, Begin, End, _}, #script{text = Text, values = Values}) -> Got =:= maps:get(binary:part(Text, Begin, End - Begin), Values).

plain({list, _, _, Items}, #script{values = Values}) -> maps:get(without_patterns(Items), Values).

lanes(Size, Got, Expected, Lanes) ->
    lists:all(fun({G, _, {atom, <<"nan:canonical">>}}) -> is_canonical(Size, G);
                 ({G, _, {atom, <<"nan:arithmetic">>}}) -> is_arithmetic(Size, G);
                 ({G, E, _}) -> G =:= E
              end, lists:zip3([L || <<L:Size/little>> <= Got], [L || <<L:Size/little>> <= Expected], Lanes)).

is_canonical(32, Bits) -> Bits band 16#7FFFFFFF =:= 16#7FC00000;
is_canonical(64, Bits) -> Bits band 16#7FFFFFFFFFFFFFFF =:= 16#7FF8000000000000.

is_arithmetic(32, Bits) -> Bits band 16#7FC00000 =:= 16#7FC00000;
is_arithmetic(64, Bits) -> Bits band 16#7FF8000000000000 =:= 16#7FF8000000000000.

%%% Constants

%% All constants of a script, as they stand there, become globals of one module.
values(Forms, Text) ->
    Texts = lists:usort(lists:append([constants(Form, Text) || Form <- Forms])),
    Globals = [io_lib:format("(global (export \"~b\") ~s ~s)~n", [I, Type, Const]) || {I, {Type, Const, _}} <- numbered(Texts)],
    {ok, Module} = beamline_wasm:compile([<<"(module ">>, Globals, <<")">>]),
    {ok, Instance} = beamline_wasm:start(Module),
    Values = [{Key, element(2, {ok, _} = beamline_wasm:global_get(Instance, integer_to_binary(I), #{floats => bits}))}
              || {I, {_, _, Key}} <- numbered(Texts)],
    ok = beamline_wasm:stop(Instance),
    maps:from_list(Values).

numbered(List) -> lists:zip(lists:seq(0, length(List) - 1), List).

constants({list, _, _, [{atom, <<"module">>} | _]}, _) -> [];
constants({list, Begin, End, [{atom, Op} | Items]} = Form, Text) ->
    case Op of
        <<Type:3/binary, ".const">> ->
            case is_pattern(Items) of
                true -> [];
                false -> [{Type, binary:part(Text, Begin, End - Begin), binary:part(Text, Begin, End - Begin)}]
            end;
        <<"v128.const">> ->
            {list, _, _, All} = Form,
            Plain = without_patterns(All),
            [{<<"v128">>, Plain, Plain} | case is_pattern(Items) of
                true -> [];
                false -> [{<<"v128">>, binary:part(Text, Begin, End - Begin), binary:part(Text, Begin, End - Begin)}]
            end];
        _ ->
            lists:append([constants(Item, Text) || Item <- Items])
    end;
constants({list, _, _, Items}, Text) -> lists:append([constants(Item, Text) || Item <- Items]);
constants(_, _) -> [].

is_pattern(Items) -> lists:any(fun(Item) -> Item =:= {atom, <<"nan:canonical">>} orelse Item =:= {atom, <<"nan:arithmetic">>} end, Items).

without_patterns(Items) ->
    Words = [case Item of {atom, <<"nan:canonical">>} -> <<"0">>; {atom, <<"nan:arithmetic">>} -> <<"0">>; {atom,
        Word} -> Word end || Item <- Items],
    iolist_to_binary(["(", lists:join(" ", Words), ")"]).

%%% Verdicts

verdict(_, ok, #script{counts = {P, F, S}} = Script) -> Script#script{counts = {P + 1, F, S}};
verdict(Form, {skip, Why}, #script{counts = {P, F, S}} = Script) ->
    say("skipped", Form, Why, Script),
    Script#script{counts = {P, F, S + 1}};
verdict(Form, {failed, Why}, #script{counts = {P, F, S}} = Script) ->
    say("FAILED", Form, Why, Script),
    Script#script{counts = {P, F + 1, S}};
verdict(Form, {error, Why}, Script) ->
    verdict(Form, {failed, Why}, Script).

say(Verdict, {list, Begin, End, _}, Why, #script{file = File, text = Text, print = Print}) ->
    Line = 1 + length(binary:matches(binary:part(Text, 0, Begin), <<"\n">>)),
    Shown = binary:part(Text, Begin, min(100, End - Begin)),
    Print("~s: ~ts:~b: ~ts: ~0tp~n", [Verdict, File, Line, binary:replace(Shown, <<"\n">>, <<" ">>, [global]), Why]).
