#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Beamline as a dependency of a mix project, by path, offline, from the package's files alone.
. "$(dirname "$0")/packaging.sh"

if ! command -v mix >/dev/null; then
    skipped "a mix project that depends on Beamline" "mix is not installed (Debian package elixir)"
    closing_line
    exit
fi

project=$work/mix_project
mkdir -p "$project/lib"
cat >"$project/mix.exs" <<END
defmodule UserApp.MixProject do
  use Mix.Project
  def project, do: [app: :user_app, version: "1.0.0", deps: [{:beamline, path: "$work/package", manager: :rebar3}]]
  def application, do: []
end
END
cat >"$project/lib/user_app.ex" <<'END'
defmodule UserApp do
  def go do
    {:ok, %{answer: 42}} = :beamline_runtime.call(:echo, %{answer: 42})
    IO.puts("works")
  end
end
END

# Under mix, rebar3 keeps its own notes below the dependency's folder; where that is read-only,
# REBAR_BASE_DIR names another place.
mix_in_project() {
    (cd "$project" && as_user env MIX_ENV=prod HEX_OFFLINE=1 REBAR_BASE_DIR="$project/_build/rebar3" mix "$@")
}

make_package
check "a mix project builds on the package" mix_in_project compile
check "the application starts there and runs a task" mix_in_project run -e 'UserApp.go()'
check "it builds again" mix_in_project compile --force
check "and still runs" mix_in_project run -e 'UserApp.go()'
check "nothing was written to the package" package_was_not_written
closing_line
