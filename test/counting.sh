# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by what runs tests: test/run, .ci/check, test/build/*_test.sh. Results are counted in
# $counts, a file of lines "passed failed skipped", so that subshells may count too.

start_counting() { # file
    counts=$1
    mkdir -p "$(dirname "$counts")" && : >"$counts"
}

count() { echo "$1 $2 $3" >>"$counts"; }

passed() { # what
    [ -z "${VERBOSE:-}" ] || echo "  passed: $1"
    count 1 0 0
}

failed() { # what [log]
    echo "FAILED: $1"
    [ -z "${2:-}" ] || tail -n 40 "$2" | sed 's/^/    /'
    count 0 1 0
}

skipped() { # what why
    echo "skipped: $1: $2"
    count 0 0 1
}

# Passed if the command succeeds; else it failed, and what it said is shown.
check() { # what command...
    what=$1
    shift
    log_of_check=$counts.log
    if "$@" </dev/null >"$log_of_check" 2>&1; then passed "$what"; else failed "$what" "$log_of_check"; fi
}

# Adds what a program said on its closing line. A program that ended badly without counting a
# failure (a crash, a sanitizer's report) is a failure of its own, and so is one that says nothing.
count_program() { # what exit_code log
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$3" | tail -n 1)
    if [ -z "$line" ]; then
        failed "$1: ended with $2 and no closing line"
        return
    fi
    echo "$line" | tr -d ',' | while read -r p _ f _ s _; do
        count "$p" "$f" "$s"
        if [ $((p + f + s)) = 0 ]; then
            failed "$1: found no test"
        elif [ "$2" != 0 ] && [ "$f" = 0 ]; then
            failed "$1: exit code $2 though no test failed"
        fi
    done
}

# Runs a program that ends with a closing line; its output goes through.
run_program() { # what command...
    what=$1
    shift
    echo "-- $what"
    # The exit code of the program, not of tee.
    { "$@" </dev/null 2>&1; echo $? >"$counts.code"; } | tee "$counts.log"
    count_program "$what" "$(cat "$counts.code")" "$counts.log"
}

# Prints the sum of all; status 1 if something failed or nothing was found.
closing_line() {
    awk '{ p += $1; f += $2; s += $3 }
         END { if (p + f + s == 0) { print "FAILED: no test was found"; f = 1 }
               printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 }' "$counts"
}
