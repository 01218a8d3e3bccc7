%% SPDX-License-Identifier: Apache-2.0
%% @private One relaxation as a sequence of tasks: parse, relax, verify, write. Pure: it says
%% which task comes next and what the answer is; beamline_service_work runs the tasks.
%%
%%   new ──{run, crystal_parse}──▶ next ──{run, crystal_relax}──▶ next ── … ──▶ {done, Result}
%%                                   └──▶ {error, Reason}   from any step
-module(beamline_service_job).

-export([new/3, next/3, stage/1]).
-export_type([job/0, step/0, result/0]).

-type stage() :: parse | relax | verify | write.
-type result() :: map(). % what the client sees as JSON; doc/service.md
-opaque job() :: #{plan := beamline_service_request:plan(), stage := stage(), started := integer(), since := integer(),
                   timings := #{atom() => number()}, _ => _}.
-type step() :: {run, Op :: atom(), Args :: map(), Opts :: map(), job()} | {done, result()} | {error, beamline_service_problem:reason()}.

%% Times are monotonic and in microseconds.
-spec new(beamline_service_request:plan(), binary(), integer()) -> step().
new(#{format := Format} = Plan, Body, Now) ->
    Job = #{plan => Plan, stage => parse, started => Now, since => Now, timings => #{}},
    run(crystal_parse, #{data => Body, format => Format}, parse, Job, Now).

-spec stage(job()) -> stage().
stage(#{stage := Stage}) -> Stage.

%% What to do after a task's answer.
-spec next({ok, term()} | {error, beamline_service_problem:reason()}, job(), integer()) -> step().
next({error, Reason}, _, _) -> {error, Reason};
next({ok, Value}, #{stage := Stage, since := Since, timings := Timings} = Job, Now) ->
    after_stage(Stage, Value, Job#{timings := Timings#{Stage => (Now - Since) / 1000}}, Now).

after_stage(parse, #{structures := [Structure], format := Format} = Parsed, #{plan := Plan} = Job, Now) ->
    case potential(Plan, Structure) of
        {ok, Potential} ->
            Args = maps:merge(maps:get(relax, Plan), #{structure => Structure, potential => Potential}),
            run(crystal_relax, Args, relax,
                Job#{format => Format, potential => Potential, warnings => maps:get(warnings, Parsed, [])}, Now);
        {error, Reason} -> {error, Reason}
    end;
after_stage(parse, #{structures := Structures}, _, _) ->
    Why = io_lib:format("one structure is expected, the file holds ~w", [length(Structures)]),
    {error, {invalid, #{field => <<"body">>, why => iolist_to_binary(Why)}}};
after_stage(relax, #{structure := Structure} = Relaxed, #{plan := Plan, potential := Potential} = Job, Now) ->
    Args = (equilibrium(maps:get(relax, Plan)))#{structure => Structure, potential => Potential,
                                                 energy_before => maps:get(energy_before, Relaxed)},
    run(crystal_verify, Args, verify, Job#{relaxed => Relaxed}, Now);
after_stage(verify, Verdict, #{relaxed := #{structure := Structure}} = Job, Now) ->
    run(crystal_write, #{structures => [Structure], format => output(Job)}, write, Job#{verdict => Verdict}, Now);
after_stage(write, Text, Job, Now) ->
    {done, result(Text, Job, Now)}.

%% A relaxation is judged by what it aimed at, not by the engine's default.
equilibrium(#{fmax := Fmax}) -> #{fmax => Fmax};
equilibrium(#{level := fast}) -> #{fmax => 0.05};
equilibrium(_) -> #{}.

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
    case maps:keys(beamline_crystal:formula(Structure)) of
        [<<"Si">>] -> {ok, #{type => stillinger_weber, parameters => silicon}};
        Species ->
            Why = ["no potential is known for ", lists:join("-", Species), "; silicon alone gets potential=stillinger_weber, "
                   "anything can be given potential=lennard_jones&epsilon=EV&sigma=ANGSTROM&cutoff=ANGSTROM"],
            {error, {invalid, #{field => <<"potential">>, why => iolist_to_binary(Why)}}}
    end;
potential(#{potential := Potential}, _) -> {ok, Potential}.

result(Text, #{relaxed := #{structure := Structure} = Relaxed, verdict := Verdict} = Job, Now) ->
    #{plan := #{priority := Priority}, potential := Potential, timings := Timings, started := Started, warnings := Warnings} = Job,
    Numbers = maps:with([energy, energy_before, max_force, max_force_before, steps, converged, reason], Relaxed),
    maps:merge(Numbers, #{
        structure => #{format => output(Job), text => Text},
        atoms => beamline_crystal:number_of_atoms(Structure),
        composition => beamline_crystal:formula(Structure),
        potential => Potential,
        priority => Priority,
        units => #{energy => <<"eV">>, max_force => <<"eV/Angstrom">>},
        verdict => maps:get(verdict, Verdict),
        passed => maps:get(passed, Verdict),
        gates => maps:get(gates, Verdict),
        warnings => Warnings ++ maps:get(warnings, Relaxed, []),
        timings_ms => Timings#{total => (Now - Started) / 1000}
    }).
