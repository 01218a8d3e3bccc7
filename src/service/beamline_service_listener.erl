%% SPDX-License-Identifier: Apache-2.0
%% @private The sockets of a service, and how it stops. The only module that knows cowboy's and
%% ranch's settings; the same source runs on cowboy 2.8 (Debian) and 2.18.
-module(beamline_service_listener).
-behaviour(gen_server).

-export([start_link/1, available/0, protocol_options/1, port/1, url/1, drain/1, drain/2, connections/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% What drained work gets to send its answer once it has been told to stop.
-define(LAST_WORDS_MS, 2000).

-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(#{name := Name} = Config) ->
    gen_server:start_link({local, beamline_service_sup:process(Name, listener)}, ?MODULE, Config, []).

%% cowboy runs, or can be started.
-spec available() -> ok | {error, {unsupported, cowboy}}.
available() ->
    case application:ensure_all_started(cowboy) of
        {ok, _} -> ok;
        {error, _} -> {error, {unsupported, cowboy}}
    end.

-spec port(atom()) -> inet:port_number() | undefined.
port(Name) -> ranch:get_port(ref(Name)).

-spec url(atom()) -> binary() | undefined.
url(Name) -> url_of(ranch:get_addr(ref(Name))).

url_of({undefined, _}) -> undefined;
url_of({Ip, Port}) ->
    Host = case inet:ntoa(Ip) of
        V6 when tuple_size(Ip) =:= 8 -> [$[, V6, $]];
        V4 -> V4
    end,
    iolist_to_binary(["http://", Host, $:, integer_to_binary(Port)]).

-spec connections(atom()) -> non_neg_integer().
connections(Name) ->
    try maps:get(all_connections, ranch:info(ref(Name)))
    catch _:_ -> 0 end.

-spec drain(atom()) -> ok | {error, timeout | closed}.
drain(Name) -> call(Name, drain).

-spec drain(atom(), non_neg_integer()) -> ok | {error, timeout | closed}.
drain(Name, TimeoutMs) -> call(Name, {drain, TimeoutMs}).

call(Name, Request) ->
    try gen_server:call(beamline_service_sup:process(Name, listener), Request, infinity)
    catch exit:_ -> {error, closed} end.

-spec init(map()) -> {ok, map()} | {stop, term()}.
init(#{listener := false} = Config) ->
    process_flag(trap_exit, true),
    {ok, Config};
init(#{name := Name} = Config) ->
    process_flag(trap_exit, true),
    %% Those of a predecessor that was killed; a moment may pass until their port is free.
    Tries = case stop_sockets(Name) of ok -> 20; {error, not_found} -> 1 end,
    case start_sockets(Config, Tries) of
        {ok, _} -> {ok, Config};
        {error, Reason} -> {stop, Reason}
    end.

start_sockets(#{name := Name} = Config, Tries) ->
    Unknown = {'_', beamline_service_info_h, Config#{view => unknown}},
    Dispatch = cowboy_router:compile([{'_', beamline_service:routes(Config) ++ [Unknown]}]),
    case cowboy:start_clear(ref(Name), transport_options(Config), (protocol_options(Config))#{env => #{dispatch => Dispatch}}) of
        {error, eaddrinuse} when Tries > 1 ->
            receive after 50 -> start_sockets(Config, Tries - 1) end;
        Started -> Started
    end.

ref(Name) -> {?MODULE, Name}.

%% ranch counts for each acceptor apart.
transport_options(#{ip := Ip, port := Port, max_connections := Max, send_timeout := SendTimeout} = Config) ->
    Acceptors = hd([N || N <- [4, 3, 2, 1], Max rem N =:= 0]),
    #{max_connections => Max div Acceptors, num_acceptors => Acceptors, handshake_timeout => 5000,
      socket_opts => [{ip, Ip}, {port, Port}, {nodelay, true}, {backlog, 1024},
                      {send_timeout, SendTimeout}, {send_timeout_close, true}] ++ send_buffer(Config) ++ [inet6 || tuple_size(Ip) =:= 8]}.

send_buffer(#{send_buffer := Bytes}) -> [{sndbuf, Bytes}, {high_watermark, Bytes}, {low_watermark, Bytes div 2}];
send_buffer(_) -> [].

%% Reasons for the HTTP/2 numbers: doc/service.md.
-spec protocol_options(map()) -> map().
protocol_options(#{max_timeout := MaxTimeout, heartbeat := Heartbeat, max_body_bytes := MaxBody}) ->
    #{%% A body that uses up this window before it is read can leave the socket passive when it
      %% ends (2.8: the fin comes while reading is paused), and then nobody sees the client go
      %% away. The gate bounds what is held; this only must not be less than a body.
      initial_stream_flow_size => MaxBody + 65536,
      %% Between requests, and for a request's head.
      request_timeout => 30000,
      max_keepalive => 10000,
      max_request_line_length => 8000, max_header_name_length => 64, max_header_value_length => 4096, max_headers => 64,
      %% A waiting client sends nothing: over HTTP/2 this cannot be set per request. Bodies have
      %% a deadline of their own.
      idle_timeout => MaxTimeout + 60000,
      %% Ends a connection whose idle timeout was lifted and whose handler is gone; waiting
      %% handlers give a sign of life at every heartbeat.
      inactivity_timeout => max(60000, 4 * Heartbeat),
      shutdown_timeout => 5000,
      max_concurrent_streams => 100,
      max_received_frame_rate => {100000, 10000},
      initial_connection_window_size => 1048576, initial_stream_window_size => 1048576,
      stream_window_data_threshold => 1,
      max_connection_buffer_size => 64 * 1048576, max_stream_buffer_size => 32 * 1048576}.

-spec handle_call(drain | {drain, non_neg_integer()}, gen_server:from(), map()) -> {reply, ok | {error, timeout}, map()}.
handle_call(drain, _, #{drain_timeout := TimeoutMs} = Config) -> {reply, drain_now(TimeoutMs, Config), Config};
handle_call({drain, TimeoutMs}, _, Config) -> {reply, drain_now(TimeoutMs, Config), Config}.

-spec handle_cast(term(), map()) -> {noreply, map()}.
handle_cast(_, Config) -> {noreply, Config}.

-spec handle_info(term(), map()) -> {noreply, map()}.
handle_info(_, Config) -> {noreply, Config}.

-spec terminate(term(), map()) -> ok.
terminate(_, #{name := Name, listener := Listener, drain_timeout := TimeoutMs} = Config) ->
    _ = drain_now(TimeoutMs, Config),
    _ = Listener andalso stop_sockets(Name),
    ok.

drain_now(TimeoutMs, #{name := Name, listener := Listener}) ->
    _ = beamline_service_gate:close(Name),
    _ = Listener andalso ranch:suspend_listener(ref(Name)),
    case beamline_service_gate:wait_idle(Name, TimeoutMs) of
        ok -> ok;
        {error, timeout} ->
            _ = beamline_service_gate:cancel_all(Name),
            _ = beamline_service_gate:wait_idle(Name, ?LAST_WORDS_MS),
            {error, timeout}
    end.

stop_sockets(Name) ->
    try cowboy:stop_listener(ref(Name))
    catch _:_ -> {error, not_found} end. % ranch is not running, or knows no such listener
