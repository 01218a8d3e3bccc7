#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% Writes seeds for fuzz_term: seeds_term.escript DIR

main([Dir]) ->
    ok = filelib:ensure_dir(filename:join(Dir, "any")),
    Encoded = lists:usort([E || T <- terms(), Options <- [[], [{minor_version, 0}], [{minor_version, 2}]],
                                <<131, E/binary>> <- [term_to_binary(T, Options)]] ++ rare()),
    [ok = file:write_file(filename:join(Dir, io_lib:format("~4..0b", [N])), [choices(N), E])
     || {N, E} <- lists:zip(lists:seq(1, length(Encoded)), Encoded)];
main(_) ->
    io:format(standard_error, "usage: seeds_term.escript DIR~n", []),
    halt(2).

%% Limits, failing allocation, number of cuts, cuts.
choices(N) ->
    Cuts = N rem 4,
    [0, N rem 3, Cuts, [N rem 7 || _ <- lists:seq(1, Cuts)]].

terms() ->
    Number = 16#0123456789ABCDEF,
    [0, 255, -1, 1 bsl 31, Number, -Number, 1 bsl 64, 1 bsl 2100, 1.5, -1.0e300,
     '', ok, true, list_to_atom([16#E4]), list_to_atom([16#20AC]), list_to_atom(lists:duplicate(255, $a)),
     <<>>, <<"binary">>, <<5:3>>, <<1, 5:7>>, {}, {1, {2}}, erlang:make_tuple(256, []),
     [], "string", [256, a], [1 | 2], [[a | b], {<<"c">>}], #{}, #{a => 1, "b" => #{2.0 => [#{}]}},
     self(), make_ref(), hd(erlang:ports()), fun erlang:now/0, fun(X) -> {X, Number} end,
     #{structure => #{cell => {{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}, pbc => {true, true, false},
                      species => [<<"Si">>], types => <<0:32/little>>, positions => <<0.5:64/float-little, 0:128>>},
       potential => #{type => lennard_jones, epsilon => 1, sigma => 1.0}, fmax => 0.01, max_steps => 1000},
     lists:foldl(fun(_, T) -> {T} end, leaf, lists:seq(1, 64))].

%% Encodings that this OTP reads but does not write.
rare() ->
    Node = <<119, 3, "x@y">>,
    [<<103, Node/binary, 1:32, 2:32, 3>>, <<102, Node/binary, 1:32, 3>>, <<120, Node/binary, 1:64, 3:32>>,
     <<114, 3:16, Node/binary, 3, 0:96>>, <<101, Node/binary, 1:32, 3>>, <<115, 2, "ok">>, <<118, 2:16, 16#C3A4:16>>,
     <<105, 1:32, 106>>, <<108, 0:32, 106>>, <<107, 0:16>>, <<111, 2:32, 0, 44, 1>>].
