#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every built-in handler compiles for GPUs from the same source. Nothing is run: that needs a GPU.
set -u
cd "$(dirname "$0")/../.." || exit 2
. test/counting.sh
start_counting _build/test/counts.kernels

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
fatbin=priv/$(basename "$(ls priv/beamline_kernels-*.fatbin 2>/dev/null)")

has() { grep -aq "$1" "$fatbin"; }

if [ -z "$nvcc" ]; then
    skipped "the handlers compile for GPUs" "nvcc is not installed"
else
    check "the build has made kernels for GPUs" test -s "$fatbin"
    for handler in echo kv triad reduce stencil; do check "$handler is there" has "bl_ring_${handler}_once"; done
    for arch in sm_80 sm_90; do check "there is machine code for $arch" has $arch; done
fi
closing_line
