/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations through their terms: what they answer, that no failed allocation leaks, that
 * no broken argument does harm.
 */
#include "bl_ops.h"
#include "crystal_fixture.h"

static const struct bl_op *op(const char *name)
{
    const struct bl_op_table *table = bl_builtin_operations();
    for (uint32_t i = 0; i < table->count; i++)
        if (strcmp(table->ops[i].name, name) == 0) return &table->ops[i];
    BL_TEST_FAIL("no operation %s", name);
    longjmp(bl_tests.leave, 1);
}

static struct bl_error err;

/* Runs an operation on encoded arguments; the answer is left in `result`. */
static enum bl_status run(const char *name, struct bl_quota *quota, const uint8_t *args, size_t len, struct bl_etf_writer *result)
{
    const uint8_t *copy = bl_test_copy(args, len, 0);
    const struct bl_span span = {.data = copy, .len = len};
    struct bl_reader r;
    struct bl_ctx *ctx = bl_ctx_new(quota);
    bl_reader_init(&r, &span, 1, NULL, quota, &err);
    enum bl_status status = op(name)->run(ctx, &r, &result->base, &err);
    if (status == BL_OK) status = bl_writer_status(&result->base, &err);
    bl_reader_clear(&r);
    bl_ctx_free(ctx);
    bl_test_uncopy(copy, 0);
    return status;
}

/* ---- arguments ------------------------------------------------------------------------- */

static void write_crystal(struct bl_writer *w)
{
    static const double x[24] = {0.1, 0, 0, 0, 2.7, 2.7, 2.7, 0, 2.7, 2.7, 2.7, 0, 1.3, 1.35, 1.35, 1.35, 4, 4, 4, 1.35, 4, 4, 4, 1.35};
    static const uint32_t types[8] = {0};
    bl_write_map(w, 9);
    bl_write_atom(w, "cell");
    bl_write_tuple(w, 3);
    for (int i = 0; i < 3; i++) {
        bl_write_tuple(w, 3);
        for (int c = 0; c < 3; c++)
            if (i == c) bl_write_float(w, 5.431);
            else bl_write_int(w, 0);
        bl_write_end(w);
    }
    bl_write_end(w);
    bl_write_atom(w, "pbc");
    bl_write_tuple(w, 3);
    for (int k = 0; k < 3; k++) bl_write_bool(w, true);
    bl_write_end(w);
    bl_write_atom(w, "species");
    bl_write_list(w, 1);
    bl_write_text(w, "Si");
    bl_write_end(w);
    bl_write_atom(w, "types");
    bl_write_binary(w, types, sizeof types);
    bl_write_atom(w, "positions");
    bl_write_binary(w, x, sizeof x);
    bl_write_atom(w, "fixed");
    bl_write_binary(w, "\7\0\0\0\0\0\0\1", 8);
    bl_write_atom(w, "info");
    bl_write_map(w, 3);
    bl_write_text(w, "a");
    bl_write_list(w, 2);
    bl_write_int(w, 1);
    bl_write_float(w, 2.5);
    bl_write_end(w);
    bl_write_text(w, "b");
    bl_write_text(w, "text");
    bl_write_text(w, "energy");
    bl_write_float(w, -1);
    bl_write_end(w);
    bl_write_atom(w, "columns");
    bl_write_map(w, 1);
    bl_write_text(w, "tag");
    bl_write_map(w, 3);
    bl_write_atom(w, "type");
    bl_write_atom(w, "boolean");
    bl_write_atom(w, "width");
    bl_write_int(w, 1);
    bl_write_atom(w, "data");
    bl_write_binary(w, "\0\1\0\0\0\0\0\1", 8);
    bl_write_end(w);
    bl_write_end(w);
    bl_write_atom(w, "mine"); /* a key the engine does not know */
    bl_write_tuple(w, 2);
    bl_write_int(w, 7);
    bl_write_text(w, "seven");
    bl_write_end(w);
    bl_write_end(w);
}

static void write_silicon(struct bl_writer *w)
{
    bl_write_atom(w, "potential");
    bl_write_map(w, 2);
    bl_write_atom(w, "type");
    bl_write_atom(w, "stillinger_weber");
    bl_write_atom(w, "parameters");
    bl_write_atom(w, "silicon");
    bl_write_end(w);
}

static void write_lj(struct bl_writer *w)
{
    bl_write_atom(w, "potential");
    bl_write_map(w, 3);
    bl_write_atom(w, "type");
    bl_write_atom(w, "lennard_jones");
    bl_write_atom(w, "shift");
    bl_write_bool(w, true);
    bl_write_atom(w, "pairs");
    bl_write_list(w, 1);
    bl_write_map(w, 4);
    bl_write_atom(w, "species");
    bl_write_tuple(w, 2);
    bl_write_text(w, "Si");
    bl_write_text(w, "Si");
    bl_write_end(w);
    bl_write_atom(w, "epsilon");
    bl_write_float(w, 0.1);
    bl_write_atom(w, "sigma");
    bl_write_float(w, 2.1);
    bl_write_atom(w, "cutoff");
    bl_write_int(w, 5);
    bl_write_end(w);
    bl_write_end(w);
    bl_write_end(w);
}

static const char file[] = "Si2\n-40\n0 .5 .5\n.5 0 .5\n.5 .5 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n";

struct sample_call {
    const char *name;
    void (*write)(struct bl_writer *w);
};

static void structure_and(struct bl_writer *w, size_t more, void (*potential)(struct bl_writer *w))
{
    bl_write_map(w, 1 + more + (potential ? 1 : 0));
    bl_write_atom(w, "structure");
    write_crystal(w);
    if (potential) potential(w);
}

static void call_parse(struct bl_writer *w)
{
    bl_write_map(w, 3);
    bl_write_atom(w, "data");
    bl_write_binary(w, file, sizeof file - 1);
    bl_write_atom(w, "format");
    bl_write_atom(w, "auto");
    bl_write_atom(w, "species");
    bl_write_list(w, 1);
    bl_write_text(w, "Si");
    bl_write_end(w);
    bl_write_end(w);
}

static void write_call(struct bl_writer *w, bool compressed)
{
    bl_write_map(w, compressed ? 3 : 2);
    bl_write_atom(w, "structures");
    bl_write_list(w, 2);
    write_crystal(w);
    write_crystal(w);
    bl_write_end(w);
    bl_write_atom(w, "format");
    bl_write_atom(w, "extxyz");
    if (compressed) {
        bl_write_atom(w, "compressed");
        bl_write_bool(w, true);
    }
    bl_write_end(w);
}

static void call_write(struct bl_writer *w) { write_call(w, false); }
static void call_write_packed(struct bl_writer *w) { write_call(w, true); }

static void call_energy(struct bl_writer *w)
{
    structure_and(w, 1, write_lj);
    bl_write_atom(w, "atom_energies");
    bl_write_bool(w, true);
    bl_write_end(w);
}

static void call_neighbours(struct bl_writer *w)
{
    structure_and(w, 1, NULL);
    bl_write_atom(w, "cutoff");
    bl_write_float(w, 3.0);
    bl_write_end(w);
}

static void call_relax(struct bl_writer *w)
{
    structure_and(w, 2, write_silicon);
    bl_write_atom(w, "level");
    bl_write_atom(w, "fast");
    bl_write_atom(w, "max_steps");
    bl_write_int(w, 5);
    bl_write_end(w);
}

static void call_verify(struct bl_writer *w)
{
    structure_and(w, 2, write_silicon);
    bl_write_atom(w, "energy_before");
    bl_write_int(w, 0);
    bl_write_atom(w, "fmax");
    bl_write_float(w, 100);
    bl_write_end(w);
}

static void call_trajectory(struct bl_writer *w)
{
    structure_and(w, 2, write_silicon);
    bl_write_atom(w, "steps");
    bl_write_int(w, 3);
    bl_write_atom(w, "temperature");
    bl_write_int(w, 300);
    bl_write_end(w);
}

static void call_batch(struct bl_writer *w)
{
    bl_write_map(w, 3);
    bl_write_atom(w, "structures");
    bl_write_list(w, 2);
    write_crystal(w);
    write_crystal(w);
    bl_write_end(w);
    write_silicon(w);
    bl_write_atom(w, "max_steps");
    bl_write_int(w, 3);
    bl_write_end(w);
}

static void call_elastic(struct bl_writer *w)
{
    structure_and(w, 2, write_silicon);
    bl_write_atom(w, "strain");
    bl_write_float(w, 1e-4);
    bl_write_atom(w, "max_steps");
    bl_write_int(w, 20);
    bl_write_end(w);
}

static void call_match(struct bl_writer *w)
{
    structure_and(w, 2, NULL);
    bl_write_atom(w, "other");
    write_crystal(w);
    bl_write_atom(w, "tolerance");
    bl_write_float(w, 0.2);
    bl_write_end(w);
}

static void call_expand(struct bl_writer *w)
{
    structure_and(w, 1, NULL);
    bl_write_atom(w, "setting");
    bl_write_list(w, 2);
    bl_write_text(w, "x,y,z");
    bl_write_text(w, "-x+1/3,-y,-z");
    bl_write_end(w);
    bl_write_end(w);
}

static void call_prototype(struct bl_writer *w)
{
    bl_write_map(w, 4);
    bl_write_atom(w, "prototype");
    bl_write_atom(w, "wurtzite");
    bl_write_atom(w, "elements");
    bl_write_list(w, 2);
    bl_write_text(w, "Zn");
    bl_write_text(w, "S");
    bl_write_end(w);
    bl_write_keyed_float(w, "a", 3.8);
    bl_write_keyed_float(w, "u", 0.374);
    bl_write_end(w);
}

static void call_supercell(struct bl_writer *w)
{
    structure_and(w, 1, NULL);
    bl_write_atom(w, "matrix");
    bl_write_tuple(w, 3);
    for (int i = 0; i < 3; i++) {
        bl_write_tuple(w, 3);
        for (int c = 0; c < 3; c++) bl_write_int(w, i == c ? 2 : 0);
        bl_write_end(w);
    }
    bl_write_end(w);
    bl_write_end(w);
}

static void call_symmetry(struct bl_writer *w)
{
    structure_and(w, 0, NULL);
    bl_write_end(w);
}

static void call_cell(struct bl_writer *w)
{
    structure_and(w, 1, NULL);
    bl_write_atom(w, "kind");
    bl_write_atom(w, "niggli");
    bl_write_end(w);
}

/* At least one of each operation. */
static const struct sample_call calls[] = {
    {"crystal_trajectory", call_trajectory},
    {"crystal_relax_batch", call_batch},
    {"crystal_elastic", call_elastic},
    {"crystal_match", call_match},
    {"crystal_expand", call_expand},
    {"crystal_prototype", call_prototype},
    {"crystal_supercell", call_supercell},
    {"crystal_symmetry", call_symmetry},
    {"crystal_cell", call_cell},
    {"crystal_parse", call_parse},
    {"crystal_write", call_write},
    {"crystal_write", call_write_packed},
    {"crystal_energy", call_energy},
    {"crystal_neighbours", call_neighbours},
    {"crystal_relax", call_relax},
    {"crystal_verify", call_verify},
};
enum { CALLS = sizeof calls / sizeof *calls };

static void encode(const struct sample_call *call, struct bl_etf_writer *args)
{
    bl_etf_writer_init(args, NULL, false);
    call->write(&args->base);
    REQUIRE(OK(bl_writer_status(&args->base, &err)));
}

/* ---- tests -------------------------------------------------------------------------------- */

/* spglib may be missing: what needs it is then left out. */
static bool is_here(const struct sample_call *call, struct bl_etf_writer *args)
{
    struct bl_etf_writer result;
    encode(call, args);
    bl_etf_writer_init(&result, NULL, false);
    const enum bl_status status = run(call->name, NULL, args->data, args->len, &result);
    bl_etf_writer_clear(&result);
    if (status != BL_UNSUPPORTED) return true;
    bl_etf_writer_clear(args);
    printf("    %s is left out: no %s here\n", call->name, err.subject);
    return false;
}

TEST(there_is_a_call_of_every_operation)
{
    const struct bl_op_table *table = bl_builtin_operations();
    for (uint32_t i = 0; i < table->count; i++) {
        size_t k = 0;
        while (k < CALLS && strcmp(calls[k].name, table->ops[i].name) != 0) k++;
        CHECK(k < CALLS || strncmp(table->ops[i].name, "crystal_", 8) != 0);
    }
}

TEST(every_operation_answers_one_whole_term)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct bl_etf_writer args, result;
        struct bl_reader r;
        if (!is_here(&calls[i], &args)) continue;
        bl_etf_writer_init(&result, NULL, false);
        REQUIRE(fine(run(calls[i].name, NULL, args.data, args.len, &result), &err));
        const struct bl_span answer = {.data = result.data, .len = result.len};
        bl_reader_init(&r, &answer, 1, NULL, NULL, &err);
        CHECK_INT(bl_read_type(&r), strcmp(calls[i].name, "crystal_write") == 0 ? BL_TERM_BINARY : BL_TERM_MAP);
        CHECK(OK(bl_read_skip(&r)));
        CHECK(OK(bl_read_end(&r)));
        bl_reader_clear(&r);
        bl_etf_writer_clear(&args);
        bl_etf_writer_clear(&result);
    }
}

TEST(every_allocation_of_every_operation_may_fail)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct bl_etf_writer args, result;
        if (!is_here(&calls[i], &args)) continue;
        for (uint64_t n = 1;; n++) {
            struct bl_quota quota;
            bl_quota_init(&quota, NULL, "memory", 0);
            bl_etf_writer_init(&result, &quota, false);
            bl_quota_fail_nth(&quota, n);
            const enum bl_status status = run(calls[i].name, &quota, args.data, args.len, &result);
            const bool all_made = quota.fail_countdown != 0; /* no allocation was the n-th */
            bl_quota_fail_nth(&quota, 0);
            bl_etf_writer_clear(&result);
            CHECK_INT(bl_quota_used(&quota), 0);
            if (status != BL_OK) CHECK_INT(status, BL_NO_MEMORY);
            if (all_made) break;
            REQUIRE(n < 20000);
        }
        bl_etf_writer_clear(&args);
    }
}

/* From nothing to what it needs, in small steps: the answer is the limit, and what was held is given back. */
TEST(every_memory_limit_of_every_operation_is_answered_as_one)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct bl_etf_writer args, result;
        struct bl_quota quota;
        if (!is_here(&calls[i], &args)) continue;
        uint64_t peak = 0;
        for (uint64_t step = 0; step <= 64; step++) {
            bl_quota_init(&quota, NULL, "task_memory", step == 0 ? 0 : 1 + peak * (step - 1) / 64);
            bl_etf_writer_init(&result, &quota, false);
            const enum bl_status status = run(calls[i].name, &quota, args.data, args.len, &result);
            if (step == 0) peak = bl_quota_peak(&quota);
            else if (status != BL_OK) CHECK_INT(status, BL_LIMIT);
            CHECK(step == 0 || bl_quota_peak(&quota) <= 1 + peak * (step - 1) / 64);
            bl_etf_writer_clear(&result);
            CHECK_INT(bl_quota_used(&quota), 0);
        }
        bl_etf_writer_clear(&args);
    }
}

TEST(broken_arguments_are_errors_and_nothing_worse)
{
    uint64_t seed = bl_test_seed();
    for (int round = 0; round < 6000; round++) {
        const struct sample_call *call = &calls[round % CALLS];
        struct bl_etf_writer args, result;
        struct bl_quota quota;
        bl_quota_init(&quota, NULL, "memory", (uint64_t)32 << 20);
        encode(call, &args);
        for (uint64_t flips = 1 + bl_test_random(&seed) % 4; flips > 0; flips--)
            args.data[bl_test_random(&seed) % args.len] = (uint8_t)bl_test_random(&seed);
        if (bl_test_random(&seed) % 4 == 0) args.len = bl_test_random(&seed) % args.len;
        bl_etf_writer_init(&result, &quota, false);
        run(call->name, &quota, args.data, args.len, &result);
        bl_etf_writer_clear(&result);
        CHECK_INT(bl_quota_used(&quota), 0);
        bl_etf_writer_clear(&args);
    }
}

TEST(a_memory_limit_is_answered_as_one)
{
    struct bl_etf_writer args, result;
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "task_memory", 20000);
    encode(&(struct sample_call){"crystal_neighbours", call_neighbours}, &args);
    bl_etf_writer_init(&result, &quota, false);
    CHECK_INT(run("crystal_neighbours", &quota, args.data, args.len, &result), BL_LIMIT);
    CHECK_TEXT(err.subject, "task_memory");
    bl_etf_writer_clear(&result);
    bl_etf_writer_clear(&args);
    CHECK_INT(bl_quota_used(&quota), 0);
}
