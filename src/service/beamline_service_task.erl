%% SPDX-License-Identifier: Apache-2.0
%% @private One asynchronous task: runs a job and tells the store how it goes.
-module(beamline_service_task).
-behaviour(gen_server).

-export([start_link/5, cancel/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {store :: pid(), id :: binary(), work :: beamline_service_work:work() | undefined}).

-spec start_link(pid(), binary(), atom(), beamline_service_request:plan(), binary()) -> {ok, pid()} | {error, term()}.
start_link(Store, Id, Pool, Plan, Body) ->
    gen_server:start_link(?MODULE, {Store, Id, Pool, Plan, Body}, []).

%% Ends without telling the store.
-spec cancel(pid()) -> ok.
cancel(Pid) -> gen_server:cast(Pid, cancel).

-spec init(tuple()) -> {ok, #state{}, {continue, tuple()}}.
init({Store, Id, Pool, Plan, Body}) ->
    _ = monitor(process, Store), % without it nobody would see the result
    {ok, #state{store = Store, id = Id}, {continue, {Pool, Plan, Body}}}.

-spec handle_continue(tuple(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_continue({Pool, Plan, Body}, State) -> went(beamline_service_work:start(Pool, Plan, Body), State).

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(_, _, State) -> {noreply, State}.

-spec handle_cast(cancel, #state{}) -> {stop, normal, #state{}}.
handle_cast(cancel, State) ->
    beamline_service_metrics:cancelled(delete),
    beamline_service_work:cancel(State#state.work),
    {stop, normal, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({beamline_service_gate, cancel}, #state{work = Work} = State) ->
    beamline_service_metrics:cancelled(drain),
    beamline_service_work:cancel(Work),
    went({finished, {error, closed}}, State);
handle_info({'DOWN', _, process, Store, _}, #state{store = Store} = State) -> {stop, normal, State};
handle_info(Message, #state{work = Work} = State) -> went(beamline_service_work:message(Message, Work), State).

went({running, Work}, State) -> {noreply, State#state{work = Work}};
went({progress, Progress, Work}, #state{store = Store, id = Id} = State) ->
    beamline_service_store:progress(Store, Id, Progress),
    {noreply, State#state{work = Work}};
went({finished, Outcome}, #state{store = Store, id = Id} = State) ->
    beamline_service_store:finished(Store, Id, Outcome),
    {stop, normal, State};
went(not_mine, State) -> {noreply, State}.
