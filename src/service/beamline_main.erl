%% SPDX-License-Identifier: Apache-2.0
%% @doc The main job, `make run': starts the service, relaxes a structure through it over HTTP
%% with progress in the terminal, writes the relaxed structure into a file, and goes on serving.
%%
%% Environment: `FILE=path' takes another structure than silicon with a vacancy, `ONCE=1' ends
%% after the job (exit code 0, or 1 if it failed), `PORT=n' listens there instead of 8080 or,
%% when that is taken, any free port.
-module(beamline_main).

-export([run/0]).

-define(SERVICE, beamline_service).
%% Tighter than the default, so that there is something to see.
-define(QUERY, "/v1/relaxations?fmax=1e-4").

%% @doc Does the job. Returns when the service is left serving; ends the VM with `ONCE=1', or
%% when there is nothing to serve.
-spec run() -> ok.
run() ->
    ok = io:setopts([{encoding, unicode}]),
    Outcome = try job(input()) catch throw:{stop, Why} -> stop(1, Why) end,
    case {os:getenv("ONCE", ""), Outcome} of
        {Once, _} when Once =:= ""; Once =:= "0" -> serve();
        {_, ok} -> stop(0, "");
        {_, error} -> stop(1, "")
    end.

-spec stop(0..1, iodata()) -> no_return().
stop(Code, Why) ->
    Why =:= "" orelse io:format(standard_error, "~ts~n", [Why]),
    _ = application:stop(beamline), % drains
    halt(Code).

input() ->
    File = case os:getenv("FILE", "") of
        "" -> filename:join([priv_dir(), "examples", "si_vacancy.poscar"]);
        Given -> Given
    end,
    case file:read_file(File) of
        {ok, Text} -> {File, Text};
        {error, Why} -> throw({stop, io_lib:format("~ts: ~ts", [File, file:format_error(Why)])})
    end.

priv_dir() ->
    case code:priv_dir(beamline) of
        {error, bad_name} -> "priv";
        Dir -> relative(Dir)
    end.

%% Paths that are shown are short where they can be; rebar3 links priv into _build.
relative(Path) ->
    {ok, Here} = file:get_cwd(),
    case filelib:is_dir(filename:join(Here, "priv/examples")) of
        true -> "priv";
        false -> Path
    end.

job({File, Text}) ->
    Url = start(),
    io:format("Beamline ~ts serves at ~ts~nRelaxing ~ts~n~n", [version(), Url, File]),
    %% Of a file with several structures the first; a warning says so.
    Relaxation = [Url, ?QUERY "&", uri_string:compose_query([{"name", filename:basename(File)}, {"frame", "1"}])],
    Outcome = report(relax([Relaxation, "&progress=10"], Text), File),
    io:format("~nTry~n  curl -N -H 'Accept: text/event-stream' --data-binary @~ts '~ts'~n  curl ~ts/metrics~n",
              [quoted(File), Relaxation, Url]),
    Outcome.

%% For a shell, where it needs that.
quoted(Path) ->
    case re:run(Path, "^[A-Za-z0-9_./+=:,%-]+$", [{capture, none}, dollar_endonly, unicode]) of
        match -> Path;
        nomatch -> [$', string:replace(Path, "'", "'\\''", all), $']
    end.

serve() ->
    io:format("~nServing until interrupted.~n"),
    ok.

version() ->
    {ok, Version} = application:get_key(beamline, vsn),
    Version.

%%% The service

%% In the application's own tree, so that stopping the VM drains it.
start() ->
    case application:ensure_all_started(beamline) of
        {ok, _} -> ok;
        {error, Why} -> throw({stop, io_lib:format("The application does not start: ~0tp", [Why])})
    end,
    case supervisor:start_child(beamline_sup, beamline_service:child_spec(#{name => ?SERVICE, port => port()})) of
        {ok, _} -> beamline_service:url(?SERVICE);
        {error, {Reason, _Child}} -> throw({stop, io_lib:format("The service does not start: ~0tp", [Reason])})
    end.

port() ->
    Given = os:getenv("PORT", ""),
    case string:to_integer(Given) of
        _ when Given =:= "" ->
            case look(8080) of ok -> 8080; {error, _} -> 0 end;
        {Port, ""} when Port >= 0, Port =< 65535 ->
            case look(Port) of
                ok -> Port;
                {error, Why} -> throw({stop, io_lib:format("Port ~b: ~ts", [Port, inet:format_error(Why)])})
            end;
        _ -> throw({stop, io_lib:format("PORT=~ts is not the number of a port", [Given])})
    end.

%% Looking first spares the terminal the reports of a start that failed.
look(Port) ->
    case gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]) of
        {ok, Socket} -> gen_tcp:close(Socket);
        Error -> Error
    end.

%%% The client

relax(Address, Text) ->
    {ok, _} = application:ensure_all_started(inets),
    Request = {unicode:characters_to_list(Address), [{"accept", "text/event-stream"}], "text/plain", Text},
    {ok, Id} = httpc:request(post, Request, [], [{sync, false}, {stream, self}, {body_format, binary}]),
    receive
        {http, {Id, stream_start, _}} ->
            heading(),
            events(Id, <<>>, none);
        {http, {Id, {{_, _, _}, _, Body}}} -> {problem, problem(Body)};
        {http, {Id, {error, Why}}} -> broken(Why)
    end.

events(Id, Buffer, Last) ->
    case binary:split(Buffer, <<"\n\n">>) of
        [Event, Rest] -> events(Id, Rest, event(binary:split(Event, <<"\n">>, [global]), Last));
        [Incomplete] ->
            receive
                {http, {Id, stream, Data}} -> events(Id, <<Incomplete/binary, Data/binary>>, Last);
                {http, {Id, stream_end, _}} when Last =/= none -> Last;
                {http, {Id, stream_end, _}} -> broken(stream_ended);
                {http, {Id, {error, Why}}} -> broken(Why)
            end
    end.

event([<<"event: progress">>, <<"data: ", Json/binary>>], Last) ->
    row(beamline_service_json:decode(Json)),
    Last;
event([<<"event: result">>, <<"data: ", Json/binary>>], _) -> {result, beamline_service_json:decode(Json)};
event([<<"event: problem">>, <<"data: ", Json/binary>>], _) -> {problem, problem(Json)};
event(_, Last) -> Last.

problem(Json) ->
    try beamline_service_json:decode(Json)
    catch error:_ -> broken(Json) end.

broken(Why) -> {problem, #{<<"title">> => <<"The connection broke">>, <<"detail">> => iolist_to_binary(io_lib:format("~0tp", [Why]))}}.

%%% What the terminal shows

heading() -> io:format("~8s ~18s ~24s~n", ["step", "energy (eV)", "largest force (eV/Å)"]).

row(#{<<"step">> := Step, <<"energy">> := Energy, <<"max_force">> := Force}) ->
    io:format("~8b ~18ts ~24ts~n", [Step, number(Energy, 6), number(Force, 6)]);
row(_) -> ok.

number(F, Digits) when is_float(F), abs(F) < 1.0e12 -> io_lib:format("~.*f", [Digits, F]);
number(F, _) when is_float(F) -> io_lib:format("~.6e", [F]);
number(N, _) when is_integer(N) -> integer_to_list(N);
number(null, _) -> "-".

report({problem, Problem}, _) ->
    io:format("~nNot relaxed. ~ts: ~ts~n", [maps:get(<<"title">>, Problem, <<"Problem">>), maps:get(<<"detail">>, Problem, <<"-">>)]),
    error;
report({result, Result}, File) ->
    #{<<"structure">> := #{<<"text">> := Text, <<"format">> := Format}, <<"verdict">> := Verdict, <<"passed">> := Passed,
      <<"gates">> := Gates,
      <<"steps">> := Steps, <<"energy">> := Energy, <<"max_force">> := Force, <<"atoms">> := Atoms,
      <<"timings_ms">> := #{<<"total">> := Total}, <<"warnings">> := Warnings} = Result,
    row(#{<<"step">> => Steps, <<"energy">> => Energy, <<"max_force">> => Force}),
    io:format("~n~b atoms, ~b steps, ~ts ms~n~nVerdict: ~ts (~ts)~n",
              [Atoms, Steps, number(Total, 1), Verdict, passed(Passed)]),
    [gate(Gate) || Gate <- Gates],
    [io:format("Warning: ~ts~n", [Warning]) || Warning <- Warnings],
    Target = target(File, Format),
    ok = filelib:ensure_dir(Target),
    case file:write_file(Target, Text) of
        ok -> io:format("~nRelaxed structure: ~ts~n", [Target]), ok;
        {error, Why} -> io:format("~n~ts: ~ts~n", [Target, file:format_error(Why)]), error
    end.

passed(true) -> "every gate that has to pass did";
passed(_) -> "a gate that has to pass did not".

gate(#{<<"name">> := Name, <<"value">> := Value, <<"threshold">> := Threshold, <<"unit">> := Unit, <<"pass">> := Pass} = Gate) ->
    io:format("  ~-14ts ~-6s ~ts = ~ts~ts, threshold ~ts~ts~n",
              [Name, case Pass of true -> "pass"; _ -> "FAIL" end, maps:get(<<"quantity">>, Gate, <<"value">>),
               value(Value), unit(Unit), value(Threshold), why(Gate)]);
gate(#{<<"name">> := Name} = Gate) ->
    io:format("  ~-14ts -     not run~ts~n", [Name, why(Gate)]).

unit(<<"1">>) -> "";
unit(Unit) -> [$\s, Unit].

why(#{<<"why">> := Why}) -> [": ", Why];
why(_) -> "".

value(N) when is_number(N), abs(N) < 1.0e-3, N /= 0 -> io_lib:format("~.3e", [float(N)]);
value(N) -> number(N, 4).

target(File, Format) ->
    Dir = case filelib:is_dir("_build") of true -> "_build/run"; false -> filename:basedir(user_cache, "beamline") end,
    filename:join(Dir, filename:rootname(filename:basename(File)) ++ "-relaxed." ++ binary_to_list(Format)).
