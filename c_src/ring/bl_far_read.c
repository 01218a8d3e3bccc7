/* SPDX-License-Identifier: Apache-2.0
 *
 * What the process of a device says. None of it is trusted: each record is copied first, then checked, then used; the first
 * that breaks a rule ends the process. test/ring/far_test.c breaks each rule, test/fuzz/fuzz_far.c all of them.
 */
#include <stdio.h>

#include "bl_far.h"

static bool rule(struct bl_far *d, bool kept, const char *broken)
{
    if (!kept) bl_far_break_now(d, broken);
    return kept;
}

/* The result is well-formed whatever came. */
static void read_error(const uint8_t *bytes, struct bl_error *out)
{
    memcpy(out, bytes, sizeof *out);
    if ((unsigned)out->status >= BL_STATUS_COUNT || out->status == BL_OK) out->status = BL_DEVICE_FAILED;
    out->subject[sizeof out->subject - 1] = '\0';
    out->text[sizeof out->text - 1] = '\0';
}

static struct bl_far_actor *find_actor(struct bl_far *d, uint32_t index)
{
    pthread_mutex_lock(&d->lock);
    struct bl_far_actor *a = index < d->actor_room ? d->actor[index] : NULL;
    if (a) bl_far_actor_ref(a);
    pthread_mutex_unlock(&d->lock);
    return a;
}

static struct bl_far_sink *find_sink(const struct bl_far_actor *a, uint32_t id)
{
    for (struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        struct bl_far_sink *s = BL_CONTAINER(l, struct bl_far_sink, link);
        if (s->id == id) return s;
    }
    return NULL;
}

/* With a reference, or NULL. */
static struct bl_far_sink *get_sink(struct bl_far *d, uint32_t index, uint32_t id)
{
    pthread_mutex_lock(&d->lock);
    const struct bl_far_actor *a = index < d->actor_room ? d->actor[index] : NULL;
    struct bl_far_sink *s = a ? find_sink(a, id) : NULL;
    if (s) bl_refs_get(&s->refs);
    pthread_mutex_unlock(&d->lock);
    return s;
}

/* ---- where a body goes ---- */

static bool in_small(struct bl_far *d, struct bl_far_coming *c, size_t size)
{
    c->space = c->small;
    return rule(d, c->head.total == size && size <= sizeof c->small, "a body of the wrong size");
}

static void for_binary(struct bl_far *d, struct bl_far_coming *c)
{
    if (c->head.total <= BL_FAR_INLINE) return; /* it stays in the head */
    c->space = d->host->body_new(&d->quota, c->head.total, &c->owner, &c->err);
}

static void for_state(struct bl_far *d, struct bl_far_coming *c)
{
    c->saved = bl_alloc(&d->quota, sizeof *c->saved + c->head.total, &c->err);
    if (!c->saved) return;
    *c->saved = (struct bl_far_saved){.refs = 1, .from_checkpoint = true, .version = c->head.function, .size = c->head.total,
                                      .stamp = c->head.stamp & INT64_MAX};
    c->space = c->saved->bytes;
}

static bool for_answer(struct bl_far *d, struct bl_far_coming *c)
{
    pthread_mutex_lock(&d->lock);
    const struct bl_far_flight *f = c->flight = bl_far_flight_find(d, c->head.token);
    pthread_mutex_unlock(&d->lock);
    if (!rule(d, f != NULL, "an answer that nobody asked for")) return false;
    if (c->head.status != BL_OK) return in_small(d, c, sizeof(struct bl_error));
    if (f->kind == BL_FLIGHT_CALL) {
        for_binary(d, c);
        return true;
    }
    if (f->head.kind == BL_FAR_STATS) return in_small(d, c, sizeof(struct bl_device_stats));
    if (f->head.kind == BL_FAR_CONTROL && f->head.function == BL_FAR_INFO) return in_small(d, c, sizeof(struct bl_actor_info));
    if (f->head.kind == BL_FAR_CONTROL && f->head.function == BL_CHECKPOINT) {
        for_state(d, c);
        return true;
    }
    return rule(d, c->head.total == 0, "an answer with a body that nobody asked for");
}

static bool for_handler(struct bl_far *d, struct bl_far_coming *c)
{
    const size_t most = sizeof(struct bl_far_handler) + BL_FAR_NAMES_BYTES;
    if (!rule(d, c->head.total > sizeof(struct bl_far_handler) && c->head.total <= most, "a handler of impossible length")) return false;
    c->space = c->block = bl_alloc(NULL, c->head.total, NULL);
    return rule(d, c->block != NULL, "no memory");
}

/* A batch comes without another in between. */
static bool for_result(struct bl_far *d, struct bl_far_coming *c)
{
    if (!rule(d, c->told++ < BL_RESULTS_MOST, "a batch that is too long")) return false;
    struct bl_far_sink *s = get_sink(d, c->head.actor, c->head.function);
    if (s)
        for_binary(d, c);
    else
        bl_fail(&c->err, BL_CLOSED);
    if (s) bl_far_sink_unref(d, s);
    return true;
}

static bool choose_space(struct bl_far *d, struct bl_far_coming *c)
{
    switch (c->head.kind) {
    case BL_FAR_ANSWER: return for_answer(d, c);
    case BL_FAR_HANDLER: return for_handler(d, c);
    case BL_FAR_RESULT: return for_result(d, c);
    case BL_FAR_UNDELIVERED:
    case BL_FAR_FAILED:
    case BL_FAR_DYING: return in_small(d, c, sizeof(struct bl_error));
    case BL_FAR_UP:
    case BL_FAR_ENDED: return rule(d, c->head.total == 0, "a body that does not belong there");
    default: return rule(d, false, "a record of no kind");
    }
}

static void forget(struct bl_far *d, struct bl_far_coming *c)
{
    if (c->owner) d->host->body_free(c->owner);
    bl_far_saved_unref(c->saved);
    bl_free(c->block);
    c->open = false;
    c->owner = NULL;
    c->saved = NULL;
    c->block = c->space = NULL;
    c->err.status = BL_OK;
}

/* ---- what it says ---- */

static struct bl_result result_of(struct bl_far_coming *c)
{
    struct bl_result r = {.size = c->head.total, .stamp = c->head.stamp & INT64_MAX, .owner = c->owner};
    memcpy(r.small, c->head.bytes, sizeof r.small);
    r.data = c->space ? c->space : c->head.bytes;
    c->owner = NULL;
    return r;
}

static void on_stats(struct bl_far *d, const struct bl_far_coming *c)
{
    pthread_mutex_lock(&d->lock);
    memcpy(&d->stats, c->small, sizeof d->stats);
    d->stats_asked = false;
    pthread_mutex_unlock(&d->lock);
}

static bool on_answer(struct bl_far *d, struct bl_far_coming *c)
{
    struct bl_error err;
    if (c->head.status != BL_OK) {
        read_error(c->small, &err);
        bl_far_flight_land(d, c->flight, &err, NULL, 0);
        return true;
    }
    if (c->err.status != BL_OK) {
        err = c->err;
        bl_far_flight_land(d, c->flight, &err, NULL, 0);
        return true;
    }
    struct bl_result r = result_of(c);
    if (c->flight->head.kind == BL_FAR_STATS) on_stats(d, c);
    if (c->saved) {
        struct bl_far_actor *a = c->flight->actor;
        bl_refs_get(&c->saved->refs);
        bl_far_save(a, c->saved);
    }
    bl_far_flight_land(d, c->flight, NULL, &r, c->head.function);
    if (r.owner) d->host->body_free(r.owner);
    return true;
}

static bool on_failed(struct bl_far *d, const struct bl_far_coming *c)
{
    struct bl_far_actor *a = find_actor(d, c->head.actor);
    struct bl_error err;
    if (!a) return true; /* it has ended meanwhile */
    read_error(c->small, &err);
    pthread_mutex_lock(&d->lock);
    const bool news = a->phase < BL_STOPPED;
    if (news) a->phase = BL_FAILED;
    d->failures += news;
    pthread_mutex_unlock(&d->lock);
    if (news) d->host->failed(a, &err);
    bl_far_actor_unref(a);
    return true;
}

static bool on_undelivered(struct bl_far *d, const struct bl_far_coming *c)
{
    struct bl_far_actor *a = find_actor(d, c->head.actor);
    struct bl_error err;
    if (!a) return true;
    read_error(c->small, &err);
    pthread_mutex_lock(&d->lock);
    d->undelivered++;
    pthread_mutex_unlock(&d->lock);
    d->host->undelivered(a, 0, c->head.function, &err);
    bl_far_actor_unref(a);
    return true;
}

/* What was on its way to it comes back all the same. */
static bool on_ended(struct bl_far *d, const struct bl_far_coming *c)
{
    struct bl_far_actor *a = find_actor(d, c->head.actor);
    if (!a) return true;
    pthread_mutex_lock(&d->lock);
    const bool expected = a->phase >= BL_DRAINING;
    pthread_mutex_unlock(&d->lock);
    if (rule(d, expected, "the end of an actor that was not to end")) bl_far_actor_end(a, BL_STOPPED, NULL);
    bl_far_actor_unref(a);
    return expected;
}

static void drop_batch(struct bl_far *d, struct bl_far_coming *c)
{
    c->told = 0;
    for (size_t i = 0; i < c->results; i++)
        if (c->result[i].owner) d->host->body_free(c->result[i].owner);
    c->results = 0;
}

static bool on_result(struct bl_far *d, struct bl_far_coming *c)
{
    if (c->err.status == BL_OK) { /* without memory, or a subscriber, it is lost */
        struct bl_result *r = &c->result[c->results++];
        *r = result_of(c);
        if (!r->owner) r->data = r->small;
    }
    if (!(c->head.flags & BL_FAR_LAST)) return true;
    struct bl_far_sink *s = get_sink(d, c->head.actor, c->head.function);
    if (s && c->results > 0) d->host->batch(s->skin, c->result, c->results);
    if (s) bl_far_sink_unref(d, s);
    drop_batch(d, c);
    return true;
}

static bool on_up(struct bl_far *d)
{
    pthread_mutex_lock(&d->lock);
    const bool wanted = d->state == BL_FAR_STATE_LISTENING;
    if (wanted) {
        d->state = BL_FAR_STATE_UP;
        d->starts++;
        bl_silence_begin(&d->silence, bl_now_ns());
        d->look_ns = 0;
        bl_far_again(d);
        pthread_cond_broadcast(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    return rule(d, wanted, "it came twice");
}

static bool on_dying(struct bl_far *d, const struct bl_far_coming *c)
{
    struct bl_error err;
    read_error(c->small, &err);
    return rule(d, false, err.text[0] ? err.text : bl_status_name(err.status));
}

/* ---- handlers ---- */

static bool is_name(const char *name, size_t size)
{
    const size_t len = strnlen(name, size);
    return len > 0 && len < size && name[0] >= 'a' && name[0] <= 'z' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

/* The next string of so many bytes of text. */
static const char *next_name(const char **text, size_t *left)
{
    const size_t len = strnlen(*text, *left);
    if (len == *left || len >= BL_FAR_NAME) return NULL;
    const char *name = *text;
    *text += len + 1;
    *left -= len + 1;
    return name;
}

static bool read_names(struct bl_far_known *k, const struct bl_far_handler *h, size_t text_size)
{
    const char *text = k->text;
    const char **name = k->names;
    k->handler.summary = next_name(&text, &text_size);
    if (!k->handler.summary || h->functions > BL_FAR_NAMES - BL_RING_PORTS || h->ports > BL_RING_PORTS) return false;
    k->handler.functions = name;
    for (uint32_t i = 0; i < h->functions; i++)
        if (!(*name++ = next_name(&text, &text_size))) return false;
    *name++ = NULL;
    k->handler.ports = name;
    for (uint32_t i = 0; i < h->ports; i++)
        if (!(*name++ = next_name(&text, &text_size))) return false;
    *name = NULL;
    return text_size == 0;
}

/* Where the same row hangs; NULL: it is new. */
static struct bl_far_known **find_known(struct bl_far *d, const struct bl_far_known *k, size_t text_size)
{
    for (struct bl_far_known **at = &d->known; *at; at = &(*at)->next) {
        const struct bl_far_known *old = *at;
        if (strcmp(old->handler.name, k->handler.name) == 0 && old->handler.version == k->handler.version &&
            old->handler.state_size == k->handler.state_size && old->handler.writes == k->handler.writes &&
            old->sandboxed == k->sandboxed &&
            old->text_size == text_size && memcmp(old->text, k->text, text_size) == 0)
            return at;
    }
    return NULL;
}

/* It is the newest from now on. `at`: where it hangs, NULL: nowhere yet. */
static void put_first(struct bl_far *d, struct bl_far_known *k, struct bl_far_known **at)
{
    pthread_mutex_lock(&d->lock);
    if (at) *at = k->next;
    k->next = d->known;
    d->known = k;
    pthread_mutex_unlock(&d->lock);
}

static bool on_handler(struct bl_far *d, const struct bl_far_coming *c)
{
    struct bl_far_handler h;
    memcpy(&h, c->block, sizeof h);
    const size_t text_size = c->head.total - sizeof h, name_size = strnlen(h.name, sizeof h.name) + 1;
    if (!rule(d, is_name(h.name, sizeof h.name), "a handler without a name")) return false;
    struct bl_far_known *k = bl_alloc_zero(NULL, sizeof *k + text_size + name_size, NULL);
    if (!rule(d, k != NULL, "no memory")) return false;
    memcpy(k->text, c->block + sizeof h, text_size);
    memcpy(k->text + text_size, h.name, name_size);
    k->text_size = text_size;
    k->handler.name = k->text + text_size;
    k->handler.version = h.version & INT32_MAX;
    k->handler.writes = h.writes;
    k->handler.state_size = h.state_size;
    k->sandboxed = h.sandboxed != 0;
    bool good = rule(d, read_names(k, &h, text_size), "a handler with wrong names");
    struct bl_far_known **const known = good ? find_known(d, k, text_size) : NULL;
    if (good && !known) {
        d->told_bytes += sizeof *k + text_size + name_size;
        d->told_names += 1 + h.functions + h.ports;
        good = rule(d, d->told_bytes <= BL_FAR_TOLD_BYTES && d->told_names <= BL_FAR_TOLD_NAMES, "too many handlers");
    }
    if (good) put_first(d, known ? *known : k, known);
    if (!good || known) bl_free(k);
    return good;
}

static bool finish(struct bl_far *d, struct bl_far_coming *c)
{
    switch (c->head.kind) {
    case BL_FAR_ANSWER: return on_answer(d, c);
    case BL_FAR_HANDLER: return on_handler(d, c);
    case BL_FAR_RESULT: return on_result(d, c);
    case BL_FAR_UNDELIVERED: return on_undelivered(d, c);
    case BL_FAR_FAILED: return on_failed(d, c);
    case BL_FAR_ENDED: return on_ended(d, c);
    case BL_FAR_UP: return on_up(d);
    default: return on_dying(d, c);
    }
}

/* ---- records ---- */

static bool take(struct bl_far *d, struct bl_far_coming *c, size_t size)
{
    uint8_t *to = c->space ? c->space + c->have : NULL;
    if (!rule(d, bl_lines_take(&d->in, to, size) == BL_LINES_OK, "a record that is not whole")) return false;
    c->have += size;
    if (c->have < c->head.total) return true;
    const bool ok = finish(d, c);
    forget(d, c);
    return ok;
}

static bool begin(struct bl_far *d, struct bl_far_coming *c, const struct bl_far_head *head)
{
    c->head = *head;
    c->open = true;
    c->flight = NULL;
    if (!rule(d, head->total <= BL_FAR_BODY_MOST, "a body of impossible length") || !choose_space(d, c)) return false;
    if (head->total > BL_FAR_INLINE) {
        c->have = 0;
        return take(d, c, bl_far_behind(head));
    }
    if (c->space) memcpy(c->space, head->bytes, head->total);
    c->have = head->total;
    return take(d, c, 0);
}

/* Its main thread cannot answer while another one writes a long body. */
static void is_alive(struct bl_far *d)
{
    pthread_mutex_lock(&d->lock);
    d->silence.ns = 0;
    pthread_mutex_unlock(&d->lock);
}

static bool go_on(struct bl_far *d, struct bl_far_coming *c, const struct bl_far_head *head)
{
    const bool fits = head->kind == BL_FAR_DATA && head->total > 0 && head->total <= BL_LINES_BODY &&
                      head->total <= c->head.total - c->have;
    is_alive(d);
    return rule(d, fits, "no data where they belong") && take(d, c, head->total);
}

bool bl_far_read(struct bl_far *d)
{
    struct bl_far_coming *c = d->coming;
    struct bl_far_head head;
    for (;;) {
        const enum bl_lines_status status = bl_lines_peek(&d->in, &head);
        if (status == BL_LINES_NONE) return true;
        if (!rule(d, status == BL_LINES_OK, "it claims to have written more than there is room for")) return false;
        if (!(c->open ? go_on(d, c, &head) : begin(d, c, &head))) return false;
    }
}

void bl_far_read_end(struct bl_far *d)
{
    forget(d, d->coming);
    drop_batch(d, d->coming);
}
