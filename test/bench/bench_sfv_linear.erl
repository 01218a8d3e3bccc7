%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc The cost of each byte in a long field beside a short one, for every construct, from binary to term and back.
%% Below 16 KiB the work is done in the caller's scheduler, above it a dirty one does it; large terms leave the caches.
-module(bench_sfv_linear).

-export([run/0]).

-define(SHORT, 100_000).
-define(LONG, 10_000_000).

-spec run() -> ok.
run() ->
    lists:foreach(fun(Name) ->
        Fields = {_, {Kind, Field}} = {sfv_constructs:field(Name, ?SHORT), sfv_constructs:field(Name, ?LONG)},
        line(Name, "_parse", Fields, fun parse/2),
        {ok, Term} = parse(Kind, Field),
        {ShortKind, ShortField} = element(1, Fields),
        {ok, Short} = parse(ShortKind, ShortField),
        {ok, Written} = write(Kind, Term),
        byte_size(Written) < ?LONG div 2 orelse line(Name, "_write", {{ShortKind, Short}, {Kind, Term}}, fun write/2)
    end, sfv_constructs:all()).

line(Name, What, {{Kind, Short}, {Kind, Long}}, Fun) ->
    beamline_bench:compare(#{
        name => "sfv/linear_" ++ atom_to_list(Name) ++ What, unit => "ps/byte", better => lower, goal => 4, rounds => 3,
        against => "0.1 MB",
        value => fun() -> picoseconds(fun() -> Fun(Kind, Long) end, 1, ?LONG) end,
        floor => fun() -> picoseconds(fun() -> Fun(Kind, Short) end, 20, ?SHORT) end
    }).

picoseconds(Fun, Times, Bytes) -> 1.0e6 * beamline_bench:mean_us(Times, Fun) / Bytes.

parse(item, Text) -> beamline_sfv:parse_item(Text, sfv_constructs:limits());
parse(list, Text) -> beamline_sfv:parse_list(Text, sfv_constructs:limits());
parse(dictionary, Text) -> beamline_sfv:parse_dictionary(Text, sfv_constructs:limits()).

write(item, Term) -> beamline_sfv:item(Term, sfv_constructs:limits());
write(list, Term) -> beamline_sfv:list(Term, sfv_constructs:limits());
write(dictionary, Term) -> beamline_sfv:dictionary(Term, sfv_constructs:limits()).
