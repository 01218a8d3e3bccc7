%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Runs EUnit modules and reports failures, skips and counts in a form that the
%% closing line of `make test' can be made from. Called by test/run; also the reporter of
%% `rebar3 eunit' (rebar.config), so that a skip is not taken for a failure there.
-module(beamline_eunit).
-behaviour(eunit_listener).

-export([main/1, run/2]).
-export([start/1, init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

-type counts() :: {Passed :: non_neg_integer(), Failed :: non_neg_integer(), Skipped :: non_neg_integer()}.

-record(state, {
    report_to :: pid() | undefined,
    print :: fun((io:format(), [term()]) -> ok),
    verbose :: boolean(),
    passed = 0 :: non_neg_integer(),
    failed = 0 :: non_neg_integer(),
    skipped = 0 :: non_neg_integer()
}).

%% @doc `erl -run beamline_eunit main Module ... -s init stop'. Prints `N passed, N failed,
%% N skipped' and ends the VM with 0, or with 1 when a test failed. What the logger has to say
%% (tests kill processes on purpose) goes into the file named by BEAMLINE_TEST_LOG.
-spec main([string()]) -> no_return().
main(Names) ->
    log_to_file(os:getenv("BEAMLINE_TEST_LOG")),
    Options = [{verbose, os:getenv("VERBOSE", "") =/= ""}],
    Counts = [run(list_to_atom(Name), Options) || Name <- Names],
    {Passed, Failed, Skipped} = lists:foldl(fun add/2, {0, 0, 0}, Counts),
    io:format("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]),
    erlang:halt(case Failed of 0 -> 0; _ -> 1 end).

%% @doc Runs all tests of a module. Each test function and generator is a run of its own: within
%% one run, EUnit drops the rest of the module when a generator fails or a test is killed.
-spec run(module(), list()) -> counts().
run(Module, Options) ->
    case tests_of(Module) of
        [] ->
            io:format("FAILED: ~s has no tests~n", [Module]),
            {0, 1, 0};
        Tests ->
            lists:foldl(fun add/2, {0, 0, 0}, [run_one(Test, Options) || Test <- Tests])
    end.

tests_of(Module) ->
    _ = code:ensure_loaded(Module),
    Functions = try Module:module_info(exports) catch error:undef -> [] end,
    lists:append([test(Module, Name, atom_to_list(Name)) || {Name, 0} <- Functions]).

test(Module, Name, Text) ->
    case {lists:suffix("_test", Text), lists:suffix("_test_", Text)} of
        {true, _} -> [{Module, Name}];
        {_, true} -> [{generator, Module, Name}];
        _ -> []
    end.

run_one(Test, Options) ->
    _ = eunit:test([Test], [no_tty, {report, {?MODULE, [{report_to, self()} | Options]}}]),
    receive
        {?MODULE, counts, Counts} -> Counts
    after 0 -> % EUnit has waited for the reporter's end
        io:format("FAILED: the reporter crashed in ~tp~n", [Test]),
        {0, 1, 0}
    end.

add({P1, F1, S1}, {P2, F2, S2}) ->
    {P1 + P2, F1 + F2, S1 + S2}.

log_to_file(false) ->
    ok;
log_to_file(File) ->
    _ = file:delete(File),
    ok = logger:add_handler(beamline_test_log, logger_std_h, #{config => #{file => File}}),
    ok = logger:remove_handler(default).

%% ---- the listener ----
%%
%% Options: {report_to, Pid} gets {beamline_eunit, counts, {Passed, Failed, Skipped}} at the end
%% instead of a closing line; {print, Fun} is called instead of io:format(user, ...);
%% {verbose, true} names passed tests too.

-spec start(list()) -> pid().
start(Options) ->
    eunit_listener:start(?MODULE, Options).

-spec init(list()) -> #state{}.
init(Options) ->
    receive {start, _Reference} -> ok end,
    #state{report_to = proplists:get_value(report_to, Options),
           print = proplists:get_value(print, Options, fun(Format, Args) -> io:format(user, Format, Args) end),
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
    #state{report_to = To, print = Print, passed = Passed, failed = Failed, skipped = Skipped} = State1,
    case To of
        undefined -> Print("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]);
        _ -> To ! {?MODULE, counts, {Passed, Failed, Skipped}}
    end,
    ok.

%% ---- one result ----

passed(Data, #state{verbose = Verbose, print = Print, passed = N} = State) ->
    Verbose andalso Print("  passed: ~ts (~b ms)~n", [name(Data), proplists:get_value(time, Data, 0)]),
    State#state{passed = N + 1}.

failed_or_skipped(Data, Exception, State) ->
    case beamline_test:skipped_reason(Exception) of
        {ok, Why} -> skipped(Data, Why, State);
        error -> failed(Data, Exception, State)
    end.

skipped(Data, Why, #state{print = Print, skipped = N} = State) ->
    Print("skipped: ~ts: ~ts~n", [name(Data), Why]),
    State#state{skipped = N + 1}.

failed(Data, Exception, #state{print = Print, failed = N} = State) ->
    Print("FAILED: ~ts~n~ts~ts", [name(Data), explain(Exception), output(Data)]),
    State#state{failed = N + 1}.

explain({Class, _Reason, Stack} = Exception) when is_atom(Class), is_list(Stack) ->
    eunit_lib:format_exception(Exception, 20);
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
