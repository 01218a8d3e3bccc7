%% SPDX-License-Identifier: Apache-2.0
%% @private
%% What the runtime tells Erlang's logger; the domain of all its events is `[beamline, runtime]'. Refusals may come by
%% the thousand: see beamline_runtime_metrics for their number, here one event a second and pool says that there were some.
-module(beamline_runtime_log).

-include_lib("kernel/include/logger.hrl").

-export([pool_started/2, pool_stopped/2, host_started/1, host_exited/2, host_not_started/2, refused/2]).

-define(META, #{domain => [beamline, runtime]}).

-spec pool_started(beamline_runtime:pool(), vm | os_process) -> ok.
pool_started(Pool, Isolation) -> ?LOG_INFO(#{event => pool_started, pool => Pool, isolation => Isolation}, ?META).

-spec pool_stopped(beamline_runtime:pool(), term()) -> ok.
pool_stopped(Pool, Reason) -> ?LOG_INFO(#{event => pool_stopped, pool => Pool, reason => Reason}, ?META).

-spec host_started(beamline_runtime:pool()) -> ok.
host_started(Pool) -> ?LOG_NOTICE(#{event => host_started, pool => Pool}, ?META).

-spec host_exited(beamline_runtime:pool(), binary()) -> ok.
host_exited(Pool, Why) -> ?LOG_WARNING(#{event => host_exited, pool => Pool, why => Why}, ?META).

-spec host_not_started(beamline_runtime:pool(), term()) -> ok.
host_not_started(Pool, Reason) -> ?LOG_ERROR(#{event => host_not_started, pool => Pool, reason => Reason}, ?META).

%% From the caller's process, and only there where it is refused.
-spec refused(beamline_runtime:pool(), beamline_runtime:reason()) -> ok.
refused(Pool, {busy, _} = Reason) -> once_a_second(Pool, Reason);
refused(Pool, {limit, _} = Reason) -> once_a_second(Pool, Reason);
refused(_Pool, _Reason) -> ok.

once_a_second(Pool, Reason) ->
    case beamline_runtime_pool:first_of_second(Pool) of
        true -> ?LOG_WARNING(#{event => refused, pool => Pool, reason => Reason}, ?META);
        false -> ok
    end.
