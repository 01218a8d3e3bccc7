# SPDX-License-Identifier: Apache-2.0
"""Vesin on rattled copper: a line in, pairs/s out, each in both directions, the best of several times. Words are parted
by tabs: CELLS CUTOFF, or version
"""
import sys
import time
from importlib.metadata import version

import numpy as np
from vesin import NeighborList

A = 3.615
BASIS = A * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def rate(cells, cutoff):
    cells, best = int(cells), 0
    grid = A * np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    points = (grid + BASIS).reshape(-1, 3) + 0.2 * (np.random.default_rng(1).random((4 * cells**3, 3)) - 0.5)
    finder = NeighborList(cutoff=float(cutoff), full_list=True)
    for _ in range(3):
        start = time.perf_counter()
        (i, *_) = finder.compute(points=points, box=A * cells * np.eye(3), periodic=True, quantities="ijSD", copy=False)
        best = max(best, len(i) / (time.perf_counter() - start))
    return round(best)


for line in sys.stdin:
    words = line.rstrip("\n").split("\t")
    print(version("vesin") if words == ["version"] else rate(*words), flush=True)
