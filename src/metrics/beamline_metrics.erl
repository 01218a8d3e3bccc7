%% SPDX-License-Identifier: Apache-2.0
%% @doc Counters, gauges and histograms that cost about as much as `counters:add/3'.
%%
%% A metric is registered once (registering it again with the same options changes nothing),
%% then updated from anywhere:
%% ```
%% ok = beamline_metrics:counter(my_requests_total, #{help => "Requests.", labels => [method]}),
%% ok = beamline_metrics:add(my_requests_total, [get], 1),
%% 1  = beamline_metrics:value(my_requests_total, [get]),
%% io:put_chars(beamline_metrics:render(text)).
%% '''
%% Nothing here needs a process or the application to be alive: metrics live in
%% `persistent_term' and `counters', and registration is serialised by a lock that dies with
%% its holder. Removing a metric costs a global garbage collection; registering does not.
%%
%% Numbers are 64-bit integers in the unit of the code (microseconds, say); `divisor' turns them
%% into the unit of the metric's name (1_000_000 for seconds) when they are rendered.
%%
%% Label sets are bounded by `max_series': what comes after lands in one series whose label
%% values are all `other', and `beamline_metrics_overflow_total' counts it.
%%
%% What is known elsewhere already is better collected than counted twice: see {@link collector/2}.
-module(beamline_metrics).

-export([counter/2, gauge/2, histogram/2, collector/2, remove/1]).
-export([series/2, add/2, add/3, set/2, set/3, observe/2, observe/3, value/1, value/2]).
-export([families/0, render/0, render/1, content_type/1, negotiate/1]).
-export([run_collector/1]).
-export_type([name/0, label_value/0, options/0, series/0, family/0, sample_value/0, format/0]).

-type name() :: atom().
%% `[a-zA-Z_:][a-zA-Z0-9_:]*'; a counter's ends with `_total'.
-type label_value() :: atom() | binary() | integer().
-type options() :: #{
    help := unicode:chardata(),
    labels => [atom()],          % names, in the order of the values given later; default []
    max_series => pos_integer(), % label sets kept apart; default 100; at most 2^20 counters in all
    divisor => pos_integer(),    % rendered value = stored integer / divisor; default: as it is
    buckets => [integer()]       % histogram only, required: rising upper bounds, not divided
}.
-opaque series() :: {counters:counters_ref(), pos_integer(), counter | gauge | Bounds :: tuple()}.
%% One series of a metric, looked up once for the hottest paths.
-type sample_value() :: number() | #{buckets := [{number(), non_neg_integer()}], sum := number(), count := non_neg_integer()}.
%% A histogram's buckets are pairs of upper bound and count of this bucket alone; `count'
%% includes what lies above the last bound.
-type family() :: #{
    name := name(),
    type := counter | gauge | histogram,
    help := unicode:chardata(),
    samples := [{[{atom(), label_value()}], sample_value()}]
}.
-type format() :: text | openmetrics.

-define(KEY(Name), {?MODULE, Name}).
-define(SERIES(Name, Values), {?MODULE, Name, Values}).         % -> {slot, type, ref}: one look-up for all
-define(VALUES(Name, Slot), {?MODULE, Name, series, Slot}).     % -> values as binaries
-define(COLLECTOR(Name), {?MODULE, collector, {Name}}).         % -> {M, F, A}
-define(MAX_LABEL_BYTES, 128).
-define(MAX_WORDS, 1 bsl 20). % of one metric, for each scheduler. The VM ends when it cannot have what counters:new/2 asks for
-define(COLLECT_TIMEOUT_MS, 1000).
-define(OVERFLOW, beamline_metrics_overflow_total).
-define(FAILURES, beamline_metrics_collector_failures_total).

%% Layout of `ref': slot 0 is `other' (or the only series of a metric without labels), slots
%% 1..max_series follow, each `width' counters wide; the last counter is the overflow count.
-record(metric, {
    name :: name(),
    type :: counter | gauge | histogram,
    options :: options(),
    labels :: [atom()],
    max_series :: non_neg_integer(),
    bounds :: tuple(),             % of a histogram, else {}
    width :: pos_integer(),        % 1; a histogram has a counter per bound, one above, and the sum
    ref :: counters:counters_ref(),
    used :: atomics:atomics_ref()  % slots given away, `other' not counted
}).

%%% Registration

%% @doc Registers a counter. Raises `badarg' for a bad name or option, or when the name is
%% already taken by something else.
-spec counter(name(), options()) -> ok.
counter(Name, Options) -> register_metric(Name, counter, Options).

%% @doc Registers a gauge.
-spec gauge(name(), options()) -> ok.
gauge(Name, Options) -> register_metric(Name, gauge, Options).

%% @doc Registers a histogram; `buckets' is required.
-spec histogram(name(), options()) -> ok.
histogram(Name, Options) -> register_metric(Name, histogram, Options).

%% @doc Registers a function that is called at each {@link families/0} and answers metrics
%% known elsewhere. It runs in a process of its own for at most a second; when it crashes,
%% is late or answers nonsense, its metrics are missing from that scrape and
%% `beamline_metrics_collector_failures_total' counts it. Registering the same name again
%% replaces the function.
-spec collector(name(), {module(), atom(), [term()]}) -> ok.
collector(Name, {M, F, A} = MFA) when is_atom(Name), is_atom(M), is_atom(F), is_list(A) ->
    locked(fun() -> persistent_term:put(?COLLECTOR(Name), MFA) end);
collector(Name, MFA) ->
    error(badarg, [Name, MFA]).

%% @doc Forgets a metric with all its series, or a collector. Harmless when there is none.
-spec remove(name()) -> ok.
remove(Name) when is_atom(Name) ->
    locked(fun() ->
        [persistent_term:erase(Key) || {Key, _} <- persistent_term:get(), belongs(Key, Name)],
        ok
    end);
remove(Name) ->
    error(badarg, [Name]).

belongs(?KEY(Name), Name) -> true;
belongs(?SERIES(Name, _), Name) -> true;
belongs(?VALUES(Name, _), Name) -> true;
belongs(?COLLECTOR(Name), Name) -> true;
belongs(_, _) -> false.

register_metric(Name, Type, Options) ->
    check(Name, Type, Options) orelse error(badarg, [Name, Options]),
    case persistent_term:get(?KEY(Name), undefined) of
        #metric{type = Type, options = Options} -> ok;
        _ -> locked(fun() -> register_locked(Name, Type, Options) end) orelse error(badarg, [Name, Options])
    end,
    ok.

register_locked(Name, Type, Options) ->
    case persistent_term:get(?KEY(Name), undefined) of
        undefined -> persistent_term:put(?KEY(Name), new_metric(Name, Type, Options)), true;
        #metric{type = Type, options = Options} -> true;
        #metric{} -> false
    end.

new_metric(Name, Type, Options) ->
    Labels = maps:get(labels, Options, []),
    MaxSeries = case Labels of [] -> 0; _ -> maps:get(max_series, Options, 100) end,
    Bounds = list_to_tuple(maps:get(buckets, Options, [])),
    Width = case Type of histogram -> tuple_size(Bounds) + 2; _ -> 1 end,
    Size = (MaxSeries + 1) * Width + 1,
    #metric{name = Name, type = Type, options = Options, labels = Labels, max_series = MaxSeries,
            bounds = Bounds, width = Width, used = atomics:new(1, []),
            %% set/2 must not be seen half done, so a gauge has one word per value.
            ref = counters:new(Size, case Type of gauge -> [atomics]; _ -> [write_concurrency] end)}.

check(Name, Type, #{help := Help} = Options) when is_atom(Name) ->
    Labels = maps:get(labels, Options, []),
    beamline_metrics_text:valid_name(Name, Type)
        andalso is_list(unicode:characters_to_list(Help))
        andalso is_proper(Labels)
        andalso lists:all(fun(L) -> beamline_metrics_text:valid_label(L, Type) end, Labels)
        andalso length(lists:usort(Labels)) =:= length(Labels)
        andalso lists:all(fun(Pair) -> check_option(Type, Pair) end, maps:to_list(Options))
        andalso (Type =/= histogram orelse maps:is_key(buckets, Options))
        andalso (maps:get(max_series, Options, 100) + 1) * (length(maps:get(buckets, Options, [])) + 2) =< ?MAX_WORDS;
check(_, _, _) -> false.

is_proper(List) -> is_list(List) andalso length(List) >= 0.

check_option(_, {help, _}) -> true;
check_option(_, {labels, _}) -> true;
check_option(_, {max_series, N}) -> is_integer(N) andalso N > 0;
check_option(_, {divisor, D}) -> is_integer(D) andalso D > 0;
check_option(histogram, {buckets, [_ | _] = Bounds}) ->
    is_proper(Bounds) andalso lists:all(fun is_integer/1, Bounds) andalso lists:usort(Bounds) =:= Bounds;
check_option(_, _) -> false.

%%% Updates

%% @doc One series, for {@link add/2}, {@link set/2} and {@link observe/2} without a look-up.
%% It goes on working after {@link remove/1}, only nobody sees it any more.
-spec series(name(), [label_value()]) -> series().
series(Name, Values) ->
    #metric{type = Type, ref = Ref, bounds = Bounds} = Metric = metric(Name),
    {Ref, first(Metric, Values), case Type of histogram -> Bounds; _ -> Type end}.

%% @doc Adds to a counter or gauge without labels, or to a series. Raises `badarg' when the
%% metric is not registered, or when a counter would go down.
-spec add(name() | series(), integer()) -> ok.
add({Ref, Index, counter}, N) when is_integer(N), N >= 0 -> counters:add(Ref, Index, N);
add({Ref, Index, gauge}, N) -> counters:add(Ref, Index, N);
add(Name, N) -> add_first(Name, [], N).

%% @doc Adds to a counter or gauge with these label values, in the order of its label names.
-spec add(name(), [label_value()], integer()) -> ok.
add(Name, Values, N) ->
    case persistent_term:get(?SERIES(Name, Values), undefined) of
        {Slot, counter, Ref} when is_integer(N), N >= 0 -> counters:add(Ref, Slot + 1, N);
        {Slot, gauge, Ref} -> counters:add(Ref, Slot + 1, N);
        _ -> add_first(Name, Values, N)
    end.

%% Without labels, the first time with these values, or wrong.
add_first(Name, Values, N) ->
    case metric(Name) of
        #metric{type = counter, ref = Ref} = Metric when is_integer(N), N >= 0 ->
            counters:add(Ref, first(Metric, Values), N);
        #metric{type = gauge, ref = Ref} = Metric ->
            counters:add(Ref, first(Metric, Values), N);
        _ -> error(badarg, [Name, Values, N])
    end.

%% @doc Sets a gauge without labels, or a gauge's series.
-spec set(name() | series(), integer()) -> ok.
set({Ref, Index, gauge}, N) -> counters:put(Ref, Index, N);
set(Name, N) -> set(Name, [], N).

%% @doc Sets a gauge.
-spec set(name(), [label_value()], integer()) -> ok.
set(Name, Values, N) ->
    case metric(Name) of
        #metric{type = gauge, ref = Ref} = Metric -> counters:put(Ref, first(Metric, Values), N);
        _ -> error(badarg, [Name, Values, N])
    end.

%% @doc Counts a value in a histogram without labels, or in a histogram's series.
-spec observe(name() | series(), integer()) -> ok.
observe({Ref, First, Bounds}, N) when is_integer(N), is_integer(First), is_tuple(Bounds), Bounds =/= {} ->
    counters:add(Ref, First + tuple_size(Bounds) + 1, N), % first, because it refuses more than 64 bits
    counters:add(Ref, First + bucket(N, Bounds, 1), 1);
observe(Name, N) when is_atom(Name) -> observe(Name, [], N);
observe(Series, N) -> error(badarg, [Series, N]).

%% @doc Counts a value in a histogram.
-spec observe(name(), [label_value()], integer()) -> ok.
observe(Name, Values, N) -> observe(series(Name, Values), N).

bucket(N, Bounds, I) when I =< tuple_size(Bounds), N > element(I, Bounds) -> bucket(N, Bounds, I + 1);
bucket(_, _, I) -> I - 1.

%% @doc The stored value of a counter or gauge without labels.
-spec value(name()) -> integer().
value(Name) -> value(Name, []).

%% @doc The stored value of a counter or gauge; 0 for label values not seen yet.
-spec value(name(), [label_value()]) -> integer().
value(Name, Values) ->
    case metric(Name) of
        #metric{type = histogram} -> error(badarg, [Name, Values]);
        #metric{ref = Ref} = Metric ->
            case slot_of(Metric, Values) of
                undefined -> 0;
                Slot -> counters:get(Ref, Slot + 1)
            end
    end.

metric(Name) -> persistent_term:get(?KEY(Name)).

%% Index of the first counter of a series, which is made if there is room.
first(#metric{labels = []}, []) -> 1;
first(#metric{width = Width} = Metric, Values) ->
    case slot_of(Metric, Values) of
        undefined -> slot_for(Metric, Values) * Width + 1;
        Slot -> Slot * Width + 1
    end.

slot_of(#metric{labels = []}, []) -> 0;
slot_of(#metric{name = Name}, Values) -> known_slot(Name, Values).

known_slot(Name, Values) ->
    case persistent_term:get(?SERIES(Name, Values), undefined) of
        {Slot, _, _} -> Slot;
        undefined -> undefined
    end.

slot_for(#metric{name = Name, labels = Labels} = Metric, Values) ->
    length(Values) =:= length(Labels) orelse error(badarg, [Name, Values]),
    Texts = [label_text(V) || V <- Values],
    Other = lists:all(fun(T) -> T =:= <<"other">> end, Texts),
    case Other orelse is_full(Metric) of
        true when Other -> 0;
        true -> known_or_other(Metric, Texts);
        false -> locked(fun() -> new_slot(Metric, Values, Texts) end)
    end.

is_full(#metric{used = Used, max_series = Max}) -> atomics:get(Used, 1) >= Max.

%% `[get]' may come for a series made by `[<<"get">>]', and then is not new.
known_or_other(#metric{name = Name, ref = Ref}, Texts) ->
    case known_slot(Name, Texts) of
        undefined -> counters:add(Ref, maps:get(size, counters:info(Ref)), 1), 0;
        Slot -> Slot
    end.

new_slot(#metric{name = Name, used = Used} = Metric, Values, Texts) ->
    Known = known_slot(Name, Texts),
    case is_full(Metric) of
        _ when Known =/= undefined -> alias(Metric, Values, Texts, Known);
        true -> known_or_other(Metric, Texts);
        false ->
            Slot = atomics:get(Used, 1) + 1,
            persistent_term:put(?VALUES(Name, Slot), Texts),
            persistent_term:put(?SERIES(Name, Texts), place(Metric, Slot)),
            atomics:put(Used, 1, Slot),
            alias(Metric, Values, Texts, Slot)
    end.

%% The next look-up shall find the values as they came, unless they are binaries: those may be
%% cut short, and then there is no end of them.
alias(#metric{name = Name} = Metric, Values, Texts, Slot) ->
    Keys = [case is_binary(V) of true -> T; false -> V end || {V, T} <- lists:zip(Values, Texts)],
    persistent_term:put(?SERIES(Name, Keys), place(Metric, Slot)),
    Slot.

place(#metric{type = Type, ref = Ref}, Slot) -> {Slot, Type, Ref}.

label_text(V) when is_atom(V) -> label_text(atom_to_binary(V));
label_text(V) when is_integer(V) -> integer_to_binary(V);
label_text(V) when byte_size(V) > ?MAX_LABEL_BYTES -> label_text(binary:part(V, 0, ?MAX_LABEL_BYTES));
label_text(V) when is_binary(V) -> binary:copy(V);
label_text(V) -> error(badarg, [V]).

%% Runs a function while nobody else is in here. The lock is a registered name: it goes when its
%% holder dies, and needs no server. (`global' would do, but may be switched off.)
locked(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> locked_worker(Fun) end),
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, done, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.

locked_worker(Fun) ->
    try register(beamline_metrics_lock, self()) of
        true -> exit({?MODULE, done, Fun()})
    catch
        error:badarg ->
            Monitor = monitor(process, beamline_metrics_lock),
            receive {'DOWN', Monitor, process, _, _} -> locked_worker(Fun) end
    end.

%%% Reading everything

%% @doc All metrics with their samples, sorted by name.
-spec families() -> [family()].
families() ->
    ok = counter(?OVERFLOW, #{help => "Updates that went to the series 'other' because a metric had too many label sets.",
                              labels => [metric]}),
    ok = counter(?FAILURES, #{help => "Collectors that crashed, were late or answered nonsense.", labels => [collector]}),
    Terms = persistent_term:get(),
    Collected = collect(lists:sort([{Name, MFA} || {?COLLECTOR(Name), MFA} <- Terms])),
    Metrics = [Metric || {?KEY(_), #metric{} = Metric} <- Terms],
    Own = [family(Metric) || #metric{name = Name} = Metric <- Metrics, Name =/= ?OVERFLOW, Name =/= ?FAILURES],
    merge(Own ++ Collected ++ [overflow_family(Metrics), family(metric(?FAILURES))]).

%% @doc The same as `render(text)'.
-spec render() -> iodata().
render() -> render(text).

%% @doc All metrics as Prometheus text 0.0.4 or OpenMetrics 1.0.0.
-spec render(format()) -> iodata().
render(Format) when Format =:= text; Format =:= openmetrics -> beamline_metrics_text:render(families(), Format);
render(Format) -> error(badarg, [Format]).

%% @doc The media type of a format.
-spec content_type(format()) -> binary().
content_type(text) -> <<"text/plain; version=0.0.4; charset=utf-8">>;
content_type(openmetrics) -> <<"application/openmetrics-text; version=1.0.0; charset=utf-8">>;
content_type(Format) -> error(badarg, [Format]).

%% @doc The format for the value of an HTTP `Accept' field (or `undefined'): OpenMetrics where a range names it, unless
%% with the weight 0.
-spec negotiate(binary() | undefined) -> format().
negotiate(Accept) when is_binary(Accept) ->
    Ranges = binary:split(Accept, <<",">>, [global]),
    case lists:any(fun names_openmetrics/1, Ranges) of
        true -> openmetrics;
        false -> text
    end;
negotiate(undefined) -> text;
negotiate(Accept) -> error(badarg, [Accept]).

names_openmetrics(Range) ->
    re:run(Range, "^[ \\t]*application/openmetrics-text[ \\t]*(;|$)", [caseless, {capture, none}]) =:= match
        andalso re:run(Range, ";[ \\t]*q=0(\\.0*)?[ \\t]*(;|$)", [caseless, {capture, none}]) =:= nomatch.

family(#metric{name = Name, type = Type, options = #{help := Help}} = Metric) ->
    #{name => Name, type => Type, help => Help,
      samples => [{labels(Metric, Slot), sample(Metric, Slot)} || Slot <- slots(Metric)]}.

overflow_family(Metrics) ->
    #metric{options = #{help := Help}} = metric(?OVERFLOW),
    Samples = [{[{metric, Name}], counters:get(Ref, maps:get(size, counters:info(Ref)))}
               || #metric{name = Name, labels = [_ | _], ref = Ref} <- Metrics, Name =/= ?OVERFLOW],
    #{name => ?OVERFLOW, type => counter, help => Help, samples => Samples}.

%% `other' appears once something went there.
slots(#metric{labels = []}) -> [0];
slots(#metric{used = Used, ref = Ref, width = Width}) ->
    Other = [0 || lists:any(fun(I) -> counters:get(Ref, I) =/= 0 end, lists:seq(1, Width))],
    Other ++ lists:seq(1, atomics:get(Used, 1)).

labels(#metric{labels = []}, 0) -> [];
labels(#metric{labels = Labels}, 0) -> [{L, <<"other">>} || L <- Labels];
labels(#metric{name = Name, labels = Labels}, Slot) -> lists:zip(Labels, persistent_term:get(?VALUES(Name, Slot))).

sample(#metric{type = histogram, bounds = Bounds, ref = Ref, width = Width} = Metric, Slot) ->
    First = Slot * Width + 1,
    Counts = [counters:get(Ref, First + I) || I <- lists:seq(0, tuple_size(Bounds))],
    #{buckets => lists:zip([scaled(Metric, B) || B <- tuple_to_list(Bounds)], lists:droplast(Counts)),
      count => lists:sum(Counts),
      sum => scaled(Metric, counters:get(Ref, First + tuple_size(Bounds) + 1))};
sample(#metric{ref = Ref} = Metric, Slot) -> scaled(Metric, counters:get(Ref, Slot + 1)).

scaled(#metric{options = #{divisor := Divisor}}, N) -> N / Divisor;
scaled(_, N) -> N.

%%% Collectors

collect(Collectors) ->
    Deadline = erlang:monotonic_time(millisecond) + ?COLLECT_TIMEOUT_MS,
    Running = [{Name, spawn_monitor(?MODULE, run_collector, [MFA])} || {Name, MFA} <- Collectors],
    lists:append([collected(Name, Worker, Deadline) || {Name, Worker} <- Running]).

%% @private
-spec run_collector({module(), atom(), [term()]}) -> no_return().
run_collector({M, F, A}) -> exit({?MODULE, collected, apply(M, F, A)}).

collected(Name, {Pid, Monitor}, Deadline) ->
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, collected, Families}} -> accept(Name, Families);
        {'DOWN', Monitor, process, Pid, _} -> failed(Name)
    after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
        exit(Pid, kill),
        demonitor(Monitor, [flush]),
        failed(Name)
    end.

accept(Name, Families) ->
    try is_list(Families) andalso lists:all(fun beamline_metrics_text:valid_family/1, Families) of
        true -> Families;
        false -> failed(Name)
    catch
        error:_ -> failed(Name) % a list without an end somewhere in it
    end.

failed(Name) ->
    ok = add(?FAILURES, [Name], 1),
    [].

%% Several collectors may contribute to one family (two pools, say). The first one's type and
%% help hold; samples of another type, or of a label set that is there already, are left out.
merge(Families) ->
    Merged = lists:foldl(fun merge_one/2, #{}, Families),
    [Family#{samples := unique(Samples)} || {_, #{samples := Samples} = Family} <- lists:sort(maps:to_list(Merged))].

merge_one(#{name := Name, type := Type, samples := More} = Family, Seen) ->
    case Seen of
        #{Name := #{type := Type, samples := Samples} = First} -> Seen#{Name := First#{samples := Samples ++ More}};
        #{Name := _} -> Seen;
        _ -> Seen#{Name => Family}
    end.

unique(Samples) ->
    {Kept, _} = lists:foldl(fun({Labels, _} = Sample, {Acc, Seen}) ->
        Key = lists:sort([{L, label_text(V)} || {L, V} <- Labels]),
        case Seen of
            #{Key := _} -> {Acc, Seen};
            _ -> {[Sample | Acc], Seen#{Key => true}}
        end
    end, {[], #{}}, Samples),
    lists:reverse(Kept).
