%% SPDX-License-Identifier: Apache-2.0
%% A handler of WebAssembly for tests, as text: one that does what a message says, good or bad.
-module(ring_guest_fixture).

-export([kit/0, kit/1, module/1, functions/0]).

functions() ->
    [echo, count, trap, spin, listen, code, far_reply, grow, recurse, forward, far_send, hog, mark, work, scribble, big, flood].

kit() -> kit(#{}).

%% Options: name, version, state (bytes); handle, check, migrate (places in the table, 0: none); abi, rows, row (binaries that replace
%% what is right); damage: [{Address, Byte}]; room, extra, imports (text).
kit(Opts) ->
    Get = fun(Key, Default) -> maps:get(Key, Opts, Default) end,
    Size = Get(state, 8),
    Names = [atom_to_binary(N) || N <- functions()],
    {Texts, Pointers} = texts(Names, 512),
    Row = <<128:32/little, 160:32/little, (Get(version, 1)):32/little, 1:32/little, Size:64/little, (min(8, Size)):64/little,
            (1 bsl 40):64/little, 2048:32/little, 2176:32/little, (Get(handle, 1)):32/little, (Get(check, 0)):32/little,
            (Get(migrate, 0)):32/little, 0:32>>,
    module([
        Get(imports, <<"(import \"beamline_ring\" \"send\" (func $send (param i32 i32 i32 i32) (result i32)))
                        (import \"beamline_ring\" \"stopped\" (func $stopped (result i32)))">>),
        data(0, <<(Get(abi, 1)):32/little, (Get(count, 1)):32/little, (Get(rows, 16)):32/little>>),
        data(16, Get(row, Row)),
        data(128, [Get(name, <<"kit">>), 0]), data(160, <<"For tests.", 0>>), data(256, <<"out", 0>>), data(512, Texts),
        data(2048, [<<<<P:32/little>> || P <- Pointers>>, <<0:32>>]), data(2176, <<256:32/little, 0:32>>),
        [data(At, <<Byte>>) || {At, Byte} <- Get(damage, [])],
        Get(room, room()), code(), Get(extra, <<>>)]).

texts(Names, At) ->
    {Text, Pointers, _} = lists:foldl(fun(N, {T, P, A}) -> {[T, N, 0], [A | P], A + byte_size(N) + 1} end, {[], [], At}, Names),
    {Text, lists:reverse(Pointers)}.

data(At, Bytes) ->
    io_lib:format("(data (i32.const ~b) \"~s\")~n", [At, [io_lib:format("\\~2.16.0b", [B]) || <<B>> <= iolist_to_binary(Bytes)]]).

module(Parts) -> iolist_to_binary(["(module\n", Parts, ")\n"]).

%% The second page, as long as it is enough; then fresh ones.
room() ->
    <<"(func (export \"beamline_ring_room\") (param $n i32) (result i32) (local $at i32)
         (if (i32.le_u (local.get $n) (i32.const 65536)) (then (return (i32.const 65536))))
         (local.set $at (memory.grow (i32.add (i32.shr_u (local.get $n) (i32.const 16)) (i32.const 1))))
         (if (i32.eq (local.get $at) (i32.const -1)) (then (return (i32.const 0))))
         (i32.shl (local.get $at) (i32.const 16)))">>.

%% Messages: data at 16, size at 24, function at 32, first buffer at 40. Outbox: reply at 8, its size at 16, replied at 24.
code() ->
    <<"(memory (export \"memory\") 2)
       (table (export \"__indirect_function_table\") 5 funcref)
       (elem (i32.const 1) $handle $check $migrate)
       (func (export \"beamline_ring_handlers\") (result i32) (i32.const 0))
       (func $reply (param $out i32) (param $at i32) (param $n i64) (result i32)
         (i32.store offset=8 (local.get $out) (local.get $at))
         (i64.store offset=16 (local.get $out) (local.get $n))
         (i32.store offset=24 (local.get $out) (i32.const 1))
         (i32.const 0))
       (func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
       (func $handle (param $state i32) (param $size i64) (param $m i32) (param $out i32) (param i32 i32) (result i32)
         (local $f i32) (local $data i32) (local $n i64) (local $i i64)
         (local.set $f (i32.load offset=32 (local.get $m)))
         (local.set $data (i32.load offset=16 (local.get $m)))
         (local.set $n (i64.load offset=24 (local.get $m)))
         (if (i64.ge_u (local.get $size) (i64.const 8))
           (then (i64.store (local.get $state) (i64.add (i64.load (local.get $state)) (i64.const 1)))))
         (block $flood (block $big (block $scribble (block $work (block $mark (block $hog (block $far_send (block $forward
           (block $recurse (block $grow (block $far_reply (block $code (block $listen (block $spin (block $trap (block $count (block $echo
             (br_table $echo $count $trap $spin $listen $code $far_reply $grow $recurse $forward $far_send $hog $mark $work $scribble
                $big $flood (local.get $f))
           ) (return (call $reply (local.get $out) (local.get $data) (local.get $n)))
           ) (return (call $reply (local.get $out) (local.get $state) (i64.const 8)))
           ) (unreachable)
           ) (loop $l (br $l))
           ) (loop $l (br_if $l (i32.eqz (call $stopped)))) (return (i32.const 4))
           ) (return (i32.load (local.get $data)))
           ) (return (call $reply (local.get $out) (i32.load (local.get $data)) (i64.load offset=4 (local.get $data))))
           ) (i32.store offset=60 (local.get $out) (memory.grow (i32.load (local.get $data))))
             (return (call $reply (local.get $out) (i32.add (local.get $out) (i32.const 60)) (i64.const 4)))
           ) (return (call $deep (i32.const 0)))
           ) (i32.store offset=60 (local.get $out) (call $send (i32.const 0) (i32.const 1) (local.get $data) (i32.wrap_i64 (local.get $n))))
             (return (call $reply (local.get $out) (i32.add (local.get $out) (i32.const 60)) (i64.const 4)))
           ) (i32.store offset=60 (local.get $out) (call $send (i32.load (local.get $data)) (i32.const 0)
                (i32.load offset=4 (local.get $data)) (i32.load offset=8 (local.get $data))))
             (return (call $reply (local.get $out) (i32.add (local.get $out) (i32.const 60)) (i64.const 4)))
           ) (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)
           ) (i32.store8 (i32.load offset=40 (local.get $m)) (i32.const 42))
             (return (call $reply (local.get $out) (i32.add (local.get $m) (i32.const 48)) (i64.const 8)))
           ) (local.set $n (i64.load (local.get $data)))
             (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1))) (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
             (return (i32.const 0))
           ) (memory.fill (i32.const 65536) (i32.const 255) (i32.const 65536)) (return (i32.const 0))
           ) (return (call $reply (local.get $out) (i32.const 0) (i64.load (local.get $data))))
           ) (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536))) (br $l))
             (unreachable))
       (func $check (param $state i32) (param $size i64) (result i32)
         (i64.gt_u (i64.load (local.get $state)) (i64.const 1000000)))
       (func $migrate (param $version i32) (param $from i32) (param $fs i64) (param $to i32) (param $ts i64) (result i32)
         (if (i32.ne (local.get $version) (i32.const 1)) (then (return (i32.const 1))))
         (i64.store (local.get $to) (i64.mul (i64.load (local.get $from)) (i64.const 1000)))
         (i32.const 0))">>.
