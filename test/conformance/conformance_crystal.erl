%% SPDX-License-Identifier: Apache-2.0
%%
%% @doc Files of crystal structures with what is known about them, in the folder's expected.json: an
%% array of objects. Keys that are not named here are ignored.
%%
%%   file, outcome            structure | no-atoms | refuse | ask-setting
%%   accept_outcome           other right outcomes
%%   asym, entries, positions, occ, sg    CIF: rows, atoms of the cell, distinct positions, sum of occupancies
%%   blocks                   CIF: the same for each block with atoms
%%   n, volume, formula       POSCAR, LAMMPS
%%   frames, volumes          XYZ
%%   accept                   other right numbers of atoms, or objects with other right values
-module(conformance_crystal).

-export([main/1, run/2, cases/1]).

-spec main([string()]) -> no_return().
main([Dir]) ->
    {ok, _} = application:ensure_all_started(beamline),
    {Passed, Failed, Skipped} = run(Dir, fun(Format, Args) -> io:format(Format, Args) end),
    Passed + Failed + Skipped > 0 orelse io:format("FAILED: no case in ~ts~n", [Dir]),
    io:format("~b passed, ~b failed, ~b skipped~n", [Passed, Failed, Skipped]),
    halt(case Failed =:= 0 andalso Passed > 0 of true -> 0; false -> 1 end).

%% @doc All cases of a folder; Print tells of each failure.
-spec run(file:filename(), fun((string(), [term()]) -> term())) -> {non_neg_integer(), non_neg_integer(), non_neg_integer()}.
run(Dir, Print) ->
    lists:foldl(fun({File, Test}, {Passed, Failed, Skipped}) ->
        try Test() of
            _ -> {Passed + 1, Failed, Skipped}
        catch
            throw:{skipped, Why} ->
                Print("skipped: ~ts: ~ts~n", [File, Why]),
                {Passed, Failed, Skipped + 1};
            _:Why ->
                Print("FAILED: ~ts: ~0tp~n", [File, Why]),
                {Passed, Failed + 1, Skipped}
        end
    end, {0, 0, 0}, cases(Dir)).

%% @doc One test a file: it returns, throws `{skipped, Why}', or fails with what was found.
-spec cases(file:filename()) -> [{string(), fun(() -> term())}].
cases(Dir) ->
    {ok, Text} = file:read_file(filename:join(Dir, "expected.json")),
    [{unicode:characters_to_list(File), fun() -> check(Dir, Row) end} || #{<<"file">> := File} = Row <- jiffy:decode(Text, [return_maps])].

check(Dir, #{<<"file">> := File, <<"outcome">> := Expected} = Row) ->
    Data = case file:read_file(filename:join(Dir, File)) of
        {ok, Bytes} -> Bytes;
        {error, Why} -> throw({skipped, file:format_error(Why)})
    end,
    Answer = beamline_crystal:parse(Data, #{name => filename:basename(File)}),
    Outcome = outcome(Answer),
    Allowed = [Expected | as_list(maps:get(<<"accept_outcome">>, Row, []))],
    lists:member(Outcome, Allowed) orelse error({outcome, Outcome, Answer}),
    Outcome =:= <<"structure">> andalso Expected =:= Outcome andalso values(Answer, Row).

outcome({ok, #{structures := []}}) -> <<"no-atoms">>;
outcome({ok, _}) -> <<"structure">>;
outcome({error, {invalid, #{field := setting}}}) -> <<"ask-setting">>;
outcome({error, {Reason, _}}) when Reason =:= invalid; Reason =:= syntax; Reason =:= unsupported; Reason =:= limit -> <<"refuse">>.

as_list(Values) when is_list(Values) -> Values;
as_list(Value) -> [Value].

%% The row, or one of its other right forms.
values({ok, Parsed}, Row) ->
    Found = found(Parsed),
    Rows = [Row | [alternative(Other, Row) || Other <- as_list(maps:get(<<"accept">>, Row, []))]],
    lists:any(fun(R) -> agrees(Found, R) end, Rows) orelse error({found, Found, warnings, maps:get(warnings, Parsed)}).

alternative(Other, Row) when is_map(Other) -> maps:merge(Row, Other);
alternative(Count, Row) ->
    Given = [Key || Key <- [<<"entries">>, <<"n">>], is_map_key(Key, Row)],
    maps:without([<<"positions">>, <<"occ">>], maps:merge(Row, maps:from_list([{Key, Count} || Key <- Given]))).

found(#{structures := Structures} = Parsed) ->
    Reports = maps:get(reports, Parsed, [#{} || _ <- Structures]),
    [found(S, R) || {S, R} <- lists:zip(Structures, Reports)].

found(Structure, Report) ->
    Named = case Report of #{symmetry_from := From} -> lists:member(From, [hall, name, number]); _ -> false end,
    Common = #{
        n => beamline_crystal:number_of_atoms(Structure),
        volume => beamline_crystal:volume(Structure),
        formula => beamline_crystal:formula(Structure)
    },
    maps:merge(Common, maps:merge(maps:with([rows, positions, occupancy, block], Report),
        maps:from_list([{sg, Number} || Named, #{symmetry := #{number := Number}} <- [Structure]]))).

agrees(Found, #{<<"blocks">> := Blocks}) -> all(Found, Blocks);
agrees(Found, #{<<"frames">> := Frames} = Row) ->
    Volumes = maps:get(<<"volumes">>, Row, [null || _ <- Frames]),
    all(Found, [#{<<"n">> => N, <<"volume">> => V} || {N, V} <- lists:zip(Frames, Volumes)]);
agrees([One], Row) -> same(One, Row);
agrees(_, _) -> false.

all(Found, Rows) ->
    length(Found) =:= length(Rows) andalso lists:all(fun({F, R}) -> same(F, R) end, lists:zip(Found, Rows)).

same(Found, Row) ->
    lists:all(fun({Key, Expected}) -> agree(Key, Expected, Found) end, maps:to_list(Row)).

agree(_, null, _) -> true;
agree(<<"asym">>, N, #{rows := Rows}) -> N =:= Rows;
agree(<<"entries">>, N, #{n := Atoms}) -> N =:= Atoms;
agree(<<"n">>, N, #{n := Atoms}) -> N =:= Atoms;
agree(<<"positions">>, N, #{positions := Positions}) -> N =:= Positions;
agree(<<"occ">>, Sum, #{occupancy := Occupancy}) -> abs(Sum - Occupancy) < 0.01;
agree(<<"sg">>, Number, #{sg := Found}) -> Number =:= Found;
agree(<<"volume">>, Expected, #{volume := Volume}) -> abs(Expected - Volume) =< 1.0e-6 * max(1.0, abs(Expected));
agree(<<"formula">>, Formula, #{formula := Counts}) -> counts(Formula) =:= Counts;
agree(<<"name">>, Name, #{block := Block}) -> Name =:= Block;
agree(_, _, _) -> true.

%% "Al4O6" is 4 Al and 6 O; no number is one.
counts(Formula) ->
    {match, Parts} = re:run(Formula, "([A-Z][a-z]?)([0-9]*)", [global, {capture, all_but_first, binary}]),
    maps:from_list([{Symbol, case N of <<>> -> 1; _ -> binary_to_integer(N) end} || [Symbol, N] <- Parts]).
