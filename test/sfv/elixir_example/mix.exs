# SPDX-License-Identifier: Apache-2.0
#
# An Elixir project that reads and writes structured fields. BEAMLINE_PATH is where Beamline's
# sources are; in a project of yours write {:beamline, path: "..."} or a version.
defmodule Fields.MixProject do
  use Mix.Project

  def project do
    [
      app: :fields,
      version: "1.0.0",
      deps: [{:beamline, path: System.get_env("BEAMLINE_PATH", "../../.."), manager: :rebar3}]
    ]
  end

  def application, do: []
end
