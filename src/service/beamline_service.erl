%% SPDX-License-Identifier: Apache-2.0
%% @doc Beamline over HTTP: relaxations of crystal structures with progress, as
%% `doc/service.md' describes them.
%%
%% Nothing listens until this stands in somebody's supervision tree:
%% ```
%% {ok, Service} = beamline_service:start_link(#{port => 0}),
%% io:format("~ts~n", [beamline_service:url(beamline_service)]).
%% '''
%% It listens on the loopback address. There is no authentication yet, so any other address
%% needs `allow_remote => true', and something in front that knows who may come.
%%
%% A user's own cowboy takes the same handlers: put {@link child_spec/1} with
%% `listener => false' into the tree, {@link routes/1} with the same options into the dispatch
%% table, and {@link protocol_options/1} into the listener.
-module(beamline_service).

-export([start_link/1, child_spec/1, routes/1, protocol_options/1, url/1, port/1, drain/1, drain/2, options/1]).
-export_type([options/0]).

-type options() :: #{
    name => atom(),                               % default beamline_service; several services may run
    pool => atom(),                               % of beamline_runtime; default its default pool
    listener => boolean(),                        % default true
    ip => inet:ip_address(),                      % default {127,0,0,1}
    port => inet:port_number(),                   % default 8080; 0: any free one
    allow_remote => boolean(),                    % needed for an ip that is not loopback
    prefix => binary(),                           % of all paths; default <<>>
    %% Of one request.
    max_body_bytes => pos_integer(),              % default 16 MiB
    max_inflated_bytes => pos_integer(),          % that a compressed body may grow to; default 128 MiB, at most 1 GiB
    body_timeout => pos_integer(),                % ms for the whole body; default 30_000
    timeout => pos_integer(),                     % ms, where the client gives none; default 60_000, or max_timeout if less
    max_timeout => pos_integer(),                 % ms; default 600_000
    max_memory_limit => pos_integer() | infinity, % bytes a task may ask for; default infinity
    %% Of all requests together.
    max_connections => pos_integer(),             % default 1024
    max_in_flight => pos_integer(),               % relaxations being read or computed; default 256
    max_in_flight_bytes => pos_integer(),         % of their bodies; default 256 MiB
    %% Of asynchronous tasks.
    max_tasks => pos_integer(),                   % kept, running or finished; default 1000
    max_task_bytes => pos_integer(),              % of their results; default 256 MiB
    task_ttl => pos_integer(),                    % ms a result is kept; default 600_000
    max_watchers => pos_integer(),                % open /events streams; default 256
    %% Streams and stopping.
    heartbeat => pos_integer(),                   % ms between signs of life; default 15_000
    send_timeout => pos_integer(),                % ms until a reader that takes nothing is dropped; default 60_000
    send_buffer => pos_integer(),                 % bytes of the socket; default the system's
    drain_timeout => non_neg_integer()            % ms that a stop waits for work; default 30_000
}.

-define(MIB, 1048576).
%% Of a name, which has those of the service's processes behind it; of a time (twelve days), of which a `receive' takes four.
-define(MAX_NAME, 200).
-define(MAX_MS, 16#3FFFFFFF).

%% @doc Starts the service under the caller. `{error, {invalid, _}}' for a bad option,
%% `{error, {unsupported, cowboy | json}}' where a library is missing, `{error, eaddrinuse}' and
%% the like from the socket.
-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    case options(Options) of
        {ok, Config} -> start_checked(Config);
        Error -> Error
    end.

start_checked(#{name := Name, listener := Listener} = Config) ->
    case {beamline_service_json:library(), Listener andalso beamline_service_listener:available()} of
        {none, _} -> {error, {unsupported, json}};
        {_, {error, _} = Error} -> Error;
        _ -> started(supervisor:start_link({local, Name}, beamline_service_sup, Config))
    end.

%% The reason a stranger can read, not the supervisor's wrapping of it.
started({error, {shutdown, {failed_to_start_child, listener, Reason}}}) -> {error, Reason};
started(Other) -> Other.

%% @doc For a supervisor of yours. Its shutdown drains: see {@link drain/2}.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) when is_map(Options) ->
    #{id => maps:get(name, Options, ?MODULE), start => {?MODULE, start_link, [Options]}, type => supervisor, shutdown => infinity};
child_spec(Options) ->
    error(badarg, [Options]).

%% @doc The paths of the service for a dispatch table of your own, beside others of yours. Give
%% the options of {@link child_spec/1}. Raises `badarg' for bad ones.
%% ```
%% cowboy_router:compile([{'_', beamline_service:routes(#{prefix => <<"/beamline">>})}])
%% '''
-spec routes(options()) -> [{iodata(), module(), term()}].
routes(Options) ->
    case options(Options) of
        {ok, #{prefix := Prefix} = Config} ->
            [{[Prefix, "/v1/relaxations"], beamline_service_relaxations_h, Config},
             {[Prefix, "/v1/stability"], beamline_service_relaxations_h, Config#{work => stability}},
             {[Prefix, "/v1/structures/inspect"], beamline_service_relaxations_h, Config#{work => inspect}},
             {[Prefix, "/v1/structures/convert"], beamline_service_relaxations_h, Config#{work => convert}},
             {[Prefix, "/v1/structures/symmetry"], beamline_service_relaxations_h, Config#{work => symmetry}},
             {[Prefix, "/v1/tasks/:id"], beamline_service_tasks_h, Config#{view => task}},
             {[Prefix, "/v1/tasks/:id/events"], beamline_service_tasks_h, Config#{view => events}},
             {[Prefix, "/healthz"], beamline_service_info_h, Config#{view => health}},
             {[Prefix, "/readyz"], beamline_service_info_h, Config#{view => ready}},
             {[Prefix, "/metrics"], beamline_service_info_h, Config#{view => metrics}}];
        {error, _} -> error(badarg, [Options])
    end.

%% @doc The settings of cowboy that the service's own listener uses, for a listener of yours: merge
%% them with your `env'. Without them clients that go away may go unnoticed, and streams over
%% HTTP/2 may be cut off (doc/service.md). Raises `badarg' for bad options.
-spec protocol_options(options()) -> map().
protocol_options(Options) ->
    case options(Options) of
        {ok, Config} -> beamline_service_listener:protocol_options(Config);
        {error, _} -> error(badarg, [Options])
    end.

%% @doc The port the service listens on. `undefined' while it is draining. Raises `badarg' for a service without a listener.
-spec port(atom()) -> inet:port_number() | undefined.
port(Name) -> beamline_service_listener:port(Name).

%% @doc Where the service can be found; as {@link port/1}.
-spec url(atom()) -> binary() | undefined.
url(Name) -> beamline_service_listener:url(Name).

%% @doc Drains within the service's own `drain_timeout'.
-spec drain(atom()) -> ok | {error, timeout | closed}.
drain(Name) when is_atom(Name) -> beamline_service_listener:drain(Name);
drain(Name) -> error(badarg, [Name]).

%% @doc Stops accepting connections and work (`/readyz' answers 503), waits until what is in
%% flight is answered, and after `TimeoutMs' cancels the rest, which is then answered 503:
%% `{error, timeout}'. The service stays up to hand out the results of asynchronous tasks over
%% connections that exist; stopping it ends those too. `{error, closed}': there is no such service.
-spec drain(atom(), non_neg_integer()) -> ok | {error, timeout | closed}.
drain(Name, TimeoutMs) when is_atom(Name), is_integer(TimeoutMs), TimeoutMs >= 0, TimeoutMs =< ?MAX_MS ->
    beamline_service_listener:drain(Name, TimeoutMs);
drain(Name, TimeoutMs) ->
    error(badarg, [Name, TimeoutMs]).

%% @private All options with their defaults.
-spec options(options()) -> {ok, map()} | {error, {invalid, map()}}.
options(Options) when not is_map(Options) ->
    error(badarg, [Options]);
options(Options) ->
    Config = maps:merge(defaults(), Options),
    case [Key || {Key, Value} <- maps:to_list(Config), not valid(Key, Value)] of
        [] -> check_ip(Config);
        [Key | _] -> {error, {invalid, #{field => Key, why => <<"unknown option or bad value">>}}}
    end.

defaults() ->
    #{name => ?MODULE, pool => beamline_runtime, listener => true, ip => {127, 0, 0, 1}, port => 8080, allow_remote => false,
      prefix => <<>>, max_body_bytes => 16 * ?MIB, max_inflated_bytes => 128 * ?MIB, body_timeout => 30000, timeout => 60000,
      max_timeout => 600000, max_memory_limit => infinity, max_connections => 1024, max_in_flight => 256, max_in_flight_bytes => 256 * ?MIB,
      max_tasks => 1000, max_task_bytes => 256 * ?MIB, task_ttl => 600000, max_watchers => 256, heartbeat => 15000,
      send_timeout => 60000, drain_timeout => 30000}.

valid(name, Name) -> is_atom(Name) andalso byte_size(atom_to_binary(Name)) =< ?MAX_NAME;
valid(pool, Pool) -> is_atom(Pool);
valid(Key, Value) when Key =:= listener; Key =:= allow_remote -> is_boolean(Value);
valid(ip, Ip) -> is_tuple(Ip) andalso inet:ntoa(Ip) =/= {error, einval};
valid(port, Port) -> is_integer(Port) andalso Port >= 0 andalso Port =< 65535;
%% None of the signs that mean something to cowboy's router, or in an address.
valid(prefix, Prefix) ->
    is_binary(Prefix) andalso
        re:run(Prefix, "^(/[A-Za-z0-9._~!$&'()*+,;=@-]+)*$", [{capture, none}, dollar_endonly]) =:= match;
valid(drain_timeout, 0) -> true;
valid(max_memory_limit, infinity) -> true;
valid(max_memory_limit, Bytes) -> is_integer(Bytes) andalso Bytes > 0 andalso Bytes < 1 bsl 63;
valid(Key, Ms) when Key =:= body_timeout; Key =:= timeout; Key =:= max_timeout; Key =:= task_ttl; Key =:= heartbeat;
                    Key =:= send_timeout; Key =:= drain_timeout -> is_integer(Ms) andalso Ms > 0 andalso Ms =< ?MAX_MS;
valid(max_inflated_bytes, Bytes) -> is_integer(Bytes) andalso Bytes > 0 andalso Bytes =< 1024 * ?MIB;
valid(send_buffer, Bytes) -> is_integer(Bytes) andalso Bytes > 0 andalso Bytes < 1 bsl 31;
valid(Key, Value) -> is_map_key(Key, defaults()) andalso is_integer(Value) andalso Value > 0.

check_ip(#{allow_remote := true} = Config) -> {ok, Config};
check_ip(#{ip := {127, _, _, _}} = Config) -> {ok, Config};
check_ip(#{ip := {0, 0, 0, 0, 0, 0, 0, 1}} = Config) -> {ok, Config};
check_ip(#{listener := false} = Config) -> {ok, Config};
check_ip(_) -> {error, {invalid, #{field => ip, why => <<"not a loopback address; allow_remote => true says that this is meant">>}}}.
