%% SPDX-License-Identifier: Apache-2.0
%% @private One service.
%%
%%   beamline_service_sup (rest_for_one: who loses what he stands on starts anew)
%%     gate       who is working, how many bytes, whether more may come
%%     task_sup   one process per asynchronous task (simple_one_for_one, temporary)
%%     store      asynchronous tasks and their results
%%     listener   the sockets; stops first, and drains as it stops
-module(beamline_service_sup).
-behaviour(supervisor).

-export([process/2, start_task_sup/1]).
-export([init/1]).

%% The registered name of a process of a service.
-spec process(atom(), gate | task_sup | store | listener) -> atom().
process(Name, Part) -> binary_to_atom(<<(atom_to_binary(Name))/binary, $_, (atom_to_binary(Part))/binary>>).

-spec init(map() | tasks) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(tasks) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => task, start => {beamline_service_task, start_link, []}, restart => temporary}]}};
init(#{name := Name, drain_timeout := DrainMs} = Config) ->
    ok = beamline_service_metrics:register(Name),
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 10},
          [#{id => gate, start => {beamline_service_gate, start_link, [Config]}},
           #{id => task_sup, start => {?MODULE, start_task_sup, [Name]}, type => supervisor},
           #{id => store, start => {beamline_service_store, start_link, [Config]}},
           #{id => listener, start => {beamline_service_listener, start_link, [Config]}, shutdown => DrainMs + 5000}]}}.

-spec start_task_sup(atom()) -> {ok, pid()} | {error, term()}.
start_task_sup(Name) ->
    supervisor:start_link({local, process(Name, task_sup)}, ?MODULE, tasks).
