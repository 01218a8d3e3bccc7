%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc The processor time of what the VM's schedulers call in the part ring: each function, and what runs when an owner dies or a
%% term is collected. The loads are what could be long in each of them.
-module(bench_ring_entries).

-export([run/0]).
-export([load/0]). % called in another VM

-define(MB100, 100000000).

%% As runtime/entry_cpu_max: interrupts count as a thread's time, so an entry's cost is the least of what it took at most in each
%% of five loads.
-spec run() -> ok.
run() ->
    Loads = [entries() || _ <- lists:seq(1, 5)],
    Names = lists:usort([Name || Load <- Loads, {Name, _, _} <- Load]),
    Most = [{lists:min([Ns || Load <- Loads, {N, Ns, _} <- Load, N =:= Name]), Name} || Name <- Names],
    Times = lists:sum([T || Load <- Loads, {_, _, T} <- Load]),
    Text = [io_lib:format("~ts ~b", [Name, round(Ns / 1000)]) || {Ns, Name} <- lists:reverse(lists:sort(Most))],
    io:format("  ~b entries of ~b kinds; us: ~ts~n", [Times, length(Names), lists:join(", ", Text)]),
    {Slowest, _} = lists:max(Most),
    beamline_bench:compare(#{
        name => "ring/entry_cpu_max", unit => "us", better => lower, goal => 1, rounds => 1, against => "limit",
        value => fun() -> Slowest / 1000 end, floor => fun() -> 1000 end
    }).

entries() ->
    File = filename:join("_build", "ring_entries_" ++ os:getpid()),
    Env = [{"BEAMLINE_PRIV", beamline_test:source_file("_build/c/count/priv")}, {"BEAMLINE_RING_ENTRIES", filename:absname(File)}],
    Paths = lists:append([["-pa", filename:absname(Path)] || Path <- code:get_path(), filelib:is_dir(Path)]),
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-kernel", "logger_level", "none" | Paths], env => Env}),
    ok = peer:call(Peer, ?MODULE, load, [], 300_000),
    Monitor = monitor(process, Peer),
    catch peer:call(Peer, erlang, halt, []),
    receive {'DOWN', Monitor, process, Peer, _} -> ok after 10_000 -> exit(lives) end,
    {ok, Text} = file:read_file(File),
    ok = file:delete(File),
    [begin [Name, Ns, Times] = string:lexemes(Line, " "), {Name, binary_to_integer(Ns), binary_to_integer(Times)} end
     || Line <- string:lexemes(Text, "\n")].

-spec load() -> ok.
load() ->
    {ok, _} = application:ensure_all_started(beamline),
    Loads = [fun many_threads/1, fun many_actors/1, fun full_queues/1, fun large_states/1, fun large_bodies/1, fun buffers/1,
             fun subscribers/1, fun many_routes/1, fun short_messages/1],
    [apart(fun() -> Load(#{isolation => Isolation}) end) || Isolation <- [vm, os_process], Load <- Loads],
    ok.

%% In a process that ends with all that it has, so that owners die with much.
apart(Fun) ->
    {Pid, Monitor} = spawn_monitor(Fun),
    receive {'DOWN', Monitor, process, Pid, Why} -> normal = Why end.

device(Opts) ->
    {ok, Device} = beamline_ring:open(maps:merge(#{threads => 1}, Opts)),
    Device.

echo(Device, Opts) -> {ok, Actor} = beamline_ring:start(Device, echo, Opts), Actor.

many_threads(Opts) ->
    Device = device(Opts#{threads => 64}),
    {ok, _} = beamline_ring:info(Device),
    ok = beamline_ring:close(Device).

%% Closed with its actors, then by its owner's death with as many.
many_actors(Opts) ->
    Device = device(Opts),
    _ = [echo(Device, #{}) || _ <- lists:seq(1, 10000)],
    ok = beamline_ring:close(Device),
    Other = device(Opts),
    _ = [echo(Other, #{}) || _ <- lists:seq(1, 10000)],
    ok.

full_queues(Opts) ->
    Device = device(Opts),
    [begin
         Actor = echo(Device, #{queue => 32768}),
         ok = beamline_ring:suspend(Actor),
         fill(Actor),
         ok = End(Actor)
     end || End <- [fun beamline_ring:close/1, fun(A) -> ok = beamline_ring:resume(A), beamline_ring:stop(A) end, fun(_) -> ok end]],
    ok.

fill(Actor) ->
    case beamline_ring:cast(Actor, <<1>>) of
        ok -> fill(Actor);
        {error, {busy, _}} -> ok
    end.

large_states(Opts) ->
    Device = device(Opts),
    {ok, Actor} = beamline_ring:start(Device, kv, #{state_size => ?MB100 div 64 * 64}),
    {ok, Checkpoint} = beamline_ring:checkpoint(Actor),
    {ok, _} = beamline_ring:info(Actor),
    {ok, Again} = beamline_ring:restore(Device, Checkpoint),
    ok = beamline_ring:upgrade(Again, #{}),
    ok = beamline_ring:close(Again),
    ok.

large_bodies(Opts) ->
    Device = device(Opts),
    Echo = echo(Device, #{}),
    Body = binary:copy(<<7>>, ?MB100),
    {ok, Body} = beamline_ring:call(Echo, Body),
    ok = beamline_ring:cast(Echo, Body),
    [{ok, _} = beamline_ring:call(Echo, binary:part(Body, 0, N)) || N <- [25, 512, 513, 4096, 4097, 65536, 1000000]],
    {ok, {Ref, _} = Request} = beamline_ring:request(Echo, Body),
    _ = beamline_ring:cancel(Request),
    receive {beamline, Ref, _} -> ok after 0 -> ok end.

buffers(Opts) ->
    Device = device(Opts),
    [begin
         {ok, Buffer} = beamline_ring:buffer(Device, Bytes),
         ok = beamline_ring:write(Buffer, 0, binary:copy(<<1>>, Bytes)),
         {ok, _} = beamline_ring:read(Buffer, 0, Bytes),
         {ok, View} = beamline_ring:view(Buffer, 0, Bytes div 2),
         {ok, _} = beamline_ring:size(View),
         ok = End(Buffer)
     end || Bytes <- [65536, 65537, ?MB100],
            End <- [fun take/1, fun beamline_ring:close/1, fun(_) -> true = erlang:garbage_collect(), ok end]],
    ok.

take(Buffer) -> {ok, _} = beamline_ring:take(Buffer), ok.

subscribers(Opts) ->
    Device = device(Opts),
    Echo = echo(Device, #{queue => 4096}),
    Subscriptions = [begin {ok, S} = beamline_ring:subscribe(Echo, #{window => 4096}), S end || _ <- lists:seq(1, 64)],
    ok = beamline_ring:cast_all(Echo, lists:duplicate(4000, <<1>>)),
    [true = beamline_ring:credit(S, 1000) || S <- Subscriptions],
    [_ = beamline_ring:unsubscribe(S) || S <- lists:sublist(Subscriptions, 32)],
    ok.

%% The last one copies four thousand routes.
many_routes(Opts) ->
    Device = device(Opts),
    [From, To] = [echo(Device, #{}) || _ <- [1, 2]],
    [ok = beamline_ring:connect(From, out, To) || _ <- lists:seq(1, 4096)],
    {error, {limit, _}} = beamline_ring:connect(From, out, To),
    {ok, 4096} = beamline_ring:disconnect(From, out, all),
    {Pid, Monitor} = spawn_monitor(fun() -> receive stop -> ok end end),
    ok = beamline_ring:controlling_process(To, Pid),
    Pid ! stop,
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

short_messages(Opts) ->
    Device = device(Opts),
    Echo = echo(Device, #{}),
    [{ok, <<1>>} = beamline_ring:call(Echo, <<1>>) || _ <- lists:seq(1, 20000)],
    [ok = beamline_ring:stop(echo(Device, #{})) || _ <- lists:seq(1, 2000)],
    ok.
