%% SPDX-License-Identifier: Apache-2.0
%% @private /healthz, /readyz, /metrics, and what is at no known address.
-module(beamline_service_info_h).
-behaviour(cowboy_handler).

-export([init/2, readiness/1]).

-spec init(cowboy_req:req(), map()) -> {ok, cowboy_req:req(), none}.
init(Req, #{view := View} = Config) ->
    try
        View =:= unknown andalso throw({problem, not_found}),
        _ = beamline_service_http:allow([<<"GET">>, <<"HEAD">>], Req),
        {ok, show(View, Req, Config), none}
    catch
        throw:{problem, Reason} -> {ok, beamline_service_http:reply_problem(Reason, View, Req), none}
    end.

show(health, Req, _) -> beamline_service_http:reply_json(200, #{}, #{status => ok}, health, Req);
show(ready, Req, #{name := Name, pool := Pool}) ->
    Checks = readiness(#{name => Name, pool => Pool}),
    case lists:all(fun(Check) -> Check =:= ok end, maps:values(Checks)) of
        true -> beamline_service_http:reply_json(200, #{}, #{status => ready, checks => Checks}, ready, Req);
        false ->
            beamline_service_metrics:request(ready, 503),
            beamline_service_http:reply(503, #{<<"content-type">> => <<"application/json">>, <<"cache-control">> => <<"no-store">>},
                                        beamline_service_json:encode(#{status => not_ready, checks => Checks}), Req)
    end;
show(metrics, Req, _) ->
    Format = beamline_metrics:negotiate(cowboy_req:header(<<"accept">>, Req)),
    beamline_service_metrics:request(metrics, 200),
    beamline_service_http:reply(200, #{<<"content-type">> => beamline_metrics:content_type(Format)}, beamline_metrics:render(Format), Req).

%% What has to be `ok' for work to be taken.
-spec readiness(#{name := atom(), pool := atom()}) -> #{atom() => ok | atom()}.
readiness(#{name := Name, pool := Pool}) ->
    #{accepting => accepting(beamline_service_gate:info(Name)), runtime => runtime(Pool)}.

accepting(#{open := true}) -> ok;
accepting(_) -> stopping.

runtime(Pool) ->
    try {beamline_runtime:info(Pool), lists:member(crystal_relax, beamline_runtime:operations(Pool))} of
        {#{}, true} -> ok;
        {#{}, false} -> no_crystal_operations;
        {{error, _}, _} -> unavailable
    catch
        error:_ -> unavailable
    end.
