%% SPDX-License-Identifier: Apache-2.0
%% @private Metrics as text: Prometheus exposition format 0.0.4 and OpenMetrics 1.0.0. Pure.
%%
%%   term                                text
%%   counter x_total, [{m, get}], 3      x_total{m="get"} 3     (OpenMetrics: family `x')
%%   histogram h, [], #{buckets => [{0.1, 4}, {1.0, 2}], count => 7, sum => 9.5}
%%                                       h_bucket{le="0.1"} 4
%%                                       h_bucket{le="1.0"} 6
%%                                       h_bucket{le="+Inf"} 7
%%                                       h_sum 9.5
%%                                       h_count 7
-module(beamline_metrics_text).

-export([render/2, valid_family/1, valid_name/2, valid_label/2]).

-spec render([beamline_metrics:family()], beamline_metrics:format()) -> iodata().
render(Families, Format) ->
    Text = [family(F, Format) || #{samples := [_ | _]} = F <- Families],
    case Format of
        text -> Text;
        openmetrics -> [Text, "# EOF\n"]
    end.

family(#{name := Name, type := Type, help := Help, samples := Samples}, Format) ->
    Metric = atom_to_binary(Name),
    Family = family_name(Metric, Type, Format),
    ["# HELP ", Family, $\s, escape_help(Help, Format), "\n# TYPE ", Family, $\s, atom_to_binary(Type), $\n,
     [sample(Metric, Labels, Value) || {Labels, Value} <- Samples]].

family_name(Metric, counter, openmetrics) -> binary:part(Metric, 0, byte_size(Metric) - byte_size(<<"_total">>));
family_name(Metric, _, _) -> Metric.

sample(Metric, Labels, #{buckets := Buckets, sum := Sum, count := Count}) ->
    {Lines, _} = lists:mapfoldl(fun({Bound, N}, Below) ->
        {line([Metric, "_bucket"], Labels ++ [{le, number(Bound)}], Below + N), Below + N}
    end, 0, Buckets),
    [Lines, line([Metric, "_bucket"], Labels ++ [{le, <<"+Inf">>}], Count),
     line([Metric, "_sum"], Labels, Sum), line([Metric, "_count"], Labels, Count)];
sample(Metric, Labels, Value) -> line(Metric, Labels, Value).

line(Metric, [], Value) -> [Metric, $\s, number(Value), $\n];
line(Metric, Labels, Value) ->
    Pairs = [[atom_to_binary(L), "=\"", escape_value(V), $"] || {L, V} <- Labels],
    [Metric, ${, lists:join($,, Pairs), "} ", number(Value), $\n].

number(N) when is_integer(N) -> integer_to_binary(N);
number(F) -> float_to_binary(F, [short]).

escape_help(Help, Format) ->
    Replaced = escape(unicode:characters_to_binary(Help)),
    case Format of
        text -> Replaced;
        openmetrics -> replace(Replaced, <<"\"">>, <<"\\\"">>)
    end.

escape(Text) -> replace(replace(utf8(Text), <<"\\">>, <<"\\\\">>), <<"\n">>, <<"\\n">>).

%% Not string:replace/4: that leaves characters among the bytes.
replace(Text, Old, New) -> binary:replace(Text, Old, New, [global]).

escape_value(V) when is_atom(V) -> escape_value(atom_to_binary(V));
escape_value(V) when is_integer(V) -> integer_to_binary(V);
escape_value(V) -> replace(escape(V), <<"\"">>, <<"\\\"">>).

%% Label values may come from outside; the format is UTF-8. Also mends a value cut in a character.
utf8(Text) ->
    case unicode:characters_to_binary(Text) of
        Good when is_binary(Good) -> Good;
        {_, Good, _} -> <<Good/binary, "?">>
    end.

%% Whether a collector's answer can be rendered.
-spec valid_family(term()) -> boolean().
valid_family(#{name := Name, type := Type, help := Help, samples := Samples}) when is_atom(Name), is_list(Samples) ->
    valid_name(Name, Type) andalso is_list(catch unicode:characters_to_list(Help))
        andalso lists:all(fun(Sample) -> valid_sample(Sample, Type) end, Samples);
valid_family(_) -> false.

valid_sample({Labels, Value}, Type) when is_list(Labels) ->
    lists:all(fun({L, V}) -> valid_label(L, Type) andalso (is_atom(V) orelse is_binary(V) orelse is_integer(V));
                 (_) -> false end, Labels)
        andalso length(lists:ukeysort(1, Labels)) =:= length(Labels)
        andalso valid_value(Value, Type);
valid_sample(_, _) -> false.

valid_value(#{buckets := Buckets, sum := Sum, count := Count}, histogram) ->
    is_number(Sum) andalso is_integer(Count) andalso Count >= 0 andalso is_list(Buckets)
        andalso lists:all(fun({B, N}) -> is_number(B) andalso is_integer(N) andalso N >= 0; (_) -> false end, Buckets)
        andalso lists:ukeysort(1, Buckets) =:= Buckets andalso lists:sum([N || {_, N} <- Buckets]) =< Count;
valid_value(Value, counter) -> is_number(Value) andalso Value >= 0;
valid_value(Value, gauge) -> is_number(Value);
valid_value(_, _) -> false.

-spec valid_name(atom(), atom()) -> boolean().
valid_name(Name, Type) ->
    Text = atom_to_binary(Name),
    Total = binary:longest_common_suffix([Text, <<"_total">>]) =:= byte_size(<<"_total">>),
    matches(Text, "^[a-zA-Z_:][a-zA-Z0-9_:]*$")
        andalso lists:member(Type, [counter, gauge, histogram])
        andalso Total =:= (Type =:= counter).

-spec valid_label(term(), atom()) -> boolean().
valid_label(le, histogram) -> false;
valid_label(Label, _) when is_atom(Label) ->
    matches(atom_to_binary(Label), "^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$");
valid_label(_, _) -> false.

matches(Text, Pattern) -> re:run(Text, Pattern, [{capture, none}, dollar_endonly]) =:= match.
