%% SPDX-License-Identifier: Apache-2.0
%% Known fields (RFC 9218, RFC 9530), the drop-in, and the examples of all documentation.
-module(beamline_sfv_fields_tests).

-include_lib("eunit/include/eunit.hrl").

%%% Priority

priority_is_a_total_function_test_() ->
    [?_assertEqual(#{urgency => U, incremental => I}, beamline_sfv_priority:parse(Field)) || {Field, U, I} <- [
        {undefined, 3, false}, {<<>>, 3, false}, {<<"u=0">>, 0, false}, {<<"u=7, i">>, 7, true}, {<<"i=?0, u=1">>, 1, false},
        {<<"u=8">>, 3, false}, {<<"u=-1">>, 3, false}, {<<"u=1.0">>, 3, false}, {<<"u=(1)">>, 3, false}, {<<"u=\"1\", i=1">>, 3, false},
        {<<"u=1;x=2, x=5, i;y">>, 1, true}, {<<"u=1,,">>, 3, false}, {<<"U=1">>, 3, false}, {[<<"u=1">>, <<"i">>], 1, true},
        {<<"u=1, u=2">>, 2, false}, {<<255, 0>>, 3, false}]].

priority_is_written_without_defaults_test_() ->
    [?_assertEqual(Text, beamline_sfv_priority:format(P)) || {Text, P} <- [
        {<<>>, #{}}, {<<"u=0">>, #{urgency => 0}}, {<<"i">>, #{incremental => true}}, {<<"u=5, i">>, #{urgency => 5, incremental => true}}]]
    ++ [?_assertError(badarg, beamline_sfv_priority:format(P)) || P <- [#{urgency => 8}, #{urgent => 1}, [], 3]].

%%% Digests

%% RFC 9530, appendix B: the JSON object and its line feed.
the_vectors_of_rfc_9530_test() ->
    Content = <<"{\"hello\": \"world\"}\n">>,
    Sha256 = <<"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:">>,
    Sha512 = <<"sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:">>,
    ?assertEqual({ok, Sha256}, beamline_sfv_digest:format([sha256], Content)),
    ?assertEqual({ok, Sha512}, beamline_sfv_digest:format([sha512], [Content])),
    ?assertEqual(ok, beamline_sfv_digest:verify(<<Sha256/binary, ", ", Sha512/binary>>, Content)),
    ?assertEqual(ok, beamline_sfv_digest:verify([Sha512, Sha256], Content)).

a_digest_that_does_not_match_is_refused_test_() ->
    {ok, Good} = beamline_sfv_digest:format([sha256, sha512], <<"content">>),
    [?_assertMatch({error, {invalid, #{path := [<<"sha-256">>]}}}, beamline_sfv_digest:verify(Field, <<"content">>)) || Field <- [
        <<"sha-256=:AAAA:">>, <<"sha-256=::">>, <<"sha-256=1">>, <<"sha-256">>, <<"sha-256=(:AAAA:)">>,
        <<"sha-256=:", (base64:encode(<<0:256>>))/binary, ":">>,
        <<Good/binary, ", sha-256=:", (base64:encode(<<1:256>>))/binary, ":">>]]
    ++ [?_assertEqual({error, {unsupported, digest}}, beamline_sfv_digest:verify(<<"md5=:AAAA:">>, <<"content">>)),
        ?_assertEqual({error, {unsupported, digest}}, beamline_sfv_digest:verify(<<>>, <<"content">>)),
        ?_assertEqual(ok, beamline_sfv_digest:verify(<<"md5=:AAAA:, ", Good/binary>>, <<"content">>)),
        ?_assertMatch({error, {syntax, _}}, beamline_sfv_digest:verify(<<"sha-256=:">>, <<"content">>)),
        ?_assertError(badarg, beamline_sfv_digest:format([md5], <<>>))].

the_most_wanted_known_algorithm_is_chosen_test_() ->
    [?_assertEqual(Chosen, beamline_sfv_digest:choose(Field)) || {Field, Chosen} <- [
        {undefined, none}, {<<>>, none}, {<<"sha-256=1">>, sha256}, {<<"sha-256=3, sha-512=3">>, sha256},
            {<<"sha-512=3, sha-256=3">>, sha512},
        {<<"sha-256=3, sha-512=10">>, sha512}, {<<"sha-256=0">>, none}, {<<"md5=10">>, none}, {<<"sha-256=11">>, none},
            {<<"sha-256">>, none},
        {<<"sha-256=-1">>, none}, {<<"nonsense,,">>, none}]]
    ++ [?_assertError(badarg, beamline_sfv_digest:format_want(W)) || W <- [[{sha256, 11}], [{md5, 1}], [sha256], sha256, [{sha256, 1} | a]]]
    ++ [?_assertError(badarg, beamline_sfv_digest:format(A, <<>>)) || A <- [sha256, [sha256 | a]]].

%%% The drop-in

the_drop_in_has_the_originals_results_test() ->
    D = [{<<"a">>, {item, 1, []}}, {<<"B">>, {list, [{item, {token, <<"x">>}, []}], [{<<"q">>, {decimal, {5, -1}}}]}},
        {<<"c">>, {item, true, []}}],
    Text = <<"a=1, B=(x);q=0.5, c">>,
    ?assertEqual(D, beamline_structured_fields:parse_dictionary(Text)),
    ?assertEqual(Text, iolist_to_binary(beamline_structured_fields:dictionary(D))),
    ?assertEqual(<<"B=(x);q=0.5, a=1, c">>, iolist_to_binary(beamline_structured_fields:dictionary(maps:from_list(D)))),
    ?assertEqual([{item, 1, []}], beamline_structured_fields:parse_list(<<"1">>)),
    ?assertEqual({item, {string, <<"a">>}, [{<<"b">>, 1}]}, beamline_structured_fields:parse_item(<<"\"a\";b=1">>)),
    ?assertEqual(<<"\"a\";b=1">>, iolist_to_binary(beamline_structured_fields:item({item, {string, <<"a">>}, [{<<"b">>, 1}]}))),
    ?assertEqual(<<":YQ==:">>, iolist_to_binary(beamline_structured_fields:bare_item({binary, <<"a">>}))).

the_drop_in_raises_where_the_original_does_test_() ->
    [?_assertError(badarg, beamline_structured_fields:F(Arg)) || {F, Arg} <- [
        {parse_item, <<"1.">>}, {parse_list, <<"a,">>}, {parse_dictionary, <<"=">>}, {item, {item, {string, <<"\r">>}, []}},
        {list, [{item, 1 bsl 60, []}]}, {dictionary, [{<<"a b">>, {item, 1, []}}]}, {parse_bare_item, <<>>}, {parse_bare_item, <<" 1">>},
        {parse_bare_item, <<"\"a">>}, {parse_bare_item, <<"1.;">>}, {to_item, self()},
        {parse_bare_item, "1"}, {from_bare_item, 1.5}, {to_dictionary, 5}, {to_dictionary, [{a, 1} | b]}, {to_dictionary, #{1 => 1}},
        {to_list, 5}, {to_list, [1 | 2]}]].

a_bare_item_leaves_the_rest_test_() ->
    [?_assertEqual({Bare, Rest}, beamline_structured_fields:parse_bare_item(<<Text/binary, Rest/binary>>))
     || {Text, Bare} <- [{<<"1">>, 1}, {<<"-1.5">>, {decimal, {-15, -1}}}, {<<"\"a;\\\"b\\\\\"">>, {string, <<"a;\"b\\">>}},
         {<<"tok/en">>, {token, <<"tok/en">>}},
                         {<<":YQ==:">>, {binary, <<"a">>}}, {<<"?1">>, true}, {<<"@5">>, {date, 5}},
                             {<<"%\"%c3%bc\"">>, {display, <<"ü"/utf8>>}}],
        Rest <- [<<>>, <<";a=1">>, <<", b">>, <<" )">>, <<"\"">>, <<"\n">>]].

plain_terms_of_the_drop_in_test() ->
    ?assertEqual({ok, [{<<"a">>, {item, 1, []}}, {<<"b">>, {list, [{item, {string, <<"x">>}, []}], []}}]},
                 beamline_structured_fields:to_dictionary(#{a => 1, b => [<<"x">>]})),
    ?assertEqual({ok, [{<<"z">>, {item, 0, []}}, {<<"a">>, {item, 1, []}}]},
                 beamline_structured_fields:to_dictionary([{<<"z">>, {item, 0, []}}], [{a, 1}])),
    ?assertEqual({too_deep, b}, beamline_structured_fields:to_dictionary(#{a => 1, b => #{}})),
    ?assertEqual({too_deep, #{}}, beamline_structured_fields:to_list([1, #{}])),
    ?assertEqual({too_deep, #{}}, beamline_structured_fields:to_list([1, [2, #{}]])),
    ?assertEqual({too_deep, [3]}, beamline_structured_fields:to_list([[1, 2], {list, [2, [3], #{}], []}])),
    ?assertEqual({too_deep, [2]}, beamline_structured_fields:to_dictionary(#{a => [1, [2]], b => #{}})),
    ?assertEqual({ok, [{item, 0, []}, {item, 1, []}]}, beamline_structured_fields:to_list([{item, 0, []}], [1])),
    ?assertEqual({ok, {item, 1 bsl 60, []}}, beamline_structured_fields:to_item(1 bsl 60)),
    ?assertEqual({ok, {item, {display, <<"ü"/utf8>>}, []}}, beamline_structured_fields:to_item(<<"ü"/utf8>>)),
    ?assertError(badarg, beamline_structured_fields:to_item(<<255>>)),
    ?assertEqual({ok, {item, {token, <<"a">>}, [{<<"q">>, {decimal, {5, -1}}}]}}, beamline_structured_fields:to_item(a, [{q, 0.5}])),
    ?assertEqual([1, 1.5, true, ok, <<"no atom of this name">>, <<"s">>, <<1>>],
                 [beamline_structured_fields:from_bare_item(B) || B <- [1, {decimal, {15, -1}}, true, {token, <<"ok">>},
                    {token, <<"no atom of this name">>}, {string, <<"s">>}, {binary, <<1>>}]]).

%%% The examples of the documentation, found in the sources

-define(MODULES, [beamline_sfv, beamline_sfv_priority, beamline_sfv_digest, beamline_structured_fields]).

the_examples_of_the_documentation_run_test_() ->
    [{atom_to_list(Module) ++ " " ++ integer_to_list(N), fun() -> run(Example) end}
     || Module <- ?MODULES, {N, Example} <- examples(Module)].

examples(Module) ->
    {ok, Source} = file:read_file(beamline_test:source_file("src/sfv/" ++ atom_to_list(Module) ++ ".erl")),
    {match, Found} = re:run(Source, "^%% ```\\n((?:%%.*\\n)*?)%% '''$", [global, multiline, {capture, [1], list}]),
    Texts = [re:replace(Text, "^%% ?", "", [global, multiline, {return, list}]) || [Text] <- Found],
    ?assertNotEqual([], Texts),
    lists:zip(lists:seq(1, length(Texts)), Texts).

%% Either lines of code, each a match, or a session with a prompt and what it answered.
run("1> " ++ _ = Session) ->
    {match, Steps} = re:run(Session, "^\\d+> (.*\\.)\\n((?:(?!\\d+> ).*\\n)*)", [global, multiline, {capture, all_but_first, list}]),
    lists:foldl(fun([Code, Shown], Bindings) ->
        {value, Value, Next} = evaluate(Code, Bindings),
        {value, Value, _} = evaluate(Shown ++ ".", []),
        Next
    end, [], Steps);
run(Code) -> evaluate(Code ++ case lists:suffix(".", string:trim(Code)) of true -> ""; false -> "." end, []).

evaluate(Code, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(Code),
    Forms = split(Tokens, []),
    lists:foldl(fun(Form, {value, _, B}) ->
        {ok, Expressions} = erl_parse:parse_exprs(Form),
        erl_eval:exprs(Expressions, B)
    end, {value, none, Bindings}, Forms).

split([{dot, _} = Dot | Rest], Form) -> [lists:reverse([Dot | Form]) | split(Rest, [])];
split([Token | Rest], Form) -> split(Rest, [Token | Form]);
split([], _) -> [].

%% README.md, without its prompts.
the_three_lines_of_the_readme_test() ->
    {ok, Dictionary} = beamline_sfv:parse_dictionary(<<"sig1=(\"@method\" \"content-digest\");created=1618884473">>),
    {ok, Field} = beamline_sfv:dictionary(Dictionary),
    ?assertEqual({ok, Dictionary}, beamline_sfv:parse_dictionary(Field)),
    {error, {invalid, #{path := [<<"a">>]}}} = beamline_sfv:dictionary([{<<"a">>, {item, {string, <<"x\r\nSet-Cookie: y">>}, []}}]).
