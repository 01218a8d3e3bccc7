%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc How a bench line is made (doc/design.md, Commands): something is measured beside a
%% floor or a peer in the same run, the two by turns, after a round that is not counted; the
%% line has the medians of all rounds and their ratio. Lines are printed as a table and
%% appended to _build/bench.jsonl, one JSON object each.
%%
%% A bench is a module bench_<part>.erl with run/0, which calls compare/1 for each of its lines; with LINE=text in the
%% environment only those whose names have the text in them are measured.
-module(beamline_bench).

-export([main/1]).
-export([compare/1, median/1, mean_us/2, program/2, built/1, load_floor_driver/1]).

-type measurement() :: #{
    name := string(),              % "part/what"
    unit := string(),
    better := lower | higher,
    against := string(),           % floor, peer with its version, or "limit"
    value := fun(() -> number()),  % one sample
    floor := fun(() -> number()),  % one sample of what it is compared with
    goal => number(),              % of the ratio, printed only
    rounds => pos_integer()        % default 7; at least 5, but 1 of what is counted, not timed
}.
-export_type([measurement/0]).

-define(WIDTHS, "~-32s ~12s ~-10s ~-22s ~12s ~8s ~10s ~7s~n").

%% @doc Runs the benches of the modules named and ends the VM.
-spec main([string()]) -> no_return().
main(Modules) ->
    {ok, _} = application:ensure_all_started(beamline),
    print(["name", "value", "unit", "against", "there", "ratio", "goal", "spread"]),
    Failed = [Module || Module <- Modules, not run(list_to_atom(Module))],
    halt(length(Failed)).

run(Module) ->
    try
        Module:run(),
        true
    catch
        Class:Reason:Stack ->
            io:format("FAILED: ~s: ~p~n", [Module, {Class, Reason, Stack}]),
            false
    end.

%% @doc Measures by turns and reports one line.
-spec compare(measurement()) -> ok.
compare(#{name := Name} = M) ->
    case string:find(Name, os:getenv("LINE", "")) of
        nomatch -> ok;
        _ -> measure(M)
    end.

measure(#{value := Value, floor := Floor, rounds := 1} = M) ->
    Here = Value(),
    report(M, 1, Here, Floor(), 0.0);
measure(#{value := Value, floor := Floor} = M) ->
    Rounds = maps:get(rounds, M, 7),
    _ = {Floor(), Value()},
    {There, Here} = lists:unzip([{Floor(), Value()} || _ <- lists:seq(1, Rounds)]),
    report(M, Rounds, median(Here), median(There), spread(Here)).

report(#{name := Name, unit := Unit, against := Against, better := Better} = M, Rounds, Value, There, Spread) ->
    Ratio = Value / There,
    print([Name, number(Value), Unit, Against, number(There), number(Ratio), goal(Better, M), number(Spread)]),
    Line = io_lib:format(
        "{\"name\":\"~s\",\"value\":~s,\"unit\":\"~s\",\"against\":\"~s\",\"against_value\":~s,\"ratio\":~s,"
        "\"better\":\"~s\",\"n\":~b,\"spread\":~s}~n",
        [Name, number(Value), Unit, Against, number(There), number(Ratio), Better, Rounds, number(Spread)]),
    File = filename:join(root(), "_build/bench.jsonl"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, Line, [append]).

print(Columns) -> io:format(?WIDTHS, Columns).

goal(lower, #{goal := Goal}) -> ["<= ", number(Goal)];
goal(higher, #{goal := Goal}) -> [">= ", number(Goal)];
goal(_, _) -> "".

%% Four digits say more than any of these measurements know.
number(N) when N == 0 -> "0.0";
number(N) -> float_to_list(float(N), [{decimals, decimals(abs(N))}, compact]).

decimals(N) when N >= 1000 -> 0;
decimals(N) -> max(1, 3 - floor(math:log10(N))).

%% @doc Microseconds of one call of Fun, over so many in a row; calling the fun is part of it.
-spec mean_us(pos_integer(), fun(() -> term())) -> float().
mean_us(Times, Fun) ->
    Begin = erlang:monotonic_time(nanosecond),
    again(Fun, Times),
    (erlang:monotonic_time(nanosecond) - Begin) / Times / 1000.

again(_Fun, 0) -> ok;
again(Fun, N) ->
    Fun(),
    again(Fun, N - 1).

%% @doc The middle of the samples.
-spec median([number()]) -> number().
median(Samples) ->
    Sorted = lists:sort(Samples),
    N = length(Sorted),
    (lists:nth((N + 1) div 2, Sorted) + lists:nth(N div 2 + 1, Sorted)) / 2.

%% The middle half of the samples lies within the median +- spread x median.
spread(Samples) ->
    Sorted = lists:sort(Samples),
    N = length(Sorted),
    Quarter = N div 4,
    case median(Samples) of
        Middle when Middle == 0 -> 0.0;
        Middle -> (lists:nth(N - Quarter, Sorted) - lists:nth(Quarter + 1, Sorted)) / 2 / Middle
    end.

%% @doc Runs a program that was built from test/bench/*.c; the numbers that it prints.
-spec program(string(), [string()]) -> [number()].
program(Name, Args) ->
    Port = open_port({spawn_executable, built(Name)}, [{args, Args}, exit_status, binary, use_stdio]),
    [list_to_integer(Word) || Word <- string:lexemes(collect(Port, []), " \n")].

collect(Port, Said) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Said, Data]);
        {Port, {exit_status, 0}} -> binary_to_list(iolist_to_binary(Said));
        {Port, {exit_status, Status}} -> error({exit_status, Status})
    end.

%% @doc The path of what was built from test/bench/*.c.
-spec built(string()) -> file:filename().
built(Name) -> filename:join([root(), "_build/c/rel/test/bench", Name]).

%% @doc Loads a floor_port_*.c.
-spec load_floor_driver(string()) -> ok.
load_floor_driver(Driver) ->
    case erl_ddll:load(filename:dirname(built(Driver ++ ".so")), Driver) of
        ok -> ok;
        {error, already_loaded} -> ok;
        {error, Why} -> error(erl_ddll:format_error(Why))
    end.

root() -> beamline_test:source_file("").
