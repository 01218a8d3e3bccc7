# SPDX-License-Identifier: Apache-2.0
#
# All commands; `make help` lists them. The native build itself is c_src/Makefile, set-up is
# .ci/setup, the stages of `make test` are in test/run.

.NOTPARALLEL:
# rebar3 closes the job server's descriptors.
unexport MAKEFLAGS
export REBAR_COLOR ?= none

# A PART, SUITE, ... given to make reaches the scripts as an environment variable.
SECS ?= 60
export SECS PART LINE SUITE DIR FILE ONCE PORT VERBOSE

# What .ci/setup found: BEAMLINE_DEPS, ERL_LIBS.
env := . _build/setup/env &&
# A command that stands for a part of the project; until it exists make says so.
when_there = @if [ -e $(1) ]; then $(env) $(1) $(3); else echo "skipped: $(2)"; echo "0 passed, 0 failed, 1 skipped"; fi

##   make                    compile everything that can be compiled here
all: setup-build
	@$(env) rebar3 compile

##   make run                start the service, relax a real crystal through it, go on serving
##                           ONCE=1: stop after the job   FILE=path: another structure   PORT=n
run: setup-build
	@$(env) rebar3 compile
	@[ -e src/service/beamline_main.erl ] || { echo "skipped: there is no service yet"; exit 0; }; \
	$(env) exec erl +Bd -noinput -pa _build/default/lib/*/ebin -s beamline_main run

##   make test               all tests; ends with: N passed, N failed, N skipped
##                           PART=name: of one part   VERBOSE=1: name each   SEED=n: repeat
test: setup-test
	@$(env) test/run

##   make check              warnings, xref, dialyzer, cppcheck, formatting, dependency rule,
##                           versions, release boot
check: setup-check
	@$(env) .ci/check

##   make test-san           the skins under ASan and UBSan inside a stock VM
test-san: setup-test
	@$(env) test/run_sanitized
##   make test-tsan          the core under ThreadSanitizer, in C programs
test-tsan: setup-build
	@$(env) CONFIG=tsan test/run c_tests
##   make test-bare          make test and make run on a bare Debian 12 (debootstrap, root)
test-bare:
	@test/build/bare_debian

##   make fuzz SECS=n        each libFuzzer target for n seconds; PART=name: one target
fuzz: setup-fuzz
	@$(env) test/fuzz/run
##   make chaos              kill, stop, exhaust, race
chaos: setup-test
	$(call when_there,test/chaos/run,there are no chaos tests yet)
##   make soak               hours of mixed load
soak: setup-test
	$(call when_there,test/chaos/soak,there is no soak yet)
##   make bench              measure beside a floor or a peer; PART=name: of one part
##                           LINE=text: only lines with it in their names
bench: setup-test
	$(call when_there,test/bench/run,there are no benches yet)
##   make conformance        run a public suite: SUITE=sfv|wasm|crystal DIR=path
conformance: setup-test
	$(call when_there,test/conformance/run,there are no conformance suites yet)
##   make gpu-test           the CUDA backend's tests and measurements
gpu-test: setup-test
	$(call when_there,test/ring/gpu_run,there is no GPU backend yet)
##   make peers              install what benches compare with, into _build
peers: setup-build
	$(call when_there,test/bench/peers,there are no peers yet)

##   make doc                the modules' documentation, as HTML in _build/doc
doc: setup-check
	@$(env) rebar3 edoc && echo "_build/doc/index.html"
##   make shell              an Erlang shell with Beamline started
shell: setup-build
	@$(env) rebar3 compile
	@$(env) erl -pa _build/default/lib/*/ebin -eval '{ok, _} = application:ensure_all_started(beamline).'
##   make clean              remove what was built; `make distclean`: and what set-up fetched
clean:
	rm -rf _build/c _build/default _build/test _build/check _build/doc _build/setup/mode _build/setup/not-to-be-had
	rm -f priv/*.so priv/*.fatbin priv/beamline_host
distclean: clean
	rm -rf _build
help:
	@sed -n 's/^##//p' Makefile

setup-%:
	@.ci/setup $*

.PHONY: all run test check test-san test-tsan test-bare fuzz chaos soak bench conformance \
	gpu-test peers doc shell clean distclean help
