#include "actors/ledger/lease_desk.h"

#include "core/log.h"
#include "core/rand.h"

#include <stdlib.h>

#define SECOND_US UINT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)
#define HOLDER    DYN_SLICE("owner")

enum {
    NAME_BYTES = 16,
    ACCOUNT_SIZE = 6 + 2 * NAME_BYTES, /* "lease/" and the name */
    GIVEN_BITS = 30,                   /* of a block: how much; above: in which window */
    BUCKETS = 16384,
    EVICT_LOOKS = 16,
    ROWS_MAX = 512, /* of one question to the store */
};
#define LIMIT_MAX ((UINT64_C(1) << GIVEN_BITS) - 1)

/* One limit. */
struct lent {
    struct lent *next;
    struct dyn_list used;  /* least recently first */
    struct dyn_list store; /* to_load or to_save, or in the question to the store; not linked: neither */
    lease_desk_t *desk;
    uint8_t name[NAME_BYTES];
    struct lease_owner owner;
    bool is_loaded;
    uint64_t window, up_to;             /* that are to be saved; 0: nothing is */
    uint64_t asked_window, asked_up_to; /* that the store has been asked for */
};

/* A question that the store has to be asked for first. */
struct parked {
    struct dyn_list link;
    struct env *request;
};

struct lease_desk {
    struct lease_desk_options options;
    uint64_t id;
    uint64_t started_us;
    struct lent *buckets[BUCKETS];
    struct dyn_list used;
    size_t bytes;
    struct dyn_list to_load, to_save;
    struct dyn_list asked; /* of which the store has been asked, in one question */
    struct env_id asked_id;
    bool asks;
    bool loads; /* that question */
    struct dyn_list parked;
    size_t n_parked;
};

/* ---- limits ---- */

static uint64_t
wall_us(const lease_desk_t *desk)
{
    return dyn_wall_us(desk->options.clock);
}

static size_t
bytes_of(const struct lent *lent)
{
    return sizeof *lent + lent->owner.n_holders * sizeof lent->owner.holders[0];
}

static struct lent **
bucket_of(lease_desk_t *desk, const uint8_t *name)
{
    return &desk->buckets[((size_t)name[0] | (size_t)name[1] << 8) % BUCKETS];
}

static void
lent_free(lease_desk_t *desk, struct lent *lent)
{
    struct lent **at = bucket_of(desk, lent->name);
    while (*at != lent) {
        at = &(*at)->next;
    }
    *at = lent->next;
    desk->bytes -= bytes_of(lent);
    dyn_list_remove(&lent->used);
    dyn_list_remove(&lent->store);
    lease_owner_fini(&lent->owner);
    free(lent);
}

/* The least recently used ones whose windows are over. */
static bool
make_room(lease_desk_t *desk)
{
    struct dyn_list *next, *link = desk->used.next;
    for (unsigned i = 0; i < EVICT_LOOKS && link != &desk->used; i++, link = next) {
        struct lent *lent = DYN_CONTAINER_OF(link, struct lent, used);
        next = link->next;
        if (lent->is_loaded && !dyn_list_is_linked(&lent->store) &&
            lease_owner_is_idle(&lent->owner, wall_us(desk))) {
            lent_free(desk, lent);
        }
    }
    return desk->bytes < LEASE_DESK_BYTES;
}

static int
save_later(void *self, uint64_t window, uint64_t given_up_to)
{
    struct lent *lent = self;
    bool is_more = window != lent->window || given_up_to > lent->up_to;
    if (!dyn_list_is_linked(&lent->store) && lent->is_loaded) {
        dyn_list_append(&lent->desk->to_save, &lent->store);
    }
    lent->up_to = is_more ? given_up_to : lent->up_to;
    lent->window = window;
    return LEASE_SAVE_LATER;
}

static void
open_limit(struct lent *lent, const struct ledger_lease *row, uint64_t saved_window, uint64_t saved)
{
    const lease_desk_t *desk = lent->desk;
    uint64_t window = wall_us(desk) / row->period_us;
    bool is_kept = row->period_us > LEASE_UNSAVED_US;
    struct lease_owner_options options = {.id = desk->id,
                                          .limit = row->limit,
                                          .period_us = row->period_us,
                                          .save = is_kept ? save_later : NULL,
                                          .self = lent,
                                          .saved_window = saved_window,
                                          .saved = saved};
    lease_owner_init(&lent->owner, &options, window * row->period_us >= desk->started_us, wall_us(desk));
    lent->is_loaded = true;
}

static struct lent *
lent_new(lease_desk_t *desk, const struct ledger_lease *row)
{
    if (desk->bytes >= LEASE_DESK_BYTES && !make_room(desk)) {
        return NULL;
    }
    struct lent *lent = dyn_zalloc(sizeof *lent), **bucket;
    lent->desk = desk;
    memcpy(lent->name, row->name.data, NAME_BYTES);
    dyn_list_init(&lent->store);
    dyn_list_init(&lent->used);
    bucket = bucket_of(desk, lent->name);
    lent->next = *bucket;
    *bucket = lent;
    dyn_list_append(&desk->used, &lent->used);
    bool is_after = wall_us(desk) / row->period_us * row->period_us >= desk->started_us;
    if (is_after || row->period_us <= LEASE_UNSAVED_US) {
        open_limit(lent, row, 0, 0);
    } else { /* there may have been an owner before */
        lent->owner.options.period_us = row->period_us;
        lent->owner.options.limit = row->limit;
        dyn_list_append(&desk->to_load, &lent->store);
    }
    desk->bytes += bytes_of(lent);
    return lent;
}

static struct lent *
lent_find(lease_desk_t *desk, const uint8_t *name)
{
    struct lent *lent = *bucket_of(desk, name);
    while (lent != NULL && memcmp(lent->name, name, NAME_BYTES) != 0) {
        lent = lent->next;
    }
    return lent;
}

/* ---- what the store is asked ---- */

static void
account_of(const struct lent *lent, char out[ACCOUNT_SIZE])
{
    memcpy(out, "lease/", 6);
    dyn_hex_encode(out + 6, lent->name, NAME_BYTES);
}

/* The day on which the window ends: rows of days that are over are nobody's. */
static uint64_t
day_of(const struct lent *lent, uint64_t window)
{
    return (window + 1) * lent->owner.options.period_us / DAY_US;
}

static void
add_row(const struct lent *lent, uint64_t window, uint64_t up_to, struct dyn_buf *rows)
{
    char account[ACCOUNT_SIZE];
    struct ledger_row row = {.table = LEDGER_SPEND};
    account_of(lent, account);
    row.of.spend.account = dyn_slice(account, sizeof account);
    row.of.spend.window = LEDGER_SPEND_LEASE;
    row.of.spend.number = day_of(lent, window);
    row.of.spend.holder = HOLDER;
    row.of.spend.block = window << GIVEN_BITS | up_to;
    row.of.spend.limit = LEDGER_UINT_MAX;
    ledger_row_encode(&row, rows);
}

/* Takes what is in `rows`. */
static bool
ask_store(lease_desk_t *desk, struct dyn_slice op, struct dyn_buf *rows, size_t n)
{
    struct ledger_message message = {.op = op, .rows = dyn_buf_slice(rows), .n_rows = n};
    struct env *request = env_new(ENV_REQUEST);
    request->surface = ENV_SURFACE_LEDGER;
    request->id = desk->asked_id = env_id_random();
    request->body = ledger_message_encode(&message);
    struct clerk_job *job = clerk_job_new(&request);
    bool is_sound = ledger_message_decode(dyn_block_slice(job->request->body), &job->job.ask, NULL) == 0;
    if (!is_sound || !desk->options.store(desk->options.self, job)) {
        clerk_job_free(job);
        return false;
    }
    return true;
}

/* One question at a time: what comes meanwhile goes together into the next one. */
static void
flush(lease_desk_t *desk)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    bool loads = !dyn_list_is_empty(&desk->to_load);
    struct dyn_list *from = loads ? &desk->to_load : &desk->to_save;
    size_t n = 0;
    if (desk->asks || dyn_list_is_empty(from)) {
        return;
    }
    for (struct dyn_list *link; n < ROWS_MAX && (link = dyn_list_pop(from)) != NULL; n++) {
        struct lent *lent = DYN_CONTAINER_OF(link, struct lent, store);
        dyn_list_append(&desk->asked, link);
        lent->asked_window = loads ? wall_us(desk) / lent->owner.options.period_us : lent->window;
        lent->asked_up_to = loads ? 0 : lent->up_to;
        add_row(lent, lent->asked_window, lent->asked_up_to, &rows);
    }
    desk->loads = loads;
    desk->asks = ask_store(desk, loads ? DYN_SLICE("spend_load") : DYN_SLICE("spend_save"), &rows, n);
    dyn_buf_fini(&rows);
    if (!desk->asks) { /* the next question about them tries again */
        dyn_list_splice(loads ? &desk->to_load : &desk->to_save, &desk->asked);
    }
}

/* ---- questions ---- */

static bool
is_sound(const struct ledger_row *row)
{
    const struct ledger_lease *lease = &row->of.lease;
    return row->table == LEDGER_LEASE && lease->name.len == NAME_BYTES && lease->holder != 0 &&
           lease->limit != 0 && lease->limit <= LIMIT_MAX && lease->period_us >= SECOND_US &&
           lease->period_us <= 366 * DAY_US;
}

static void
tell_lost(struct lent *lent)
{
    uint64_t holder, open;
    while (lease_owner_next_lost(&lent->owner, wall_us(lent->desk), &holder, &open)) {
        char account[ACCOUNT_SIZE];
        account_of(lent, account);
        (void)atomic_fetch_add(&lent->desk->options.counters->holders_lost, 1);
        dyn_log(DYN_LOG_WARN, "ledger.lease_lost",
                "a process is silent: what it had of a limit counts as spent until its window ends",
                DYN_LOG_SLICE("limit", dyn_slice(account, sizeof account)), DYN_LOG_UINT("open", open),
                DYN_LOG_UINT("of", lent->owner.options.limit));
    }
}

static void
add_grant(const struct ledger_lease *asked, const struct lease_grant *grant, struct dyn_buf *rows)
{
    struct ledger_row row = {.table = LEDGER_LEASE};
    row.of.lease = (struct ledger_lease){.name = asked->name,
                                         .holder = grant->holder,
                                         .limit = grant->limit,
                                         .period_us = asked->period_us,
                                         .owner = grant->owner,
                                         .sequence = grant->sequence,
                                         .window = grant->window,
                                         .given = grant->given,
                                         .left_us = grant->left_us,
                                         .left = grant->left,
                                         .holders = grant->holders,
                                         .wanted_back = grant->is_wanted_back,
                                         .may_come = grant->may_come};
    ledger_row_encode(&row, rows);
}

static enum lease_answer
ask_one(lease_desk_t *desk, const struct ledger_lease *row, struct lease_grant *grant)
{
    struct lent *lent = lent_find(desk, (const uint8_t *)row->name.data);
    lent = lent != NULL ? lent : lent_new(desk, row);
    if (lent == NULL) {
        return LEASE_DROPPED;
    }
    dyn_list_remove(&lent->used);
    dyn_list_append(&desk->used, &lent->used);
    if (!lent->is_loaded) {
        return LEASE_UNSAVED;
    }
    if (lent->owner.options.limit != row->limit || lent->owner.options.period_us != row->period_us) {
        return LEASE_DROPPED; /* the name says otherwise */
    }
    struct lease_ask ask = {.holder = row->holder,
                            .owner = row->owner,
                            .sequence = row->sequence,
                            .window = row->window,
                            .used = row->used,
                            .returned = row->returned,
                            .wants = row->wants,
                            .is_goodbye = row->goodbye != 0};
    size_t before = bytes_of(lent);
    tell_lost(lent); /* also of the window that may be over now */
    enum lease_answer answer = lease_owner_ask(&lent->owner, &ask, wall_us(desk), grant);
    desk->bytes += bytes_of(lent) - before;
    return answer;
}

/* False, and nothing was answered: the store has to be asked first. `is_last`: what would have to wait for it
 * is left out. */
static bool
answer(lease_desk_t *desk, const struct env *request, bool is_last)
{
    struct ledger_message message, said = {.n_rows = 0};
    struct ledger_row row;
    struct dyn_buf rows = DYN_BUF_INIT;
    size_t unsaved = 0;
    if (ledger_message_decode(dyn_block_slice(request->body), &message, NULL) != 0) {
        return true;
    }
    for (struct mp_cursor at = mp_cursor(message.rows); ledger_row_next(&at, &row);) {
        struct lease_grant grant;
        enum lease_answer what = is_sound(&row) ? ask_one(desk, &row.of.lease, &grant) : LEASE_DROPPED;
        unsaved += what == LEASE_UNSAVED;
        if (what == LEASE_ANSWERED) {
            add_grant(&row.of.lease, &grant, &rows);
            said.n_rows++;
        }
    }
    bool is_answered = is_last || unsaved == 0;
    if (is_answered) {
        said.rows = dyn_buf_slice(&rows);
        desk->options.answer(desk->options.self, request, &said);
    }
    dyn_buf_fini(&rows);
    return is_answered;
}

static void
parked_free(lease_desk_t *desk, struct parked *parked)
{
    dyn_list_remove(&parked->link);
    desk->n_parked--;
    env_free(&parked->request);
    free(parked);
}

static struct parked *
oldest(const lease_desk_t *desk)
{
    return DYN_CONTAINER_OF(desk->parked.next, struct parked, link);
}

void
lease_desk_ask(lease_desk_t *desk, struct env **request_p)
{
    if (answer(desk, *request_p, false)) {
        env_free(request_p);
        return;
    }
    if (desk->n_parked == LEASE_DESK_WAITING_MAX) {
        (void)answer(desk, oldest(desk)->request, true);
        parked_free(desk, oldest(desk));
    }
    struct parked *parked = dyn_zalloc(sizeof *parked);
    parked->request = *request_p;
    *request_p = NULL;
    dyn_list_append(&desk->parked, &parked->link);
    desk->n_parked++;
    flush(desk);
}

/* ---- what the store answers ---- */

/* 0: nothing was saved for the day. A window of another length that had the same name can't be: it is in the
 * name. */
static void
take_loaded(lease_desk_t *desk, const struct store_job *job)
{
    struct ledger_row row;
    for (struct mp_cursor at = mp_cursor(dyn_buf_slice(&job->rows)); ledger_row_next(&at, &row);) {
        uint8_t name[NAME_BYTES];
        const struct dyn_slice account = row.of.spend.account;
        if (row.table != LEDGER_SPEND || account.len != ACCOUNT_SIZE ||
            dyn_hex_decode(name, NAME_BYTES, dyn_slice(account.data + 6, account.len - 6)) != 0) {
            continue;
        }
        struct lent *lent = lent_find(desk, name);
        if (lent != NULL && !lent->is_loaded) {
            struct ledger_lease about = {.limit = lent->owner.options.limit,
                                         .period_us = lent->owner.options.period_us};
            uint64_t block = row.of.spend.block;
            open_limit(lent, &about, block >> GIVEN_BITS, block & LIMIT_MAX);
        }
    }
}

static void
take_stored(lease_desk_t *desk, const struct clerk_job *job, bool ok)
{
    if (ok && desk->loads) {
        take_loaded(desk, &job->job);
    }
    for (struct dyn_list *link; (link = dyn_list_pop(&desk->asked)) != NULL;) {
        struct lent *lent = DYN_CONTAINER_OF(link, struct lent, store);
        if (!lent->is_loaded) {
            dyn_list_append(&desk->to_load, link);
        } else if (ok && !desk->loads) {
            lease_owner_saved(&lent->owner, lent->asked_window, lent->asked_up_to);
        }
    }
}

/* Those that still need the store wait on; when it has failed all are answered with what there is. */
static void
answer_parked(lease_desk_t *desk, bool ok)
{
    struct dyn_list again;
    dyn_list_init(&again);
    dyn_list_splice(&again, &desk->parked);
    for (struct dyn_list *link; (link = dyn_list_pop(&again)) != NULL;) {
        struct parked *parked = DYN_CONTAINER_OF(link, struct parked, link);
        if (answer(desk, parked->request, !ok)) {
            parked_free(desk, parked);
        } else {
            dyn_list_append(&desk->parked, link);
        }
    }
}

bool
lease_desk_stored(lease_desk_t *desk, const struct clerk_job *job)
{
    if (job->request->from != 0) {
        return false;
    }
    if (desk->asks && env_id_eq(&job->request->id, &desk->asked_id)) {
        bool ok = !job->has_failed && job->job.status == 200;
        desk->asks = false;
        take_stored(desk, job, ok);
        answer_parked(desk, ok);
        if (ok) {
            flush(desk);
        }
    }
    return true;
}

/* ---- life ---- */

lease_desk_t *
lease_desk_new(const struct lease_desk_options *options)
{
    lease_desk_t *desk = dyn_zalloc(sizeof *desk);
    desk->options = *options;
    dyn_random_bytes(&desk->id, sizeof desk->id);
    desk->id = desk->id >> 1 | 1;
    desk->started_us = dyn_wall_us(options->clock);
    dyn_list_init(&desk->used);
    dyn_list_init(&desk->to_load);
    dyn_list_init(&desk->to_save);
    dyn_list_init(&desk->asked);
    dyn_list_init(&desk->parked);
    return desk;
}

void
lease_desk_close(lease_desk_t *desk)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    size_t n = 0;
    for (struct dyn_list *link = desk->used.next; link != &desk->used; link = link->next) {
        struct lent *lent = DYN_CONTAINER_OF(link, struct lent, used);
        const struct lease_owner *owner = &lent->owner;
        if (lent->is_loaded && owner->options.save != NULL && !lease_owner_is_idle(owner, wall_us(desk))) {
            add_row(lent, owner->window, owner->options.limit - lease_owner_left(owner), &rows);
            n++;
        }
        if (n == ROWS_MAX || (n > 0 && link->next == &desk->used)) {
            (void)ask_store(desk, DYN_SLICE("spend_save"), &rows, n);
            dyn_buf_clear(&rows);
            n = 0;
        }
    }
    dyn_buf_fini(&rows);
    desk->asks = false; /* what is answered now concerns nobody */
}

void
lease_desk_free(lease_desk_t **desk_p)
{
    lease_desk_t *desk = *desk_p;
    *desk_p = NULL;
    if (desk == NULL) {
        return;
    }
    while (!dyn_list_is_empty(&desk->parked)) {
        parked_free(desk, oldest(desk));
    }
    while (!dyn_list_is_empty(&desk->used)) {
        lent_free(desk, DYN_CONTAINER_OF(desk->used.next, struct lent, used));
    }
    free(desk);
}
