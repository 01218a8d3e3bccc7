%% SPDX-License-Identifier: Apache-2.0
%%
%% Faults of the OS process of a device: it is killed, stopped, crashes, while actors are called, sent to and connected.
-module(beamline_chaos_ring).
-include_lib("stdlib/include/assert.hrl").

-export([killed/0, stopped/0, crashes/0, owners/0]).

-import(beamline_chaos, [size/2]).
-import(beamline_test, [eventually/2]).

with_device(Opts, Test) ->
    Handlers = [beamline_test:built_file("ring/faulty_operations.so")],
    {ok, Device} = beamline_ring:open(maps:merge(#{threads => 2, isolation => os_process, handlers => Handlers}, Opts)),
    try
        Test(Device)
    after
        ok = beamline_ring:close(Device)
    end,
    eventually(fun() -> {Open, _} = beamline_ring:devices(), Open =:= 0 end, 20_000).

host(Device) -> {ok, #{host := Host}} = beamline_ring:info(Device), Host.

signal(Device, Signal) ->
    #{pid := Pid} = host(Device),
    Pid =:= 0 orelse ([] =:= os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(Pid))).

is_back(Device, Starts) -> eventually(fun() -> #{state := S, starts := N} = host(Device), S =:= up andalso N > Starts end, 60_000).

%% Callers that never stop, while process after process ends in that way; then every actor counts on from a checkpoint of its own.
killed() -> ends(#{checkpoint => 5}, fun(Device, _) -> signal(Device, "KILL") end, size(3, 40)).
stopped() -> ends(#{heartbeat => 200}, fun(Device, _) -> signal(Device, "STOP") end, size(1, 10)).
crashes() -> ends(#{checkpoint => {messages, 10}}, fun(_, Actor) -> beamline_ring:cast(Actor, {crash, <<>>}) end, size(3, 20)).

%% Back-off doubles with each end in a row, so a new device is taken for every few.
ends(Opts, End, Times) -> [with_device(Opts, fun(Device) -> ends(Device, End, 1, min(4, Times)) end) || _ <- lists:seq(1, Times, 4)].

ends(Device, End, From, Times) ->
    Actors = [element(2, beamline_ring:start(Device, faulty)) || _ <- lists:seq(1, 8)],
    {ok, Echo} = beamline_ring:start(Device, echo),
    ok = beamline_ring:connect(Echo, out, Echo),
    {ok, Sub} = beamline_ring:subscribe(Echo, #{window => 64}),
    Callers = [spawn_monitor(fun() -> call_until_told(Actor, Echo, 0) end) || Actor <- Actors],
    [begin
         timer:sleep(20),
         End(Device, hd(Actors)),
         is_back(Device, Start)
     end || Start <- lists:seq(From, From + Times - 1)],
    [P ! stop || {P, _} <- Callers],
    [receive {'DOWN', M, process, P, Why} -> ?assertEqual(normal, Why) after 60_000 -> error(hangs) end || {P, M} <- Callers],
    _ = beamline_ring:unsubscribe(Sub),
    [?assertMatch({ok, <<_:64/little>>}, beamline_ring:call(Actor, {count, <<>>})) || Actor <- Actors],
    flush().

%% A count never goes back further than to a checkpoint, and never forward by itself.
call_until_told(Actor, Echo, Last) ->
    Next = case beamline_ring:call(Actor, {count, <<>>}, #{timeout => 30_000}) of
        {ok, <<N:64/little>>} when N =< Last + 1 -> N;
        {ok, <<N:64/little>>} -> error({from, Last, to, N});
        {error, {busy, _}} -> receive after 1 -> Last end;
        {error, {host_exited, _}} -> Last + 1 % it may have been handled, and be in a checkpoint
    end,
    _ = beamline_ring:cast(Echo, {forward, <<Next:64>>}),
    _ = beamline_ring:cast(Echo, <<0:(8 * (Next rem 5000))>>),
    receive stop -> flush() after 0 -> call_until_told(Actor, Echo, max(Next, Last)) end.

flush() -> receive {beamline, _, _} -> flush() after 0 -> ok end.

%% Owners of devices and of actors die, also while processes start.
owners() ->
    with_device(#{}, fun(Device) ->
        [begin
             {Pid, Monitor} = spawn_monitor(fun() ->
                 {ok, Mine} = beamline_ring:open(#{threads => 1, isolation => os_process}),
                 [{ok, _} = beamline_ring:start(D, kv) || D <- [Mine, Device], _ <- lists:seq(1, 10)],
                 receive after N rem 3 -> exit(done) end
             end),
             N rem 2 =:= 0 andalso exit(Pid, kill),
             receive {'DOWN', Monitor, process, Pid, _} -> ok end
         end || N <- lists:seq(1, size(6, 100))],
        eventually(fun() -> {ok, #{actors := A}} = beamline_ring:info(Device), A =:= 0 end, 10_000)
    end).
