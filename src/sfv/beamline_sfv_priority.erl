%% SPDX-License-Identifier: Apache-2.0
%% @doc The field `Priority' of RFC 9218: how urgent an answer is, and whether parts of it are of
%% use before the whole.
%% ```
%% #{urgency := 1, incremental := true} = beamline_sfv_priority:parse(<<"u=1, i">>).
%% #{urgency := 3, incremental := false} = beamline_sfv_priority:parse(<<"u=9, i=maybe">>).
%% <<"u=1, i">> = beamline_sfv_priority:format(#{urgency => 1, incremental => true}).
%% '''
-module(beamline_sfv_priority).

-export([parse/1, format/1]).
-export_type([priority/0]).

-type priority() :: #{
    urgency := 0..7,         % 0 is the most urgent; 3 where nothing is said
    incremental := boolean() % false where nothing is said
}.

%% @doc Never fails: a missing field, one that is malformed, and members of a wrong type or out of
%% range count as not said, as the RFC wants it; members that it does not know are passed over.
-spec parse(beamline_sfv:field() | undefined) -> priority().
parse(undefined) -> default();
parse(Field) ->
    case beamline_sfv:parse_dictionary(Field) of
        {ok, Members} -> lists:foldl(fun member/2, default(), Members);
        {error, _} -> default()
    end.

default() -> #{urgency => 3, incremental => false}.

member({<<"u">>, {item, Urgency, _}}, Priority) when is_integer(Urgency), Urgency >= 0, Urgency =< 7 -> Priority#{urgency := Urgency};
member({<<"i">>, {item, Incremental, _}}, Priority) when is_boolean(Incremental) -> Priority#{incremental := Incremental};
member(_, Priority) -> Priority.

%% @doc The field's text, without what is the default: `<<>>' means that the field is not sent.
%% Raises `badarg' for an urgency out of range, or something else than the two.
-spec format(#{urgency => 0..7, incremental => boolean()}) -> binary().
format(Priority) when is_map(Priority) ->
    case maps:merge(default(), Priority) of
        #{urgency := U, incremental := I} = Whole when is_integer(U), U >= 0, U =< 7, is_boolean(I), map_size(Whole) =:= 2 ->
            {ok, Text} = beamline_sfv:dictionary([{<<"u">>, {item, U, []}} || U =/= 3] ++ [{<<"i">>, {item, true, []}} || I]),
            Text;
        _ -> error(badarg, [Priority])
    end;
format(Other) -> error(badarg, [Other]).
