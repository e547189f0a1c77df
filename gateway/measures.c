#include "gateway/measures.h"

#include "edge/group.h"
#include "gateway/gateway.h"
#include "proto/node_breakers.h"

static uint64_t
get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void
read_edges(const struct edge_group *group, uint64_t *values)
{
    const struct edge_counters *counters = &group->counters;
    values[NODE_connections_new] += get(&counters->accepted);
    values[NODE_connections_refused] += get(&counters->refused_connections);
    values[NODE_connections_handed_over] += get(&counters->handed_over);
    values[NODE_http_requests] += get(&counters->requests);
    values[NODE_http_unreadable] += get(&counters->refused_requests);
    values[NODE_clients_gone] += get(&counters->clients_gone);
    values[NODE_late_answers] += get(&counters->late_envelopes);
    for (unsigned i = 0; i < group->n_cells; i++) {
        values[NODE_connections_open] +=
            atomic_load_explicit(&group->cells[i].connections, memory_order_relaxed);
    }
}

static void
read_owner(const struct owner_counters *counters, uint64_t *values)
{
    values[NODE_owner_sent] += get(&counters->sent);
    values[NODE_owner_sent_again] += get(&counters->sent_again);
    values[NODE_owner_broken_off] += get(&counters->broken_off);
    values[NODE_owner_unreachable] += get(&counters->unreachable);
    values[NODE_owner_saturated] += get(&counters->saturated);
    values[NODE_late_answers] += get(&counters->late_answers);
}

/* A worker joins the router of every cell. */
static void
read_router(const struct router_counters *counters, uint64_t *values)
{
    uint64_t workers = get(&counters->workers);
    values[NODE_requests_in_flight] += get(&counters->requests_in_flight);
    values[NODE_workers] = workers > values[NODE_workers] ? workers : values[NODE_workers];
}

static void
read_ports(const struct ports_counters *counters, uint64_t *values)
{
    values[NODE_ports_taken] += get(&counters->requests);
    values[NODE_ports_refused] += get(&counters->refused_budget);
    values[NODE_ports_cut] += get(&counters->chunks_lost);
    values[NODE_events_dropped] += get(&counters->events_lost);
    values[NODE_late_answers] += get(&counters->late);
}

static void
add_guard(provider_guard_t *guard, uint64_t *values)
{
    static const enum node_value by_state[] = {
        [HEALTH_CLOSED] = NODE_breakers_closed,
        [HEALTH_HALF_OPEN] = NODE_breakers_half_open,
        [HEALTH_OPEN] = NODE_breakers_open,
    };
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    struct provider_guard_counts counts;
    struct health_view view;
    provider_guard_refresh(guard, now_us);
    health_view_of(provider_guard_board(guard), 0, now_us, &view);
    provider_guard_counts(guard, &counts);
    if (provider_guard_has_breaker(guard)) {
        values[by_state[view.state]]++;
    }
    values[NODE_refused_breaker] += counts.refused_open;
    values[NODE_refused_saturated] += counts.refused_full;
    values[NODE_refused_creds] += counts.refused_creds;
    values[NODE_target_queue] += view.queued;
    values[NODE_target_waits] += counts.waited;
    values[NODE_creds_usable] += view.creds - view.creds_aside;
    values[NODE_creds_aside] += view.creds_aside;
}

static void
add_upstream(void *arg, const struct provider_shared *shared)
{
    uint64_t *values = arg;
    values[NODE_upstream_succeeded] += get(&shared->succeeded);
    values[NODE_upstream_failed] += get(&shared->failed);
    values[NODE_upstream_cancelled] += get(&shared->cancelled);
    values[NODE_upstream_in_flight] += get(&shared->in_flight);
    values[NODE_credit_stalls] += get(&shared->credit_stalls);
    if (shared->guard != NULL) {
        add_guard(shared->guard, values);
    }
}

static void
read_reload(const struct gateway_reload *reload, uint64_t *values)
{
    values[NODE_config_applied] += get(&reload->applied);
    values[NODE_config_unchanged] += get(&reload->unchanged);
    values[NODE_config_refused] += get(&reload->refused);
}

/* A failure leaves what was loaded before, in the beginning what is built in. */
static void
read_refresh(const struct gateway_refresh *refresh, uint64_t *values)
{
    values[NODE_catalog_loaded] += get(&refresh->loaded) + get(&refresh->same);
    values[NODE_catalog_failed] += get(&refresh->failed);
}

static void
read_orphans(const struct provider_orphans *orphans, uint64_t *values)
{
    values[NODE_orphans_kept] += get(&orphans->kept);
    values[NODE_orphans_attached] += get(&orphans->attached);
    values[NODE_orphans_dropped] += get(&orphans->dropped);
    values[NODE_orphan_bytes] += atomic_load_explicit(&orphans->bytes, memory_order_relaxed);
}

static void
read_answers(const struct answer_counters *answers, uint64_t *values)
{
    values[NODE_cache_hits] += get(&answers->hits);
    values[NODE_cache_shared] += get(&answers->shared);
    values[NODE_cache_misses] += get(&answers->misses);
    values[NODE_cache_entries] += get(&answers->entries);
    values[NODE_cache_bytes] += get(&answers->bytes);
    values[NODE_cache_evicted] += get(&answers->evicted);
}

static void
read_leases(const struct lease_counters *leases, uint64_t *values)
{
    values[NODE_leases_open] += get(&leases->open);
    values[NODE_leases_granted] += get(&leases->granted);
    values[NODE_leases_renewed] += get(&leases->renewed);
    values[NODE_leases_returned] += get(&leases->returned);
    values[NODE_leases_owner_lost] += get(&leases->owner_lost);
    values[NODE_leases_holder_lost] += get(&leases->holders_lost);
}

static void
read_journal(const struct ledger_gauges *gauges, uint64_t *values)
{
    enum ledger_state state = (enum ledger_state)atomic_load(&gauges->state);
    values[NODE_ledger_taken] += get(&gauges->taken_rows);
    values[NODE_ledger_dropped] += get(&gauges->dropped_rows);
    values[NODE_ledger_rows_waiting] += get(&gauges->pending_rows);
    values[NODE_ledger_journal_bytes] += get(&gauges->pending_bytes);
    values[NODE_ledger_behind] += state == LEDGER_BEHIND;
    values[NODE_ledger_unreachable] += state == LEDGER_UNREACHABLE;
    values[NODE_ledger_losing] += state == LEDGER_LOSING;
}

static void
read_store(const struct ledger_store_gauges *gauges, uint64_t *values)
{
    values[NODE_ledger_written] += get(&gauges->written_rows);
    values[NODE_ledger_store_bytes] += get(&gauges->pending_bytes);
    values[NODE_ledger_failures] += get(&gauges->failures);
    values[NODE_ledger_batches] += get(&gauges->batches);
    values[NODE_ledger_batch_us] += get(&gauges->batch_us);
    values[NODE_ledger_failing] += atomic_load(&gauges->is_failing);
}

static void
read_mailboxes(const bus_t *bus, uint64_t *values)
{
    static const struct {
        const char *kind;
        enum node_value value;
    } kinds[] = {
        {"edge", NODE_queue_edge},           {"owner", NODE_queue_owner},       {"ports", NODE_queue_ports},
        {"router", NODE_queue_router},       {"provider", NODE_queue_provider}, {"worker", NODE_queue_worker},
        {"publisher", NODE_queue_publisher}, {"hooks", NODE_queue_hooks},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(kinds); i++) {
        values[kinds[i].value] += bus_kind_bytes(bus, kinds[i].kind);
    }
}

static void
read_roles(const struct bus_process *process, uint64_t *values)
{
    static const enum node_value by_role[BUS_ROLE_COUNT] = {
        [BUS_ROLE_CLIENT] = NODE_peers_client,         [BUS_ROLE_EDGE] = NODE_peers_edge,
        [BUS_ROLE_WORKER] = NODE_peers_worker,         [BUS_ROLE_PLUGIN] = NODE_peers_plugin,
        [BUS_ROLE_SUBSCRIBER] = NODE_peers_subscriber, [BUS_ROLE_ADMIN] = NODE_peers_admin,
        [BUS_ROLE_ROUTER] = NODE_peers_router,         [BUS_ROLE_LEDGER] = NODE_peers_ledger,
    };
    for (size_t role = BUS_ROLE_NONE + 1; role < BUS_ROLE_COUNT; role++) {
        values[by_role[role]] += get(&process->peers[role]);
    }
}

static void
read_all(void *arg, struct node_values *out)
{
    dynabus_t *gateway = arg;
    uint64_t *values = out->values;
    if (gateway->edges != NULL) {
        read_edges(gateway->edges, values);
    }
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        read_owner(&gateway->cells[i].owner_counters, values);
        read_router(&gateway->cells[i].router_counters, values);
    }
    read_ports(&gateway->ports_counters, values);
    upstream_tally_each(&gateway->reload.tally, add_upstream, values);
    read_reload(&gateway->reload, values);
    read_refresh(&gateway->refresh, values);
    read_orphans(&gateway->orphans, values);
    read_answers(&gateway->answers, values);
    read_leases(&gateway->leases, values);
    read_journal(&gateway->shared.ledger, values);
    read_store(&gateway->store_gauges, values);
    read_mailboxes(gateway->bus, values);
    read_roles(&gateway->network.process, values);
    values[NODE_events_dropped] += get(&gateway->shared.events_dropped);
    values[NODE_late_answers] += get(&gateway->shared.late_answers);
}

static void
add_breaker(void *arg, const struct provider_shared *shared)
{
    if (shared->guard != NULL && provider_guard_has_breaker(shared->guard)) {
        const health_board_t *board = provider_guard_board(shared->guard);
        node_breakers_add(arg, dyn_slice_str(shared->target),
                          health_state_of(board, dyn_mono_us(&dyn_clock_system)));
    }
}

static void
read_breakers(void *arg, struct node_breakers *breakers)
{
    dynabus_t *gateway = arg;
    upstream_tally_each(&gateway->reload.tally, add_breaker, breakers);
}

struct node_source
gateway_measures(struct dynabus *gateway)
{
    return (struct node_source){read_all, gateway, read_breakers};
}
