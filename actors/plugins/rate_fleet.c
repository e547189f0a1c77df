#include "actors/plugins/rate_fleet.h"

enum { OWN_BYTES = 8 }; /* of a question's id */

static struct limits_now
now_of(const struct rate_fleet *fleet)
{
    return (struct limits_now){dyn_mono_us(fleet->clock), dyn_wall_us(fleet->clock)};
}

static void
arm(struct rate_fleet *fleet)
{
    bool waits = !dyn_list_is_empty(&fleet->waiting);
    if (waits || !rate_leases_are_idle(fleet->leases)) {
        bus_timer_arm(plugin_cell_loop(fleet->cell), &fleet->timer,
                      waits ? RATE_FLEET_SOON_MS : RATE_FLEET_LOOK_MS);
    }
}

/* Rows are small: what one question may hold is far below what a body may. */
static void
send(struct rate_fleet *fleet, const struct dyn_buf *rows, size_t n)
{
    struct ledger_message message = {.op = DYN_SLICE("lease"), .rows = dyn_buf_slice(rows), .n_rows = n};
    struct env *request = env_new(ENV_REQUEST);
    request->surface = ENV_SURFACE_LEDGER;
    request->id = env_id_random();
    memcpy(request->id.bytes, fleet->id.bytes, OWN_BYTES);
    request->body = ledger_message_encode(&message);
    if (plugin_send(fleet->cell, plugin_cell_host(fleet->cell)->ledger, &request, NULL) != 0) {
        env_free(&request); /* they are asked again */
    }
}

static void
on_timer(struct bus_timer *timer)
{
    struct rate_fleet *fleet = DYN_CONTAINER_OF(timer, struct rate_fleet, timer);
    struct dyn_buf rows = DYN_BUF_INIT;
    fleet->look(fleet);
    size_t n = rate_leases_collect(fleet->leases, now_of(fleet), &rows);
    if (n > 0) {
        send(fleet, &rows, n);
    }
    dyn_buf_fini(&rows);
    arm(fleet);
}

void
rate_fleet_init(struct rate_fleet *fleet, rate_leases_t *leases, const struct dyn_clock *clock,
                plugin_cell_t *cell, void (*look)(struct rate_fleet *fleet))
{
    *fleet = (struct rate_fleet){.leases = leases, .clock = clock, .cell = cell, .look = look};
    dyn_list_init(&fleet->waiting);
    fleet->timer.fire = on_timer;
    fleet->id = env_id_random();
    rate_leases_join(leases, cell);
    arm(fleet); /* the cell that asked before may be gone */
}

void
rate_fleet_fini(struct rate_fleet *fleet)
{
    bus_timer_fini(&fleet->timer);
    rate_leases_part(fleet->leases, fleet->cell);
}

void
rate_fleet_stir(struct rate_fleet *fleet)
{
    if (!bus_timer_is_armed(&fleet->timer)) {
        arm(fleet);
    }
}

void
rate_fleet_want(struct rate_fleet *fleet, struct rate_lease *lease, uint64_t n)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    rate_lease_want(fleet->leases, lease, n);
    if (rate_lease_collect(fleet->leases, lease, now_of(fleet), &rows)) {
        send(fleet, &rows, 1);
    }
    dyn_buf_fini(&rows);
    rate_fleet_stir(fleet);
}

void
rate_fleet_goodbye(struct rate_fleet *fleet)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    for (size_t n; (n = rate_leases_collect_goodbyes(fleet->leases, now_of(fleet), &rows)) > 0;) {
        send(fleet, &rows, n);
        dyn_buf_clear(&rows);
    }
    dyn_buf_fini(&rows);
}

bool
rate_fleet_receive(struct rate_fleet *fleet, struct env **env_p)
{
    struct ledger_message answer;
    const struct env *end = *env_p;
    if (end->kind != ENV_END || memcmp(end->id.bytes, fleet->id.bytes, OWN_BYTES) != 0) {
        return false;
    }
    if (end->outcome == ENV_OUTCOME_OK &&
        ledger_message_decode(dyn_block_slice(end->body), &answer, NULL) == 0) {
        struct dyn_buf rows = DYN_BUF_INIT;
        size_t n = rate_leases_take(fleet->leases, &answer, now_of(fleet), &rows);
        if (n > 0) {
            send(fleet, &rows, n);
        }
        dyn_buf_fini(&rows);
        rate_fleet_stir(fleet);
    }
    env_free(env_p);
    return true;
}

/* ---- those who wait ---- */

void
rate_fleet_wait(struct rate_fleet *fleet, struct rate_waiter *waiter, const struct plugin_ticket *ticket,
                struct vote_facts *facts, uint64_t now_us)
{
    waiter->ticket = *ticket;
    waiter->facts = vote_facts_ref(facts);
    waiter->until_us = now_us + RATE_FLEET_WAIT_US;
    dyn_list_append(&fleet->waiting, &waiter->link);
    bus_timer_arm(plugin_cell_loop(fleet->cell), &fleet->timer, RATE_FLEET_SOON_MS);
}

struct rate_waiter *
rate_fleet_find(const struct rate_fleet *fleet, const struct plugin_ticket *ticket)
{
    for (struct dyn_list *link = fleet->waiting.next; link != &fleet->waiting; link = link->next) {
        struct rate_waiter *waiter = DYN_CONTAINER_OF(link, struct rate_waiter, link);
        if (env_id_eq(&waiter->ticket.id, &ticket->id) && waiter->ticket.epoch == ticket->epoch) {
            return waiter;
        }
    }
    return NULL;
}

void
rate_fleet_remove(struct rate_waiter *waiter)
{
    dyn_list_remove(&waiter->link);
    vote_facts_unref(&waiter->facts);
}
