#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Beamline as a dependency of another rebar3 project: from the package's files alone, once lying
# elsewhere and read-only (_checkouts), once fetched into the project's _build (git).
. "$(dirname "$0")/packaging.sh"

make_project() { # folder dependency
    mkdir -p "$1/src"
    cat >"$1/src/user_app.app.src" <<'END'
{application, user_app,
 [{description, "uses Beamline"}, {vsn, "1.0.0"}, {registered, []}, {applications, [kernel, stdlib, beamline]}]}.
END
    echo "{deps, [$2]}." >"$1/rebar.config"
    [ "$(id -u)" != 0 ] || chown -R nobody "$1"
}

# Fetching by git is not possible "offline".
compile() { (cd "$1" && as_user env -u REBAR_OFFLINE rebar3 compile); }
run_it() { (cd "$1" && as_user erl -noshell -noinput -pa _build/default/*/*/ebin -eval "$use_of_beamline"); }

make_package

# ---- a checkout: the source lies elsewhere ----

project=$work/with_checkout
mkdir -p "$project/_checkouts"
ln -s "$work/package" "$project/_checkouts/beamline"
make_project "$project" beamline

check "a project builds on the package as a checkout" compile "$project"
check "the application starts there and runs a task" run_it "$project"
check "it builds again" compile "$project"
check "and still runs" run_it "$project"
check "nothing was written to the package" package_was_not_written

priv_files_are_there() {
    (cd "$work/package/priv" && find . -type f) | while read -r file; do
        cmp "$work/package/priv/$file" "$project/_build/default/checkouts/beamline/priv/$file" || exit 1
    done
}
check "the package's own priv files are there too" priv_files_are_there

# ---- in folders whose names have blanks ----

blanks="$work/a folder/of the user"
mkdir -p "$blanks/_checkouts"
cp -R "$work/package" "$blanks/_checkouts/beamline"
make_project "$blanks" beamline
check "a project builds in a folder whose name has blanks" compile "$blanks"
check "the application starts there and runs a task (blanks)" run_it "$blanks"

elsewhere="$work/another folder"
mkdir -p "$elsewhere/_checkouts"
ln -s "$work/package" "$elsewhere/_checkouts/beamline"
make_project "$elsewhere" beamline
says_why() { ! compile "$elsewhere" >"$work/said" 2>&1 && grep -q "another folder.*its name has a blank" "$work/said"; }
check "where make cannot build because of a blank the reason is said" says_why

# ---- without what only the service needs ----

mv "$work/deps" "$work/no_deps"
rm -rf "$project"/_build/default/*/*/ebin
check "the project builds without cowboy" compile "$project"
check "the application starts there and runs a task (no cowboy)" run_it "$project"
mv "$work/no_deps" "$work/deps"

# ---- a copy fetched into _build ----

if command -v git >/dev/null; then
    project=$work/with_git
    repository=$work/repository
    cp -R "$work/package" "$repository" && chmod -R u+w "$repository"
    (cd "$repository" && git init -q -b main && git add -A &&
        git -c user.name=t -c user.email=t@localhost commit -qm package) || failed "the git repository for the test"
    [ "$(id -u)" != 0 ] || chown -R nobody "$repository"
    make_project "$project" "{beamline, {git, \"file://$repository\", {branch, \"main\"}}}"

    check "a project builds on the package fetched by git" compile "$project"
    check "the application starts there and runs a task (git)" run_it "$project"
else
    skipped "a project on the package fetched by git" "git is not installed"
fi

# ---- Beamline itself without hex ----

# rebar3 fetches what a lock file names, whatever rebar.config says: rebar.lock.script prevents it.
# MAKE=true leaves the C code alone.
project=$work/with_lock
cp -R "$work/package" "$project" && chmod -R u+w "$project"
cat >"$project/rebar.lock" <<'END'
{"1.2.0",
[{<<"cowboy">>,{pkg,<<"cowboy">>,<<"2.12.0">>},0}]}.
[
{pkg_hash,[
 {<<"cowboy">>, <<"0000000000000000000000000000000000000000000000000000000000000000">>}]},
{pkg_hash_ext,[
 {<<"cowboy">>, <<"0000000000000000000000000000000000000000000000000000000000000000">>}]}
].
END
cp "$project/rebar.lock" "$work/rebar.lock"
[ "$(id -u)" != 0 ] || chown -R nobody "$project"
compile_locked() { (cd "$project" && as_user env BEAMLINE_DEPS=system MAKE=true rebar3 compile); }
check "with BEAMLINE_DEPS=system a lock file makes rebar3 fetch nothing" compile_locked
check "and the lock file is as it was" cmp "$work/rebar.lock" "$project/rebar.lock"

closing_line
