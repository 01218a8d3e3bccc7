%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Opens devices, and owns those in a supervision tree. These stand in an ETS table of the application, by name and by pid.
-module(beamline_ring_device).
-behaviour(gen_server).

-export([open/1, start_link/1, stop/1, handle/1, new_table/0]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-define(TABLE, beamline_ring_devices).

-spec open(beamline_ring:device_options()) -> {ok, beamline_ring_nif:handle()} | {error, beamline_ring:reason()}.
open(Opts) ->
    ok = check(Opts),
    case maps:get(backend, Opts, auto) of
        cuda -> {error, {unsupported, cuda}};
        _ -> with_handlers(open_here(maps:get(isolation, Opts, vm), Opts), maps:get(handlers, Opts, []))
    end.

open_here(vm, Opts) -> beamline_ring_nif:open(config(Opts));
open_here(os_process, Opts) -> beamline_ring_process:open(process_config(Opts)).

config(Opts) ->
    {maps:get(threads, Opts, min(64, erlang:system_info(schedulers_online))), limit(maps:get(memory_limit, Opts, infinity)),
     maps:get(max_lost, Opts, 4), maps:get(max_actors, Opts, 1 bsl 20), maps:get(spin, Opts, 50), maps:get(stack_size, Opts, 0)}.

process_config(Opts) ->
    {Threads, Memory, _, Actors, _, Stack} = config(Opts),
    {Ms, Messages} = case maps:get(checkpoint, Opts, none) of
        none -> {0, 0};
        {messages, N} -> {0, N};
        Every -> {Every, 0}
    end,
    {Threads, Memory, maps:get(max_lost, Opts, 0), Actors, maps:get(spin, Opts, 0), Stack, maps:get(heartbeat, Opts, 5_000), Ms, Messages}.

limit(infinity) -> 0;
limit(Bytes) -> Bytes.

with_handlers({ok, Device}, Libraries) ->
    try load_all(Device, Libraries) of
        ok -> {ok, Device};
        {error, _} = Error -> _ = beamline_ring_nif:close(Device), Error
    catch
        Class:Reason:Stack ->
            _ = beamline_ring_nif:close(Device),
            erlang:raise(Class, Reason, Stack)
    end;
with_handlers({error, _} = Error, _) ->
    Error.

load_all(_, []) -> ok;
load_all(Device, [Library | Libraries]) ->
    case beamline_ring:load(Device, Library) of
        {ok, _} -> load_all(Device, Libraries);
        {error, _} = Error -> Error
    end.

check(Opts) when is_map(Opts) -> maps:foreach(fun check/2, Opts);
check(_) -> error(badarg).

check(backend, V) when V =:= cpu; V =:= cuda; V =:= auto -> ok;
check(threads, V) when is_integer(V), V > 0, V =< 64 -> ok;
check(memory_limit, infinity) -> ok;
check(memory_limit, V) when is_integer(V), V > 0, V < 1 bsl 63 -> ok;
check(max_lost, V) when is_integer(V), V >= 0, V =< 64 -> ok;
check(max_actors, V) when is_integer(V), V > 0, V < 1 bsl 63 -> ok;
check(spin, V) when is_integer(V), V >= 0, V =< 1_000_000 -> ok;
check(stack_size, V) when is_integer(V), V >= 65_536, V < 1 bsl 31 -> ok;
check(handlers, V) when is_list(V), length(V) >= 0 -> ok; % a proper one
check(isolation, V) when V =:= vm; V =:= os_process -> ok;
check(heartbeat, V) when is_integer(V), V >= 10, V =< 600_000 -> ok;
check(checkpoint, none) -> ok;
check(checkpoint, V) when is_integer(V), V > 0, V =< 86_400_000 -> ok;
check(checkpoint, {messages, V}) when is_integer(V), V > 0, V < 1 bsl 32 -> ok;
check(name, V) when is_atom(V) -> ok;
check(_, _) -> error(badarg).

-spec start_link(beamline_ring:device_options()) -> {ok, pid()} | {error, term()}.
start_link(Opts) ->
    ok = check(Opts),
    case maps:get(name, Opts, undefined) of
        undefined -> gen_server:start_link(?MODULE, Opts, []);
        Name -> gen_server:start_link({local, Name}, ?MODULE, Opts, [])
    end.

%% Of what is no device nothing ends.
-spec stop(atom() | pid()) -> ok.
stop(Device) ->
    case handle(Device) of
        {error, closed} -> ok;
        _ ->
            try
                gen_server:stop(Device)
            catch
                exit:_ -> ok % it has ended
            end
    end.

%% Of a name, a pid, or a handle itself.
-spec handle(beamline_ring:device()) -> beamline_ring_nif:handle() | {error, beamline_ring:reason()}.
handle(Handle) when is_reference(Handle) -> Handle;
handle(Device) when is_atom(Device); is_pid(Device) ->
    try
        ets:lookup_element(?TABLE, Device, 2)
    catch
        error:badarg -> {error, closed}
    end;
handle(_) -> error(badarg).

%% Called by the application's supervisor, which keeps the table as long as the application runs.
-spec new_table() -> ok.
new_table() ->
    ets:whereis(?TABLE) =/= undefined orelse ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}]),
    ok.

-spec init(beamline_ring:device_options()) -> {ok, term()} | {stop, term()}.
init(Opts) ->
    process_flag(trap_exit, true),
    case ets:whereis(?TABLE) =/= undefined andalso open(Opts) of
        false ->
            {stop, {not_started, beamline}};
        {ok, Handle} ->
            [ets:delete(?TABLE, Pid) || {Pid, _} <- ets:tab2list(?TABLE), is_pid(Pid), not is_process_alive(Pid)],
            Keys = [self() | [Name || #{name := Name} <- [Opts], Name =/= undefined]],
            ets:insert(?TABLE, [{Key, Handle} || Key <- Keys]),
            {ok, {Handle, Keys}};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_call(term(), {pid(), term()}, State) -> {reply, {error, beamline_ring:reason()}, State}.
handle_call(_Request, _From, State) -> {reply, {error, {unsupported, request}}, State}.

-spec handle_cast(term(), State) -> {noreply, State}.
handle_cast(_Request, State) -> {noreply, State}.

%% One that was killed could not unlist itself: what it listed answers closed, and goes when the next one starts.
-spec terminate(term(), {beamline_ring_nif:handle(), [atom() | pid()]}) -> ok.
terminate(_Reason, {Handle, Keys}) ->
    [ets:delete(?TABLE, Key) || Key <- Keys],
    _ = beamline_ring_nif:close(Handle),
    ok.
