%% SPDX-License-Identifier: Apache-2.0
%% @doc States of a structure on its way from a draft to a committed result, as values.
%%
%% ```
%%   new        generated      optimised      verified       commit
%% draft --> generated --> optimised --> verified --> committed
%%                 \            |              |
%%                  `-----------+--------------+--> rolled_back
%% '''
%% Each step makes a new immutable version and keeps the ones before; nothing is ever changed
%% in place, so the last committed structure stays what it was whatever happens later
%% ({@link committed/1}). A committed or rolled-back history goes on with the next
%% {@link generated/2} or {@link optimised/2}.
%%
%% This module is pure: it runs nothing. {@link beamline_crystal} makes the values it is given;
%% {@link run/3} does the whole way.
-module(beamline_crystal_version).

-export([new/1, generated/2, optimised/2, optimised/3, verified/2, verified/3, commit/1, rollback/2]).
-export([state/1, number/1, structure/1, committed/1, history/1, diff/3, hash/1, run/3]).

-export_type([history/0, version/0, state/0, lineage/0, made_with/0, difference/0, options/0]).

-type state() :: draft | generated | optimised | verified | committed | rolled_back.

-type version() :: #{
    %% from 1 on, one more with each step
    number := pos_integer(),
    state := state(),
    structure := beamline_crystal:structure(),
    %% SHA-256 of structure: what it is made of, whatever its history
    hash := binary(),
    %% number of the version it was made from
    parent => pos_integer(),
    %% what the step reported: the answer of relax or verify without its structure
    report => map(),
    %% of a step that computed, and of the commit of what it computed
    lineage => lineage(),
    %% rolled_back: why
    why => term()
}.

-type lineage() :: #{
    %% the hash of the structure it was made from
    input := binary(),
    %% SHA-256 of potential and options, where they were told
    potential => binary(),
    options => binary(),
    %% version of the engine, and which compiled path computed
    engine := binary(),
    code_path => avx2 | portable | atom(),
    %% of the gates
    verdict => stable | metastable | unstable | unknown
}.

-type made_with() :: #{potential => beamline_crystal:potential(), options => map()}.

-type difference() :: #{
    %% the same content
    same := boolean(),
    atoms := {non_neg_integer(), non_neg_integer()},
    formula := same | {map(), map()},
    cell := same | {tuple(), tuple()},
    %% angstrom: the longest way of an atom to its nearest place; where atoms are the same, and the cell is one
    moved => float(),
    %% eV of the cell, where both reported one
    energy => {float(), float()},
    %% keys of the lineage that differ
    lineage := [atom()]
}.

-opaque history() :: {Newest :: version(), Older :: [version()]}.

-type options() :: #{
    relax => beamline_crystal:relax_options(),
    %% the elastic gate runs unless `elastic => false'
    verify => beamline_crystal:verify_options(),
    %% eV of the cell; default 0
    energy_tolerance => number(),
    %% Prism's names ({@link beamline_crystal:config/1}): optimization_level and stability_threshold are defaults of the above,
    %% max_nodes bounds the atoms, a system_type that is given must be what comes out
    config => map(),
    task => beamline_runtime:task_options()
}.

%% @doc Begins a history with a draft.
-spec new(beamline_crystal:structure()) -> history().
new(Structure) when is_map(Structure) -> {version(1, draft, Structure, #{}), []};
new(_) -> error(badarg).

%% @doc A structure that was built, changed or read.
-spec generated(beamline_crystal:structure(), history()) -> history().
generated(Structure, History) when is_map(Structure) ->
    step(generated, Structure, #{}, [draft, generated, committed, rolled_back], History);
generated(_, _) ->
    error(badarg).

%% @equiv optimised(Relaxed, #{}, History)
-spec optimised(beamline_crystal:relaxed(), history()) -> history().
optimised(Relaxed, History) -> optimised(Relaxed, #{}, History).

%% @doc Takes the answer of {@link beamline_crystal:relax/2}; what it was made with goes into the lineage.
-spec optimised(beamline_crystal:relaxed(), made_with(), history()) -> history().
optimised(#{structure := Structure} = Relaxed, With, {#{hash := Input}, _} = History) ->
    Report = maps:remove(structure, Relaxed),
    More = #{report => Report, lineage => lineage(Input, Report, With)},
    step(optimised, Structure, More, [draft, generated, committed, rolled_back], History);
optimised(_, _, _) ->
    error(badarg).

%% @equiv verified(Verified, #{}, History)
-spec verified(beamline_crystal:verified(), history()) -> history().
verified(Verified, History) -> verified(Verified, #{}, History).

%% @doc Takes the answer of {@link beamline_crystal:verify/3} about the newest structure.
-spec verified(beamline_crystal:verified(), made_with(), history()) -> history().
verified(#{verdict := Verdict} = Verified, With, {#{structure := Structure, hash := Input}, _} = History) ->
    Lineage = (lineage(Input, Verified, With))#{verdict => Verdict},
    step(verified, Structure, #{report => Verified, lineage => Lineage}, [optimised], History);
verified(_, _, _) ->
    error(badarg).

lineage(Input, Report, With) ->
    Hashes = maps:map(fun(_, Term) -> beamline_crystal_cache:hash(Term) end, maps:with([potential, options], With)),
    maps:merge(maps:with([code_path], Report), Hashes#{input => Input, engine => list_to_binary(beamline_native:version())}).

%% @doc Commits a verified version whose gates passed; any other is rolled back, with the reason.
-spec commit(history()) -> history().
commit({#{state := verified, report := #{passed := true}, structure := Structure} = Verified, _} = History) ->
    step(committed, Structure, maps:with([report, lineage], Verified), [verified], History);
commit({#{state := verified, report := #{gates := Gates}}, _} = History) ->
    rollback({gates, [Name || #{name := Name, pass := Pass} <- Gates, Pass =:= false orelse (Pass =:= unknown andalso required(Name))]},
             History);
commit(_) ->
    error(badarg).

required(Gate) -> lists:member(Gate, [geometry, equilibrium, energy]).

%% @doc Goes back to the last committed structure, or to the draft where there is none. Allowed in
%% every state: an error, a cancel or a timeout of a step ends here.
-spec rollback(Why :: term(), history()) -> history().
rollback(Why, {#{number := Number}, _} = History) ->
    #{structure := Structure, number := Good} = resting_point(History),
    push(version(Number + 1, rolled_back, Structure, #{parent => Good, why => Why}), History).

%% @doc The state of the newest version.
-spec state(history()) -> state().
state({#{state := State}, _}) -> State.

-spec number(history()) -> pos_integer().
number({#{number := Number}, _}) -> Number.

%% @doc The newest structure.
-spec structure(history()) -> beamline_crystal:structure().
structure({#{structure := Structure}, _}) -> Structure.

%% @doc The last committed version.
-spec committed(history()) -> {ok, version()} | none.
committed({Newest, Older}) ->
    case [Version || #{state := committed} = Version <- [Newest | Older]] of
        [Version | _] -> {ok, Version};
        [] -> none
    end.

%% @doc All versions, the newest first.
-spec history(history()) -> [version()].
history({Newest, Older}) -> [Newest | Older].

%% @doc What differs between two versions, by their numbers. Raises `badarg' for a number that is none.
-spec diff(pos_integer(), pos_integer(), history()) -> difference().
diff(From, To, History) ->
    #{structure := A, hash := HashA} = VersionA = numbered(From, History),
    #{structure := B, hash := HashB} = VersionB = numbered(To, History),
    Difference = #{
        same => HashA =:= HashB,
        atoms => {beamline_crystal:number_of_atoms(A), beamline_crystal:number_of_atoms(B)},
        formula => same_or(beamline_crystal:formula(A), beamline_crystal:formula(B)),
        cell => same_or(beamline_crystal:cell(A), beamline_crystal:cell(B)),
        lineage => changed(maps:get(lineage, VersionA, #{}), maps:get(lineage, VersionB, #{}))
    },
    maps:merge(Difference, maps:merge(moved(A, B), energies(VersionA, VersionB))).

numbered(Number, {Newest, Older}) ->
    case [Version || #{number := N} = Version <- [Newest | Older], N =:= Number] of
        [Version] -> Version;
        [] -> error(badarg)
    end.

same_or(Same, Same) -> same;
same_or(A, B) -> {A, B}.

changed(A, B) ->
    [Key || Key <- lists:usort(maps:keys(A) ++ maps:keys(B)), maps:find(Key, A) =/= maps:find(Key, B)].

%% To the nearest image in the second cell, where that is a cell.
moved(#{species := Species, types := Types} = A, #{species := Species, types := Types} = B) ->
    Pairs = lists:zip(beamline_crystal:positions(A), beamline_crystal:positions(B)),
    try
        #{moved => lists:max([0.0 | [beamline_crystal:distance_between(P, Q, B) || {P, Q} <- Pairs]])}
    catch
        error:badarg -> #{}
    end;
moved(_, _) -> #{}.

energies(#{report := #{energy := A}}, #{report := #{energy := B}}) -> #{energy => {A, B}};
energies(_, _) -> #{}.

%% @doc SHA-256 of a structure in canonical form: equal content, equal hash.
-spec hash(beamline_crystal:structure()) -> binary().
hash(Structure) ->
    Known = maps:with([cell, pbc, species, types, positions, velocities, masses, charges, fixed, occupancies], Structure),
    crypto:hash(sha256, term_to_binary(lists:sort(maps:to_list(Known)), [{minor_version, 2}])).

%% @doc Relaxes, verifies, and commits or rolls back. Never raises for what a task can answer. At the level `none' the
%% gates judge the structure as it is. An option that is none raises `badarg'.
-spec run(history(), beamline_crystal:potential(), options()) -> history().
run(History, Potential, Options) ->
    is_map(Options) andalso maps:without([relax, verify, energy_tolerance, config, task], Options) =:= #{} orelse error(badarg),
    configured(History, Potential, Options).

configured(History, Potential, #{config := Given} = Options) ->
    case beamline_crystal:config(Given) of
        {ok, #{max_nodes := Most, optimization_level := Level, stability_threshold := Threshold}} ->
            Atoms = beamline_crystal:number_of_atoms(structure(History)),
            Configured = Options#{
                relax => maps:merge(#{level => Level}, maps:get(relax, Options, #{})),
                verify => maps:merge(#{stability_threshold => Threshold}, maps:get(verify, Options, #{}))},
            case Atoms =< Most of
                true -> run_as(maps:get(system_type, Given, any), History, Potential, Configured);
                false -> rollback({limit, #{what => max_nodes, limit => Most, asked => Atoms}}, History)
            end;
        {error, Reason} -> rollback(Reason, History)
    end;
configured(History, Potential, Options) ->
    run_as(any, History, Potential, Options).

%% System: what must come out, or any.
run_as(System, History, Potential, Options) ->
    Relax = maps:get(relax, Options, #{}),
    With = #{potential => Potential, options => Relax},
    case beamline_crystal:relax(structure(History), Potential, Relax, maps:get(task, Options, #{})) of
        {ok, #{converged := Converged, reason := Reason} = Relaxed} when Converged; Reason =:= not_run ->
            check(System, optimised(Relaxed, With, History), Relaxed, Potential, Options);
        {ok, #{reason := Reason} = Relaxed} -> rollback({relax, Reason}, optimised(Relaxed, With, History));
        {error, Reason} -> rollback(Reason, History)
    end.

check(System, History, Relaxed, Potential, Options) ->
    Verify = verify_options(Relaxed, Options),
    case beamline_crystal:verify(structure(History), Potential, Verify, maps:get(task, Options, #{})) of
        {ok, Verified} ->
            commit_as(System, verified(Verified, #{potential => Potential, options => Verify}, History));
        {error, Reason} -> rollback(Reason, History)
    end.

%% Only where it is of the crystal system that was asked for.
commit_as(any, History) -> commit(History);
commit_as(Asked, History) ->
    case beamline_crystal:symmetry(structure(History), #{symprec => 0.01}) of
        {ok, #{number := Number}} ->
            case system(Number) of
                Asked -> commit(History);
                Found -> rollback({symmetry, #{asked => Asked, found => Found}}, History)
            end;
        {error, Reason} -> rollback(Reason, History)
    end.

system(Number) ->
    Ends = [{2, triclinic}, {15, monoclinic}, {74, orthorhombic}, {142, tetragonal}, {167, trigonal}, {194, hexagonal}, {230, cubic}],
    element(2, hd([End || {Last, _} = End <- Ends, Number =< Last])).

%% A relaxation is checked against what it aimed at, unless the caller says otherwise.
verify_options(Relaxed, Options) ->
    Relax = maps:get(relax, Options, #{}),
    Aims = maps:merge(beamline_crystal:aims(Relax, Relaxed), #{elastic => true,
            energy_tolerance => maps:get(energy_tolerance, Options, 0)}),
    maps:merge(Aims, maps:get(verify, Options, #{})).

step(State, Structure, More, From, {#{state := Now, number := Number}, _} = History) ->
    lists:member(Now, From) orelse error(badarg),
    push(version(Number + 1, State, Structure, More#{parent => Number}), History).

push(Version, {Newest, Older}) -> {Version, [Newest | Older]}.

version(Number, State, Structure, More) ->
    More#{number => Number, state => State, structure => Structure, hash => hash(Structure)}.

resting_point({Newest, Older} = History) ->
    case committed(History) of
        {ok, Version} -> Version;
        none -> lists:last([Newest | Older])
    end.
