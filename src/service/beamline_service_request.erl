%% SPDX-License-Identifier: Apache-2.0
%% @private What a client asks for, from the parts of an HTTP request. Pure.
-module(beamline_service_request).

-export([relaxation/2, stability/2, structure/3, wants_async/1, answer_type/2, formats/0]).
-export_type([input/0, limits/0, plan/0, potential/0]).

-type input() :: #{
    query := [{binary(), binary() | true}],
    content_type => binary() | undefined,
    content_encoding => binary() | undefined,
    priority => binary() | undefined
}.
-type limits() :: #{
    timeout := pos_integer(),                    % milliseconds, where the client gives none
    max_timeout := pos_integer(),
    max_memory_limit := pos_integer() | infinity,
    max_inflated_bytes => pos_integer(),         % of a compressed body; default: the engine's
    _ => _
}.
-type potential() :: auto | #{type := stillinger_weber | lennard_jones | morse | sutton_chen | tersoff, atom() => term()}.
-type plan() :: #{
    work => inspect | convert | symmetry | stability, % absent: a relaxation
    format := auto | beamline_crystal:format(),  % of the body
    output := same | beamline_crystal:format(),  % of the result
    parse := map(),                              % options of the reader
    frame => pos_integer(),                      % which structure of the file
    symmetry => boolean(),
    symprec => number(),
    potential => potential(),
    relax => beamline_crystal:relax_options(),
    verify => beamline_crystal:verify_options(), % more than the relaxation says
    priority := low | normal | high | critical,
    timeout := pos_integer(),
    memory_limit => pos_integer(),
    progress := 10..60000                        % milliseconds between progress messages
}.

-define(KEYS, [<<"format">>, <<"output">>, <<"potential">>, <<"parameters">>, <<"epsilon">>, <<"sigma">>,
               <<"cutoff">>, <<"shift">>, <<"level">>, <<"fmax">>, <<"max_steps">>, <<"timeout">>,
               <<"memory_limit">>, <<"priority">>, <<"progress">>, <<"setting">>, <<"block">>, <<"species">>, <<"atom_style">>,
               <<"name">>, <<"frame">>, <<"symprec">>, <<"symmetry">> | ?RELAX_KEYS ++ ?VERIFY_KEYS]).
%% Of both relaxations and stability; only of relaxations; only of stability.
-define(RELAX_KEYS, [<<"pressure">>, <<"stress">>, <<"smax">>, <<"elastic">>, <<"method">>, <<"cell">>]).
-define(VERIFY_KEYS, [<<"strain">>, <<"min_distance">>, <<"reference_energy">>, <<"stability_threshold">>]).
-define(FILE_KEYS, [<<"format">>, <<"name">>, <<"frame">>, <<"setting">>, <<"block">>, <<"species">>, <<"atom_style">>]).
-define(TASK_KEYS, [<<"timeout">>, <<"memory_limit">>, <<"priority">>]).

%% The request of POST /v1/relaxations, its body aside.
-spec relaxation(input(), limits()) -> {ok, plan()} | {error, beamline_service_problem:reason()}.
relaxation(Input, Limits) ->
    plan(Input, Limits, [<<"symprec">>, <<"symmetry">> | ?VERIFY_KEYS], fun(Params) ->
        #{output => output(Params), potential => potential(Params), relax => given(relax(Params)), verify => given([elastic(Params)])}
    end).

%% The request of POST /v1/stability, its body aside: the gates on a structure as it is.
-spec stability(input(), limits()) -> {ok, plan()} | {error, beamline_service_problem:reason()}.
stability(Input, Limits) ->
    Unused = [<<"symprec">>, <<"symmetry">>, <<"output">>, <<"level">>, <<"method">>, <<"cell">>, <<"max_steps">>],
    plan(Input, Limits, Unused, fun(Params) ->
        #{work => stability, output => same, potential => potential(Params),
          verify => maps:merge(#{elastic => true}, given(verify(Params)))}
    end).

%% The request of POST /v1/structures/Work, its body aside.
-spec structure(inspect | convert | symmetry, input(), limits()) -> {ok, plan()} | {error, beamline_service_problem:reason()}.
structure(Work, Input, Limits) ->
    plan(Input, Limits, ?KEYS -- (?FILE_KEYS ++ ?TASK_KEYS ++ keys(Work)), fun(Params) ->
        Symprec = given([{symprec, positive(<<"symprec">>, Params, undefined)}]),
        Symprec#{work => Work, output => output(Params), symmetry => one_of(<<"symmetry">>, Params, [true, false], false)}
    end).

%% What all requests have, the Unused keys refused, and what is the Work's own.
plan(#{query := Query} = Input, Limits, Unused, Own) ->
    try
        identity = encoding(maps:get(content_encoding, Input, undefined)),
        Params = params(Query),
        unused(Unused, Params),
        File = #{format => format(Params, maps:get(content_type, Input, undefined)),
                 parse => maps:merge(parse_options(Params), inflated(Limits))},
        Task = #{
            priority => one_of(<<"priority">>, Params, [low, normal, high, critical], priority(Input)),
            timeout => timeout(Params, Limits),
            progress => progress(Params)
        },
        Frame = given([{frame, frame(integer(<<"frame">>, Params, undefined))}]),
        Plan = maps:merge(maps:merge(maps:merge(File, Frame), Own(Params)), Task),
        {ok, memory_limit(Params, maps:get(max_memory_limit, Limits), Plan)}
    catch
        throw:Reason -> {error, Reason}
    end.

output(Params) -> one_of(<<"output">>, Params, [poscar, extxyz, cif, lammps], same).

keys(inspect) -> [];
keys(convert) -> [<<"output">>, <<"symmetry">>];
keys(symmetry) -> [<<"symprec">>].

%% Answers to what a file leaves open.
parse_options(Params) ->
    Names = [{name, <<"name">>}, {setting, <<"setting">>}, {block, <<"block">>}, {atom_style, <<"atom_style">>}],
    Texts = [{Key, map_get(Name, Params)} || {Key, Name} <- Names, is_map_key(Name, Params)],
    Species = [{species, binary:split(V, <<",">>, [global])} || #{<<"species">> := V} <- [Params]],
    maps:from_list(Species ++ Texts).

inflated(#{max_inflated_bytes := Max}) -> #{max_inflated => Max};
inflated(_) -> #{}.

frame(0) -> invalid(<<"frame">>, "frames are numbered from 1");
frame(N) -> N.

given(Options) -> maps:from_list([{K, V} || {K, V} <- Options, V =/= undefined]).

relax(Params) ->
    [{method, one_of(<<"method">>, Params, [auto, fire, lbfgs, cg], undefined)},
     {cell, cell(Params)},
     {smax, positive(<<"smax">>, Params, undefined)},
     load(Params),
     {level, one_of(<<"level">>, Params, [none, fast, default, tight, search], undefined)},
     {fmax, positive(<<"fmax">>, Params, undefined)},
     {max_steps, integer(<<"max_steps">>, Params, undefined)}].

verify(Params) ->
    [elastic(Params), load(Params) |
     [{K, positive(atom_to_binary(K), Params, undefined)} || K <- [fmax, smax, strain, min_distance]] ++
     [{K, real(atom_to_binary(K), Params)} || K <- [reference_energy, stability_threshold]]].

elastic(Params) -> {elastic, one_of(<<"elastic">>, Params, [true, false], undefined)}.

%% A word, or the strains that are free with commas between them.
cell(#{<<"cell">> := Value} = Params) ->
    case binary:split(Value, <<",">>, [global]) of
        [Word] when byte_size(Word) > 2 -> one_of(<<"cell">>, Params, [fixed, free, isotropic], undefined);
        Strains -> [one_of(<<"cell">>, #{<<"cell">> => S}, [xx, yy, zz, yz, xz, xy], undefined) || S <- Strains]
    end;
cell(_) -> undefined.

load(#{<<"stress">> := _, <<"pressure">> := _}) -> invalid(<<"stress">>, "a pressure is given, too");
load(#{<<"stress">> := Value}) ->
    case [number(N) || N <- binary:split(Value, <<",">>, [global])] of
        [{ok, Xx}, {ok, Yy}, {ok, Zz}, {ok, Yz}, {ok, Xz}, {ok, Xy}] -> {stress, [Xx, Yy, Zz, Yz, Xz, Xy]};
        _ -> invalid(<<"stress">>, "six numbers with commas between them: xx, yy, zz, yz, xz, xy")
    end;
load(Params) -> {pressure, real(<<"pressure">>, Params)}.

real(Key, #{} = Params) ->
    case Params of
        #{Key := Value} ->
            case number(Value) of
                {ok, N} -> N;
                error -> invalid(Key, "not a number")
            end;
        _ -> undefined
    end.

%%% Fields of the request

encoding(undefined) -> identity;
encoding(Value) ->
    case lowercase(Value) of
        <<"identity">> -> identity;
        _ -> throw({unsupported_media_type, {encoding, Value}})
    end.

%% ?format= wins; the types that curl and browsers send by themselves say nothing.
format(Params, ContentType) ->
    case one_of(<<"format">>, Params, [auto, poscar, extxyz, cif, lammps], undefined) of
        undefined -> format_of(media_type(ContentType));
        Format -> Format
    end.

format_of(Type) ->
    case lists:keyfind(Type, 1, formats()) of
        {_, Format} -> Format;
        false -> throw({unsupported_media_type, {type, Type}})
    end.

-spec formats() -> [{binary(), auto | beamline_crystal:format()}].
formats() ->
    [{<<"chemical/x-cif">>, cif}, {<<"application/gzip">>, auto}, {<<"chemical/x-poscar">>, poscar}, {<<"chemical/x-vasp">>, poscar},
     {<<"chemical/x-xyz">>, extxyz}, {<<"chemical/x-extxyz">>, extxyz}, {<<>>, auto}, {<<"text/plain">>, auto},
     {<<"application/octet-stream">>, auto}, {<<"application/x-www-form-urlencoded">>, auto}].

media_type(undefined) -> <<>>;
media_type(Value) -> lowercase(hd(binary:split(Value, <<";">>))).

%% Trimmed, too. Fields are bytes, and need not be UTF-8.
lowercase(Value) -> list_to_binary(string:lowercase(string:trim(binary_to_list(Value), both, " \t"))).

%% The field `Priority' (RFC 9218) tells the class; ?priority= wins.
priority(Input) ->
    #{urgency := Urgency} = beamline_sfv_priority:parse(maps:get(priority, Input, undefined)),
    class(Urgency).

class(0) -> critical;
class(Urgency) when Urgency =< 2 -> high;
class(Urgency) when Urgency =< 4 -> normal;
class(_) -> low.

%% `Prefer: respond-async' (RFC 7240); the value may list several preferences, whose values may be quoted. An empty
%% value is none.
-spec wants_async(binary() | undefined) -> boolean().
wants_async(undefined) -> false;
wants_async(Prefer) ->
    case re:run(Prefer, "(?:[^\",]|\"(?:[^\"\\\\]|\\\\.)*+\")++", [global, {capture, first, binary}]) of
        {match, Preferences} -> lists:any(fun is_respond_async/1, Preferences);
        nomatch -> false
    end.

is_respond_async([Preference]) ->
    re:run(Preference, "^[ \t]*respond-async[ \t]*(=[ \t]*(\"\")?[ \t]*)?(;|$)", [caseless, {capture, none}]) =:= match.

%% The best of what is offered for a parsed Accept field, the first offer when it says nothing.
-spec answer_type([{binary(), binary()}], undefined | [{{binary(), binary(), term()}, 0..1000, term()}]) ->
    {ok, {binary(), binary()}} | {error, beamline_service_problem:reason()}.
answer_type([First | _], Accept) when Accept =:= undefined; Accept =:= [] -> {ok, First};
answer_type(Offers, Accept) ->
    Rated = [{quality(Offer, Accept), -I, Offer} || {I, Offer} <- lists:zip(lists:seq(1, length(Offers)), Offers)],
    case lists:max(Rated) of
        {{Quality, _}, _, Offer} when Quality > 0 -> {ok, Offer};
        _ -> {error, {not_acceptable, lists:join(", ", [[T, "/", S] || {T, S} <- Offers])}}
    end.

%% The most specific range that matches decides the quality. Among equal qualities the offer
%% that was named beats the one that a wildcard covers.
quality({T, S}, Accept) ->
    Matches = [{specificity(Range), Q} || {{AT, AS, _} = Range, Q, _} <- Accept,
               AT =:= T orelse AT =:= <<"*">>, AS =:= S orelse AS =:= <<"*">>],
    case Matches of
        [] -> {0, 0};
        _ -> {Specificity, Q} = lists:max(Matches), {Q, Specificity}
    end.

specificity({<<"*">>, _, _}) -> 1;
specificity({_, <<"*">>, _}) -> 2;
specificity(_) -> 3.

%%% Query parameters

params(Query) ->
    lists:foldl(fun({Key, Value}, Params) ->
        lists:member(Key, ?KEYS) orelse invalid(Key, ["unknown parameter; known are ", lists:join(", ", ?KEYS)]),
        is_map_key(Key, Params) andalso invalid(Key, "given twice"),
        is_binary(Value) orelse invalid(Key, "has no value"),
        Params#{Key => Value}
    end, #{}, Query).

-spec invalid(binary(), iodata()) -> no_return().
invalid(Field, Why) ->
    throw({invalid, #{field => Field, why => iolist_to_binary(Why)}}).

one_of(Key, Params, Allowed, Default) ->
    case Params of
        #{Key := Value} ->
            case [A || A <- Allowed, atom_to_binary(A) =:= Value] of
                [Atom] -> Atom;
                [] -> invalid(Key, ["not one of ", lists:join(", ", [atom_to_binary(A) || A <- Allowed])])
            end;
        _ -> Default
    end.

integer(Key, Params, Default) ->
    case Params of
        #{Key := Value} ->
            case re:run(Value, "^[0-9]{1,15}$", [{capture, none}, dollar_endonly]) of
                match -> binary_to_integer(Value);
                nomatch -> invalid(Key, "not a whole number")
            end;
        _ -> Default
    end.

bounded(Key, Params, Default, Max) ->
    case integer(Key, Params, Default) of
        0 -> invalid(Key, "must be positive");
        N when is_integer(Max), N > Max, is_map_key(Key, Params) ->
            invalid(Key, ["at most ", integer_to_binary(Max), " here"]);
        N -> N
    end.

positive(Key, Params, Default) ->
    case Params of
        #{Key := Value} ->
            case number(Value) of
                {ok, N} when N > 0 -> N;
                {ok, _} -> invalid(Key, "must be positive");
                error -> invalid(Key, "not a number")
            end;
        _ -> Default
    end.

%% Always a float: 1, 1.5, 1e-3, 2.5E6.
number(Text) ->
    Pattern = "^([+-]?[0-9]{1,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?$",
    case re:run(Text, Pattern, [{capture, all_but_first, binary}, dollar_endonly]) of
        {match, Parts} ->
            [Whole, Fraction, Exponent] = [part(I, Parts) || I <- [1, 2, 3]],
            try {ok, binary_to_float(iolist_to_binary([Whole, or_default(Fraction, <<".0">>), Exponent]))}
            catch error:badarg -> error end; % too large for a float
        nomatch -> error
    end.

part(I, Parts) when I =< length(Parts) -> lists:nth(I, Parts);
part(_, _) -> <<>>.

or_default(<<>>, Default) -> Default;
or_default(Value, _) -> Value.

timeout(Params, #{timeout := Default, max_timeout := Max}) -> bounded(<<"timeout">>, Params, min(Default, Max), Max).

memory_limit(Params, Max, Plan) ->
    case bounded(<<"memory_limit">>, Params, Max, Max) of
        infinity -> Plan;
        Limit -> Plan#{memory_limit => Limit}
    end.

progress(Params) ->
    case integer(<<"progress">>, Params, 100) of
        Ms when Ms >= 10, Ms =< 60000 -> Ms;
        _ -> invalid(<<"progress">>, "must be between 10 and 60000 ms")
    end.

%%% Potentials

potential(Params) ->
    case one_of(<<"potential">>, Params, [auto, stillinger_weber, sw, lennard_jones, lj, morse, sutton_chen, tersoff], auto) of
        auto -> unused([<<"parameters">>, <<"epsilon">>, <<"sigma">>, <<"cutoff">>, <<"shift">>], Params), auto;
        Sw when Sw =:= stillinger_weber; Sw =:= sw ->
            unused([<<"epsilon">>, <<"sigma">>, <<"cutoff">>, <<"shift">>], Params),
            #{type => stillinger_weber, parameters => one_of(<<"parameters">>, Params, [silicon], silicon)};
        Type when Type =:= morse; Type =:= sutton_chen; Type =:= tersoff ->
            unused([<<"epsilon">>, <<"sigma">>, <<"cutoff">>, <<"shift">>], Params),
            [Default | _] = Sets = sets(Type),
            #{type => Type, parameters => one_of(<<"parameters">>, Params, Sets, Default)};
        _ ->
            unused([<<"parameters">>], Params),
            #{type => lennard_jones, epsilon => required(<<"epsilon">>, Params), sigma => required(<<"sigma">>, Params),
              cutoff => required(<<"cutoff">>, Params), shift => one_of(<<"shift">>, Params, [true, false], false)}
    end.

sets(morse) -> [girifalco_weizer];
sets(sutton_chen) -> [sutton_chen];
sets(tersoff) -> [silicon_carbide_germanium, silicon].

required(Key, Params) ->
    case positive(Key, Params, undefined) of
        undefined -> invalid(Key, "potential=lennard_jones needs epsilon, sigma and cutoff");
        N -> N
    end.

unused(Keys, Params) ->
    [invalid(Key, "does not belong to what was asked for") || Key <- Keys, is_map_key(Key, Params)],
    ok.
