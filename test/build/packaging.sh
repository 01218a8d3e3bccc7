# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the packaging tests. Sets up a temporary folder $work with
#   $work/package   exactly the files that a hex package of Beamline would hold, read-only
#   $work/deps      copies of what rebar.config asks for (ERL_LIBS), so that hex is not needed
# and defines as_user, which runs a command that cannot write to the package: root could, so root
# becomes nobody.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/counting.sh"
[ ! -e "$root/_build/setup/env" ] || . "$root/_build/setup/env"
export REBAR_COLOR=none

work=$(mktemp -d "${TMPDIR:-/tmp}/beamline-packaging.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
start_counting "$work/counts"

# The `files` of src/beamline.app.src, without what `exclude_patterns` matches.
package_files() {
    erl -noshell -noinput -eval '
        {ok, [{application, beamline, Keys}]} = file:consult("src/beamline.app.src"),
        [Files, Not] = [proplists:get_value(K, Keys) || K <- [files, exclude_patterns]],
        All = lists:append([[F || F <- filelib:wildcard(P) ++ filelib:wildcard(P ++ "/**"), filelib:is_regular(F)]
                            || P <- Files]),
        [io:put_chars([F, "\n"]) || F <- All, not lists:any(fun(R) -> re:run(F, R) =/= nomatch end, Not)],
        halt().'
}

make_package() {
    mkdir -p "$work/package" "$work/deps" "$work/home"
    (cd "$root" && package_files >"$work/files" && tar -cf - -T "$work/files") | tar -xf - -C "$work/package"
    for folder in $(echo "${ERL_LIBS:-}" | tr : ' '); do cp -R "$folder/." "$work/deps/"; done
    chmod -R a-w,a+rX "$work/package"
    chmod -R a+rX "$work"
    if [ "$(id -u)" = 0 ]; then chown -R nobody "$work"; fi
    package_contents >"$work/contents.before"
}

# Every file with its checksum: a file that was written, added or removed shows.
package_contents() { (cd "$work/package" && find . -type f -exec cksum {} + | sort -k 3; find . ! -type f | sort); }

package_was_not_written() {
    package_contents | diff "$work/contents.before" -
}

as_user() {
    set -- env HOME="$work/home" ERL_LIBS="$work/deps" MIX_REBAR3="$(command -v rebar3)" ERL_CRASH_DUMP=/dev/null "$@"
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
    else
        "$@"
    fi
}

# What a user of the package does, evaluated in his node: prints "works", or what came instead.
use_of_beamline='
    {ok, _} = application:ensure_all_started(beamline),
    case beamline_runtime:call(echo, #{answer => 42}) of
        {ok, #{answer := 42}} -> {ok, {item, 1, []}} = beamline_sfv:parse_item(<<"1">>), io:format("works~n"), halt(0);
        Other -> io:format("call answered ~tp~n", [Other]), halt(1)
    end.'
