%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Options as the driver wants them. Pure; wrong ones raise `badarg'.
-module(beamline_runtime_opts).

-export([task/1, each/2, timeout/1, pool/1]).

-define(DEFAULT_TIMEOUT, 60_000).
-define(DEFAULTS, {1, ?DEFAULT_TIMEOUT, 0, 0, 0, 0}).
-define(MAX_TIMEOUT, 16#FFFFFFFFFFFF).
-define(HEARTBEAT, 5_000).
-define(SENDERS, 2).

-export_type([wire_options/0]).
-type wire_options() :: 0 | {0..3, integer(), non_neg_integer(), non_neg_integer(), non_neg_integer(), 0..1}.

%% As bl_runtime_nif.c reads them.
-spec task(beamline_runtime:task_options()) -> wire_options().
task(Opts) when map_size(Opts) =:= 0 ->
    0;
task(Opts) when is_map(Opts) ->
    maps:fold(fun task_option/3, ?DEFAULTS, Opts);
task(_) ->
    error(badarg).

task_option(priority, Class, O) -> setelement(1, O, class(Class));
task_option(timeout, infinity, O) -> setelement(2, O, -1);
task_option(timeout, Ms, O) when is_integer(Ms), Ms >= 0, Ms =< ?MAX_TIMEOUT -> setelement(2, O, Ms);
task_option(memory_limit, Bytes, O) when is_integer(Bytes), Bytes > 0, Bytes < 1 bsl 63 -> setelement(3, O, Bytes);
task_option(progress, none, O) -> setelement(4, O, 0);
task_option(progress, Ms, O) when is_integer(Ms), Ms > 0, Ms < 1 bsl 32 -> setelement(4, O, Ms);
%% For tests: the n-th allocation of the task fails.
task_option(fail_allocation, N, O) when is_integer(N), N > 0, N < 1 bsl 32 -> setelement(5, O, N);
task_option(_, _, _) -> error(badarg).

class(low) -> 0;
class(normal) -> 1;
class(high) -> 2;
class(critical) -> 3;
class(_) -> error(badarg).

%% The same for a task whose argument is a list of arguments, with so much time.
-spec each(wire_options(), timeout()) -> wire_options().
each(0, Timeout) -> each(?DEFAULTS, Timeout);
each(Options, Timeout) -> setelement(6, task_option(timeout, Timeout, Options), 1).

-spec timeout(beamline_runtime:task_options()) -> timeout().
timeout(Opts) -> maps:get(timeout, Opts, ?DEFAULT_TIMEOUT).

%% The driver's numbers, and what stays in Erlang. With an OS process the numbers for that one are in the rest.
-spec pool(beamline_runtime:pool_options()) -> {Config :: #{atom() => non_neg_integer() | binary()}, Rest :: map()}.
pool(Opts) when is_map(Opts) ->
    Named = maps:merge(#{name => beamline_runtime, isolation => vm, operations => [], heartbeat => ?HEARTBEAT}, Opts),
    maps:foreach(fun check/2, Named),
    Keys = [threads, stack_size, max_queue, max_queue_bytes, memory_limit, max_behind, max_per_owner, ageing],
    Numbers = maps:with(Keys, Named),
    Config = maps:merge(maps:filter(fun(_, V) -> V =/= infinity end, Numbers), threads(Named)),
    Rest = maps:with([name, isolation, operations, heartbeat, cpu_limit], Named),
    isolated(Config#{name => thread_name(maps:get(name, Named))}, Rest);
pool(_) ->
    error(badarg).

%% In the VM two threads send; the host has those that were asked for, and the kernel holds it to the memory limit.
isolated(Config, #{isolation := vm} = Rest) ->
    {Config, Rest};
isolated(Config, #{isolation := os_process} = Rest) ->
    Numbers = maps:without([max_queue, max_queue_bytes, max_per_owner], Config),
    Host = {Numbers, maps:get(memory_limit, Config, 0), maps:get(cpu_limit, Rest, 0)},
    {Config#{threads => ?SENDERS}, Rest#{host => Host}}.

%% `thread_count' and `use_hardware_threads' are names that other runtimes use.
threads(#{threads := N}) -> #{threads => N};
threads(#{use_hardware_threads := true}) -> #{threads => hardware_threads()};
threads(#{thread_count := N}) -> #{threads => N};
threads(_) -> #{threads => erlang:system_info(schedulers_online)}.

hardware_threads() ->
    case erlang:system_info(logical_processors_available) of
        N when is_integer(N) -> N;
        unknown -> erlang:system_info(schedulers_online)
    end.

thread_name(Name) -> unicode:characters_to_binary(["bl_", string:replace(atom_to_list(Name), "beamline_", "")]).

check(name, V) when is_atom(V) -> ok;
check(isolation, V) when V =:= vm; V =:= os_process -> ok;
check(operations, V) when length(V) >= 0 -> lists:all(fun is_path/1, V) orelse error(badarg);
check(use_hardware_threads, V) when is_boolean(V) -> ok;
check(memory_limit, infinity) -> ok;
check(threads, V) when is_integer(V), V > 0, V =< 1024 -> ok;
check(thread_count, V) when is_integer(V), V > 0, V =< 1024 -> ok;
check(Key, V) when is_integer(V), V > 0, V < 1 bsl 63 -> check_number(Key);
check(_, _) -> error(badarg).

check_number(Key) ->
    Numbers = [stack_size, max_queue, max_queue_bytes, memory_limit, max_behind, max_per_owner, ageing, heartbeat, cpu_limit],
    lists:member(Key, Numbers) orelse error(badarg).

is_path(Path) -> Path =/= <<>> andalso Path =/= [] andalso (is_binary(Path) orelse io_lib:char_list(Path)).
