# SPDX-License-Identifier: Apache-2.0
"""Pairs/s, each in both directions, of vesin on rattled copper; the best of several times.

    vesin_rate.py CELLS CUTOFF     or     vesin_rate.py version
"""
import sys
import time
from importlib.metadata import version

import numpy as np
from vesin import NeighborList


def main():
    if sys.argv[1] == "version":
        print(version("vesin"))
        return
    cells, cutoff, a = int(sys.argv[1]), float(sys.argv[2]), 3.615
    basis = a * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = a * np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    points = (grid + basis).reshape(-1, 3) + 0.2 * (np.random.default_rng(1).random((4 * cells**3, 3)) - 0.5)
    finder, best = NeighborList(cutoff=cutoff, full_list=True), 0
    for _ in range(5):
        start = time.perf_counter()
        (i, *_) = finder.compute(points=points, box=a * cells * np.eye(3), periodic=True, quantities="ijSD", copy=False)
        best = max(best, len(i) / (time.perf_counter() - start))
    print(round(best))


main()
