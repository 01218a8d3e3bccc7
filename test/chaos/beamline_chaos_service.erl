%% SPDX-License-Identifier: Apache-2.0
%%
%% Faults that clients of the HTTP service make: uploads that break off, garbage, readers that do not read, crowds.
-module(beamline_chaos_service).
-include_lib("stdlib/include/assert.hrl").

-export([truncated/0, garbage/0, slow_readers/0, connections/0]).

-import(beamline_chaos, [size/2, at_once/2]).
-import(beamline_service_client, [post/3, get/2]).

-define(NAME, chaos_service).
-define(PATH, "/v1/relaxations").
-define(SSE, {"accept", "text/event-stream"}).
%% Never converges.
-define(ENDLESS, ?PATH "?fmax=1e-300&max_steps=100000000&progress=10").

with(Options, Fun) ->
    beamline_test:start(),
    {ok, Service} = beamline_service:start_link(maps:merge(#{name => ?NAME, port => 0, drain_timeout => 0}, Options)),
    unlink(Service),
    Port = beamline_service:port(?NAME),
    try
        Fun(Port),
        beamline_test:eventually(fun is_idle/0, 20_000),
        {200, _, _} = post(Port, ?PATH, silicon(1))
    after
        Monitor = monitor(process, Service),
        exit(Service, shutdown),
        receive {'DOWN', Monitor, process, Service, _} -> ok end
    end.

is_idle() ->
    #{count := Count, bytes := Bytes} = beamline_service_gate:info(?NAME),
    Count + Bytes =:= 0 andalso beamline_chaos:is_empty(beamline_runtime:info()).

%% Silicon, N x N x N cells of eight atoms, some moved.
silicon(N) ->
    A = 5.431,
    Sites = [{0, 0, 0}, {0, 2, 2}, {2, 0, 2}, {2, 2, 0}, {1, 1, 1}, {1, 3, 3}, {3, 1, 3}, {3, 3, 1}],
    Cells = lists:seq(0, N - 1),
    Atoms = [{X + I / 4 + 0.02 * math:sin(I + X), Y + J / 4, Z + K / 4} || X <- Cells, Y <- Cells, Z <- Cells, {I, J, K} <- Sites],
    Lines = [io_lib:format("~.12f ~.12f ~.12f~n", [X / N, Y / N, Z / N]) || {X, Y, Z} <- Atoms],
    L = N * A,
    Head = io_lib:format("silicon~n1.0~n~f 0 0~n0 ~f 0~n0 0 ~f~nSi~n~b~nDirect~n", [L, L, L, length(Atoms)]),
    iolist_to_binary([Head, Lines]).

%% ---- uploads that break off anywhere ----

truncated() ->
    Body = silicon(2),
    Head = ["POST " ?PATH " HTTP/1.1\r\nhost: x\r\n", length_of(byte_size(Body)), "\r\n\r\n"],
    Request = iolist_to_binary([Head, Body]),
    Step = max(1, byte_size(Request) div size(100, 2000)),
    with(#{}, fun(Port) ->
        [begin
            Socket = beamline_service_client:open(Port),
            _ = gen_tcp:send(Socket, binary:part(Request, 0, Bytes)),
            gen_tcp:close(Socket)
         end || Bytes <- lists:seq(1, byte_size(Request) - 1, Step)],
        %% A file that ends too early comes whole.
        [?assertMatch({Status, _, _} when Status >= 400, post(Port, ?PATH, binary:part(Body, 0, Bytes)))
         || Bytes <- lists:seq(0, byte_size(Body) - 60, 10 * Step)]
    end).

%% ---- a hundred megabytes of anything ----

garbage() ->
    Seed = beamline_test:seed(),
    {Block, _} = rand:bytes_s(1 bsl 20, rand:seed_s(exsss, Seed)),
    Blocks = size(20, 100),
    with(#{}, fun(Port) ->
        %% Refused from its length, and while it comes in pieces without one.
        ?assertEqual(413, status_of(upload(Port, length_of(Blocks bsl 20), fun(Data) -> Data end, Block, Blocks))),
        Chunk = fun(Data) -> [integer_to_list(byte_size(Data), 16), "\r\n", Data, "\r\n"] end,
        ?assertEqual(413, status_of(upload(Port, "transfer-encoding: chunked", Chunk, Block, Blocks))),
        %% What is no request at all.
        at_once(4, fun(_) -> upload_raw(Port, Block, Blocks) end)
    end),
    with(#{max_body_bytes => 128 bsl 20}, fun(Port) ->
        %% Small enough to be read, and then it is no structure.
        {Status, _, _} = post(Port, ?PATH, binary:copy(Block, Blocks)),
        ?assertEqual(400, Status)
    end).

length_of(Bytes) -> "content-length: " ++ integer_to_list(Bytes).

%% `refused' where the other end hung up before its answer could be read.
upload(Port, Field, Encode, Block, Blocks) ->
    Socket = beamline_service_client:open(Port),
    beamline_service_client:send_raw(Socket, ["POST " ?PATH " HTTP/1.1\r\nhost: x\r\n", Field, "\r\n\r\n"]),
    send_while_taken(Socket, Encode(Block), Blocks),
    Answer = gen_tcp:recv(Socket, 0, 30_000),
    gen_tcp:close(Socket),
    Answer.

status_of({ok, {http_response, _, Status, _}}) -> Status;
status_of({error, closed}) -> 413; % reset: what it had said is lost
status_of({error, econnreset}) -> 413.

upload_raw(Port, Block, Blocks) ->
    Socket = beamline_service_client:open(Port, [{packet, raw}]),
    send_while_taken(Socket, Block, Blocks),
    gen_tcp:close(Socket).

send_while_taken(_, _, 0) ->
    ok;
send_while_taken(Socket, Data, N) ->
    case gen_tcp:send(Socket, Data) of
        ok -> send_while_taken(Socket, Data, N - 1);
        {error, _} -> refused
    end.

%% ---- readers that do not read ----

slow_readers() ->
    N = size(20, 200),
    with(#{send_buffer => 2048, send_timeout => 2000}, fun(Port) ->
        Sockets = [open_stream(Port, 3000) || _ <- lists:seq(1, N)],
        %% Others are served meanwhile.
        ?assertMatch({200, _, _}, post(Port, ?PATH ++ "?priority=high", silicon(1))),
        beamline_test:eventually(fun is_idle/0, 60_000),
        lists:foreach(fun gen_tcp:close/1, Sockets),
        %% And some that go away in the middle.
        Gone = [open_stream(Port, 60_000) || _ <- lists:seq(1, N)],
        lists:foreach(fun gen_tcp:close/1, Gone)
    end).

open_stream(Port, TimeoutMs) ->
    Socket = beamline_service_client:open(Port, [{recbuf, 2048}]),
    beamline_service_client:send(Socket, "POST", ?ENDLESS ++ "&timeout=" ++ integer_to_list(TimeoutMs), {[?SSE], silicon(2)}),
    Socket.

%% ---- a thousand connections ----

connections() ->
    N = size(200, 1000),
    with(#{max_connections => 2 * N, max_in_flight => N}, fun(Port) ->
        Idle = [beamline_service_client:open(Port) || _ <- lists:seq(1, N)],
        ?assertMatch({200, _, _}, get(Port, "/healthz")),
        [beamline_service_client:send(Socket, "POST", ?PATH, {[], silicon(1)}) || Socket <- Idle],
        Statuses = [element(1, beamline_service_client:head(Socket)) || Socket <- Idle],
        ?assertEqual([200], lists:usort(Statuses)),
        lists:foreach(fun gen_tcp:close/1, Idle)
    end),
    %% More than are allowed: those beyond it wait, are refused or come later; nobody is lost.
    with(#{max_connections => N div 4, max_in_flight => 8}, fun(Port) ->
        at_once(N, fun(_) ->
            {Status, _, _} = post(Port, ?PATH, silicon(1)),
            ?assert(lists:member(Status, [200, 503]))
        end)
    end).
