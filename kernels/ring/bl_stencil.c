/* SPDX-License-Identifier: Apache-2.0
 *
 * stencil: a tile of a larger grid. Each step every cell becomes the mean of its four neighbours (Jacobi, Laplace). Tiles that
 * are connected by their ports exchange edges as messages and go on when those of the step have come: no barrier, no host.
 * A side without a neighbour has the fixed value 0.
 *
 *     state   0 side, 4 step, 8 last step to do, 12 edge values that have come for this step and the next: u32[2]
 *             24 .. edges [2 parities][4 sides][side], grid [side][side], next [side][side]: doubles
 *
 *     run (0)   <<Steps:32/little>>     that many more steps; replies nothing
 *     read (1)                          the grid, row by row
 *     edge (2)  from a neighbour: struct stencil_edge
 *     set (3)   side * side doubles: the grid. Only while no step is under way
 *     step (4)                          <<Step:32/little>>, how many are done
 *
 * A neighbour is never more than one step ahead, so that the queue holds at most 4 * side messages; one that is shorter than
 * that fails the actor.
 */
#include "beamline/ring_handler.h"

enum { STENCIL_SIDE_MOST = 256, STENCIL_HEAD = 24, STENCIL_VALUES = 2 };
enum { STENCIL_NORTH, STENCIL_SOUTH, STENCIL_EAST, STENCIL_WEST };

struct stencil_head {
    uint32_t side, step, last, come[2], unused;
};

struct stencil_edge {
    uint32_t step;
    uint16_t side, at; /* of the receiver's sides; first value */
    double value[STENCIL_VALUES];
};

BL_RING_INNER double *stencil_edges(struct stencil_head *h, uint32_t step, uint32_t side)
{
    return (double *)(void *)((uint8_t *)h + STENCIL_HEAD) + (uint64_t)(step % 2 * 4 + side) * h->side;
}

BL_RING_INNER double *stencil_grid(struct stencil_head *h)
{
    return (double *)(void *)((uint8_t *)h + STENCIL_HEAD) + (uint64_t)8 * h->side;
}

/* What a cell's neighbour holds, which may be in another tile. */
BL_RING_INNER double stencil_cell(struct stencil_head *h, const double *grid, int64_t row, int64_t column)
{
    const int64_t n = h->side;
    if (row < 0) return stencil_edges(h, h->step, STENCIL_NORTH)[column];
    if (row >= n) return stencil_edges(h, h->step, STENCIL_SOUTH)[column];
    if (column < 0) return stencil_edges(h, h->step, STENCIL_WEST)[row];
    if (column >= n) return stencil_edges(h, h->step, STENCIL_EAST)[row];
    return grid[row * n + column];
}

/* How many edge values a step needs. */
BL_RING_INNER uint32_t stencil_needed(const struct stencil_head *h, const struct bl_ring_outbox *out)
{
    uint32_t sides = 0;
    for (int port = 0; port < 4; port++) sides += out->targets[port] > 0;
    return sides * h->side;
}

/* Sends this step's edges: my north edge lies at the southern side of who is north. */
BL_RING_INNER int32_t stencil_tell(struct stencil_head *h, struct bl_ring_outbox *out)
{
    const uint32_t n = h->side;
    const double *grid = stencil_grid(h);
    for (uint32_t port = 0; port < 4; port++) {
        for (uint32_t at = 0; at < n && out->targets[port] > 0; at += STENCIL_VALUES) {
            struct stencil_edge e;
            e.step = h->step;
            e.side = (uint16_t)(port ^ 1);
            e.at = (uint16_t)at;
            for (uint32_t k = 0; k < STENCIL_VALUES; k++) {
                const uint32_t i = at + k < n ? at + k : n - 1;
                const uint32_t row = port == STENCIL_NORTH ? 0 : port == STENCIL_SOUTH ? n - 1 : i;
                const uint32_t column = port == STENCIL_WEST ? 0 : port == STENCIL_EAST ? n - 1 : i;
                e.value[k] = grid[(uint64_t)row * n + column];
            }
            if (bl_ring_send(out, port, 2, &e, sizeof e) != (int32_t)out->targets[port]) return BL_RING_FAILED;
        }
    }
    return BL_RING_OK;
}

BL_RING_INNER void stencil_step(struct stencil_head *h, uint32_t lane, uint32_t lanes)
{
    const uint64_t n = h->side, cells = n * n;
    double *grid = stencil_grid(h), *next = grid + cells;
    for (uint64_t i = lane; i < cells; i += lanes) {
        const int64_t row = (int64_t)(i / n), column = (int64_t)(i % n);
        next[i] = 0.25 * (stencil_cell(h, grid, row - 1, column) + stencil_cell(h, grid, row + 1, column) +
                          stencil_cell(h, grid, row, column - 1) + stencil_cell(h, grid, row, column + 1));
    }
    bl_ring_sync(lanes);
    for (uint64_t i = lane; i < cells; i += lanes) grid[i] = next[i];
    bl_ring_sync(lanes);
}

/* Steps as far as what has come allows. `out->scratch[0]` tells all lanes what lane 0 has seen. */
BL_RING_INNER int32_t stencil_advance(struct stencil_head *h, struct bl_ring_outbox *out, uint32_t lane, uint32_t lanes)
{
    for (;;) {
        bl_ring_sync(lanes);
        const int ready = h->step != h->last && h->come[h->step % 2] >= stencil_needed(h, out);
        if (!ready) return BL_RING_OK;
        stencil_step(h, lane, lanes);
        if (lane == 0) {
            out->scratch[0] = BL_RING_OK;
            h->come[h->step % 2] = 0;
            h->step++;
            if (h->step != h->last) out->scratch[0] = stencil_tell(h, out);
        }
        bl_ring_sync(lanes);
        if (out->scratch[0] != BL_RING_OK) return BL_RING_FAILED;
        if (bl_ring_stopped(out, lane, lanes)) return BL_RING_STOPPED; /* the next message goes on from here */
    }
}

BL_RING_INNER int32_t stencil_edge_came(struct stencil_head *h, const struct bl_ring_message *message)
{
    struct stencil_edge e;
    if (message->size != sizeof e) return BL_RING_INVALID;
    memcpy(&e, message->data, sizeof e);
    if (e.side > 3 || e.at >= h->side || e.step - h->step > 1) return BL_RING_INVALID;
    const uint32_t left = h->side - e.at, values = left < STENCIL_VALUES ? left : STENCIL_VALUES;
    if (values > 4 * h->side - h->come[e.step % 2]) return BL_RING_INVALID; /* no neighbour sends an edge twice */
    for (uint32_t k = 0; k < values; k++) {
        stencil_edges(h, e.step, e.side)[e.at + k] = e.value[k];
        h->come[e.step % 2]++;
    }
    return BL_RING_OK;
}

BL_RING_INNER int32_t stencil_run(struct stencil_head *h, const struct bl_ring_message *message, struct bl_ring_outbox *out)
{
    uint32_t steps;
    if (message->size != sizeof steps) return BL_RING_INVALID;
    memcpy(&steps, message->data, sizeof steps);
    if (steps > UINT32_MAX / 2 || h->last - h->step + steps > UINT32_MAX / 2) return BL_RING_INVALID;
    const int was_done = h->step == h->last;
    h->last += steps;
    return was_done && steps > 0 ? stencil_tell(h, out) : BL_RING_OK;
}

BL_RING_INNER int32_t stencil_set(struct stencil_head *h, const struct bl_ring_message *message)
{
    const uint64_t bytes = (uint64_t)h->side * h->side * sizeof(double);
    if (message->size != bytes || h->step != h->last) return BL_RING_INVALID;
    memcpy(stencil_grid(h), message->data, (size_t)bytes);
    return BL_RING_OK;
}

BL_RING_HANDLER(bl_ring_stencil)
{
    struct stencil_head *h = (struct stencil_head *)state;
    if (h->side == 0) return BL_RING_INVALID; /* it was started without a state */
    int32_t code = BL_RING_OK;
    uint64_t bytes;
    switch (message->function) {
    case 0:
    case 2:
        if (lane == 0) out->scratch[0] = message->function == 0 ? stencil_run(h, message, out) : stencil_edge_came(h, message);
        bl_ring_sync(lanes);
        code = (int32_t)out->scratch[0];
        return code == BL_RING_OK ? stencil_advance(h, out, lane, lanes) : code;
    case 1:
        bytes = (uint64_t)h->side * h->side * sizeof(double);
        return bl_ring_reply(out, stencil_grid(h), bytes, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
    case 3: return lane == 0 ? stencil_set(h, message) : BL_RING_OK;
    case 4: return bl_ring_reply(out, &h->step, sizeof h->step, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
    default: return BL_RING_UNSUPPORTED;
    }
}

#ifndef __CUDACC__
int32_t bl_ring_stencil_check(const void *state, uint64_t state_size);
int32_t bl_ring_stencil_check(const void *state, uint64_t state_size)
{
    struct stencil_head h;
    memcpy(&h, state, sizeof h);
    const uint64_t n = h.side;
    if (n == 0 || n > STENCIL_SIDE_MOST || h.last - h.step > UINT32_MAX / 2) return BL_RING_INVALID;
    if (h.come[0] > 4 * n || h.come[1] > 4 * n) return BL_RING_INVALID;
    return state_size == STENCIL_HEAD + 8 * (8 * n + 2 * n * n) ? BL_RING_OK : BL_RING_INVALID;
}
#endif
