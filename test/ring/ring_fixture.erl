%% SPDX-License-Identifier: Apache-2.0
%% What the tests of devices share.
-module(ring_fixture).

-export([with_device/2, isolation/0]).

%% Runs with a device, and looks afterwards that nothing is left of it.
with_device(Opts, Fun) ->
    {Before, _} = beamline_ring:devices(),
    {ok, Device} = beamline_ring:open(maps:merge(#{isolation => isolation()}, Opts)),
    {ok, #{number := Number}} = beamline_ring:info(Device),
    try
        Fun(Device)
    after
        ok = beamline_ring:close(Device),
        beamline_test:eventually(fun() ->
            {Open, Devices} = beamline_ring:devices(),
            Open =< Before andalso [] =:= [D || #{number := N} = D <- Devices, N =:= Number]
        end)
    end.

%% beamline_ring_process_tests runs the tests of others with devices in OS processes.
isolation() ->
    case get(ring_isolation) of
        undefined -> vm;
        Isolation -> Isolation
    end.
