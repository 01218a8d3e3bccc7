%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Reads the S-expressions of a .wast script, and keeps where each one stands in the text: modules go on as text.
%%
%%   {list, Begin, End, Items}   bytes Begin to End - 1 of the text
%%   {atom, Text}   {string, Bytes}
%%
%% Comments (also nested ones) and annotations are left out.
-module(wast).

-export([read/1]).
-export_type([form/0]).

-type form() :: {list, non_neg_integer(), non_neg_integer(), [form()]} | {atom, binary()} | {string, binary()}.

-spec read(binary()) -> [form()].
read(Text) ->
    {Forms, _} = forms(Text, 0, top, []),
    Forms.

forms(Text, At0, Close, Acc) ->
    At = skip(Text, At0),
    case Text of
        <<_:At/binary>> when Close =:= top -> {lists:reverse(Acc), At};
        <<_:At/binary>> -> error({not_closed, Close});
        <<_:At/binary, ")", _/binary>> when Close =/= top -> {lists:reverse(Acc), At + 1};
        <<_:At/binary, "(@", _/binary>> ->
            {_, Next} = forms(Text, At + 2, At, []), % with its name as an atom
            forms(Text, Next, Close, Acc);
        <<_:At/binary, "(", _/binary>> ->
            {Items, Next} = forms(Text, At + 1, At, []),
            forms(Text, Next, Close, [{list, At, Next, Items} | Acc]);
        <<_:At/binary, "\"", _/binary>> ->
            {Bytes, Next} = string(Text, At + 1, []),
            forms(Text, Next, Close, [{string, Bytes} | Acc]);
        _ ->
            Next = max(At + 1, atom_end(Text, At)), % inside an annotation a semicolon may stand alone
            forms(Text, Next, Close, [{atom, binary:part(Text, At, Next - At)} | Acc])
    end.

skip(Text, At) ->
    case Text of
        <<_:At/binary, C, _/binary>> when C =< $\s -> skip(Text, At + 1);
        <<_:At/binary, ";;", _/binary>> -> skip(Text, line_end(Text, At));
        <<_:At/binary, "(;", _/binary>> -> skip(Text, comment_end(Text, At + 2));
        _ -> At
    end.

line_end(Text, At) ->
    case Text of
        <<_:At/binary, C, _/binary>> when C =/= $\n, C =/= $\r -> line_end(Text, At + 1);
        _ -> At
    end.

comment_end(Text, At) ->
    case Text of
        <<_:At/binary, ";)", _/binary>> -> At + 2;
        <<_:At/binary, "(;", _/binary>> -> comment_end(Text, comment_end(Text, At + 2));
        <<_:At/binary, _, _/binary>> -> comment_end(Text, At + 1)
    end.

atom_end(Text, At) ->
    case Text of
        <<_:At/binary, C, _/binary>> when C > $\s, C =/= $(, C =/= $), C =/= $", C =/= $; -> atom_end(Text, At + 1);
        %% A name may be a string: $"a b"
        <<_:At/binary, "\"", _/binary>> -> {_, Next} = string(Text, At + 1, []), atom_end(Text, Next);
        _ -> At
    end.

string(Text, At, Acc) ->
    case Text of
        <<_:At/binary, "\"", _/binary>> -> {iolist_to_binary(lists:reverse(Acc)), At + 1};
        <<_:At/binary, "\\u{", _/binary>> -> code_point(Text, At + 3, Acc, 0);
        <<_:At/binary, "\\", C, _/binary>> when C =:= $t; C =:= $n; C =:= $r; C =:= $"; C =:= $'; C =:= $\\ ->
            string(Text, At + 2, [escape(C) | Acc]);
        <<_:At/binary, "\\", A, B, _/binary>> -> string(Text, At + 3, [digit(A) * 16 + digit(B) | Acc]);
        <<_:At/binary, C, _/binary>> -> string(Text, At + 1, [C | Acc])
    end.

code_point(Text, At, Acc, N) ->
    case Text of
        <<_:At/binary, "}", _/binary>> -> string(Text, At + 1, [<<N/utf8>> | Acc]);
        <<_:At/binary, C, _/binary>> -> code_point(Text, At + 1, Acc, N * 16 + digit(C))
    end.

escape($t) -> $\t;
escape($n) -> $\n;
escape($r) -> $\r;
escape(C) -> C.

digit(C) when C >= $0, C =< $9 -> C - $0;
digit(C) when C >= $a, C =< $f -> C - $a + 10;
digit(C) when C >= $A, C =< $F -> C - $A + 10.
