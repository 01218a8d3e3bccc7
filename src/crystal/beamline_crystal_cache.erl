%% SPDX-License-Identifier: Apache-2.0
%% @private Answers about stability, by the content that was asked about. The same request gives the same
%% answer, so nothing here ever becomes wrong; it only becomes old, and the oldest goes when there is no room.
%%
%% Readers look into the table themselves; one process writes, so that number and bytes stay bounded.
%% Without that process (the application is not started) nothing is found and nothing is kept.
-module(beamline_crystal_cache).
-behaviour(gen_server).

-export([start_link/0, child_spec/0, key/1, hash/1, find/1, store/2, clear/0, info/0, collect/0]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([key/0]).

-opaque key() :: binary().

-define(ENTRIES_MAX, 10000).
-define(BYTES_MAX, 32 * 1024 * 1024).
%% Of one answer: these are a few kilobytes.
-define(ANSWER_MAX, 256 * 1024).

-record(state, {next = 1 :: pos_integer(), oldest = 1 :: pos_integer(), bytes = 0 :: non_neg_integer()}).

-spec child_spec() -> supervisor:child_spec().
child_spec() -> #{id => ?MODULE, start => {?MODULE, start_link, []}}.

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% SHA-256 of what is asked for, and of the version of the engine.
-spec key(term()) -> key().
key(Asked) ->
    hash({list_to_binary(beamline_native:version()), Asked}).

%% SHA-256 of a term whose maps may be written in any order.
-spec hash(term()) -> binary().
hash(Term) -> crypto:hash(sha256, term_to_binary(canonical(Term), [{minor_version, 2}])).

%% Maps in the order of their keys, at every depth.
canonical(#{} = Map) -> {map, [{canonical(K), canonical(V)} || {K, V} <- lists:sort(maps:to_list(Map))]};
canonical([Head | Tail]) -> [canonical(Head) | canonical(Tail)];
canonical(Tuple) when is_tuple(Tuple) -> list_to_tuple([canonical(X) || X <- tuple_to_list(Tuple)]);
canonical(Other) -> Other.

-spec find(key()) -> {ok, term()} | none.
find(Key) ->
    try ets:lookup(?MODULE, {answer, Key}) of
        [{_, Packed, _}] -> count(1), {ok, binary_to_term(Packed)};
        [] -> count(2), none
    catch
        error:badarg -> none
    end.

-spec store(key(), term()) -> ok.
store(Key, Answer) ->
    case term_to_binary(Answer) of
        Packed when byte_size(Packed) =< ?ANSWER_MAX -> gen_server:cast(?MODULE, {store, Key, Packed});
        _ -> ok
    end.

-spec clear() -> ok.
clear() -> gen_server:call(?MODULE, clear).

-spec info() -> #{entries := non_neg_integer(), bytes := non_neg_integer(), hits := non_neg_integer(), misses := non_neg_integer()}.
info() ->
    [{_, Entries, Bytes}] = ets:lookup(?MODULE, size),
    #{entries => Entries, bytes => Bytes, hits => counters:get(counters(), 1), misses => counters:get(counters(), 2)}.

-spec collect() -> [beamline_metrics:family()].
collect() ->
    #{entries := Entries, bytes := Bytes, hits := Hits, misses := Misses} = info(),
    Family = fun(Name, Type, Help, Samples) -> #{name => Name, type => Type, help => Help, samples => Samples} end,
    [Family(beamline_crystal_cache_lookups_total, counter, "Questions about stability, by whether the answer was known.",
            [{[{known, true}], Hits}, {[{known, false}], Misses}]),
     Family(beamline_crystal_cache_entries, gauge, "Answers kept.", [{[], Entries}]),
     Family(beamline_crystal_cache_bytes, gauge, "Bytes of answers kept.", [{[], Bytes}])].

count(Index) -> counters:add(counters(), Index, 1).

counters() -> persistent_term:get(?MODULE).

%%% ---- the process that writes

-spec init([]) -> {ok, #state{}}.
init([]) ->
    process_flag(trap_exit, true),
    persistent_term:get(?MODULE, none) =:= none andalso persistent_term:put(?MODULE, counters:new(2, [write_concurrency])),
    ?MODULE = ets:new(?MODULE, [named_table, protected, {read_concurrency, true}]),
    true = ets:insert(?MODULE, {size, 0, 0}),
    ok = beamline_metrics:collector(?MODULE, {?MODULE, collect, []}),
    {ok, #state{}}.

-spec handle_call(clear, gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call(clear, _, State) ->
    true = ets:delete_all_objects(?MODULE),
    {reply, ok, told(State#state{oldest = State#state.next, bytes = 0})}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({store, Key, Packed}, #state{next = Next, bytes = Bytes} = State) ->
    case ets:insert_new(?MODULE, {{answer, Key}, Packed, Next}) of
        true ->
            true = ets:insert(?MODULE, {{age, Next}, Key}),
            {noreply, told(fit(State#state{next = Next + 1, bytes = Bytes + byte_size(Packed)}))};
        false -> % two asked at the same time
            {noreply, State}
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_, _) -> beamline_metrics:remove(?MODULE).

fit(#state{next = Next, oldest = Oldest, bytes = Bytes} = State)
        when Next - Oldest > ?ENTRIES_MAX; Bytes > ?BYTES_MAX ->
    [{_, Key}] = ets:take(?MODULE, {age, Oldest}),
    [{_, Packed, _}] = ets:take(?MODULE, {answer, Key}),
    fit(State#state{oldest = Oldest + 1, bytes = Bytes - byte_size(Packed)});
fit(State) -> State.

told(#state{next = Next, oldest = Oldest, bytes = Bytes} = State) ->
    true = ets:insert(?MODULE, {size, Next - Oldest, Bytes}),
    State.
