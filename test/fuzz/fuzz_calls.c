/* SPDX-License-Identifier: Apache-2.0
 *
 * Every crystal operation through its term. An input that begins with 131 is an encoded {Operation, Arguments}; any
 * other makes choices: an operation, keys that some operation takes, values that are nearly sensible. Whatever is asked,
 * the answer is one whole term or an error, comes soon after a cancel, and leaves nothing behind.
 */
#include <pthread.h>
#include <time.h>

#include "bl_fuzz.h"
#include "bl_ops.h"

/* ---- the one who cancels ----------------------------------------------------------------------- */

enum { PATIENCE_MS = 20, SOON_MS = 250 }; /* of processor time, in a build that is several times slower */

static struct {
    pthread_mutex_t lock;
    struct bl_ctx *ctx; /* NULL: nothing runs */
    pthread_t runs;
    uint64_t since_ms, cancelled_at_ms; /* 0: not cancelled */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t milliseconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t spent_ms(void)
{
    clockid_t clock;
    FUZZ_CHECK(pthread_getcpuclockid(watch.runs, &clock) == 0);
    return milliseconds(clock);
}

static void *cancels(void *arg)
{
    (void)arg;
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        pthread_mutex_lock(&watch.lock);
        if (watch.ctx && watch.cancelled_at_ms == 0 && spent_ms() - watch.since_ms >= PATIENCE_MS) {
            bl_ctx_cancel(watch.ctx);
            watch.cancelled_at_ms = spent_ms();
        }
        pthread_mutex_unlock(&watch.lock);
    }
    return NULL;
}

static void watch_begin(struct bl_ctx *ctx)
{
    static bool started;
    pthread_t thread;
    if (!started) FUZZ_CHECK(pthread_create(&thread, NULL, cancels, NULL) == 0);
    started = true;
    pthread_mutex_lock(&watch.lock);
    watch.runs = pthread_self();
    watch.since_ms = spent_ms();
    watch.cancelled_at_ms = 0;
    watch.ctx = ctx;
    pthread_mutex_unlock(&watch.lock);
}

/* spglib's search cannot be interrupted. */
static void watch_end(bool opaque)
{
    pthread_mutex_lock(&watch.lock);
    watch.ctx = NULL;
    FUZZ_CHECK(opaque || watch.cancelled_at_ms == 0 || spent_ms() - watch.cancelled_at_ms < SOON_MS);
    pthread_mutex_unlock(&watch.lock);
}

/* ---- running ----------------------------------------------------------------------------------- */

static const struct bl_op *find(const uint8_t *name, size_t len)
{
    const struct bl_op_table *table = bl_builtin_operations();
    for (uint32_t i = 0; i < table->count; i++)
        if (strlen(table->ops[i].name) == len && memcmp(table->ops[i].name, name, len) == 0) return &table->ops[i];
    return NULL;
}

static void check_answer(const struct bl_etf_writer *w)
{
    const struct bl_span answer = {.data = w->data, .len = w->len};
    struct bl_reader r;
    bl_reader_init(&r, &answer, 1, NULL, NULL, NULL);
    FUZZ_CHECK(bl_read_skip(&r) == BL_OK && bl_read_end(&r) == BL_OK);
    bl_reader_clear(&r);
}

static void run(const struct bl_op *op, struct bl_reader *args, struct bl_quota *quota, struct bl_error *err)
{
    struct bl_ctx *ctx = bl_ctx_new(quota);
    struct bl_etf_writer result;
    FUZZ_CHECK(ctx != NULL);
    bl_etf_writer_init(&result, quota, false);
    watch_begin(ctx);
    enum bl_status status = op->run(ctx, args, &result.base, err);
    watch_end((op->flags & BL_OP_OPAQUE) != 0);
    if (status == BL_OK) status = bl_writer_status(&result.base, err);
    if (status == BL_OK) check_answer(&result);
    else FUZZ_CHECK(err->status == status);
    bl_etf_writer_clear(&result);
    bl_ctx_free(ctx);
}

static void run_encoded(const uint8_t *data, size_t size, struct bl_quota *quota)
{
    const struct bl_span input = {.data = data, .len = size};
    struct bl_reader r;
    struct bl_span name;
    struct bl_error err;
    size_t arity;
    bl_reader_init(&r, &input, 1, NULL, quota, &err);
    if (bl_read_version(&r) == BL_OK && bl_read_tuple(&r, &arity) == BL_OK && arity == 2 && bl_read_atom(&r, &name) == BL_OK) {
        const struct bl_op *op = find(name.data, name.len);
        if (op) run(op, &r, quota, &err);
    }
    bl_reader_clear(&r);
}

/* ---- choices ----------------------------------------------------------------------------------- */

static const double numbers[] = {0, 1, -1, 0.5, 2.5, 3, 1e-3, 1e-9, 1e-300, 5e-324, 100, 1e4, 1e9, 1e16, 1e300, -1e300, 0.1, 5, 8, 20};

static double number(struct bl_fuzz *in) { return numbers[bl_fuzz_byte(in) % (sizeof numbers / sizeof *numbers)]; }

static void put_number(struct bl_writer *w, struct bl_fuzz *in)
{
    const double value = number(in);
    if (bl_fuzz_byte(in) % 2 == 0 && value > -1e18 && value < 1e18) bl_write_int(w, (int64_t)value);
    else bl_write_float(w, value);
}

static void put_choice(struct bl_writer *w, struct bl_fuzz *in, const char *const *names, size_t count)
{
    bl_write_atom(w, names[bl_fuzz_byte(in) % count]);
}
#define PUT_CHOICE(w, in, ...)                                                                                         \
    do {                                                                                                               \
        static const char *const names_[] = {__VA_ARGS__};                                                             \
        put_choice(w, in, names_, sizeof names_ / sizeof *names_);                                                     \
    } while (0)

static const char *const symbols[] = {"Si", "Ar", "Cu", "C", "Ge", "Q", ""};
enum { SYMBOLS = sizeof symbols / sizeof *symbols };

static void put_cell(struct bl_writer *w, struct bl_fuzz *in)
{
    const uint8_t shape = bl_fuzz_byte(in);
    bl_write_tuple(w, 3);
    for (int i = 0; i < 3; i++) {
        bl_write_tuple(w, 3);
        for (int c = 0; c < 3; c++) bl_write_float(w, shape < 128 ? (i == c) * (1 + shape / 16.0) : number(in));
        bl_write_end(w);
    }
    bl_write_end(w);
}

/* Atoms on a rough grid; some of them anywhere, or nowhere. */
static void put_positions(struct bl_writer *w, struct bl_fuzz *in, size_t atoms)
{
    double x[3 * 64];
    for (size_t i = 0; i < 3 * atoms; i++) {
        const uint8_t b = bl_fuzz_byte(in);
        x[i] = 2.4 * (double)(i / 3 >> (i % 3) & 1) + b / 512.0;
        if (b == 255) x[i] = number(in);
        if (b == 254) x[i] = number(in) / 0.0;
    }
    bl_write_binary(w, x, 3 * atoms * sizeof *x);
}

static void put_structure(struct bl_writer *w, struct bl_fuzz *in)
{
    const uint8_t more = bl_fuzz_byte(in);
    const size_t atoms = bl_fuzz_byte(in) % 65, species = 1 + more % 2;
    uint32_t types[64];
    bl_write_map(w, 5 + (more & 2 ? 1 : 0) + (more & 4 ? 1 : 0));
    bl_write_atom(w, "cell");
    put_cell(w, in);
    bl_write_atom(w, "pbc");
    bl_write_tuple(w, 3);
    for (int k = 0; k < 3; k++) bl_write_bool(w, (more >> (5 + k) & 1) == 0);
    bl_write_end(w);
    bl_write_atom(w, "species");
    bl_write_list(w, species);
    for (size_t i = 0; i < species; i++) bl_write_text(w, symbols[(bl_fuzz_byte(in) / 40 + i) % SYMBOLS]);
    bl_write_end(w);
    bl_write_atom(w, "types");
    for (size_t i = 0; i < atoms; i++) types[i] = (uint32_t)(i % species);
    bl_write_binary(w, types, atoms * sizeof *types);
    bl_write_atom(w, "positions");
    put_positions(w, in, atoms);
    if (more & 2) {
        bl_write_atom(w, "fixed");
        bl_write_binary(w, "\7\1\0\0\0\0\0\4", atoms < 8 ? atoms : 8);
    }
    if (more & 4) {
        bl_write_atom(w, "velocities");
        put_positions(w, in, atoms);
    }
    bl_write_end(w);
}

static void put_potential(struct bl_writer *w, struct bl_fuzz *in)
{
    static const char *const keys[] = {"epsilon", "sigma", "cutoff", "depth", "alpha", "r0"};
    const uint8_t type = bl_fuzz_byte(in) % 6;
    if (type >= 4) {
        const size_t first = type == 4 ? 0 : 2;
        bl_write_map(w, 1 + (type == 4 ? 3 : 4));
        bl_write_atom(w, "type");
        bl_write_atom(w, type == 4 ? "lennard_jones" : "morse");
        for (size_t i = first; i < (type == 4 ? 3 : 6); i++) {
            bl_write_atom(w, keys[i]);
            put_number(w, in);
        }
        bl_write_end(w);
        return;
    }
    static const char *const types[] = {"stillinger_weber", "tersoff", "sutton_chen", "morse"};
    static const char *const sets[] = {"silicon", "silicon_carbide_germanium", "sutton_chen", "girifalco_weizer"};
    const uint8_t cutoff = bl_fuzz_byte(in) % 4;
    bl_write_map(w, 2 + (cutoff == 0 ? 1 : 0));
    bl_write_atom(w, "type");
    bl_write_atom(w, types[type]);
    bl_write_atom(w, "parameters");
    bl_write_atom(w, sets[type]);
    if (cutoff == 0) {
        bl_write_atom(w, "cutoff");
        put_number(w, in);
    }
    bl_write_end(w);
}

static void put_numbers(struct bl_writer *w, struct bl_fuzz *in, size_t count)
{
    bl_write_list(w, count);
    for (size_t i = 0; i < count; i++) put_number(w, in);
    bl_write_end(w);
}

static void put_matrix(struct bl_writer *w, struct bl_fuzz *in)
{
    bl_write_tuple(w, 3);
    for (int i = 0; i < 3; i++) {
        bl_write_tuple(w, 3);
        for (int c = 0; c < 3; c++) {
            const uint8_t b = bl_fuzz_byte(in);
            bl_write_int(w, b == 255 ? INT32_MAX : b == 254 ? 200 : b / 80 * (b % 2 ? 1 : -1) + (i == c));
        }
        bl_write_end(w);
    }
    bl_write_end(w);
}

static void put_group(struct bl_writer *w, struct bl_fuzz *in)
{
    static const char *const names[] = {"F m -3 m", "R -3 c:R", "-P 2ac 2ab", "227", "P 1", "Z 9"}, *const ops[] = {"x,y,z", "-x,y+1/2,-z",
            "y,x,z", "x-y,x,z+1/3", "2x,y,z"};
    const uint8_t which = bl_fuzz_byte(in);
    if (which % 8 < 6) {
        bl_write_text(w, names[which % 8]);
        return;
    }
    bl_write_list(w, 1 + which / 64u);
    for (size_t i = 0; i < 1 + which / 64u; i++) bl_write_text(w, ops[bl_fuzz_byte(in) % 5]);
    bl_write_end(w);
}

static void put_elements(struct bl_writer *w, struct bl_fuzz *in)
{
    static const char *const symbols[] = {"Cu", "O", "Ti", ""};
    const size_t count = bl_fuzz_byte(in) % 5;
    bl_write_list(w, count);
    for (size_t i = 0; i < count; i++) bl_write_text(w, symbols[bl_fuzz_byte(in) % 4]);
    bl_write_end(w);
}

/* Text for the readers and what a writer may be told is left to the other targets. */
static const char *const keys[] = {
    "structure", "potential", "other", "structures", "matrix", "setting", "kind", "level", "method", "cell", "stress",
    "fmax", "smax", "pressure", "max_move", "max_steps", "cutoff", "forces", "virial", "atom_energies", "symprec",
    "tolerance", "strain_tolerance", "mirror", "strain", "elastic", "clamped_only", "energy_before",
    "reference_energy", "energy_tolerance", "min_distance", "stability_threshold", "format", "dt", "steps",
    "temperature", "seed", "prototype", "elements", "a", "c", "c_over_a", "u",
};
enum { KEYS = sizeof keys / sizeof *keys };

static void put_value(struct bl_writer *w, struct bl_fuzz *in, const char *key)
{
    static const char *const flags = " forces virial atom_energies mirror elastic clamped_only ";
    if (strcmp(key, "structure") == 0 || strcmp(key, "other") == 0) put_structure(w, in);
    else if (strcmp(key, "potential") == 0) put_potential(w, in);
    else if (strcmp(key, "structures") == 0) {
        const size_t count = bl_fuzz_byte(in) % 4;
        bl_write_list(w, count);
        for (size_t i = 0; i < count; i++) put_structure(w, in);
        bl_write_end(w);
    } else if (strcmp(key, "matrix") == 0) put_matrix(w, in);
    else if (strcmp(key, "setting") == 0) put_group(w, in);
    else if (strcmp(key, "prototype") == 0) PUT_CHOICE(w, in, "fcc", "rutile", "wurtzite", "l1_0", "spinel", "other");
    else if (strcmp(key, "elements") == 0) put_elements(w, in);
    else if (strcmp(key, "kind") == 0) PUT_CHOICE(w, in, "primitive", "conventional", "niggli");
    else if (strcmp(key, "level") == 0) PUT_CHOICE(w, in, "none", "fast", "default", "tight", "search");
    else if (strcmp(key, "method") == 0) PUT_CHOICE(w, in, "auto", "fire", "lbfgs", "cg");
    else if (strcmp(key, "format") == 0) PUT_CHOICE(w, in, "extxyz", "cif", "poscar", "lammps", "auto");
    else if (strcmp(key, "cell") == 0) PUT_CHOICE(w, in, "fixed", "free", "isotropic");
    else if (strcmp(key, "stress") == 0) put_numbers(w, in, 6);
    else if (strstr(flags, key)) bl_write_bool(w, bl_fuzz_byte(in) % 2);
    else put_number(w, in);
}

/* What the operation cannot do without. */
static uint64_t needed(const char *op)
{
    static const struct {
        const char *op, *keys[3];
    } needs[] = {{"crystal_relax_batch", {"structures", "potential"}}, {"crystal_match", {"structure", "other"}},
                 {"crystal_expand", {"structure", "setting"}},         {"crystal_supercell", {"structure", "matrix"}},
                 {"crystal_write", {"structures", "format"}},          {"crystal_neighbours", {"structure", "cutoff"}},
                 {"crystal_prototype", {"prototype", "elements", "a"}},
                 {"crystal_symmetry", {"structure"}},                  {"crystal_cell", {"structure", "kind"}},
                 {"crystal_trajectory", {"structure", "potential", "steps"}}, {"crystal_", {"structure", "potential"}}};
    size_t i = 0;
    while (strncmp(op, needs[i].op, strlen(needs[i].op)) != 0) i++;
    uint64_t set = 0;
    for (size_t n = 0; n < 3 && needs[i].keys[n]; n++)
        for (size_t k = 0; k < KEYS; k++)
            if (strcmp(keys[k], needs[i].keys[n]) == 0) set |= UINT64_C(1) << k;
    return set;
}

static void run_choices(struct bl_fuzz *in, struct bl_quota *quota)
{
    const struct bl_op_table *table = bl_builtin_operations();
    const struct bl_op *op = &table->ops[bl_fuzz_byte(in) % table->count];
    struct bl_etf_writer args;
    struct bl_reader r;
    struct bl_error err;
    if (strncmp(op->name, "crystal_", 8) != 0) return;
    uint64_t set = needed(op->name);
    for (uint8_t more = bl_fuzz_byte(in) % 6; more > 0; more--) set |= UINT64_C(1) << bl_fuzz_byte(in) % KEYS;
    bl_etf_writer_init(&args, NULL, false);
    bl_write_map(&args.base, (size_t)__builtin_popcountll(set));
    for (size_t k = 0; k < KEYS; k++) {
        if ((set >> k & 1) == 0) continue;
        bl_write_atom(&args.base, keys[k]);
        put_value(&args.base, in, keys[k]);
    }
    bl_write_end(&args.base);
    FUZZ_CHECK(bl_writer_status(&args.base, &err) == BL_OK);
    uint8_t *copy = bl_fuzz_copy(args.data, args.len);
    const struct bl_span input = {.data = copy, .len = args.len};
    bl_reader_init(&r, &input, 1, NULL, quota, &err);
    run(op, &r, quota, &err);
    bl_reader_clear(&r);
    free(copy);
    bl_etf_writer_clear(&args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", (uint64_t)64 << 20);
    if (size > 0 && data[0] == 131) {
        uint8_t *copy = bl_fuzz_copy(data, size);
        run_encoded(copy, size, &quota);
        free(copy);
    } else {
        run_choices(&(struct bl_fuzz){data, size}, &quota);
    }
    FUZZ_CHECK(bl_quota_used(&quota) == 0);
    return 0;
}
