%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The OS process of a device: started, watched, started again with back-off. Messages do not come through here: the NIF shares
%% memory with the process (c_src/ring/bl_far.h).
%%
%% This process ends when the device is closed, and the device when this process ends.
-module(beamline_ring_process).
-behaviour(gen_server).

-export([open/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(POLL_MS, 2).

-record(state, {
    device :: beamline_ring_nif:handle(),
    process = none :: port() | none,
    started = 0 :: integer(),
    back_off = none :: pos_integer() | none
}).

%% A device that belongs to the caller, and whose process is up. `Config': as beamline_ring_nif:far_open/1 takes it.
-spec open(tuple()) -> {ok, beamline_ring_nif:handle()} | {error, beamline_ring:reason()}.
open(Config) ->
    case gen_server:start(?MODULE, {Config, self()}, []) of
        {ok, Pid} -> gen_server:call(Pid, device);
        {error, Reason} -> {error, Reason}
    end.

-spec init({tuple(), pid()}) -> {ok, #state{}} | {stop, term()}.
init({Config, Owner}) ->
    process_flag(trap_exit, true),
    case beamline_ring_nif:far_open(Config) of
        {ok, Device} -> owned(start(#state{device = Device}), Owner);
        {error, Reason} -> {stop, Reason}
    end.

start(State) ->
    case spawn_process(State) of
        {ok, Started} -> joined(Started, erlang:monotonic_time(millisecond) + beamline_os_process:join_ms());
        {error, _} = Error -> Error
    end.

owned({ok, #state{device = Device} = State}, Owner) ->
    case beamline_ring_nif:give(Device, Owner) of
        ok -> {ok, State};
        {error, Reason} -> {stop, Reason}
    end;
owned({error, Reason}, _Owner) ->
    {stop, Reason}.

joined(#state{device = Device, process = Process} = State, Until) ->
    case beamline_ring_nif:far_state(Device) of
        {up, _} ->
            {ok, State};
        {down, Why} ->
            {error, {host_exited, Why}};
        {error, _} = Error ->
            Error;
        _ ->
            receive
                {Process, {exit_status, Status}} ->
                    ok = beamline_ring_nif:far_exited(Device, beamline_os_process:ended(Status)),
                    joined(State#state{process = none}, Until)
            after ?POLL_MS ->
                case erlang:monotonic_time(millisecond) > Until of
                    true ->
                        ok = beamline_os_process:kill(Process),
                        {error, {host_exited, <<"it did not join">>}};
                    false -> joined(State, Until)
                end
            end
    end.

spawn_process(#state{device = Device} = State) ->
    case beamline_ring_nif:far_listen(Device) of
        {ok, Path} -> spawned(beamline_os_process:start(["ring", Path]), State);
        {error, _} = Error -> Error
    end.

spawned({ok, Process}, State) ->
    {ok, State#state{process = Process, started = erlang:monotonic_time(millisecond)}};
spawned({error, _} = Error, #state{device = Device}) ->
    _ = beamline_ring_nif:far_exited(Device, <<"not started">>),
    Error.

-spec handle_call(term(), {pid(), term()}, #state{}) -> {reply, term(), #state{}}.
handle_call(device, _From, #state{device = Device} = State) -> {reply, {ok, Device}, State};
handle_call(_Request, _From, State) -> {reply, {error, {unsupported, request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Process, {exit_status, Status}}, #state{process = Process, device = Device} = State) ->
    _ = beamline_ring_nif:far_exited(Device, beamline_os_process:ended(Status)),
    again(State#state{process = none});
handle_info(start, #state{process = none} = State) ->
    case spawn_process(State) of
        {ok, #state{process = Process} = Started} ->
            _ = erlang:send_after(beamline_os_process:join_ms(), self(), {join, Process}),
            {noreply, Started};
        {error, {busy, Ms}} -> {noreply, later(Ms, State)};
        {error, closed} -> {stop, normal, State};
        {error, _} -> again(State)
    end;
handle_info({join, Process}, #state{process = Process, device = Device} = State) ->
    late(beamline_ring_nif:far_state(Device), Process),
    {noreply, State};
handle_info({'EXIT', Port, _}, State) when is_port(Port) ->
    {noreply, State};
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(_, State) ->
    {noreply, State}.

%% One that hangs before it has joined is known to nobody else, and would never be followed by another.
late({up, _}, _Process) -> ok;
late(_, Process) -> beamline_os_process:kill(Process).

%% Unless the device was closed.
again(#state{device = Device, started = Started, back_off = BackOff} = State) ->
    case beamline_ring_nif:far_state(Device) of
        {error, _} ->
            {stop, normal, State};
        {closed, _} ->
            {stop, normal, State};
        _ ->
            Ms = beamline_os_process:back_off(BackOff, erlang:monotonic_time(millisecond) - Started),
            {noreply, later(Ms, State#state{back_off = Ms})}
    end.

later(Ms, State) ->
    _ = erlang:send_after(Ms, self(), start),
    State.

%% The end of its standard input ends it, and so does the end of its socket.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{device = Device}) ->
    _ = beamline_ring_nif:close(Device),
    ok.
