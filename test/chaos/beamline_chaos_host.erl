%% SPDX-License-Identifier: Apache-2.0
%%
%% Faults of the OS process behind a pool: it is killed, stopped, crashes, lies, floods, is of another version.
-module(beamline_chaos_host).
-include_lib("stdlib/include/assert.hrl").

-export([killed/0, stopped/0, crashes/0, hostile/1, misdeeds/0, atoms/1, results/0, early/0, versions/0]).
-export([other_priv/1, other_version/1]).

-import(beamline_chaos, [size/2, in_flight/3, answers/1, no_message/0]).
-import(beamline_test, [eventually/2]).

with_host(Opts, Test) -> beamline_chaos:with_pool(Opts#{isolation => os_process}, Test).

host(Pool) -> maps:get(host, beamline_runtime:info(Pool)).

signal(Pool, Signal) ->
    #{pid := Pid} = host(Pool),
    [] = os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(Pid)).

is_back(Pool, Starts) -> eventually(fun() -> #{state := S, starts := N} = host(Pool), S =:= up andalso N > Starts end, 40_000).

%% ---- signals ----

%% Back-off doubles with each end in a row, so the long form takes a new pool for every few.
killed() ->
    [with_host(#{}, fun(Pool) -> [kill(Pool, Round) || Round <- lists:seq(1, size(1, 4))] end) || _ <- lists:seq(1, size(1, 10))].

kill(Pool, Round) ->
    Refs = in_flight(Pool, 1000, #{}),
    eventually(fun() -> maps:get(tasks, host(Pool)) =:= 256 end, 10_000),
    signal(Pool, "KILL"),
    is_back(Pool, Round),
    _ = [beamline_runtime:cancel(Ref) || Ref <- Refs],
    Answers = answers(Refs),
    ?assertEqual(256, length([x || {error, {host_exited, <<"killed by signal 9">>}} <- Answers])),
    ?assertEqual(744, length([x || {error, cancelled} <- Answers])),
    no_message(),
    ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{})).

stopped() ->
    [with_host(#{heartbeat => 3000}, fun(Pool) ->
        signal(Pool, "STOP"),
        T0 = erlang:monotonic_time(millisecond),
        Refs = in_flight(Pool, 1000, #{timeout => 100}),
        ?assertEqual([{error, timeout}], lists:usort(answers(Refs))),
        ?assert(erlang:monotonic_time(millisecond) - T0 < 2500),
        is_back(Pool, 1),
        ?assertMatch(#{why := <<"it missed its heartbeat">>}, host(Pool)),
        no_message(),
        ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
     end) || _ <- lists:seq(1, size(1, 10))].

crashes() ->
    with_host(#{}, fun(Pool) -> [
        begin
            [Beside] = in_flight(Pool, 1, #{}),
            ?assertMatch({error, {host_exited, <<"killed by signal ", _/binary>>}}, beamline_runtime:call(Pool, probe_crash, x, #{})),
            ?assertMatch([{error, {host_exited, _}}], answers([Beside])),
            is_back(Pool, Round),
            ?assertEqual({ok, x}, beamline_runtime:call(Pool, echo, x, #{}))
        end
     || Round <- lists:seq(1, size(2, 6))] end).

%% ---- hosts that lie: hostile_host_tool.c ----

-spec misdeeds() -> [atom()].
misdeeds() ->
    [impossible_length, garbage, garbage_on_control, malformed_term, flood, empty_promise, answer_twice, silence].

%% Each task is answered once, in time, with nothing left; the VM does not mind.
hostile(Misdeed) ->
    with_liar(Misdeed, fun(Pool) ->
        [begin
            Refs = in_flight(Pool, 20, #{timeout => 500, progress => 10}),
            Answers = answers(Refs),
            no_message(),
            [?assert(is_expected(Misdeed, Answer)) || Answer <- Answers]
         end || _ <- lists:seq(1, size(2, 10))]
    end).

is_expected(Misdeed, {ok, _}) -> lists:member(Misdeed, [malformed_term, flood, answer_twice, garbage]);
is_expected(Misdeed, {error, {Why, _}}) when Why =:= invalid; Why =:= syntax; Why =:= limit ->
    lists:member(Misdeed, [malformed_term, garbage]);
is_expected(_, {error, {host_exited, Why}}) -> is_binary(Why);
is_expected(_, {error, Why}) -> Why =:= timeout.

%% The results of a map are what their type says.
results() ->
    with_liar(odd_result, fun(Pool) ->
        ?assertEqual({ok, [ok]}, beamline_runtime:call(Pool, noop, [], #{})),
        ?assertMatch([{error, {invalid, #{field := result}}}], beamline_runtime:map(Pool, noop, [x], #{}))
    end).

%% The argument stays what it is until it is sent, also when its task was answered and its caller has forgotten both.
early() ->
    with_liar(answer_early, fun(Pool) ->
        [begin
            ?assertEqual({ok, ok}, beamline_runtime:call(Pool, echo, binary:copy(<<"x">>, 10_000_000), #{})),
            garbage_collect(),
            _ = binary:copy(<<"y">>, 10_000_000)
         end || _ <- lists:seq(1, size(2, 20))],
        ?assertEqual({ok, ok}, beamline_runtime:call(Pool, echo, binary:copy(<<"x">>, 1000), #{})),
        ?assertMatch(#{starts := 1, state := up}, host(Pool))
    end).

%% Atoms are never collected, so a host may make a thousand and no more, whatever it puts them into.
atoms(Misdeed) ->
    Before = erlang:system_info(atom_count),
    Answers = with_liar(Misdeed, fun(Pool) ->
        lists:append([answers(in_flight(Pool, 200, #{timeout => 20_000, progress => 10})) || _ <- lists:seq(1, size(10, 30))])
    end),
    More = erlang:system_info(atom_count) - Before,
    io:format(user, "    ~p: ~b new atoms~n", [Misdeed, More]),
    ?assertEqual([], [Answer || Answer <- Answers, Answer =:= none]),
    ?assert(More =< 1100),
    Misdeed =:= flood orelse ?assertMatch({error, {limit, #{what := atoms, limit := 1000}}}, lists:last(Answers)).

with_liar(Misdeed, Test) ->
    Tool = beamline_test:source_file("_build/c/san/test/chaos/hostile_host_tool"),
    filelib:is_regular(Tool) orelse beamline_test:skip("not built: hostile_host_tool (make test builds it)"),
    Priv = other_priv(fun(_) -> ok end),
    ok = file:delete(filename:join(Priv, "beamline_host")),
    ok = file:make_symlink(Tool, filename:join(Priv, "beamline_host")),
    with_priv(Priv, fun() ->
        Opts = #{isolation => os_process, operations => ["/" ++ atom_to_list(Misdeed)]},
        beamline_chaos:with_pool(Opts, fun(Info) -> never_finishes(Misdeed) orelse beamline_chaos:is_empty(Info) end, Test)
    end).

%% What it has stays counted as its own until it ends with its pool, as behind an operation that does not listen.
never_finishes(Misdeed) -> lists:member(Misdeed, [empty_promise, silence]).

%% ---- a host of another version ----

versions() ->
    beamline_test:start(),
    process_flag(trap_exit, true),
    with_priv(other_priv(fun other_version/1), fun() ->
        {error, {host_exited, Why}} = beamline_runtime:start_link(#{name => chaos_pool, isolation => os_process}),
        ?assert(is_binary(Why)),
        receive {'EXIT', _, _} -> ok end,
        ?assertEqual({error, closed}, beamline_runtime:call(chaos_pool, noop, x, #{}))
    end).

%% ---- another folder of native code ----

%% The driver is loaded already; only the host is taken from there.
with_priv(Priv, Fun) ->
    Before = os:getenv("BEAMLINE_PRIV"),
    os:putenv("BEAMLINE_PRIV", Priv),
    try Fun()
    after
        case Before of
            false -> os:unsetenv("BEAMLINE_PRIV");
            _ -> os:putenv("BEAMLINE_PRIV", Before)
        end
    end.

%% A copy of ours, whose core has been changed by Change. Returns its path.
-spec other_priv(fun((Core :: file:filename()) -> ok)) -> file:filename().
other_priv(Change) ->
    {ok, Program} = beamline_native:host(),
    Ours = filename:dirname(Program),
    Dir = beamline_test:scratch_dir("priv"),
    Files = [filename:basename(File) || File <- filelib:wildcard(filename:join(Ours, "*.so"))] ++ ["beamline_host"],
    [begin
        {ok, _} = file:copy(filename:join(Ours, File), filename:join(Dir, File)),
        ok = file:change_mode(filename:join(Dir, File), 8#755)
     end || File <- Files],
    ok = Change(filename:join(Dir, "libbeamline-" ++ beamline_native:version() ++ ".so")),
    Dir.

%% Its version text, of the same length, says something else; its file's name does not change.
-spec other_version(file:filename()) -> ok.
other_version(Core) ->
    {ok, Bytes} = file:read_file(Core),
    Version = list_to_binary(beamline_native:version()),
    Text = <<0, Version/binary, 0>>,
    Other = <<0, (binary:copy(<<"9">>, byte_size(Version)))/binary, 0>>,
    ?assertNotEqual(nomatch, binary:match(Bytes, Text)),
    file:write_file(Core, binary:replace(Bytes, Text, Other, [global])).
