#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The closing line of `make test` says what happened: test/counting.sh, under every way to fail.
set -u
cd "$(dirname "$0")/../.." || exit 2
. test/counting.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
start_counting "$work/counts"

# Runs shell code with counting of its own; its last line and exit code must be as given.
ends_with() { # line code shell
    said=$(sh -uc ". test/counting.sh; start_counting $work/inner; $3; closing_line" 2>&1)
    code=$?
    last=$(echo "$said" | tail -n 1)
    [ "$last" = "$1" ] && [ "$code" = "$2" ] || { echo "$said"; echo "exit code $code, expected $2 and '$1'"; return 1; }
}

check "all that was counted is added up" ends_with "3 passed, 0 failed, 2 skipped" 0 \
    "count 2 0 1; passed x; skipped y z"
check "a failure fails" ends_with "1 passed, 1 failed, 0 skipped" 1 "passed x; failed y"
check "nothing found fails" ends_with "0 passed, 1 failed, 0 skipped" 1 ":"
check "only skipped is no failure" ends_with "0 passed, 0 failed, 1 skipped" 0 "skipped x y"
check "a command that succeeds is passed" ends_with "1 passed, 0 failed, 0 skipped" 0 "check x true"
check "a command that fails is failed" ends_with "0 passed, 1 failed, 0 skipped" 1 "check x false"
check "a program's closing line is taken over" ends_with "4 passed, 0 failed, 1 skipped" 0 \
    "run_program x echo '4 passed, 0 failed, 1 skipped'"
check "a program's failures are taken over" ends_with "4 passed, 2 failed, 0 skipped" 1 \
    "run_program x sh -c 'echo 4 passed, 2 failed, 0 skipped; exit 1'"
check "a program that dies after its closing line failed" ends_with "4 passed, 1 failed, 0 skipped" 1 \
    "run_program x sh -c 'echo 4 passed, 0 failed, 0 skipped; exit 66'"
check "a program without closing line failed" ends_with "0 passed, 1 failed, 0 skipped" 1 "run_program x echo hello"
check "a program that is killed failed" ends_with "0 passed, 1 failed, 0 skipped" 1 "run_program x sh -c 'kill -SEGV \$\$'"
check "a program that finds no test failed" ends_with "0 passed, 1 failed, 0 skipped" 1 \
    "run_program x echo '0 passed, 0 failed, 0 skipped'"
check "what is counted in a pipe counts" ends_with "0 passed, 0 failed, 2 skipped" 0 \
    "printf 'a\nb\n' | while read -r x; do skipped \$x y; done"
closing_line
