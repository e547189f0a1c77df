/* A store of spend in memory that outlives the processes of a test: answers at once or when it is pumped,
 * fails when told, and dies at a chosen step, before or after that step took effect. As the one owner it
 * grants no more than a limit leaves beside what other processes have. */
#pragma once

#include "limits/money.h"

enum { STORE_ROWS = 256, STORE_QUEUE = 256, STORE_NAME = 24 };

struct store_row {
    char account[STORE_NAME];
    unsigned process;
    enum money_window window;
    uint32_t number;
    uint64_t block;
};

struct memory_store {
    struct store_row rows[STORE_ROWS];
    size_t n_rows;
    bool is_failing;
    uint64_t dies_in;    /* saves until it dies; 0: it does not */
    bool dies_after;     /* that save took effect */
    bool is_dead;
    uint64_t n_saves;
};

/* One process's view of it. */
struct store_port {
    struct memory_store *store;
    unsigned process;
    bool is_later;
    struct {
        struct limits_record record;
        char account[STORE_NAME];
        bool is_load;
    } queue[STORE_QUEUE];
    size_t head, tail;
    struct limits_store ops;
};

static DYN_UNUSED bool
row_is(const struct store_row *row, const struct limits_record *record, size_t window)
{
    return dyn_slice_is(record->account, row->account) && (size_t)row->window == window &&
           row->number == record->windows[window].number;
}

static DYN_UNUSED struct store_row *
store_row(struct memory_store *store, unsigned process, const struct limits_record *record, size_t window)
{
    for (size_t i = 0; i < store->n_rows; i++) {
        if (row_is(&store->rows[i], record, window) && store->rows[i].process == process) {
            return &store->rows[i];
        }
    }
    DYN_ASSERT(store->n_rows < STORE_ROWS && record->account.len < STORE_NAME);
    struct store_row *row = &store->rows[store->n_rows++];
    *row = (struct store_row){.process = process,
                              .window = (enum money_window)window,
                              .number = record->windows[window].number};
    memcpy(row->account, record->account.data, record->account.len);
    return row;
}

static DYN_UNUSED uint64_t
store_others(const struct memory_store *store, unsigned process, const struct limits_record *record,
             size_t window)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < store->n_rows; i++) {
        if (row_is(&store->rows[i], record, window) && store->rows[i].process != process) {
            sum += store->rows[i].block;
        }
    }
    return sum;
}

static DYN_UNUSED int
store_do_load(struct store_port *port, struct limits_record *record)
{
    if (port->store->is_failing || port->store->is_dead) {
        return -1;
    }
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        record->windows[w].block = store_row(port->store, port->process, record, w)->block;
        record->windows[w].others = store_others(port->store, port->process, record, w);
    }
    return 0;
}

static DYN_UNUSED void
store_write(struct store_port *port, struct limits_record *record)
{
    for (size_t w = 0; w < MONEY_WINDOWS; w++) {
        struct store_row *row = store_row(port->store, port->process, record, w);
        uint64_t others = store_others(port->store, port->process, record, w);
        uint64_t limit = record->windows[w].limit;
        uint64_t room = limit > others ? limit - others : 0, wanted = record->windows[w].block;
        bool is_raise = wanted > row->block && limit != MONEY_UNLIMITED && others != 0;
        uint64_t granted = wanted > room ? room : wanted;
        row->block = !is_raise ? wanted : granted > row->block ? granted : row->block;
        record->windows[w].block = row->block;
        record->windows[w].others = others;
    }
}

static DYN_UNUSED int
store_do_save(struct store_port *port, struct limits_record *record)
{
    struct memory_store *store = port->store;
    if (store->is_failing || store->is_dead) {
        return -1;
    }
    store->n_saves++;
    bool dies = store->dies_in != 0 && --store->dies_in == 0;
    if (!dies || store->dies_after) {
        store_write(port, record);
    }
    store->is_dead = dies;
    return dies ? -1 : 0;
}

static DYN_UNUSED int
store_enqueue(struct store_port *port, const struct limits_record *record, bool is_load)
{
    DYN_ASSERT(port->tail - port->head < STORE_QUEUE);
    size_t at = port->tail++ % STORE_QUEUE;
    port->queue[at].record = *record;
    port->queue[at].is_load = is_load;
    memset(port->queue[at].account, 0, STORE_NAME);
    memcpy(port->queue[at].account, record->account.data, record->account.len);
    port->queue[at].record.account.data = port->queue[at].account;
    return LIMITS_STORE_LATER;
}

static DYN_UNUSED int
store_load(void *self, struct limits_record *record, struct dyn_err *err)
{
    (void)err;
    struct store_port *port = self;
    return port->is_later ? store_enqueue(port, record, true) : store_do_load(port, record);
}

static DYN_UNUSED int
store_save(void *self, struct limits_record *record, struct dyn_err *err)
{
    (void)err;
    struct store_port *port = self;
    return port->is_later ? store_enqueue(port, record, false) : store_do_save(port, record);
}

/* Does the oldest thing that waits. */
static DYN_UNUSED bool
store_pump(struct store_port *port, money_t *money, uint64_t wall_us)
{
    if (port->head == port->tail) {
        return false;
    }
    size_t at = port->head++ % STORE_QUEUE;
    struct limits_record *record = &port->queue[at].record;
    bool is_load = port->queue[at].is_load;
    bool ok = (is_load ? store_do_load(port, record) : store_do_save(port, record)) == 0;
    if (!port->store->is_dead) {
        (is_load ? money_loaded : money_saved)(money, record, ok, wall_us);
    }
    return true;
}

static DYN_UNUSED void
store_port_init(struct store_port *port, struct memory_store *store, unsigned process, bool is_later)
{
    *port = (struct store_port){.store = store, .process = process, .is_later = is_later};
    port->ops = (struct limits_store){.load = store_load, .save_block = store_save, .self = port};
}
