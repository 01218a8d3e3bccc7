/* SPDX-License-Identifier: Apache-2.0
 *
 * The XYZ and extended XYZ reader, and the detection of formats.
 */
#include "fuzz_structure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_EXTXYZ});
    fuzz_structure_file(data, size, &(struct bl_parse_options){.format = BL_FORMAT_AUTO});
    return 0;
}
