# SPDX-License-Identifier: Apache-2.0
"""Reads CIF files with gemmi: a line in, bytes/s out. Words are parted by tabs: parse|expand FILE SECONDS, or version"""
import sys
import time

import gemmi


def parse(text):
    gemmi.cif.read_string(text)


def expand(text):
    for block in gemmi.cif.read_string(text):
        gemmi.make_small_structure_from_block(block).get_all_unit_cell_sites()


def rate(what, path, seconds):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    work = parse if what == "parse" else expand
    work(text)
    rounds = 0
    start = time.perf_counter()
    while time.perf_counter() - start < float(seconds):
        work(text)
        rounds += 1
    return round(rounds * len(text) / (time.perf_counter() - start))


for line in sys.stdin:
    words = line.rstrip("\n").split("\t")
    print(gemmi.__version__ if words == ["version"] else rate(*words), flush=True)
