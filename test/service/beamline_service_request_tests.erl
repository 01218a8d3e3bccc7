%% SPDX-License-Identifier: Apache-2.0
%% What a client may ask for: the pure half of the service.
-module(beamline_service_request_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LIMITS, #{timeout => 60000, max_timeout => 600000, max_memory_limit => infinity}).

ask(Query) -> ask(Query, #{}).
ask(Query, Fields) -> ask(Query, Fields, ?LIMITS).
ask(Query, Fields, Limits) ->
    beamline_service_request:relaxation(Fields#{query => cow_qs:parse_qs(list_to_binary(Query))}, Limits).

invalid(Query) ->
    {error, {invalid, #{field := Field, why := Why}}} = ask(Query),
    ?assert(is_binary(Why)),
    Field.

nothing_given_means_the_defaults_test() ->
    ?assertEqual({ok, #{format => auto, output => same, parse => #{}, potential => auto, relax => #{}, verify => #{}, priority => normal,
                        timeout => 60000, progress => 100}}, ask("")).

everything_can_be_given_test() ->
    Query = "format=poscar&output=extxyz&potential=lj&epsilon=0.0104&sigma=3.4&cutoff=8.5&shift=true&level=tight"
            "&fmax=1e-4&max_steps=500&method=cg&cell=xx,zz&pressure=-2.5&smax=0.5&elastic=true"
            "&timeout=1000&memory_limit=1000000&priority=high&progress=50",
    ?assertEqual({ok, #{format => poscar, output => extxyz, parse => #{},
                        potential => #{type => lennard_jones, epsilon => 0.0104, sigma => 3.4, cutoff => 8.5, shift => true},
                        relax => #{level => tight, fmax => 1.0e-4, max_steps => 500, method => cg, cell => [xx, zz], pressure => -2.5,
                                  smax => 0.5},
                        verify => #{elastic => true}, priority => high,
                        timeout => 1000, memory_limit => 1000000, progress => 50}}, ask(Query)).

both_names_of_a_potential_are_understood_test_() ->
    [?_assertMatch({ok, #{potential := #{type := stillinger_weber, parameters := silicon}}}, ask(Query))
     || Query <- ["potential=sw", "potential=stillinger_weber", "potential=sw&parameters=silicon"]].

stability_takes_what_the_gates_need_test() ->
    Ask = fun(Query) ->
        beamline_service_request:stability(#{query => uri_string:dissect_query(list_to_binary(Query))},
            #{timeout => 60000, max_timeout => 600000, max_memory_limit => infinity})
    end,
    {ok, #{work := stability, verify := #{elastic := true} = Default}} = Ask(""),
    ?assertEqual(#{elastic => true}, Default),
    {ok, #{verify := Verify}} = Ask("elastic=false&fmax=0.1&smax=1&stress=1,-2,3,0,0,0.5&min_distance=2&reference_energy=-4.3"),
    ?assertEqual(#{elastic => false, fmax => 0.1, smax => 1.0, stress => [1.0, -2.0, 3.0, 0.0, 0.0, 0.5], min_distance => 2.0,
                   reference_energy => -4.3}, Verify),
    [?assertMatch({error, {invalid, #{field := Field}}}, Ask(Query)) || {Field, Query} <- [
        {<<"level">>, "level=tight"}, {<<"cell">>, "cell=free"}, {<<"stress">>, "stress=1,2"}, {<<"stress">>, "stress=1,2,3,4,5,x"},
        {<<"stress">>, "pressure=1&stress=1,1,1,0,0,0"}, {<<"output">>, "output=cif"}, {<<"elastic">>, "elastic=maybe"}]].

what_is_wrong_is_named_test_() ->
    [?_assertEqual(Field, invalid(Query)) || {Field, Query} <- [
        {<<"colour">>, "colour=red"}, {<<"fmax">>, "fmax=1&fmax=2"}, {<<"fmax">>, "fmax=-1"}, {<<"fmax">>, "fmax=0"},
        {<<"fmax">>, "fmax=1e999"}, {<<"fmax">>, "fmax=nan"}, {<<"fmax">>, "fmax="}, {<<"fmax">>, "fmax"},
        {<<"max_steps">>, "max_steps=1.5"}, {<<"max_steps">>, "max_steps=99999999999999999999"},
        {<<"timeout">>, "timeout=0"}, {<<"timeout">>, "timeout=600001"}, {<<"timeout">>, "timeout=-5"},
        {<<"priority">>, "priority=urgent"}, {<<"level">>, "level=best"}, {<<"format">>, "format=pdb"},
        {<<"output">>, "output=auto"}, {<<"progress">>, "progress=5"}, {<<"memory_limit">>, "memory_limit=0"},
        {<<"potential">>, "potential=eam"}, {<<"sigma">>, "potential=lj&epsilon=1&cutoff=2"},
        {<<"cell">>, "cell=round"}, {<<"cell">>, "cell=xx,ab"}, {<<"cell">>, "cell="}, {<<"method">>, "method=newton"},
        {<<"pressure">>, "pressure=high"}, {<<"strain">>, "strain=1"}, {<<"epsilon">>, "epsilon=1"},
        {<<"sigma">>, "potential=sw&sigma=2"}, {<<"parameters">>, "potential=lj&parameters=silicon"},
        {<<"parameters">>, "potential=sw&parameters=tungsten"}, {<<"shift">>, "potential=lj&epsilon=1&sigma=1&cutoff=2&shift=1"}]].

the_field_priority_gives_the_class_unless_the_query_does_test_() ->
    Class = fun(Field, Query) -> {ok, #{priority := P}} = ask(Query, #{priority => Field}), P end,
    [?_assertEqual(Expected, Class(Field, "")) || {Expected, Field} <- [
        {critical, <<"u=0">>}, {high, <<"u=1">>}, {high, <<"u=2, i">>}, {normal, <<"u=3">>}, {normal, <<"u=4">>}, {low, <<"u=5">>},
        {low, <<"u=6">>}, {low, <<"u=7">>}, {normal, undefined}, {normal, <<>>}, {normal, <<"u=8">>}, {normal, <<"u=0,,">>}]]
    ++ [?_assertEqual(low, Class(<<"u=0">>, "priority=low"))].

a_timeout_has_the_servers_bound_given_or_not_test() ->
    Limits = ?LIMITS,
    Short = Limits#{timeout => 60000, max_timeout => 1000},
    ?assertMatch({ok, #{timeout := 1000}}, ask("", #{}, Short)),
    ?assertMatch({ok, #{timeout := 1000}}, ask("timeout=1000", #{}, Short)),
    ?assertMatch({error, {invalid, #{field := <<"timeout">>}}}, ask("timeout=1001", #{}, Short)).

a_memory_limit_has_the_servers_bound_test() ->
    Limits = ?LIMITS#{max_memory_limit => 1000},
    ?assertMatch({ok, #{memory_limit := 1000}}, ask("", #{}, Limits)),
    ?assertMatch({ok, #{memory_limit := 10}}, ask("memory_limit=10", #{}, Limits)),
    ?assertMatch({error, {invalid, #{field := <<"memory_limit">>}}}, ask("memory_limit=1001", #{}, Limits)).

the_content_type_tells_the_format_unless_the_query_does_test_() ->
    Format = fun(Type, Query) -> {ok, #{format := F}} = ask(Query, #{content_type => Type}), F end,
    [?_assertEqual(poscar, Format(<<"chemical/x-poscar">>, "")),
     ?_assertEqual(extxyz, Format(<<"Chemical/X-XYZ; charset=utf-8">>, "")),
     ?_assertEqual(auto, Format(<<"application/x-www-form-urlencoded">>, "")),
     ?_assertEqual(poscar, Format(<<"application/pdf">>, "format=poscar")),
     ?_assertEqual({error, {unsupported_media_type, {type, <<"application/pdf">>}}}, ask("", #{content_type => <<"application/pdf">>}))].

encoded_bodies_are_refused_test() ->
    ?assertMatch({ok, _}, ask("", #{content_encoding => <<"Identity">>})),
    ?assertEqual({error, {unsupported_media_type, {encoding, <<"gzip">>}}}, ask("", #{content_encoding => <<"gzip">>})).

respond_async_is_found_among_preferences_test_() ->
    [?_assertEqual(Expected, beamline_service_request:wants_async(Prefer)) || {Expected, Prefer} <- [
        {false, undefined}, {true, <<"respond-async">>}, {true, <<"wait=10, Respond-Async; x=1">>},
        {false, <<"respond-asynchronously">>}, {false, <<"wait=10">>},
        {false, <<"a=\"b, respond-async, c\"">>}, {false, <<"a=\"b\\\", respond-async, c\"">>}, {true, <<"a=\"b, c\",\trespond-async">>},
        {false, <<255>>}, {true, <<255, ", respond-async">>}, {false, <<>>}, {false, <<"\"">>},
        {true, <<"respond-async=\"\"">>}, {true, <<"respond-async = ; a=b">>}, {false, <<"respond-async=\"no\"">>},
        {false, <<"respond-async=1">>}, {false, <<"a=\"\"; respond-async">>}, {true, <<"a=\"\", respond-async, b=\"c\"">>}]].

fields_need_not_be_utf8_test() ->
    ?assertEqual({error, {unsupported_media_type, {type, <<"text/", 255>>}}}, ask("", #{content_type => <<" text/", 255, "; a">>})),
    ?assertEqual({error, {unsupported_media_type, {encoding, <<255>>}}}, ask("", #{content_encoding => <<255>>})).

the_best_type_is_chosen_test_() ->
    Json = {<<"application">>, <<"json">>},
    Sse = {<<"text">>, <<"event-stream">>},
    Choose = fun(Accept) -> beamline_service_request:answer_type([Json, Sse], cow_http_hd:parse_accept(Accept)) end,
    [?_assertEqual({ok, Json}, beamline_service_request:answer_type([Json, Sse], undefined)),
     ?_assertEqual({ok, Json}, beamline_service_request:answer_type([Json, Sse], [])),
     ?_assertEqual({ok, Json}, Choose(<<"*/*">>)),
     ?_assertEqual({ok, Sse}, Choose(<<"text/event-stream">>)),
     ?_assertEqual({ok, Sse}, Choose(<<"text/event-stream, */*">>)),
     ?_assertEqual({ok, Json}, Choose(<<"text/*;q=0.5, application/json">>)),
     ?_assertEqual({ok, Sse}, Choose(<<"application/json;q=0, */*">>)),
     ?_assertMatch({error, {not_acceptable, _}}, Choose(<<"text/html, image/*">>))].

%%% Problems

every_reason_has_a_status_and_a_body_that_is_json_test_() ->
    [?_test(begin
        {Status, Fields, Body} = beamline_service_problem:from(Reason),
        ?assertEqual(Expected, Status),
        ?assert(is_map(Fields)),
        Decoded = beamline_service_json:decode(iolist_to_binary(beamline_service_json:encode(Body))),
        ?assertMatch(#{<<"type">> := <<"urn:beamline:problem:", _/binary>>, <<"status">> := Expected,
                       <<"title">> := _, <<"detail">> := _}, Decoded),
        ?assert(is_binary(maps:get(<<"what">>, Decoded, <<>>)))
     end) || {Expected, Reason} <- [
        {503, {busy, 0}}, {504, timeout}, {503, cancelled}, {503, closed}, {503, no_memory},
        {422, {limit, #{what => memory, limit => 10, asked => 11}}}, {413, {limit, #{what => body, limit => 10, asked => 11}}},
        {400, {syntax, #{line => 1, column => 2, expected => <<"a number, not ", 255>>}}},
        {400, {syntax, #{offset => 17, expected => "x"}}},
        {422, {invalid, #{field => <<"x">>, why => <<"no\nway">>}}}, {422, {invalid, #{field => a, why => {odd, self()}}}},
        {501, {unsupported, {nif, "not there"}}}, {501, {unsupported, spglib}}, {500, {trap, #{code => 1}}},
        {503, {host_exited, killed}}, {503, {device_failed, <<"gone">>}}, {404, not_found}, {410, gone},
        {405, {method_not_allowed, [<<"GET">>, ", ", <<"HEAD">>]}}, {406, {not_acceptable, ["a/b"]}},
        {415, {unsupported_media_type, {type, <<"a/b">>}}}, {415, {unsupported_media_type, {encoding, <<"br">>}}},
        {408, slow_body}, {500, {internal, {badmatch, make_ref()}}}, {500, surprise}]].

retry_after_is_in_seconds_rounded_up_test_() ->
    [?_assertMatch({503, #{<<"retry-after">> := Seconds}, #{retry_after_ms := Ms}}, beamline_service_problem:from({busy, Ms}))
     || {Seconds, Ms} <- [{<<"1">>, 0}, {<<"1">>, 1000}, {<<"2">>, 1001}, {<<"60">>, 59999}]].

the_place_of_a_syntax_error_is_told_test() ->
    {400, _, Body} = beamline_service_problem:from({syntax, #{line => 3, column => 7, expected => <<"a number">>}}),
    ?assertMatch(#{line := 3, column := 7, expected := <<"a number">>, detail := <<"Line 3, column 7: expected a number.">>}, Body).

%%% JSON

numbers_survive_json_test_() ->
    [?_assertEqual(N, beamline_service_json:decode(iolist_to_binary(beamline_service_json:encode(N)))) || N <- [
        0.1, 1.0, -4.336612345678901, 2.2250738585072014e-308, 1.7976931348623157e308, 0.30000000000000004,
        1.0e22, -0.001, 123456789012345678]].

what_json_cannot_say_becomes_null_or_text_test() ->
    Term = #{a => nan, b => undefined, c => {1, ok}, <<"d", 228>> => <<"latin ", 228>>, e => <<"utf8 "/utf8, 195, 164>>},
    ?assertEqual(#{<<"a">> => null, <<"b">> => null, <<"c">> => [1, <<"ok">>], <<"dä"/utf8>> => <<"latin ä"/utf8>>,
                   <<"e">> => <<"utf8 ä"/utf8>>},
                 beamline_service_json:decode(iolist_to_binary(beamline_service_json:encode(Term)))).

%%% Streams

stream(Steps) ->
    lists:mapfoldl(fun(Step, S) ->
        case Step of
            {next, Now} ->
                case beamline_service_sse:next(Now, S) of
                    {send, Data, Fin, S1} -> {{Fin, iolist_to_binary(Data)}, S1};
                    {wait, S1} -> {wait, S1}
                end;
            {Tell, Arg} -> {told, beamline_service_sse:Tell(Arg, S)};
            Tell -> {told, beamline_service_sse:Tell(S)}
        end
    end, beamline_service_sse:new('HTTP/1.1'), Steps).

a_slow_reader_gets_the_newest_progress_only_test() ->
    {Out, _} = stream([{progress, #{n => 1}}, {next, 0}, {progress, #{n => 2}}, {next, 0},
                       {progress, #{n => 3}}, {next, 0}, taken, {next, 0}, {next, 0}]),
    ?assertEqual([{nofin, <<"event: progress\ndata: {\"n\":1}\n\n">>}, wait, wait,
                  {nofin, <<"event: progress\ndata: {\"n\":3}\n\n">>}, wait],
                 [O || O <- Out, O =/= told]).

the_last_event_ends_the_stream_and_drops_what_is_older_test() ->
    {Out, _} = stream([{progress, #{n => 1}}, {next, 0}, {progress, #{n => 2}}, {last, <<"end">>},
                       {next, 0}, taken, {next, 0}, taken, {next, 0}]),
    ?assertEqual([{nofin, <<"event: progress\ndata: {\"n\":1}\n\n">>}, wait, {fin, <<"end">>}, wait], [O || O <- Out, O =/= told]).

a_heartbeat_is_a_comment_and_gives_way_to_progress_test() ->
    {Out, _} = stream([heartbeat, {next, 0}, taken, heartbeat, {progress, #{n => 1}}, {next, 0}, taken, {next, 0}]),
    ?assertEqual([{nofin, <<":\n\n">>}, {nofin, <<"event: progress\ndata: {\"n\":1}\n\n">>}, wait], [O || O <- Out, O =/= told]).

over_http2_a_long_stream_slows_down_to_one_event_a_second_test() ->
    Feed = fun Feed(Now, Until, S, Sent) when Now < Until ->
                   case beamline_service_sse:next(Now, beamline_service_sse:progress(#{pad => binary:copy(<<"x">>, 100)}, S)) of
                       {send, Data, nofin, S1} -> Feed(Now + 10, Until, beamline_service_sse:taken(S1), Sent + iolist_size(Data));
                       {wait, S1} -> Feed(Now + 10, Until, S1, Sent)
                   end;
               Feed(_, _, _, Sent) -> Sent
           end,
    Sent = Feed(0, 600000, beamline_service_sse:new('HTTP/2'), 0),
    ?assert(Sent > 65536),
    ?assert(Sent < 200000).
