/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings of the space groups by name and number. The table has one setting of each group (and
 * origin choice); the eighteen of a monoclinic and the six of an orthorhombic group follow from
 * it by exchanging axes, their symbols by renaming letters.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bl_symmetry.h"

struct row {
    uint16_t number;
    const char *name, *hall;
};
static const struct row rows[] = {
#define S(number, name, hall) {number, name, hall},
#include "bl_settings.inc"
#undef S
};
enum { ROWS = sizeof rows / sizeof *rows, MONOCLINIC_SETTINGS = 18, ORTHORHOMBIC_SETTINGS = 6, PARTS_MAX = 4 };

/* ---- symbols in parts ----------------------------------------------------------------- */

struct symbol {
    char parts[PARTS_MAX][8];
    int count;
    char suffix; /* '1', '2', 'H', 'R'; 0: none */
};

static struct symbol split(const char *name)
{
    struct symbol s = {.count = 0};
    size_t n = 0;
    for (const char *p = name; *p && *p != ':'; p++) {
        if (*p == ' ') {
            s.count++;
            n = 0;
        } else if (n < 7 && s.count < PARTS_MAX) {
            s.parts[s.count][n++] = *p;
        }
    }
    s.count++;
    const char *colon = strchr(name, ':');
    if (colon) s.suffix = colon[1];
    return s;
}

static void join(const struct symbol *s, char out[40])
{
    size_t n = 0;
    for (int i = 0; i < s->count; i++) n += (size_t)snprintf(out + n, 40 - n, "%s%s", i ? " " : "", s->parts[i]);
    if (s->suffix) snprintf(out + n, 40 - n, ":%c", s->suffix);
}

/* Letters that name a direction follow the axes: `to` is what a, b, c become. */
static void rename_letters(char *part, const char to[3])
{
    for (char *p = part; *p; p++) {
        if (*p >= 'a' && *p <= 'c') *p = to[*p - 'a'];
        else if (*p >= 'A' && *p <= 'C') *p = (char)(to[*p - 'A'] - 32);
    }
}

/* ---- changes of axes --------------------------------------------------------------------- */

/* Orthorhombic: where the new axes a', b', c' come from, and the sign that keeps the hand. */
static const struct {
    int from[3], sign[3];
} permutations[ORTHORHOMBIC_SETTINGS] = {
    {{0, 1, 2}, {1, 1, 1}},  {{1, 0, 2}, {1, 1, -1}}, {{2, 0, 1}, {1, 1, 1}},
    {{2, 1, 0}, {-1, 1, 1}}, {{1, 2, 0}, {1, 1, 1}},  {{0, 2, 1}, {1, -1, 1}},
};

static void orthorhombic(const struct row *row, unsigned k, struct bl_setting *out)
{
    const struct symbol old = split(row->name);
    struct symbol s = old;
    char to[3];
    for (int i = 0; i < 3; i++) {
        to[permutations[k].from[i]] = (char)('a' + i);
        out->axes[permutations[k].from[i]][i] = (int8_t)permutations[k].sign[i];
    }
    rename_letters(s.parts[0], to);
    for (int i = 0; i < 3; i++) {
        memcpy(s.parts[1 + i], old.parts[1 + permutations[k].from[i]], sizeof s.parts[0]);
        rename_letters(s.parts[1 + i], to);
    }
    join(&s, out->name);
}

static void multiply(const int8_t a[3][3], const int8_t b[3][3], int8_t out[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) out[i][j] = (int8_t)(a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j]);
}

/* Monoclinic: three cell choices with b unique, the same with a and c exchanged, and all of them
 * with the axes turned so that c or a is the unique one. What the choice does to the glide plane c
 * and to the centring C stands beside it. */
static const struct {
    int8_t axes[3][3];
    char glide, lattice;
} cell_choices[6] = {
    {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, 'c', 'C'},   {{{-1, 0, 1}, {0, 1, 0}, {-1, 0, 0}}, 'n', 'A'},
    {{{0, 0, -1}, {0, 1, 0}, {1, 0, -1}}, 'a', 'I'}, {{{0, 0, 1}, {0, -1, 0}, {1, 0, 0}}, 'a', 'A'},
    {{{1, 0, -1}, {0, -1, 0}, {0, 0, -1}}, 'n', 'C'}, {{{-1, 0, 0}, {0, -1, 0}, {-1, 0, 1}}, 'c', 'I'},
};

static void monoclinic(const struct row *row, unsigned k, struct bl_setting *out)
{
    static const int8_t turns[3][3][3] = {
        {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, /* b unique */
        {{0, 1, 0}, {0, 0, 1}, {1, 0, 0}}, /* c: a' = c, b' = a, c' = b */
        {{0, 0, 1}, {1, 0, 0}, {0, 1, 0}}, /* a: a' = b, b' = c, c' = a */
    };
    static const char renamed[3][4] = {"abc", "bca", "cab"};
    const unsigned choice = k % 6, unique = k / 6;
    const struct symbol old = split(row->name);
    struct symbol s = old;
    char middle[8];
    memcpy(middle, old.parts[2], sizeof middle);
    char *glide = strchr(middle, 'c');
    if (glide) *glide = cell_choices[choice].glide;
    if (s.parts[0][0] == 'C') s.parts[0][0] = cell_choices[choice].lattice;
    rename_letters(s.parts[0], renamed[unique]);
    rename_letters(middle, renamed[unique]);
    for (int i = 1; i < 4; i++) memcpy(s.parts[i], "1", 2);
    memcpy(s.parts[unique == 0 ? 2 : unique == 1 ? 3 : 1], middle, sizeof middle);
    multiply(cell_choices[choice].axes, turns[unique], out->axes);
    join(&s, out->name);
}

static unsigned settings_of(const struct row *row)
{
    return row->number >= 3 && row->number <= 15 ? MONOCLINIC_SETTINGS : row->number >= 16 && row->number <= 74 ? ORTHORHOMBIC_SETTINGS : 1;
}

static void make_setting(const struct row *row, unsigned k, struct bl_setting *out)
{
    *out = (struct bl_setting){.number = row->number, .hall = row->hall};
    if (row->number >= 16 && row->number <= 74) {
        orthorhombic(row, k, out);
    } else if (row->number >= 3 && row->number <= 15) {
        monoclinic(row, k, out);
    } else {
        snprintf(out->name, sizeof out->name, "%s", row->name);
        for (int i = 0; i < 3; i++) out->axes[i][i] = 1;
    }
}

/* *state counts settings over all rows of the number, as row << 8 | setting, plus 1. */
bool bl_setting_next(unsigned number, unsigned *state, struct bl_setting *out)
{
    unsigned row = *state >> 8, k = *state & 255;
    while (row < ROWS && (rows[row].number != number || k == settings_of(&rows[row]))) {
        row++;
        k = 0;
    }
    if (row == ROWS) return false;
    make_setting(&rows[row], k, out);
    *state = row << 8 | (k + 1);
    return true;
}

enum bl_status bl_setting_symmetry(const struct bl_setting *setting, struct bl_quota *quota, struct bl_symmetry *out, struct bl_error *err)
{
    struct bl_symmetry s;
    const enum bl_status status = bl_symmetry_from_hall(setting->hall, strlen(setting->hall), quota, &s, err);
    if (status != BL_OK) return status;
    bl_symmetry_transform(&s, setting->axes);
    s.number = setting->number;
    snprintf(s.name, sizeof s.name, "%s", setting->name);
    bool standard = true;
    for (int i = 0; i < 3; i++) standard = standard && setting->axes[i][i] == 1;
    if (!standard) s.hall[0] = '\0';
    *out = s;
    return BL_OK;
}

/* ---- names -------------------------------------------------------------------------------- */

enum { NAME_MAX = 32 };
/* A symbol without anything that may be written or not: blanks, underscores, parentheses, case; and the backslashes that
 * fold the lines of a text field (CIF 1.1, common semantic features). */
struct plain {
    char text[NAME_MAX];
    size_t len;
    char suffix;
};

/* FINDSYM's remarks behind a symbol, and the same in braces; from behind the bracket on. */
static char remark(const char *text, size_t len)
{
    static const struct {
        const char *text;
        char suffix;
    } remarks[] = {{"origin choice 1", '1'}, {"origin choice 2", '2'}, {"hexagonal axes", 'H'}, {"rhombohedral axes", 'R'}};
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++) {
        const size_t n = strlen(remarks[i].text);
        if (len >= n && strncasecmp(text, remarks[i].text, n) == 0) return remarks[i].suffix;
    }
    return 0;
}

static bool plain_name(const char *name, size_t len, struct plain *out)
{
    *out = (struct plain){.len = 0};
    for (size_t i = 0; i < len; i++) {
        const char c = name[i];
        if (c == ':') {
            for (i++; i < len; i++)
                if (isalnum((unsigned char)name[i])) out->suffix = (char)toupper((unsigned char)name[i]);
            break;
        }
        if ((c == '(' || c == '{') && (out->suffix = remark(name + i + 1, len - i - 1))) break;
        if (isspace((unsigned char)c) || c == '\\' || c == '_' || c == '(' || c == ')' || c == '*') continue;
        if (out->len == NAME_MAX - 1 || (!isalnum((unsigned char)c) && c != '-' && c != '/')) return false;
        out->text[out->len++] = (char)tolower((unsigned char)c);
    }
    /* "F d -3 m S" and Z: origin choices; "R -3 m H" and R: axes */
    if (out->len > 1 && !out->suffix && (out->text[out->len - 1] == 's' || out->text[out->len - 1] == 'z')) {
        out->suffix = out->text[--out->len] == 's' ? '1' : '2';
    } else if (out->len > 2 && !out->suffix && out->text[0] == 'r' && (out->text[out->len - 1] == 'h' || out->text[out->len - 1] == 'r')) {
        out->suffix = (char)toupper((unsigned char)out->text[--out->len]);
    }
    out->text[out->len] = '\0';
    return out->len > 0;
}

static void remove_all(struct plain *p, const char *what)
{
    const size_t n = strlen(what);
    for (char *at = strstr(p->text, what); at; at = strstr(at, what)) {
        memmove(at, at + n, p->len - (size_t)(at - p->text) - n + 1);
        p->len -= n;
    }
}

/* Ways in which a symbol of the table is also written. */
enum spelling { AS_IT_IS, WITHOUT_ONES, OLD_CUBIC, FULL, SPELLINGS };

static bool spell(const struct bl_setting *s, enum spelling how, struct plain *out)
{
    struct symbol parts = split(s->name);
    if (how == WITHOUT_ONES) { /* P 21/c for P 1 21/c 1 */
        if (s->number < 3 || s->number > 15) return false;
        for (int i = 1; i < 4; i++)
            if (strcmp(parts.parts[i], "1") == 0) parts.parts[i][0] = '\0';
    } else if (how == OLD_CUBIC) { /* P m 3 m for P m -3 m */
        if (s->number < 200 || strcmp(parts.parts[2], "-3") != 0) return false;
        memcpy(parts.parts[2], "3", 2);
    } else if (how == FULL) {
        if (s->number < 16) return false;
    }
    char joined[40];
    parts.suffix = 0;
    join(&parts, joined);
    return plain_name(joined, strlen(joined), out);
}

/* "e" is either glide of a centred cell: A e m 2 for A b m 2, C m c e for C m c a. */
static bool same_letters(const struct bl_setting *s, const struct plain *table, const struct plain *given)
{
    if (table->len != given->len) return false;
    const bool double_glide = s->number == 39 || s->number == 41 || s->number == 64 || s->number == 67 || s->number == 68;
    int differ = 0;
    for (size_t i = 0; i < given->len; i++) {
        if (table->text[i] == given->text[i]) continue;
        if (!double_glide || i == 0 || given->text[i] != 'e' || table->text[i] < 'a' || table->text[i] > 'c') return false;
        differ++;
    }
    return differ <= 1;
}

/* Full symbols write the axis before the plane: "P 21/n 21/m 21/a" is P n m a, "F 4/m -3 2/m" F m -3 m. */
static bool shorten_full(const struct plain *given, struct plain *out)
{
    static const char *const orthorhombic_axes[] = {"21/", "2/"};
    *out = *given;
    for (int i = 0; i < 2; i++) remove_all(out, orthorhombic_axes[i]);
    if (strstr(out->text, "-3")) {
        static const char *const cubic_axes[] = {"41/", "42/", "4/"};
        for (int i = 0; i < 3; i++) remove_all(out, cubic_axes[i]);
    }
    return out->len < given->len && out->len > 1;
}

static bool named(const struct bl_setting *s, const struct plain *given, enum spelling how, const struct plain *shortened)
{
    struct plain table;
    const char suffix = split(s->name).suffix;
    if (given->suffix && suffix && given->suffix != suffix) return false;
    if (how == FULL && !shortened) return false;
    return spell(s, how, &table) && same_letters(s, &table, how == FULL ? shortened : given);
}

/* P 1 and P -1 with any lattice letter. */
static size_t triclinic(const struct plain *given, struct bl_setting *out)
{
    static const char *const halls[2][7] = {{"P 1", "A 1", "B 1", "C 1", "I 1", "F 1", "R 1"},
                                            {"-P 1", "-A 1", "-B 1", "-C 1", "-I 1", "-F 1", "-R 1"}};
    static const char letters[] = "pabcifr";
    const bool inverted = strcmp(given->text + 1, "-1") == 0;
    const char *at = strchr(letters, given->text[0]);
    if (!at || *at == '\0' || (!inverted && strcmp(given->text + 1, "1") != 0)) return 0;
    *out = (struct bl_setting){.number = inverted ? 2 : 1, .hall = halls[inverted][at - letters]};
    snprintf(out->name, sizeof out->name, "%c %s", toupper((unsigned char)given->text[0]), inverted ? "-1" : "1");
    for (int i = 0; i < 3; i++) out->axes[i][i] = 1;
    return 1;
}

size_t bl_settings_named(const char *name, size_t len, struct bl_setting *out, size_t max)
{
    struct plain given, shortened;
    if (!plain_name(name, len, &given)) return 0;
    if (max > 0 && triclinic(&given, out)) return 1;
    const bool is_full = shorten_full(&given, &shortened);
    size_t count = 0;
    for (int how = AS_IT_IS; count == 0 && how < SPELLINGS; how++) {
        for (unsigned r = 0; r < ROWS; r++) {
            for (unsigned k = 0; k < settings_of(&rows[r]); k++) {
                struct bl_setting s;
                if (rows[r].number >= 75 && tolower((unsigned char)rows[r].name[0]) != given.text[0]) continue;
                make_setting(&rows[r], k, &s);
                if (!named(&s, &given, (enum spelling)how, is_full ? &shortened : NULL)) continue;
                if (count < max) out[count] = s;
                count++;
            }
        }
    }
    return count;
}

/* Which part of a monoclinic symbol names its one axis; 0: none does. */
static int axis_part(const struct symbol *s)
{
    int axis = 0;
    for (int i = 1; s->count == PARTS_MAX && i < PARTS_MAX; i++)
        if (strcmp(s->parts[i], "1") != 0) axis = i;
    return axis;
}

/* The same symbol for other axes of the cell? */
static bool is_moved(const struct symbol *s, const struct symbol *other)
{
    if (s->suffix == 'H' || s->suffix == 'R') return other->suffix != s->suffix;
    const int axis = axis_part(s), at = axis_part(other);
    return at != axis && strcmp(other->parts[0], s->parts[0]) == 0 && strcmp(other->parts[at], s->parts[axis]) == 0;
}

size_t bl_settings_moved(const struct bl_setting *setting, struct bl_setting out[2])
{
    const struct symbol s = split(setting->name);
    const bool monoclinic = setting->number >= 3 && setting->number <= 15 && axis_part(&s) != 0;
    size_t count = 0;
    unsigned state = 0;
    struct bl_setting other;
    if (!monoclinic && s.suffix != 'H' && s.suffix != 'R') return 0;
    while (count < 2 && bl_setting_next(setting->number, &state, &other)) {
        const struct symbol o = split(other.name);
        if (is_moved(&s, &o) && (count == 0 || strcmp(out[0].name, other.name) != 0)) out[count++] = other;
    }
    return count;
}

static bool number_of(const char *name, size_t len, unsigned *number)
{
    int64_t value;
    if (!bl_token_integer((struct bl_token){name, len}, &value) || value < 1 || value > 230) return false;
    *number = (unsigned)value;
    return true;
}

/* A later origin choice or the first axes: what the tables print first is choice 1. */
static bool standard_setting(unsigned number, struct bl_setting *out)
{
    unsigned state = 0;
    struct bl_setting s;
    bool found = false;
    while (bl_setting_next(number, &state, &s)) {
        const struct symbol symbol = split(s.name);
        bool identity = true;
        for (int i = 0; i < 3; i++) identity = identity && s.axes[i][i] == 1;
        if (identity && (!found || symbol.suffix == '2')) *out = s;
        found = true;
    }
    return found;
}

enum bl_status bl_symmetry_from_name(const char *name, size_t len, struct bl_quota *quota, struct bl_symmetry *out, struct bl_error *err)
{
    struct bl_setting settings[2];
    unsigned number;
    if (number_of(name, len, &number)) {
        standard_setting(number, &settings[0]);
        return bl_setting_symmetry(&settings[0], quota, out, err);
    }
    const size_t found = bl_settings_named(name, len, settings, 2);
    /* Two origins: the second, at a centre of inversion. */
    const struct bl_setting *chosen = &settings[found == 2 && split(settings[1].name).suffix == '2'];
    if (found > 0) return bl_setting_symmetry(chosen, quota, out, err);
    if (bl_symmetry_from_hall(name, len, quota, out, NULL) == BL_OK) return BL_OK;
    return bl_fail_invalid(err, "setting", "\"%.*s\" is no Hermann-Mauguin or Hall symbol of a space group, nor a number from 1 to 230",
            (int)(len < 40 ? len : 40), name);
}
