/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of LAMMPS data files.
 */
#include "fuzz_structure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const species[] = {"Si", "Ge", "C"};
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_LAMMPS});
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_LAMMPS, .species = species,
            .species_count = 1 + size % 3, .atom_style = "atomic"});
    return 0;
}
