%% SPDX-License-Identifier: Apache-2.0
%% @private One relaxation as a sequence of tasks: parse, relax, verify, write; or a question about
%% a structure: parse, and verify, write or symmetry where the plan's `work' says so. Pure: it says
%% which task comes next and what the answer is; beamline_service_work runs the tasks.
%%
%%   new ──{run, crystal_parse}──▶ next ──{run, crystal_relax}──▶ next ── … ──▶ {done, Result}
%%                                   └──▶ {error, Reason}   from any step
-module(beamline_service_job).

-export([new/3, next/3, stage/1]).
-export_type([job/0, step/0, result/0]).

-type stage() :: parse | relax | verify | write | symmetry.
-type result() :: map(). % what the client sees as JSON; doc/service.md
-opaque job() :: #{plan := beamline_service_request:plan(), stage := stage(), started := integer(), since := integer(),
                   timings := #{atom() => number()}, _ => _}.
-type step() :: {run, Op :: atom(), Args :: map(), Opts :: map(), job()} | {done, result()} | {error, beamline_service_problem:reason()}.

%% Times are monotonic and in microseconds.
-spec new(beamline_service_request:plan(), binary(), integer()) -> step().
new(#{format := Format} = Plan, Body, Now) ->
    Job = #{plan => Plan, stage => parse, started => Now, since => Now, timings => #{}},
    run(crystal_parse, (maps:get(parse, Plan, #{}))#{data => Body, format => Format}, parse, Job, Now).

-spec stage(job()) -> stage().
stage(#{stage := Stage}) -> Stage.

%% What to do after a task's answer.
-spec next({ok, term()} | {error, beamline_service_problem:reason()}, job(), integer()) -> step().
next({error, Reason}, _, _) -> {error, Reason};
next({ok, Value}, #{stage := Stage, since := Since, timings := Timings, plan := Plan} = Job, Now) ->
    Timed = Job#{timings := Timings#{Stage => (Now - Since) / 1000}},
    case Stage =:= parse andalso choose(Value, Plan) of
        false -> after_stage(Stage, Value, Timed, Now);
        {ok, Parsed} -> after_stage(parse, Parsed, Timed, Now);
        {error, Reason} -> {error, Reason}
    end.

%% The structure that `frame' names, of a file with several; all of them without it.
choose(#{structures := [_, _ | _] = Structures, warnings := Warnings} = Parsed, #{frame := Frame}) when Frame =< length(Structures) ->
    Named = [[" (block ", readable(Name), ")"] || #{block := Name} <- [report(Frame, Parsed)]],
    Which = text("structure ~w of ~w~ts is taken", [Frame, length(Structures), Named]),
    Chosen = Parsed#{structures := [lists:nth(Frame, Structures)], warnings := [Which | Warnings]},
    {ok, maps:map(fun(reports, _) -> [report(Frame, Parsed)]; (_, Value) -> Value end, Chosen)};
choose(#{structures := Structures}, #{frame := Frame}) when Frame > length(Structures), Structures =/= [] ->
    {error, {invalid, #{field => <<"frame">>, why => text("the file holds ~w structures", [length(Structures)])}}};
choose(Parsed, _) -> {ok, Parsed}.

report(N, #{reports := Reports}) -> lists:nth(N, Reports);
report(_, _) -> #{}.

text(Format, Values) -> unicode:characters_to_binary(io_lib:format(Format, Values)).

%% Names of blocks are bytes of the file.
readable(Bytes) ->
    case unicode:characters_to_list(Bytes) of
        Text when is_list(Text) -> Text;
        _ -> binary_to_list(Bytes)
    end.

after_stage(parse, Parsed, #{plan := #{work := inspect}} = Job, Now) ->
    {done, inspected(Parsed, Job, Now)};
after_stage(parse, #{structures := Structures} = Parsed, #{plan := #{work := convert} = Plan} = Job, Now) ->
    Read = Job#{format => maps:get(format, Parsed), parsed => Parsed},
    Args = #{structures => Structures, format => output(Read), symmetry => maps:get(symmetry, Plan)},
    run(crystal_write, Args, write, Read, Now);
after_stage(parse, #{structures := [Structure]} = Parsed, #{plan := #{work := symmetry} = Plan} = Job, Now) ->
    run(crystal_symmetry, (maps:with([symprec], Plan))#{structure => Structure}, symmetry, Job#{parsed => Parsed}, Now);
after_stage(symmetry, Found, Job, Now) ->
    {done, (found(Found))#{warnings => warnings(Job), timings_ms => timings(Job, Now)}};
after_stage(write, Text, #{plan := #{work := convert}, parsed := #{structures := Structures}} = Job, Now) ->
    {done, #{structure => #{format => output(Job), text => Text}, structures => length(Structures), warnings => warnings(Job),
             timings_ms => timings(Job, Now)}};
after_stage(parse, #{structures := [Structure]} = Parsed, #{plan := #{work := stability, verify := Verify} = Plan} = Job, Now) ->
    case potential(Plan, Structure) of
        {ok, Potential} ->
            run(crystal_verify, Verify#{structure => Structure, potential => Potential}, verify,
                Job#{parsed => Parsed, potential => Potential}, Now);
        {error, Reason} -> {error, Reason}
    end;
after_stage(verify, Verdict, #{plan := #{work := stability}, potential := Potential, parsed := #{structures := [Structure]}} = Job, Now) ->
    {done, Verdict#{potential => Potential, atoms => beamline_crystal:number_of_atoms(Structure),
                    composition => beamline_crystal:formula(Structure), warnings => warnings(Job), timings_ms => timings(Job, Now)}};
after_stage(parse, #{structures := [Structure], format := Format} = Parsed, #{plan := Plan} = Job, Now) ->
    case potential(Plan, Structure) of
        {ok, Potential} ->
            Args = maps:merge(maps:get(relax, Plan), #{structure => Structure, potential => Potential}),
            run(crystal_relax, Args, relax,
                Job#{format => Format, potential => Potential, warnings => maps:get(warnings, Parsed, [])}, Now);
        {error, Reason} -> {error, Reason}
    end;
after_stage(parse, #{structures := []}, _, _) ->
    {error, {invalid, #{field => <<"body">>, why => <<"there are no atoms in this file">>}}};
after_stage(parse, #{structures := Structures} = Parsed, _, _) ->
    Names = lists:join(", ", [readable(Name) || #{block := Name} <- maps:get(reports, Parsed, [])]),
    Blocks = [[" (blocks ", Names, ") and block="] || Names =/= []],
    Why = text("one structure is expected, the file holds ~w: choose by frame=~ts", [length(Structures), Blocks]),
    {error, {invalid, #{field => <<"frame">>, why => Why}}};
after_stage(relax, #{structure := Structure} = Relaxed, #{plan := Plan, potential := Potential} = Job, Now) ->
    Relax = maps:get(relax, Plan),
    Elastic = #{elastic => maps:get(level, Relax, default) =:= tight},
    Aims = maps:merge(beamline_crystal:aims(Relax, Relaxed), maps:merge(Elastic, maps:get(verify, Plan, #{}))),
    Args = Aims#{structure => Structure, potential => Potential},
    run(crystal_verify, Args, verify, Job#{relaxed => Relaxed}, Now);
after_stage(verify, Verdict, #{relaxed := #{structure := Structure}} = Job, Now) ->
    run(crystal_write, #{structures => [Structure], format => output(Job)}, write, Job#{verdict => Verdict}, Now);
after_stage(write, Text, Job, Now) ->
    {done, result(Text, Job, Now)}.

warnings(#{parsed := #{warnings := Warnings}}) -> Warnings.

timings(#{timings := Timings, started := Started}, Now) -> Timings#{total => (Now - Started) / 1000}.

inspected(#{structures := Structures, format := Format, warnings := Warnings} = Parsed, Job, Now) ->
    Reports = maps:get(reports, Parsed, [#{} || _ <- Structures]),
    (refused(Parsed))#{format => Format, warnings => Warnings, timings_ms => timings(Job, Now),
      structures => [maps:merge(Report, summary(S)) || {S, Report} <- lists:zip(Structures, Reports)]}.

refused(#{refused := Refused}) -> #{refused => [Refusal#{reason := problem(Reason)} || #{reason := Reason} = Refusal <- Refused]};
refused(_) -> #{}.

problem(Reason) ->
    {_Status, _Fields, Problem} = beamline_service_problem:from(Reason),
    Problem.

summary(#{cell := Cell, pbc := Pbc} = S) ->
    Symmetry = case S of
        #{symmetry := #{operations := Operations} = Y} -> #{symmetry => Y#{operations := length(Operations)}};
        _ -> #{}
    end,
    Symmetry#{atoms => beamline_crystal:number_of_atoms(S), composition => beamline_crystal:formula(S),
              volume => beamline_crystal:volume(S), cell => rows(Cell), pbc => tuple_to_list(Pbc)}.

rows(Matrix) -> [tuple_to_list(Row) || Row <- tuple_to_list(Matrix)].

found(#{transformation := T, origin_shift := Shift, equivalent := Equivalent, symmetry := #{operations := Operations}} = Found) ->
    Plain = maps:with([number, hall_number, name, hall, choice, point_group, wyckoff], Found),
    Plain#{transformation => rows(T), origin_shift => tuple_to_list(Shift), operations => Operations,
           equivalent => [I || <<I:32/little>> <= Equivalent]}.

output(#{plan := #{output := same}, format := Format}) -> Format;
output(#{plan := #{output := Output}}) -> Output.

%% All tasks share the request's deadline.
run(Op, Args, Stage, #{plan := #{timeout := Timeout, priority := Priority} = Plan, started := Started} = Job, Now) ->
    case Timeout - (Now - Started) div 1000 of
        Left when Left > 0 ->
            Progress = case Stage of relax -> maps:get(progress, Plan); _ -> none end,
            Opts = maps:merge(maps:with([memory_limit], Plan), #{timeout => Left, priority => Priority, progress => Progress}),
            {run, Op, Args, Opts, Job#{stage := Stage, since := Now}};
        _ -> {error, timeout}
    end.

%% `auto' chooses by composition, and says what could serve where nothing fits.
potential(#{potential := auto}, Structure) ->
    case beamline_crystal:potentials(Structure) of
        [#{potential := Potential} | _] -> {ok, Potential};
        [] ->
            Species = lists:sort(maps:keys(beamline_crystal:formula(Structure))),
            Why = ["no potential is built in for ", lists:join("-", Species), "; built in are ",
                   lists:join("; ", [built_in(Entry) || Entry <- beamline_crystal:potentials()]),
                   "; anything can be given potential=lennard_jones&epsilon=EV&sigma=ANGSTROM&cutoff=ANGSTROM"],
            {error, {invalid, #{field => <<"potential">>, why => iolist_to_binary(Why)}}}
    end;
potential(#{potential := Potential}, _) -> {ok, Potential}.

built_in(#{potential := #{type := Type}, species := Species}) -> [atom_to_list(Type), $\s, species(Species)].

species({any, Symbols}) -> [lists:join(",", Symbols), " and mixtures"];
species({alone, Symbols}) -> lists:join(",", Symbols);
species({groups, Groups}) -> lists:join(", ", [lists:join("-", Group) || Group <- Groups]).

result(Text, #{relaxed := #{structure := Structure} = Relaxed, verdict := Verdict} = Job, Now) ->
    #{plan := #{priority := Priority}, potential := Potential, timings := Timings, started := Started, warnings := Warnings} = Job,
    Numbers = maps:with([energy, energy_before, max_force, max_force_before, steps, converged, reason, cell_relaxed, max_stress,
                         pressure_gpa, enthalpy, enthalpy_before], Relaxed),
    maps:merge(maps:merge(Numbers, maps:with([elastic], Verdict)), #{
        structure => #{format => output(Job), text => Text},
        atoms => beamline_crystal:number_of_atoms(Structure),
        composition => beamline_crystal:formula(Structure),
        potential => Potential,
        priority => Priority,
        units => #{energy => <<"eV">>, max_force => <<"eV/Angstrom">>, max_stress => <<"GPa">>},
        verdict => maps:get(verdict, Verdict),
        passed => maps:get(passed, Verdict),
        gates => maps:get(gates, Verdict),
        warnings => Warnings ++ maps:get(warnings, Relaxed, []),
        timings_ms => Timings#{total => (Now - Started) / 1000}
    }).
