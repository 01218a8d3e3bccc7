%% SPDX-License-Identifier: Apache-2.0
%% The service as its clients see it: real sockets on the loopback, the real runtime and crystal
%% engine behind it.
-module(beamline_service_tests).

-include_lib("eunit/include/eunit.hrl").

-import(beamline_service_client, [get/2, post/3, post/4, request/3, request/5, json/1]).

-define(NAME, service_under_test).
-define(SSE, {"accept", "text/event-stream"}).
-define(ASYNC, {"prefer", "respond-async"}).
%% Never converges: ends when the numbers do. Longer than any test with endless/0 as body.
-define(ENDLESS, "method=fire&fmax=1e-300&max_steps=100000000&progress=10").

%%% Set-up

%% Runs with a service of its own; afterwards nothing is left of the work.
with(Fun) -> with(#{}, Fun).

with(Options, Fun) ->
    ok = beamline_test:start(),
    needs_crystal(),
    {ok, Service} = beamline_service:start_link(maps:merge(#{name => ?NAME, port => 0, drain_timeout => 0}, Options)),
    unlink(Service),
    try
        Result = Fun(case Options of #{listener := false} -> none; _ -> beamline_service:port(?NAME) end),
        beamline_test:eventually(fun() -> idle(maps:get(pool, Options, beamline_runtime)) end),
        Result
    after
        Monitor = monitor(process, Service),
        exit(Service, shutdown),
        receive {'DOWN', Monitor, _, _, _} -> ok end
    end.

needs_crystal() ->
    lists:member(crystal_relax, beamline_runtime:operations()) orelse beamline_test:skip("the native library is not here").

with_pool(PoolOptions, Options, Fun) ->
    ok = beamline_test:start(),
    {ok, Pool} = beamline_runtime:start_link(PoolOptions#{name => pool_under_test}),
    try with(Options#{pool => pool_under_test}, Fun)
    after gen_server:stop(Pool) end.

%% Nobody in flight, nothing running.
idle(Pool) ->
    case beamline_service_gate:info(?NAME) of
        #{count := 0, bytes := 0} -> quiet(Pool);
        {error, closed} -> quiet(Pool);
        _ -> false
    end.

quiet(no_such_pool) -> true;
quiet(Pool) ->
    #{running := Running, behind := Behind, queued := Queued} = beamline_runtime:info(Pool),
    Running + Behind + lists:sum(maps:values(Queued)) =:= 0.

%% Silicon, N x N x N cells of eight atoms, each atom moved by up to so many angstrom.
silicon(N) -> silicon(N, 0.05).

silicon(N, Moved) ->
    A = 5.431,
    Sites = [{0, 0, 0}, {0, 2, 2}, {2, 0, 2}, {2, 2, 0}, {1, 1, 1}, {1, 3, 3}, {3, 1, 3}, {3, 3, 1}],
    Cells = lists:seq(0, N - 1),
    Atoms = [{X + I / 4, Y + J / 4, Z + K / 4} || X <- Cells, Y <- Cells, Z <- Cells, {I, J, K} <- Sites],
    Move = fun(R, Seed) -> (R + Moved / A * math:sin(Seed)) / N end,
    Lines = [io_lib:format("~.12f ~.12f ~.12f~n", [Move(X, 7 * I), Move(Y, 11 * I), Move(Z, 13 * I)])
             || {I, {X, Y, Z}} <- lists:zip(lists:seq(1, length(Atoms)), Atoms)],
    L = N * A,
    iolist_to_binary([io_lib:format("silicon~n1.0~n~f 0 0~n0 ~f 0~n0 0 ~f~nSi~n~b~nDirect~n", [L, L, L, length(Atoms)]), Lines]).

%% With ?ENDLESS this keeps a thread busy for longer than any test: 13,824 atoms, thousands of steps until the forces stagnate.
endless() -> silicon(12, 0.3).

relax(Port, Query) -> post(Port, "/v1/relaxations" ++ Query, silicon(1)).

status({Status, _, _}) -> Status.

%% The problem of an answer, whose media type and status agree with it.
problem(Expected, {Status, Headers, Body}) ->
    ?assertEqual(Expected, Status),
    ?assertEqual(<<"application/problem+json">>, maps:get(<<"content-type">>, Headers)),
    #{<<"status">> := Status} = Problem = beamline_service_json:decode(Body),
    Problem.

open(Port, Path, Headers, Body) -> open(Port, Path, Headers, Body, []).
open(Port, Path, Headers, Body, Options) ->
    Socket = beamline_service_client:open(Port, Options),
    beamline_service_client:send(Socket, "POST", Path, {Headers, Body}),
    Socket.

running(N) -> beamline_test:eventually(fun() -> maps:get(running, beamline_runtime:info()) =:= N end).

%% A test needs longer than EUnit's five seconds when the machine is busy.
-define(TEST(Name, Body), Name() -> {timeout, 60, fun() -> Body end}).

%%% Answers in JSON

?TEST(a_structure_is_relaxed_test_, with(fun(Port) ->
    {200, Headers, _} = Answer = relax(Port, ""),
    ?assertEqual(<<"application/json">>, maps:get(<<"content-type">>, Headers)),
    Result = json(Answer),
    ?assertMatch(#{<<"atoms">> := 8, <<"composition">> := #{<<"Si">> := 8}, <<"converged">> := true,
                   <<"structure">> := #{<<"format">> := <<"poscar">>}, <<"verdict">> := _,
                   <<"potential">> := #{<<"type">> := <<"stillinger_weber">>}, <<"warnings">> := []}, Result),
    %% Stillinger and Weber's silicon is bound by 4.3366 eV per atom.
    ?assert(abs(maps:get(<<"energy">>, Result) / 8 + 4.3366) < 1.0e-3),
    ?assert(maps:get(<<"max_force">>, Result) < 0.05),
    ?assert(maps:get(<<"steps">>, Result) > 0),
    [?assertMatch(#{<<"name">> := _, <<"pass">> := _}, Gate) || Gate <- maps:get(<<"gates">>, Result)],
    ?assert(length(maps:get(<<"gates">>, Result)) >= 3),
    ?assertEqual([<<"parse">>, <<"relax">>, <<"total">>, <<"verify">>, <<"write">>],
                 lists:sort(maps:keys(maps:get(<<"timings_ms">>, Result)))),
    %% What came out can go in again, and is relaxed already.
    Again = json(post(Port, "/v1/relaxations", maps:get(<<"text">>, maps:get(<<"structure">>, Result)))),
    ?assert(abs(maps:get(<<"energy">>, Again) - maps:get(<<"energy">>, Result)) < 1.0e-3)
end)).

?TEST(the_field_priority_gives_the_task_its_class_test_, with(fun(Port) ->
    Class = fun(Query, Fields) -> maps:get(<<"priority">>, json(post(Port, "/v1/relaxations" ++ Query, Fields, silicon(1)))) end,
    ?assertEqual(<<"critical">>, Class("", [{"priority", "u=0"}])),
    ?assertEqual(<<"low">>, Class("", [{"priority", "u=3"}, {"priority", "u=7"}])),
    ?assertEqual(<<"normal">>, Class("", [{"priority", "u=0, ="}])),
    ?assertEqual(<<"high">>, Class("?priority=high", [{"priority", "u=7"}]))
end)).

?TEST(an_answer_carries_its_digest_when_asked_test_, with(fun(Port) ->
    Wants = [{"want-content-digest", "sha-512=3, sha-256=10"}],
    [begin
         {Status, #{<<"content-digest">> := <<"sha-256=", _/binary>> = Digest}, Body} = Answer,
         ?assertEqual(ok, beamline_sfv_digest:verify(Digest, Body)),
         ?assertMatch({error, {invalid, _}}, beamline_sfv_digest:verify(Digest, <<Body/binary, " ">>))
     end || {Status, Answer} <- [
        {200, post(Port, "/v1/relaxations", Wants, silicon(1))}, {202, post(Port, "/v1/relaxations", [?ASYNC | Wants], silicon(1))},
        {400, post(Port, "/v1/relaxations", Wants, <<"nonsense">>)}, {200, request(Port, "GET", "/metrics", Wants, <<>>)},
        {404, request(Port, "GET", "/nowhere", Wants, <<>>)}, {200, request(Port, "GET", "/readyz", Wants, <<>>)}]],
    [?assertNot(is_map_key(<<"content-digest">>, Headers))
     || Fields <- [[], [{"want-content-digest", "md5=10"}], [{"want-content-digest", "sha-256=0"}], [{"want-content-digest", "sha-256=,"}]],
        {200, Headers, _} <- [request(Port, "GET", "/healthz", Fields, <<>>)]]
end)).

?TEST(the_result_comes_in_the_format_that_was_asked_for_test_, with(fun(Port) ->
    #{<<"structure">> := #{<<"format">> := <<"extxyz">>, <<"text">> := Text}} = json(relax(Port, "?output=extxyz")),
    ?assertMatch(<<"8\n", _/binary>>, Text),
    ?assertEqual(200, status(post(Port, "/v1/relaxations", [{"content-type", "chemical/x-xyz"}], Text)))
end)).

?TEST(a_potential_can_be_chosen_test_, with(fun(Port) ->
    Query = "?potential=lj&epsilon=0.1&sigma=2.0&cutoff=5.0&max_steps=5",
    ?assertMatch(#{<<"potential">> := #{<<"type">> := <<"lennard_jones">>, <<"sigma">> := 2.0}}, json(relax(Port, Query)))
end)).

?TEST(the_same_connection_serves_many_requests_test_, with(fun(Port) ->
    Socket = beamline_service_client:open(Port),
    [begin
        beamline_service_client:send(Socket, "POST", "/v1/relaxations", {[], silicon(1)}),
        {200, Fields} = beamline_service_client:head(Socket),
        _ = beamline_service_client:body({Socket, Fields})
     end || _ <- lists:seq(1, 5)],
    beamline_service_client:close(Socket)
end)).

?TEST(a_client_that_expects_100_is_told_to_continue_test_, with(fun(Port) ->
    Socket = beamline_service_client:open(Port),
    Body = silicon(1),
    beamline_service_client:send_raw(Socket, ["POST /v1/relaxations HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: ",
                                              integer_to_list(byte_size(Body)), "\r\n\r\n"]),
    ?assertMatch({100, _}, beamline_service_client:head(Socket)),
    beamline_service_client:send_raw(Socket, Body),
    ?assertMatch({200, _}, beamline_service_client:head(Socket)),
    beamline_service_client:close(Socket)
end)).

%%% Problems

?TEST(malformed_input_is_400_with_its_place_test_, with(fun(Port) ->
    Broken = binary:replace(silicon(1), <<"Direct\n0">>, <<"Direct\nx">>),
    ?assertMatch(#{<<"reason">> := <<"syntax">>, <<"line">> := 9, <<"column">> := 1, <<"expected">> := _},
                 problem(400, post(Port, "/v1/relaxations?format=poscar", Broken))),
    ?assertMatch(#{<<"reason">> := _}, problem(400, post(Port, "/v1/relaxations", <<>>)))
end)).

?TEST(what_is_well_formed_but_wrong_is_422_test_, with(fun(Port) ->
    ?assertMatch(#{<<"field">> := <<"fmax">>}, problem(422, relax(Port, "?fmax=abc"))),
    ?assertMatch(#{<<"field">> := <<"colour">>}, problem(422, relax(Port, "?colour=red"))),
    Helium = binary:replace(silicon(1), <<"Si\n">>, <<"He\n">>),
    #{<<"field">> := <<"potential">>, <<"why">> := Why} = problem(422, post(Port, "/v1/relaxations", Helium)),
    ?assertNotEqual(nomatch, binary:match(Why, <<"lennard_jones">>))
end)).

?TEST(a_malformed_query_or_accept_is_400_test_, with(fun(Port) ->
    ?assertMatch(#{<<"reason">> := <<"syntax">>}, problem(400, relax(Port, "?fmax=%zz"))),
    ?assertMatch(#{<<"reason">> := <<"syntax">>}, problem(400, post(Port, "/v1/relaxations", [{"accept", "///"}], silicon(1))))
end)).

?TEST(a_body_that_is_too_large_is_413_however_it_comes_test_, with(#{max_body_bytes => 1000}, fun(Port) ->
    ?assertMatch(#{<<"what">> := <<"body">>, <<"limit">> := 1000, <<"asked">> := 1001},
                 problem(413, post(Port, "/v1/relaxations", binary:copy(<<"x">>, 1001)))),
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send_raw(Socket, "POST /v1/relaxations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"),
    [beamline_service_client:send_raw(Socket, ["190\r\n", binary:copy(<<"x">>, 400), "\r\n"]) || _ <- [1, 2, 3]],
    {413, Fields} = beamline_service_client:head(Socket),
    _ = problem(413, {413, Fields, beamline_service_client:body({Socket, Fields})}),
    beamline_service_client:close(Socket)
end)).

?TEST(a_compressed_body_that_grows_too_large_is_422_test_, with(#{max_inflated_bytes => 2000}, fun(Port) ->
    Paths = ["relaxations", "stability", "structures/inspect", "structures/convert", "structures/symmetry"],
    [begin
         Problem = problem(422, post(Port, "/v1/" ++ Path, zlib:gzip([silicon(1), binary:copy(<<"\n">>, 2000)]))),
         ?assertMatch(#{<<"reason">> := <<"limit">>, <<"what">> := <<"inflated_bytes">>, <<"limit">> := 2000}, Problem)
     end || Path <- Paths],
    ?assertEqual(200, status(post(Port, "/v1/relaxations", zlib:gzip(silicon(1)))))
end)).

?TEST(a_body_that_does_not_come_is_408_test_, with(#{body_timeout => 100}, fun(Port) ->
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send_raw(Socket, "POST /v1/relaxations HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nab"),
    {408, Fields} = beamline_service_client:head(Socket),
    _ = problem(408, {408, Fields, beamline_service_client:body({Socket, Fields})}),
    beamline_service_client:close(Socket)
end)).

?TEST(methods_types_and_addresses_that_do_not_exist_test_, with(fun(Port) ->
    Allow = fun({_, Headers, _} = Answer) -> _ = problem(405, Answer), maps:get(<<"allow">>, Headers) end,
    ?assertEqual(<<"POST">>, Allow(get(Port, "/v1/relaxations"))),
    ?assertEqual(<<"GET, HEAD, DELETE">>, Allow(post(Port, "/v1/tasks/x", <<>>))),
    ?assertEqual(<<"GET">>, Allow(post(Port, "/v1/tasks/x/events", <<>>))),
    ?assertEqual(<<"GET, HEAD">>, Allow(request(Port, "DELETE", "/metrics"))),
    _ = problem(404, get(Port, "/v1")),
    _ = problem(406, post(Port, "/v1/relaxations", [{"accept", "text/html"}], silicon(1))),
    _ = problem(415, post(Port, "/v1/relaxations", [{"content-type", "application/pdf"}], silicon(1))),
    _ = problem(415, post(Port, "/v1/relaxations", [{"content-encoding", "gzip"}], silicon(1)))
end)).

?TEST(a_deadline_is_504_test_, with(fun(Port) ->
    ?assertMatch(#{<<"reason">> := <<"timeout">>}, problem(504, post(Port, "/v1/relaxations?timeout=50&" ?ENDLESS, endless())))
end)).

?TEST(a_memory_limit_is_422_test_, with(fun(Port) ->
    ?assertMatch(#{<<"reason">> := <<"limit">>, <<"limit">> := 100}, problem(422, relax(Port, "?memory_limit=100")))
end)).

?TEST(a_full_pool_is_503_with_retry_after_test_, with_pool(#{threads => 1, max_queue => 1}, #{}, fun(Port) ->
    Endless = "/v1/relaxations?timeout=20000&" ?ENDLESS,
    First = open(Port, Endless, [], endless()),
    beamline_test:eventually(fun() -> maps:get(running, beamline_runtime:info(pool_under_test)) =:= 1 end),
    Second = open(Port, Endless, [], endless()),
    beamline_test:eventually(fun() -> lists:sum(maps:values(maps:get(queued, beamline_runtime:info(pool_under_test)))) =:= 1 end),
    {503, Headers, _} = Third = relax(Port, ""),
    ?assertMatch(#{<<"reason">> := <<"busy">>}, problem(503, Third)),
    ?assert(binary_to_integer(maps:get(<<"retry-after">>, Headers)) >= 1),
    [beamline_service_client:close(S) || S <- [First, Second]]
end)).

?TEST(more_in_flight_than_allowed_is_503_test_, with(#{max_in_flight => 1}, fun(Port) ->
    First = open(Port, "/v1/relaxations?" ?ENDLESS, [], endless()),
    running(1),
    ?assertMatch(#{<<"reason">> := <<"busy">>}, problem(503, relax(Port, ""))),
    beamline_service_client:close(First)
end)).

%% A client that has its answer may ask again before the process that gave it has ended.
?TEST(who_has_answered_makes_room_and_a_drain_waits_for_him_test_, with(#{max_in_flight => 1, max_in_flight_bytes => 100}, fun(_) ->
    {ok, First} = beamline_service_gate:enter(?NAME, 100),
    ?assertMatch({error, {busy, _}}, beamline_service_gate:enter(?NAME, 0)),
    ok = beamline_service_gate:answered(?NAME, First),
    {ok, Second} = beamline_service_gate:enter(?NAME, 100),
    [ok = beamline_service_gate:answered(?NAME, Ticket) || Ticket <- [First, Second, Second]],
    ?assertEqual({error, closed}, beamline_service_gate:grow(?NAME, Second, 1)),
    ?assertEqual(#{open => true, count => 2, bytes => 0}, beamline_service_gate:info(?NAME)),
    ?assertEqual({error, timeout}, beamline_service_gate:wait_idle(?NAME, 10)),
    {_, Monitor} = spawn_monitor(fun() -> {ok, _} = beamline_service_gate:enter(?NAME, 100) end),
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    exit(whereis(beamline_service_sup:process(?NAME, gate)), kill) % forgets this process
end)).

?TEST(one_request_at_a_time_is_never_refused_test_, with(#{max_in_flight => 1, max_tasks => 1, max_connections => 1}, fun(Port) ->
    Inspect = fun(Fields, Body) -> post(Port, "/v1/structures/inspect", Fields, Body) end,
    [begin
        200 = status(Inspect([], silicon(1))),
        400 = status(Inspect([], <<"nonsense">>)),
        {202, #{<<"location">> := Location}, _} = Inspect([?ASYNC], silicon(1)),
        Task = binary_to_list(Location),
        N rem 2 =:= 0 orelse beamline_test:eventually(fun() -> task_state(Port, Task) =:= done end),
        204 = status(request(Port, "DELETE", Task))
     end || N <- lists:seq(1, 50)]
end)).

connections_are_bounded_test_() ->
    [{timeout, 60, fun() -> with(#{max_connections => Max}, fun(Port) -> connections_are_bounded(Max, Port) end) end} || Max <- [2, 5, 8]].

connections_are_bounded(Max, Port) ->
    Ask = fun(_) ->
        Socket = beamline_service_client:open(Port),
        beamline_service_client:send(Socket, "GET", "/healthz", {[], <<>>}),
        Socket
    end,
    Answered = [begin Socket = Ask(N), {200, _} = beamline_service_client:head(Socket), Socket end || N <- lists:seq(1, Max)],
    Waiting = Ask(next),
    ?assertEqual({error, timeout}, gen_tcp:recv(Waiting, 0, 200)),
    ?assertEqual(Max, beamline_service_listener:connections(?NAME)),
    [beamline_service_client:close(Socket) || Socket <- Answered],
    ?assertMatch({200, _}, beamline_service_client:head(Waiting)),
    beamline_service_client:close(Waiting).

?TEST(more_bytes_in_flight_than_allowed_is_503_before_they_are_read_test_, with(#{max_in_flight_bytes => 100}, fun(Port) ->
    ?assertMatch(#{<<"reason">> := <<"busy">>}, problem(503, relax(Port, "")))
end)).

?TEST(without_its_pool_the_service_is_not_ready_and_says_so_test_, with(#{pool => no_such_pool}, fun(Port) ->
    ?assertMatch(#{<<"reason">> := <<"closed">>}, problem(503, relax(Port, ""))),
    ?assertMatch({503, _, _}, get(Port, "/readyz")),
    ?assertMatch({200, _, _}, get(Port, "/healthz"))
end)).

%%% Streams

?TEST(progress_is_streamed_and_then_the_result_test_, with(fun(Port) ->
    Socket = open(Port, "/v1/relaxations?progress=10&fmax=1e-10", [?SSE], silicon(4)),
    {200, Headers} = beamline_service_client:head(Socket),
    ?assertEqual(<<"text/event-stream">>, maps:get(<<"content-type">>, Headers)),
    Events = beamline_service_client:events(Socket),
    Progress = [Data || {progress, Data} <- Events],
    ?assert(length(Progress) >= 1),
    Steps = [Step || #{<<"step">> := Step, <<"energy">> := E, <<"max_force">> := F} <- Progress, is_float(E), is_number(F)],
    ?assertEqual(length(Progress), length(Steps)),
    ?assertEqual(lists:usort(Steps), Steps),
    ?assertMatch({result, #{<<"atoms">> := 512}}, lists:last(Events)),
    beamline_service_client:close(Socket)
end)).

?TEST(a_failure_before_the_stream_has_its_own_status_test_, with(fun(Port) ->
    _ = problem(400, post(Port, "/v1/relaxations", [?SSE], <<"nonsense">>)),
    _ = problem(422, post(Port, "/v1/relaxations?fmax=x", [?SSE], silicon(1)))
end)).

?TEST(a_failure_inside_the_stream_is_its_last_event_test_, with(fun(Port) ->
    Socket = open(Port, "/v1/relaxations?timeout=2000&" ?ENDLESS, [?SSE], endless()),
    {200, _} = beamline_service_client:head(Socket),
    ?assertMatch({problem, #{<<"status">> := 504, <<"reason">> := <<"timeout">>}}, lists:last(beamline_service_client:events(Socket))),
    beamline_service_client:close(Socket)
end)).

?TEST(heartbeats_come_while_there_is_nothing_to_tell_test_, with(#{heartbeat => 30}, fun(Port) ->
    Socket = open(Port, "/v1/relaxations?timeout=20000&fmax=1e-300&max_steps=100000000&progress=60000", [?SSE], endless()),
    {200, _} = beamline_service_client:head(Socket),
    Events = [beamline_service_client:event(Socket) || _ <- lists:seq(1, 5)],
    ?assert(length([beat || beat <- Events]) >= 4),
    beamline_service_client:close(Socket)
end)).

?TEST(a_slow_reader_gets_the_newest_and_holds_up_nobody_test_, with(#{send_buffer => 2048}, fun(Port) ->
    Socket = open(Port, "/v1/relaxations?timeout=4000&" ?ENDLESS, [?SSE], endless(), [{recbuf, 2048}]),
    {200, _} = beamline_service_client:head(Socket),
    %% Nothing is read until the task is over.
    running(1),
    beamline_test:eventually(fun() -> quiet(beamline_runtime) end, 20000),
    Events = beamline_service_client:events(Socket),
    Steps = [Step || {progress, #{<<"step">> := Step}} <- Events],
    ?assertMatch({problem, #{<<"reason">> := <<"timeout">>}}, lists:last(Events)),
    %% 4 s of progress every 10 ms are 400 events; what the sockets hold is far less.
    ?assert(length(Steps) < 300),
    ?assertEqual(lists:usort(Steps), Steps),
    beamline_service_client:close(Socket)
end)).

%%% Going away

?TEST(a_client_that_goes_away_cancels_its_task_test_, with(fun(Port) ->
    Before = beamline_metrics:value(beamline_service_cancelled_total, [client]),
    [begin
        Socket = open(Port, "/v1/relaxations?timeout=50000&" ?ENDLESS, Headers, endless()),
        running(1),
        beamline_service_client:close(Socket),
        running(0)
     end || Headers <- [[], [?SSE]]],
    beamline_test:eventually(fun() -> beamline_metrics:value(beamline_service_cancelled_total, [client]) =:= Before + 2 end)
end)).

%% A large body uses up cowboy's default window; see beamline_service_listener.
?TEST(a_client_that_goes_away_after_a_large_body_is_noticed_too_test_, with(fun(Port) ->
    Body = silicon(20, 0.3),
    [begin
        Socket = open(Port, "/v1/relaxations?timeout=50000&" ?ENDLESS, [], Body),
        running(1),
        beamline_service_client:close(Socket),
        running(0)
     end || _ <- lists:seq(1, 5)]
end)).

?TEST(a_client_that_goes_away_while_it_sends_leaves_nothing_test_, with(fun(Port) ->
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send_raw(Socket, "POST /v1/relaxations HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nab"),
    beamline_test:eventually(fun() -> maps:get(count, beamline_service_gate:info(?NAME)) =:= 1 end),
    beamline_service_client:close(Socket),
    beamline_test:eventually(fun() -> maps:get(count, beamline_service_gate:info(?NAME)) =:= 0 end)
end)).

%%% Asynchronous tasks

start_task(Port, Query, Body) ->
    {202, #{<<"location">> := Location, <<"preference-applied">> := <<"respond-async">>}, _} = Answer =
        post(Port, "/v1/relaxations" ++ Query, [?ASYNC], Body),
    #{<<"id">> := Id, <<"state">> := <<"running">>} = json(Answer),
    ?assertEqual(32, byte_size(Id)),
    binary_to_list(Location).

task_state(Port, Task) ->
    {200, _, _} = Answer = get(Port, Task),
    binary_to_atom(maps:get(<<"state">>, json(Answer))).

?TEST(a_task_lives_from_202_to_410_test_, with(fun(Port) ->
    Task = start_task(Port, "", silicon(1)),
    beamline_test:eventually(fun() -> task_state(Port, Task) =:= done end, 10000),
    #{<<"result">> := #{<<"atoms">> := 8}, <<"created">> := _, <<"expires">> := _} = json(get(Port, Task)),
    ?assertMatch({200, _, <<>>}, request(Port, "HEAD", Task)),
    ?assertMatch([{result, #{<<"atoms">> := 8}}], task_events(Port, Task)),
    ?assertMatch({204, _, _}, request(Port, "DELETE", Task)),
    [_ = problem(410, Answer) || Answer <- [get(Port, Task), request(Port, "DELETE", Task), get(Port, Task ++ "/events")]],
    ok
end)).

task_events(Port, Task) ->
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send(Socket, "GET", Task ++ "/events", {[], <<>>}),
    {200, _} = beamline_service_client:head(Socket),
    Events = beamline_service_client:events(Socket),
    beamline_service_client:close(Socket),
    Events.

?TEST(a_task_that_never_was_is_404_test_, with(fun(Port) ->
    [_ = problem(404, get(Port, "/v1/tasks/" ++ Id)) || Id <- ["x", lists:duplicate(32, $A), lists:duplicate(31, $A) ++ "*", "%ff%fe"]],
    ok
end)).

?TEST(the_events_of_a_task_can_be_watched_by_many_test_, with(fun(Port) ->
    Task = start_task(Port, "?timeout=3000&" ?ENDLESS, endless()),
    Me = self(),
    [spawn_link(fun() -> Me ! {events, task_events(Port, Task)} end) || _ <- [1, 2, 3]],
    [receive
        {events, Events} ->
            ?assert(length([P || {progress, P} <- Events]) >= 3),
            ?assertMatch({problem, #{<<"reason">> := <<"timeout">>}}, lists:last(Events))
     end || _ <- [1, 2, 3]],
    ?assertEqual(failed, task_state(Port, Task)),
    ?assertMatch(#{<<"problem">> := #{<<"status">> := 504}}, json(get(Port, Task)))
end)).

?TEST(a_running_task_shows_its_progress_and_can_be_deleted_test_, with(fun(Port) ->
    Task = start_task(Port, "?timeout=50000&" ?ENDLESS, endless()),
    beamline_test:eventually(fun() -> is_map_key(<<"progress">>, json(get(Port, Task))) end),
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send(Socket, "GET", Task ++ "/events", {[], <<>>}),
    {200, _} = beamline_service_client:head(Socket),
    ?assertMatch({204, _, _}, request(Port, "DELETE", Task)),
    running(0),
    ?assertMatch({problem, #{<<"status">> := 410}}, lists:last(beamline_service_client:events(Socket))),
    beamline_service_client:close(Socket),
    _ = problem(410, get(Port, Task))
end)).

?TEST(a_client_that_goes_away_leaves_its_task_test_, with(fun(Port) ->
    Task = start_task(Port, "?timeout=3000&" ?ENDLESS, endless()),
    ?assertEqual(running, task_state(Port, Task)),
    beamline_test:eventually(fun() -> task_state(Port, Task) =:= failed end, 10000)
end)).

?TEST(a_result_expires_test_, with(#{task_ttl => 200}, fun(Port) ->
    Task = start_task(Port, "", silicon(1)),
    beamline_test:eventually(fun() -> status(get(Port, Task)) =:= 410 end, 10000),
    ?assertMatch(#{running := 0, finished := 0, bytes := 0}, beamline_service_store:info(?NAME))
end)).

?TEST(the_store_is_bounded_in_number_test_, with(#{max_tasks => 2}, fun(Port) ->
    [A, _] = [start_task(Port, "", silicon(1)) || _ <- [1, 2]],
    {503, #{<<"retry-after">> := _}, _} = Refused = post(Port, "/v1/relaxations", [?ASYNC], silicon(1)),
    ?assertMatch(#{<<"reason">> := <<"busy">>}, problem(503, Refused)),
    ?assertMatch({204, _, _}, request(Port, "DELETE", A)),
    _ = start_task(Port, "", silicon(1))
end)).

?TEST(the_store_is_bounded_in_bytes_test_, with(#{max_task_bytes => 20000}, fun(Port) ->
    Task = start_task(Port, "", silicon(1)),
    beamline_test:eventually(fun() -> task_state(Port, Task) =:= done end, 10000),
    #{bytes := Bytes} = beamline_service_store:info(?NAME),
    ?assert(Bytes > 0 andalso Bytes < 20000),
    _ = problem(503, post(Port, "/v1/relaxations", [?ASYNC], silicon(3)))
end)).

?TEST(watchers_are_bounded_test_, with(#{max_watchers => 1}, fun(Port) ->
    Task = start_task(Port, "?timeout=50000&" ?ENDLESS, endless()),
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send(Socket, "GET", Task ++ "/events", {[], <<>>}),
    {200, _} = beamline_service_client:head(Socket),
    _ = problem(503, get(Port, Task ++ "/events")),
    beamline_service_client:close(Socket),
    beamline_test:eventually(fun() -> maps:get(watchers, beamline_service_store:info(?NAME)) =:= 0 end),
    ?assertMatch({204, _, _}, request(Port, "DELETE", Task))
end)).

?TEST(a_task_whose_process_dies_is_a_failure_test_, with(fun(Port) ->
    Task = start_task(Port, "?timeout=50000&" ?ENDLESS, endless()),
    running(1),
    [{_, Pid, _, _}] = supervisor:which_children(beamline_service_sup:process(?NAME, task_sup)),
    exit(Pid, kill),
    beamline_test:eventually(fun() -> task_state(Port, Task) =:= failed end),
    ?assertMatch(#{<<"problem">> := #{<<"status">> := 500}}, json(get(Port, Task)))
end)).

?TEST(when_the_store_dies_its_tasks_end_and_are_forgotten_test_, with(fun(Port) ->
    Task = start_task(Port, "?timeout=50000&" ?ENDLESS, endless()),
    running(1),
    exit(whereis(beamline_service_sup:process(?NAME, store)), kill),
    running(0),
    beamline_test:eventually(fun() ->
        try status(get(beamline_service:port(?NAME), Task)) =:= 404 catch error:_ -> false end
    end, 10000)
end)).

%%% Watching the service

?TEST(health_and_readiness_test_, with(fun(Port) ->
    ?assertMatch(#{<<"status">> := <<"ok">>}, json(get(Port, "/healthz"))),
    ?assertMatch(#{<<"status">> := <<"ready">>}, json(get(Port, "/readyz"))),
    ?assertMatch({200, _, <<>>}, request(Port, "HEAD", "/readyz"))
end)).

?TEST(readiness_is_that_of_the_services_own_pool_test_, with_pool(#{}, #{}, fun(Port) ->
    ok = supervisor:terminate_child(beamline_sup, beamline_runtime),
    try ?assertMatch(#{<<"status">> := <<"ready">>}, json(get(Port, "/readyz")))
    after {ok, _} = supervisor:restart_child(beamline_sup, beamline_runtime) end
end)).

?TEST(a_field_of_strange_bytes_is_answered_with_a_problem_test_, with(fun(Port) ->
    Post = fun(Field) -> post(Port, "/v1/relaxations", [{Field, <<"text/", 255>>}], silicon(1)) end,
    _ = problem(415, Post("content-type")),
    _ = problem(415, Post("content-encoding")),
    _ = problem(400, Post("accept")),
    ?assertEqual(200, status(Post("prefer")))
end)).

?TEST(metrics_tell_what_happened_test_, with(fun(Port) ->
    200 = status(relax(Port, "")),
    422 = status(relax(Port, "?fmax=x")),
    _ = start_task(Port, "", silicon(1)),
    {200, #{<<"content-type">> := <<"text/plain; version=0.0.4; charset=utf-8">>}, Text} = get(Port, "/metrics"),
    ?assertEqual([], [Line || Line <- [
        "^beamline_service_requests_total\\{route=\"relaxations\",status=\"422\"\\} [1-9]",
        "^beamline_service_relaxations_total\\{outcome=\"done\"\\} [1-9]",
        "^beamline_service_relaxation_seconds_count [1-9]",
        "^beamline_service_refused_total\\{reason=\"invalid\"\\} [1-9]",
        "^beamline_service_tasks\\{service=\"service_under_test\",state=\"running\"\\} [01]",
        "^beamline_service_in_flight\\{service=\"service_under_test\"\\} [01]",
        "^beamline_service_connections\\{service=\"service_under_test\"\\} [1-9]",
        "^beamline_runtime_queued\\{pool=\"beamline_runtime\",priority=\"low\"\\} 0",
        "^beamline_runtime_answered_total\\{pool=\"beamline_runtime\",outcome=\"completed\"\\} [1-9]",
        "^beamline_runtime_run_seconds_bucket\\{pool=\"beamline_runtime\",le=\"\\+Inf\"\\} [1-9]",
        "^beamline_runtime_memory_bytes\\{pool=\"beamline_runtime\"\\} [0-9]"
        | vm_memory()], re:run(Text, Line, [multiline]) =:= nomatch]),
    {200, #{<<"content-type">> := <<"application/openmetrics-text", _/binary>>}, Open} =
        request(Port, "GET", "/metrics", [{"accept", "application/openmetrics-text; version=1.0.0"}], <<>>),
    ?assertEqual(<<"# EOF\n">>, binary:part(Open, byte_size(Open), -6))
end)).

%% A VM with +Mea min does not know it.
vm_memory() ->
    try erlang:memory(binary) of
        _ -> ["^beamline_vm_memory_bytes\\{kind=\"binary\"\\} [1-9]"]
    catch
        error:notsup -> []
    end.

promtool_has_nothing_to_say_test_() ->
    {timeout, 60, fun() ->
        Promtool = os:find_executable("promtool"),
        Promtool =:= false andalso beamline_test:skip("promtool is not installed"),
        with(fun(Port) ->
            200 = status(relax(Port, "")),
            {200, _, Text} = get(Port, "/metrics"),
            File = filename:join(beamline_test:scratch_dir("promtool"), "metrics.txt"),
            ok = file:write_file(File, Text),
            ?assertEqual("0\n", os:cmd(Promtool ++ " check metrics < '" ++ File ++ "'; echo $?"))
        end)
    end}.

%%% Stopping

?TEST(a_drain_waits_for_work_and_takes_no_more_test_, with(fun(Port) ->
    Kept = beamline_service_client:open(Port),
    beamline_service_client:send(Kept, "GET", "/readyz", {[], <<>>}),
    {200, Fields} = beamline_service_client:head(Kept),
    _ = beamline_service_client:body({Kept, Fields}),
    Work = open(Port, "/v1/relaxations?timeout=1000&" ?ENDLESS, [], endless()),
    running(1),
    Me = self(),
    spawn_link(fun() -> Me ! {drained, beamline_service:drain(?NAME, 10000)} end),
    beamline_test:eventually(fun() -> not maps:get(open, beamline_service_gate:info(?NAME)) end),
    beamline_test:eventually(fun() -> gen_tcp:connect({127, 0, 0, 1}, Port, []) =:= {error, econnrefused} end),
    %% Connections that exist are told.
    beamline_service_client:send(Kept, "GET", "/readyz", {[], <<>>}),
    {503, Fields2} = beamline_service_client:head(Kept),
    _ = beamline_service_client:body({Kept, Fields2}),
    beamline_service_client:send(Kept, "POST", "/v1/relaxations", {[], silicon(1)}),
    {503, #{<<"retry-after">> := _}} = beamline_service_client:head(Kept),
    %% Who was inside gets his answer.
    {504, _} = beamline_service_client:head(Work),
    receive {drained, Result} -> ?assertEqual(ok, Result) end,
    [beamline_service_client:close(S) || S <- [Kept, Work]]
end)).

?TEST(after_the_deadline_a_drain_cancels_and_says_so_to_everybody_test_, with(fun(Port) ->
    Work = open(Port, "/v1/relaxations?timeout=50000&" ?ENDLESS, [], endless()),
    Stream = open(Port, "/v1/relaxations?timeout=50000&" ?ENDLESS, [?SSE], endless()),
    {200, _} = beamline_service_client:head(Stream),
    _ = start_task(Port, "?timeout=50000&" ?ENDLESS, endless()),
    beamline_test:eventually(fun() -> maps:get(count, beamline_service_gate:info(?NAME)) =:= 3 end),
    %% Somebody is still sending his body, too.
    Sender = beamline_service_client:open(Port),
    beamline_service_client:send_raw(Sender, "POST /v1/relaxations HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nab"),
    beamline_test:eventually(fun() -> maps:get(count, beamline_service_gate:info(?NAME)) =:= 4 end),
    ?assertEqual({error, timeout}, beamline_service:drain(?NAME, 50)),
    ?assertMatch({503, _}, beamline_service_client:head(Sender)),
    {503, Fields} = beamline_service_client:head(Work),
    ?assertMatch(#{<<"reason">> := <<"closed">>}, problem(503, {503, Fields, beamline_service_client:body({Work, Fields})})),
    ?assertMatch({problem, #{<<"reason">> := <<"closed">>}}, lists:last(beamline_service_client:events(Stream))),
    ?assertEqual(#{open => false, count => 0, bytes => 0}, beamline_service_gate:info(?NAME)),
    [beamline_service_client:close(S) || S <- [Work, Stream, Sender]]
end)).

%% Its request was told to stop while the task was being made, and the task belonged to nobody yet.
?TEST(a_drain_cancels_a_task_that_is_just_being_made_test_, with(fun(Port) ->
    Store = beamline_service_sup:process(?NAME, store),
    ok = sys:suspend(Store),
    Socket = open(Port, "/v1/relaxations?timeout=50000&" ?ENDLESS, [?ASYNC], endless()),
    beamline_test:eventually(fun() -> {message_queue_len, 1} =:= process_info(whereis(Store), message_queue_len) end),
    Me = self(),
    spawn_link(fun() -> Me ! {drained, beamline_service:drain(?NAME, 0)} end),
    beamline_test:eventually(fun() -> not maps:get(open, beamline_service_gate:info(?NAME)) end),
    Gate = whereis(beamline_service_sup:process(?NAME, gate)),
    beamline_test:eventually(fun() -> cancels(Gate) end),
    ok = sys:resume(Store),
    {202, #{<<"location">> := Location}} = beamline_service_client:head(Socket),
    receive {drained, Result} -> ?assertEqual({error, timeout}, Result) end,
    {ok, #{state := failed, outcome := {error, closed}}} = beamline_service_store:lookup(?NAME, filename:basename(Location)),
    beamline_service_client:close(Socket)
end)).

cancels(Gate) -> element(5, sys:get_state(Gate)). % #state.cancelling

%% Nobody would see it, and nobody count it.
?TEST(a_task_whose_client_is_gone_before_it_is_made_is_not_made_test_, with(fun(_) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit(beamline_service_gate:enter(?NAME, 0)) end),
    {ok, Ticket} = receive {'DOWN', Monitor, process, Pid, Entered} -> Entered end,
    beamline_test:eventually(fun() -> maps:get(count, beamline_service_gate:info(?NAME)) =:= 0 end),
    Limits = #{timeout => 1000, max_timeout => 1000, max_memory_limit => infinity},
    {ok, Plan} = beamline_service_request:structure(inspect, #{query => []}, Limits),
    ?assertEqual({error, closed}, beamline_service_store:create(?NAME, Ticket, Plan, silicon(1))),
    ?assertMatch(#{running := 0, finished := 0, bytes := 0}, beamline_service_store:info(?NAME))
end)).

?TEST(stopping_the_service_cancels_what_runs_and_frees_the_port_test_, begin
    Port = with(fun(Port) ->
        Socket = open(Port, "/v1/relaxations?timeout=50000&" ?ENDLESS, [], endless()),
        running(1),
        exit(whereis(?NAME), shutdown),
        {503, _} = beamline_service_client:head(Socket),
        beamline_service_client:close(Socket),
        Port
    end),
    with(#{port => Port}, fun(Same) -> ?assertEqual(Port, Same) end)
end).

?TEST(a_listener_that_is_killed_comes_back_test_, begin
    ok = beamline_test:start(),
    {ok, Probe} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Free} = inet:port(Probe),
    ok = gen_tcp:close(Probe),
    with(#{port => Free}, fun(Port) ->
        exit(whereis(beamline_service_sup:process(?NAME, listener)), kill),
        beamline_test:eventually(fun() -> try status(get(Port, "/healthz")) =:= 200 catch error:_ -> false end end)
    end)
end).

%%% Starting

?TEST(only_the_loopback_is_bound_without_being_told_test_, begin
    ok = beamline_test:start(),
    ?assertMatch({error, {invalid, #{field := ip}}}, beamline_service:start_link(#{name => ?NAME, port => 0, ip => {0, 0, 0, 0}})),
    with(#{ip => {0, 0, 0, 0}, allow_remote => true}, fun(Port) -> 200 = status(get(Port, "/healthz")) end),
    {ok, Address} = with(fun(_) -> {ok, beamline_service:url(?NAME)} end),
    ?assertMatch(<<"http://127.0.0.1:", _/binary>>, Address)
end).

?TEST(bad_options_and_taken_ports_are_errors_test_, with(fun(Port) ->
    [?assertMatch({error, {invalid, #{field := Field}}}, beamline_service:start_link(Options)) || {Field, Options} <- [
        {prot, #{prot => 1}}, {port, #{port => 70000}}, {max_tasks, #{max_tasks => 0}}, {ip, #{ip => "127.0.0.1"}},
        {name, #{name => list_to_atom(lists:duplicate(250, $a))}}, {max_memory_limit, #{max_memory_limit => 1 bsl 63}},
        {max_inflated_bytes, #{max_inflated_bytes => (1 bsl 30) + 1}},
        {send_buffer, #{send_buffer => 1 bsl 31}} | [{Key, #{Key => 1 bsl 30}} || Key <- times()] ++
        [{prefix, #{prefix => P}}
         || P <- [<<"a">>, <<"/">>, <<"/a/">>, <<"/:a">>, <<"/[a]">>, <<"/[...]">>, <<"/a b">>, <<"/a?b">>, <<"/", 255>>]]]],
    process_flag(trap_exit, true),
    ?assertEqual({error, eaddrinuse}, beamline_service:start_link(#{name => another_service, port => Port})),
    receive {'EXIT', _, _} -> ok after 1000 -> ok end, % before OTP 26 it comes after the answer
    process_flag(trap_exit, false)
end)).

times() -> [body_timeout, timeout, max_timeout, task_ttl, heartbeat, send_timeout, drain_timeout].

?TEST(the_longest_times_are_taken_test_, with(maps:from_list([{Key, 16#3FFFFFFF} || Key <- times(), Key =/= drain_timeout]), fun(Port) ->
    [?assertEqual(Status, status(post(Port, "/v1/relaxations", Fields, silicon(1))))
     || {Status, Fields} <- [{200, []}, {202, [?ASYNC]}, {200, [?SSE]}]]
end)).

?TEST(wrong_arguments_raise_badarg_and_hurt_nobody_test_, with(fun(Port) ->
    [?assertError(badarg, apply(beamline_service, F, Args)) || {F, Args} <- [
        {start_link, [[]]}, {child_spec, [[]]}, {routes, [[]]}, {protocol_options, [none]}, {drain, ["name"]},
        {drain, [?NAME, -1]}, {drain, [?NAME, infinity]}, {drain, [?NAME, 1 bsl 40]}]],
    ?assertEqual({error, closed}, beamline_service:drain(no_such_service)),
    ?assertEqual({error, closed}, beamline_service:drain(no_such_service, 0)),
    ?assertEqual(200, status(get(Port, "/readyz"))),
    ?assertEqual(ok, beamline_service:drain(?NAME, 0)),
    ?assertEqual(undefined, beamline_service:url(?NAME))
end)).

?TEST(the_routes_serve_inside_a_users_own_cowboy_test_, with(#{listener => false, prefix => <<"/beam">>}, fun(none) ->
    {ok, _} = application:ensure_all_started(cowboy),
    Options = #{name => ?NAME, listener => false, prefix => <<"/beam">>},
    Dispatch = cowboy_router:compile([{'_', beamline_service:routes(Options)}]),
    {ok, _} = cowboy:start_clear(users_own, [{ip, {127, 0, 0, 1}}, {port, 0}],
                                 (beamline_service:protocol_options(Options))#{env => #{dispatch => Dispatch}}),
    try
        Port = ranch:get_port(users_own),
        ?assertEqual(200, status(post(Port, "/beam/v1/relaxations", silicon(1)))),
        ?assertEqual(200, status(get(Port, "/beam/readyz"))),
        {202, #{<<"location">> := <<"/beam/v1/tasks/", _/binary>> = Location}, _} =
            post(Port, "/beam/v1/relaxations", [?ASYNC], silicon(1)),
        beamline_test:eventually(fun() -> task_state(Port, binary_to_list(Location)) =:= done end, 10000),
        ?assertEqual(ok, beamline_service:drain(?NAME, 5000)),
        ?assertEqual(503, status(get(Port, "/beam/readyz")))
    after
        cowboy:stop_listener(users_own)
    end
end)).

%%% HTTP/2

http2_streams_progress_and_the_result_test_() ->
    {timeout, 60, fun() ->
        Curl = program("curl"),
        (Curl =/= false andalso string:find(os:cmd(Curl ++ " --version"), "HTTP2") =/= nomatch)
            orelse beamline_test:skip("no curl with HTTP/2 is installed"),
        with(fun(_) ->
            Text = command([Curl, " -siN --http2-prior-knowledge -H 'accept: text/event-stream' --data-binary @'",
                            file(silicon(2)), "' ", url()]),
            ?assertMatch("HTTP/2 200" ++ _, Text),
            ?assertNotEqual(nomatch, string:find(Text, "event: progress")),
            ?assertNotEqual(nomatch, string:find(Text, "event: result"))
        end)
    end}.

http2_answers_many_streams_of_one_connection_test_() ->
    {timeout, 60, fun() ->
        H2load = program("h2load"),
        H2load =:= false andalso beamline_test:skip("h2load is not installed (Debian: nghttp2-client)"),
        with(fun(_) ->
            Text = command([H2load, " -n 200 -c 2 -m 16 -H 'accept: text/event-stream' -d '", file(silicon(1)), "' ", url()]),
            ?assertNotEqual(nomatch, string:find(Text, "200 succeeded, 0 failed, 0 errored, 0 timeout"))
        end)
    end}.

file(Text) ->
    File = filename:join(beamline_test:scratch_dir("http2"), "silicon.poscar"),
    ok = file:write_file(File, Text),
    File.

url() -> ["'", beamline_service:url(?NAME), "/v1/relaxations?progress=10'"].

%% Without the sanitizers' libraries, which make test-san loads into every program.
program(Name) ->
    case os:find_executable(Name) of
        false -> false;
        Path -> "env -u LD_PRELOAD " ++ Path
    end.

command(Parts) -> os:cmd(binary_to_list(iolist_to_binary(Parts))).

%%% Structures

-define(PYRITE, "data_pyrite\n_cell_length_a 5.416\n_cell_length_b 5.416\n_cell_length_c 5.416\n_symmetry_space_group_name_H-M 'P a -3'\n"
                "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nFe1 0 0 0\nS1 .385 .385 .385\n").

-define(SILICON_CELL, "silicon\n5.431\n1 0 0\n0 1 0\n0 0 1\nSi\n8\nDirect\n0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n"
                      ".25 .25 .25\n.25 .75 .75\n.75 .25 .75\n.75 .75 .25\n").

stability_is_told_with_elastic_constants_test() ->
    with(fun(Port) ->
        #{<<"verdict">> := <<"unknown">>, <<"elastic">> := #{<<"stable">> := true, <<"relaxed">> := [[C11 | _] | _], <<"bulk_hill">> := B},
          <<"gates">> := Gates, <<"atoms">> := 8} = json(post(Port, "/v1/stability", <<?SILICON_CELL>>)),
        ?assert(abs(C11 - 151.42) < 0.1 andalso abs(B - 101.42) < 0.1),
        ?assertMatch([true], [Pass || #{<<"name">> := <<"elastic">>, <<"pass">> := Pass} <- Gates]),
        ?assertNot(is_map_key(<<"elastic">>, json(post(Port, "/v1/stability?elastic=false", <<?SILICON_CELL>>)))),
        ?assertMatch(#{<<"field">> := <<"level">>}, problem(422, post(Port, "/v1/stability?level=tight", <<?SILICON_CELL>>)))
    end).

a_cell_is_relaxed_under_pressure_test() ->
    with(fun(Port) ->
        #{<<"cell_relaxed">> := true, <<"pressure_gpa">> := P, <<"max_stress">> := Stress, <<"passed">> := true,
          <<"elastic">> := #{<<"stable">> := true}} =
            json(post(Port, "/v1/relaxations?pressure=2&smax=0.001&method=lbfgs&elastic=true", <<?SILICON_CELL>>)),
        ?assert(abs(P - 2) < 1.1e-3 andalso Stress =< 1.0e-3),
        #{<<"cell_relaxed">> := false} = json(post(Port, "/v1/relaxations?cell=fixed", <<?SILICON_CELL>>)),
        ?assertMatch(#{<<"field">> := <<"stress">>}, problem(422, post(Port, "/v1/relaxations?cell=fixed&pressure=1", <<?SILICON_CELL>>)))
    end).

-define(BLOCK(Name, Symbol, X),
        "data_" Name "\n_cell_length_a 5\n_cell_length_b 5\n_cell_length_c 5\nloop_\n_atom_site_label\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n" Symbol " 0 0 " X "\n").

one_structure_of_a_file_is_chosen_test() ->
    with(fun(Port) ->
        Two = <<?BLOCK("a", "Ar", "0") ?BLOCK("bad", "Ar", "nought") ?BLOCK("c", "Kr", "0")>>,
        #{<<"structures">> := [_, #{<<"composition">> := #{<<"Kr">> := 1}}], <<"warnings">> := Warnings,
          <<"refused">> := [#{<<"block">> := <<"bad">>, <<"line">> := 11,
                              <<"reason">> := #{<<"reason">> := <<"syntax">>, <<"line">> := 20}}]} =
            json(post(Port, "/v1/structures/inspect", Two)),
        ?assertMatch([_], [W || W <- Warnings, binary:match(W, <<"left out">>) =/= nomatch]),
        #{<<"field">> := <<"frame">>, <<"why">> := Why} = problem(422, post(Port, "/v1/relaxations", Two)),
        ?assertNotEqual(nomatch, binary:match(Why, <<"(blocks a, c)">>)),
        #{<<"composition">> := #{<<"Kr">> := 1}, <<"warnings">> := [<<"structure 2 of 2 (block c) is taken">> | _]} =
            json(post(Port, "/v1/relaxations?level=none&frame=2", Two)),
        #{<<"composition">> := #{<<"Ar">> := 1}} = json(post(Port, "/v1/relaxations?level=none&block=a", Two)),
        _ = problem(400, post(Port, "/v1/relaxations?block=bad", Two)),
        [?assertMatch(#{<<"field">> := <<"frame">>}, problem(422, post(Port, "/v1/structures/convert?frame=" ++ N, Two)))
         || N <- ["0", "3"]]
    end).

structures_are_inspected_converted_and_searched_test() ->
    with(fun(Port) ->
        Inspected = post(Port, "/v1/structures/inspect", <<?PYRITE>>),
        ?assertMatch(#{<<"format">> := <<"cif">>, <<"structures">> := [#{<<"atoms">> := 12, <<"rows">> := 2, <<"block">> := <<"pyrite">>,
            <<"symmetry">> := #{<<"number">> := 205, <<"operations">> := 24}}]}, json(Inspected)),
        Converted = post(Port, "/v1/structures/convert?output=poscar", zlib:gzip(<<?PYRITE>>)),
        #{<<"structure">> := #{<<"format">> := <<"poscar">>, <<"text">> := Poscar}} = json(Converted),
        ?assertMatch({ok, #{structures := [#{types := <<_:(12 * 32)>>}]}}, beamline_crystal:parse(Poscar)),
        _ = problem(422, post(Port, "/v1/structures/inspect?fmax=1", <<?PYRITE>>)),
        _ = problem(400, post(Port, "/v1/structures/inspect", <<"data_x\n_a 'b\n">>)),
        ?assertMatch(#{<<"field">> := <<"setting">>}, problem(422, post(Port, "/v1/structures/inspect?setting=Q%203", <<?PYRITE>>))),
        case post(Port, "/v1/structures/symmetry?symprec=1e-4", Poscar) of
            {501, _, _} -> ok; % spglib is not installed
            Found -> ?assertMatch(#{<<"number">> := 205, <<"wyckoff">> := _}, json(Found))
        end
    end).
