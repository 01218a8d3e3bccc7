%% SPDX-License-Identifier: Apache-2.0
%% @doc Digest fields, RFC 9530: `Content-Digest' and `Repr-Digest' (the same text, over the content
%% of a message or over the whole representation), and `Want-Content-Digest' and
%% `Want-Repr-Digest'.
%% ```
%% {ok, Field} = beamline_sfv_digest:format([sha256], <<"hello">>),
%% <<"sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:">> = Field,
%% ok = beamline_sfv_digest:verify(Field, <<"hello">>),
%% {error, {invalid, #{path := [<<"sha-256">>]}}} = beamline_sfv_digest:verify(Field, <<"goodbye">>).
%% '''
%% The algorithms are the two that the registry of the RFC calls active; the others are not safe
%% against somebody who wants to deceive, and are read but neither made nor trusted.
-module(beamline_sfv_digest).

-export([format/2, parse/1, verify/2, format_want/1, parse_want/1, choose/1]).
-export_type([algorithm/0]).

-type algorithm() :: sha256 | sha512.

-define(ALGORITHMS, [{<<"sha-256">>, sha256, 32}, {<<"sha-512">>, sha512, 64}]).

%% @doc The field for this content.
-spec format([algorithm()], iodata()) -> {ok, binary()} | {error, beamline_sfv:reason()}.
format(Algorithms, Content) when is_list(Algorithms), length(Algorithms) >= 0 ->
    beamline_sfv:dictionary([{name(Algorithm), {item, {binary, crypto:hash(Algorithm, Content)}, []}} || Algorithm <- Algorithms]);
format(Algorithms, Content) -> error(badarg, [Algorithms, Content]).

name(Algorithm) ->
    case lists:keyfind(Algorithm, 2, ?ALGORITHMS) of
        {Name, _, _} -> Name;
        false -> error(badarg, [Algorithm])
    end.

%% @doc The digests that a field holds, by their registered names, in its order.
%% ```
%% {ok, [{<<"sha-256">>, <<1, 2, 3>>}]} = beamline_sfv_digest:parse(<<"sha-256=:AQID:">>).
%% '''
-spec parse(beamline_sfv:field()) -> {ok, [{binary(), binary()}]} | {error, beamline_sfv:reason()}.
parse(Field) ->
    members(Field, fun({item, {binary, Digest}, _}) -> {ok, Digest}; (_) -> {error, <<"is not a byte sequence">>} end).

%% @doc Whether every digest of a known algorithm is that of the content, compared in constant
%% time. `{error, {unsupported, digest}}' where none is known: then nothing is known of the
%% content either. What does not match is `{error, {invalid, #{path => [Name], ...}}}'.
-spec verify(beamline_sfv:field(), iodata()) -> ok | {error, beamline_sfv:reason() | {unsupported, digest}}.
verify(Field, Content) ->
    case parse(Field) of
        {ok, Digests} ->
            case [{Name, Digest, Known} || {Name, Digest} <- Digests, Known <- [lists:keyfind(Name, 1, ?ALGORITHMS)], Known =/= false] of
                [] -> {error, {unsupported, digest}};
                Known -> verify_all(Known, Content)
            end;
        Error -> Error
    end.

verify_all(Digests, Content) ->
    case [Name || {Name, Digest, {_, Algorithm, Size}} <- Digests, not matches(Digest, Algorithm, Size, Content)] of
        [] -> ok;
        [Name | _] -> invalid(Name, <<"is not the digest of the content">>)
    end.

matches(Digest, Algorithm, Size, Content) ->
    byte_size(Digest) =:= Size andalso crypto:hash_equals(Digest, crypto:hash(Algorithm, Content)).

%% @doc What a sender would like: algorithms with a preference of 1 (least) to 10 (most), or 0 (no).
%% ```
%% {ok, <<"sha-512=3, sha-256=10">>} = beamline_sfv_digest:format_want([{sha512, 3}, {sha256, 10}]).
%% '''
-spec format_want([{algorithm(), 0..10}]) -> {ok, binary()} | {error, beamline_sfv:reason()}.
format_want(Wanted) when is_list(Wanted), length(Wanted) >= 0 -> beamline_sfv:dictionary([wanted(W) || W <- Wanted]);
format_want(Other) -> error(badarg, [Other]).

wanted({Algorithm, P}) when is_integer(P), P >= 0, P =< 10 -> {name(Algorithm), {item, P, []}};
wanted(Other) -> error(badarg, [Other]).

%% @doc The algorithms that somebody wants, by their registered names, in the field's order.
%% ```
%% {ok, [{<<"sha-256">>, 10}, {<<"md5">>, 0}]} = beamline_sfv_digest:parse_want(<<"sha-256=10, md5=0">>).
%% '''
-spec parse_want(beamline_sfv:field()) -> {ok, [{binary(), 0..10}]} | {error, beamline_sfv:reason()}.
parse_want(Field) ->
    members(Field, fun({item, P, _}) when is_integer(P), P >= 0, P =< 10 -> {ok, P};
                      (_) -> {error, <<"is not an integer from 0 to 10">>} end).

%% @doc The algorithm to answer with: the most wanted one that is known, the first of equals.
%% `none' where nothing is wanted, or the field cannot be understood: an answer without a digest
%% is a good answer.
%% ```
%% sha512 = beamline_sfv_digest:choose(<<"md5=10, sha-256=2, sha-512=5">>).
%% '''
-spec choose(beamline_sfv:field() | undefined) -> algorithm() | none.
choose(undefined) -> none;
choose(Field) ->
    case parse_want(Field) of
        {ok, Wanted} ->
            Known = [{-P, Algorithm} || {Name, P} <- Wanted, P > 0, {N, Algorithm, _} <- ?ALGORITHMS, N =:= Name],
            case lists:keysort(1, Known) of
                [{_, Best} | _] -> Best;
                [] -> none
            end;
        {error, _} -> none
    end.

members(Field, Check) ->
    case beamline_sfv:parse_dictionary(Field) of
        {ok, Members} -> members(Members, Check, []);
        Error -> Error
    end.

members([{Name, Member} | Rest], Check, Done) ->
    case Check(Member) of
        {ok, Value} -> members(Rest, Check, [{Name, Value} | Done]);
        {error, Why} -> invalid(Name, Why)
    end;
members([], _, Done) -> {ok, lists:reverse(Done)}.

invalid(Name, Why) -> {error, {invalid, #{path => [Name], why => Why}}}.
