#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC3013 # -ef: dash, bash and busybox know it
#
# Called by rebar3 before it compiles Beamline (rebar.config, pre_hooks), in Beamline's folder:
# builds the C code to where this build's output belongs.
#
#   top-level project, or a dependency fetched into _build    into its own priv/
#   a dependency whose source lies elsewhere (_checkouts,     into the application's folder below
#   mix by path, apps/): the source is not written to         the _build of whoever depends on it
set -eu

# rebar3 links the output folder's src to the source: that tells which one is ours.
output_folder() {
    if [ -n "${REBAR_BARE_COMPILER_OUTPUT_DIR:-}" ]; then # mix
        echo "$REBAR_BARE_COMPILER_OUTPUT_DIR"
        return
    fi
    [ . -ef "${REBAR_ROOT_DIR:-.}" ] && { echo .; return; }
    for folder in "$REBAR_DEPS_DIR/beamline" "$REBAR_CHECKOUTS_OUT_DIR/beamline"; do
        [ src -ef "$folder/src" ] && { echo "$folder"; return; }
    done
    echo .
}

# The folder as it is named from c_src: without what the two have in common, whose name may have blanks.
relative() {
    base=$(pwd -P)
    up=..
    while [ "${1#"$base"/}" = "$1" ]; do
        base=${base%/*}
        up=$up/..
    done
    echo "$up/${1#"$base"/}"
}

native="${MAKE:-make} -s -j$(nproc) -C c_src"
out=$(output_folder)
if [ . -ef "$out" ]; then
    exec $native
fi

# rebar3 has linked priv to the source's: make it a folder of its own.
[ -L "$out/priv" ] && rm "$out/priv"
mkdir -p "$out/priv"
for file in priv/*; do
    case $file in
        *.so | *.fatbin | priv/beamline_host | 'priv/*') ;;
        *) cp -R --no-preserve=mode "$file" "$out/priv/" ;; # a read-only copy could not be renewed
    esac
done
out=$(relative "$(cd "$out" && pwd -P)")
case $out in
    *[[:space:]]*)
        echo "beamline: make cannot build in '$out': its name has a blank" >&2
        exit 1
        ;;
esac
exec $native BUILD="$out/c_build" PRIV="$out/priv"
