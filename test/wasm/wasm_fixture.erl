%% SPDX-License-Identifier: Apache-2.0
%% What the tests of guests share.
-module(wasm_fixture).

-export([start/0, module/1, guest/1, guest/2, wat/0, imports/1, live/0, all_gone/0]).

%% Skips where there is no wasmtime.
start() ->
    ok = beamline_test:start(),
    case beamline_wasm:library() of
        {ok, _} -> ok;
        {error, Why} -> beamline_test:skip(io_lib:format("no wasmtime: ~0tp", [Why]))
    end.

module(Wat) ->
    ok = start(),
    {ok, Module} = beamline_wasm:compile(Wat),
    Module.

guest(Imports) -> guest(wat(), #{imports => Imports}).

guest(Wat, Options) ->
    {ok, Guest} = beamline_wasm:start(module(Wat), Options),
    Guest.

imports(Ask) -> #{{<<"env">>, <<"ask">>} => Ask}.

live() ->
    {guests, N} = lists:keyfind(guests, 1, beamline_wasm_nif:totals()),
    N.

%% Guests of processes that have ended are gone soon.
all_gone() -> beamline_test:eventually(fun() -> erlang:garbage_collect(), live() =:= 0 end, 10_000).

wat() ->
    <<"(module $kit
     (import \"env\" \"ask\" (func $ask (param i32) (result i32)))
     (memory (export \"memory\") 2)
     (global (export \"g\") (mut i64) (i64.const 7))
     (global (export \"c\") i32 (i32.const 42))
     (table (export \"tab\") 4 10 funcref)
     (elem (i32.const 1) $add $spin)
     (func $add (export \"add\") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
     (func (export \"add_slow\") (param i32 i32) (result i32) (loop) (i32.add (local.get 0) (local.get 1)))
     (func $spin (export \"spin\") (loop $l (br $l)))
     (func (export \"spinstore\") (loop $l (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (br $l)))
     (func (export \"turns\") (param $n i64) (result i64) (local $i i64) (local $s i64)
       (loop $l (local.set $s (i64.add (i64.mul (local.get $s) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
         (local.set $i (i64.add (local.get $i) (i64.const 1))) (br_if $l (i64.lt_u (local.get $i) (local.get $n)))) (local.get $s))
     (func (export \"ask1\") (param i32) (result i32) (i32.add (call $ask (local.get 0)) (i32.const 1000)))
     (func (export \"asks\") (param $n i32) (result i32) (local $s i32)
       (loop $l (local.set $s (i32.add (local.get $s) (call $ask (local.get $n))))
         (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $l (local.get $n))) (local.get $s))
     (func (export \"ask_then_spin\") (drop (call $ask (i32.const 1))) (loop $l (br $l)))
     (func $boom (unreachable))
     (func (export \"trap\") (call $boom))
     (func (export \"div\") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
     (func (export \"load\") (param i32) (result i32) (i32.load (local.get 0)))
     (func $rec (export \"rec\") (param i32) (result i32) (i32.add (call $rec (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
     (func $fib (export \"fib\") (param i32) (result i32)
       (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
         (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
     (func (export \"fill\") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
     (func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))
     (func (export \"mixed\") (param i64 f32 f64) (result f64 i64 f32)
       (f64.mul (local.get 2) (f64.const 2)) (i64.add (local.get 0) (i64.const 1)) (f32.neg (local.get 1)))
     (func (export \"v\") (param v128) (result v128) (i8x16.add (local.get 0) (local.get 0)))
     (func (export \"echo_extern\") (param externref) (result externref) (local.get 0))
     (func (export \"echo_func\") (param funcref) (result funcref) (local.get 0))
     (func (export \"div0\") (param f64 f64) (result f64) (f64.div (local.get 0) (local.get 1)))
     (func (export \"div032\") (param f32 f32) (result f32) (f32.div (local.get 0) (local.get 1))))">>.
