%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc A field of about so many bytes for every construct that could cost more than its length.
-module(sfv_constructs).

-export([all/0, field/2, limits/0]).

-type construct() :: atom().

-spec all() -> [construct()].
all() -> [Name || {Name, _, _, _, _, _} <- table()].

%% Kind and text, of Bytes or a little less.
-spec field(construct(), pos_integer()) -> {item | list | dictionary, binary()}.
field(Name, Bytes) ->
    {_, Kind, Head, Piece, Between, Tail} = lists:keyfind(Name, 1, table()),
    Room = Bytes - byte_size(Head) - byte_size(Tail),
    Times = max(1, (Room + byte_size(Between)) div (byte_size(piece(Piece, 1)) + byte_size(Between))),
    {Kind, iolist_to_binary([Head, lists:join(Between, [piece(Piece, I) || I <- lists:seq(1, Times)]), Tail])}.

-spec limits() -> map().
limits() -> #{bytes => infinity, members => infinity, inner_members => infinity, params => infinity}.

piece({Before, After}, I) -> iolist_to_binary([Before, io_lib:format("~7..0b", [I]), After]);
piece(Text, _) -> Text.

table() ->
    [{integers, list, <<>>, <<"123456">>, <<", ">>, <<>>},
     {decimals, list, <<>>, <<"-12.125">>, <<", ">>, <<>>},
     {dates, list, <<>>, <<"@1659578233">>, <<",">>, <<>>},
     {booleans, list, <<>>, <<"?1">>, <<",">>, <<>>},
     {tokens, list, <<>>, <<"a">>, <<",">>, <<>>},
     {strings, list, <<>>, <<"\"a\"">>, <<",">>, <<>>},
     {byte_sequences, list, <<>>, <<":YQ==:">>, <<",">>, <<>>},
     {display_strings, list, <<>>, <<"%\"%c3%bc\"">>, <<",">>, <<>>},
     {one_token, item, <<"a">>, <<"bcdefgh">>, <<>>, <<>>},
     {one_string, item, <<"\"">>, <<"It was the best ">>, <<>>, <<"\"">>},
     {one_escaped_string, item, <<"\"">>, <<"\\\"a\\\\">>, <<>>, <<"\"">>},
     {one_byte_sequence, item, <<":">>, <<"YWJj">>, <<>>, <<":">>},
     {one_display_string, item, <<"%\"">>, <<"a%c3%bc">>, <<>>, <<"\"">>},
     {one_key, dictionary, <<"a">>, <<"bcdefgh">>, <<>>, <<"=1">>},
     {spaces, list, <<"a,">>, <<" ">>, <<>>, <<"b">>},
     {keys, dictionary, <<>>, {<<"k">>, <<"=1">>}, <<",">>, <<>>},
     {one_key_again_and_again, dictionary, <<>>, <<"a=1">>, <<",">>, <<>>},
     {keys_that_share_a_beginning, dictionary, <<>>, {<<"the-same-beginning-of-all-keys-">>, <<>>}, <<",">>, <<>>},
     {params, item, <<"a">>, {<<";k">>, <<>>}, <<>>, <<>>},
     {one_param_again_and_again, item, <<"a">>, <<";k=1">>, <<>>, <<>>},
     {members_with_params, list, <<>>, <<"a;b=1;c=\"d\"">>, <<", ">>, <<>>},
     {one_inner_list, list, <<"(">>, <<"a">>, <<" ">>, <<")">>},
     {inner_lists, list, <<>>, <<"(a b);c">>, <<",">>, <<>>},
     {empty_inner_lists, list, <<>>, <<"()">>, <<",">>, <<>>}].
