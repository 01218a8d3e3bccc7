#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A relx release of a project that depends on Beamline boots in embedded mode: complete, and with
# each native library missing or broken in turn. Then a call says what is missing.
. "$(dirname "$0")/packaging.sh"

project=$work/with_release
release=$project/_build/default/rel/user
mkdir -p "$project/_checkouts" "$project/src"
ln -s "$work/package" "$project/_checkouts/beamline"
cat >"$project/src/user_app.app.src" <<'END'
{application, user_app,
 [{description, "uses Beamline"}, {vsn, "1.0.0"}, {registered, []}, {applications, [kernel, stdlib, beamline]}]}.
END
# The check for undefined functions never ends in Debian's rebar3 3.19, whatever is released.
cat >"$project/rebar.config" <<'END'
{deps, [beamline]}.
{relx, [{release, {user, "1.0.0"}, [user_app, sasl]}, {mode, prod}, {include_erts, true},
        {extended_start_script, false}, {check_for_undefined_functions, false}]}.
END

assemble() { (cd "$project" && as_user timeout 300 rebar3 release); }

# Boots, checks that it is embedded, evaluates, ends.
boot() { # expression
    as_user timeout 60 "$release"/erts-*/bin/erl -mode embedded -boot "$release/releases/1.0.0/start" \
        -noshell -noinput -eval "embedded = code:get_mode(), true = lists:keymember(user_app, 1, application:which_applications()), $1"
}

# Which call needs which library is the business of the parts: the answer of one of them says so.
calls_say_so='Answers = [beamline_runtime:call(noop, #{}), beamline_sfv:parse_item(<<"1">>), beamline_wasm:library(),
        beamline_ring:open(#{})],
    io:format("~tp~n", [Answers]),
    case [Why || {error, {unsupported, {nif, Why}}} <- Answers] of [] -> halt(1); _ -> halt(0) end.'

make_package
check "a release is assembled" assemble
ls "$release"/lib/beamline-*/priv/*.so >/dev/null || { failed "it holds native libraries"; closing_line; exit; }
check "it boots in embedded mode and runs a task" boot "$use_of_beamline"

for library in "$release"/lib/beamline-*/priv/*.so; do
    name=$(basename "$library")
    mv "$library" "$work/kept"
    check "without $name it boots and a call says so" boot "$calls_say_so"
    echo "not a library" >"$library"
    check "with a broken $name it boots and a call says so" boot "$calls_say_so"
    mv "$work/kept" "$library"
done
check "with all libraries back it runs a task" boot "$use_of_beamline"
closing_line
