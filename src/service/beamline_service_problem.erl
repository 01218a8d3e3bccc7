%% SPDX-License-Identifier: Apache-2.0
%% @private A failure as an HTTP answer: status, extra fields, and the members of an
%% application/problem+json (RFC 9457). Pure. The table stands in doc/service.md.
-module(beamline_service_problem).

-export([from/1, status/1]).
-export_type([reason/0, problem/0]).

%% What Beamline's parts answer (doc/design.md, Failures), and what only HTTP knows.
-type reason() :: atom() | {atom(), term()}.
-type problem() :: {Status :: 400..599, Fields :: #{binary() => iodata()}, Body :: map()}.

-spec status(reason()) -> 400..599.
status(Reason) ->
    {Status, _, _} = from(Reason),
    Status.

-spec from(reason()) -> problem().
from(Reason) ->
    {Status, Title, Detail, Members} = describe(Reason),
    Name = name(Reason),
    {Status, fields(Reason), Members#{type => <<"urn:beamline:problem:", (atom_to_binary(Name))/binary>>,
                                      reason => Name, status => Status, title => Title, detail => line(Detail)}}.

name({Name, _}) when is_atom(Name) -> Name;
name(Name) when is_atom(Name) -> Name;
name(_) -> internal.

fields({busy, Ms}) -> #{<<"retry-after">> => retry_after(Ms)};
fields(closed) -> #{<<"retry-after">> => <<"1">>};
fields({method_not_allowed, Allow}) -> #{<<"allow">> => Allow};
fields({unsupported_media_type, {encoding, _}}) -> #{<<"accept-encoding">> => <<"identity">>};
fields(_) -> #{}.

%% Whole seconds, rounded up, at least one.
retry_after(Ms) -> integer_to_binary(max(1, (Ms + 999) div 1000)).

%% {Status, Title, Detail, Members}
describe({busy, Ms}) ->
    {503, <<"Busy">>, ["A bound is reached. Try again in ", integer_to_list(Ms), " ms."], #{retry_after_ms => Ms}};
describe(closed) -> {503, <<"Not accepting work">>, "The service is stopping or its pool is closed.", #{}};
describe(timeout) -> {504, <<"Deadline passed">>, "The task did not end within its timeout.", #{}};
describe(cancelled) -> {503, <<"Cancelled">>, "The task was cancelled.", #{}};
describe(no_memory) -> {503, <<"No memory">>, "The operating system refused memory.", #{}};
describe({limit, #{what := body} = M}) -> {413, <<"Body too large">>, limit_text(M), members(M)};
describe({limit, M}) -> {422, <<"Limit exceeded">>, limit_text(M), members(M)};
describe({syntax, M}) -> {400, <<"Malformed input">>, [place(M), expected(M)], members(M)};
describe({invalid, M}) -> {422, <<"Invalid input">>, invalid_text(M), members(M)};
describe({unsupported, What}) -> {501, <<"Not available here">>, [text(What), " is not available on this node."], #{what => member(What)}};
describe({trap, M}) -> {500, <<"Guest trapped">>, text(M), #{}};
describe({host_exited, Why}) -> {503, <<"Isolated process ended">>, text(Why), #{}};
describe({device_failed, Why}) -> {503, <<"Device failed">>, text(Why), #{}};
describe(not_found) -> {404, <<"Not found">>, "There is nothing at this address.", #{}};
describe(gone) -> {410, <<"Gone">>, "The task has been deleted, or its time to live is over.", #{}};
describe({method_not_allowed, Allow}) -> {405, <<"Method not allowed">>, ["Allowed: ", Allow, "."], #{}};
describe({not_acceptable, Offers}) -> {406, <<"Not acceptable">>, ["Available: ", Offers, "."], #{}};
describe({unsupported_media_type, {encoding, E}}) ->
    {415, <<"Unsupported content encoding">>, ["Content-Encoding ", E, " is not understood; send the file as it is."], #{}};
describe({unsupported_media_type, {type, T}}) ->
    {415, <<"Unsupported media type">>, [T, " is not a known structure format; use chemical/x-poscar, chemical/x-xyz or "
                                         "text/plain, or name it by ?format="], #{}};
describe(slow_body) -> {408, <<"Request timeout">>, "The body did not arrive in time.", #{}};
describe(Other) -> {500, <<"Internal error">>, "The task ended in an unexpected way.", #{what => member(Other)}}.

members(M) when is_map(M) -> maps:map(fun(_, V) -> member(V) end, M);
members(_) -> #{}.

member(V) when is_number(V); is_atom(V); is_binary(V) -> V;
member(V) -> line(text(V)).

limit_text(#{what := What, limit := Limit, asked := Asked}) ->
    io_lib:format("~ts: ~w asked, ~w allowed.", [text(What), Asked, Limit]);
limit_text(M) -> text(M).

place(#{line := Line, column := Column}) -> io_lib:format("Line ~w, column ~w: ", [Line, Column]);
place(#{offset := Offset}) -> io_lib:format("Offset ~w: ", [Offset]);
place(_) -> "".

expected(#{expected := Expected}) -> ["expected ", text(Expected), "."];
expected(M) -> text(M).

invalid_text(#{field := Field, why := Why}) -> [text(Field), ": ", text(Why), "."];
invalid_text(M) -> text(M).

text(T) when is_binary(T) -> T;
text(T) when is_atom(T) -> atom_to_binary(T);
text(T) when is_list(T) ->
    case io_lib:printable_unicode_list(T) of
        true -> T;
        false -> io_lib:format("~0tp", [T])
    end;
text(T) -> io_lib:format("~0tp", [T]).

%% One line of at most 500 characters; binaries may hold any bytes.
line(Text) ->
    Flat = lists:flatten([case is_binary(T) of true -> safe(T); false -> T end || T <- parts(Text)]),
    unicode:characters_to_binary(lists:sublist([case C < 32 of true -> $\s; false -> C end || C <- Flat], 500)).

parts(Text) when is_binary(Text) -> [Text];
parts([]) -> [];
parts([H | T]) -> parts(H) ++ parts(T);
parts(C) -> [C].

safe(Binary) ->
    case unicode:characters_to_list(Binary) of
        List when is_list(List) -> List;
        _ -> binary_to_list(Binary)
    end.
