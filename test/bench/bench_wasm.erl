%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Guests beside NIFs with the same terms, beside the bare C API with the same engine settings, beside Erlang's own
%% processes. doc/wasm.md has the numbers.
-module(bench_wasm).

-export([run/0]).

-define(FUNCTIONS, 210).
-define(LOOP, 2_000). % a sample is shorter than what the kernel gives a thread at a time
-define(FUEL, "200000"). % which lasts about as long as what we let a guest run

-define(ASKS, 400).
-define(TICKS, 1000).

-spec run() -> ok.
run() ->
    case beamline_wasm:library() of
        {ok, #{path := Library}} ->
            ok = floor_nif_wasm:load(),
            calls(),
            memory(),
            scaling(),
            starts(binary_to_list(Library)),
            schedulers(),
            kernels(binary_to_list(Library));
        {error, _} ->
            io:format("not measured: wasm: wasmtime is not here~n")
    end.

guest(Wat, Options) ->
    {ok, Module} = beamline_wasm:compile(Wat),
    {ok, Guest} = beamline_wasm:start(Module, Options),
    Guest.

wat() ->
    <<"(module (import \"env\" \"ask\" (func $ask (param i32 i32) (result i32))) (memory (export \"memory\") 64)
     (func (export \"add\") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
     (func (export \"add_fiber\") (param i32 i32) (result i32) (loop) (i32.add (local.get 0) (local.get 1)))
     (func (export \"asks\") (param $n i32) (result i32) (local $s i32)
       (loop $l (local.set $s (i32.add (local.get $s) (call $ask (local.get $n) (i32.const 1))))
         (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $l (local.get $n))) (local.get $s))
     (func (export \"spin\") (loop $l (br $l)))
     (func (export \"turns\") (param $n i32) (result i32)
       (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get $n))
     (func (export \"chain\") (param $n i32) (local $i i32)
       (loop $l (i32.store (i32.shl (local.get $i) (i32.const 6))
           (i32.shl (i32.and (i32.add (i32.mul (local.get $i) (i32.const 1664525)) (i32.const 1013904223)) (i32.sub (local.get $n)
             (i32.const 1))) (i32.const 6)))
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
     (func (export \"chase\") (local $p i32) (loop $l (local.set $p (i32.load (local.get $p))) (br $l)))
     (func (export \"pages\") (local $p i32)
       (loop $l (i32.store8 (local.get $p) (i32.const 1)) (local.set $p (i32.and (i32.add (local.get $p) (i32.const 4096))
         (i32.const 4194303))) (br $l))))">>.

ask([A, B], _) -> [A + B].

kit() -> guest(wat(), #{imports => #{{<<"env">>, <<"ask">>} => fun ask/2}}).

line(Name, Unit, Against, Goal, Value, Floor) ->
    beamline_bench:compare(#{name => "wasm/" ++ Name, unit => Unit, better => lower, against => Against, goal => Goal, value => Value,
                             floor => Floor, rounds => 21}).

limit(Name, Unit, Limit, Value) -> line(Name, Unit, "limit", 1, Value, fun() -> Limit end).

%% Nanoseconds for one turn of a loop that is compiled, not a fun that is called.
ns(Loop) ->
    Begin = erlang:monotonic_time(nanosecond),
    Loop(?LOOP),
    (erlang:monotonic_time(nanosecond) - Begin) / ?LOOP.

%%% Calls

calls() ->
    G = kit(),
    F = floor_nif_wasm:new(),
    Nif = fun() -> ns(fun(N) -> nif(F, N) end) end,
    ok = line("call_direct", "ns", "NIF, same terms", 3, fun() -> ns(fun(N) -> call(G, <<"add">>, N) end) end, Nif),
    ok = line("call_fiber", "ns", "NIF, same terms", 15, fun() -> ns(fun(N) -> call(G, <<"add_fiber">>, N) end) end, Nif),
    ok = line("import", "ns", "NIF, same terms", 15, fun() ->
        Begin = erlang:monotonic_time(nanosecond),
        {ok, _} = beamline_wasm:call(G, <<"asks">>, [?ASKS]),
        (erlang:monotonic_time(nanosecond) - Begin) / ?ASKS
    end, Nif),
    ok = beamline_wasm:stop(G).

call(_, _, 0) -> ok;
call(G, Name, N) -> {ok, [_]} = beamline_wasm:call(G, Name, [N, 2]), call(G, Name, N - 1).

nif(_, 0) -> ok;
nif(F, N) -> {ok, [_]} = floor_nif_wasm:add(F, <<"add">>, [N, 2]), nif(F, N - 1).

%%% Memory

memory() ->
    G = kit(),
    Bytes = binary:copy(<<7>>, 64),
    Empty = fun() -> ns(fun empty/1) end,
    ok = line("read64", "ns", "empty NIF", 4, fun() -> ns(fun(N) -> read(G, N) end) end, Empty),
    ok = line("write64", "ns", "empty NIF", 4, fun() -> ns(fun(N) -> write(G, Bytes, N) end) end, Empty),
    Size = 1 bsl 20,
    {ok, _} = beamline_wasm:read(G, 0, Size),
    ok = beamline_bench:compare(#{name => "wasm/read1m", unit => "GB/s", better => higher, against => "memcpy to a binary", goal => 0.7,
        rounds => 9,
        value => fun() -> Size / 1000 / beamline_bench:mean_us(50, fun() -> {ok, _} = beamline_wasm:read(G, 0, Size) end) end,
        floor => fun() -> Size / 1000 / beamline_bench:mean_us(50, fun() -> floor_nif_wasm:copy(Size) end) end}),
    ok = beamline_wasm:stop(G).

empty(0) -> ok;
empty(N) -> _ = floor_nif_wasm:empty(N), empty(N - 1).

read(_, 0) -> ok;
read(G, N) -> {ok, _} = beamline_wasm:read(G, N, 64), read(G, N - 1).

write(_, _, 0) -> ok;
write(G, B, N) -> ok = beamline_wasm:write(G, N, B), write(G, B, N - 1).

%%% Two at once

scaling() ->
    ok = beamline_bench:compare(#{name => "wasm/scaling_2", unit => "x", better => higher, against => "two on the NIF", goal => 0.9,
        rounds => 9,
        value => fun() -> gain(fun() -> G = kit(), fun(N) -> call(G, <<"add">>, N) end end) end,
        floor => fun() -> gain(fun() -> F = floor_nif_wasm:new(), fun(N) -> nif(F, N) end end) end}).

%% How much more two processes do in the same time than one.
gain(Make) -> 2 * together(1, Make) / together(2, Make).

together(Count, Make) ->
    Self = self(),
    Pids = [spawn_link(fun() ->
        Loop = Make(),
        Self ! {ready, self()},
        receive go -> Loop(200 * ?LOOP), Self ! {done, self()} end
    end) || _ <- lists:seq(1, Count)],
    [receive {ready, Pid} -> ok end || Pid <- Pids],
    {Us, _} = timer:tc(fun() -> [Pid ! go || Pid <- Pids], [receive {done, Pid} -> ok end || Pid <- Pids] end),
    Us.

%%% Starts

starts(Library) ->
    Folder = beamline_test:scratch_dir("bench_wasm"),
    case large_module(Folder) of
        {ok, Large} -> starts(Library, Folder, Large);
        {error, Said} -> io:format("not measured: wasm starts: clang or lld is not here: ~s~n", [Said])
    end,
    ok = limit("instance_kib", "KiB", 20, fun instance_kib/0).

starts(Library, Folder, Large) ->
    {ok, Module} = beamline_wasm:compile(Large),
    Cache = filename:join(Folder, "cache"),
    {ok, _} = beamline_wasm:compile(Large, #{cache => Cache}),
    ok = line("start_cached", "us", io_lib:format("compile ~b KB", [byte_size(Large) div 1000]), 1 / 200,
              fun() -> beamline_bench:mean_us(5, fun() -> {ok, _} = beamline_wasm:compile(Large, #{cache => Cache}) end) end,
              fun() -> beamline_bench:mean_us(1, fun() -> {ok, _} = beamline_wasm:compile(Large) end) end),
    ok = line("start_second", "ns", "bare C API", 4,
              fun() -> 1000 * beamline_bench:mean_us(500, fun() -> {ok, G} = beamline_wasm:start(Module),
                  ok = beamline_wasm:stop(G) end) end,
              fun() -> hd(beamline_bench:program("bench_wasm", [Library, filename:join(Folder, "large.wasm"), "start", "500"])) end).

%% Hundreds of functions of ordinary code, compiled from C: about 500 KB.
large_module(Folder) ->
    Function = fun(I) ->
        Body = [io_lib:format("s = s * ~bu + m[(s >> ~b) & 1023];", [I * 31 + J, J rem 13 + 1]) || J <- lists:seq(1, 90)],
        io_lib:format("__attribute__((noinline)) static unsigned f~b(unsigned s) { ~s return s > ~bu ? s + f~b(s) : s; }~n", [I, Body, I,
            I - 1])
    end,
    Source = filename:join(Folder, "large.c"),
    Wasm = filename:join(Folder, "large.wasm"),
    ok = file:write_file(Source, ["unsigned m[1024]; static unsigned f0(unsigned s) { return s; }\n",
        [Function(I) || I <- lists:seq(1, ?FUNCTIONS)],
        io_lib:format("__attribute__((export_name(\"run\"))) unsigned run(unsigned s) { return f~b(s); }~n", [?FUNCTIONS])]),
    clang(Source, Wasm).

clang(Source, Wasm) ->
    Said = os:cmd("clang -x c -O2 --target=wasm32 -mbulk-memory -nostdlib -Wl,--no-entry -o " ++ Wasm ++ " " ++ Source),
    case file:read_file(Wasm) of
        {ok, Bytes} -> {ok, Bytes};
        {error, _} -> {error, Said}
    end.

instance_kib() ->
    {ok, Module} = beamline_wasm:compile(<<"(module (memory (export \"memory\") 1) (data (i32.const 0) \"hello\") (global (mut i32)
      (i32.const 1))
        (func (export \"add\") (param i32 i32) (result i32) (loop) (i32.store (i32.const 100) (local.get 0)) (i32.add (local.get 0)
          (local.get 1))))">>,
        #{engine => dense}),
    Before = rss_kib(),
    Guests = [begin {ok, G} = beamline_wasm:start(Module), {ok, [3]} = beamline_wasm:call(G, <<"add">>, [1, 2]),
        G end || _ <- lists:seq(1, 10_000)],
    Each = (rss_kib() - Before) / 10_000,
    [ok = beamline_wasm:stop(G) || G <- Guests],
    ok = beamline_test:eventually(fun() -> lists:keyfind(guests, 1, beamline_wasm_nif:totals()) =:= {guests, 0} end, 60_000),
    Each.

rss_kib() ->
    erlang:garbage_collect(),
    {ok, Rollup} = file:read_file("/proc/self/smaps_rollup"),
    {match, [Kib]} = re:run(Rollup, "Rss:\\s+(\\d+)", [{capture, [1], list}]),
    list_to_integer(Kib).

%%% Schedulers

schedulers() ->
    Erlang = fun() -> late_p99([fun spin/0 || _ <- lists:seq(1, 8)]) end,
    [ok = beamline_bench:compare(#{name => "wasm/fairness_p99_" ++ Name, unit => "us", better => lower,
        against => "max(2 x Erlang, 1 ms)", goal => 1, rounds => 5,
        value => fun() -> late_p99([fun() -> hostile(Prepare, Run) end || _ <- lists:seq(1, 8)]) end,
        floor => fun() -> max(2 * Erlang(), 1000) end})
     || {Name, Prepare, Run} <- [{"spin", none, <<"spin">>}, {"chase", <<"chain">>, <<"chase">>}, {"pages", none, <<"pages">>}]],
    ok = limit("longest_slice", "us", 1000, fun longest_slice/0).

spin() -> spin().

hostile(Prepare, Run) ->
    G = kit(),
    _ = [{ok, _} = beamline_wasm:call(G, Prepare, [65536]) || Prepare =/= none],
    beamline_wasm:call(G, Run, [], #{timeout => infinity}).

%% Lateness of a process that wants to run each millisecond, while eight others do what they do.
late_p99(Funs) ->
    Pids = [spawn(Fun) || Fun <- Funs],
    receive after 500 -> ok end,
    Self = self(),
    Ticker = spawn(fun() -> Self ! {self(), lists:sort([late() || _ <- lists:seq(1, ?TICKS)])} end),
    Late = receive {Ticker, L} -> L end,
    [exit(Pid, kill) || Pid <- Pids],
    receive after 100 -> ok end,
    lists:nth(?TICKS * 99 div 100, Late).

late() ->
    Begin = erlang:monotonic_time(microsecond),
    receive after 1 -> ok end,
    max(0, erlang:monotonic_time(microsecond) - Begin - 1000).

%% Of a guest that computes for half a second, the machine being as busy as it is.
longest_slice() ->
    G = kit(),
    {error, timeout} = beamline_wasm:call(G, <<"spin">>, [], #{timeout => 500}),
    #{longest_slice_us := Us} = beamline_wasm:info(G),
    ok = beamline_wasm:stop(G),
    Us.

%%% Kernels

kernels(Library) ->
    Folder = beamline_test:scratch_dir("bench_wasm_kernels"),
    Wasm = filename:join(Folder, "kernels.wasm"),
    Source = beamline_test:source_file("test/bench/wasm_kernels.h"),
    case clang(Source, Wasm) of
        {ok, Bytes} -> kernels(Library, Wasm, Bytes);
        {error, Said} -> io:format("not measured: wasm kernels: clang or lld is not here: ~s~n", [Said])
    end.

kernels(Library, Wasm, Bytes) ->
    G = guest(Bytes, #{}),
    ok = slice_overhead(G, Library, Wasm),
    [begin
         Value = fun() -> warm_us(G, Name, N) end,
         Bare = fun(More) -> hd(beamline_bench:program("bench_wasm", [Library, Wasm, Name, integer_to_list(N) | More])) end,
         %% Both are interrupted now and then: a branch that was taken once costs more from then on, on some processors.
         ok = line(Name, "us", "bare C API", 1.05, Value, fun() -> Bare([?FUEL]) end),
         ok = beamline_bench:compare(#{name => "wasm/" ++ Name ++ "_whole", unit => "us", better => lower,
             against => "never interrupted", value => Value, floor => fun() -> Bare([]) end}),
         ok = beamline_bench:compare(#{name => "wasm/" ++ Name ++ "_native", unit => "us", better => lower, against => "cc -O2",
             value => Value, floor => fun() -> hd(beamline_bench:program("bench_wasm", ["native", Name, integer_to_list(N)])) end})
     end || {Name, N} <- [{"fib", 30}, {"lcg", 10_000_000}, {"matmul", 10}, {"sieve", 2_000_000}]],
    ok = beamline_wasm:stop(G).

%% The second of two calls, as the program beside it does: another process was on this processor before.
warm_us(G, Name, N) ->
    Call = fun() -> {ok, [_]} = beamline_wasm:call(G, list_to_binary(Name), [N]) end,
    Call(),
    element(1, timer:tc(Call)).

%% What each slice adds to a computation, beside a NIF that gives its scheduler back and does nothing else.
slice_overhead(G, Library, Wasm) ->
    N = 10_000_000,
    Slices = fun() -> #{slices := S} = beamline_wasm:info(G), S end,
    beamline_bench:compare(#{name => "wasm/slice_overhead", unit => "ns", better => lower, against => "NIF that yields", rounds => 21,
                             value => fun() ->
        Before = Slices(),
        Us = warm_us(G, "lcg", N),
        Made = (Slices() - Before) / 2,
        Bare = hd(beamline_bench:program("bench_wasm", [Library, Wasm, "lcg", integer_to_list(N)])),
        1000 * (Us - Bare) / Made
    end, floor => fun() -> beamline_bench:mean_us(1, fun() -> floor_nif_wasm:yields(1000) end) end}).
