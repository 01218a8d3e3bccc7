# SPDX-License-Identifier: Apache-2.0
"""Reads a file that bench_crystal made with ASE; prints atoms/s. ase_rate.py FILE FORMAT"""
import sys
import time

from ase.io import read

start = time.perf_counter()
atoms = read(sys.argv[1], format=sys.argv[2])
print(round(len(atoms) / (time.perf_counter() - start)))
