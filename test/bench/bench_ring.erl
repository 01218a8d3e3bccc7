%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc The ring, and actors seen from Erlang.
-module(bench_ring).

-export([run/0, idle_bytes/0]).

-define(IDLE_MS, 2).
-define(FLIGHT, 1024).
-define(BURSTS, 200).

-spec run() -> ok.
run() ->
    [ok = alone(Fun) || Fun <- [fun c1/0, fun c1_alone/0, fun lanes/0, fun c2_hot/0, fun c2_parked/0, fun c2_wasm/0, fun c3/0,
                                fun c3_casts/0, fun c4/0, fun c4_dirty/0, fun far_call/0, fun far_parked/0, fun far_cast/0,
                                fun far_message/0, fun c5_cache/0, fun c5_memory/0, fun c6_bytes/0, fun c6_rate/0, fun scaling/0,
                                fun aside/0, fun long_schedules/0]],
    ok.

%% Each in a process of its own: what a closed device still tells must not fill the next one's mailbox.
alone(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit(Fun()) end),
    receive {'DOWN', Monitor, process, Pid, Result} -> Result end.

%%% C programs

%% Header, credit, marks and stamps; one sender, because the floor has one.
c1() ->
    beamline_bench:compare(#{
        name => "ring/c1", unit => "M msg/s", better => higher, goal => 0.4, against => "floor_ring_spsc",
        value => fun() -> hd(beamline_bench:program("bench_ring", ["ring", "4000000"])) / 1.0e6 end,
        floor => fun() -> hd(beamline_bench:program("floor_ring_spsc", ["4000000"])) / 1.0e6 end
    }).

%% The instructions alone: one thread puts 64 in and takes them out, by its processor time.
c1_alone() ->
    beamline_bench:compare(#{
        name => "ring/c1_one_thread", unit => "M msg/s", better => higher, goal => 0.4, against => "floor_ring_spsc",
        value => fun() -> hd(beamline_bench:program("bench_ring", ["alone", "10000000"])) / 1.0e6 end,
        floor => fun() -> hd(beamline_bench:program("floor_ring_spsc", ["10000000", "1"])) / 1.0e6 end
    }).

%% Why there is one ring per actor and not one per sender: what two senders get through each.
lanes() ->
    beamline_bench:compare(#{
        name => "ring/two_senders", unit => "M msg/s", better => higher, against => "a ring per sender",
        value => fun() -> hd(beamline_bench:program("bench_ring", ["ring", "4000000", "2"])) / 1.0e6 end,
        floor => fun() -> hd(beamline_bench:program("bench_ring", ["lanes", "4000000", "2"])) / 1.0e6 end
    }).

c5_cache() -> triad("ring/c5_triad", "10000").

c5_memory() -> triad("ring/c5_triad_memory", "5000000").

%% Each program measures both by turns.
triad(Name, Elements) ->
    Self = self(),
    beamline_bench:compare(#{
        name => Name, unit => "Melem/s", better => higher, goal => 0.85, against => "plain C loop",
        floor => fun() ->
            [Ours, Plain] = beamline_bench:program("bench_ring", ["triad", Elements]),
            Self ! {ours, list_to_integer(Elements) * 1000 / Ours},
            list_to_integer(Elements) * 1000 / Plain
        end,
        value => fun() -> receive {ours, Rate} -> Rate end end
    }).

scaling() ->
    beamline_bench:compare(#{
        name => "ring/scaling_2", unit => "x", better => higher, goal => 0.93, against => "floor_pthreads",
        value => fun() -> gain(beamline_bench:program("bench_ring", ["scaling"])) end,
        floor => fun() -> gain(beamline_bench:program("floor_pthreads", [])) end
    }).

gain([One, Two]) -> One / Two.

%%% From Erlang

with_echo(Opts, Fun) ->
    {ok, Device} = beamline_ring:open(#{threads => 1}),
    {ok, Echo} = beamline_ring:start(Device, echo, Opts),
    try
        Fun(Echo)
    after
        beamline_ring:close(Device)
    end.

with_thread(Sleeps, Fun) ->
    ok = floor_nif_spin:load(),
    0 = floor_nif_spin:start(Sleeps),
    try
        Fun()
    after
        floor_nif_spin:ask(-1)
    end.

ask() ->
    1 = floor_nif_spin:ask(1),
    receive answer -> ok end.

%% Many short rounds: how soon the VM wakes a process changes from one moment to the next by a factor of ten.
c2_hot() ->
    beamline_bench:compare(#{
        name => "ring/c2_hot", unit => "us", better => lower, goal => 1.3, against => "floor_nif_spin", rounds => 41,
        value => fun() -> with_echo(#{}, fun(Echo) -> beamline_bench:mean_us(3000, fun() -> call(Echo) end) end) end,
        floor => fun() -> with_thread(0, fun() -> beamline_bench:mean_us(3000, fun ask/0) end) end
    }).

c2_parked() ->
    beamline_bench:compare(#{
        name => "ring/c2_parked", unit => "us", better => lower, goal => 1.2, against => "floor_nif_spin, sleeping",
        value => fun() -> with_echo(#{}, fun(Echo) -> idle_us(fun() -> call(Echo) end) end) end,
        floor => fun() -> with_thread(1, fun() -> idle_us(fun ask/0) end) end
    }).

%% An echo of WebAssembly beside the built-in one: a call, and what the device's thread takes for a message. For information.
c2_wasm() ->
    case beamline_wasm:library() of
        {ok, _} ->
            Calls = fun(Echo) -> beamline_bench:mean_us(20000, fun() -> call(Echo) end) end,
            beside_native("ring/c2_wasm", "us", Calls),
            beside_native("ring/wasm_message", "ns", fun message_ns/1);
        {error, _} ->
            io:format("not measured: ring/c2_wasm: wasmtime is not here~n")
    end.

beside_native(Name, Unit, Fun) ->
    beamline_bench:compare(#{
        name => Name, unit => Unit, better => lower, against => "the built-in echo",
        value => fun() -> with_guest_echo(Fun) end, floor => fun() -> with_echo(#{queue => 1024}, Fun) end
    }).

with_guest_echo(Fun) ->
    {ok, Device} = beamline_ring:open(#{threads => 1, handlers => [{wasm, ring_guest_fixture:kit()}]}),
    {ok, Echo} = beamline_ring:start(Device, kit, #{queue => 1024}),
    try
        Fun(Echo)
    after
        beamline_ring:close(Device)
    end.

message_ns(Echo) ->
    {ok, <<1>>} = beamline_ring:call(Echo, <<1>>),
    {ok, #{run_ns := Before}} = beamline_ring:info(Echo),
    [begin
         ok = beamline_ring:suspend(Echo), % so that they are handled one after the other
         [ok = beamline_ring:cast(Echo, <<1>>) || _ <- lists:seq(1, 1000)],
         ok = beamline_ring:resume(Echo),
         {ok, <<1>>} = beamline_ring:call(Echo, <<1>>)
     end || _ <- lists:seq(1, 20)],
    {ok, #{run_ns := After}} = beamline_ring:info(Echo),
    (After - Before) / (20 * 1001).

call(Echo) -> {ok, <<1>>} = beamline_ring:call(Echo, <<1>>).

idle_us(Fun) ->
    beamline_bench:median([begin receive after ?IDLE_MS -> ok end, beamline_bench:mean_us(1, Fun) end || _ <- lists:seq(1, 200)]).

%% FLIGHT to twice as many messages under way all the time; a subscriber's batches beside a message each, per message. Both put
%% FLIGHT in with one call; in the second line each has its own.
c3() -> batches(#{name => "ring/c3", goal => 4}, fun(Echo, Messages) -> ok = beamline_ring:cast_all(Echo, Messages) end).

c3_casts() -> batches(#{name => "ring/c3_casts"}, fun(Echo, Messages) -> [ok = beamline_ring:cast(Echo, M) || M <- Messages] end).

batches(Line, Cast) ->
    Messages = lists:duplicate(?FLIGHT, <<1>>),
    beamline_bench:compare(Line#{
        unit => "M results/s", better => higher, against => "one send per message",
        value => fun() -> with_echo(#{queue => 4 * ?FLIGHT}, fun(Echo) ->
            {ok, Sub} = beamline_ring:subscribe(Echo, #{}),
            in_flight(fun() -> Cast(Echo, Messages) end, fun(More) -> results(Sub, ?FLIGHT - More) end)
        end) end,
        floor => fun() -> with_thread(0, fun() ->
            in_flight(fun() -> ?FLIGHT = floor_nif_spin:ask(?FLIGHT) end, fun(0) -> answers(?FLIGHT) end)
        end) end
    }).

%% Messages a microsecond. Take answers how many more it got than it was asked for, beyond which it does not wait.
in_flight(Put, Take) ->
    _ = Put(),
    Begin = erlang:monotonic_time(nanosecond),
    More = lists:foldl(fun(_, More) -> _ = Put(), Take(More) end, 0, lists:seq(1, ?BURSTS)),
    Spent = erlang:monotonic_time(nanosecond) - Begin,
    0 = Take(More),
    1000 * ?FLIGHT * ?BURSTS / Spent.

answers(0) -> 0;
answers(N) -> receive answer -> answers(N - 1) end.

results(_, N) when N =< 0 -> -N;
results(Sub, N) -> receive {beamline, Sub, {batch, Results}} -> results(Sub, N - length(Results)) end.

%% To a consumer that is awake: suspended, so that the ring fills and nobody has to be woken.
cast_ns() ->
    N = 65536,
    with_echo(#{queue => N}, fun(Echo) ->
        ok = beamline_ring:suspend(Echo),
        1000 * beamline_bench:mean_us(N, fun() -> ok = beamline_ring:cast(Echo, <<"0123456789abcdef">>) end)
    end).

c4() ->
    ok = floor_nif_plain:load(),
    beamline_bench:compare(#{
        name => "ring/c4", unit => "ns", better => lower, goal => 6, against => "floor_nif_plain",
        value => fun cast_ns/0,
        floor => fun() -> 1000 * beamline_bench:mean_us(65536, fun() -> 1 = floor_nif_plain:nothing(1) end) end
    }).

c4_dirty() ->
    ok = floor_nif_dirty:load(),
    beamline_bench:compare(#{
        name => "ring/c4_dirty", unit => "ns", better => lower, goal => 1 / 30, against => "floor_nif_dirty",
        value => fun cast_ns/0,
        floor => fun() -> 1000 * beamline_bench:mean_us(5000, fun() -> ok = floor_nif_dirty:nothing() end) end
    }).

%% A device in an OS process beside one in the VM, hot and parked. For information.
far_call() -> beside_vm("ring/far_call", "us", fun(Echo) -> beamline_bench:mean_us(5000, fun() -> call(Echo) end) end).

far_parked() -> beside_vm("ring/far_parked", "us", fun(Echo) -> idle_us(fun() -> call(Echo) end) end).

%% A cast alone: 1,000 to a suspended actor, whose process is awake from the first one on.
far_cast() ->
    beside_vm("ring/far_cast", "ns", fun(Echo) ->
        beamline_bench:median([begin
            ok = beamline_ring:suspend(Echo),
            Us = beamline_bench:mean_us(1000, fun() -> ok = beamline_ring:cast(Echo, <<"0123456789abcdef">>) end),
            ok = beamline_ring:resume(Echo),
            {ok, _} = beamline_ring:call(Echo, <<1>>),
            1000 * Us
        end || _ <- lists:seq(1, 20)])
    end).

%% With many under way: 1,000 requests, then their answers.
far_message() ->
    beside_vm("ring/far_message", "us", fun(Echo) ->
        beamline_bench:mean_us(20, fun() ->
            Requests = [begin {ok, R} = beamline_ring:request(Echo, <<1>>), R end || _ <- lists:seq(1, 1000)],
            [{ok, <<1>>} = beamline_ring:await(R) || R <- Requests]
        end) / 1000
    end).

beside_vm(Name, Unit, Fun) ->
    beamline_bench:compare(#{
        name => Name, unit => Unit, better => lower, against => "a device in the VM",
        value => fun() -> with_device(os_process, Fun) end, floor => fun() -> with_device(vm, Fun) end
    }).

with_device(Isolation, Fun) ->
    {ok, Device} = beamline_ring:open(#{threads => 1, isolation => Isolation}),
    {ok, Echo} = beamline_ring:start(Device, echo, #{queue => 2048}),
    try
        Fun(Echo)
    after
        beamline_ring:close(Device)
    end.

%% Ten thousand that have each handled a message. What the device counts and what the VM has for their handles and monitors; then
%% what the operating system says that a fresh VM has grown by, malloc's part included. Nobody keeps a term: actors need none.
c6_bytes() ->
    beamline_bench:compare(#{
        name => "ring/c6_bytes", unit => "bytes/actor", better => lower, goal => 1, against => "limit",
        value => fun() -> {Counted, _} = in_a_fresh_vm(idle_bytes), Counted end, floor => fun() -> 2048 end
    }),
    beamline_bench:compare(#{
        name => "ring/c6_resident", unit => "bytes/actor", better => lower, goal => 1, against => "limit",
        value => fun() -> {_, Resident} = in_a_fresh_vm(idle_bytes), Resident end, floor => fun() -> 2048 end
    }).

in_a_fresh_vm(Function) ->
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    try
        peer:call(Peer, ?MODULE, Function, [], 60_000)
    after
        peer:stop(Peer)
    end.

-spec idle_bytes() -> {Counted :: float(), Resident :: float()}.
idle_bytes() ->
    {ok, _} = application:ensure_all_started(beamline),
    {ok, Device} = beamline_ring:open(#{threads => 1}),
    N = 10000,
    ok = make_idle(Device, 10),
    erlang:garbage_collect(),
    {ok, #{memory := Device1}} = beamline_ring:info(Device),
    {Vm1, Resident1} = {erlang:memory(system), resident_bytes()},
    ok = make_idle(Device, N),
    erlang:garbage_collect(),
    {Vm2, Resident2} = {erlang:memory(system), resident_bytes()},
    {ok, #{memory := Device2, actors := Actors}} = beamline_ring:info(Device),
    Actors = N + 10,
    {(Device2 - Device1 + Vm2 - Vm1) / N, (Resident2 - Resident1) / N}.

make_idle(_, 0) -> ok;
make_idle(Device, N) ->
    {ok, Actor} = beamline_ring:start(Device, echo),
    {ok, _} = call(Actor),
    make_idle(Device, N - 1).

resident_bytes() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Text, <<" ">>, [global]),
    4096 * binary_to_integer(Pages).

flush() -> receive {beamline, _, {failed, closed}} -> flush() after 50 -> ok end.

c6_rate() ->
    beamline_bench:compare(#{
        name => "ring/c6_rate", unit => "start+stop/s", better => higher, goal => 0.2, against => "spawn + exit",
        value => fun() ->
            {ok, Device} = beamline_ring:open(#{threads => 1}),
            Us = beamline_bench:mean_us(20000, fun() -> {ok, A} = beamline_ring:start(Device, echo), ok = beamline_ring:stop(A) end),
            ok = beamline_ring:close(Device),
            1000000 / Us
        end,
        floor => fun() -> 1000000 / beamline_bench:mean_us(20000, fun spawn_and_wait/0) end
    }).

spawn_and_wait() ->
    {P, M} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', M, process, P, _} -> ok end.

%% The p99 of a short call while another actor's messages take 5 ms each, beside that without it.
aside() ->
    Library = beamline_test:built_file("ring/histogram2_operations.so"),
    {ok, Device} = beamline_ring:open(#{threads => 1, handlers => [Library]}),
    {ok, Echo} = beamline_ring:start(Device, echo),
    {ok, Slow} = beamline_ring:start(Device, unruly),
    Result = beamline_bench:compare(#{
        name => "ring/aside_p99", unit => "us", better => lower, goal => 2, against => "without the long one",
        floor => fun() -> p99(Echo) end,
        value => fun() ->
            [ok = beamline_ring:cast(Slow, {work, <<5:16/little>>}) || _ <- lists:seq(1, 10)],
            Us = p99(Echo),
            {ok, _} = beamline_ring:call(Slow, {count, <<>>}),
            Us
        end
    }),
    ok = beamline_ring:close(Device),
    flush(),
    Result.

p99(Echo) ->
    Times = [beamline_bench:mean_us(1, fun() -> {ok, _} = beamline_ring:call(Echo, <<1>>) end) || _ <- lists:seq(1, 5000)],
    lists:nth(4950, lists:sort(Times)).

%% Eight processes call one actor; beside it they call a process of Erlang for as long. (An event is mostly a process that the
%% system kept off its processor, so there are the more of them the longer a load runs.)
long_schedules() ->
    {ok, Device} = beamline_ring:open(#{threads => 1}),
    {ok, Echo} = beamline_ring:start(Device, echo, #{queue => 64}),
    Self = self(),
    Result = beamline_bench:compare(#{
        name => "ring/long_schedules", unit => "events + 1", better => lower, goal => 1.5, against => "a process", rounds => 5,
        value => fun() ->
            receive {took, Us} -> Us after 0 -> ok end,
            {Took, Events} = timer:tc(fun() -> events_of(fun() ->
                beamline_bench:mean_us(20000, fun() -> _ = beamline_ring:call(Echo, <<1>>) end)
            end) end),
            Self ! {took, Took},
            1 + Events
        end,
        floor => fun() ->
            Took = receive {took, Us} -> Us after 0 -> 1_000_000 end,
            Server = spawn_link(fun answer/0),
            Events = events_of(fun() -> ask_until(Server, erlang:monotonic_time(microsecond) + Took) end),
            unlink(Server),
            exit(Server, kill),
            1 + Events
        end
    }),
    ok = beamline_ring:close(Device),
    flush(),
    Result.

answer() ->
    receive {Pid, Ref} -> Pid ! Ref end,
    answer().

ask_until(Server, Until) ->
    beamline_bench:mean_us(100, fun() -> Ref = make_ref(), Server ! {self(), Ref}, receive Ref -> ok end end),
    erlang:monotonic_time(microsecond) < Until andalso ask_until(Server, Until).

events_of(Work) ->
    Self = self(),
    Monitor = spawn_link(fun() -> count(Self, 0) end),
    _ = erlang:system_monitor(Monitor, [{long_schedule, 1}]),
    Workers = [spawn_monitor(Work) || _ <- lists:seq(1, 8)],
    [receive {'DOWN', M, process, P, _} -> ok end || {P, M} <- Workers],
    _ = erlang:system_monitor(undefined),
    Monitor ! stop,
    receive {events, N} -> N end.

count(To, N) ->
    receive
        stop -> To ! {events, N};
        {monitor, _, long_schedule, _} -> count(To, N + 1)
    end.
