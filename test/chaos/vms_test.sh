#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The short form of what test/chaos/run does in other VMs.
set -u
cd "$(dirname "$0")/../.." || exit 2
. test/counting.sh
. test/chaos/vm_variants.sh
[ ! -e _build/setup/env ] || . _build/setup/env

start_counting _build/test/counts.chaos_vms
mkdir -p _build/test/logs
export FAULT=bound
one_scheduler beamline_chaos_tests
one_dirty_scheduler beamline_chaos_tests
little_memory
closing_line
