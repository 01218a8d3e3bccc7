#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# .ci/check-dependency-rule refuses each kind of violation and lets a good tree pass.
set -u
cd "$(dirname "$0")/../.." || exit 2
root=$PWD
. test/counting.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
start_counting "$tree/counts"

mkdir -p "$tree/good/c_src/core" "$tree/good/c_src/crystal" "$tree/good/c_src/runtime" "$tree/good/c_src/beam" \
    "$tree/good/include/beamline" "$tree/good/src/runtime" "$tree/good/src/crystal" "$tree/good/src/service"
for header in core term op runtime crystal; do echo >"$tree/good/include/beamline/$header.h"; done
cd "$tree/good" || exit 2
printf '#include "beamline/core.h"\n#include "beamline/runtime.h"\n#include "beamline/crystal.h"\n' >include/beamline.h
printf '#include "beamline/op.h"\nint bl_core(void);\n' >c_src/core/bl_core.h
printf '#include "bl_core.h"\nint bl_core(void) { return 0; }\n' >c_src/core/bl_core.c
printf '#include "../core/bl_core.h"\nint bl_run(void);\n' >c_src/runtime/bl_run.h
printf '#include "bl_run.h"\nint bl_run(void) { return bl_core(); }\n' >c_src/runtime/bl_run.c
printf '#include <math.h>\n#include "beamline/crystal.h"\n#include "bl_core.h"\nint bl_relax(void) { return bl_core(); }\n' \
    >c_src/crystal/bl_relax.c
printf '#include <erl_driver.h>\n#include "bl_run.h"\n' >c_src/beam/bl_drv.c
module() { # part name body
    printf -- '-module(%s).\n-export([f/0, g/0]).\nf() -> ok.\ng() -> %s.\n' "$2" "$3" >"src/$1/$2.erl"
}
module runtime beamline_runtime 'beamline_runtime_pool:f()'
module runtime beamline_runtime_pool ok
module crystal beamline_crystal 'beamline_runtime:f()'
module service beamline_service 'beamline_crystal:f()'

compile() {
    mkdir -p _build/c/rel/core _build/c/rel/runtime _build/c/rel/crystal _build/default/lib/beamline/ebin
    for file in core/bl_core runtime/bl_run crystal/bl_relax; do
        "${CC:-cc}" -w -Iinclude -Ic_src/core -c "c_src/$file.c" -o "_build/c/rel/$file.o" || return
    done
    erlc -o _build/default/lib/beamline/ebin src/*/*.erl
}

rule() { "$root/.ci/check-dependency-rule" .; }

# A copy of the good tree with one line too many must be refused, with these words.
refuses() { # what words file line [compile]
    rm -rf "$tree/bad" && cp -R "$tree/good" "$tree/bad" && cd "$tree/bad" || exit 2
    echo "$4" >>"$3"
    [ -z "${5:-}" ] || compile
    if rule >"$tree/said"; then
        failed "$1"
    else
        check "$1" grep -q "$2" "$tree/said"
    fi
}

check "a good tree compiles" compile
check "a good tree passes" rule
refuses "an Erlang header outside c_src/beam" 'bl_relax.c:5.*Erlang header' c_src/crystal/bl_relax.c '#include <erl_nif.h>'
refuses "another part's public header" 'bl_relax.c:5.*another part' c_src/crystal/bl_relax.c '#include "beamline/runtime.h"'
refuses "another part's private header" 'bl_relax.c:5.*another part' c_src/crystal/bl_relax.c '#include "../runtime/bl_run.h"'
refuses "a private header found by -I" 'bl_relax.c:5.*another part' c_src/crystal/bl_relax.c '  #  include "bl_run.h"'
refuses "a part in core" 'bl_core.c:3.*another part' c_src/core/bl_core.c '#include "beamline/crystal.h"'
refuses "a part in a shared header" 'op.h:2.*another part' include/beamline/op.h '#include "beamline/crystal.h"'
refuses "a function declared by hand" 'c_src/crystal: needs bl_run()' c_src/crystal/bl_relax.c \
    'int bl_run(void); int bl_x(void) { return bl_run(); }' compile
refuses "a call of a private module" 'beamline_crystal_x.erl: calls beamline_runtime_pool:f/0' src/crystal/beamline_crystal_x.erl \
    '-module(beamline_crystal_x). -export([f/0]). f() -> beamline_runtime_pool:f().' compile
refuses "a call of the service" 'nothing may use service' src/crystal/beamline_crystal_x.erl \
    '-module(beamline_crystal_x). -export([f/0]). f() -> beamline_service:f().' compile
closing_line
