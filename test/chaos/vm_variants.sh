# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by vms_test.sh and run, after counting.sh: faults in VMs that are started otherwise.

chaos_vm() { # flags and modules...
    env BEAMLINE_ROOT="$PWD" BEAMLINE_TEST_LOG="$PWD/_build/test/logs/chaos_vm.log" ERL_CRASH_DUMP=/dev/null \
        erl -noshell -noinput -pa _build/test/lib/*/ebin _build/test/lib/beamline/test "$@"
}

# With one scheduler nobody may hold it; with one dirty one neither.
one_scheduler() { # modules...
    run_program "one scheduler (+S 1)" chaos_vm +S 1:1 -run beamline_eunit main "$@"
}

one_dirty_scheduler() { # modules...
    run_program "one dirty CPU scheduler (+SDcpu 1)" chaos_vm +SDcpu 1:1 -run beamline_eunit main "$@"
}

# The VM sets 1 GiB of addresses aside for literals unless told otherwise.
little_memory() { run_program "few addresses (ulimit -v)" few_addresses; }

few_addresses() (
    ulimit -v 3000000
    chaos_vm +MIscs 64 -run beamline_eunit main beamline_chaos_memory_tests
)
