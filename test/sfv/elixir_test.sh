#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The Elixir example builds on the package's files alone, offline, and runs.
. "$(dirname "$0")/../build/packaging.sh"

if ! command -v mix >/dev/null; then
    skipped "the Elixir example of structured fields" "mix is not installed (Debian package elixir)"
    closing_line
    exit
fi

in_example() {
    (cd "$work/example" && as_user env MIX_ENV=prod HEX_OFFLINE=1 BEAMLINE_PATH="$work/package" \
        REBAR_BASE_DIR="$work/example/_build/rebar3" "$@")
}

cp -R "$root/test/sfv/elixir_example" "$work/example"
rm -rf "$work/example/_build"
make_package
check "the Elixir example builds" in_example mix compile
check "the Elixir example runs" in_example mix run -e 'Fields.run()'
check "nothing was written to the package" package_was_not_written
closing_line
