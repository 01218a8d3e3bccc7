%% SPDX-License-Identifier: Apache-2.0
%% @private What the handlers share: answers, the request's body, and a stream of events.
-module(beamline_service_http).

-export([allow/2, accept/2, input/1, reply/4, reply_json/5, reply_problem/3, read_body/3]).
-export([outlive/1, open_stream/2, flush/2]).

-define(JSON, <<"application/json">>).

%% Throws a problem unless the method is one of those; the text goes into `Allow'.
-spec allow([binary()], cowboy_req:req()) -> binary().
allow(Methods, Req) ->
    Method = cowboy_req:method(Req),
    lists:member(Method, Methods) orelse throw({problem, {method_not_allowed, lists:join(", ", Methods)}}),
    Method.

%% The type to answer with; throws where none fits.
-spec accept([{binary(), binary()}], cowboy_req:req()) -> {binary(), binary()}.
accept(Offers, Req) ->
    case beamline_service_request:answer_type(Offers, parsed(fun() -> cowboy_req:parse_header(<<"accept">>, Req) end, <<"Accept">>)) of
        {ok, Type} -> Type;
        {error, Reason} -> throw({problem, Reason})
    end.

-spec input(cowboy_req:req()) -> beamline_service_request:input().
input(Req) ->
    #{query => parsed(fun() -> cowboy_req:parse_qs(Req) end, <<"query">>),
      content_type => cowboy_req:header(<<"content-type">>, Req),
      content_encoding => cowboy_req:header(<<"content-encoding">>, Req),
      priority => cowboy_req:header(<<"priority">>, Req)}.

parsed(Parse, What) ->
    try Parse()
    catch exit:{request_error, _, _} -> throw({problem, {syntax, #{expected => <<"a well-formed ", What/binary>>}}}) end.

%% Every answer with a whole body. Who wants to know its digest is told (RFC 9530).
-spec reply(100..599, #{binary() => iodata()}, iodata(), cowboy_req:req()) -> cowboy_req:req().
reply(Status, Fields, Body, Req) ->
    case beamline_sfv_digest:choose(cowboy_req:header(<<"want-content-digest">>, Req)) of
        none -> cowboy_req:reply(Status, Fields, Body, Req);
        Algorithm ->
            {ok, Digest} = beamline_sfv_digest:format([Algorithm], Body),
            cowboy_req:reply(Status, Fields#{<<"content-digest">> => Digest}, Body, Req)
    end.

-spec reply_json(200..299, #{binary() => iodata()}, term(), atom(), cowboy_req:req()) -> cowboy_req:req().
reply_json(Status, Fields, Term, Route, Req) ->
    beamline_service_metrics:request(Route, Status),
    reply(Status, Fields#{<<"content-type">> => ?JSON, <<"cache-control">> => <<"no-store">>}, beamline_service_json:encode(Term), Req).

-spec reply_problem(beamline_service_problem:reason(), atom(), cowboy_req:req()) -> cowboy_req:req().
reply_problem(Reason, Route, Req) ->
    {Status, Fields, Body} = beamline_service_problem:from(Reason),
    beamline_service_metrics:request(Route, Status),
    Own = #{<<"content-type">> => <<"application/problem+json">>, <<"cache-control">> => <<"no-store">>},
    Headers = maps:merge(closing(Req), maps:merge(Fields, Own)),
    reply(Status, Headers, beamline_service_json:encode(Body), Req).

%% A body that nobody reads would stand before the connection's next request.
closing(#{version := 'HTTP/1.1', has_body := true} = Req) when not is_map_key(body_was_read, Req) ->
    #{<<"connection">> => <<"close">>};
closing(_) -> #{}.

%%% The body

%% Reads at most `max' bytes within `timeout' ms. Whoever sends more than he announced is asked
%% for: `Grow' is called before each further mebibyte. Not cowboy_req:read_body, which takes its
%% period and timeout per part of the body.
-spec read_body(#{max := pos_integer(), timeout := pos_integer(), announced := non_neg_integer()},
                fun((pos_integer()) -> ok | {error, term()}), cowboy_req:req()) -> {binary(), cowboy_req:req()}.
read_body(#{max := Max, timeout := TimeoutMs, announced := Announced}, Grow, Req) ->
    case cowboy_req:has_body(Req) of
        false -> {<<>>, Req};
        true ->
            Deadline = erlang:monotonic_time(millisecond) + TimeoutMs,
            Body = read_more([], #{max => Max, size => 0, granted => Announced, grow => Grow}, Deadline, Req),
            {iolist_to_binary(Body), Req#{body_was_read => true}}
    end.

read_more(Parts, Budget, Deadline, Req) ->
    Ref = make_ref(),
    cowboy_req:cast({read_body, self(), Ref, 1, 16#ffffffff}, Req),
    receive
        {request_body, Ref, nofin, Data} -> read_more([Parts, Data], spend(Data, Budget), Deadline, Req);
        {request_body, Ref, fin, _, Data} ->
            _ = spend(Data, Budget),
            [Parts, Data];
        {beamline_service_gate, cancel} -> throw({problem, closed})
    after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
        throw({problem, slow_body})
    end.

spend(Data, #{max := Max, size := Size} = Budget) ->
    case Size + byte_size(Data) of
        Total when Total > Max -> throw({problem, {limit, #{what => body, limit => Max, asked => Total}}});
        Total -> grant(Budget#{size := Total})
    end.

grant(#{size := Size, granted := Granted, grow := Grow} = Budget) when Size > Granted ->
    case Grow(1048576) of
        ok -> grant(Budget#{granted := Granted + 1048576});
        {error, Reason} -> throw({problem, Reason})
    end;
grant(Budget) -> Budget.

%%% Streams

%% The connection shall live as long as this request: its idle timeout counts received bytes
%% only, and its inactivity timeout needs a message now and then (any will do).
-spec outlive(cowboy_req:req()) -> ok.
outlive(Req) -> cowboy_req:cast({set_options, #{idle_timeout => infinity}}, Req).

%% On cowboy 2.8 a connection keeps the infinite idle timeout after a stream: so close it.
-spec open_stream(atom(), cowboy_req:req()) -> cowboy_req:req().
open_stream(Route, Req) ->
    beamline_service_metrics:request(Route, 200),
    Close = case cowboy_req:version(Req) of 'HTTP/2' -> #{}; _ -> #{<<"connection">> => <<"close">>} end,
    cowboy_req:stream_reply(200, Close#{<<"content-type">> => <<"text/event-stream">>, <<"cache-control">> => <<"no-store">>,
                                        <<"x-accel-buffering">> => <<"no">>}, Req).

%% Sends what the stream has to send now. cowboy acknowledges with `{data_ack, _}', which the
%% caller passes to beamline_service_sse:taken/1. `done': the last event is on its way.
-spec flush(beamline_service_sse:state(), cowboy_req:req()) -> {open | done, beamline_service_sse:state()}.
flush(Stream, Req) ->
    case beamline_service_sse:next(erlang:monotonic_time(millisecond), Stream) of
        {send, Data, IsFin, Sent} ->
            beamline_service_metrics:event_sent(),
            cowboy_req:cast({data, self(), IsFin, Data}, Req),
            {case IsFin of fin -> done; nofin -> open end, Sent};
        {wait, Waiting} -> {open, Waiting}
    end.
