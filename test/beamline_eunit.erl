%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Runs EUnit modules and reports failures, skips and counts in a form that the
%% closing line of `make test' can be made from. Called by test/run; also the reporter of
%% `rebar3 eunit' (rebar.config), so that a skip is not taken for a failure there.
-module(beamline_eunit).
-behaviour(eunit_listener).

-export([main/1]).
-export([start/1, init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

-record(state, {
    report_to :: pid() | undefined,
    verbose :: boolean(),
    passed = 0 :: non_neg_integer(),
    failed = 0 :: non_neg_integer(),
    skipped = 0 :: non_neg_integer()
}).

%% @doc `erl -run beamline_eunit main Module ... -s init stop'. Prints `N passed, N failed,
%% N skipped' and ends the VM with 0, or with 1 when a test failed.
-spec main([string()]) -> no_return().
main(Names) ->
    Modules = [list_to_atom(Name) || Name <- Names],
    %% EUnit runs m_tests together with m: do not run it twice.
    Twice = [list_to_atom(atom_to_list(M) ++ "_tests") || M <- Modules],
    Verbose = os:getenv("VERBOSE", "") =/= "",
    _ = eunit:test([{module, M} || M <- Modules -- Twice],
                   [no_tty, {report, {?MODULE, [{report_to, self()}, {verbose, Verbose}]}}]),
    {Passed, Failed, Skipped} = receive {?MODULE, counts, Counts} -> Counts end,
    io:format("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]),
    erlang:halt(case Failed of 0 -> 0; _ -> 1 end).

%% ---- the listener ----

-spec start(list()) -> pid().
start(Options) ->
    eunit_listener:start(?MODULE, Options).

-spec init(list()) -> #state{}.
init(Options) ->
    receive {start, _Reference} -> ok end,
    #state{report_to = proplists:get_value(report_to, Options),
           verbose = proplists:get_value(verbose, Options, false)}.

-spec handle_begin(group | test, list(), #state{}) -> #state{}.
handle_begin(_Kind, _Data, State) ->
    State.

-spec handle_end(group | test, list(), #state{}) -> #state{}.
handle_end(group, _Data, State) ->
    State;
handle_end(test, Data, State) ->
    case proplists:get_value(status, Data) of
        ok -> passed(Data, State);
        {skipped, Why} -> skipped(Data, io_lib:format("~p", [Why]), State);
        {error, Exception} -> failed_or_skipped(Data, Exception, State)
    end.

%% A group or test that could not run to its end: its generator or setup failed, it ran out of
%% time, its process was killed.
-spec handle_cancel(group | test, list(), #state{}) -> #state{}.
handle_cancel(_Kind, Data, State) ->
    case proplists:get_value(reason, Data) of
        undefined -> State; % inside a group that was cancelled, and counted there
        {blame, _} -> State;
        Reason -> failed_or_skipped(Data, Reason, State)
    end.

-spec terminate({ok, list()} | {error, term()}, #state{}) -> ok.
terminate(Ended, State) ->
    State1 = case Ended of
        {ok, _} -> State;
        {error, Reason} -> failed([], Reason, State)
    end,
    #state{report_to = To, passed = Passed, failed = Failed, skipped = Skipped} = State1,
    case To of
        undefined -> io:format(user, "~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]);
        _ -> To ! {?MODULE, counts, {Passed, Failed, Skipped}}
    end,
    ok.

%% ---- one result ----

passed(Data, #state{verbose = Verbose, passed = N} = State) ->
    Verbose andalso io:format(user, "  passed: ~ts (~b ms)~n", [name(Data), proplists:get_value(time, Data, 0)]),
    State#state{passed = N + 1}.

failed_or_skipped(Data, Exception, State) ->
    case beamline_test:skipped_reason(Exception) of
        {ok, Why} -> skipped(Data, Why, State);
        error -> failed(Data, Exception, State)
    end.

skipped(Data, Why, #state{skipped = N} = State) ->
    io:format(user, "skipped: ~ts: ~ts~n", [name(Data), Why]),
    State#state{skipped = N + 1}.

failed(Data, Exception, #state{failed = N} = State) ->
    io:format(user, "FAILED: ~ts~n~ts~ts", [name(Data), explain(Exception), output(Data)]),
    State#state{failed = N + 1}.

explain({Class, _Reason, Stack} = Exception) when is_atom(Class), is_list(Stack) ->
    eunit_lib:format_exception(Exception, 30);
explain(timeout) ->
    "  ran out of time ({timeout, Seconds, Test} gives it more than 5 s)\n";
explain({startup, Reason}) ->
    io_lib:format("  could not start: ~tp~n", [Reason]);
explain({exit, Reason}) ->
    io_lib:format("  its process ended: ~tP~n", [Reason, 30]);
explain({abort, Reason}) ->
    eunit_lib:format_error(Reason, 30);
explain(Reason) ->
    io_lib:format("  ~tP~n", [Reason, 30]).

output(Data) ->
    case iolist_to_binary([proplists:get_value(output, Data, [])]) of
        <<>> -> "";
        Output -> ["  output: ", Output, "\n"]
    end.

name(Data) ->
    Line = case proplists:get_value(line, Data, 0) of
        0 -> "";
        N -> io_lib:format(":~b", [N])
    end,
    Title = case proplists:get_value(desc, Data) of
        Text when Text =:= undefined; Text =:= "" -> "";
        Text -> [" (", Text, ")"]
    end,
    case proplists:get_value(source, Data) of
        {M, F, _} -> io_lib:format("~s:~s~s~ts", [M, F, Line, Title]);
        undefined -> io_lib:format("group~s~ts", [Line, Title])
    end.
