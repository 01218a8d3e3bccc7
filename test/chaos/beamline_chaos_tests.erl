%% SPDX-License-Identifier: Apache-2.0
%%
%% What breaks, and that afterwards all is where it was. In `make test' each of these is small; `make chaos' runs them
%% large, and some in other VMs (test/chaos/run). FAULT=text: only those whose name contains it.
-module(beamline_chaos_tests).
-include_lib("eunit/include/eunit.hrl").

-define(FAULT(Name, Body), Name() -> fault(??Name, fun() -> Body end)).

fault(Name, Body) ->
    case string:find(Name, os:getenv("FAULT", "")) of
        nomatch -> [];
        _ -> {timeout, 600, {Name, fun() -> _ = beamline_chaos:unchanged(Body) end}}
    end.

?FAULT(every_bound_is_hit_by_eight_processes_at_once_test_, beamline_chaos_runtime:quotas()).
?FAULT(every_allocation_of_every_operation_fails_once_test_, beamline_chaos_runtime:allocations(vm)).
?FAULT(every_allocation_of_every_operation_fails_once_in_a_process_test_, beamline_chaos_runtime:allocations(os_process)).
?FAULT(thousands_of_callers_are_killed_test_, beamline_chaos_runtime:owners(vm)).
?FAULT(thousands_of_callers_of_a_process_are_killed_test_, beamline_chaos_runtime:owners(os_process)).
?FAULT(a_pool_ends_in_every_way_with_a_thousand_in_flight_test_, beamline_chaos_runtime:endings(vm)).
?FAULT(a_pool_with_a_process_ends_in_every_way_with_a_thousand_in_flight_test_, beamline_chaos_runtime:endings(os_process)).
?FAULT(submit_cancel_and_close_race_from_eight_processes_test_, beamline_chaos_runtime:race(vm)).
?FAULT(submit_cancel_and_close_race_with_a_process_test_, beamline_chaos_runtime:race(os_process)).
?FAULT(modules_are_loaded_again_and_purged_while_tasks_run_test_, beamline_chaos_runtime:reload()).
?FAULT(a_core_of_another_version_is_refused_test_, beamline_chaos_runtime:versions()).

?FAULT(a_host_is_killed_with_a_thousand_in_flight_test_, beamline_chaos_host:killed()).
?FAULT(a_host_is_stopped_with_a_thousand_in_flight_test_, beamline_chaos_host:stopped()).
?FAULT(a_host_crashes_again_and_again_test_, beamline_chaos_host:crashes()).
?FAULT(a_host_of_another_version_is_refused_test_, beamline_chaos_host:versions()).
?FAULT(names_in_the_answers_of_a_host_do_not_fill_the_atom_table_test_, beamline_chaos_host:atoms(new_atoms)).
?FAULT(names_in_the_errors_of_a_host_do_not_fill_the_atom_table_test_, beamline_chaos_host:atoms(new_atoms_in_errors)).
?FAULT(names_in_the_progress_of_a_host_do_not_fill_the_atom_table_test_, beamline_chaos_host:atoms(flood)).

?FAULT(a_host_answers_a_map_with_what_is_no_result_test_, beamline_chaos_host:results()).
?FAULT(a_host_answers_before_it_has_read_the_argument_test_, beamline_chaos_host:early()).

a_hostile_host_hurts_nobody_test_() ->
    [fault(atom_to_list(M), fun() -> beamline_chaos_host:hostile(M) end) || M <- beamline_chaos_host:misdeeds()].

?FAULT(a_device_with_a_process_is_killed_test_, beamline_chaos_ring:killed()).
?FAULT(a_device_with_a_process_is_stopped_test_, beamline_chaos_ring:stopped()).
?FAULT(a_device_with_a_process_crashes_again_and_again_test_, beamline_chaos_ring:crashes()).
?FAULT(owners_of_devices_with_processes_are_killed_test_, beamline_chaos_ring:owners()).

?FAULT(uploads_break_off_everywhere_test_, beamline_chaos_service:truncated()).
?FAULT(a_hundred_megabytes_of_garbage_are_uploaded_test_, beamline_chaos_service:garbage()).
?FAULT(readers_of_events_do_not_read_test_, beamline_chaos_service:slow_readers()).
?FAULT(a_thousand_connections_test_, beamline_chaos_service:connections()).
