%% SPDX-License-Identifier: Apache-2.0
%% The codec as users see it: terms, refusals, limits, and what the skin alone decides.
-module(beamline_sfv_tests).

-include_lib("eunit/include/eunit.hrl").

%%% Terms

every_type_is_the_term_of_the_table_test_() ->
    [?_assertEqual({{ok, {item, Term, []}}, {ok, Text}}, {beamline_sfv:parse_item(Text), beamline_sfv:item({item, Term, []})})
     || {Text, Term} <- [
        {<<"42">>, 42}, {<<"-999999999999999">>, -999999999999999}, {<<"1.05">>, {decimal, {105, -2}}},
        {<<"-0.5">>, {decimal, {-5, -1}}}, {<<"1.0">>, {decimal, {1, 0}}}, {<<"100.0">>, {decimal, {100, 0}}},
        {<<"\"a \\\"b\\\" \\\\\"">>, {string, <<"a \"b\" \\">>}}, {<<"*to/ken">>, {token, <<"*to/ken">>}},
        {<<":aGVsbG8=:">>, {binary, <<"hello">>}}, {<<"?1">>, true}, {<<"?0">>, false}, {<<"@-1">>, {date, -1}},
        {<<"%\"f%c3%bc %25\"">>, {display, <<"fü %"/utf8>>}}]].

members_parameters_and_inner_lists_keep_their_order_test() ->
    Text = <<"z=1;b;a=\"x\", a=(t;q=1.5 @5;k);y;x=?0, m">>,
    Term = [{<<"z">>, {item, 1, [{<<"b">>, true}, {<<"a">>, {string, <<"x">>}}]}},
            {<<"a">>, {list, [{item, {token, <<"t">>}, [{<<"q">>, {decimal, {15, -1}}}]}, {item, {date, 5}, [{<<"k">>, true}]}],
                       [{<<"y">>, true}, {<<"x">>, false}]}},
            {<<"m">>, {item, true, []}}],
    ?assertEqual({ok, Term}, beamline_sfv:parse_dictionary(Text)),
    ?assertEqual({ok, Text}, beamline_sfv:dictionary(Term)).

an_empty_field_is_an_empty_list_test_() ->
    [?_assertEqual({ok, []}, beamline_sfv:Parse(Field)) || Parse <- [parse_list, parse_dictionary], Field <- [<<>>, <<"  ">>, [], [<<>>]]]
    ++ [?_assertEqual({ok, <<>>}, beamline_sfv:Write([])) || Write <- [list, dictionary]].

lines_are_joined_test() ->
    ?assertEqual({ok, [{item, 1, []}, {item, 2, []}, {item, 3, []}]}, beamline_sfv:parse_list([<<"1, 2">>, <<"3">>])),
    ?assertEqual({ok, [{item, {string, <<"a, b">>}, []}]}, beamline_sfv:parse_list([<<"\"a">>, <<"b\"">>])),
    ?assertMatch({error, {syntax, #{offset := 3}}}, beamline_sfv:parse_list([<<"a">>, <<>>, <<"b">>])),
    ?assertMatch({error, {syntax, #{offset := 0}}}, beamline_sfv:parse_item([])),
    Long = lists:duplicate(300, <<"a;x=\"", (binary:copy(<<"b">>, 100))/binary, "\"">>),
    {ok, Members} = beamline_sfv:parse_list(Long),
    ?assertEqual(300, length(Members)).

%% Also on the dirty scheduler, and for sub-binaries at any bit.
where_the_input_lies_does_not_matter_test() ->
    {ok, Expected} = beamline_sfv:parse_list(Text = long_list(200)),
    Padded = <<0, Text/binary, 0>>,
    ?assertEqual({ok, Expected}, beamline_sfv:parse_list(binary:part(Padded, 1, byte_size(Text)))),
    Bits = <<1:3, Text/binary, 0:5>>,
    <<_:3, Shifted:(byte_size(Text))/binary, _/bits>> = Bits,
    ?assertEqual({ok, Expected}, beamline_sfv:parse_list(Shifted)),
    {ok, Written} = beamline_sfv:list(Expected),
    ?assertEqual({ok, Expected}, beamline_sfv:parse_list(Written)).

long_list(N) ->
    iolist_to_binary(lists:join(", ", [["tok", integer_to_list(I), ";s=\"", lists:duplicate(I, $x), "\";n=", integer_to_list(I)]
                                       || I <- lists:seq(1, N)])).

large_fields_give_what_small_ones_give_test() ->
    Members = [{item, {token, <<"t", (integer_to_binary(I))/binary>>}, [{<<"q">>, {decimal, {I rem 10, -1}}}]} || I <- lists:seq(1, 20000)],
    {ok, Text} = beamline_sfv:list(Members),
    ?assert(byte_size(Text) > 16384),
    {ok, Back} = beamline_sfv:parse_list(Text),
    {ok, Text} = beamline_sfv:list(Back),
    ?assertEqual(20000, length(Back)),
    ?assertEqual({item, {token, <<"t7">>}, [{<<"q">>, {decimal, {7, -1}}}]}, lists:nth(7, Back)).

%% With anything quadratic in it this would take minutes.
megabytes_of_every_construct_are_read_and_written_test_() ->
    [{atom_to_list(Name), {timeout, 30, fun() -> read_and_write(sfv_constructs:field(Name, 2_000_000)) end}}
     || Name <- sfv_constructs:all()].

read_and_write({Kind, Field}) ->
    Functions = #{item => {parse_item, item}, list => {parse_list, list}, dictionary => {parse_dictionary, dictionary}},
    #{Kind := {Parse, Write}} = Functions,
    {ok, Term} = beamline_sfv:Parse(Field, sfv_constructs:limits()),
    {ok, Canonical} = beamline_sfv:Write(Term, sfv_constructs:limits()),
    ?assertEqual({ok, Term}, beamline_sfv:Parse(Canonical, sfv_constructs:limits())).

%% Terms of earlier parameters are used again within a field: only where they are equal.
parameters_that_look_alike_are_not_mixed_up_test() ->
    Values = [1, {decimal, {1, 0}}, {decimal, {1, -3}}, true, false, {date, 1}, {token, <<"a">>}, {string, <<"a">>},
        {decimal, {1000, 0}}, 1000],
    Keys = [<<"a">>, <<"b">>, <<"aa">>, <<"i">>],
    Members = [{item, N, [{K, V} || K <- Ks]} || N <- lists:seq(1, 5), V <- Values, Ks <- [[K] || K <- Keys] ++ [Keys]],
    {ok, Text} = beamline_sfv:list(Members),
    ?assertEqual({ok, Members}, beamline_sfv:parse_list(Text)).

short_texts_are_copied_long_ones_only_when_asked_test() ->
    Long = binary:copy(<<"x">>, 100),
    Field = <<"\"", Long/binary, "\";k=\"short\"">>,
    {ok, {item, {string, Shared}, [{_, {string, Short}}]}} = beamline_sfv:parse_item(Field),
    ?assertEqual(byte_size(Field), binary:referenced_byte_size(Shared)),
    ?assertEqual(5, binary:referenced_byte_size(Short)),
    {ok, {item, {string, Copied}, _}} = beamline_sfv:parse_item(Field, #{copy => true}),
    ?assertEqual(100, binary:referenced_byte_size(Copied)).

%%% Refusals

malformed_fields_are_values_with_a_place_test_() ->
    [?_assertMatch({error, {syntax, #{offset := Offset, expected := <<_, _/binary>>}}}, beamline_sfv:Parse(Field))
     || {Parse, Field, Offset} <- [
        {parse_item, <<"1.">>, 2}, {parse_item, <<>>, 0}, {parse_list, <<"a, b,">>, 5}, {parse_dictionary, <<"a=1, B=2">>, 5},
        {parse_item, <<"\"", 0, "\"">>, 1}, {parse_item, <<200>>, 0}, {parse_list, <<"(a b">>, 4},
        {parse_list, <<(long_list(300))/binary, ",">>, byte_size(long_list(300)) + 1}]].

what_may_not_be_written_is_refused_with_its_path_test_() ->
    Bad = {string, <<"a\r\nSet-Cookie: x">>},
    [?_assertMatch({error, {invalid, #{path := Path, why := <<_, _/binary>>}}}, beamline_sfv:Write(Term))
     || {Write, Term, Path} <- [
        {item, {item, Bad, []}, []}, {item, {item, 1, [{<<"a">>, 1}, {<<"b">>, Bad}]}, [{param, <<"b">>}]},
        {list, [{item, 1, []}, {item, Bad, []}], [2]},
        {list, [{list, [{item, 1, []}, {item, 2, [{<<"k">>, Bad}]}], []}], [1, 2, {param, <<"k">>}]},
        {list, [{list, [{item, 1, []}], [{<<"k">>, Bad}]}], [1, {param, <<"k">>}]},
        {dictionary, [{<<"a">>, {item, 1, []}}, {<<"b">>, {item, Bad, []}}], [<<"b">>]},
        {dictionary, [{<<"a">>, {list, [{item, Bad, []}], []}}], [<<"a">>, 1]},
        {dictionary, [{<<"A">>, {item, 1, []}}], [<<"A">>]}, {dictionary, [{<<>>, {item, 1, []}}], [<<>>]},
        {dictionary, [{<<"a\n">>, {item, 1, []}}], [<<"a\n">>]},
        {dictionary, [{<<"a">>, {item, 1, []}}, {<<"a">>, {item, 2, []}}], [<<"a">>]},
        {inner_list, {list, [{item, Bad, []}], []}, [1]},
        {item, {item, 1000000000000000, []}, []}, {item, {item, -1000000000000000, []}, []}, {item, {item, 1 bsl 64, []}, []},
        {item, {item, 1 bsl 10000, []}, []}, {item, {item, {date, 1 bsl 64}, []}, []}, {item, {item, {decimal, {1, 12}}, []}, []},
        {item, {item, {decimal, {1 bsl 200, 0}}, []}, []}, {item, {item, {decimal, {1, 1 bsl 200}}, []}, []},
        {item, {item, {token, <<>>}, []}, []}, {item, {item, {token, <<"a b">>}, []}, []}, {item, {item, {token, <<"1a">>}, []}, []},
        {item, {item, {string, <<"ü"/utf8>>}, []}, []}, {item, {item, {string, <<127>>}, []}, []},
        {item, {item, {display, <<255>>}, []}, []}, {item, {item, {display, <<16#ED, 16#A0, 16#80>>}, []}, []},
        {list, [{item, I, []} || I <- lists:seq(1, 20000)] ++ [{item, Bad, []}], [20001]}]].

terms_of_another_type_raise_badarg_test_() ->
    [{lists:flatten(io_lib:format("~p ~0p", [F, Term])), ?_assertError(badarg, beamline_sfv:F(Term))} || {F, Term} <- [
        {parse_item, "1"}, {parse_item, atom}, {parse_item, 1}, {parse_item, <<1:3>>}, {parse_list, [<<"a">> | <<"b">>]},
        {parse_list, [<<"a">>, "b"]}, {parse_list, [[<<"a">>]]}, {parse_dictionary, #{}}, {parse_list, [<<"a">>, <<1:7>>]},
        {item, 1}, {item, {item, 1}}, {item, {item, 1, #{}}}, {item, {item, 1, [{<<"a">>, 1} | x]}}, {item, {item, 1, [{a, 1}]}},
        {item, {item, 1, [{<<"a">>, {item, 1, []}}]}}, {item, {item, 1.5, []}}, {item, {item, foo, []}}, {item, {item, {string, "a"}, []}},
        {item, {item, {string, <<1:3>>}, []}}, {item, {item, {token, a}, []}}, {item, {item, {decimal, 1.5}, []}},
        {item, {item, {decimal, {1.0, 0}}, []}}, {item, {item, {decimal, {1, x}}, []}}, {item, {item, {decimal, {1 bsl 70, x}}, []}},
        {item, {item, {date, 1.0}, []}}, {item, {item, {other, <<"a">>}, []}}, {item, {list, [], []}}, {item, {item, [], []}},
        {list, {item, 1, []}}, {list, [{item, 1, []} | {item, 2, []}]}, {list, [1]}, {list, [{list, [{list, [], []}], []}]},
        {list, [{list, [{item, 1, []} | x], []}]}, {list, [{list, x, []}]}, {list, [{<<"a">>, {item, 1, []}}]},
        {dictionary, #{}}, {dictionary, [{a, {item, 1, []}}]}, {dictionary, [{item, 1, []}]}, {dictionary, [{<<"a">>, 1}]},
        {dictionary, [{<<"a">>, true}]}, {dictionary, [{<<1:3>>, {item, 1, []}}]}, {dictionary, <<"a">>}, {inner_list, {item, 1, []}},
        {list, lists:duplicate(20000, {item, 1, []}) ++ [bad]}, {list, [{item, {string, binary:copy(<<"a">>, 20000)}, []}, bad]}]].

decimals_of_any_size_are_rounded_half_to_even_test_() ->
    [?_assertEqual({ok, Text}, beamline_sfv:item({item, {decimal, Decimal}, []})) || {Decimal, Text} <- [
        {{5, -4}, <<"0.0">>}, {{15, -4}, <<"0.002">>}, {{25, -4}, <<"0.002">>}, {{99995, -4}, <<"10.0">>}, {{-1, -1}, <<"-0.1">>},
        {{1000000000000000000000, -20}, <<"10.0">>}, {{-10500000000000000000000000, -24}, <<"-10.5">>},
        {{15000000000000000000000000, -28}, <<"0.002">>}, {{15000000000000000000000001, -28}, <<"0.002">>},
        {{25000000000000000000000001, -28}, <<"0.003">>}, {{1 bsl 100, -1 bsl 100}, <<"0.0">>}, {{0, 1 bsl 100}, <<"0.0">>}]].

big_decimals_are_rounded_inside_large_terms_too_test() ->
    Big = {item, {decimal, {10 bsl 64, -25}}, [{<<"p">>, {decimal, {1 bsl 64, -25}}}]},
    {ok, Text} = beamline_sfv:list(lists:duplicate(20000, Big)),
    {ok, [{item, {decimal, _}, [{<<"p">>, _}]} | _]} = beamline_sfv:parse_list(Text).

%%% Options

limits_are_values_test_() ->
    [?_assertEqual({error, {limit, #{what => What, limit => Limit, asked => Asked}}}, beamline_sfv:F(Arg, #{What => Limit}))
     || {F, Arg, What, Limit, Asked} <- [
        {parse_list, <<"a, b">>, bytes, 3, 4}, {parse_list, <<"a, b">>, members, 1, 2}, {parse_dictionary, <<"a, b">>, members, 1, 2},
        {parse_list, <<"(a b)">>, inner_members, 1, 2}, {parse_item, <<"a;b;c">>, params, 1, 2},
            {parse_list, [<<"a">>, <<"b">>], bytes, 3, 4},
        {list, [{item, 1, []}, {item, 2, []}], bytes, 3, 4}, {list, [{item, 1, []}, {item, 2, []}], members, 1, 2},
        {list, [{list, [{item, 1, []}, {item, 2, []}], []}], inner_members, 1, 2}, {item, {item, 1, [{<<"a">>, 1},
            {<<"b">>, 1}]}, params, 1, 2}]]
    ++ [?_assertMatch({error, {limit, #{what := bytes}}}, beamline_sfv:parse_list(binary:copy(<<"a,">>, 1000000))),
        ?_assertMatch({error, {limit, #{what := members}}}, beamline_sfv:parse_list(binary:copy(<<"a,">>, 70000))),
        ?_assertMatch({error, {limit, #{what := bytes}}}, beamline_sfv:item({item, {string, binary:copy(<<"a">>, 2000000)}, []})),
        ?_assertMatch({ok, _}, beamline_sfv:item({item, {string, binary:copy(<<"a">>, 2000000)}, []}, #{bytes => infinity}))].

the_minimums_of_the_rfc_are_within_the_defaults_test() ->
    Params = [{<<"p", (integer_to_binary(I))/binary>>, true} || I <- lists:seq(1, 256)],
    Inner = {list, [{item, I, []} || I <- lists:seq(1, 256)], Params},
    Pairs = [{<<"k", (integer_to_binary(I))/binary>>, {item, I, []}} || I <- lists:seq(1, 1024)],
    Members = [{item, {string, binary:copy(<<"s">>, 1024)}, Params}, {item, {token, binary:copy(<<"t">>, 512)}, []},
               {item, {binary, binary:copy(<<1>>, 16384)}, []}, {item, {date, -62135596800}, [{binary:copy(<<"k">>, 64), true}]},
               {item, {date, 253402300799}, []}, Inner] ++ [{item, I, []} || I <- lists:seq(7, 1024)],
    [?assertEqual({ok, Term}, beamline_sfv:Parse(element(2, {ok, _} = beamline_sfv:Write(Term))))
     || {Parse, Write, Term} <- [{parse_list, list, Members}, {parse_dictionary, dictionary, Pairs}]].

keys_can_be_relaxed_test() ->
    Text = <<"A=1, 9-z%;Q">>,
    {error, {syntax, _}} = beamline_sfv:parse_dictionary(Text),
    {ok, Term} = beamline_sfv:parse_dictionary(Text, #{keys => relaxed}),
    ?assertEqual([{<<"A">>, {item, 1, []}}, {<<"9-z%">>, {item, true, [{<<"Q">>, true}]}}], Term),
    {error, {invalid, _}} = beamline_sfv:dictionary(Term),
    ?assertEqual({ok, Text}, beamline_sfv:dictionary(Term, #{keys => relaxed})),
    [?assertMatch({error, {invalid, _}},
        beamline_sfv:dictionary([{<<"a", C>>, {item, 1, []}}], #{keys => relaxed})) || C <- "\r\n\0=;, \"\t()ü"].

base64_can_be_strict_test() ->
    {ok, {item, {binary, <<"a">>}, []}} = beamline_sfv:parse_item(<<":YQ:">>),
    [?assertMatch({error, {syntax, _}}, beamline_sfv:parse_item(Text, #{base64 => strict})) || Text <- [<<":YQ:">>, <<":YR==:">>]],
    {ok, _} = beamline_sfv:parse_item(<<":YQ==:">>, #{base64 => strict}).

%% The VM cannot interrupt a division of large numbers: what needs one is decided by its size, or has a limit.
decimals_of_very_large_numbers_take_no_time_test_() ->
    Write = fun(C, E) -> beamline_sfv:item({item, {decimal, {C, E}}, []}) end,
    [?_assertEqual({ok, <<"0.0">>}, Write(1 bsl 1000000, -401030)), ?_assertEqual({ok, <<"0.002">>}, Write(25 * power(4000), -4004)),
     ?_assertEqual({ok, <<"0.003">>}, Write(25 * power(4000) + 1, -4004)),
     ?_assertMatch({error, {invalid, #{path := []}}}, Write(1 bsl 1000000, -1030)),
     ?_assertMatch({error, {limit, #{what := digits, limit := 4096, asked := 301033}}}, Write(1 bsl 1000000, -301030))].

power(N) -> binary_to_integer(<<"1", (binary:copy(<<"0">>, N))/binary>>).

unknown_options_raise_badarg_test_() ->
    [?_assertError(badarg, beamline_sfv:F(Arg, Options)) || {F, Arg} <- [{parse_list, <<"a">>}, {list, []}],
        Options <- [#{member => 1}, #{members => -1}, #{members => 1.0}, #{keys => loose}, #{copy => 1}, [], #{base64 => true}]].

%%% Around it

canonical_reads_and_writes_test() ->
    ?assertEqual({ok, <<"a=2, b;x">>}, beamline_sfv:canonical(dictionary, [<<" a=1,b=?1;  x">>, <<"a=2">>])),
    ?assertMatch({error, {syntax, _}}, beamline_sfv:canonical(item, <<"a b">>)),
    ?assertEqual({ok, <<"(1);A">>}, beamline_sfv:canonical(list, <<"( 1 );A=?1">>, #{keys => relaxed})).

maps_and_dictionaries_test() ->
    Pairs = [{<<"a">>, {item, 1, []}}, {<<"b">>, {item, 2, []}}],
    ?assertEqual(Pairs, beamline_sfv:from_map(beamline_sfv:to_map(lists:reverse(Pairs)))).

plain_terms_become_fields_test_() ->
    [?_assertEqual({ok, Text}, case beamline_sfv:to_list([Plain]) of {ok, L} -> beamline_sfv:list(L); E -> E end) || {Plain, Text} <- [
        {1, <<"1">>}, {1.5, <<"1.5">>}, {0.0005, <<"0.0">>}, {0.0015, <<"0.002">>}, {1.0e-9, <<"0.0">>}, {123456789.25, <<"123456789.25">>},
        {-0.5, <<"-0.5">>}, {1.0e11, <<"100000000000.0">>}, {true, <<"?1">>}, {gzip, <<"gzip">>}, {<<"te\"xt">>, <<"\"te\\\"xt\"">>},
        {<<"ü"/utf8>>, <<"%\"%c3%bc\"">>}, {{binary, <<"a">>}, <<":YQ==:">>}, {[1, gzip, <<"x">>], <<"(1 gzip \"x\")">>},
        {[], <<"()">>}, {{item, gzip, [{q, 0.5}]}, <<"gzip;q=0.5">>}, {{list, [a, {item, b, #{x => 1}}],
            [{"y", <<"z">>}]}, <<"(a b;x=1);y=\"z\"">>}]].

plain_terms_without_a_place_are_refused_test_() ->
    [?_assertMatch({error, {invalid, #{path := Path}}}, beamline_sfv:to_dictionary(Map)) || {Map, Path} <- [
        {#{a => #{}}, [<<"a">>]}, {#{a => [1, #{}]}, [<<"a">>, 2]}, {#{'A' => 1}, [<<"A">>]}, {#{a => 'not a token'}, [<<"a">>]},
        {#{a => <<255>>}, [<<"a">>]}, {#{a => 1 bsl 60}, [<<"a">>]}, {#{a => 1.0e12}, [<<"a">>]}, {#{a => {item, 1,
            [{b, #{}}]}}, [<<"a">>, {param, <<"b">>}]},
        {#{a => {token, <<"\n">>}}, [<<"a">>]}, {#{a => [1, [2, 3]]}, [<<"a">>, 2]}, {#{a => ["text"]}, [<<"a">>, 1]},
        {#{a => {list, [[]], []}}, [<<"a">>, 1]}]]
    ++ [?_assertError(badarg, beamline_sfv:to_list([self()])), ?_assertError(badarg, beamline_sfv:to_dictionary([a])),
        ?_assertError(badarg, beamline_sfv:to_list([1 | 2])), ?_assertError(badarg, beamline_sfv:to_dictionary(#{1 => 2})),
        ?_assertError(badarg, beamline_sfv:to_dictionary([{<<1:3>>, 1}])), ?_assertError(badarg, beamline_sfv:from_map([])),
        ?_assertError(badarg, beamline_sfv:to_dictionary(1)),
        ?_assertEqual({ok, {item, {string, <<"chars">>}, []}}, beamline_sfv:to_item("chars"))].

the_order_of_plain_pairs_is_kept_test() ->
    {ok, D} = beamline_sfv:to_dictionary([{z, 1}, {"a", x}, {<<"m">>, [2]}]),
    ?assertEqual({ok, <<"z=1, a=x, m=(2)">>}, beamline_sfv:dictionary(D)).

%%% The public suite, as far as it is beside the repository

the_public_suite_passes_test_() ->
    {timeout, 60, fun() ->
        Dir = beamline_test:shared_data("sfv"),
        {Passed, Failed, Skipped} = conformance_sfv:run(Dir, fun(Format, Args) -> io:format(user, Format, Args) end),
        ?assertEqual({0, 0}, {Failed, Skipped}),
        ?assert(Passed > 1000)
    end}.
