#include "actors/ledger/journal.h"

#include "core/log.h"
#include "proto/env_map.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    LOOK_MS = 500,
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 1000,
    DRAIN_GRACE_MS = 100,  /* rows that others gather for a moment still come */
    DRAIN_ALONE_MS = 2000, /* a ledger that is gone may come back within this */
    DRAIN_LOOK_MS = 20,
    DROPPED_SHOWN_MS = 60000, /* so long after a drop readiness tells of it */
};

/* Rows as they came. */
struct segment {
    struct dyn_list link;
    dyn_block_t *body;
    struct dyn_slice rows; /* in it */
    size_t n_rows;
    size_t bytes;
    uint64_t since_us;
};

struct question {
    struct env_map_node node; /* the id that the ledger knows it by */
    struct env_id id;
    uint32_t attempt;
    uint32_t epoch;
    bus_addr_t asker;
    bus_addr_t ledger;
    uint64_t until_us;
};

struct journal {
    struct journal_options options;
    bus_actor_t *me;
    bus_loop_t *loop;
    bus_addr_t ledgers[JOURNAL_LEDGERS_MAX]; /* the first one is asked */
    size_t n_ledgers;
    uint64_t alone_since_us; /* 0: there is one */

    struct dyn_list segments;
    size_t bytes;
    uint64_t n_rows;
    dyn_block_t *batch; /* made of the first ones; NULL: none */
    size_t batch_segments;
    uint64_t sequence;       /* of the batch */
    struct env_id batch_id;  /* of the REQUEST that has it now */
    bus_addr_t batch_ledger; /* 0: it is not under way */
    uint64_t sent_at_us;     /* the last one; 0: none yet */
    uint64_t retry_ms;
    uint64_t dropped_at_us;

    struct env_map questions;
    struct bus_timer look;
    struct bus_timer retry;
    struct bus_timer pace;
    struct bus_timer drain;
    uint64_t drain_from_us;
    uint64_t drain_until_us;
};

/* ---- what is told of it ---- */

static uint64_t
now(const struct journal *journal)
{
    return bus_loop_now_us(journal->loop);
}

static struct segment *
first(const struct journal *journal)
{
    bool is_empty = dyn_list_is_empty(&journal->segments);
    return is_empty ? NULL : DYN_CONTAINER_OF(journal->segments.next, struct segment, link);
}

static enum ledger_state
state_of(const struct journal *journal)
{
    const struct segment *oldest = first(journal);
    uint64_t now_us = now(journal);
    bool is_behind = oldest != NULL && now_us - oldest->since_us > JOURNAL_BEHIND_MS * UINT64_C(1000);
    bool has_dropped =
        journal->dropped_at_us != 0 && now_us - journal->dropped_at_us < DROPPED_SHOWN_MS * UINT64_C(1000);
    bool is_alone =
        journal->alone_since_us != 0 && now_us - journal->alone_since_us > JOURNAL_BEHIND_MS * UINT64_C(1000);
    return has_dropped ? LEDGER_LOSING
           : is_alone  ? LEDGER_UNREACHABLE
           : is_behind ? LEDGER_BEHIND
                       : LEDGER_OK;
}

static void
show(struct journal *journal)
{
    struct ledger_gauges *gauges = journal->options.gauges;
    enum ledger_state state = state_of(journal);
    atomic_store_explicit(&gauges->pending_bytes, journal->bytes, memory_order_relaxed);
    atomic_store_explicit(&gauges->pending_rows, journal->n_rows, memory_order_relaxed);
    if (atomic_exchange(&gauges->state, (unsigned)state) != (unsigned)state) {
        dyn_log(state == LEDGER_OK ? DYN_LOG_INFO : DYN_LOG_WARN, "ledger.state",
                state == LEDGER_OK ? "the ledger has what it is given" : "rows wait for the ledger",
                DYN_LOG_STR("state", ledger_state_name(state)), DYN_LOG_UINT("rows", journal->n_rows),
                DYN_LOG_UINT("bytes", journal->bytes));
    }
}

/* ---- rows ---- */

static void
segment_free(struct journal *journal, struct segment *segment)
{
    dyn_list_remove(&segment->link);
    journal->bytes -= segment->bytes;
    journal->n_rows -= segment->n_rows;
    dyn_block_unref(&segment->body);
    free(segment);
}

/* The oldest that is not under way. */
static bool
drop_one(struct journal *journal)
{
    struct dyn_list *link = journal->segments.next;
    for (size_t i = 0; i < journal->batch_segments && link != &journal->segments; i++) {
        link = link->next;
    }
    if (link == &journal->segments) {
        return false;
    }
    struct segment *segment = DYN_CONTAINER_OF(link, struct segment, link);
    (void)atomic_fetch_add(&journal->options.gauges->dropped_rows, segment->n_rows);
    journal->dropped_at_us = now(journal);
    dyn_log(DYN_LOG_WARN, "ledger.dropped", "rows are lost: the ledger does not take them",
            DYN_LOG_UINT("rows", segment->n_rows));
    segment_free(journal, segment);
    return true;
}

/* How many of the first segments fit into one, at least one of them; with what they have together. */
static size_t
fitting(const struct journal *journal, size_t *bytes, size_t *n_rows)
{
    size_t n = 0;
    *bytes = *n_rows = 0;
    for (struct dyn_list *link = journal->segments.next; link != &journal->segments; link = link->next, n++) {
        const struct segment *segment = DYN_CONTAINER_OF(link, struct segment, link);
        if (n > 0 && (*bytes + segment->rows.len > JOURNAL_BATCH_BYTES ||
                      *n_rows + segment->n_rows > JOURNAL_BATCH_ROWS)) {
            break;
        }
        *bytes += segment->rows.len;
        *n_rows += segment->n_rows;
    }
    return n;
}

static void
make_batch(struct journal *journal)
{
    struct ledger_message message = {.op = DYN_SLICE("rows"),
                                     .node = dyn_slice_str(journal->options.node),
                                     .sequence = ++journal->sequence};
    size_t bytes;
    journal->batch_segments = fitting(journal, &bytes, &message.n_rows);
    journal->batch = ledger_message_begin(&message, bytes);
    struct dyn_list *link = journal->segments.next;
    for (size_t i = 0; i < journal->batch_segments; i++, link = link->next) {
        const struct segment *segment = DYN_CONTAINER_OF(link, struct segment, link);
        dyn_block_append(&journal->batch, segment->rows.data, segment->rows.len);
    }
}

/* The first row after a while goes at once; while rows are coming, more of them share what a transaction
 * costs. */
static bool
gathers(struct journal *journal)
{
    uint64_t next_us = journal->sent_at_us + JOURNAL_PACE_MS * UINT64_C(1000);
    bool is_full = journal->bytes >= JOURNAL_BATCH_BYTES || journal->n_rows >= JOURNAL_BATCH_ROWS;
    bool is_soon = journal->sent_at_us != 0 && now(journal) < next_us;
    if (!is_soon || is_full || journal->drain_until_us != 0 || journal->batch != NULL) {
        return false;
    }
    if (!bus_timer_is_armed(&journal->pace)) {
        bus_timer_arm(journal->loop, &journal->pace, (next_us - now(journal)) / 1000 + 1);
    }
    return true;
}

/* One batch at a time: the ledger tells what it has by the number of the last one. */
static void
send_rows(struct journal *journal)
{
    bool waits = journal->batch_ledger != 0 || bus_timer_is_armed(&journal->retry) || gathers(journal);
    if (waits || journal->n_ledgers == 0 || dyn_list_is_empty(&journal->segments)) {
        return;
    }
    if (journal->batch == NULL) {
        make_batch(journal);
    }
    struct env *request = env_new(ENV_REQUEST);
    request->surface = ENV_SURFACE_LEDGER;
    request->id = journal->batch_id = env_id_random();
    request->body = dyn_block_ref(journal->batch);
    request->is_own = true; /* made here, of rows that are sound: whoever sent them, they were looked at */
    journal->sent_at_us = now(journal);
    if (bus_send(journal->me, journal->ledgers[0], &request, NULL) == 0) {
        journal->batch_ledger = journal->ledgers[0];
        return;
    }
    env_free(&request);
    bus_timer_arm(journal->loop, &journal->retry, RETRY_MAX_MS);
}

static void
try_again_later(struct journal *journal)
{
    uint64_t next_ms = journal->retry_ms == 0 ? RETRY_MIN_MS : 2 * journal->retry_ms;
    journal->retry_ms = next_ms < RETRY_MAX_MS ? next_ms : RETRY_MAX_MS;
    bus_timer_arm(journal->loop, &journal->retry, journal->retry_ms);
}

static void
on_retry(struct bus_timer *timer)
{
    send_rows(DYN_CONTAINER_OF(timer, struct journal, retry));
}

static void
on_pace(struct bus_timer *timer)
{
    send_rows(DYN_CONTAINER_OF(timer, struct journal, pace));
}

static void
take_acknowledgement(struct journal *journal, const struct env *end)
{
    journal->batch_ledger = 0;
    if (end->outcome != ENV_OUTCOME_OK) {
        try_again_later(journal);
        return;
    }
    journal->retry_ms = 0;
    for (struct segment *done; journal->batch_segments > 0 && (done = first(journal)) != NULL;
         journal->batch_segments--) {
        segment_free(journal, done);
    }
    dyn_block_unref(&journal->batch);
    send_rows(journal);
    show(journal);
}

static void
reply(struct journal *journal, const struct env *request, enum err_code error)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    end->error = error;
    end->status = error == ERR_NONE ? 200 : err_row(error)->http;
    if (bus_send(journal->me, request->from, &end, NULL) != 0) {
        env_free(&end);
    }
}

static void
take_rows(struct journal *journal, struct env *request, const struct ledger_message *message)
{
    struct segment *segment = dyn_zalloc(sizeof *segment);
    segment->rows = message->rows;
    segment->n_rows = message->n_rows;
    segment->body = request->body;
    segment->bytes = env_body_len(request) + sizeof *segment;
    segment->since_us = now(journal);
    request->body = NULL;
    while (journal->bytes > 0 && journal->bytes + segment->bytes > journal->options.bytes_max &&
           drop_one(journal)) {
    }
    dyn_list_append(&journal->segments, &segment->link);
    journal->bytes += segment->bytes;
    journal->n_rows += segment->n_rows;
    (void)atomic_fetch_add(&journal->options.gauges->taken_rows, segment->n_rows);
    if (!request->tell) {
        reply(journal, request, ERR_NONE);
    }
    send_rows(journal);
}

/* ---- questions ---- */

static void
pass_on(struct journal *journal, struct env **env_p)
{
    struct env *request = *env_p;
    if (journal->n_ledgers == 0 || journal->questions.n >= JOURNAL_QUESTIONS_MAX) {
        reply(journal, request, ERR_LEDGER_UNAVAILABLE);
        return;
    }
    struct question *question = dyn_zalloc(sizeof *question);
    *question = (struct question){.id = request->id,
                                  .attempt = request->attempt,
                                  .epoch = request->epoch,
                                  .asker = request->from,
                                  .ledger = journal->ledgers[0],
                                  .until_us = now(journal) + JOURNAL_ANSWER_MS * UINT64_C(1000)};
    struct env_id id = env_id_random();
    struct env *asked = env_new(ENV_REQUEST);
    asked->surface = ENV_SURFACE_LEDGER;
    asked->id = id;
    asked->body = dyn_block_ref(request->body);
    if (bus_send(journal->me, question->ledger, &asked, NULL) != 0) {
        env_free(&asked);
        free(question);
        reply(journal, request, ERR_LEDGER_UNAVAILABLE);
        return;
    }
    env_map_add(&journal->questions, &question->node, &id);
}

static void
forget(struct journal *journal, struct question *question)
{
    env_map_remove(&journal->questions, &question->node);
    free(question);
}

static void
answer(struct journal *journal, struct question *question, struct env **end_p)
{
    struct env *end = *end_p;
    end->id = question->id;
    end->attempt = question->attempt;
    end->epoch = question->epoch;
    if (bus_send(journal->me, question->asker, end_p, NULL) != 0) {
        env_free(end_p); /* who asked is gone */
    }
    forget(journal, question);
}

static void
give_up(struct journal *journal, struct question *question)
{
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_LEDGER_UNAVAILABLE;
    end->status = err_row(ERR_LEDGER_UNAVAILABLE)->http;
    answer(journal, question, &end);
}

/* Those of that ledger (0: of any) that nobody will answer, and with `now_us` those whose time is over. */
static void
give_up_all(struct journal *journal, bus_addr_t ledger, uint64_t now_us)
{
    for (size_t i = 0; i < journal->questions.n_buckets; i++) {
        struct env_map_node *next;
        for (struct env_map_node *node = journal->questions.buckets[i]; node != NULL; node = next) {
            struct question *question = DYN_CONTAINER_OF(node, struct question, node);
            next = node->next;
            if ((ledger == 0 || question->ledger == ledger) && question->until_us <= now_us) {
                give_up(journal, question);
            }
        }
    }
}

static void
take_end(struct journal *journal, struct env **env_p)
{
    const struct env *end = *env_p;
    if (journal->batch_ledger == end->from && journal->batch_ledger != 0 &&
        env_id_eq(&end->id, &journal->batch_id)) {
        take_acknowledgement(journal, end);
        return;
    }
    struct env_map_node *node = env_map_find(&journal->questions, &end->id);
    struct question *question = node != NULL ? DYN_CONTAINER_OF(node, struct question, node) : NULL;
    if (question != NULL && question->ledger == end->from) {
        answer(journal, question, env_p);
    }
}

static void
take_request(struct journal *journal, struct env **env_p)
{
    struct ledger_message message;
    struct env *request = *env_p;
    int (*decode)(struct dyn_slice, struct ledger_message *, struct dyn_err *) =
        request->is_own ? ledger_message_read : ledger_message_decode;
    if (decode(dyn_block_slice(request->body), &message, NULL) != 0) {
        reply(journal, request, ERR_INVALID_REQUEST);
    } else if (dyn_slice_is(message.op, "rows")) {
        take_rows(journal, request, &message);
    } else {
        pass_on(journal, env_p);
    }
}

/* ---- ledgers ---- */

static void
meet(struct journal *journal, bus_addr_t ledger)
{
    for (size_t i = 0; i < journal->n_ledgers; i++) {
        if (journal->ledgers[i] == ledger) {
            return;
        }
    }
    if (journal->n_ledgers < JOURNAL_LEDGERS_MAX) {
        journal->ledgers[journal->n_ledgers++] = ledger;
        journal->alone_since_us = 0;
        send_rows(journal);
    }
}

static void
part(struct journal *journal, bus_addr_t ledger)
{
    size_t kept = 0;
    for (size_t i = 0; i < journal->n_ledgers; i++) {
        if (journal->ledgers[i] != ledger) {
            journal->ledgers[kept++] = journal->ledgers[i];
        }
    }
    journal->n_ledgers = kept;
    if (kept == 0 && journal->alone_since_us == 0) {
        journal->alone_since_us = now(journal);
    }
    if (journal->batch_ledger == ledger) { /* it may have it; the next one is told the same number */
        journal->batch_ledger = 0;
    }
    give_up_all(journal, ledger, UINT64_MAX);
    send_rows(journal);
}

static void
journal_receive(void *self, struct env **env_p)
{
    struct journal *journal = self;
    const struct env *env = *env_p;
    switch ((int)env->kind) {
    case ENV_REQUEST:
        if (env->surface == ENV_SURFACE_LEDGER) {
            take_request(journal, env_p);
        }
        break;
    case ENV_END:
        take_end(journal, env_p);
        break;
    case ENV_READY:
        meet(journal, env->from);
        break;
    case ENV_GOODBYE:
        part(journal, env->from);
        break;
    default:
        break;
    }
    env_free(env_p);
}

/* ---- life ---- */

static void
on_look(struct bus_timer *timer)
{
    struct journal *journal = DYN_CONTAINER_OF(timer, struct journal, look);
    give_up_all(journal, 0, now(journal));
    show(journal);
    bus_timer_arm(journal->loop, timer, LOOK_MS);
}

static void
look_whether_idle(struct bus_timer *timer)
{
    struct journal *journal = DYN_CONTAINER_OF(timer, struct journal, drain);
    uint64_t now_us = now(journal);
    bool is_alone =
        journal->n_ledgers == 0 && now_us - journal->drain_from_us > DRAIN_ALONE_MS * UINT64_C(1000);
    bool is_empty = dyn_list_is_empty(&journal->segments) && journal->questions.n == 0;
    bool has_waited = now_us - journal->drain_from_us > DRAIN_GRACE_MS * UINT64_C(1000);
    if ((is_empty && has_waited) || is_alone || now_us >= journal->drain_until_us) {
        bus_actor_idle(journal->me);
        return;
    }
    bus_timer_arm(journal->loop, timer, DRAIN_LOOK_MS);
}

static void
journal_drain(void *self, uint64_t deadline_us)
{
    struct journal *journal = self;
    journal->drain_from_us = now(journal);
    journal->drain_until_us = deadline_us;
    send_rows(journal);
    look_whether_idle(&journal->drain);
}

journal_t *
journal_new(const struct journal_options *options)
{
    struct journal *journal = dyn_zalloc(sizeof *journal);
    journal->options = *options;
    journal->look.fire = on_look;
    journal->retry.fire = on_retry;
    journal->pace.fire = on_pace;
    journal->drain.fire = look_whether_idle;
    dyn_list_init(&journal->segments);
    env_map_init(&journal->questions);
    return journal;
}

static int
journal_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct journal *journal = self;
    (void)err;
    journal->me = me;
    journal->loop = bus_actor_loop(me);
    journal->alone_since_us = now(journal);
    if (journal->options.ledger != 0) {
        meet(journal, journal->options.ledger);
    }
    show(journal);
    bus_timer_arm(journal->loop, &journal->look, LOOK_MS);
    return 0;
}

static void
journal_stop(void *self)
{
    struct journal *journal = self;
    if (journal->n_rows > 0) {
        dyn_log(DYN_LOG_WARN, "ledger.dropped", "rows are lost: the ledger did not take them in time",
                DYN_LOG_UINT("rows", journal->n_rows));
    }
    for (struct segment *left; (left = first(journal)) != NULL;) {
        segment_free(journal, left);
    }
    for (struct env_map_node *node; (node = env_map_any(&journal->questions)) != NULL;) {
        forget(journal, DYN_CONTAINER_OF(node, struct question, node));
    }
    env_map_fini(&journal->questions);
    dyn_block_unref(&journal->batch);
    bus_timer_fini(&journal->look);
    bus_timer_fini(&journal->retry);
    bus_timer_fini(&journal->pace);
    bus_timer_fini(&journal->drain);
    free(journal);
}

const struct bus_actor_ops journal_actor_ops = {
    .kind = "journal",
    .start = journal_start,
    .receive = journal_receive,
    .drain = journal_drain,
    .stop = journal_stop,
};
