/* SPDX-License-Identifier: Apache-2.0
 *
 * The operator algebra and the table of settings, for the files of the crystal part.
 */
#ifndef BL_SYMMETRY_H
#define BL_SYMMETRY_H

#include "bl_crystal.h"

struct bl_symop bl_symop_identity(void);
/* The fraction that a decimal means, in [0, BL_SYMOP_DEN). */
int32_t bl_symop_shift(double value);
int bl_rotation_determinant(const int8_t r[3][3]);
bool bl_symmetry_equal(const struct bl_symmetry *a, const struct bl_symmetry *b); /* as sets */
/* Do the operations keep the shape of a cell (rows), within what measured cells differ by? */
bool bl_symmetry_fits(const double (*cell)[3], const struct bl_symmetry *s);
void bl_symmetry_transform(struct bl_symmetry *s, const int8_t p[3][3]);

/* A setting of the table: a standard one, or one that follows from it by a change of axes. */
struct bl_setting {
    uint16_t number;
    char name[40]; /* with spaces between the parts, and ":1" and the like */
    const char *hall; /* of the standard setting */
    int8_t axes[3][3]; /* columns: the new axes in terms of the standard ones */
};
/* All settings of a number, one after the other: false at the end. Start with *state = 0. */
bool bl_setting_next(unsigned number, unsigned *state, struct bl_setting *out);
/* Operations of a setting. */
enum bl_status bl_setting_symmetry(const struct bl_setting *setting, struct bl_quota *quota, struct bl_symmetry *out,
                                   struct bl_error *err);
/* All settings that a Hermann-Mauguin symbol may mean: those that it names exactly, else those that
 * differ in what it leaves out (unique axis, origin choice). Returns how many there are, fills up to max. */
size_t bl_settings_named(const char *name, size_t len, struct bl_setting *out, size_t max);
/* Of a monoclinic setting: those whose symbol has the same letters for another axis, "I 1 2/c 1" for "I 2/c 1 1"; of a
 * rhombohedral group: the one for the other axes. */
size_t bl_settings_moved(const struct bl_setting *setting, struct bl_setting out[2]);

#endif
