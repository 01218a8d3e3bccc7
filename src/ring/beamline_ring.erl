%% SPDX-License-Identifier: Apache-2.0
%% @doc Ring kernels: actors in C that stay resident on threads of their own and take messages from a ring in memory.
%%
%% A <em>device</em> has threads, memory and handlers. An <em>actor</em> is a handler, a ring, and a state of so many bytes.
%% A message is put into the ring by the calling process itself, without a lock and without a hop; the answer comes straight
%% from the device's thread.
%%
%% ```
%% 1> {ok, Device} = beamline_ring:open(#{}).
%% 2> {ok, Table} = beamline_ring:start(Device, kv, #{}).
%% 3> {ok, <<0>>} = beamline_ring:call(Table, {put, <<3, "key", "value">>}).
%% 4> {ok, <<1, "value">>} = beamline_ring:call(Table, {get, <<"key">>}).
%% '''
%%
%% <table>
%% <tr><th>message to a process</th><th>when</th></tr>
%% <tr><td>`{beamline, Ref, {ok, Binary} | {error, Reason}}'</td><td>the answer of a {@link request/3}: exactly one</td></tr>
%% <tr><td>`{beamline, Subscription, {batch, [Binary]}}'</td><td>results of casts, see {@link subscribe/2}</td></tr>
%% <tr><td>`{beamline, ActorRef, {undelivered, Function, Reason}}'</td><td>to who has cast: the message was accepted and
%%     then not handled, or refused by the handler. For a message of another actor: to the owner</td></tr>
%% <tr><td>`{beamline, ActorRef, {failed, Reason}}'</td><td>to the owner: the actor failed, or (`closed') its device ended</td></tr>
%% </table>
%% `ActorRef' is {@link ref/1} of the actor. A device, an actor and a buffer end with the process that made them or by
%% {@link close/1}, a buffer also when nobody has a term for it any more; {@link controlling_process/2} hands them over. See
%% doc/ring.md.
%%
%% With `isolation => os_process' all of a device runs in a process of the operating system. When that ends, what was under way
%% is answered `{error, {host_exited, Why}}', and the next process goes on with the actors' last checkpoints; until it is up
%% everything is `{error, {busy, Ms}}'. Buffers outlive the process.
-module(beamline_ring).

-export([open/1, close/1, start_link/1, child_spec/1, devices/0, handlers/1, load/2]).
-export([start/2, start/3, restore/2, restore/3, ref/1, info/1, controlling_process/2]).
-export([cast/2, cast/3, cast_all/2, cast_all/3, call/2, call/3, request/2, request/3, await/1, await/2, cancel/1]).
-export([connect/3, disconnect/3, subscribe/2, unsubscribe/1, credit/2]).
-export([suspend/1, resume/1, checkpoint/1, upgrade/2, stop/1, stop/2]).
-export([buffer/2, write/3, read/3, view/3, take/1, size/1]).

-export_type([device/0, actor/0, buffer/0, subscription/0, request/0, message/0, checkpoint/0,
              library/0, guest_code/0, guest_options/0, device_options/0, start_options/0, send_options/0, reason/0]).

-type device() :: beamline_ring_nif:handle() | atom() | pid().
%% A handle, or the name or pid of a device in a supervision tree.
-opaque actor() :: {beamline_actor, beamline_ring_nif:handle(), reference(), Device :: beamline_ring_nif:handle()}.
-opaque buffer() :: beamline_ring_nif:handle().
-type subscription() :: reference().
-type request() :: {Ref :: reference(), Id :: term()}.
-type reason() :: beamline_runtime:reason().
-type message() :: binary() | {Function :: atom() | non_neg_integer(), binary() | [buffer()]}.
%% The handler's function by name or number, 0 if it is not said; its bytes, or up to three buffers.
-type checkpoint() :: #{handler := atom(), version := non_neg_integer(), state := binary(), stamp := non_neg_integer()}.

-type library() :: file:name_all() | {wasm, guest_code()} | {wasm, guest_code(), guest_options()}.
%% The file name of a shared object, or WebAssembly.
-type guest_code() :: binary() | beamline_wasm:module_().
%% Bytes, text, or compiled (not for a device in an OS process: that compiles by itself).

-type guest_options() :: #{
    %% bytes of each actor's memory; default 16_777_216
    memory_limit => 1..16#1_0000_0000,
    %% how bytes are compiled, see beamline_wasm:compile/2; default engine: dense. In an OS process `cache' is not used
    engine => fast | dense | deterministic, off => [atom()], stack => pos_integer(), max_bytes => pos_integer(),
    cache => file:filename() | none, timeout => timeout()
}.

-type device_options() :: #{
    %% default `auto', which is `cpu' as long as there is no other; `cuda' answers `{error, {unsupported, cuda}}'
    backend => cpu | cuda | auto,
    %% default: one per online scheduler
    threads => 1..64,
    %% bytes of actors, buffers and messages; default: no limit
    memory_limit => pos_integer() | infinity,
    %% threads that may be lost in handlers before the device refuses new work; default 4
    max_lost => 0..64,
    %% default 1_048_576
    max_actors => pos_integer(),
    %% microseconds that a thread spins before it parks; default 50
    spin => 0..1_000_000,
    %% bytes of each thread's stack; default: the system's
    stack_size => pos_integer(),
    %% handlers of your own, see {@link load/2}
    handlers => [library()],
    %% default `vm'. In a process of the operating system a handler may crash: that process is killed and started again, and
    %% its actors go on from their last checkpoints. `max_lost' is 0 there if it is not given. See doc/ring.md
    isolation => vm | os_process,
    %% of an OS process: milliseconds without a sign of life; default 5_000
    heartbeat => 10..600_000,
    %% of an OS process: milliseconds, or messages of an actor, between two checkpoints of it; default `none'
    checkpoint => none | 1..86_400_000 | {messages, pos_integer()},
    %% of start_link/1: a registered name; default none
    name => atom()
}.

-type start_options() :: #{
    %% what the state begins with; zeroes follow
    state => binary(),
    %% bytes of the state; default: the handler's, or that of a longer `state'
    state_size => pos_integer(),
    %% messages that may wait; default 16, rounded up to a power of two
    queue => pos_integer(),
    %% default `normal'
    priority => low | normal | high | critical,
    %% default: the caller
    owner => pid()
}.

-type send_options() :: #{
    %% milliseconds; default 60_000. After it the message is not begun, and a handler under way is told to stop
    timeout => non_neg_integer() | infinity
}.

-define(TIMEOUT, 60_000).
-define(CONTROL_TIMEOUT, 5_000).
-define(MAX_TIMEOUT, 16#FFFFFFFF).
-define(IS_TIMEOUT(T), (T =:= infinity orelse (is_integer(T) andalso T >= 0 andalso T =< ?MAX_TIMEOUT))).

%%% Devices

%% @doc Opens a device that belongs to the calling process.
-spec open(device_options()) -> {ok, device()} | {error, reason()}.
open(Opts) -> beamline_ring_device:open(Opts).

%% @doc Ends a device, an actor (without draining: {@link stop/1} drains) or a buffer. Harmless when it has ended.
-spec close(device() | actor() | buffer()) -> ok.
close({beamline_actor, Handle, _, _}) -> closed(beamline_ring_nif:close(Handle));
close(Handle) when is_reference(Handle) -> closed(beamline_ring_nif:close(Handle));
close(Device) -> beamline_ring_device:stop(Device).

closed(_) -> ok.

%% @doc A device in a process of its own, linked to the caller, for a supervisor. Ends with it.
-spec start_link(device_options()) -> {ok, pid()} | {error, term()}.
start_link(Opts) -> beamline_ring_device:start_link(Opts).

%% @doc For your own supervisor.
-spec child_spec(device_options()) -> supervisor:child_spec().
child_spec(Opts) when not is_map(Opts) ->
    error(badarg);
child_spec(Opts) ->
    #{id => maps:get(name, Opts, beamline_ring), start => {?MODULE, start_link, [Opts]}, shutdown => 5_000,
      modules => [beamline_ring_device]}.

%% @doc What all devices of this node do and hold, and the number of requests without an answer.
-spec devices() -> {non_neg_integer(), [map()]} | {error, reason()}.
devices() -> beamline_ring_nif:devices().

%% @doc The handlers that a device knows, the newest first.
-spec handlers(device()) -> {ok, [map()]} | {error, reason()}.
handlers(Device) ->
    case on_device(Device, fun beamline_ring_nif:handlers/1) of
        {ok, Rows} ->
            {ok, [#{name => Name, version => Version, state_size => Size, functions => Functions, ports => Ports,
                    summary => list_to_binary(Summary), sandboxed => Sandboxed}
                  || {Name, Version, Size, Functions, Ports, Summary, Sandboxed} <- Rows]};
        {error, _} = Error -> Error
    end.

%% @doc Adds the handlers of a shared object, or of a module of WebAssembly; the number of them. What has a name that is there already
%% is the newer version. A shared object is trusted like a NIF and stays loaded: a new version needs a new file name. A module of
%% WebAssembly runs in a sandbox, each actor in one of its own; it goes with the device. See doc/ring.md for what it exports.
%%
%% `{invalid, #{field => handlers | imports | memory}}': it is no handler. `{unsupported, wasmtime}': the library is not here. `{limit, _}',
%% `{trap, _}', `timeout': from its own code, which has a second; and what {@link beamline_wasm:compile/2} answers.
-spec load(device(), library()) -> {ok, pos_integer()} | {error, reason()}.
load(Device, {wasm, Code}) -> load(Device, {wasm, Code, #{}});
load(Device, {wasm, Code, Opts}) ->
    on_device(Device, fun(Handle) ->
        case beamline_ring_guest:load(Handle, Code, Opts) of
            {Request, Timeout} when is_tuple(Request) -> await(Request, Timeout);
            Answer -> Answer
        end
    end);
load(Device, Path) ->
    Absolute = absolute(Path),
    on_device(Device, fun(Handle) ->
        case beamline_ring_nif:load(Handle, Absolute) of
            ask -> ask(Handle, Absolute);
            Answer -> Answer
        end
    end).

%% A binary's encoding is the caller's.
absolute(Path) ->
    Name = try filename:absname(Path) catch error:_ -> error(badarg) end,
    Bytes = if is_binary(Name) -> Name; true -> unicode:characters_to_binary(Name) end,
    is_binary(Bytes) andalso byte_size(Bytes) > 0 andalso binary:match(Bytes, <<0>>) =:= nomatch orelse error(badarg),
    Bytes.

%% Of a device in an OS process.
ask(Handle, What) ->
    Ref = make_ref(),
    case beamline_ring_nif:far_ask(Handle, What, Ref) of
        Id when is_integer(Id) -> await({Ref, {Id, Handle}}, ?CONTROL_TIMEOUT);
        Answer -> Answer
    end.

on_device(Device, Fun) ->
    case beamline_ring_device:handle(Device) of
        {error, _} = Error -> Error;
        Handle -> Fun(Handle)
    end.

%%% Actors

%% @equiv start(Device, Handler, #{})
-spec start(device(), atom()) -> {ok, actor()} | {error, reason()}.
start(Device, Handler) -> start(Device, Handler, #{}).

%% @doc Starts an actor with the newest handler of that name.
%%
%% `{unsupported, handler}': there is none. `{invalid, #{field => state}}': its state is not one. `{limit, _}': memory, actors,
%% sizes. `{device_failed, _}': too many threads are lost. Raises `badarg' for wrong options.
-spec start(device(), atom(), start_options()) -> {ok, actor()} | {error, reason()}.
start(Device, Handler, Opts) when is_atom(Handler), is_map(Opts) -> start(Device, Handler, Opts, -1, 0);
start(_, _, _) -> error(badarg).

start(Device, Handler, Opts, Version, Stamp) ->
    {Start, Owner} = start_options(Opts, Version, Stamp),
    on_device(Device, fun(Handle) ->
        Ref = make_ref(),
        case beamline_ring_nif:start(Handle, Handler, Start, Ref) of
            {ok, Actor} -> owned({beamline_actor, Actor, Ref, Handle}, Owner);
            {Id, Request, Actor} -> started({Request, {Id, Actor}}, {beamline_actor, Actor, Ref, Handle}, Owner);
            {error, _} = Error -> Error
        end
    end).

started(Request, Actor, Owner) ->
    case await(Request, ?CONTROL_TIMEOUT) of
        ok -> owned(Actor, Owner);
        {error, _} = Error -> ok = close(Actor), Error
    end.

owned(Actor, Owner) when Owner =:= self() -> {ok, Actor};
owned(Actor, Owner) ->
    case controlling_process(Actor, Owner) of
        ok -> {ok, Actor};
        {error, _} = Error -> ok = close(Actor), Error
    end.

start_options(Opts, Version, Stamp) ->
    {State, Size, Queue, Priority, Owner} =
        maps:fold(fun start_option/3, {<<>>, 0, 16, 1, self()}, Opts),
    {{State, Size, Queue, Priority, Version, Stamp}, Owner}.

start_option(state, V, O) when is_binary(V) -> setelement(1, O, V);
start_option(state_size, V, O) when is_integer(V), V > 0, V < 1 bsl 63 -> setelement(2, O, V);
start_option(queue, V, O) when is_integer(V), V > 0, V < 1 bsl 63 -> setelement(3, O, V);
start_option(priority, V, O) -> setelement(4, O, priority(V));
start_option(owner, V, O) when is_pid(V), node(V) =:= node() -> setelement(5, O, V);
start_option(_, _, _) -> error(badarg).

priority(low) -> 0;
priority(normal) -> 1;
priority(high) -> 2;
priority(critical) -> 3;
priority(_) -> error(badarg).

%% @equiv restore(Device, Checkpoint, #{})
-spec restore(device(), checkpoint()) -> {ok, actor()} | {error, reason()}.
restore(Device, Checkpoint) -> restore(Device, Checkpoint, #{}).

%% @doc Starts an actor from a checkpoint. The newest handler of that name takes it, through its migration function if the
%% version differs; its clock goes on from the checkpoint's. Without `state_size' the state has the size that it had.
-spec restore(device(), checkpoint(), start_options()) -> {ok, actor()} | {error, reason()}.
restore(Device, #{handler := Handler, version := Version, state := State, stamp := Stamp}, Opts)
  when is_atom(Handler), is_integer(Version), Version >= 0, Version < 1 bsl 31, is_binary(State), is_integer(Stamp), Stamp >= 0,
       Stamp < 1 bsl 63, is_map(Opts) ->
    start(Device, Handler, Opts#{state => State}, Version, Stamp);
restore(_, _, _) -> error(badarg).

%% @doc The actor's name in messages.
-spec ref(actor()) -> reference().
ref({beamline_actor, _, Ref, _}) -> Ref.

%% @doc Counters and gauges of an actor (`state', `queued', `handled', ...), or of a device.
-spec info(actor() | device()) -> {ok, map()} | {error, reason()}.
info({beamline_actor, Handle, _, _}) ->
    case beamline_ring_nif:actor_info(Handle) of
        ask -> ask(Handle, info);
        Answer -> Answer
    end;
info(Device) ->
    on_device(Device, fun(Handle) ->
        case beamline_ring_nif:device_info(Handle) of
            ask ->
                _ = ask(Handle, info), % between two processes: what the last one told
                beamline_ring_nif:far_ask(Handle, last, make_ref());
            Answer -> Answer
        end
    end).

%% @doc Makes another local process the owner. Only the owner may.
-spec controlling_process(actor() | buffer() | device(), pid()) -> ok | {error, reason()}.
controlling_process({beamline_actor, Handle, _, _}, Pid) -> beamline_ring_nif:give(Handle, Pid);
controlling_process(Handle, Pid) when is_reference(Handle) -> beamline_ring_nif:give(Handle, Pid);
controlling_process(Device, Pid) when is_atom(Device); is_pid(Device) ->
    on_device(Device, fun(Handle) -> beamline_ring_nif:give(Handle, Pid) end);
controlling_process(_, _) -> error(badarg).

%%% Messages

%% @doc Sends a message, does not wait. `{busy, RetryAfterMs}': the ring is full. `ok' means accepted: if it is not handled
%% after all the caller gets `{beamline, ActorRef, {undelivered, Function, Reason}}'.
-spec cast(actor(), message()) -> ok | {error, reason()}.
cast({beamline_actor, Handle, _, _}, Message) -> beamline_ring_nif:cast(Handle, Message, ?TIMEOUT).

-spec cast(actor(), message(), send_options()) -> ok | {error, reason()}.
cast({beamline_actor, Handle, _, _}, Message, Opts) -> beamline_ring_nif:cast(Handle, Message, wire(timeout_of(Opts))).

%% @equiv cast_all(Actor, Messages, #{})
-spec cast_all(actor(), [message()]) -> ok | {error, reason(), Rest :: [message()]}.
cast_all(Actor, Messages) -> cast_all(Actor, Messages, #{}).

%% @doc Casts one after the other, at a fraction of their price. The first that is refused ends it: those in front of `Rest' were
%% accepted, each as {@link cast/3} tells. What is no message raises `badarg'; those in front of it are sent.
-spec cast_all(actor(), [message()], send_options()) -> ok | {error, reason(), Rest :: [message()]}.
cast_all({beamline_actor, Handle, _, _}, Messages, Opts) -> cast_rest(Handle, Messages, wire(timeout_of(Opts))).

cast_rest(_, [], _) -> ok;
cast_rest(Handle, Messages, Timeout) ->
    case beamline_ring_nif:cast_some(Handle, Messages, Timeout) of
        {ok, Rest} -> cast_rest(Handle, Rest, Timeout);
        {{error, Reason}, Rest} -> {error, Reason, Rest};
        {error, Reason} -> {error, Reason, Messages}
    end.

%% @equiv call(Actor, Message, #{})
-spec call(actor(), message()) -> {ok, binary()} | {error, reason()}.
call(Actor, Message) -> call(Actor, Message, #{}).

%% @doc Sends a message and waits for its answer; `{ok, <<>>}' when the handler replies nothing. Answers at the deadline,
%% whatever the handler does.
-spec call(actor(), message(), send_options()) -> {ok, binary()} | {error, reason()}.
call({beamline_actor, Handle, _, _}, Message, Opts) ->
    Timeout = timeout_of(Opts),
    Ref = make_ref(),
    case beamline_ring_nif:call(Handle, Message, wire(Timeout), Ref) of
        Id when is_integer(Id) -> await({Ref, {Id, Handle}}, Timeout);
        Answer -> Answer
    end.

%% @equiv request(Actor, Message, #{})
-spec request(actor(), message()) -> {ok, request()} | {error, reason()}.
request(Actor, Message) -> request(Actor, Message, #{}).

%% @doc Sends a message; its answer comes as `{beamline, Ref, Answer}' where `{Ref, _}' is the request. The caller that does
%% not want to wait for ever uses {@link await/2}, or {@link cancel/1} at his own time.
-spec request(actor(), message(), send_options()) -> {ok, request()} | {error, reason()}.
request({beamline_actor, Handle, _, _}, Message, Opts) ->
    Ref = make_ref(),
    case beamline_ring_nif:request(Handle, Message, wire(timeout_of(Opts)), Ref) of
        {error, _} = Error -> Error;
        Id -> {ok, {Ref, {Id, Handle}}}
    end.

%% @equiv await(Request, 60_000)
-spec await(request()) -> {ok, binary()} | {error, reason()}.
await(Request) -> await(Request, ?TIMEOUT).

%% @doc The answer of a request; after the timeout the request is cancelled.
-spec await(request(), timeout()) -> ok | {ok, term()} | {error, reason()}.
await({Ref, _} = Request, Timeout) when ?IS_TIMEOUT(Timeout) ->
    receive {beamline, Ref, Answer} -> Answer
    after Timeout ->
        case cancel(Request) of
            true -> {error, timeout};
            false -> receive {beamline, Ref, Answer} -> Answer end
        end
    end;
await(_, _) ->
    error(badarg).

%% @doc Gives a request up: `true', and no answer comes; `false', and it is there or on its way. The message is handled all
%% the same if its deadline allows.
-spec cancel(request()) -> boolean().
cancel({_, {Id, _}}) -> beamline_ring_nif:cancel(Id).

timeout_of(Opts) when map_size(Opts) =:= 0 -> ?TIMEOUT;
timeout_of(#{timeout := Timeout} = Opts) when map_size(Opts) =:= 1, ?IS_TIMEOUT(Timeout) -> Timeout;
timeout_of(_) -> error(badarg).

wire(infinity) -> -1;
wire(Ms) -> Ms.

%%% Actors to actors, subscribers

%% @doc What the handler of `From' sends to `Port' (a name or number) goes to `To', too. Without the host: from ring to ring.
-spec connect(actor(), atom() | non_neg_integer(), actor()) -> ok | {error, reason()}.
connect({beamline_actor, From, _, _}, Port, {beamline_actor, To, _, _}) ->
    case beamline_ring_nif:route(true, From, Port, To) of
        ok -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Takes connections of a port off, those to one actor or all; how many there were.
-spec disconnect(actor(), atom() | non_neg_integer(), actor() | all) -> {ok, non_neg_integer()} | {error, reason()}.
disconnect({beamline_actor, From, _, _}, Port, all) -> disconnected(beamline_ring_nif:route(false, From, Port, all));
disconnect({beamline_actor, From, _, _}, Port, {beamline_actor, To, _, _}) -> disconnected(beamline_ring_nif:route(false, From, Port, To)).

disconnected({ok, _} = Ok) -> Ok;
disconnected({error, _} = Error) -> Error.

%% @doc The calling process gets what the handler replies to casts, as `{beamline, Subscription, {batch, [Binary]}}'.
%%
%% With `window' at most so many results come before {@link credit/2} allows more; meanwhile the actor waits, its ring fills,
%% and who casts is told `busy'.
-spec subscribe(actor(), #{window => pos_integer() | infinity}) -> {ok, subscription()} | {error, reason()}.
subscribe({beamline_actor, Handle, _, _}, Opts) -> beamline_ring_nif:subscribe(Handle, window(Opts)).

window(#{window := N} = Opts) when map_size(Opts) =:= 1, is_integer(N), N > 0, N < 1 bsl 62 -> N;
window(#{window := infinity} = Opts) when map_size(Opts) =:= 1 -> 0;
window(Opts) when map_size(Opts) =:= 0 -> 0;
window(_) -> error(badarg).

%% @doc `false' when it had ended. Batches that are on their way may still come.
-spec unsubscribe(subscription()) -> boolean().
unsubscribe(Subscription) -> beamline_ring_nif:unsubscribe(Subscription).

%% @doc Allows so many results more. `false' when it has ended.
-spec credit(subscription(), pos_integer()) -> boolean().
credit(Subscription, Results) -> beamline_ring_nif:credit(Subscription, Results).

%%% Between two messages

%% @doc Returns when no handler of the actor runs; what comes waits in the ring.
-spec suspend(actor()) -> ok | {error, reason()}.
suspend(Actor) -> control(Actor, suspend, none, ?CONTROL_TIMEOUT).

%% @doc Goes on after {@link suspend/1}.
-spec resume(actor()) -> ok | {error, reason()}.
resume(Actor) -> control(Actor, resume, none, ?CONTROL_TIMEOUT).

%% @doc The state after all messages that were accepted before; of a suspended actor the state as it is.
-spec checkpoint(actor()) -> {ok, checkpoint()} | {error, reason()}.
checkpoint(Actor) -> control(Actor, checkpoint, none, ?CONTROL_TIMEOUT).

%% @doc Gives the actor the newest handler of its name, after loading `library' if that is given. Messages that were
%% accepted before are handled by the old one; in a suspended actor those that wait meet the new one. The state goes through the
%% handler's migration function when the versions differ. If that refuses the actor stays as it is. A module of WebAssembly is compiled, and
%% takes one of a device's 1,024 places for handlers, each time: for many actors {@link load/2} it once.
-spec upgrade(actor(), #{library => library()}) -> ok | {error, reason()}.
upgrade({beamline_actor, _, _, Device} = Actor, #{library := Path} = Opts) ->
    case load(Device, Path) of
        {ok, _} -> upgrade(Actor, maps:remove(library, Opts));
        {error, _} = Error -> Error
    end;
upgrade(Actor, Opts) when map_size(Opts) =:= 0 ->
    case info(Actor) of
        {ok, #{handler := Handler}} -> control(Actor, upgrade, Handler, ?CONTROL_TIMEOUT);
        {error, _} = Error -> Error
    end;
upgrade(_, _) -> error(badarg).

%% @equiv stop(Actor, 5_000)
-spec stop(actor()) -> ok | {error, reason()}.
stop(Actor) -> stop(Actor, ?CONTROL_TIMEOUT).

%% @doc Accepts nothing more, handles what waits, and ends. After the timeout it is closed without waiting:
%% `{error, timeout}'. Whatever this answers, the actor has ended.
-spec stop(actor(), timeout()) -> ok | {error, reason()}.
stop({beamline_actor, Handle, _, _} = Actor, Timeout) when ?IS_TIMEOUT(Timeout) ->
    Answer = control(Actor, stop, none, Timeout),
    _ = beamline_ring_nif:close(Handle),
    Answer;
stop(_, _) ->
    error(badarg).

control({beamline_actor, Handle, _, _}, Kind, Handler, Timeout) ->
    Ref = make_ref(),
    case beamline_ring_nif:control(Handle, Kind, Handler, Ref) of
        ok -> ok;
        {error, _} = Error -> Error;
        Id -> await({Ref, {Id, Handle}}, Timeout)
    end.

%%% Buffers

%% @doc Memory of a device: so many zeroed bytes, or a copy of a binary.
-spec buffer(device(), non_neg_integer() | binary()) -> {ok, buffer()} | {error, reason()}.
buffer(Device, Bytes) when is_integer(Bytes), Bytes >= 0, Bytes < 1 bsl 63 ->
    on_device(Device, fun(Handle) ->
        case beamline_ring_nif:buffer(Handle, Bytes) of
            {Id, Ref, Buffer} -> lent({Ref, {Id, Handle}}, Buffer);
            Answer -> Answer
        end
    end);
buffer(Device, Binary) when is_binary(Binary) ->
    case buffer(Device, byte_size(Binary)) of
        {ok, Buffer} -> ok = write(Buffer, 0, Binary), {ok, Buffer};
        {error, _} = Error -> Error
    end;
buffer(_, _) -> error(badarg).

%% The process has it, too.
lent(Request, Buffer) ->
    case await(Request, ?CONTROL_TIMEOUT) of
        ok -> {ok, Buffer};
        {error, _} = Error -> ok = close(Buffer), Error
    end.

%% @doc `{busy, 0}' while a message that was sent with the buffer is not handled yet.
-spec write(buffer(), non_neg_integer(), binary()) -> ok | {error, reason()}.
write(Buffer, Offset, Binary) -> beamline_ring_nif:write(Buffer, Offset, Binary).

%% @doc A copy; {@link take/1} gives the memory itself. `{busy, 0}' while a handler may write.
-spec read(buffer(), non_neg_integer(), non_neg_integer()) -> {ok, binary()} | {error, reason()}.
read(Buffer, Offset, Bytes) -> beamline_ring_nif:read(Buffer, Offset, Bytes).

%% @doc A part of a buffer that can be used like one, and shares its memory.
-spec view(buffer(), non_neg_integer(), non_neg_integer()) -> {ok, buffer()} | {error, reason()}.
view(Buffer, Offset, Bytes) -> beamline_ring_nif:view(Buffer, Offset, Bytes).

%% @doc The buffer's memory as a binary, without a copy (but of a device with `isolation => os_process', where another process could
%% change it); the buffer is closed. Not of a view, and not while anybody uses it.
-spec take(buffer()) -> {ok, binary()} | {error, reason()}.
take(Buffer) -> beamline_ring_nif:take(Buffer).

%% @doc Bytes.
-spec size(buffer()) -> {ok, non_neg_integer()} | {error, reason()}.
size(Buffer) -> beamline_ring_nif:size(Buffer).
