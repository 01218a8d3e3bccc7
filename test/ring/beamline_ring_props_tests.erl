%% SPDX-License-Identifier: Apache-2.0
%% Actors with the handler kv against a plain model: a map, and the list of what waits while an actor is suspended.
%% Messages, order, back-pressure, suspend, upgrade, checkpoint, restore, stop, kill.
-module(beamline_ring_props_tests).

%% Both define LET: the one of proper is meant.
-include_lib("proper/include/proper.hrl").
-undef(LET).
-include_lib("eunit/include/eunit.hrl").
-undef(LET).
-define(LET(X, Raw, Gen), proper_types:bind(Raw, fun(X) -> Gen end, false)).

-behaviour(proper_statem).
-export([initial_state/0, command/1, precondition/2, postcondition/3, next_state/3]).
-export([start/1, put/3, send/3, get/2, request/2, suspend/1, resume/2, checkpoint/1, restore/2, upgrade/1, stop/2, kill/3]).

-define(DEVICE, beamline_ring_props_device).

-record(actor, {
    name,            % symbolic
    queue,           % slots
    table = #{},     % what the handler holds
    waiting = [],    % {put, K, V} | {get, K, Request}, newest first; while suspended
    suspended = false
}).
-record(state, {actors = [], checkpoints = []}).

actors_do_what_the_model_does_test_() -> {timeout, 120, fun() -> agree(vm, 300) end}.
actors_in_a_process_do_what_the_model_does_test_() -> {timeout, 120, fun() -> agree(os_process, 150) end}.

agree(Isolation, Tests) ->
    ok = beamline_test:start(),
    {ok, Device} = beamline_ring:start_link(#{name => ?DEVICE, threads => 2, isolation => Isolation}),
    ?assert(proper:quickcheck(property(), [{numtests, Tests}, quiet, {on_output, fun(F, A) -> io:format(user, F, A) end}])),
    ok = gen_server:stop(Device).

property() ->
    ?FORALL(Commands, proper_statem:commands(?MODULE),
        begin
            {History, State, Result} = proper_statem:run_commands(?MODULE, Commands),
            drain(),
            ?WHENFAIL(io:format(user, "~p~n~p~n~p~n", [History, State, Result]), Result =:= ok)
        end).

drain() -> receive {beamline, _, _} -> drain() after 0 -> ok end.

%%% Commands

start(Queue) ->
    {ok, Actor} = beamline_ring:start(?DEVICE, kv, #{queue => Queue, state_size => 64 * 64}),
    Actor.

put(Actor, K, V) -> beamline_ring:cast(Actor, {put, <<1, K, V>>}).

send(Actor, K, V) -> patiently(fun() -> put(Actor, K, V) end).

%% An actor that runs may be behind by a queue of ours.
patiently(Fun) ->
    case Fun() of
        {error, {busy, _}} -> erlang:yield(), patiently(Fun);
        Answer -> Answer
    end.

get(Actor, K) -> patiently(fun() -> beamline_ring:call(Actor, {get, <<K>>}) end).

request(Actor, K) -> beamline_ring:request(Actor, {get, <<K>>}).

%% What was sent before is handled first, so that the model knows what waits.
suspend(Actor) ->
    settle(Actor),
    beamline_ring:suspend(Actor).

settle(Actor) ->
    {ok, #{state := State}} = beamline_ring:info(Actor),
    State =:= suspended orelse get(Actor, 0).

resume(Actor, Requests) ->
    ok = beamline_ring:resume(Actor),
    [beamline_ring:await(R) || {ok, R} <- Requests].

checkpoint(Actor) ->
    {ok, Checkpoint} = beamline_ring:checkpoint(Actor),
    Checkpoint.

restore(Checkpoint, Queue) ->
    {ok, Actor} = beamline_ring:restore(?DEVICE, Checkpoint, #{queue => Queue}),
    Actor.

upgrade(Actor) -> beamline_ring:upgrade(Actor, #{}).

stop(Actor, Requests) ->
    ok = beamline_ring:stop(Actor),
    [beamline_ring:await(R) || {ok, R} <- Requests].

%% The answers of requests, and how many casts were undelivered.
kill(Actor, Requests, Casts) ->
    settle(Actor),
    ok = beamline_ring:close(Actor),
    Ref = beamline_ring:ref(Actor),
    {[beamline_ring:await(R) || {ok, R} <- Requests], [told(Ref) || _ <- lists:seq(1, Casts)]}.

told(Ref) -> receive {beamline, Ref, {undelivered, 0, closed}} -> told after 2000 -> lost end.

%%% Generators

initial_state() -> #state{}.

command(#state{actors = []}) -> {call, ?MODULE, start, [queue()]};
command(#state{actors = Actors, checkpoints = Checkpoints}) ->
    frequency(
        [{1, {call, ?MODULE, start, [queue()]}}] ++
        [{1, ?LET({C, _}, elements(Checkpoints), {call, ?MODULE, restore, [C, queue()]})} || Checkpoints =/= []] ++
        [{20, ?LET(A, elements(Actors), on(A))}]).

on(#actor{name = Name, suspended = false}) ->
    frequency([{6, {call, ?MODULE, send, [Name, key(), key()]}}, {6, {call, ?MODULE, get, [Name, key()]}},
               {2, {call, ?MODULE, suspend, [Name]}}, {1, {call, ?MODULE, checkpoint, [Name]}}, {1, {call, ?MODULE, upgrade, [Name]}},
               {1, {call, ?MODULE, stop, [Name, []]}}, {1, {call, ?MODULE, kill, [Name, [], 0]}}]);
on(#actor{name = Name, suspended = true} = A) ->
    frequency([{6, {call, ?MODULE, put, [Name, key(), key()]}}, {4, {call, ?MODULE, request, [Name, key()]}},
               {3, {call, ?MODULE, resume, [Name, requests(A)]}}, {1, {call, ?MODULE, suspend, [Name]}},
               {1, {call, ?MODULE, checkpoint, [Name]}}, {1, {call, ?MODULE, upgrade, [Name]}},
               {1, {call, ?MODULE, stop, [Name, requests(A)]}}, {1, {call, ?MODULE, kill, [Name, requests(A), casts(A)]}}]).

queue() -> elements([2, 4, 8]).
key() -> range(0, 9).

requests(#actor{waiting = Waiting}) -> [R || {get, _, R} <- lists:reverse(Waiting)].
casts(#actor{waiting = Waiting}) -> length([put || {put, _, _} <- Waiting]).

%%% The model

find(Name, #state{actors = Actors}) -> lists:keyfind(Name, #actor.name, Actors).

store(A, #state{actors = Actors} = S) -> S#state{actors = lists:keystore(A#actor.name, #actor.name, Actors, A)}.

forget(Name, #state{actors = Actors} = S) -> S#state{actors = lists:keydelete(Name, #actor.name, Actors)}.

full(#actor{queue = Queue, waiting = Waiting}) -> length(Waiting) >= Queue.

%% What shrinking leaves must still make sense.
precondition(_, {call, _, start, _}) -> true;
precondition(#state{checkpoints = Checkpoints}, {call, _, restore, [C, _]}) -> lists:keymember(C, 1, Checkpoints);
precondition(S, {call, _, What, [Name | Args]}) ->
    case find(Name, S) of
        false -> false;
        A -> allowed(What, Args, A)
    end.

allowed(What, _, A) when What =:= get; What =:= send -> not A#actor.suspended;
allowed(put, _, A) -> A#actor.suspended;
allowed(request, _, A) -> A#actor.suspended;
allowed(resume, [Requests], A) -> A#actor.suspended andalso Requests =:= requests(A);
allowed(stop, [Requests], A) -> Requests =:= requests(A);
allowed(kill, [Requests, Casts], A) -> Requests =:= requests(A) andalso (Casts =:= casts(A));
allowed(_, _, _) -> true.

next_state(S, Name, {call, _, start, [Queue]}) -> store(#actor{name = Name, queue = Queue}, S);
next_state(S, Name, {call, _, restore, [C, Queue]}) ->
    {_, Table} = lists:keyfind(C, 1, S#state.checkpoints),
    store(#actor{name = Name, queue = Queue, table = Table}, S);
next_state(S, Result, {call, _, What, [Name | Args]}) -> changed(What, Args, Result, find(Name, S), S).

changed(send, [K, V], _, #actor{table = T} = A, S) -> store(A#actor{table = T#{K => V}}, S);
changed(put, [K, V], _, #actor{waiting = W} = A, S) ->
    case full(A) of true -> S; false -> store(A#actor{waiting = [{put, K, V} | W]}, S) end;
changed(request, [K], R, #actor{waiting = W} = A, S) ->
    case full(A) of true -> S; false -> store(A#actor{waiting = [{get, K, R} | W]}, S) end;
changed(suspend, _, _, A, S) -> store(A#actor{suspended = true}, S);
changed(resume, _, _, A, S) -> {T, _} = handled(A), store(A#actor{suspended = false, waiting = [], table = T}, S);
changed(checkpoint, _, C, A, S) -> S#state{checkpoints = [{C, A#actor.table} | S#state.checkpoints]};
changed(stop, _, _, A, S) -> forget(A#actor.name, S);
changed(kill, _, _, A, S) -> forget(A#actor.name, S);
changed(_, _, _, _, S) -> S.

%% The table and the answers after what waits.
handled(#actor{table = Table, waiting = Waiting}) ->
    lists:foldl(fun({put, K, V}, {T, Answers}) -> {T#{K => V}, Answers};
                   ({get, K, _}, {T, Answers}) -> {T, Answers ++ [{ok, found(K, T)}]} end,
                {Table, []}, lists:reverse(Waiting)).

found(K, Table) -> case Table of #{K := V} -> <<1, V>>; _ -> <<0>> end.

postcondition(S, {call, _, put, [Name | _]}, Result) -> accepted(find(Name, S), Result);
postcondition(S, {call, _, request, [Name | _]}, Result) -> accepted(find(Name, S), Result);
postcondition(S, {call, _, get, [Name, K]}, Result) -> Result =:= {ok, found(K, (find(Name, S))#actor.table)};
postcondition(S, {call, _, What, [Name | _]}, Result) when What =:= resume; What =:= stop ->
    {_, Answers} = handled(find(Name, S)),
    Result =:= Answers;
postcondition(S, {call, _, kill, [Name | _]}, {Answers, Told}) ->
    A = find(Name, S),
    Answers =:= [{error, closed} || _ <- requests(A)] andalso Told =:= lists:duplicate(casts(A), told);
postcondition(_, {call, _, What, _}, Result) when What =:= suspend; What =:= upgrade; What =:= send -> Result =:= ok;
postcondition(_, _, _) -> true.

accepted(A, {error, {busy, _}}) -> full(A);
accepted(A, _) -> not full(A).
