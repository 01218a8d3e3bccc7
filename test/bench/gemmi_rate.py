# SPDX-License-Identifier: Apache-2.0
"""Reads a CIF with gemmi; prints the rate in bytes/s. gemmi_rate.py parse|expand FILE SECONDS, or version"""
import sys
import time

import gemmi

if sys.argv[1] == "version":
    print(gemmi.__version__)
    sys.exit(0)

with open(sys.argv[2], encoding="utf-8") as file:
    text = file.read()


def parse():
    gemmi.cif.read_string(text)


def expand():
    for block in gemmi.cif.read_string(text):
        gemmi.make_small_structure_from_block(block).get_all_unit_cell_sites()


work = parse if sys.argv[1] == "parse" else expand
work()
rounds = 0
start = time.perf_counter()
while time.perf_counter() - start < float(sys.argv[3]):
    work()
    rounds += 1
print(round(rounds * len(text) / (time.perf_counter() - start)))
