%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc What a mixed load (runtime_load.erl) does to the VM: each sample in a VM of its own.
-module(bench_runtime_load).

-export([run/0]).
-export([long_schedules/1, rss_growth/0, entries/0]). % called in the other VM

-define(ENTRIES, 8). % the command of a counting build, see bl_runtime_drv.c

-spec run() -> ok.
run() ->
    ok = entry_cpu_max(),
    ok = long_schedule_lines(),
    ok = limit("runtime/rss_growth", "%", 5, 5, fun() -> in_another_vm([], [], rss_growth, []) end).

limit(Name, Unit, Rounds, Limit, Value) ->
    beamline_bench:compare(#{
        name => Name, unit => Unit, better => lower, goal => 1, rounds => Rounds,
        against => "limit", value => Value, floor => fun() -> Limit end
    }).

%% The other VM has nothing to say but its result.
in_another_vm(Args, Env, Function, Arguments) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), filelib:is_dir(Path)]),
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => Args ++ ["-kernel", "logger_level", "none" | Paths], env => Env}),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [beamline]),
    Result = peer:call(Peer, ?MODULE, Function, Arguments, 300_000),
    peer:stop(Peer),
    Result.

%% ---- the processor time of NIFs and of callbacks of the driver ----

%% Interrupts and the hypervisor count as a thread's processor time: a loop without system calls has rounds of
%% milliseconds (the line entry_cpu_noise). So an entry's cost is the least of what it took at most in each of five
%% loads: what it does itself it does every time.
entry_cpu_max() ->
    Priv = beamline_test:source_file("_build/c/count/priv"),
    Loads = [in_another_vm([], [{"BEAMLINE_PRIV", Priv}], entries, []) || _ <- lists:seq(1, 5)],
    Most = [{lists:min([element(2, lists:keyfind(Name, 1, Load)) || Load <- Loads]), Name} || Name <- names(Loads)],
    {Nanoseconds, Slowest} = lists:max(Most),
    io:format("  most of ~b entries: ~ts~n", [lists:sum([Times || Load <- Loads, {_, _, Times} <- Load]), Slowest]),
    ok = limit("runtime/entry_cpu_max", "us", 5, 1000, fun() -> Nanoseconds / 1000 end),
    beamline_bench:compare(#{
        name => "runtime/entry_cpu_noise", unit => "us", better => lower, against => "limit",
        value => fun() -> hd(beamline_bench:program("floor_cpu_time", ["300000"])) / 1000 end, floor => fun() -> 1000 end
    }).

%% Of entries that every load had.
names([First | Rest]) -> [Name || {Name, _, _} <- First, lists:all(fun(Load) -> lists:keymember(Name, 1, Load) end, Rest)].

-spec entries() -> [{atom(), Nanoseconds :: non_neg_integer(), Times :: pos_integer()}].
entries() ->
    ok = runtime_load:run(),
    {ok, Entries} = binary_to_term(port_control(beamline_runtime_pool:port(beamline_runtime), ?ENTRIES, <<>>)),
    Entries.

%% ---- what the VM says about its schedulers ----

%% Counts plus one. The VM of a floor's sample is the one of the value's sample after it.
%%
%% The VM says who ran when a scheduler was away for a millisecond, be it that the system had taken its processor away: with
%% more threads than processors that happens all the time, and to whoever runs then. Nobody in particular is named only where
%% each thread has a processor: one scheduler, and pools of one thread. The same count under the whole load is for information.
long_schedule_lines() ->
    put(crowded, []),
    ok = beamline_bench:compare(#{
        name => "runtime/long_schedules", unit => "events", better => lower, goal => 1.5, rounds => 5,
        against => "Erlang only",
        value => fun() -> get(events) + 1 end,
        floor => fun() ->
            {Events, Named, Control} = in_another_vm([], [], long_schedules, [run]),
            put(events, Events),
            put(crowded, [named(Named) | get(crowded)]),
            Control + 1
        end
    }),
    io:format("  of them named us, in each load: ~w~n", [lists:reverse(get(crowded))]),
    limit("runtime/long_schedules_named", "events", 1, 1, fun() -> lists:max([named_without_crowd() || _ <- lists:seq(1, 5)]) + 1 end).

named_without_crowd() ->
    {_, Events, _} = in_another_vm(["+S", "1"], [], long_schedules, [run_one_by_one]),
    named(Events).

named(Events) ->
    [io:format("  ~0p~n", [What]) || {_, What} <- Events],
    length(Events).

%% Events longer than 1 ms under load, those of them that name us, and those of as much time without us.
-spec long_schedules(run | run_one_by_one) -> {non_neg_integer(), [{pid() | port(), list()}], non_neg_integer()}.
long_schedules(How) ->
    Begin = erlang:monotonic_time(millisecond),
    Load = events_of(fun() -> runtime_load:How() end),
    Control = events_of(fun() -> runtime_load:erlang_only(erlang:monotonic_time(millisecond) - Begin) end),
    {length(Load), [E || E <- Load, names_us(E)], length(Control)}.

events_of(Fun) ->
    _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
    ok = Fun(),
    _ = erlang:system_monitor(undefined),
    events().

events() ->
    receive {monitor, Who, long_schedule, What} -> [{Who, What} | events()]
    after 0 -> []
    end.

%% A port of a pool, or a process that came or went in one of our modules of native code.
names_us({Port, _}) when is_port(Port) -> lists:member(Port, runtime_load:ports());
names_us({_, What}) ->
    lists:any(fun({_, {Module, _, _}}) -> lists:member(Module, [beamline_runtime_nif, beamline_runtime_drv]); (_) -> false end, What).

%% ---- memory ----

%% By how many percent the second load makes this VM larger.
-spec rss_growth() -> float().
rss_growth() ->
    ok = runtime_load:run(),
    First = rss_kb(),
    ok = runtime_load:run(),
    100 * (rss_kb() - First) / First.

rss_kb() ->
    [garbage_collect(Pid) || Pid <- processes()],
    receive after 500 -> ok end, % threads of pools end
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kb]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb).
