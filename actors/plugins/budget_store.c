/* See budget_store.h. The money asks while it holds its lock, on whatever cell runs: the question goes into a
 * list, and that cell sends it when the lock is free again. */
#include "actors/plugins/budget_store.h"

#include "core/rand.h"
#include "proto/ledger.h"

#include <pthread.h>
#include <stdlib.h>

#define ANSWER_US UINT64_C(2000000) /* then it has failed */
enum { HOLDER_BYTES = 16 };

struct budget_store {
    struct limits_store ops;
    char holder[2 * HOLDER_BYTES];
    pthread_mutex_t lock;
    struct dyn_list outbox;
};

struct question {
    struct dyn_list link; /* the outbox, then its line's */
    struct env_map_node node;
    uint64_t sent_at_us;
    bool is_load;
    struct limits_record record; /* its account is the text below */
    char account[];
};

static int
ask(struct budget_store *store, const struct limits_record *record, bool is_load)
{
    struct question *question = dyn_zalloc(sizeof *question + record->account.len);
    question->is_load = is_load;
    question->record = *record;
    memcpy(question->account, record->account.data, record->account.len);
    question->record.account.data = question->account;
    (void)pthread_mutex_lock(&store->lock);
    dyn_list_append(&store->outbox, &question->link);
    (void)pthread_mutex_unlock(&store->lock);
    return LIMITS_STORE_LATER;
}

static int
store_load(void *self, struct limits_record *record, struct dyn_err *err)
{
    (void)err;
    return ask(self, record, true);
}

static int
store_save(void *self, struct limits_record *record, struct dyn_err *err)
{
    (void)err;
    return ask(self, record, false);
}

budget_store_t *
budget_store_new(void)
{
    struct budget_store *store = dyn_zalloc(sizeof *store);
    uint8_t holder[HOLDER_BYTES];
    dyn_random_bytes(holder, sizeof holder);
    dyn_hex_encode(store->holder, holder, sizeof holder);
    store->ops = (struct limits_store){.load = store_load, .save_block = store_save, .self = store};
    (void)pthread_mutex_init(&store->lock, NULL);
    dyn_list_init(&store->outbox);
    return store;
}

void
budget_store_free(budget_store_t **store_p)
{
    struct budget_store *store = *store_p;
    *store_p = NULL;
    if (store == NULL) {
        return;
    }
    for (struct dyn_list *link; (link = dyn_list_pop(&store->outbox)) != NULL;) {
        free(DYN_CONTAINER_OF(link, struct question, link));
    }
    (void)pthread_mutex_destroy(&store->lock);
    free(store);
}

const struct limits_store *
budget_store_ops(const budget_store_t *store)
{
    return store == NULL ? NULL : &store->ops;
}

/* ---- a cell's line to the ledger ---- */

void
budget_line_init(struct budget_line *line, budget_store_t *store, plugin_cell_t *cell)
{
    *line = (struct budget_line){.store = store, .cell = cell};
    env_map_init(&line->asked);
    dyn_list_init(&line->in_order);
}

static struct question *
next_question(struct budget_store *store)
{
    (void)pthread_mutex_lock(&store->lock);
    struct dyn_list *link = dyn_list_pop(&store->outbox);
    (void)pthread_mutex_unlock(&store->lock);
    return link == NULL ? NULL : DYN_CONTAINER_OF(link, struct question, link);
}

static uint64_t
number_for(uint64_t number)
{
    return number < LEDGER_UINT_MAX ? number : LEDGER_UINT_MAX;
}

static dyn_block_t *
body_of(const struct budget_store *store, const struct question *question)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct ledger_row row = {.table = LEDGER_SPEND};
        row.of.spend.account = question->record.account;
        row.of.spend.window = w;
        row.of.spend.number = question->record.windows[w].number;
        row.of.spend.holder = dyn_slice(store->holder, sizeof store->holder);
        row.of.spend.block = number_for(question->record.windows[w].block);
        row.of.spend.limit = number_for(question->record.windows[w].limit);
        ledger_row_encode(&row, &rows);
    }
    struct ledger_message message = {.op = question->is_load ? DYN_SLICE("spend_load")
                                                             : DYN_SLICE("spend_save"),
                                     .rows = dyn_buf_slice(&rows),
                                     .n_rows = MONEY_WINDOWS};
    dyn_block_t *body = ledger_message_encode(&message);
    dyn_buf_fini(&rows);
    return body;
}

/* Frees it. */
static void
tell(struct question *question, bool ok, uint64_t wall_us)
{
    money_t *money = question->record.asker;
    (question->is_load ? money_loaded : money_saved)(money, &question->record, ok, wall_us);
    free(question);
}

static void
take_out(struct budget_line *line, struct question *question)
{
    env_map_remove(&line->asked, &question->node);
    dyn_list_remove(&question->link);
}

static int
send_one(struct budget_line *line, struct question *question, uint64_t now_us)
{
    const struct plugin_host *host = plugin_cell_host(line->cell);
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_LEDGER;
    request->deadline_ms = (uint32_t)(ANSWER_US / 1000);
    request->body = body_of(line->store, question);
    env_map_add(&line->asked, &question->node, &request->id);
    dyn_list_append(&line->in_order, &question->link);
    question->sent_at_us = now_us;
    if (plugin_send(line->cell, host->ledger, &request, NULL) != 0) {
        env_free(&request);
        take_out(line, question);
        return -1;
    }
    return 0;
}

static void
fail_late_ones(struct budget_line *line, uint64_t now_us, uint64_t wall_us)
{
    while (!dyn_list_is_empty(&line->in_order)) {
        struct question *question = DYN_CONTAINER_OF(line->in_order.next, struct question, link);
        if (now_us - question->sent_at_us < ANSWER_US) {
            return;
        }
        take_out(line, question);
        tell(question, false, wall_us);
    }
}

void
budget_line_flush(struct budget_line *line, uint64_t now_us, uint64_t wall_us)
{
    if (line->store == NULL) {
        return;
    }
    fail_late_ones(line, now_us, wall_us);
    for (struct question *question; (question = next_question(line->store)) != NULL;) {
        if (send_one(line, question, now_us) != 0) {
            tell(question, false, wall_us);
        }
    }
}

/* Of the windows that were asked about; numbers are the question's own. -1: it says something else. */
static int
read_answer(const struct env *end, struct limits_record *record)
{
    struct ledger_message message;
    struct ledger_row row;
    if (end->outcome != ENV_OUTCOME_OK ||
        ledger_message_decode(dyn_block_slice(end->body), &message, NULL) != 0) {
        return -1;
    }
    size_t n = 0;
    for (struct mp_cursor rows = mp_cursor(message.rows); ledger_row_next(&rows, &row);) {
        const struct ledger_spend *spend = &row.of.spend;
        bool is_ours = row.table == LEDGER_SPEND && spend->window < MONEY_WINDOWS &&
                       dyn_slice_eq(spend->account, record->account) &&
                       spend->number == record->windows[spend->window].number;
        if (is_ours) {
            record->windows[spend->window].block = spend->block;
            record->windows[spend->window].others = spend->others;
            record->windows[spend->window].credit = spend->credit;
            n++;
        }
    }
    return n == MONEY_WINDOWS ? 0 : -1;
}

bool
budget_line_receive(struct budget_line *line, const struct env *end, uint64_t wall_us)
{
    struct env_map_node *node = end->kind == ENV_END ? env_map_find(&line->asked, &end->id) : NULL;
    if (node != NULL) {
        struct question *question = DYN_CONTAINER_OF(node, struct question, node);
        take_out(line, question);
        tell(question, read_answer(end, &question->record) == 0, wall_us);
    }
    return node != NULL;
}

void
budget_line_fini(struct budget_line *line)
{
    while (!dyn_list_is_empty(&line->in_order)) {
        struct question *question = DYN_CONTAINER_OF(line->in_order.next, struct question, link);
        take_out(line, question);
        tell(question, false, 0);
    }
    env_map_fini(&line->asked);
}
