%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The OS process of a pool, as the pool's process sees it: started, watched, started again with back-off. What is
%% said through its sockets is the driver's business (c_src/runtime/bl_remote.c).
-module(beamline_runtime_host).

-export([start/3, handle/2, stop/1]).

-define(POLL_MS, 2).

-record(host, {
    pool :: beamline_runtime:pool(),
    driver :: port(),
    libraries :: [file:filename_all()],
    process = none :: port() | none,
    started = 0 :: integer(),
    back_off = none :: pos_integer() | none,
    timer = none :: reference() | none,
    join = none :: reference() | none % until when it joins; none: nobody has to
}).
-opaque host() :: #host{}.
-export_type([host/0]).

%% Waits until it is there. `Libraries': the user's operations, which it loads.
-spec start(beamline_runtime:pool(), port(), [file:filename_all()]) -> {ok, host()} | {error, beamline_runtime:reason()}.
start(Pool, Driver, Libraries) ->
    case spawn_host(#host{pool = Pool, driver = Driver, libraries = Libraries}) of
        {ok, Host} -> joined(Host, erlang:monotonic_time(millisecond) + beamline_os_process:join_ms());
        {error, _} = Error -> Error
    end.

joined(#host{driver = Driver, process = Process} = Host, Until) ->
    case beamline_runtime_drv:info(Driver) of
        {ok, #{host := #{state := up, threads := N}}} when N > 0 ->
            {ok, Host#host{join = none}};
        {ok, #{host := #{state := State}}} ->
            receive
                {Process, {exit_status, Status}} -> failed(Driver, Status)
            after ?POLL_MS ->
                case State =:= broken orelse erlang:monotonic_time(millisecond) > Until of
                    true -> failed(stop(Host), none);
                    false -> joined(Host, Until)
                end
            end;
        {error, _} = Error ->
            Error
    end.

%% The driver knows best why: ask it, when it has heard of the end.
failed(Driver, Status) ->
    ok = beamline_runtime_drv:host_exited(Driver, ended(Status)),
    wait_for_why(Driver, 500).

wait_for_why(Driver, Tries) ->
    case beamline_runtime_drv:info(Driver) of
        {ok, #{host := #{state := State, why := Why}}} when State =:= down; Tries =:= 0 -> {error, {host_exited, Why}};
        {ok, _} ->
            receive after ?POLL_MS -> ok end,
            wait_for_why(Driver, Tries - 1);
        {error, _} = Error ->
            Error
    end.

%% A message of the pool's process: `ignore' when it is none of the host's.
-spec handle(term(), host()) -> {ok, host()} | ignore.
handle({Process, {exit_status, Status}}, #host{process = Process} = Host) ->
    {ok, exited(ended(Status), Host)};
%% Closed by somebody: no status comes any more, and nothing else would start the next one.
handle({'EXIT', Process, _}, #host{process = Process} = Host) ->
    {ok, exited(<<"its port was closed">>, Host)};
handle({timeout, Timer, start_host}, #host{timer = Timer} = Host) ->
    case spawn_host(Host#host{timer = none}) of
        {ok, Started} ->
            beamline_runtime_log:host_started(Host#host.pool),
            {ok, Started};
        {error, Reason} ->
            Reason =:= {busy, 20} orelse beamline_runtime_log:host_not_started(Host#host.pool, Reason),
            {ok, later(0, Host)}
    end;
handle({timeout, Timer, join_host}, #host{join = Timer} = Host) ->
    {ok, late(beamline_runtime_drv:info(Host#host.driver), Host#host{join = none})};
handle({Process, {data, _}}, #host{process = Process} = Host) ->
    {ok, Host}; % it closes its output at once
handle({timeout, _, What}, Host) when What =:= start_host; What =:= join_host ->
    {ok, Host};
handle(_, _) ->
    ignore.

%% One that hangs before it has joined is known to nobody else, and would never be followed by another.
late({ok, #{host := #{state := up}}}, Host) ->
    Host;
late(_, #host{process = Process} = Host) ->
    ok = beamline_os_process:kill(Process),
    Host#host{join = join_timer()}. % its exit status comes first, if it could be killed

%% The end of its standard input ends a host, and so does the end of its sockets.
-spec stop(host()) -> port().
stop(#host{process = Process, driver = Driver, join = Join}) ->
    Join =:= none orelse beamline_os_process:kill(Process),
    ok = beamline_os_process:stop(Process),
    Driver.

exited(Why, #host{pool = Pool, driver = Driver, started = Started} = Host) ->
    ok = beamline_runtime_drv:host_exited(Driver, Why),
    beamline_runtime_log:host_exited(Pool, Why),
    later(erlang:monotonic_time(millisecond) - Started, Host#host{process = none, join = none}).

%% After one that lasted so long, 0 when it did not start at all.
later(LastedMs, #host{back_off = BackOff} = Host) ->
    Ms = beamline_os_process:back_off(BackOff, LastedMs),
    Host#host{timer = erlang:start_timer(Ms, self(), start_host), back_off = Ms}.

spawn_host(#host{driver = Driver, libraries = Libraries} = Host) ->
    case beamline_runtime_drv:listen(Driver) of
        {ok, Path} -> spawned(beamline_os_process:start([Path | Libraries]), Host);
        {error, _} = Error -> Error
    end.

spawned({ok, Process}, Host) ->
    {ok, Host#host{process = Process, started = erlang:monotonic_time(millisecond), join = join_timer()}};
spawned({error, _} = Error, #host{driver = Driver}) ->
    ok = beamline_runtime_drv:host_exited(Driver, <<"not started">>),
    Error.

join_timer() -> erlang:start_timer(beamline_os_process:join_ms(), self(), join_host).

ended(none) -> <<"it did not join">>;
ended(Status) -> beamline_os_process:ended(Status).
