%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc A mixed load for pools in the VM and in OS processes, always of the same amount: many callers, large arguments,
%% floods, owners that are killed, pools that are killed with a full queue.
-module(runtime_load).

-export([run/0, erlang_only/1, ports/0]).

-define(CALLERS, 4).
-define(CALLS, 2000).
-define(QUEUE, 10_000).

-spec run() -> ok.
run() ->
    _ = ets:whereis(?MODULE) =/= undefined orelse ets:new(?MODULE, [named_table, public]),
    ets:delete_all_objects(?MODULE),
    together([Work || Isolation <- [vm, os_process], Work <- works(Isolation)]).

works(Isolation) ->
    [fun() -> with_pool(Isolation, fun callers/1) end,
     fun() -> with_pool(Isolation, fun large_arguments/1) end,
     fun() -> with_pool(Isolation, fun flood/1) end,
     fun() -> with_pool(Isolation, fun killed_owners/1) end,
     fun() -> killed_pool(Isolation) end].

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
    [beamline_runtime:cancel(Ref) || Ref <- Refs],
    [{error, _} = beamline_runtime:await(Ref) || Ref <- Refs],
    exit(Owner, kill).

killed_owners(Pool) ->
    Owners = [owner(fun() -> [submit(Pool) || _ <- lists:seq(1, 10)] end) || _ <- lists:seq(1, 500)],
    [exit(Owner, kill) || Owner <- Owners].

killed_pool(Isolation) ->
    Pool = start(Isolation),
    unlink(Pool),
    Refs = [submit(Pool) || _ <- lists:seq(1, ?QUEUE)],
    exit(Pool, kill),
    [{error, _} = beamline_runtime:await(Ref) || Ref <- Refs].

%% ---- the same without us ----

%% As many processes that compute and exchange messages for so long; some of them as our floods do, with as many
%% messages in flight and in the mailbox.
-spec erlang_only(Ms :: non_neg_integer()) -> ok.
erlang_only(Ms) ->
    Until = erlang:monotonic_time(millisecond) + Ms,
    Floods = lists:duplicate(4, fun() -> erlang_flood(Until) end),
    together(Floods ++ lists:duplicate(2 * (?CALLERS + 4), fun() ->
        Partner = spawn_link(fun echo/0),
        exchange(Partner, lists:seq(1, 100), Until),
        unlink(Partner),
        exit(Partner, kill)
    end)).

erlang_flood(Until) ->
    Server = spawn_link(fun() -> keep(#{}) end),
    Refs = [begin Ref = make_ref(), Server ! {submit, self(), Ref}, Ref end || _ <- lists:seq(1, ?QUEUE)],
    [Server ! {cancel, Ref} || Ref <- Refs],
    [receive {beamline, Ref, {error, cancelled}} -> ok end || Ref <- Refs],
    unlink(Server),
    exit(Server, kill),
    erlang:monotonic_time(millisecond) < Until andalso erlang_flood(Until).

keep(Tasks) ->
    receive
        {submit, From, Ref} -> keep(Tasks#{Ref => From});
        {cancel, Ref} -> {From, Rest} = maps:take(Ref, Tasks), From ! {beamline, Ref, {error, cancelled}}, keep(Rest)
    end.

exchange(Partner, Term, Until) ->
    Partner ! {self(), Term},
    receive {Partner, Same} -> true = lists:sum(Same) > 0 end,
    erlang:monotonic_time(millisecond) < Until andalso exchange(Partner, Term, Until).

echo() ->
    receive {From, Term} -> From ! {self(), lists:reverse(Term)} end,
    echo().

%% ---- tools ----

together(Works) ->
    Processes = [spawn_monitor(Work) || Work <- Works],
    [receive {'DOWN', Monitor, process, Pid, Why} -> normal = Why end || {Pid, Monitor} <- Processes],
    ok.

with_pool(Isolation, Work) ->
    Pool = start(Isolation),
    _ = Work(Pool),
    gen_server:stop(Pool).

start(Isolation) ->
    Probes = beamline_test:built_file("runtime/probe_operations.so"),
    {ok, Pool} = beamline_runtime:start_link(#{name => undefined, threads => 2, isolation => Isolation, operations => [Probes]}),
    ets:insert(?MODULE, {beamline_runtime_pool:port(Pool)}),
    Pool.

call(Pool, Term) -> beamline_runtime:call(Pool, echo, Term, #{}).

%% A task that ends when it is told to.
submit(Pool) ->
    {ok, Ref} = beamline_runtime:submit(Pool, probe_wait, 60_000, #{}),
    Ref.

owner(Submit) ->
    Self = self(),
    Pid = spawn(fun() -> Submit(), Self ! {ready, self()}, receive after infinity -> ok end end),
    receive {ready, Pid} -> Pid end.
