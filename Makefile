# SPDX-License-Identifier: Apache-2.0
#
# All commands; `make help` lists them. The native build itself is c_src/Makefile, set-up is
# .ci/setup, the stages of `make test` are in test/run.

.NOTPARALLEL:
# rebar3 closes the job server's descriptors.
unexport MAKEFLAGS

export REBAR_COLOR ?= none

SECS ?= 60
PART ?=
ONCE ?=
FILE ?=
SUITE ?=
DIR ?=

# What .ci/setup found: BEAMLINE_DEPS, ERL_LIBS.
env := . _build/setup/env;
need = @command -v $(1) >/dev/null || { echo "skipped: $(1) is not installed"; exit 0; };

##   make                    compile everything that can be compiled here
all: setup-build
	@$(env) rebar3 compile

##   make run                start the service, relax a crystal through it, serve until interrupted
##                           ONCE=1 stop after the job   FILE=path another structure
run: setup-run
	@$(env) rebar3 compile
	@$(env) ONCE='$(ONCE)' FILE='$(FILE)' .ci/main-job

##   make test               all tests; PART=crystal only that part, VERBOSE=1 names each test
test: setup-test
	@$(env) PART='$(PART)' test/run

clean:
	rm -rf _build
	rm -f priv/*.so priv/beamline_host

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

setup-%:
	@.ci/setup $*

.PHONY: all run test clean help
