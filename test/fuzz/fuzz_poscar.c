/* SPDX-License-Identifier: Apache-2.0
 *
 * The POSCAR reader: what it accepts must be a structure, must be writable, and must read
 * back as the same structure; nothing may leak, whatever it refuses.
 */
#include "fuzz_structure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const species[] = {"Si", "Ge", "C"};
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_POSCAR});
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_POSCAR, .species = species,
            .species_count = 1 + size % 3});
    return 0;
}
