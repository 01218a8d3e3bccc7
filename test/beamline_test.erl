%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc What every Erlang test of Beamline can use: skipping, polling, test data,
%% and folders for scratch files. doc/testing.md tells how tests are found and run.
-module(beamline_test).

-export([
    skip/1,
    eventually/1, eventually/2,
    shared_data/1,
    source_file/1,
    built_file/1,
    scratch_dir/1,
    with_hanging_host/1,
    seed/0,
    start/0,
    skipped_reason/1
]).

-define(POLL_MS, 10).
-define(POLL_LIMIT_MS, 10000).

%% @doc Ends the running test, which then counts as skipped, not as passed. Works in a test,
%% in a generator (all of its tests are skipped as one) and in a fixture's setup. `Why' is
%% one line: what is missing, and how to get it.
-spec skip(unicode:chardata()) -> no_return().
skip(Why) ->
    throw({beamline_skip, unicode:characters_to_binary(Why)}).

%% @private Used by the reporter: the reason, if this exception is a skip.
-spec skipped_reason(term()) -> {ok, binary()} | error.
skipped_reason({throw, {beamline_skip, Why}, _Stack}) -> {ok, Why};
skipped_reason({_Where, Exception}) -> skipped_reason(Exception); % abort, setup_failed, ...
skipped_reason(_) -> error.

%% @doc Polls until `Check' returns true; fails after ten seconds. Use it instead of sleeping.
-spec eventually(fun(() -> boolean())) -> ok.
eventually(Check) ->
    eventually(Check, ?POLL_LIMIT_MS).

-spec eventually(fun(() -> boolean()), LimitMs :: non_neg_integer()) -> ok.
eventually(Check, LimitMs) ->
    poll_until(Check, LimitMs, erlang:monotonic_time(millisecond) + LimitMs).

poll_until(Check, LimitMs, Deadline) ->
    case Check() of
        true ->
            ok;
        false ->
            case erlang:monotonic_time(millisecond) < Deadline of
                true ->
                    receive after ?POLL_MS -> ok end,
                    poll_until(Check, LimitMs, Deadline);
                false ->
                    erlang:error({not_within_ms, LimitMs})
            end
    end.

%% @doc The absolute path of a file or folder of the shared test data, for instance
%% `shared_data("crystal/poscar")'. The data lie in `$BEAMLINE_SHARED' or in `shared/data'
%% beside the repository. Skips the test when the data are not here.
-spec shared_data(file:name_all()) -> file:filename().
shared_data(Path) ->
    Root = case os:getenv("BEAMLINE_SHARED") of
        false -> filename:join([filename:dirname(repository()), "shared", "data"]);
        Dir -> Dir
    end,
    Full = filename:join(Root, Path),
    case file:read_file_info(Full) of
        {ok, _} -> Full;
        {error, _} -> skip(["no test data at ", Full, " (BEAMLINE_SHARED names their folder)"])
    end.

%% @doc A file of the repository: `source_file("test/crystal/si.vasp")'.
-spec source_file(file:name_all()) -> file:filename().
source_file(Path) ->
    filename:join(repository(), Path).

%% @doc A shared object or program that `make test' built from test/*/*.c:
%% `built_file("runtime/my_operations.so")' comes from test/runtime/my_operations.c.
-spec built_file(file:name_all()) -> file:filename().
built_file(Path) ->
    Dir = os:getenv("BEAMLINE_TEST_BUILD", filename:join(repository(), "_build/c/rel/test")),
    Full = filename:join(Dir, Path),
    case filelib:is_regular(Full) of
        true -> Full;
        false -> skip(["not built: ", Full, " (make test builds it)"])
    end.

%% @doc Calls Start, which is to start an OS process, while its program is another one, which neither joins nor looks at its standard
%% input; until that runs. Its number.
-spec with_hanging_host(fun(() -> term())) -> pos_integer().
with_hanging_host(Start) ->
    Dir = scratch_dir("hanging"),
    Program = filename:join(Dir, "beamline_host"),
    File = filename:join(Dir, "pid"),
    ok = file:write_file(Program, ["#!/bin/sh\necho $$ > ", File, "\nexec sleep 100\n"]),
    ok = file:change_mode(Program, 8#755),
    Before = os:getenv("BEAMLINE_PRIV"),
    os:putenv("BEAMLINE_PRIV", Dir),
    Start(),
    eventually(fun() -> filelib:file_size(File) > 0 end),
    case Before of false -> os:unsetenv("BEAMLINE_PRIV"); _ -> os:putenv("BEAMLINE_PRIV", Before) end,
    {ok, Pid} = file:read_file(File),
    binary_to_integer(string:trim(Pid)).

%% @doc A new empty folder below _build/test/scratch.
-spec scratch_dir(Name :: string()) -> file:filename().
scratch_dir(Name) ->
    Unique = Name ++ "-" ++ os:getpid() ++ "-" ++ integer_to_list(erlang:unique_integer([positive])),
    Dir = filename:join([repository(), "_build", "test", "scratch", Unique]),
    ok = filelib:ensure_dir(filename:join(Dir, "any")),
    Dir.

%% @doc Seeds this process's `rand' and prints how to repeat the run: SEED=n make test.
-spec seed() -> integer().
seed() ->
    Seed = case os:getenv("SEED") of
        false -> erlang:phash2({erlang:monotonic_time(), make_ref()});
        Text -> list_to_integer(Text)
    end,
    _ = rand:seed(exsss, Seed),
    io:format(user, "SEED=~b~n", [Seed]),
    Seed.

%% @doc Starts the application beamline and what it needs.
-spec start() -> ok.
start() ->
    {ok, _} = application:ensure_all_started(beamline),
    ok.

%% The folder with rebar.config above the compiled test modules, or above the working folder.
repository() ->
    case os:getenv("BEAMLINE_ROOT") of
        false -> above(filename:absname(filename:dirname(code:which(?MODULE))));
        Dir -> Dir
    end.

above(Dir) ->
    case filelib:is_regular(filename:join(Dir, "c_src/Makefile")) of
        true -> Dir;
        false when Dir =:= "/" -> erlang:error(no_repository_above_the_test_modules);
        false -> above(filename:dirname(Dir))
    end.
