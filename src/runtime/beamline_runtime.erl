%% SPDX-License-Identifier: Apache-2.0
%% @doc Native tasks with the manners of OTP.
%%
%% A task is an operation (an entry in a table of C functions), its arguments and options. It runs
%% on the threads of a pool, never on a scheduler. The caller gets a reference at once, and then
%% exactly one answer, whatever happens: a result, an error of the operation, the deadline, a
%% cancel, a full queue, or the end of the pool.
%%
%% ```
%% 1> {ok, Ref} = beamline_runtime:submit(echo, #{hello => world}).
%% 2> beamline_runtime:await(Ref).
%% {ok, #{hello => world}}
%% 3> beamline_runtime:call(echo, <<"the same in one step">>).
%% {ok, <<"the same in one step">>}
%% '''
%%
%% <table>
%% <tr><th>message to the caller</th><th>how often</th></tr>
%% <tr><td>`{beamline, Ref, {progress, Map}}'</td><td>as asked by the option `progress', never after the answer</td></tr>
%% <tr><td>`{beamline, Ref, {ok, Value}}' or `{beamline, Ref, {error, Reason}}'</td><td>exactly one of them, once</td></tr>
%% </table>
%%
%% The death of the calling process cancels its tasks. The application starts a default pool named
%% `beamline_runtime'; others are made with {@link start_link/1} or {@link child_spec/1}, and their
%% callers name them. See doc/runtime.md.
-module(beamline_runtime).

-export([submit/2, submit/3, submit/4]).
-export([await/1, await/2]).
-export([call/2, call/3, call/4]).
-export([map/2, map/3, map/4]).
-export([cancel/1]).
-export([info/0, info/1, trace/1, operations/0, operations/1]).
-export([start_link/1, child_spec/1]).

-export_type([op/0, pool/0, task_options/0, map_options/0, pool_options/0, result/0, reason/0]).

-type op() :: atom().
%% The name of an operation, see {@link operations/0}.

-type pool() :: atom() | pid().

-type task_options() :: #{
    %% default `normal'
    priority => low | normal | high | critical,
    %% milliseconds from submission, waiting included; default 60_000
    timeout => non_neg_integer() | infinity,
    %% bytes that the operation may allocate; default: only the pool's limit
    memory_limit => pos_integer(),
    %% least milliseconds between progress messages, 10 at least; default `none'
    progress => pos_integer() | none
}.

-type map_options() :: #{
    %% elements of a task
    piece => pos_integer(),
    %% the others as in task_options()
    priority => low | normal | high | critical,
    timeout => non_neg_integer() | infinity,
    memory_limit => pos_integer(),
    progress => pos_integer() | none
}.

-type pool_options() :: #{
    %% default `beamline_runtime'; `undefined': the pool is called by its pid
    name => atom(),
    %% default: one per online scheduler
    threads => pos_integer(),
    %% the same under another name; `threads' wins
    thread_count => pos_integer(),
    %% `true': as many threads as the machine has processors for us; stronger than `thread_count'
    use_hardware_threads => boolean(),
    %% bytes of each thread's stack; default 1 MiB
    stack_size => pos_integer(),
    %% tasks waiting; default 10_000
    max_queue => pos_integer(),
    %% bytes of arguments held by unfinished tasks; default 1 GiB
    max_queue_bytes => pos_integer(),
    %% bytes that all tasks together may allocate; default: no limit
    memory_limit => pos_integer() | infinity,
    %% answered tasks whose opaque operation still runs; default: as many as threads
    max_behind => pos_integer(),
    %% unanswered tasks of one calling process; default: no limit of its own
    max_per_owner => pos_integer(),
    %% milliseconds after which a waiting task of a lower class may be overtaken 16 times at most; default 100
    ageing => pos_integer(),
    %% default `vm'; `os_process': in a process of the operating system, which may crash, be killed or run out of memory
    isolation => vm | os_process,
    %% milliseconds of silence after which that process is killed; default 5_000
    heartbeat => pos_integer(),
    %% seconds of processor time that it may use in all; default: no limit
    cpu_limit => pos_integer(),
    %% shared objects with operations of your own (doc/operations.md)
    operations => [file:filename_all()]
}.

-type reason() ::
    {busy, RetryAfterMs :: non_neg_integer()}
    | timeout
    | cancelled
    | closed
    | no_memory
    | {limit, #{what := atom() | binary(), limit := non_neg_integer(), asked := non_neg_integer()}}
    | {syntax, #{line => pos_integer(), column => pos_integer(), offset => non_neg_integer(), expected := binary()}}
    | {invalid, #{field := atom() | binary(), why := binary()}}
    | {trap, map()}
    | {unsupported, term()}
    | {host_exited, term()}
    | {device_failed, term()}.

-type result() :: {ok, term()} | {error, reason()}.

-define(DEFAULT_POOL, beamline_runtime).
%% What the VM itself may add to a deadline before `call' stops believing in an answer.
-define(LARGE, 1024). % bytes of a binary that cannot be a small argument (ROOM in bl_rt_task.c)
-define(MAX_WAIT, 16#FFFFFFFF). % of a receive
-define(GRACE, 5_000).
-define(UNDER_WAY, 4). % pieces of a map, for each scheduler
-define(PIECE_MOST, 1024).
-define(HOLDERS, 20).

%% @equiv submit(beamline_runtime, Op, Args, #{})
-spec submit(op(), term()) -> {ok, reference()}.
submit(Op, Args) -> submit(?DEFAULT_POOL, Op, Args, #{}).

%% @equiv submit(beamline_runtime, Op, Args, Opts)
-spec submit(op(), term(), task_options()) -> {ok, reference()}.
submit(Op, Args, Opts) -> submit(?DEFAULT_POOL, Op, Args, Opts).

%% @doc Starts a task. A refusal is its answer: it comes as the one message, too.
%%
%% Large binaries in `Args' are not copied. Raises `badarg' for options that do not exist or have
%% a wrong type.
-spec submit(pool(), op(), term(), task_options()) -> {ok, reference()}.
submit(Pool, Op, Args, Opts) when is_atom(Op), (is_atom(Pool) orelse is_pid(Pool)) ->
    {ok, submit_as(Pool, Op, Args, beamline_runtime_opts:task(Opts))};
submit(_, _, _, _) ->
    error(badarg).

submit_as(Pool, Op, Args, Options) ->
    Ref = make_ref(),
    case start(beamline_runtime_pool:id(Pool), Ref, Op, Options, Args) of
        ok ->
            ok;
        {error, Reason} = Error ->
            self() ! {beamline, Ref, Error},
            beamline_runtime_log:refused(Pool, Reason)
    end,
    Ref.

start({error, _} = Error, _Ref, _Op, _Options, _Args) ->
    Error;
start(Id, Ref, Op, Options, Args) when byte_size(Args) > ?LARGE ->
    start_pieces(Id, Ref, Op, Options, Args);
start(Id, Ref, Op, Options, Args) ->
    case beamline_runtime_nif:submit(Id, Ref, Op, Options, Args) of
        large ->
            start_pieces(Id, Ref, Op, Options, Args);
        Result ->
            Result
    end.

start_pieces(Id, Ref, Op, Options, Args) ->
    {Pieces, Pinned} = beamline_runtime_args:pieces(Args),
    beamline_runtime_nif:submit_pieces(Id, Ref, Op, Options, Pieces, Pinned).

%% @equiv await(Ref, infinity)
-spec await(reference()) -> result().
await(Ref) -> await(Ref, infinity).

%% @doc Waits for the answer; progress messages of the task are dropped.
%%
%% After `Timeout' milliseconds it gives up: the task is cancelled, its messages are removed from
%% the mailbox, and the result is `{error, timeout}'. Must be called once, by the process that submitted:
%% for another reference it waits up to five seconds more, for an answer that could be on its way.
-spec await(reference(), timeout()) -> result().
await(Ref, infinity) when is_reference(Ref) ->
    receive
        {beamline, Ref, {progress, _}} -> await(Ref, infinity);
        {beamline, Ref, Result} -> Result
    end;
await(Ref, Timeout) when is_reference(Ref), is_integer(Timeout), Timeout >= 0 ->
    await_until(Ref, Timeout, until(Timeout));
await(_, _) ->
    error(badarg).

await_until(Ref, Left, Until) ->
    receive
        {beamline, Ref, {progress, _}} -> await_on(Ref, Until);
        {beamline, Ref, Result} -> Result
    after min(Left, ?MAX_WAIT) ->
        if Left =< ?MAX_WAIT -> give_up(Ref); true -> await_on(Ref, Until) end
    end.

await_on(Ref, Until) -> await_until(Ref, left(Until), Until).

%% If cancel came too late the answer is on its way, for it is sent exactly once. The bound is
%% for a reference that is not the caller's.
give_up(Ref) ->
    _ = cancel(Ref),
    flush(Ref, ?GRACE),
    {error, timeout}.

flush(Ref, Wait) ->
    receive
        {beamline, Ref, {progress, _}} -> flush(Ref, Wait);
        {beamline, Ref, _Answer} -> ok
    after Wait -> ok
    end.

%% @equiv call(beamline_runtime, Op, Args, #{})
-spec call(op(), term()) -> result().
call(Op, Args) -> call(?DEFAULT_POOL, Op, Args, #{}).

%% @equiv call(beamline_runtime, Op, Args, Opts)
-spec call(op(), term(), task_options()) -> result().
call(Op, Args, Opts) -> call(?DEFAULT_POOL, Op, Args, Opts).

%% @doc Submits and waits. The bound of the wait is the task's own `timeout'.
%%
%% Leaves no message behind. A pool that does not exist or has ended is `{error, closed}'.
-spec call(pool(), op(), term(), task_options()) -> result().
call(Pool, Op, Args, Opts) ->
    {ok, Ref} = submit(Pool, Op, Args, Opts),
    await(Ref, with_grace(beamline_runtime_opts:timeout(Opts))).

with_grace(infinity) -> infinity;
with_grace(Ms) -> Ms + ?GRACE.

%% @equiv map(beamline_runtime, Op, List, #{})
-spec map(op(), [term()]) -> [result()].
map(Op, List) -> map(?DEFAULT_POOL, Op, List, #{}).

%% @equiv map(beamline_runtime, Op, List, Opts)
-spec map(op(), [term()], map_options()) -> [result()].
map(Op, List, Opts) -> map(?DEFAULT_POOL, Op, List, Opts).

%% @doc Runs an operation with each element of a list, on all threads of the pool; the results are in the list's order.
%%
%% For many small arguments: they travel together, so that one costs a fraction of a task. A task takes
%% a piece of the list, and few pieces are under way at a time, so the pool's other callers come in between. How many elements
%% are a piece says `piece'; by default it is a quarter of a scheduler's share, 1,024 at most: good for work of any length,
%% while elements that take microseconds are the faster the larger their pieces are.
%%
%% `timeout' bounds the whole, `memory_limit' each piece. An element that fails is `{error, Reason}' in its place; so is each
%% element of a piece that was refused, cancelled or came to its deadline, that has no memory left for its results, or that no
%% task could take because an element is nested too deeply. A piece that a pool refuses is tried once more when the map's other
%% pieces are done, so a map is not refused because of itself. List and result tuple count: 62 levels are left to an element.
%%
%% ```
%% 1> beamline_runtime:map(echo, [<<"one">>, two]).
%% [{ok, <<"one">>}, {ok, two}]
%% '''
-spec map(pool(), op(), [term()], map_options()) -> [result()].
map(Pool, Op, List, #{} = Opts) when is_atom(Op), (is_atom(Pool) orelse is_pid(Pool)), length(List) >= 0 ->
    Length = length(List),
    Most = ?UNDER_WAY * erlang:system_info(schedulers_online),
    Size = maps:get(piece, Opts, min(Length div Most + 1, ?PIECE_MOST)),
    is_integer(Size) andalso Size > 0 orelse error(badarg),
    Options = beamline_runtime_opts:task(maps:remove(piece, Opts)),
    Until = until(beamline_runtime_opts:timeout(Opts)),
    Start = fun(Piece) -> {submit_as(Pool, Op, Piece, beamline_runtime_opts:each(Options, left(Until))), Piece} end,
    {First, Later} = split(Most, pieces(Size, Length, List)),
    map_on(Start, Until, queue:from_list(lists:map(Start, First)), Later);
map(_, _, _, _) ->
    error(badarg).

pieces(_, 0, []) ->
    [];
pieces(Size, Length, List) when Length =< Size ->
    [List];
pieces(Size, Length, List) ->
    {Piece, Rest} = split(Size, List),
    [Piece | pieces(Size, Length - Size, Rest)].

split(N, List) -> split(N, List, []).

split(N, [Head | Tail], Front) when N > 0 -> split(N - 1, Tail, [Head | Front]);
split(_, Rest, Front) -> {lists:reverse(Front), Rest}.

%% For each piece that is done the next one starts, up to the deadline.
map_on(Start, Until, UnderWay, Later) ->
    case queue:out(UnderWay) of
        {empty, _} ->
            results({error, timeout}, lists:append(Later));
        {{value, {_, Piece} = Started}, Rest} ->
            case {answer(Until, Started), left(Until)} of
                {{error, {busy, _}} = Refused, Left} when Left =/= 0 ->
                    map_on_with_fewer(Start, Until, [{Piece, Refused} | answers(Until, Rest)], Later);
                {Answer, Left} when Later =/= [], Left =/= 0 ->
                    results(Answer, Piece) ++ map_on(Start, Until, queue:in(Start(hd(Later)), Rest), tl(Later));
                {Answer, _} ->
                    results(Answer, Piece) ++ map_on(Start, Until, Rest, Later)
            end
    end.

%% A piece may have been refused because of the others: it is tried again alone, and then there are as many under way as were
%% not refused.
map_on_with_fewer(Start, Until, Answers, Later) ->
    Results = [results(again(Start, Until, Piece, Answer), Piece) || {Piece, Answer} <- Answers],
    Fewer = [Piece || {Piece, {ok, _}} <- Answers],
    {Next, Last} = split(max(1, length(Fewer)), Later),
    lists:append(Results) ++ map_on(Start, Until, queue:from_list(lists:map(Start, Next)), Last).

again(Start, Until, Piece, {error, {busy, _}}) -> answer(Until, Start(Piece));
again(_, _, _, Answer) -> Answer.

answers(Until, UnderWay) -> [{Piece, answer(Until, Started)} || {_, Piece} = Started <- queue:to_list(UnderWay)].

answer(Until, {Ref, _Piece}) -> await(Ref, with_grace(left(Until))).

results({ok, Results}, Piece) when length(Results) =:= length(Piece) -> Results;
results({ok, _}, Piece) -> results({error, {invalid, #{field => result, why => <<"not one for each element">>}}}, Piece);
results({error, _} = Error, Piece) -> [Error || _ <- Piece].

until(infinity) -> infinity;
until(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

left(infinity) -> infinity;
left(Until) -> max(0, Until - erlang:monotonic_time(millisecond)).

%% @doc Cancels a task, from any process. `ok': it was answered with `{error, cancelled}' by this call.
%% `{error, closed}': it is not in flight (any more); its answer, if it had one, is in the mailbox.
-spec cancel(reference()) -> ok | {error, closed}.
cancel(Ref) when is_reference(Ref) ->
    Asked = lists:any(fun(Id) -> beamline_runtime_nif:cancel(Id, Ref) end, beamline_runtime_pool:ids()),
    case Asked of
        true -> ok;
        false -> {error, closed}
    end;
cancel(_) ->
    error(badarg).

%% @equiv info(beamline_runtime)
-spec info() -> map() | {error, reason()}.
info() -> info(?DEFAULT_POOL).

%% @doc What a pool does, holds and refused.
%%
%% Counters since its start: `submitted', `completed', `failed', `cancelled', `timed_out', `closed',
%% `refused_queue', `refused_bytes', `refused_behind', `refused_memory', `refused_owner'. Gauges: `queued' (a map by class),
%% `running', `behind' (answered, operation still running), `queue_bytes', `memory', `memory_peak'
%% (bytes), `threads', `parked'. `owners': the processes that hold most, `{Pid, #{tasks, argument_bytes}}'. With an OS
%% process `host' tells its `state', `pid', `starts', `why' the last one ended, and what it holds.
%% Histograms `wait' and `run': `#{sum_us, counts}', the i-th count (from 0) being tasks up to 2^i microseconds.
-spec info(pool()) -> map() | {error, reason()}.
info(Pool) ->
    case ask(Pool, fun beamline_runtime_drv:info/1) of
        {ok, #{host := Host} = Info} ->
            described(Pool, os_process, maps:merge(Info, maps:with([threads, memory, memory_peak], Host)));
        {ok, Info} ->
            described(Pool, vm, Info);
        {error, _} = Error -> Error
    end.

described(Pool, Isolation, Info) ->
    Holders = lists:sublist(lists:reverse(lists:keysort(2, holders(beamline_runtime_pool:id(Pool)))), ?HOLDERS),
    Info#{owners => [{Pid, #{tasks => N, argument_bytes => Bytes}} || {Pid, N, Bytes} <- Holders],
        pool => Pool, isolation => Isolation, version => beamline_native:version()}.

holders({error, _}) -> [];
holders(Id) -> beamline_runtime_nif:owners(Id).

%% @doc The times of one task: in flight, or among the last few hundred that were over.
%%
%% Microseconds from its submission: `started', `answered', `finished' (the operation's end; after an early answer it
%% finishes behind), each only once it has happened. `state' is `waiting', `running', `behind' or `done'; `outcome' the
%% kind of its answer, `ok' or the name of the error's reason.
-spec trace(reference()) -> {ok, map()} | {error, closed}.
trace(Ref) when is_reference(Ref) ->
    Found = [Times || Id <- beamline_runtime_pool:ids(), Times <- [beamline_runtime_nif:trace(Id, Ref)], Times =/= false],
    case Found of
        [{Class, Status, Started, Answered, Finished} | _] ->
            Times = maps:from_list([{K, Us} || {K, Us} <- [{started, Started}, {answered, Answered}, {finished, Finished}], Us >= 0]),
            {ok, outcome(Status, Times#{state => state(Times), priority => element(Class + 1, {low, normal, high, critical})})};
        [] ->
            {error, closed}
    end;
trace(_) ->
    error(badarg).

state(#{answered := _, started := _, finished := _}) -> done;
state(#{answered := _, started := _}) -> behind;
state(#{answered := _}) -> done;
state(#{started := _}) -> running;
state(#{}) -> waiting.

outcome(Status, #{answered := _} = Trace) -> Trace#{outcome => Status};
outcome(_, Trace) -> Trace.

%% @equiv operations(beamline_runtime)
-spec operations() -> [op()] | {error, reason()}.
operations() -> operations(?DEFAULT_POOL).

%% @doc The operations that a pool knows, those of loaded libraries included.
-spec operations(pool()) -> [op()] | {error, reason()}.
operations(Pool) ->
    case ask(Pool, fun beamline_runtime_drv:operations/1) of
        {ok, Names} -> lists:sort(Names);
        {error, _} = Error -> Error
    end.

ask(Pool, Question) when is_atom(Pool); is_pid(Pool) ->
    case beamline_runtime_pool:port(Pool) of
        {error, _} = Error -> Error;
        Port -> Question(Port)
    end;
ask(_, _) ->
    error(badarg).

%% @doc Starts a pool, linked to the caller. The application `beamline' must be running, else `{error, closed}'; a pool
%% ends with it.
%%
%% Without its native library the pool starts too, and answers every task with
%% `{error, {unsupported, {nif, Why}}}'. Raises `badarg' for wrong options.
-spec start_link(pool_options()) -> {ok, pid()} | {error, term()}.
start_link(Opts) -> beamline_runtime_pool:start_link(Opts).

%% @doc For your own supervisor: `beamline_runtime:child_spec(#{name => my_pool, threads => 2})'.
-spec child_spec(pool_options()) -> supervisor:child_spec().
child_spec(Opts) when not is_map(Opts) ->
    error(badarg);
child_spec(Opts) ->
    #{
        id => maps:get(name, Opts, ?DEFAULT_POOL),
        start => {?MODULE, start_link, [Opts]},
        restart => permanent,
        shutdown => 5_000,
        type => worker,
        modules => [beamline_runtime_pool]
    }.
