/* SPDX-License-Identifier: Apache-2.0
 *
 * The CIF reader: what it accepts must be a structure that can be written as CIF and read again.
 */
#include "fuzz_structure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct bl_crystal_limits limits = {.max_atoms = 20000, .max_frames = 8, .max_inflated = 1 << 20};
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_CIF, .limits = &limits});
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_CIF, .limits = &limits, .setting = "P 1"});
    return 0;
}
