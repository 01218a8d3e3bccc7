%% SPDX-License-Identifier: Apache-2.0
%% @private Compiling: options, the way to the threads that do it, metrics.
-module(beamline_wasm_compile).

-export([compile/2, recipe/1, validate/2, info/1]).

%% In the order of enum bl_wasm_proposal.
-define(PROPOSALS, [simd, relaxed_simd, bulk_memory, multi_value, reference_types, function_references, gc, exceptions, tail_call,
                    multi_memory, memory64, threads]).
-define(MOST_MS, 16#FFFFFFFF). % that a receive takes
-define(PRESETS, [fast, dense, deterministic]).
-define(DEFAULTS, #{engine => fast, off => [], stack => 0, max_bytes => 64 bsl 20, max_imports => 10_000, timeout => 60_000,
                   expose => false}).

-spec compile(binary(), beamline_wasm:compile_options()) -> {ok, beamline_wasm:module_()} | {error, beamline_wasm:reason()}.
compile(Bytes, Options0) ->
    Options = options(Options0),
    {Folder, Key} = beamline_wasm_cache:place(Bytes, maps:get(cache, Options)),
    Answer = ask(Bytes, settings(false, Options), Folder, Key, maps:get(timeout, Options)),
    beamline_wasm_metrics:compiled(Answer),
    Answer.

-spec validate(binary(), beamline_wasm:compile_options()) -> ok | {error, beamline_wasm:reason()}.
validate(Bytes, Options0) ->
    Options = options(Options0),
    ask(Bytes, settings(true, Options), undefined, undefined, maps:get(timeout, Options)).

-spec recipe(beamline_wasm:compile_options()) -> {ok, beamline_wasm:recipe()} | {error, beamline_wasm:reason()}.
recipe(Options0) ->
    {_, Preset, Off, StackKiB, MaxBytes, MaxImports, _, _} = settings(false, options(Options0)),
    case {beamline_wasm_library:loaded(), beamline_wasm_library:info()} of
        {ok, {ok, #{path := Path}}} ->
            {ok, {Path, beamline_wasm_library:any_version(), Preset, Off, StackKiB, MaxBytes, MaxImports}};
        {{error, _} = Error, _} -> Error
    end.

-spec info(beamline_wasm:module_()) -> map().
info(Module) ->
    {Bytes, Ns, Cached, Preset, Off, StackKiB, Short, Start, Id} = beamline_wasm_nif:module_info_(Module),
    #{bytes => Bytes, compile_us => Ns div 1000, cached => Cached, engine => lists:nth(Preset + 1, ?PRESETS),
      off => [Name || {Name, Bit} <- numbered(?PROPOSALS), Off band (1 bsl Bit) =/= 0], stack => StackKiB * 1024, short => Short,
          start => Start, id => Id}.

options(Options) when is_map(Options) ->
    Default = ?DEFAULTS#{cache => application:get_env(beamline, wasm_cache, none)},
    [] =:= maps:keys(maps:without(maps:keys(Default), Options)) orelse error(badarg, [Options]),
    maps:merge(Default, Options);
options(Options) ->
    error(badarg, [Options]).

settings(Validate, #{engine := Engine, off := Off, stack := Stack, max_bytes := Bytes, max_imports := Imports,
    timeout := Timeout, expose := Expose} = Options) ->
    length(Off) >= 0 andalso is_integer(Stack) andalso Stack >= 0 andalso is_boolean(Expose) orelse error(badarg, [Options]),
    {Validate, number(Engine, ?PRESETS), lists:foldl(fun(Name, Bits) -> Bits bor (1 bsl number(Name, ?PROPOSALS)) end, 0, Off),
     (Stack + 1023) div 1024, Bytes, Imports, Timeout, Expose}.

number(Name, Names) ->
    case lists:keyfind(Name, 1, numbered(Names)) of
        {_, N} -> N;
        false -> error(badarg, [Name])
    end.

numbered(Names) -> lists:zip(Names, lists:seq(0, length(Names) - 1)).

ask(Bytes, Settings, Folder, Key, Timeout) ->
    is_timeout(Timeout) orelse error(badarg, [Timeout]),
    case beamline_wasm_library:loaded() of
        ok -> send(Bytes, Settings, Folder, Key, Timeout);
        {error, _} = Error -> Error
    end.

is_timeout(infinity) -> true;
is_timeout(Ms) -> is_integer(Ms) andalso Ms >= 0 andalso Ms =< ?MOST_MS.

%% The answer is a message to a process of its own: one that comes too late goes with it, and a job that is still in the queue when
%% that process has ended is not done.
send(Bytes, Settings, Folder, Key, Timeout) ->
    Caller = self(),
    Alias = alias([reply]),
    {Pid, Monitor} = spawn_monitor(fun() -> Alias ! {Alias, wait(Caller, Bytes, Settings, Folder, Key)} end),
    Got = receive
        {Alias, Answer} -> Answer;
        {'DOWN', Monitor, process, Pid, _} -> {error, cancelled}
    after Timeout ->
        exit(Pid, kill),
        {error, timeout}
    end,
    unalias(Alias),
    demonitor(Monitor, [flush]),
    receive {Alias, _} -> ok after 0 -> ok end,
    case Got of
        badarg -> error(badarg, [Settings]);
        _ -> Got
    end.

wait(Caller, Bytes, Settings, Folder, Key) ->
    Ref = make_ref(),
    Monitor = monitor(process, Caller),
    try beamline_wasm_nif:compile(Ref, Bytes, Settings, Folder, Key) of
        ok ->
            receive
                {beamline_wasm, Ref, Answer} -> Answer;
                {'DOWN', Monitor, process, Caller, _} -> {error, closed}
            end;
        {error, _} = Error ->
            Error
    catch
        error:badarg -> badarg
    end.
