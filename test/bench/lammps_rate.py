# SPDX-License-Identifier: Apache-2.0
"""Runs a deck beside this file in LAMMPS on one core; prints its rate in atom-steps/s.

    lammps_rate.py lj|sw STEPS
    lammps_rate.py eam|tersoff STEPS STYLE COEFFICIENTS     pair_style, and pair_coeff * * COEFFICIENTS
    lammps_rate.py version

The fastest style that this LAMMPS was built with is asked for: OPT; the INTEL package
where it is there (double precision).
"""
import os
import re
import sys
import tempfile

SI_SW = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"


def start(lammps, log, style):
    return lammps(cmdargs=["-log", log, "-screen", "none"] + style)


def main():
    from lammps import lammps

    here = os.path.dirname(os.path.abspath(__file__))
    what = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        log, sw = os.path.join(folder, "log"), os.path.join(folder, "Si.sw")
        with open(sw, "w") as f:
            f.write(SI_SW)
        probe = lammps(cmdargs=["-log", "none", "-screen", "none"])
        packages = probe.installed_packages
        version = probe.version()
        probe.close()
        if what == "version":
            print(version)
            return
        style = ["-sf", "opt"] if "OPT" in packages else []
        if "INTEL" in packages:
            style = ["-pk", "intel", "0", "mode", "double", "-sf", "intel"]
        run = start(lammps, log, style + ["-var", "steps", sys.argv[2], "-var", "sw", sw, "-var", "style", (sys.argv + ["-"])[3],
                                           "-var", "coefficients", (sys.argv + ["-", "-"])[4]])
        run.file(os.path.join(here, "lammps_%s.in" % what))
        atoms, steps = run.get_natoms(), int(sys.argv[2])
        run.close()
        with open(log) as f:
            seconds = float(re.search(r"Loop time of (\S+)", f.read()).group(1))
        print(round(atoms * steps / seconds))


main()
