%% SPDX-License-Identifier: Apache-2.0
-module(beamline_app_tests).
-include_lib("eunit/include/eunit.hrl").

the_application_starts_and_stops_and_starts_again_test() ->
    ok = beamline_test:start(),
    ok = application:stop(beamline),
    ok = beamline_test:start(),
    ?assert(is_pid(whereis(beamline_sup))),
    ok = application:stop(beamline).

%% A release may leave them out, and a node may have them without Beamline listening.
cowboy_and_jiffy_are_optional_test() ->
    _ = application:load(beamline),
    {ok, Optional} = application:get_key(beamline, optional_applications),
    ?assertEqual([cowboy, jiffy], lists:sort(Optional)).
