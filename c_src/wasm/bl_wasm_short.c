/* SPDX-License-Identifier: Apache-2.0
 *
 * Which functions are short: bounded work that is known before they run. Such a function has no loop, no recursion, no
 * indirect call, calls no import, allocates nothing, and moves no more than a few words at once. Only then it may run
 * on the scheduler's own stack, where it cannot be stopped.
 *
 * The cost of a function is the number of its instructions and of those it calls; an access to memory counts for more,
 * because it may need a fresh page (1 to 12 us). MOST keeps the worst case below a millisecond.
 */
#include "bl_wasm_binary.h"

enum {
    BODY_BYTES = 512, /* longer ones are not looked at */
    MOST = 2000,
    ACCESS = 20, /* so there are at most 100 accesses */
    CALLS_DEEP = 8,
    LOCALS = 256,
    NOT_SHORT = UINT32_MAX,
};

struct analysis {
    const struct bl_wasm_binary *b;
    const struct bl_wasm_bodies *bodies;
    uint32_t *costs; /* 0: not known yet */
};

static uint32_t cost_of(struct analysis *a, uint32_t function, unsigned depth);

static void skip_block_type(struct bl_wasm_cursor *c) { bl_wasm_skip_leb(c); }

/* The address of an access: alignment with a bit for the memory's index, offset. */
static void skip_access(struct bl_wasm_cursor *c)
{
    const uint64_t align = bl_wasm_leb(c, 35);
    if (align & 0x40) bl_wasm_skip_leb(c);
    bl_wasm_skip_leb(c);
}

static void skip_branch_table(struct bl_wasm_cursor *c)
{
    for (uint64_t n = bl_wasm_leb(c, 35); !c->bad; n--) {
        bl_wasm_skip_leb(c);
        if (n == 0) return;
    }
}

static uint32_t vector_cost(struct bl_wasm_cursor *c)
{
    const uint64_t op = bl_wasm_leb(c, 35);
    if (op <= 11 || op == 92 || op == 93) {
        skip_access(c);
        return ACCESS;
    }
    if (op >= 84 && op <= 91) {
        skip_access(c);
        bl_wasm_skip(c, 1);
        return ACCESS;
    }
    if (op == 12 || op == 13)
        bl_wasm_skip(c, 16);
    else if (op >= 21 && op <= 34)
        bl_wasm_skip(c, 1);
    else if (op > 255)
        return NOT_SHORT; /* relaxed ones */
    return 1;
}

/* Of one instruction whose opcode has been read, its operands are skipped. */
static uint32_t instruction_cost(struct analysis *a, struct bl_wasm_cursor *c, uint8_t op, unsigned depth)
{
    if (op == 0x02 || op == 0x04) return skip_block_type(c), 1;        /* block, if; but not loop */
    if (op <= 0x01 || op == 0x05 || op == 0x0b || op == 0x0f) return 1; /* unreachable, nop, else, end, return */
    if (op == 0x0c || op == 0x0d) return bl_wasm_skip_leb(c), 1;       /* br, br_if: forwards, where there is no loop */
    if (op == 0x0e) return skip_branch_table(c), 1;
    if (op == 0x10) return cost_of(a, (uint32_t)bl_wasm_leb(c, 35), depth + 1);
    if (op == 0x1a || op == 0x1b) return 1;                            /* drop, select */
    if (op >= 0x20 && op <= 0x24) return bl_wasm_skip_leb(c), 1;       /* locals and globals */
    if (op >= 0x28 && op <= 0x3e) return skip_access(c), ACCESS;
    if (op == 0x3f || op == 0x41 || op == 0x42) return bl_wasm_skip_leb(c), 1; /* memory.size, constants */
    if (op == 0x43 || op == 0x44) return bl_wasm_skip(c, op == 0x43 ? 4 : 8), 1;
    if (op >= 0x45 && op <= 0xc4) return 1; /* arithmetic */
    if (op == 0xfc) return bl_wasm_leb(c, 35) <= 7 ? 1 : NOT_SHORT; /* saturating conversions; but no bulk operation */
    if (op == 0xfd) return vector_cost(c);
    return NOT_SHORT;
}

static bool few_locals(struct bl_wasm_cursor *c)
{
    uint64_t locals = 0;
    for (uint64_t groups = bl_wasm_leb(c, 35); groups > 0 && !c->bad; groups--) {
        locals += bl_wasm_leb(c, 35);
        if (locals > LOCALS) return false;
        const uint8_t type = bl_wasm_u8(c);
        if (type < 0x7b || type > 0x7f) return false; /* references may keep the collector busy */
    }
    return !c->bad;
}

static uint32_t body_cost(struct analysis *a, const uint8_t *begin, const uint8_t *end, unsigned depth)
{
    struct bl_wasm_cursor c = {begin, begin, end, false};
    bl_wasm_skip_leb(&c); /* its size */
    if (c.bad || end - c.at > BODY_BYTES || !few_locals(&c)) return NOT_SHORT;
    uint32_t sum = 1;
    while (c.at < c.end && !c.bad) {
        const uint8_t op = bl_wasm_u8(&c);
        const uint32_t cost = instruction_cost(a, &c, op, depth);
        if (cost == NOT_SHORT || (sum += cost) > MOST) return NOT_SHORT;
    }
    return c.bad ? NOT_SHORT : sum;
}

static uint32_t cost_of(struct analysis *a, uint32_t function, unsigned depth)
{
    if (function < a->b->imported_functions || depth > CALLS_DEEP) return NOT_SHORT;
    const size_t i = function - a->b->imported_functions;
    if (i >= a->bodies->count) return NOT_SHORT;
    if (a->costs[i] != 0) return a->costs[i];
    a->costs[i] = NOT_SHORT; /* what calls itself finds this */
    return a->costs[i] = body_cost(a, a->bodies->begin[i], a->bodies->begin[i + 1], depth);
}

/* Numbers and vectors only: a reference as argument would need the collector. */
static bool plain(const struct bl_wasm_signature *s)
{
    for (size_t i = 0; i < (size_t)s->params + s->results; i++)
        if (s->types[i].kind > WASMTIME_V128) return false;
    return true;
}

void bl_wasm_mark_short(struct bl_wasm_binary *binary, const struct bl_wasm_bodies *bodies, struct bl_error *err)
{
    struct bl_error ignored;
    struct analysis a = {binary, bodies, bl_alloc_zero(NULL, (bodies->count + 1) * sizeof *a.costs, err ? err : &ignored)};
    if (!a.costs) return; /* then none is known to be short */
    for (size_t i = 0; i < binary->export_count; i++) {
        struct bl_wasm_name *n = &binary->exports[i];
        if (n->kind != WASMTIME_FUNC || !plain(bl_wasm_binary_signature(binary, n->index))) continue;
        n->is_short = cost_of(&a, n->index, 0) != NOT_SHORT;
    }
    bl_free(a.costs);
}
