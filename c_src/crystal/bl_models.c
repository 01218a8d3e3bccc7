/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of potentials.
 */
#include "bl_model.h"

static const struct bl_model_class *const classes[] = {&bl_lj_class,          &bl_sw_class,  &bl_morse_class,
                                                      &bl_sutton_chen_class, &bl_eam_class, &bl_tersoff_class};

const struct bl_model_class *bl_model_class_of(enum bl_potential_type type)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (classes[i]->type == type) return classes[i];
    return NULL;
}

enum bl_status bl_species_present(struct bl_quota *quota, const struct bl_structure *s, bool **out, struct bl_error *err)
{
    bool *present = bl_alloc_zero(quota, s->species_count, err);
    if (!present) return bl_alloc_status(err);
    for (size_t i = 0; i < s->atoms; i++) present[s->types[i]] = true;
    *out = present;
    return BL_OK;
}
