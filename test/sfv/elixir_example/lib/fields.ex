# SPDX-License-Identifier: Apache-2.0
defmodule Fields do
  @moduledoc "HTTP fields by `:beamline_sfv`: what to accept, how urgent, is the content whole."

  @doc "The languages of an Accept-Language field, the best first."
  def languages(field) do
    with {:ok, members} <- :beamline_sfv.parse_list(field) do
      {:ok,
       members
       |> Enum.map(fn {:item, {:token, language}, params} -> {language, quality(params)} end)
       |> Enum.sort_by(fn {_, quality} -> -quality end)}
    end
  end

  defp quality(params) do
    case List.keyfind(params, "q", 0) do
      {"q", {:decimal, {coefficient, exponent}}} -> coefficient * :math.pow(10, exponent)
      _ -> 1.0
    end
  end

  @doc "A field of a keyword list or map."
  def field(pairs) do
    with {:ok, dictionary} <- :beamline_sfv.to_dictionary(pairs), do: :beamline_sfv.dictionary(dictionary)
  end

  def run do
    {:ok, [{"de", 1.0}, {"en", 0.8}, {"fr", 0.5}]} = languages("en;q=0.8, de, fr;q=0.5")
    {:error, {:syntax, %{offset: 4}}} = languages("de, ")
    {:ok, "max-age=60, name=%\"J%c3%bcrgen\", private"} = field(%{:private => true, "max-age" => 60, "name" => "Jürgen"})
    {:error, {:invalid, %{path: ["name"]}}} = field(%{"name" => {:string, "a\r\nb"}})
    %{urgency: 1, incremental: true} = :beamline_sfv_priority.parse("u=1, i")
    {:ok, digest} = :beamline_sfv_digest.format([:sha256], "content")
    :ok = :beamline_sfv_digest.verify(digest, "content")
    IO.puts("works")
  end
end
