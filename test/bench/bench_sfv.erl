%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Structured fields beside cowlib's module, from Erlang binary to Erlang term and back, and
%% the C core beside a loop over the bytes.
%%
%% cowlib before 2.12 reads an older draft, so it gets the same field in its own words: `?1' where
%% we leave true out, `*' around base64; it writes iodata, which has to become one binary.
-module(bench_sfv).

-export([run/0]).

-define(SAMPLE_NS, 40_000_000).

-spec run() -> ok.
run() ->
    core(),
    case code:ensure_loaded(cow_http_struct_hd) of
        {module, _} -> beside_cowlib();
        {error, _} -> io:format("not measured: sfv: cowlib is not here~n")
    end.

%%% From term to term

beside_cowlib() ->
    {ok, Version} = cowlib_version(),
    [begin
         compare("sfv/" ++ Name ++ "_parse", "cowlib " ++ Version, ParseGoal,
                 fun() -> {ok, _} = parse(Type, Ours) end, fun() -> cow_parse(Type, Theirs) end),
         {ok, Parsed} = parse(Type, Ours),
         Term = unshared(Parsed),
         CowTerm = unshared(cow_parse(Type, Theirs)),
         compare("sfv/" ++ Name ++ "_write", "cowlib " ++ Version, WriteGoal,
                 fun() -> {ok, _} = write(Type, Term) end, fun() -> iolist_to_binary(cow_write(Type, CowTerm)) end)
     end || {Name, Type, Ours, Theirs, ParseGoal, WriteGoal} <- cases()],
    ok.

%% Our reader uses terms again that come again: a program's own terms may not be like that.
unshared(Term) -> binary_to_term(term_to_binary(Term)).

cowlib_version() ->
    _ = application:load(cowlib),
    application:get_key(cowlib, vsn).

cases() ->
    Input = <<"sig1=(\"@method\" \"@target-uri\" \"content-digest\");created=1618884473;keyid=\"test-key-rsa-a\"">>,
    Signature = base64:encode(<< <<(I * 7)>> || I <- lists:seq(1, 256) >>),
    Tokens = joined(fun(I) -> ["item", integer_to_list(I), ";q=0.", integer_to_list(I rem 9 + 1)] end),
    Keys = joined(fun(I) -> ["key", integer_to_list(I), "=", integer_to_list(I)] end),
    [{"priority", dictionary, <<"u=3, i">>, <<"u=3, i=?1">>, 1 / 2, none},
     {"sig_input", dictionary, Input, Input, 1 / 8, 1 / 6},
     {"signature", dictionary, <<"sig1=:", Signature/binary, ":">>, <<"sig1=*", Signature/binary, "*">>, 1 / 15, 1 / 5},
     {"list1000", list, Tokens, Tokens, 1 / 20, 1 / 5},
     {"dict1000", dictionary, Keys, Keys, 1 / 200, none}].

joined(Piece) -> iolist_to_binary(lists:join(", ", [Piece(I) || I <- lists:seq(1, 1000)])).

parse(dictionary, Field) -> beamline_sfv:parse_dictionary(Field);
parse(list, Field) -> beamline_sfv:parse_list(Field).

write(dictionary, Term) -> beamline_sfv:dictionary(Term);
write(list, Term) -> beamline_sfv:list(Term).

cow_parse(dictionary, Field) -> cow_http_struct_hd:parse_dictionary(Field);
cow_parse(list, Field) -> cow_http_struct_hd:parse_list(Field).

%% 2.9.1 reads a dictionary as {Map, Keys} and writes a map.
cow_write(dictionary, {Map, _Keys}) -> cow_http_struct_hd:dictionary(Map);
cow_write(dictionary, Pairs) -> cow_http_struct_hd:dictionary(Pairs);
cow_write(list, List) -> cow_http_struct_hd:list(List).

compare(Name, Peer, Goal, Ours, Theirs) ->
    Line = #{name => Name, unit => "us", better => lower, against => Peer, value => timer_us(Ours), floor => timer_us(Theirs), rounds => 9},
    beamline_bench:compare(case Goal of none -> Line; _ -> Line#{goal => Goal} end).

%% Microseconds for one call, in a process of its own: nobody else's garbage is collected.
timer_us(Fun) ->
    Times = max(1, round(?SAMPLE_NS / once_ns(Fun))),
    fun() ->
        Self = self(),
        {Pid, Monitor} = spawn_monitor(fun() -> Self ! {self(), beamline_bench:mean_us(Times, Fun)} end),
        receive
            {Pid, Us} -> erlang:demonitor(Monitor, [flush]), Us;
            {'DOWN', Monitor, process, Pid, Why} -> error(Why)
        end
    end.

once_ns(Fun) ->
    _ = beamline_bench:mean_us(20, Fun),
    1000 * beamline_bench:mean_us(20, Fun) + 1.

%%% The core

core() ->
    [core(Name, What, Goal) || {Name, What, Goal} <- [
        {"priority", "parse", none}, {"sig_input", "parse", 2}, {"digest", "parse", 2}, {"digest", "decode", none},
        {"signature", "parse", 1 / 1.5}, {"signature", "decode", 1 / 1.5}, {"base64", "decode", 1 / 1.5},
        {"string", "decode", 1 / 1.5}, {"list1000", "parse", none}, {"dict1000", "parse", none}]],
    ok.

core(Name, What, Goal) ->
    Suffix = case What of "parse" -> ""; _ -> "_" ++ What end,
    Line = #{name => "sfv/core_" ++ Name ++ Suffix, unit => "ps/byte", better => lower, against => "byte loop",
             value => fun() -> hd(beamline_bench:program("bench_sfv", [Name, What])) end,
             floor => fun() -> hd(beamline_bench:program("floor_sfv", [Name])) end, rounds => 9},
    beamline_bench:compare(case Goal of none -> Line; _ -> Line#{goal => Goal} end).
