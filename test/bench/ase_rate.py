# SPDX-License-Identifier: Apache-2.0
"""Reads files that bench_crystal made with ASE: a line in, atoms/s out. Words are parted by tabs: FILE FORMAT, or version"""
import sys
import time

import ase
from ase.io import read


def rate(path, form):
    start = time.perf_counter()
    atoms = read(path, format=form)
    return round(len(atoms) / (time.perf_counter() - start))


for line in sys.stdin:
    words = line.rstrip("\n").split("\t")
    print(ase.__version__ if words == ["version"] else rate(*words), flush=True)
