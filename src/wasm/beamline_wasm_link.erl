%% SPDX-License-Identifier: Apache-2.0
%% @private Starting an instance: its imports are found, things that the host gives are made, and the funs that answer
%% imports are put where a call finds them by number.
-module(beamline_wasm_link).

-export([start/2, find/3]).
-export_type([funs/0]).

%% For each instance of the guest that was known when the handle was made: the number of its first import, its funs.
-type funs() :: [{non_neg_integer(), non_neg_integer(), tuple()}].

-define(TAG, beamline_wasm).
-define(DETERMINISTIC_FUEL, 10_000_000_000).
-define(LIMITS, [memory_limit, table_limit, instance_limit, fuel, fuel_limit]).

-spec start(beamline_wasm:module_(), beamline_wasm:start_options()) ->
    {ok, beamline_wasm:instance(), HasStart :: boolean()} | {error, beamline_wasm:reason()}.
start(Module, Options) ->
    is_map(Options) andalso lists:all(fun is_option/1, maps:to_list(Options)) orelse error(badarg, [Module, Options]),
    case resolve(Module, maps:get(imports, Options, #{})) of
        {ok, Imports} -> start(Module, Imports, Options);
        {error, _} = Error -> Error
    end.

is_option({imports, Imports}) -> is_map(Imports);
is_option({owner, Owner}) -> is_pid(Owner) andalso node(Owner) =:= node();
is_option({with, undefined}) -> true;
is_option({with, {?TAG, Ref, Funs}}) -> is_reference(Ref) andalso is_list(Funs);
is_option({timeout, Ms}) -> Ms =:= infinity orelse is_integer(Ms) andalso Ms >= 0;
is_option({state, _}) -> true;
is_option({Limit, N}) -> lists:member(Limit, ?LIMITS) andalso (N =:= infinity orelse is_integer(N) andalso N >= 0 andalso N < 1 bsl 63).

start(Module, Imports, Options) ->
    case guest(Imports, maps:get(with, Options, undefined)) of
        {error, _} = Error -> Error;
        With -> start(Module, Imports, With, Options)
    end.

%% Without things to share the guest is the instance's own.
start(Module, Imports, undefined, Options) ->
    case lists:any(fun({_, _, Import}) -> is_made(Import) end, Imports) of
        true -> start_beside_made(Module, Imports, Options);
        false -> instance(Module, Imports, undefined, [], Options)
    end;
start(Module, Imports, {?TAG, Ref, Funs} = With, Options) ->
    case make(Imports, With, Module, Options) of
        {ok, Made} -> instance(Module, Made, Ref, Funs, Options);
        {error, _} = Error -> Error
    end.

%% The first thing that is made founds the guest.
start_beside_made(Module, Imports, Options) ->
    {value, {Founds, _, First}} = lists:search(fun({_, _, Import}) -> is_made(Import) end, Imports),
    case beamline_wasm_made:start(First, undefined, Module, Options, limits(Module, Options)) of
        {ok, Founder} ->
            Rest = [case Import of {Founds, Type, _} -> {Founds, Type, {export, Founder, <<"it">>}}; _ -> Import end || Import <- Imports],
            start(Module, Rest, Founder, Options);
        {error, _} = Error ->
            Error
    end.

make(Imports, With, Module, Options) -> make(Imports, With, Module, Options, []).

make([], _, _, _, Made) ->
    {ok, lists:reverse(Made)};
make([{M, N, Import} | Imports], With, Module, Options, Made) ->
    case is_made(Import) andalso beamline_wasm_made:start(Import, With, Module, Options, limits(Module, Options)) of
        false -> make(Imports, With, Module, Options, [{M, N, Import} | Made]);
        {ok, Instance} -> make(Imports, With, Module, Options, [{M, N, {export, Instance, <<"it">>}} | Made]);
        {error, _} = Error -> Error
    end.

is_made({Kind, #{}}) when Kind =:= memory; Kind =:= table; Kind =:= global -> true;
is_made(_) -> false.

%%% What is linked with what

resolve(Module, Given) when is_map(Given) ->
    Found = [{{M, N}, Type, maps:find({M, N}, Given)} || {M, N, Type} <- beamline_wasm_nif:module_imports(Module)],
    case [{M, N, Type} || {{M, N}, Type, error} <- Found] of
        [] -> checked([{Name, Type, Import} || {Name, Type, {ok, Import}} <- Found]);
        Missing -> {error, {invalid, #{field => imports, why => <<"imports are missing">>, missing => Missing}}}
    end.

checked(Imports) ->
    case [Name || {Name, Type, Import} <- Imports, not fits(Type, Import)] of
        [] -> {ok, Imports};
        Wrong -> {error, {invalid, #{field => imports, why => <<"imports of another kind, or badly described">>, wrong => Wrong}}}
    end.

fits({func, _, _}, Fun) when is_function(Fun, 2) -> true;
fits(_, {export, {?TAG, _, _}, Name}) when is_binary(Name) -> true;
fits(Type, {Kind, #{}} = Made) when element(1, Type) =:= Kind -> beamline_wasm_made:is_good(Made);
fits(_, _) -> false.

%% All exports must come from one guest, and that is the new instance's, too.
guest(Imports, With) ->
    Others = [Instance || {_, _, {export, Instance, _}} <- Imports] ++ [With || With =/= undefined],
    case Others of
        [] -> undefined;
        _ -> lists:foldl(fun joined/2, hd(Others), tl(Others))
    end.

%% The handle that knows the funs of both.
joined({?TAG, _, Funs}, {?TAG, Ref, Known}) -> {?TAG, Ref, lists:usort(Funs ++ Known)}.

instance(Module, Imports, With, Funs, Options) ->
    Links = [case Import of {export, {?TAG, Ref, _}, Name} -> {Ref, Name}; _ -> host end || {_, _, Import} <- Imports],
    Owner = maps:get(owner, Options, self()),
    Own = list_to_tuple([{Name, Import} || {Name, _, Import} <- Imports]),
    try beamline_wasm_nif:start(Module, limits(Module, Options), Links, With, Owner, Own) of
        {ok, Ref, First, HasStart} ->
            {ok, {?TAG, Ref, [{First, First + tuple_size(Own), Own} | Funs]}, HasStart};
        {error, _} = Error ->
            Error
    catch
        error:badarg when Links =/= []; With =/= undefined ->
            {error, {invalid, #{field => imports, why => <<"an export that is not there, or belongs to another guest or engine">>}}}
    end.

%% The fun for an import, by its number. A table may hold a function of an instance that came later: the guest knows its funs.
%% What it answers is not known before it was called. undefined: the guest was closed.
-spec find(funs(), reference(), non_neg_integer()) -> {{binary(), binary()}, fun(([term()], map()) -> term())} | undefined.
find([{First, Last, Funs} | _], _, Id) when Id >= First, Id < Last -> element(Id - First + 1, Funs);
find([_ | Rest], Ref, Id) -> find(Rest, Ref, Id);
find([], Ref, Id) -> beamline_wasm_nif:kept_fun(Ref, Id).

%%% Limits

limits(Module, Options) ->
    Fuel = case beamline_wasm_compile:info(Module) of
        #{engine := deterministic} -> ?DETERMINISTIC_FUEL;
        _ -> infinity
    end,
    {maps:get(memory_limit, Options, 256 bsl 20), maps:get(table_limit, Options, 1_000_000), maps:get(instance_limit, Options, 100),
     maps:get(fuel, Options, Fuel), maps:get(fuel_limit, Options, infinity)}.
