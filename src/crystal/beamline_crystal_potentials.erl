%% SPDX-License-Identifier: Apache-2.0
%% @private What potentials are built in, and which of them serve a composition. Pure.
-module(beamline_crystal_potentials).

-export([built_in/0, for/1]).

-type entry() :: #{
    potential := beamline_crystal:potential(),
    %% `any': mixtures of these, too; `alone': one of them at a time; or the groups that go together
    species := {any | alone, [binary()]} | {groups, [[binary()]]},
    source := binary()
}.
-export_type([entry/0]).

%% Best first, for what several of them cover.
-spec built_in() -> [entry()].
built_in() ->
    [
        #{potential => #{type => stillinger_weber, parameters => silicon}, species => {alone, [<<"Si">>]},
          source => <<"F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)">>},
        #{potential => #{type => tersoff, parameters => silicon_carbide_germanium},
          species => {groups, [[<<"C">>, <<"Si">>], [<<"Ge">>, <<"Si">>]]}, source => <<"J. Tersoff, Phys. Rev. B 39, 5566 (1989)">>},
        #{potential => #{type => tersoff, parameters => silicon}, species => {alone, [<<"Si">>]},
          source => <<"J. Tersoff, Phys. Rev. B 37, 6991 (1988)">>},
        #{potential => #{type => sutton_chen, parameters => sutton_chen},
          species => {any, [<<"Ag">>, <<"Al">>, <<"Au">>, <<"Cu">>, <<"Ir">>, <<"Ni">>, <<"Pb">>, <<"Pd">>, <<"Pt">>, <<"Rh">>]},
          source => <<"A. P. Sutton and J. Chen, Phil. Mag. Lett. 61, 139 (1990)">>},
        #{potential => #{type => morse, parameters => girifalco_weizer},
          species => {alone, [<<"Ag">>, <<"Al">>, <<"Ba">>, <<"Ca">>, <<"Cr">>, <<"Cs">>, <<"Cu">>, <<"Fe">>, <<"K">>, <<"Mo">>, <<"Na">>,
                              <<"Ni">>, <<"Pb">>, <<"Rb">>, <<"Sr">>, <<"W">>]},
          source => <<"L. A. Girifalco and V. G. Weizer, Phys. Rev. 114, 687 (1959)">>}
        | [noble_gas(Symbol, Epsilon, Sigma) || {Symbol, Epsilon, Sigma} <- [{<<"Ne">>, 0.0031, 2.74}, {<<"Ar">>, 0.0104, 3.40},
              {<<"Kr">>, 0.0140, 3.65}, {<<"Xe">>, 0.0200, 3.98}]]
    ].

noble_gas(Symbol, Epsilon, Sigma) ->
    #{potential => #{type => lennard_jones, epsilon => Epsilon, sigma => Sigma, cutoff => 3 * Sigma, shift => true},
      species => {alone, [Symbol]}, source => <<"N. Bernardes, Phys. Rev. 112, 1534 (1958)">>}.

%% What serves exactly these species, best first.
-spec for([binary()]) -> [entry()].
for(Species) ->
    [Entry || #{species := Covers} = Entry <- built_in(), Species =/= [], covers(Covers, Species)].

covers({any, All}, Species) -> Species -- All =:= [];
covers({alone, All}, [Symbol]) -> lists:member(Symbol, All);
covers({alone, _}, _) -> false;
covers({groups, Groups}, Species) -> lists:any(fun(Group) -> Species -- Group =:= [] end, Groups).
