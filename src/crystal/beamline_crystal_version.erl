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

-export([new/1, generated/2, optimised/2, verified/2, commit/1, rollback/2]).
-export([state/1, number/1, structure/1, committed/1, history/1, hash/1, run/3]).

-export_type([history/0, version/0, state/0, options/0]).

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
    %% rolled_back: why
    why => term()
}.

-opaque history() :: {Newest :: version(), Older :: [version()]}.

-type options() :: #{
    relax => beamline_crystal:relax_options(),
    verify => beamline_crystal:verify_options(),
    %% eV of the cell; default 0
    energy_tolerance => number(),
    task => beamline_runtime:task_options()
}.

%% @doc Begins a history with a draft.
-spec new(beamline_crystal:structure()) -> history().
new(Structure) -> {version(1, draft, Structure, #{}), []}.

%% @doc A structure that was built, changed or read.
-spec generated(beamline_crystal:structure(), history()) -> history().
generated(Structure, History) -> step(generated, Structure, #{}, [draft, generated, committed, rolled_back], History).

%% @doc Takes the answer of {@link beamline_crystal:relax/2}.
-spec optimised(beamline_crystal:relaxed(), history()) -> history().
optimised(#{structure := Structure} = Relaxed, History) ->
    Report = maps:remove(structure, Relaxed),
    step(optimised, Structure, #{report => Report}, [draft, generated, committed, rolled_back], History).

%% @doc Takes the answer of {@link beamline_crystal:verify/3} about the newest structure.
-spec verified(beamline_crystal:verified(), history()) -> history().
verified(#{verdict := _} = Verified, {#{structure := Structure}, _} = History) ->
    step(verified, Structure, #{report => Verified}, [optimised], History).

%% @doc Commits a verified version whose gates passed; any other is rolled back, with the reason.
-spec commit(history()) -> history().
commit({#{state := verified, report := #{passed := true}, structure := Structure}, _} = History) ->
    step(committed, Structure, #{}, [verified], History);
commit({#{state := verified, report := #{gates := Gates}}, _} = History) ->
    rollback({gates, [Name || #{name := Name, pass := false} <- Gates]}, History);
commit(_) ->
    error(badarg).

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

%% @doc SHA-256 of a structure in canonical form: equal content, equal hash.
-spec hash(beamline_crystal:structure()) -> binary().
hash(Structure) ->
    Known = maps:with([cell, pbc, species, types, positions, velocities, masses, charges, fixed], Structure),
    crypto:hash(sha256, term_to_binary(lists:sort(maps:to_list(Known)), [{minor_version, 2}])).

%% @doc Relaxes, verifies, and commits or rolls back. Never raises for what a task can answer.
-spec run(history(), beamline_crystal:potential(), options()) -> history().
run(History, Potential, Options) ->
    Task = maps:get(task, Options, #{}),
    case beamline_crystal:relax(structure(History), Potential, maps:get(relax, Options, #{}), Task) of
        {ok, #{converged := true} = Relaxed} -> check(optimised(Relaxed, History), Relaxed, Potential, Options);
        {ok, #{reason := Reason} = Relaxed} -> rollback({relax, Reason}, optimised(Relaxed, History));
        {error, Reason} -> rollback(Reason, History)
    end.

check(History, #{energy_before := Before}, Potential, Options) ->
    Given = maps:get(verify, Options, #{}),
    Verify = maps:merge(#{energy_before => Before, energy_tolerance => maps:get(energy_tolerance, Options, 0)}, with_fmax(Given, Options)),
    case beamline_crystal:verify(structure(History), Potential, Verify, maps:get(task, Options, #{})) of
        {ok, Verified} -> commit(verified(Verified, History));
        {error, Reason} -> rollback(Reason, History)
    end.

%% A relaxation to a coarser force is checked against that force, unless the caller says otherwise.
with_fmax(#{fmax := _} = Verify, _) -> Verify;
with_fmax(Verify, #{relax := #{fmax := Fmax}}) -> Verify#{fmax => Fmax};
with_fmax(Verify, #{relax := #{level := fast}}) -> Verify#{fmax => 0.05};
with_fmax(Verify, _) -> Verify.

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
