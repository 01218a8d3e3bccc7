/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of parameters for triples of elements, .sw and .tersoff (docs.lammps.org, pair_sw, pair_tersoff):
 * three names and then numbers, over any number of lines, comments from '#' on.
 */
#include <math.h>
#include <string.h>

#include "bl_table.h"

enum { SW_NUMBERS = 11, TERSOFF_NUMBERS = 14 };

static enum bl_status read_entry(struct bl_table_reader *r, struct bl_token first, uint32_t element[3], double *numbers, size_t count,
                                 struct bl_error *err)
{
    enum bl_status status = bl_table_name(r, first, &element[0], err);
    for (int i = 1; status == BL_OK && i < 3; i++) {
        const struct bl_token word = bl_table_word(r);
        status = bl_table_name(r, word, &element[i], err);
    }
    for (size_t i = 0; status == BL_OK && i < count; i++) status = bl_table_number(r, &numbers[i], "a parameter", err);
    return status;
}

static bool same_triple(const uint32_t a[3], const uint32_t b[3]) { return a[0] == b[0] && a[1] == b[1] && a[2] == b[2]; }

static enum bl_status add_sw(struct bl_table *t, const uint32_t element[3], const double v[SW_NUMBERS], size_t i, struct bl_error *err)
{
    (void)err;
    t->sw[i] = (struct bl_sw_entry){{element[0], element[1], element[2]}, {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9]}};
    for (size_t k = 0; k < i; k++)
        if (same_triple(t->sw[k].element, element)) return BL_INVALID;
    return BL_OK;
}

static enum bl_status add_tersoff(struct bl_table *t, const uint32_t element[3], const double v[TERSOFF_NUMBERS], size_t i,
                                  struct bl_error *err)
{
    (void)err;
    struct bl_tersoff_entry *x = &t->tersoff[i];
    memcpy(x->element, element, sizeof x->element);
    x->p = (struct bl_tersoff){v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13]};
    for (size_t k = 0; k < i; k++)
        if (same_triple(t->tersoff[k].element, element)) return BL_INVALID;
    return BL_OK;
}

enum bl_status bl_entries_read(struct bl_table_reader *r, struct bl_error *err)
{
    struct bl_table *t = r->out;
    const bool sw = t->format == BL_TABLE_SW;
    size_t capacity = 0;
    for (;;) {
        const struct bl_token first = bl_table_word(r);
        if (first.len == 0) break;
        if (t->entries == BL_TABLE_ENTRIES_MAX) return bl_fail_limit(err, "table_entries", BL_TABLE_ENTRIES_MAX, t->entries + 1);
        if (t->entries == capacity) {
            capacity = capacity ? 2 * capacity : 32;
            void **slot = sw ? (void **)(void *)&t->sw : (void **)(void *)&t->tersoff;
            void *p = bl_realloc(r->quota, *slot, capacity * (sw ? sizeof *t->sw : sizeof *t->tersoff), err);
            if (!p) return bl_alloc_status(err);
            *slot = p;
        }
        uint32_t element[3];
        double numbers[TERSOFF_NUMBERS];
        struct bl_text at = r->text;
        at.p = first.p;
        enum bl_status status = read_entry(r, first, element, numbers, sw ? SW_NUMBERS : TERSOFF_NUMBERS, err);
        if (status != BL_OK) return status;
        status = sw ? add_sw(t, element, numbers, t->entries, err) : add_tersoff(t, element, numbers, t->entries, err);
        if (status != BL_OK) return bl_text_expected(&at, err, "another triple of elements: this one stands twice");
        t->entries++;
    }
    if (t->entries == 0) return bl_text_expected(&r->text, err, "three elements and their parameters");
    return BL_OK;
}
