%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc A mixed load for pools in the VM and in OS processes, always of the same amount: many callers, large arguments,
%% floods, owners that are killed, pools that are killed with a full queue.
-module(runtime_load).

-export([run/0, run_one_by_one/0, erlang_only/1, ports/0]).

-define(CALLERS, 4).
-define(CALLS, 2000).
-define(QUEUE, 10_000).

-spec run() -> ok.
run() -> together(works_of_pools(2)).

%% One work after the other, with pools of one thread.
-spec run_one_by_one() -> ok.
run_one_by_one() ->
    [ok = together([Work]) || Work <- works_of_pools(1)],
    ok.

works_of_pools(Threads) ->
    _ = ets:whereis(?MODULE) =/= undefined orelse ets:new(?MODULE, [named_table, public]),
    ets:delete_all_objects(?MODULE),
    works(#{isolation => vm, threads => Threads}) ++ works(#{isolation => os_process, threads => Threads}).

%% The same with processes of Erlang in place of pools, again and again for so long.
-spec erlang_only(Ms :: non_neg_integer()) -> ok.
erlang_only(Ms) -> erlang_until(erlang:monotonic_time(millisecond) + Ms).

erlang_until(Until) ->
    ok = together(works(erlang) ++ works(erlang)),
    erlang:monotonic_time(millisecond) < Until andalso erlang_until(Until),
    ok.

works(Kind) ->
    [fun() -> with_pool(Kind, fun callers/1) end,
     fun() -> with_pool(Kind, fun large_arguments/1) end,
     fun() -> with_pool(Kind, fun flood/1) end,
     fun() -> with_pool(Kind, fun killed_owners/1) end,
     fun() -> killed_pool(Kind) end].

%% Of the pools that the last run started.
-spec ports() -> [port()].
ports() -> [Port || {Port} <- ets:tab2list(?MODULE)].

%% ---- works ----

callers(Pool) ->
    Term = #{name => <<"a map">>, numbers => [1, 2.5, -3], nested => {x, <<0:800>>}},
    together(lists:duplicate(?CALLERS, fun() -> [{ok, Term} = call(Pool, Term) || _ <- lists:seq(1, ?CALLS)] end)).

large_arguments(Pool) ->
    Binary = binary:copy(<<"0123456789">>, 10_000_000),
    Pieces = [<<I:3200>> || I <- lists:seq(1, 500)], % 1,001 in external format
    List = lists:seq(1, 100_000),
    [{ok, Term} = call(Pool, Term) || _ <- lists:seq(1, 5), Term <- [Pieces, List, Binary]].

%% Half of them cancelled one by one, half by their owner's end.
flood(Pool) ->
    Owner = owner(fun() -> [submit(Pool) || _ <- lists:seq(1, ?QUEUE)] end),
    Refs = [submit(Pool) || _ <- lists:seq(1, ?QUEUE)],
    [cancel(Pool, Ref) || Ref <- Refs],
    [{error, _} = await(Pool, Ref) || Ref <- Refs],
    exit(Owner, kill).

killed_owners(Pool) ->
    Owners = [owner(fun() -> [submit(Pool) || _ <- lists:seq(1, 10)] end) || _ <- lists:seq(1, 500)],
    [exit(Owner, kill) || Owner <- Owners].

killed_pool(Kind) ->
    {_, Pid} = Pool = start(Kind),
    unlink(Pid),
    Refs = [submit(Pool) || _ <- lists:seq(1, ?QUEUE)],
    exit(Pid, kill),
    [{error, _} = await(Pool, Ref) || Ref <- Refs].

%% ---- tools ----

together(Works) ->
    Processes = [spawn_monitor(Work) || Work <- Works],
    [receive {'DOWN', Monitor, process, Pid, Why} -> normal = Why end || {Pid, Monitor} <- Processes],
    ok.

with_pool(Kind, Work) ->
    Pool = start(Kind),
    _ = Work(Pool),
    stop(Pool).

owner(Submit) ->
    Self = self(),
    Pid = spawn(fun() -> Submit(), Self ! {ready, self()}, receive after infinity -> ok end end),
    receive {ready, Pid} -> Pid end.

%% ---- pools, of ours and of Erlang ----

start(erlang) ->
    {erlang, spawn_link(fun() -> serve(#{}, #{}) end)};
start(Options) ->
    Probes = beamline_test:built_file("runtime/probe_operations.so"),
    {ok, Pid} = beamline_runtime:start_link(Options#{name => undefined, operations => [Probes]}),
    ets:insert(?MODULE, {beamline_runtime_pool:port(Pid)}),
    {beamline, Pid}.

stop({erlang, Pid}) -> Pid ! stop;
stop({_, Pid}) -> gen_server:stop(Pid).

call({erlang, _} = Pool, Term) -> await(Pool, request(Pool, {echo, Term}));
call({_, Pid}, Term) -> beamline_runtime:call(Pid, echo, Term, #{}).

%% A task that ends when it is told to.
submit({erlang, _} = Pool) ->
    request(Pool, wait);
submit({_, Pid}) ->
    {ok, Ref} = beamline_runtime:submit(Pid, probe_wait, 60_000, #{}),
    Ref.

cancel({erlang, Pid}, Ref) -> Pid ! {cancel, Ref};
cancel(_, Ref) -> beamline_runtime:cancel(Ref).

%% As gen_server's requests do it.
request({erlang, Pid}, What) ->
    Ref = monitor(process, Pid),
    Pid ! {request, self(), Ref, What},
    Ref.

await({erlang, _}, Ref) ->
    receive
        {answer, Ref, Result} -> demonitor(Ref, [flush]), Result;
        {'DOWN', Ref, process, _, _} -> {error, closed}
    end;
await(_, Ref) ->
    beamline_runtime:await(Ref).

%% Tasks that wait, by their references, and who watches whose end.
serve(Tasks, Owners) ->
    receive
        {request, From, Ref, {echo, Term}} ->
            From ! {answer, Ref, {ok, Term}},
            serve(Tasks, Owners);
        {request, From, Ref, wait} when is_map_key(From, Owners) ->
            serve(Tasks#{Ref => From}, Owners);
        {request, From, Ref, wait} ->
            serve(Tasks#{Ref => From}, Owners#{From => monitor(process, From)});
        {cancel, Ref} ->
            {From, Rest} = maps:take(Ref, Tasks),
            From ! {answer, Ref, {error, cancelled}},
            serve(Rest, Owners);
        {'DOWN', _, process, Owner, _} ->
            serve(maps:filter(fun(_, From) -> From =/= Owner end, Tasks), maps:remove(Owner, Owners));
        stop ->
            ok
    end.
