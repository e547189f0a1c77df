/* What is known of how targets fare: boards of this process, and those that workers' HEARTBEATs fill
 * (02-WORKER, Health). See members.h. */
#include "router/members.h"

#include <stdlib.h>

/* Boards of all workers together, 4 KiB each. */
enum { BOARDS_MAX = 16 * 1024 };

/* ---- boards of a worker: one for each target that it told of ---- */

static void
forget_board(struct route_members *members, health_board_t **board_p)
{
    members->n_boards -= *board_p != NULL ? 1 : 0;
    health_board_unref(board_p);
}

void
route_member_health_forget(struct route_members *members, struct route_member *worker)
{
    for (size_t i = 0; worker->boards != NULL && i < worker->said.n_targets; i++) {
        forget_board(members, &worker->boards[i]);
    }
    free(worker->boards);
    worker->boards = NULL;
}

void
route_member_health_move(struct route_members *members, struct route_member *worker, const struct ready *said)
{
    health_board_t **boards = dyn_zalloc((said->n_targets + 1) * sizeof *boards);
    for (size_t i = 0; worker->boards != NULL && i < said->n_targets; i++) {
        for (size_t k = 0; k < worker->said.n_targets; k++) {
            if (dyn_slice_eq(said->targets[i].name, worker->said.targets[k].name)) {
                boards[i] = worker->boards[k];
                worker->boards[k] = NULL;
            }
        }
    }
    route_member_health_forget(members, worker);
    worker->boards = boards;
}

health_board_t *
route_member_board(const struct route_member *worker, struct dyn_slice target)
{
    for (size_t i = 0; worker->boards != NULL && i < worker->said.n_targets; i++) {
        if (dyn_slice_eq(worker->said.targets[i].name, target)) {
            return worker->boards[i];
        }
    }
    return NULL;
}

struct hearing {
    struct route_members *members;
    struct route_member *worker;
    bool is_new; /* it told of a target for the first time */
};

static health_board_t *
board_for(void *arg, struct dyn_slice target)
{
    struct hearing *hearing = arg;
    struct route_member *worker = hearing->worker;
    for (size_t i = 0; i < worker->said.n_targets; i++) {
        if (!dyn_slice_eq(worker->said.targets[i].name, target)) {
            continue;
        }
        if (worker->boards[i] == NULL && hearing->members->n_boards < BOARDS_MAX) {
            worker->boards[i] = health_board_new();
            hearing->members->n_boards++;
            hearing->is_new = true;
        }
        return worker->boards[i];
    }
    return NULL; /* it does not serve that */
}

int
route_members_hear(struct route_members *members, struct route_member *worker, struct dyn_slice map,
                   uint64_t now_us, struct dyn_err *err)
{
    struct hearing hearing = {members, worker, false};
    if (health_map_decode(map, now_us, board_for, &hearing, err) != 0) {
        return -1;
    }
    if (hearing.is_new) {
        route_members_show_boards(members, worker);
    }
    return 0;
}

/* ---- the view of a target: the best of its members ---- */

/* 0 is "not known". */
static uint32_t
least_known(uint32_t a, uint32_t b)
{
    return a == 0 ? b : b == 0 ? a : a < b ? a : b;
}

static void
take_better(struct health_view *best, const struct health_view *view)
{
    /* Boards of several cells of one process show the same: figures are not added up. */
    if (view->state < best->state) {
        best->state = view->state;
        best->retry_ms = view->retry_ms;
    } else if (view->state == best->state && view->retry_ms < best->retry_ms) {
        best->retry_ms = view->retry_ms;
    }
    best->in_flight = view->in_flight < best->in_flight ? view->in_flight : best->in_flight;
    best->queued = view->queued < best->queued ? view->queued : best->queued;
    best->limit = view->limit > best->limit ? view->limit : best->limit;
    if (view->creds - view->creds_aside > best->creds - best->creds_aside) {
        best->creds = view->creds;
        best->creds_aside = view->creds_aside;
    }
    best->ttft_us = least_known(best->ttft_us, view->ttft_us);
    best->total_us = least_known(best->total_us, view->total_us);
    best->ttft_p95_us = least_known(best->ttft_p95_us, view->ttft_p95_us);
    best->ewma_us = least_known(best->ewma_us, view->ewma_us);
    best->samples = view->samples > best->samples ? view->samples : best->samples;
}

bool
route_members_is_closed(const struct route_members *members, size_t target, uint64_t now_us)
{
    const struct route_crew *crew = &members->crews[target];
    for (size_t i = 0; i < crew->n; i++) {
        if (!crew->members[i]->is_draining &&
            (crew->boards[i] == NULL || health_state_of(crew->boards[i], now_us) == HEALTH_CLOSED)) {
            return true;
        }
    }
    return crew->n == 0;
}

void
route_members_health_of(const struct route_members *members, size_t target, uint64_t model_key,
                        uint64_t now_us, struct health_view *view)
{
    const struct route_crew *crew = &members->crews[target];
    bool is_first = true;
    *view = (struct health_view){.state = HEALTH_CLOSED};
    for (size_t i = 0; i < crew->n; i++) {
        const struct route_member *member = crew->members[i];
        struct health_view seen = {.state = HEALTH_CLOSED};
        if (member->is_draining) {
            continue;
        }
        if (crew->boards[i] != NULL) {
            health_view_of(crew->boards[i], model_key, now_us, &seen);
        }
        /* What was sent since it told of itself is known here. */
        seen.in_flight = seen.in_flight > member->in_flight ? seen.in_flight : member->in_flight;
        if (is_first) {
            *view = seen;
            is_first = false;
        } else {
            take_better(view, &seen);
        }
    }
}

void
route_members_health(const struct route_members *members, size_t target, struct dyn_slice model,
                     uint64_t now_us, struct health_view *view)
{
    route_members_health_of(members, target, health_model_key(model), now_us, view);
}
