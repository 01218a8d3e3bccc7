%% SPDX-License-Identifier: Apache-2.0
%% A plain HTTP/1.1 client for tests: one request per connection, and the socket in the hands of
%% the test, so that it can read slowly or go away.
-module(beamline_service_client).

-export([request/3, request/5, get/2, post/3, post/4, json/1]).
-export([open/1, open/2, send/4, send_raw/2, head/1, body/1, chunk/1, close/1, events/1, event/1]).

-define(TIMEOUT_MS, 30000).

%% {Status, Headers, Body}; header names are lower-case binaries.
get(Port, Path) -> request(Port, "GET", Path).

post(Port, Path, Body) -> post(Port, Path, [], Body).

post(Port, Path, Headers, Body) -> request(Port, "POST", Path, Headers, Body).

request(Port, Method, Path) -> request(Port, Method, Path, [], <<>>).

request(Port, Method, Path, Headers, Body) ->
    Socket = open(Port),
    send(Socket, Method, Path, {Headers, Body}),
    {Status, Fields} = head(Socket),
    Answer = case Method of "HEAD" -> <<>>; _ -> body({Socket, Fields}) end,
    close(Socket),
    {Status, Fields, Answer}.

json({_, _, Body}) -> beamline_service_json:decode(Body).

open(Port) -> open(Port, []).

open(Port, Options) ->
    All = [binary, {active, false}, {nodelay, true}, {packet, http_bin} | Options],
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, All, ?TIMEOUT_MS),
    Socket.

send(Socket, Method, Path, {Headers, Body}) ->
    Length = case Method of "POST" -> [{"content-length", integer_to_list(iolist_size(Body))}]; _ -> [] end,
    Fields = [[Name, ": ", Value, "\r\n"] || {Name, Value} <- [{"host", "localhost"} | Length ++ Headers]],
    send_raw(Socket, [Method, " ", Path, " HTTP/1.1\r\n", Fields, "\r\n", Body]).

send_raw(Socket, Data) -> ok = gen_tcp:send(Socket, Data).

head(Socket) ->
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    {ok, {http_response, _, Status, _}} = gen_tcp:recv(Socket, 0, ?TIMEOUT_MS),
    {Status, fields(Socket, #{})}.

fields(Socket, Fields) ->
    case gen_tcp:recv(Socket, 0, ?TIMEOUT_MS) of
        {ok, {http_header, _, Name, _, Value}} -> fields(Socket, Fields#{name(Name) => Value});
        {ok, http_eoh} -> ok = inet:setopts(Socket, [{packet, raw}]), Fields
    end.

name(Name) when is_atom(Name) -> name(atom_to_binary(Name));
name(Name) -> string:lowercase(Name).

body({_, #{<<"content-length">> := <<"0">>}}) -> <<>>;
body({Socket, #{<<"content-length">> := Length}}) ->
    {ok, Body} = gen_tcp:recv(Socket, binary_to_integer(Length), ?TIMEOUT_MS),
    Body;
body({Socket, #{<<"transfer-encoding">> := <<"chunked">>}}) -> iolist_to_binary(chunks(Socket));
body(_) -> <<>>.

chunks(Socket) ->
    case chunk(Socket) of
        last -> [];
        Data -> [Data | chunks(Socket)]
    end.

%% One chunk, or `last', or `{error, Reason}'.
chunk(Socket) ->
    ok = inet:setopts(Socket, [{packet, line}]),
    case gen_tcp:recv(Socket, 0, ?TIMEOUT_MS) of
        {ok, Line} ->
            ok = inet:setopts(Socket, [{packet, raw}]),
            Size = binary_to_integer(string:trim(Line), 16),
            {ok, Data} = gen_tcp:recv(Socket, Size + 2, ?TIMEOUT_MS),
            case Size of 0 -> last; _ -> binary:part(Data, 0, Size) end;
        Error -> Error
    end.

close(Socket) -> gen_tcp:close(Socket).

%% All events of a stream: {Name, Data} and `beat'. cowboy sends each event in a chunk of its own.
events(Socket) ->
    case event(Socket) of
        last -> [];
        Event -> [Event | events(Socket)]
    end.

event(Socket) ->
    case chunk(Socket) of
        <<":\n\n">> -> beat;
        <<"event: ", Rest/binary>> ->
            [Name, <<"data: ", Data/binary>>, <<>>, <<>>] = binary:split(Rest, <<"\n">>, [global]),
            {binary_to_atom(Name), beamline_service_json:decode(Data)};
        Other -> Other
    end.
