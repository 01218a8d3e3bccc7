%% SPDX-License-Identifier: Apache-2.0
%%
%% What the chaos tests share: how large they are, pools that must be left as they were found, and what else must be
%% back where it was. CHAOS=long (make chaos) makes them large, SECS is how long each race takes then.
-module(beamline_chaos).

-export([size/2, seconds/1, is_sanitized/0]).
-export([with_pool/2, with_pool/3, is_empty/1, unchanged/1, quietly/1]).
-export([in_flight/3, answers/1, no_message/0, at_once/2, hosts/0, probes/0]).

%% Beyond what there was before, after garbage collection: the VM's own count, and what the system gives the process.
%% The second holds what allocators keep for later.
-define(MEMORY_MORE, 16 bsl 20).
-define(RSS_MORE, 96 bsl 20).
-define(SETTLE_MS, 20_000).

-spec size(Short, Long) -> Short | Long.
size(Short, Long) ->
    case os:getenv("CHAOS") of
        "long" -> Long;
        _ -> Short
    end.

%% Of a race; the long form takes SECS.
-spec seconds(pos_integer()) -> pos_integer().
seconds(Short) -> size(Short, list_to_integer(os:getenv("SECS", "60"))).

-spec is_sanitized() -> boolean().
is_sanitized() -> os:getenv("ASAN_OPTIONS") =/= false.

-spec probes() -> file:filename().
probes() -> beamline_test:built_file("runtime/probe_operations.so").

%% ---- pools ----

%% Runs Test with a pool of its own; afterwards nothing may be left in it.
with_pool(Opts, Test) -> with_pool(Opts, fun is_empty/1, Test).

with_pool(Opts, IsEmpty, Test) ->
    beamline_test:start(),
    process_flag(trap_exit, true),
    {ok, Pid} = beamline_runtime:start_link(maps:merge(#{name => chaos_pool, threads => 2, operations => [probes()]}, Opts)),
    try
        Result = Test(chaos_pool),
        beamline_test:eventually(fun() -> IsEmpty(beamline_runtime:info(chaos_pool)) end, ?SETTLE_MS),
        Result
    after
        Monitor = monitor(process, Pid),
        exit(Pid, shutdown),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end,
        receive {'EXIT', Pid, _} -> ok after 0 -> ok end
    end.

-spec is_empty(map() | {error, term()}) -> boolean().
is_empty({error, closed}) ->
    true;
is_empty(#{running := R, behind := B, queue_bytes := Q, memory := M, queued := Classes, owners := Owners} = Info) ->
    #{tasks := T, argument_bytes := A} = maps:get(host, Info, #{tasks => 0, argument_bytes => 0}),
    0 =:= lists:sum([R, B, Q, M, T, A, length(Owners) | maps:values(Classes)]).

in_flight(Pool, N, Opts) -> [element(2, beamline_runtime:submit(Pool, probe_wait, 60_000, Opts)) || _ <- lists:seq(1, N)].

%% Of each task; `none' where it did not come. A second answer, or progress after it, is found by no_message/0.
answers(Refs) -> [answer(Ref) || Ref <- Refs].

answer(Ref) ->
    receive
        {beamline, Ref, {progress, _}} -> answer(Ref);
        {beamline, Ref, Answer} -> Answer
    after 30_000 -> none
    end.

no_message() -> receive {beamline, _, _} = Any -> error({unexpected, Any}) after 20 -> ok end.

%% Runs Fun(I) in N processes at once; all must end well.
at_once(N, Fun) ->
    Monitors = [element(2, spawn_monitor(fun() -> Fun(I) end)) || I <- lists:seq(1, N)],
    case [Reason || M <- Monitors, Reason <- [receive {'DOWN', M, process, _, R} -> R end], Reason =/= normal] of
        [] -> ok;
        [First | _] = All -> error({failed, length(All), First})
    end.

%% ---- back where it was ----

%% Afterwards: every pool empty, as many processes and ports, no process of the system, no more memory.
unchanged(Fun) ->
    beamline_test:start(),
    Before = state(),
    Result = quietly(Fun),
    Differences = fun() -> differences(Before, state()) end,
    try
        beamline_test:eventually(fun() -> Differences() =:= [] end, ?SETTLE_MS)
    catch
        error:{not_within_ms, _} -> error({left_behind, Differences()})
    end,
    Result.

%% (A pool that was killed stays in the table, without a port, until the next one starts.)
state() ->
    [garbage_collect(Pid) || Pid <- processes()],
    #{
        pools => [Pool || Pool <- lists:sort(beamline_runtime_pool:pools()), beamline_runtime:info(Pool) =/= {error, closed}],
        busy => [Pool || Pool <- beamline_runtime_pool:pools(), not is_empty(beamline_runtime:info(Pool))],
        processes => length(processes()),
        ports => length(erlang:ports()),
        sockets => length(filelib:wildcard("/proc/self/fd/*")),
        hosts => hosts(),
        memory => memory(),
        rss => rss()
    }.

differences(Before, After) ->
    [{Key, maps:get(Key, Before), Value} || {Key, Value} <- maps:to_list(After), not is_back(Key, maps:get(Key, Before), Value)].

is_back(busy, _, Now) -> Now =:= [];
is_back(memory, Then, Now) -> Now =< Then + ?MEMORY_MORE;
is_back(rss, Then, Now) -> is_sanitized() orelse Now =< Then + ?RSS_MORE;
is_back(Key, Then, Now) when Key =:= processes; Key =:= ports; Key =:= sockets -> Now =< Then;
is_back(_, Then, Now) -> Now =:= Then.

%% With +Mea min, as under the sanitizer, the VM does not count.
memory() ->
    try erlang:memory(total) catch error:notsup -> 0 end.

rss() ->
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    4096 * binary_to_integer(Pages).

%% The processes named beamline_host that belong to this VM.
-spec hosts() -> [Pid :: string()].
hosts() ->
    All = [{filename:basename(filename:dirname(File)), Name, Parent}
           || File <- filelib:wildcard("/proc/[0-9]*/stat"), {Name, State, Parent} <- stat(File), State =/= <<"Z">>],
    Ours = list_to_binary(os:getpid()),
    Starters = [list_to_binary(Pid) || {Pid, <<"erl_child_setup">>, Parent} <- All, Parent =:= Ours],
    lists:sort([Pid || {Pid, <<"beamline_host">>, Parent} <- All, lists:member(Parent, Starters)]).

stat(File) ->
    case file:read_file(File) of
        {ok, Text} ->
            {match, [Name, State, Parent]} = re:run(Text, <<"^\\d+ \\((.*)\\) (\\S) (\\d+)">>, [dotall, {capture, all_but_first, binary}]),
            [{Name, State, Parent}];
        {error, _} -> [] % it has ended
    end.

%% The reports of what dies on purpose are expected.
quietly(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    logger:set_primary_config(level, none),
    try Fun() after logger:set_primary_config(level, Level) end.
