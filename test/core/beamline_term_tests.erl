%% SPDX-License-Identifier: Apache-2.0
%%
%% The C term reader and writer against the VM's own term_to_binary and binary_to_term.
%% test/core/term_tool.c reads a term that was cut into pieces, writes it again, and
%% checks skipping and raw reading beside it.
-module(beamline_term_tests).
-include_lib("eunit/include/eunit.hrl").

every_kind_of_term_survives_in_every_encoding_test_() ->
    {timeout, 60, fun() ->
        with_tool(fun(Tool) -> [survives(Tool, T) || T <- plain_terms() ++ identifiers()] end)
    end}.

%% Nothing is rewritten that OTP with UTF-8 atoms would write otherwise.
a_term_in_modern_encoding_is_copied_byte_for_byte_test() ->
    with_tool(fun(Tool) ->
        [begin
             Encoded = term_to_binary(T, [{minor_version, 2}]),
             ?assertEqual({ok, Encoded}, ask(Tool, 3, Encoded))
         end || T <- plain_terms() ++ identifiers()]
    end).

any_term_survives_test_() ->
    {timeout, 120, fun() ->
        code:which(proper) =:= non_existing andalso beamline_test:skip("PropEr is not installed"),
        with_tool(fun(Tool) ->
            Property = proper:forall(proper_types:any(), fun(T) -> survives(Tool, T), true end),
            ?assert(proper:quickcheck(Property, [quiet, {numtests, 500}, {max_size, 60}]))
        end)
    end}.

big_terms_survive_test_() ->
    {timeout, 60, fun() ->
        with_tool(fun(Tool) ->
            Numbers = lists:seq(1, 100000),
            survives(Tool, maps:from_list([{N, {N, integer_to_binary(N)}} || N <- Numbers])),
            survives(Tool, Numbers),
            survives(Tool, [float(N) || N <- Numbers]),
            survives(Tool, list_to_tuple(Numbers)),
            survives(Tool, #{positions => binary:copy(<<"0123456789abcdef">>, 100000)})
        end)
    end}.

%% Nesting is the one thing that an ordinary term can have too much of.
a_term_nested_too_deep_is_refused_test() ->
    with_tool(fun(Tool) ->
        Nested = fun(N) -> lists:foldl(fun(_, T) -> {T} end, leaf, lists:seq(1, N)) end,
        survives(Tool, Nested(64)),
        ?assertEqual({error, <<"limit: depth: 65 asked, 64 allowed">>}, ask(Tool, 0, term_to_binary(Nested(65))))
    end).

a_compressed_term_is_refused_test() ->
    with_tool(fun(Tool) ->
        Compressed = term_to_binary(lists:duplicate(1000, compressed), [compressed]),
        ?assertEqual({error, <<"syntax: offset 1: expected a term that is not compressed">>}, ask(Tool, 0, Compressed))
    end).

every_truncation_is_malformed_test_() ->
    {timeout, 60, fun() ->
        with_tool(fun(Tool) ->
            [?assertMatch({error, <<"syntax: ", _/binary>>}, ask(Tool, Len rem 4, binary:part(Encoded, 0, Len)))
             || Encoded <- small_encodings(), Len <- lists:seq(0, byte_size(Encoded) - 1)]
        end)
    end}.

every_corrupted_byte_is_judged_as_the_vm_does_test_() ->
    {timeout, 120, fun() ->
        with_tool(fun(Tool) ->
            [judged_alike(Tool, Encoded, corrupt(Encoded, At, Value), At rem 4)
             || Encoded <- small_encodings(), At <- lists:seq(1, byte_size(Encoded) - 1), Value <- other_values(Encoded, At)]
        end)
    end}.

%% ---- terms -----------------------------------------------------------------

plain_terms() ->
    integers() ++
    [0.0, -0.0, 1.5, -1.0e300, 5.0e-324] ++
    ['', ok, list_to_atom([16#E4]), list_to_atom([16#20AC, $!]), list_to_atom(lists:duplicate(255, 16#1F600))] ++
    [<<>>, <<"binary">>, binary:copy(<<7>>, 70), <<1:1>>, <<5:3>>, <<1, 2, 3, 5:7>>] ++
    [{}, {1}, {1, {2, {3}}}, list_to_tuple(lists:seq(1, 300))] ++
    [[], "string", [256, 1], [a, [b, [c]]], [1 | 2], {[a | <<"b">>], [[] | c]}, lists:duplicate(70000, $s)] ++
    [#{}, #{a => 1}, #{"key" => #{2.0 => [#{}]}}, maps:from_list([{N, N} || N <- lists:seq(1, 40)])].

integers() ->
    Edges = [0, 1, 255, 256] ++ [1 bsl N || N <- [27, 31, 32, 59, 63, 64, 65, 2040, 2100]],
    lists:usort(lists:append([[N - 1, N, N + 1, -N, -N - 1, 1 - N] || N <- Edges])).

identifiers() ->
    Value = [a, <<"b">>],
    Ref = make_ref(),
    [self(), Ref, hd(erlang:ports()), fun erlang:now/0, fun ?MODULE:test/0, fun() -> Value end, fun(X) -> {X, Ref} end,
     alias(), #{self() => [Ref | self()]}] ++
    %% From another node, and in older encodings.
    [binary_to_term(<<131, B/binary>>) || B <- foreign_identifiers()].

foreign_identifiers() ->
    Node = <<119, 3, "x@y">>,
    [<<88, Node/binary, 1:32, 2:32, 3:32>>, <<103, Node/binary, 1:32, 2:32, 3>>, <<89, Node/binary, 1:32, 3:32>>,
     <<102, Node/binary, 1:32, 3>>, <<120, Node/binary, 1:64, 3:32>>, <<90, 5:16, Node/binary, 3:32, 0:160>>,
     <<114, 3:16, Node/binary, 3, 0:96>>, <<101, Node/binary, 1:32, 3>>].

small_encodings() ->
    Encoded = [encodings(T) || T <- plain_terms() ++ identifiers()] ++ [[<<131, B/binary>> || B <- foreign_identifiers()]],
    lists:usort([E || E <- lists:append(Encoded), byte_size(E) < 200]).

encodings(Term) ->
    [term_to_binary(Term), term_to_binary(Term, [{minor_version, 0}]), term_to_binary(Term, [{minor_version, 2}])].

%% ---- checks ----------------------------------------------------------------

survives(Tool, Term) ->
    [begin
         {ok, Copy} = ask(Tool, Pieces, Encoded),
         ?assertEqual(Term, binary_to_term(Copy))
     end || Encoded <- encodings(Term), Pieces <- pieces(byte_size(Encoded))].

pieces(Bytes) when Bytes < 10000 -> [0, 1, 2, 3, 5, 16, 31];
pieces(_) -> [0, 31, 4096].

judged_alike(Tool, Original, Corrupted, Pieces) ->
    case {ask(Tool, Pieces, Corrupted), decode(Corrupted)} of
        {{ok, Copy}, {ok, Term}} -> ?assertEqual({Corrupted, {ok, Term}}, {Corrupted, decode(Copy)});
        {{ok, _}, error} -> ?assert(only_the_vm_can_know(binary_to_term(Original)), Corrupted);
        {{error, Text}, {ok, _}} -> ?assert(only_the_vm_allows(Text), {Corrupted, Text});
        {{error, _}, error} -> ok
    end.

%% Numbers in identifiers have ranges; keys of a map must differ.
only_the_vm_can_know(Term) when is_list(Term) -> not is_deeply_plain(Term);
only_the_vm_can_know(Term) -> is_map(Term) orelse not is_deeply_plain(Term).

is_deeply_plain([Head | Tail]) -> is_deeply_plain(Head) andalso is_deeply_plain(Tail);
is_deeply_plain(Term) when is_tuple(Term) -> is_deeply_plain(tuple_to_list(Term));
is_deeply_plain(Term) -> not (is_pid(Term) orelse is_port(Term) orelse is_reference(Term) orelse is_function(Term)).

%% It ignores what follows the term, has tags for its own use, reads a decimal comma, and
%% lets anything have made a fun.
only_the_vm_allows(Text) ->
    Expected = [<<"the end">>, <<"the tag of a term">>, <<"a finite float">>, <<"a pid">>],
    lists:any(fun(What) -> nomatch =/= string:find(Text, What, trailing) end, Expected).

corrupt(Encoded, At, Value) ->
    <<Before:At/binary, _, After/binary>> = Encoded,
    <<Before/binary, Value, After/binary>>.

other_values(Encoded, At) ->
    Value = binary:at(Encoded, At),
    lists:usort([0, 1, 16#7F, 16#80, 16#FF] ++ [Value bxor (1 bsl Bit) || Bit <- lists:seq(0, 7)]) -- [Value].

decode(Encoded) ->
    try binary_to_term(Encoded) of
        Term -> {ok, Term}
    catch
        error:badarg -> error
    end.

%% ---- the tool --------------------------------------------------------------

with_tool(Fun) ->
    Program = beamline_test:source_file("_build/c/san/test/core/term_tool"),
    filelib:is_regular(Program) orelse beamline_test:skip(["not built: ", Program, " (make test builds it)"]),
    Tool = open_port({spawn_executable, Program}, [{packet, 4}, binary, exit_status]),
    try
        Fun(Tool)
    after
        catch port_close(Tool)
    end,
    ok.

ask(Tool, PieceBytes, Encoded) ->
    true = port_command(Tool, [<<PieceBytes:32>>, Encoded]),
    receive
        {Tool, {data, <<"copy", Copy/binary>>}} -> {ok, Copy};
        {Tool, {data, <<"fail", Text/binary>>}} -> {error, Text};
        {Tool, {exit_status, Status}} -> error({the_tool_ended, Status, Encoded})
    after 30000 -> error({the_tool_is_silent, Encoded})
    end.
