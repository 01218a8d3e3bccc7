%% SPDX-License-Identifier: Apache-2.0
%% @doc WebAssembly guests on the VM's own schedulers.
%%
%% ```
%% {ok, Module} = beamline_wasm:compile(<<"(module
%%     (import \"env\" \"twice\" (func $twice (param i32) (result i32)))
%%     (func (export \"f\") (param i32) (result i32) (i32.add (call $twice (local.get 0)) (i32.const 1))))">>),
%% Twice = fun([N], _Ctx) -> [2 * N] end,
%% {ok, Guest} = beamline_wasm:start(Module, #{imports => #{{<<"env">>, <<"twice">>} => Twice}}),
%% {ok, [43]} = beamline_wasm:call(Guest, <<"f">>, [21]).
%% '''
%% A call runs in the calling process, cut into slices of some 60 microseconds; it pays with reductions, ends at its
%% deadline, and dies with the process. Imports are Erlang funs that run in the same process while the guest waits: they
%% may call the same instance again, use its memory, receive messages, and be slow.
%%
%% An instance belongs to the process that started it (see `owner'), and is gone when that process is, when it is
%% stopped, or when nobody refers to it any more. Any process may call it; one at a time: others get `{error, {busy, 0}}'.
%%
%% <table>
%% <tr><th>type</th><th>terms</th></tr>
%% <tr><td>`i32', `i64'</td><td>integers; results are signed, arguments may be of the signed or the unsigned range</td></tr>
%% <tr><td>`f32', `f64'</td><td>floats, `nan', `infinity', `neg_infinity'; `{f32, Bits}', `{f64, Bits}' as arguments, and as
%%     results with the option `floats => bits'</td></tr>
%% <tr><td>`v128'</td><td>binaries of 16 bytes</td></tr>
%% <tr><td>`externref'</td><td>any term; `null' is the null reference</td></tr>
%% <tr><td>`funcref'</td><td>`null', or a reference that {@link call/3} takes in place of a name; {@link function/2} makes one</td></tr>
%% <tr><td>others</td><td>`null', `{i31, Integer}', `{host, Term}' (a term that became `anyref'), or a reference</td></tr>
%% </table>
%% doc/wasm.md tells how a call runs and what is guaranteed.
-module(beamline_wasm).

-export([library/0, compile/1, compile/2, recipe/1, validate/1, validate/2, imports/1, exports/1, module_info/2]).
-export([start/1, start/2, start_link/1, child_spec/1, stop/1, info/1, controlling_process/2]).
-export([call/3, call/4, function/2, cancel/1]).
-export([size/1, size/2, grow/2, grow/3, read/3, write/3, fill/4, read_string/2, read_string/3, write_string/2, malloc/2, free/2]).
-export([global_get/2, global_get/3, global_set/3, table_size/2, table_get/3, table_set/4, table_grow/3, table_grow/4]).
-export([format_error/2]).

-export_type([module_/0, instance/0, value/0, value_type/0, type/0, limits/0, import/0, import_fun/0, context/0]).
-export_type([recipe/0, compile_options/0, start_options/0, call_options/0, reason/0, place/0]).

-define(TAG, beamline_wasm).
-define(TIMEOUT_MS, 60_000).

%% Not to be taken apart by anybody but this part.
-type module_() :: reference().
-type instance() :: {?TAG, reference(), beamline_wasm_link:funs()}.

-type value() :: integer() | float() | nan | infinity | neg_infinity | {f32 | f64, non_neg_integer()} | <<_:128>> | null | term().
-type value_type() :: i32 | i64 | f32 | f64 | v128 | funcref | externref | {ref, null | none, atom() | {type, non_neg_integer()}}.
-type type() :: {func, Params :: [value_type()], Results :: [value_type()]} | {global, const | var, value_type()}
              | {table, limits()} | {memory, limits()} | {tag, Params :: [value_type()]}.
-type limits() :: #{min := non_neg_integer(), max := non_neg_integer() | infinity, index := i32 | i64, _ => _}.
%% Of a table: `element'; of a memory: `page_size', `shared'.

-type recipe() :: {LibraryFile :: binary(), AnyVersion :: boolean(), Preset :: 0..2, Off :: non_neg_integer(),
                   StackKiB :: non_neg_integer(), MaxBytes :: pos_integer(), MaxImports :: pos_integer()}.

-type compile_options() :: #{
    engine => fast | dense | deterministic, % default fast; see doc/wasm.md
    off => [atom()],            % proposals that this module may not use: simd, threads, gc, ...
    stack => pos_integer(),     % bytes for the guest's own stack, rounded up to KiB; default 512 KiB, dense 128 KiB
    max_bytes => pos_integer(), % of the module; default 64 MiB
    max_imports => non_neg_integer(), % default 10_000
    cache => file:filename() | none,  % folder for compiled code; default the application's key wasm_cache, else none
    expose => boolean(),        % let snapshots reach what the module does not export; default false
    timeout => timeout()        % milliseconds; default 60_000
}.
-type import_fun() :: fun(([value()], context()) -> [value()] | {[value()], State :: term()}).
-type import() :: import_fun() | {export, instance(), binary()}
                | {memory, #{min := non_neg_integer(), max => non_neg_integer(), index => i32 | i64}}
                | {table, #{min := non_neg_integer(), max => non_neg_integer(), index => i32 | i64, element => funcref | externref}}
                %% Of a global that is a reference: `value' null.
                | {global, #{type := i32 | i64 | f32 | f64 | funcref | externref, value => value(), mutable => boolean()}}.
%% What a fun gets beside the arguments. `deadline' is that of the call, or of one around it that is earlier, on the clock of
%% `erlang:monotonic_time(millisecond)'.
-type context() :: #{instance := instance(), import := {binary(), binary()}, state := term(), deadline := integer() | infinity}.
-type start_options() :: #{
    imports => #{{Module :: binary(), Name :: binary()} => import()},
    owner => pid(),                 % default: the calling process
    with => instance(),             % share the guest of that instance: needed to share memories and tables later
    memory_limit => bytes_limit(),  % each memory, bytes; default 256 MiB
    table_limit => bytes_limit(),   % each table, elements; default 1_000_000
    instance_limit => bytes_limit(), % instances in one guest; default 100
    fuel => bytes_limit(),          % per call; default infinity, for the engine deterministic 10_000_000_000
    fuel_limit => bytes_limit(),    % all calls together; default infinity
    timeout => timeout(),           % of the module's start function; default 60_000
    state => term()                 % for its imports
}.
-type bytes_limit() :: non_neg_integer() | infinity.
-type call_options() :: #{
    timeout => timeout(),      % milliseconds, also while imports run; default 60_000
    state => term(),           % threaded through the imports; the answer is then {ok, Results, State}
    wait => timeout(),         % when another process uses the instance: wait for so long; default 0
    floats => numbers | bits   % default numbers
}.
%% A place in a memory: bytes from its begin; {Name, Offset} in a memory other than the usual one, which is the export
%% "memory" or else the first that is exported.
-type place() :: integer() | {binary(), integer()}.
-type reason() :: {busy, non_neg_integer()} | timeout | cancelled | closed | no_memory
                | {limit, #{what := atom() | binary(), limit := non_neg_integer(), asked := non_neg_integer()}}
                | {syntax, map()} | {invalid, map()} | {unsupported, term()}
                | {trap, #{code := atom(), message := binary(), backtrace := [{binary() | undefined, binary() | non_neg_integer(),
                    non_neg_integer()}]}}
                | {import_failed, #{class := error | exit | throw, reason := term(), stacktrace := list(), import := {binary(), binary()}}}.

%%% The library

%% @doc Which file of wasmtime is loaded, and its version; or where it was looked for, and why each was not taken.
-spec library() -> {ok, #{path := binary(), version := binary()}} | {error, term()}.
library() -> beamline_wasm_library:info().

%%% Modules

%% @equiv compile(Bytes, #{})
-spec compile(iodata()) -> {ok, module_()} | {error, reason()}.
compile(Bytes) -> compile(Bytes, #{}).

%% @doc Makes code of a module, given as binary or as text. Runs on threads of its own, two at a time.
%%
%% `{syntax, _}': it is malformed; `{invalid, _}': it does not validate; `{limit, _}': `max_bytes', `max_imports';
%% `{busy, Ms}': too many wait; `timeout': the code may still be made, and is dropped then.
-spec compile(iodata(), compile_options()) -> {ok, module_()} | {error, reason()}.
compile(Bytes, Options) -> beamline_wasm_compile:compile(iolist_to_binary(Bytes), Options).

%% @doc How {@link compile/2} would compile with these options, for a process of the operating system that does it by itself
%% (c_src/beam/bl_host_ring_guest.c). `timeout' and `cache' are not in it.
-spec recipe(compile_options()) -> {ok, recipe()} | {error, reason()}.
recipe(Options) -> beamline_wasm_compile:recipe(Options).

%% @equiv validate(Bytes, #{})
-spec validate(iodata()) -> ok | {error, reason()}.
validate(Bytes) -> validate(Bytes, #{}).

%% @doc The judgement of {@link compile/2}, without the code.
-spec validate(iodata(), compile_options()) -> ok | {error, reason()}.
validate(Bytes, Options) -> beamline_wasm_compile:validate(iolist_to_binary(Bytes), Options).

%% @doc What a module imports, in its order; or the module of an instance.
-spec imports(module_() | instance()) -> [{Module :: binary(), Name :: binary(), type()}].
imports({?TAG, Ref, _}) -> imports(beamline_wasm_nif:module(Ref));
imports(Module) -> beamline_wasm_nif:module_imports(Module).

%% @doc What a module exports, in its order; or the module of an instance.
-spec exports(module_() | instance()) -> [{Name :: binary(), type()}].
exports({?TAG, Ref, _}) -> exports(beamline_wasm_nif:module(Ref));
exports(Module) -> beamline_wasm_nif:module_exports(Module, false).

%% @doc About a compiled module: `bytes' (as it came), `compile_us', `cached' (whether the code came from the cache), `engine',
%% `off', `stack', `short' (exported functions that run without a fiber), `start' (whether it has a start function), `id' (a number
%% by which other parts of this node find it, as long as it is there).
-spec module_info(module_(), bytes | compile_us | cached | engine | off | stack | short | start | id) -> term().
module_info(Module, Key) -> maps:get(Key, beamline_wasm_compile:info(Module)).

%%% Instances

%% @equiv start(Module, #{})
-spec start(module_()) -> {ok, instance()} | {error, reason()}.
start(Module) -> start(Module, #{}).

%% @doc Makes an instance and calls the module's start function, if it has one.
%%
%% Imports that are missing: `{invalid, #{field := imports, missing := [{Module, Name, Type}]}}', all of them at once. Other
%% reasons: `{invalid, _}' an import does not fit, `{limit, _}', `no_memory', `{trap, _}', and what {@link call/4} answers.
-spec start(module_(), start_options()) -> {ok, instance()} | {error, reason()}.
start(Module, Options) ->
    case beamline_wasm_link:start(Module, Options) of
        {ok, Instance, false} -> {ok, Instance};
        {ok, Instance, true} -> started(Instance, Options);
        {error, _} = Error -> Error
    end.

started({?TAG, Ref, _} = Instance, Options) ->
    Timeout = maps:get(timeout, Options, ?TIMEOUT_MS),
    Ctx = context(Timeout, 0, maps:get(state, Options, undefined), Instance),
    case run(beamline_wasm_nif:call_start(Ref, Timeout), Ctx) of
        {ok, [], _State} ->
            {ok, Instance};
        {{error, _} = Error, _State} ->
            ok = stop(Instance),
            Error
    end.

%% @doc A process that owns an instance, for a supervisor: see {@link beamline_wasm_server}.
-spec start_link(beamline_wasm_server:options()) -> {ok, pid()} | {error, term()}.
start_link(Options) -> beamline_wasm_server:start_link(Options).

%% @doc The same as a child of a supervisor; the option `id' names it.
-spec child_spec(beamline_wasm_server:options()) -> supervisor:child_spec().
child_spec(Options) -> beamline_wasm_server:child_spec(Options).

%% @doc Ends the instance; a call that is under way answers `{error, closed}'. Harmless when it has ended.
-spec stop(instance()) -> ok.
stop({?TAG, Ref, _}) -> beamline_wasm_nif:stop(Ref).

%% @doc What an instance holds and has done. Never waits for it: while a call runs, `memory' and `fuel' are those of an
%% earlier look. `memory' in bytes, `longest_slice_us' on a scheduler of any kind.
-spec info(instance()) -> #{atom() => term()}.
info({?TAG, Ref, _}) ->
    Info = maps:from_list(beamline_wasm_nif:info(Ref)),
    {Ns, Rest} = maps:take(longest_slice_ns, Info),
    Rest#{longest_slice_us => Ns div 1000}.

%% @doc Hands an instance over to another process. Only its owner may do that. `{error, closed}': one of them has ended.
-spec controlling_process(instance(), pid()) -> ok | {error, reason()}.
controlling_process({?TAG, Ref, _}, Pid) -> beamline_wasm_nif:controlling_process(Ref, Pid).

%%% Calls

%% @doc Calls an exported function, by name or by reference, with a deadline of a minute.
-spec call(instance(), binary() | reference(), [value()]) -> {ok, [value()]} | {error, reason()}.
call({?TAG, Ref, _} = Instance, Name, Args) ->
    case beamline_wasm_nif:call(Ref, Name, Args, ?TIMEOUT_MS, 0) of
        {ok, _} = Ok -> Ok;
        Step -> without_state(more(Step, Instance, Name, Args, #{}))
    end.

%% @doc Calls an exported function. With the option `state' the answer has the state that the imports left:
%% `{ok, Results, State}', `{error, Reason, State}'.
%%
%% Raises `badarg' when the arguments do not fit the function's type; the error's `cause' says which and what was expected.
%% Reasons: `{invalid, #{field := function}}' there is none of that name; `{trap, _}'; `timeout'; `cancelled'; `closed';
%% `{busy, 0}' another process is calling; `{limit, #{what := fuel}}'; `no_memory' the guest has no room for a term;
%% `{import_failed, _}' an import raised, or its results do not fit. After each of them the instance can be used again (but for
%% `closed').
-spec call(instance(), binary() | reference(), [value()], call_options()) ->
    {ok, [value()]} | {ok, [value()], State :: term()} | {error, reason()} | {error, reason(), State :: term()}.
call({?TAG, Ref, _} = Instance, Name, Args, Options) ->
    is_map(Options) andalso lists:all(fun is_call_option/1, maps:to_list(Options)) orelse error(badarg, [Instance, Name, Args, Options]),
    Timeout = maps:get(timeout, Options, ?TIMEOUT_MS),
    Step = beamline_wasm_nif:call(Ref, Name, Args, Timeout, flags(Options)),
    Answer = more(Step, Instance, Name, Args, Options),
    case is_map_key(state, Options) of
        true -> with_state(Answer);
        false -> without_state(Answer)
    end.

with_state({ok, Results, State}) -> {ok, Results, State};
with_state({{error, Reason}, State}) -> {error, Reason, State}.

without_state({ok, Results, _State}) -> {ok, Results};
without_state({{error, _} = Error, _State}) -> Error.

is_call_option({Key, Ms}) when Key =:= timeout; Key =:= wait -> Ms =:= infinity orelse is_integer(Ms) andalso Ms >= 0;
is_call_option({Key, _}) -> Key =:= state orelse Key =:= floats.

flags(#{floats := bits}) -> 1;
flags(#{floats := numbers}) -> 0;
flags(#{floats := _} = Options) -> error(badarg, [Options]);
flags(_) -> 0.

%% What is not over with the first slices.
more({ok, Results}, _, _, _, Options) ->
    {ok, Results, maps:get(state, Options, undefined)};
more({import, _, _, _, Left} = Step, Instance, _, _, Options) ->
    run(Step, context(Left, flags(Options), maps:get(state, Options, undefined), Instance));
more({import, _, _, _} = Step, Instance, _, _, Options) ->
    run(Step, context(maps:get(timeout, Options, ?TIMEOUT_MS), flags(Options), maps:get(state, Options, undefined), Instance));
more({error, {busy, 0}}, {?TAG, Ref, _} = Instance, Name, Args, #{wait := Wait} = Options) when Wait =/= 0 ->
    case beamline_wasm_turns:wait(Ref, Wait) of
        {ok, Turn, Left} -> in_turn(Turn, Left, Instance, Name, Args, maps:remove(wait, Options));
        {error, _} = Error -> {Error, maps:get(state, Options, undefined)}
    end;
more({error, _} = Error, _, _, _, Options) ->
    {Error, maps:get(state, Options, undefined)};
more(no_memory, _, _, _, Options) ->
    {{error, no_memory}, maps:get(state, Options, undefined)};
more(undefined, _, _, _, Options) ->
    {{error, {invalid, #{field => function, why => <<"no function is exported under this name">>}}}, maps:get(state, Options, undefined)};
more({badarg, Position, Expected}, Instance, Name, Args, _) ->
    bad_argument([Instance, Name, Args], 3, Position, Expected).

in_turn(Turn, Left, {?TAG, Ref, _} = Instance, Name, Args, Options) ->
    Timeout = maps:get(timeout, Options, ?TIMEOUT_MS),
    Call = fun() -> beamline_wasm_nif:call(Ref, Name, Args, Timeout, flags(Options)) end,
    try
        more(beamline_wasm_turns:take(Call, Left), Instance, Name, Args, Options)
    after
        beamline_wasm_turns:done(Ref, Turn)
    end.

context(Timeout, Flags, State, Instance) ->
    {Instance, Flags, State, case Timeout of infinity -> infinity; _ -> erlang:monotonic_time(millisecond) + Timeout end}.

%% The guest waits for an import, or the call is over.
run({import, Token, Id, Args, _}, Ctx) ->
    run({import, Token, Id, Args}, Ctx);
run({import, Token, Id, Args}, {{?TAG, Ref, Funs}, Flags, _, _} = Ctx) ->
    case beamline_wasm_link:find(Funs, Ref, Id) of
        {Import, Fun} -> import(Fun, Args, Token, Import, Ctx);
        undefined -> run(beamline_wasm_nif:refuse(Ref, Token, Flags), Ctx) % it was closed meanwhile
    end;
run({ok, Results}, {_, _, State, _}) ->
    {ok, Results, State};
run({error, _} = Error, {_, _, State, _}) ->
    {Error, State}.

import(Fun, Args, Token, Import, {{?TAG, Ref, _} = Instance, Flags, State, Deadline} = Ctx) ->
    try Fun(Args, #{instance => Instance, import => Import, state => State, deadline => Deadline}) of
        {Results, State1} -> answer(Ref, Token, Results, Import, setelement(3, Ctx, State1));
        Results -> answer(Ref, Token, Results, Import, Ctx)
    catch
        Class:Reason:Stack ->
            Why = #{class => Class, reason => Reason, stacktrace => Stack, import => Import},
            failed(beamline_wasm_nif:refuse(Ref, Token, Flags), Why, Ctx)
    end.

answer(Ref, Token, Results, Import, {_, Flags, _, _} = Ctx) when is_list(Results) ->
    case beamline_wasm_nif:resume(Ref, Token, Results, Flags) of
        {badarg, Position, Expected} ->
            Why = #{class => error, reason => {bad_results, Results, #{position => Position, expected => Expected}}, stacktrace => [],
                    import => Import},
            failed(beamline_wasm_nif:refuse(Ref, Token, Flags), Why, Ctx);
        no_memory ->
            Why = #{class => error, reason => no_memory, stacktrace => [], import => Import},
            failed(beamline_wasm_nif:refuse(Ref, Token, Flags), Why, Ctx);
        Step ->
            run(Step, Ctx)
    end;
answer(Ref, Token, Results, Import, {_, Flags, _, _} = Ctx) ->
    Why = #{class => error, reason => {bad_results, Results, #{expected => list}}, stacktrace => [], import => Import},
    failed(beamline_wasm_nif:refuse(Ref, Token, Flags), Why, Ctx).

%% The guest is unwound up to the call around the import.
failed({error, {trap, _}}, Why, {_, _, State, _}) -> {{error, {import_failed, Why}}, State};
failed({error, _} = Ended, _, {_, _, State, _}) -> {Ended, State}.

%% @doc An exported function as a reference: for {@link call/3}, for tables, as argument.
-spec function(instance(), binary()) -> {ok, reference()} | {error, reason()}.
function({?TAG, Ref, _}, Name) -> beamline_wasm_nif:function(Ref, Name).

%% @doc Ends the call that is under way, from any process; it answers `{error, cancelled}'. False: there was none.
-spec cancel(instance()) -> boolean().
cancel({?TAG, Ref, _}) -> beamline_wasm_nif:cancel(Ref).

%%% Memory

%% @doc Bytes of the usual memory.
-spec size(instance()) -> {ok, non_neg_integer()} | {error, reason()}.
size({?TAG, Ref, _}) -> beamline_wasm_nif:size(Ref, undefined).

%% @doc Bytes of a memory by its name.
-spec size(instance(), binary()) -> {ok, non_neg_integer()} | {error, reason()}.
size({?TAG, Ref, _}, Memory) -> beamline_wasm_nif:size(Ref, Memory).

%% @doc Makes the usual memory larger by so many pages; answers how many there were.
-spec grow(instance(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, reason()}.
grow({?TAG, Ref, _}, Pages) -> beamline_wasm_nif:grow(Ref, Pages, undefined).

%% @doc The same, of a memory by its name.
-spec grow(instance(), binary(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, reason()}.
grow({?TAG, Ref, _}, Memory, Pages) -> beamline_wasm_nif:grow(Ref, Pages, Memory).

%% @doc Bytes of a memory. `{invalid, #{field := range}}': they do not lie inside.
-spec read(instance(), place(), non_neg_integer()) -> {ok, binary()} | {error, reason()}.
read({?TAG, Ref, _}, {Memory, Offset}, Length) -> beamline_wasm_nif:read(Ref, Offset, Length, Memory);
read({?TAG, Ref, _}, Offset, Length) -> beamline_wasm_nif:read(Ref, Offset, Length, undefined).

%% @doc Writes into a memory: all of it, or nothing.
-spec write(instance(), place(), iodata()) -> ok | {error, reason()}.
write({?TAG, Ref, _}, {Memory, Offset}, Bytes) -> beamline_wasm_nif:write(Ref, Offset, iolist_to_binary(Bytes), Memory);
write({?TAG, Ref, _}, Offset, Bytes) when is_binary(Bytes) -> beamline_wasm_nif:write(Ref, Offset, Bytes, undefined);
write({?TAG, Ref, _}, Offset, Bytes) -> beamline_wasm_nif:write(Ref, Offset, iolist_to_binary(Bytes), undefined).

%% @doc Sets so many bytes to a value.
-spec fill(instance(), place(), non_neg_integer(), byte()) -> ok | {error, reason()}.
fill({?TAG, Ref, _}, {Memory, Offset}, Length, Byte) -> beamline_wasm_nif:fill(Ref, Offset, Length, Byte, Memory);
fill({?TAG, Ref, _}, Offset, Length, Byte) -> beamline_wasm_nif:fill(Ref, Offset, Length, Byte, undefined).

%% @equiv read_string(Instance, Place, 1048576)
-spec read_string(instance(), place()) -> {ok, binary()} | {error, reason()}.
read_string(Instance, Place) -> read_string(Instance, Place, 1 bsl 20).

%% @doc The bytes up to the first zero byte, which is looked for in so many bytes.
-spec read_string(instance(), place(), non_neg_integer()) -> {ok, binary()} | {error, reason()}.
read_string({?TAG, Ref, _} = Instance, Place, Most) ->
    {Memory, Offset} = case Place of {_, _} -> Place; _ -> {undefined, Place} end,
    case beamline_wasm_nif:find_zero(Ref, Offset, Most, Memory) of
        {ok, Length} -> read(Instance, Place, Length);
        {error, _} = Error -> Error
    end.

%% @doc Puts bytes and a zero byte into memory that the guest's `malloc' gives; answers where. They are the guest's then.
-spec write_string(instance(), iodata()) -> {ok, Address :: non_neg_integer()} | {error, reason()}.
write_string(Instance, Text) ->
    Bytes = iolist_to_binary([Text, 0]),
    case malloc(Instance, byte_size(Bytes)) of
        {ok, Address} ->
            case write(Instance, Address, Bytes) of
                ok -> {ok, Address};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Calls the export `malloc'. `no_memory': it answered 0.
-spec malloc(instance(), non_neg_integer()) -> {ok, Address :: pos_integer()} | {error, reason()}.
malloc(Instance, Bytes) ->
    case call(Instance, <<"malloc">>, [Bytes]) of
        {ok, [0]} -> {error, no_memory};
        {ok, [Address]} when is_integer(Address) -> {ok, unsigned(Instance, Address)};
        {ok, _} -> {error, {invalid, #{field => function, why => <<"malloc answered no address">>}}};
        {error, _} = Error -> Error
    end.

%% An address of a 32-bit memory above 2 GiB comes as a negative number.
unsigned(_, Address) when Address >= 0 -> Address;
unsigned(_, Address) -> Address band 16#FFFFFFFF.

%% @doc Calls the export `free'.
-spec free(instance(), non_neg_integer()) -> ok | {error, reason()}.
free(Instance, Address) ->
    case call(Instance, <<"free">>, [Address]) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%%% Globals and tables

%% @equiv global_get(Instance, Name, #{})
-spec global_get(instance(), binary()) -> {ok, value()} | {error, reason()}.
global_get(Instance, Name) -> global_get(Instance, Name, #{}).

%% @doc The value of an exported global. Option: `floats'.
-spec global_get(instance(), binary(), #{floats => numbers | bits}) -> {ok, value()} | {error, reason()}.
global_get({?TAG, Ref, _}, Name, Options) -> beamline_wasm_nif:global_get(Ref, flags(Options), Name).

%% @doc Sets a global that is not constant. Raises `badarg' when the value is of another type.
-spec global_set(instance(), binary(), value()) -> ok | {error, reason()}.
global_set({?TAG, Ref, _} = Instance, Name, Value) ->
    held(beamline_wasm_nif:global_set(Ref, Value, Name), [Instance, Name, Value], 3).

%% @doc How many elements a table has.
-spec table_size(instance(), binary()) -> {ok, non_neg_integer()} | {error, reason()}.
table_size({?TAG, Ref, _}, Name) -> beamline_wasm_nif:table_size(Ref, Name).

%% @doc An element of a table.
-spec table_get(instance(), binary(), non_neg_integer()) -> {ok, value()} | {error, reason()}.
table_get({?TAG, Ref, _}, Name, Index) -> beamline_wasm_nif:table_get(Ref, Index, Name).

%% @doc Sets an element of a table.
-spec table_set(instance(), binary(), non_neg_integer(), value()) -> ok | {error, reason()}.
table_set({?TAG, Ref, _} = Instance, Name, Index, Value) ->
    held(beamline_wasm_nif:table_set(Ref, Index, Value, Name), [Instance, Name, Index, Value], 4).

%% @equiv table_grow(Instance, Name, More, null)
-spec table_grow(instance(), binary(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, reason()}.
table_grow(Instance, Name, More) -> table_grow(Instance, Name, More, null).

%% @doc Makes a table larger; answers how many elements it had.
-spec table_grow(instance(), binary(), non_neg_integer(), value()) -> {ok, non_neg_integer()} | {error, reason()}.
table_grow({?TAG, Ref, _} = Instance, Name, More, Value) ->
    held(beamline_wasm_nif:table_grow(Ref, More, Value, Name), [Instance, Name, More, Value], 4).

held({badarg, _, Expected}, Args, Argument) -> bad_argument(Args, Argument, 0, Expected);
held(no_memory, _, _) -> {error, no_memory};
held(Answer, _, _) -> Answer.

%%% Errors

-spec bad_argument([term()], pos_integer(), non_neg_integer(), term()) -> no_return().
bad_argument(Args, Argument, Position, Expected) ->
    Cause = #{argument => Argument, position => Position, expected => Expected},
    erlang:error(badarg, Args, [{error_info, #{module => ?MODULE, function => format_error, cause => Cause}}]).

%% @private For the shell: what was wrong with which argument.
-spec format_error(term(), [term()]) -> #{pos_integer() => unicode:chardata()}.
format_error(badarg, [{_, _, _, Info} | _]) ->
    #{cause := #{argument := Argument, position := Position, expected := Expected}} = proplists:get_value(error_info, Info),
    #{Argument => iolist_to_binary(text(Position, Expected))}.

text(0, Expected) -> io_lib:format("not a value of type ~0p", [Expected]);
text(Position, none) -> io_lib:format("has ~b values or more, the function takes ~b", [Position, Position - 1]);
text(Position, Expected) -> io_lib:format("value ~b is missing or not of type ~0p", [Position, Expected]).
