/* Cells of a plugin without a bus: asks go straight to its table of callbacks, with a clock that stands
 * where it is put. What plugin_actor.c lends to plugins stands here for the test program. */
#pragma once

#include "actors/plugins/plugin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BENCH_CELLS = 2, LATE_VOTES = 64, SENT_MAX = 64 };

struct plugin_cell {
    struct arena arena;
    atomic_bool is_woken;
    struct plugin_host *host;
    size_t n_sent, n_taken;
    struct env *sent[SENT_MAX]; /* to the ledger, oldest first */
    size_t n_late;
    struct {
        struct plugin_ticket ticket;
        enum vote_verdict verdict;
        bool charged;
    } late[LATE_VOTES];
};

struct bench {
    const struct plugin_ops *ops;
    struct config_part part;
    const struct config_part *parts[1];
    config_t *config;
    atomic_uint_fast64_t now_us;
    struct dyn_clock clock;
    struct plugin_host host;
    void *shared;
    struct plugin_cell cells[BENCH_CELLS];
    void *own[BENCH_CELLS];
};

char *
plugin_cell_text(plugin_cell_t *cell, const char *fmt, ...)
{
    va_list args;
    char text[512];
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return (char *)(uintptr_t)arena_copy(&cell->arena, dyn_slice(text, (size_t)len)).data;
}

void
plugin_wake(plugin_cell_t *cell)
{
    atomic_store(&cell->is_woken, true);
}

void
plugin_vote_send(plugin_cell_t *cell, const struct plugin_ticket *ticket, struct plugin_vote *vote)
{
    DYN_ASSERT(cell->n_late < LATE_VOTES);
    cell->late[cell->n_late].ticket = *ticket;
    cell->late[cell->n_late].verdict = vote->verdict;
    cell->late[cell->n_late++].charged = vote->charged;
}

const struct plugin_host *
plugin_cell_host(const plugin_cell_t *cell)
{
    return cell->host;
}

bus_loop_t *
plugin_cell_loop(const plugin_cell_t *cell)
{
    (void)cell;
    return NULL; /* nothing here has a timer */
}

int
plugin_send(plugin_cell_t *cell, bus_addr_t to, struct env **env_p, struct dyn_err *err)
{
    DYN_ASSERT(to == cell->host->ledger && to != 0);
    if (cell->n_sent == SENT_MAX) {
        return dyn_err_set(err, DYN_E_FULL, "full");
    }
    cell->sent[cell->n_sent++] = *env_p;
    *env_p = NULL;
    return 0;
}

static DYN_UNUSED uint64_t
bench_read(void *self)
{
    return atomic_load(&((struct bench *)self)->now_us);
}

static DYN_UNUSED void *
bench_make(struct bench *bench, void *former)
{
    struct dyn_err err = {.text = ""};
    struct plugin_making making = {.ops = bench->ops,
                                   .name = dyn_slice_str(bench->ops->name),
                                   .config = config_values(bench->config, &bench->part),
                                   .host = &bench->host,
                                   .former = former};
    void *shared = bench->ops->make(&making, &err);
    if (shared == NULL) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    return shared;
}

static DYN_UNUSED bool
bench_configure(struct bench *bench, const struct plugin_ops *ops, const char *yaml)
{
    bench->ops = ops;
    bench->part = (struct config_part){.folder = "plugins", .section = *ops->config, .check = ops->check};
    bench->parts[0] = &bench->part;
    bench->config = config_parse(dyn_slice_str(yaml), "test.yaml", bench->parts, 1, NULL);
    return config_ok(bench->config);
}

/* With what was lent to it before. */
static DYN_UNUSED void
bench_start_lent(struct bench *bench, const struct plugin_ops *ops, const char *yaml)
{
    bench->clock = (struct dyn_clock){bench_read, bench_read, bench};
    atomic_store(&bench->now_us, UINT64_C(1000000) * 86400 * 20000);
    bench->host.clock = &bench->clock;
    bench->host.n_cells = BENCH_CELLS;
    DYN_ASSERT(bench_configure(bench, ops, yaml));
    bench->shared = bench_make(bench, NULL);
    DYN_ASSERT(bench->shared != NULL);
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        arena_init(&bench->cells[i].arena, NULL, 0);
        bench->cells[i].host = &bench->host;
        bench->own[i] = ops->cell_new(bench->shared, &bench->cells[i]);
    }
}

static DYN_UNUSED void
bench_start(struct bench *bench, const struct plugin_ops *ops, const char *yaml)
{
    memset(bench, 0, sizeof *bench);
    bench_start_lent(bench, ops, yaml);
}

static DYN_UNUSED void
bench_stop_cells(struct bench *bench)
{
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        bench->ops->cell_free(bench->shared, bench->own[i]);
    }
}

static DYN_UNUSED void
bench_stop_rest(struct bench *bench)
{
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        arena_fini(&bench->cells[i].arena);
        while (bench->cells[i].n_taken < bench->cells[i].n_sent) {
            env_free(&bench->cells[i].sent[bench->cells[i].n_taken++]);
        }
    }
    bench->ops->free(bench->shared);
    config_free(&bench->config);
}

static DYN_UNUSED void
bench_stop(struct bench *bench)
{
    bench_stop_cells(bench);
    bench_stop_rest(bench);
}

static DYN_UNUSED struct plugin_ask
ask_of(struct bench *bench, uint64_t id, struct vote_facts *facts)
{
    struct plugin_ask ask = {
        .stage = VOTE_BEFORE_REQUEST, .facts = facts, .now_us = atomic_load(&bench->now_us)};
    memcpy(&ask.ticket.id, &id, sizeof id);
    ask.ticket.stage = VOTE_BEFORE_REQUEST;
    return ask;
}

static DYN_UNUSED struct plugin_vote
ask_before(struct bench *bench, size_t cell, uint64_t id, struct vote_facts *facts)
{
    struct plugin_vote vote = {.verdict = VOTE_PASS};
    struct plugin_ask ask = ask_of(bench, id, facts);
    if (bench->ops->vote(bench->shared, bench->own[cell], &bench->cells[cell], &ask, &vote) == PLUGIN_LATER) {
        vote.verdict = VOTE_NONE;
    }
    return vote;
}

static DYN_UNUSED void
tell_end(struct bench *bench, size_t cell, uint64_t id, struct vote_facts *facts)
{
    struct plugin_vote vote = {.verdict = VOTE_PASS};
    struct plugin_ask ask = ask_of(bench, id, facts);
    ask.is_told = ask.has_charged = true;
    ask.stage = ask.ticket.stage = VOTE_ON_ERROR;
    (void)bench->ops->vote(bench->shared, bench->own[cell], &bench->cells[cell], &ask, &vote);
}

/* Nobody took the vote on it. */
static DYN_UNUSED void
forget(struct bench *bench, size_t cell, uint64_t id, struct vote_facts *facts)
{
    struct plugin_ask ask = ask_of(bench, id, facts);
    bench->ops->forget(bench->shared, bench->own[cell], &bench->cells[cell], &ask.ticket);
}

static DYN_UNUSED struct dyn_slice
vote_header(const struct plugin_vote *vote, const char *name)
{
    for (size_t i = 0; i < vote->n_headers; i++) {
        if (dyn_slice_is(vote->headers[i].name, name)) {
            return vote->headers[i].value;
        }
    }
    return dyn_slice(NULL, 0);
}
