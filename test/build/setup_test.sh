#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# .ci/setup where nothing may be installed: one line per missing thing, nothing half done.
set -u
cd "$(dirname "$0")/../.." || exit 2
. test/counting.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
start_counting "$work/counts"

# A copy of the script in a tree of its own, with a PATH of ours.
mkdir -p "$work/tree/.ci" "$work/bin"
cp .ci/setup "$work/tree/.ci/"
real_path=$PATH
for tool in sh sed awk grep tr sort tail head cat cp cmp rm mkdir dirname find id timeout env ls uname readlink erl rebar3 cc; do
    ln -s "$(command -v $tool)" "$work/bin/$tool"
done

setup() { # NAME=value ... level
    (cd "$work/tree" && env -u BEAMLINE_DEPS -u ERL_LIBS PATH="$work/bin" BEAMLINE_INSTALL=no "$@") >"$work/said" 2>&1
}
says() { grep -q "$1" "$work/said" || { cat "$work/said"; return 1; }; }
is_refused() { # level words
    setup BEAMLINE_DEPS=system .ci/setup "$1" && { cat "$work/said"; return 1; }
    says "$2"
}

# ---- something is missing ----

rm "$work/bin/rebar3"
check "without rebar3 set-up says so and stops" is_refused build '^missing: rebar3 (Debian package rebar3)$'
check "and brings nothing else meanwhile" test ! -e "$work/tree/_build/debian"
rm "$work/bin/erl" "$work/bin/cc"
check "each missing thing is a line of its own: rebar3" is_refused build '^missing: rebar3 '
check "each missing thing is a line of its own: erl" says '^missing: erl (Debian package erlang-base)$'
check "each missing thing is a line of its own: cc" says '^missing: cc (Debian package gcc)$'
check "what is missing for another level is not asked for" sh -c "! grep -q proper '$work/said'"
check "the environment of the build was not written" test ! -e "$work/tree/_build/setup/env"
for tool in erl rebar3 cc; do ln -s "$(PATH=$real_path command -v $tool)" "$work/bin/$tool"; done

no_bundle() {
    setup BEAMLINE_DEPS=system .ci/setup build && { cat "$work/said"; return 1; }
    says '^missing: cowboy cowlib ranch gun'
}
check "without apt-get cowboy and friends are said to be missing" no_bundle

# ---- modes ----

forced_hex() {
    setup BEAMLINE_DEPS=hex .ci/setup build && says '^dependencies: hex (forced)$' &&
        grep -q 'BEAMLINE_DEPS=hex' "$work/tree/_build/setup/env"
}
forced_system() {
    setup BEAMLINE_DEPS=system ERL_LIBS="$PWD/_build/debian" .ci/setup build && says '^dependencies: system (forced)$' &&
        grep -q 'BEAMLINE_DEPS=system' "$work/tree/_build/setup/env"
}
other_mode() {
    setup BEAMLINE_DEPS=npm .ci/setup build && return 1
    says 'must be hex or system'
}
check "hex can be forced, and is said" forced_hex
if [ -d _build/debian ]; then
    check "system can be forced, and is said" forced_system
else
    skipped "system can be forced, and is said" "cowboy was not taken from Debian here"
fi
check "another mode is refused" other_mode

detected() {
    setup ERL_LIBS="$PWD/_build/debian" .ci/setup build || true
    read -r mode <"$work/tree/_build/setup/mode"
    case $mode in hex | system) says "^dependencies: $mode\|^missing" ;; *) return 1 ;; esac
}
check "the mode is detected and kept" detected
closing_line
