/* Builds a gateway out of its parts and takes it apart again: configuration, cells, actors. What a
 * request does is the actors' business. */
#include "gateway/gateway.h"

#include "actors/metrics/metrics.h"
#include "bus/publisher.h"
#include "core/buf.h"
#include "core/log.h"
#include "core/rand.h"
#include "edge/group.h"
#include "gateway/cell.h"
#include "gateway/cores.h"
#include "gateway/descriptors.h"
#include "gateway/housekeeping.h"
#include "gateway/keyring.h"
#include "gateway/measures.h"
#include "gateway/reloader.h"
#include "gateway/storage.h"
#include "gateway/upstreams.h"
#include "gateway/variables.h"
#include "gateway/version.h"
#include "gateway/watch.h"
#include "router/keys_config.h"

#include <stdio.h>
#include <stdlib.h>

/* One where there is neither HTTP to take in nor upstreams to call: routing is little work, and one loop
 * saves the way between two. */
static unsigned
count_cells(const dynabus_t *gateway, const struct gateway_config *config)
{
    bool is_small = !gateway_has(gateway->roles, GATEWAY_ROLE_EDGE) &&
                    !gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER);
    unsigned cells = gateway->options.cells;
    if (cells == 0) {
        cells = config->cells > 0 ? (unsigned)config->cells : is_small ? 1 : usable_cores();
    }
    return cells < DYNABUS_CELLS_MAX ? cells : DYNABUS_CELLS_MAX;
}

static int
settle(dynabus_t *gateway, struct dyn_err *err)
{
    const char *listen = NULL;
    if (gateway_serves_http(gateway)) {
        struct dyn_slice configured = gateway_configured_listen(gateway->config);
        if (gateway_choose_listen(&gateway->options, configured, &gateway->env, gateway->listen,
                                  sizeof gateway->listen, err) != 0) {
            return -1;
        }
        listen = gateway->listen;
    }
    if (gateway_open_keys(gateway, err) != 0) {
        return -1;
    }
    struct admission *admission = &gateway->shared.admission;
    const struct admission_config *keys = config_values(gateway->config, &keys_config_part);
    bool is_public = gateway_network_is_public(&gateway->network);
    gateway->env.has_keys = keys->keys.file.len > 0;
    gateway->env.has_usable_key = gateway_has_usable_key(gateway);
    gateway->env.knows_keys = gateway->keys != NULL && key_ring_has_table(gateway->keys);
    if (gateway_choose_admission(&gateway->env, listen, is_public ? gateway->bus_text : NULL, admission,
                                 &gateway->auth, err) != 0) {
        return -1;
    }
    uint8_t bytes[sizeof gateway->own_key / 2];
    dyn_random_bytes(bytes, sizeof bytes);
    dyn_hex_encode(gateway->own_key, bytes, sizeof bytes);
    admission->own_key = dyn_slice_str(gateway->own_key);
    admission->keys = gateway->keys;
    admission->guessing = gateway->guessing;
    return 0;
}

static int
plan_network(dynabus_t *gateway, const struct gateway_config *config, struct dyn_err *err)
{
    struct gateway_network *network = &gateway->network;
    if (gateway_network_plan(network, &gateway->options, &config->bus, gateway->roles,
                             config_digest(gateway->config), err) != 0) {
        return -1;
    }
    if (network->listens) {
        bus_endpoint_text(&network->base, BUS_ENDPOINT_CLIENTS, gateway->bus_text);
    } else if (network->n_routers > 0) {
        (void)snprintf(gateway->bus_text, sizeof gateway->bus_text, "%s%s", network->routers[0],
                       network->n_routers > 1 ? ", .." : "");
    }
    return 0;
}

/* Beside a router: what it counts. Else what the routers of the fleet publish. */
static void
add_metrics(dynabus_t *gateway)
{
    bool has_own = gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER);
    if (has_own) {
        gateway->requests = request_metrics_new(gateway->n_cells);
    }
    struct node_source sources[] = {
        metrics_of_process(&gateway->network.process),
        metrics_of_publisher(&gateway->publisher_counts),
        gateway_measures(gateway),
    };
    struct metrics_options options = {
        .process = &gateway->network.process,
        .requests = gateway->requests,
        .sources = sources,
        .n_sources = DYN_ARRAY_LEN(sources),
        .version = gateway_version,
        .routers = has_own ? NULL : gateway->network.routers,
        .n_routers = has_own ? 0 : gateway->network.n_routers,
    };
    gateway->common.metrics =
        bus_add_actor(gateway->bus, gateway->common.loop, &metrics_actor_ops, metrics_new(&options));
}

static void
add_common(dynabus_t *gateway, const struct gateway_config *config)
{
    struct gateway_common *common = &gateway->common;
    gateway->hooks = hooks_new(&gateway->shared);
    (void)bus_add_actor(gateway->bus, common->loop, &housekeeping_actor_ops, housekeeping_new());
    common->reloader = bus_add_actor(gateway->bus, common->loop, &reloader_actor_ops, reloader_new(gateway));
    gateway_add_keys(gateway);
    common->hooks = bus_add_actor(gateway->bus, common->loop, &hooks_actor_ops, gateway->hooks);
    if (gateway_has(gateway->roles, GATEWAY_ROLE_METRICS)) {
        add_metrics(gateway);
    }
    if (gateway->network.listens) {
        char endpoint[BUS_ENDPOINT_MAX];
        bus_endpoint_text(&gateway->network.base, BUS_ENDPOINT_EVENTS, endpoint);
        struct publisher_options options = {
            .process = &gateway->network.process,
            .endpoint = endpoint,
            .also = common->hooks,
            .metrics = common->metrics,
            .counts = &gateway->publisher_counts,
            .replay_bytes = (size_t)config->bus.replay,
        };
        common->publisher =
            bus_add_actor(gateway->bus, common->loop, &publisher_actor_ops, publisher_new(&options));
        atomic_store(&gateway->shared.wants_events, true);
    }
}

/* What is added first is drained and stopped last: housekeeping, hooks, publisher, then of all cells
 * providers and routers, the ports, and those who ask: owners, callers, edges. */
static int
build(dynabus_t *gateway, config_t **config_p, char **source_p, struct dyn_err *err)
{
    const struct gateway_config *config = config_values(*config_p, &gateway_config_part);
    gateway->config = *config_p;
    gateway_roles_text(gateway->roles, gateway->roles_text, sizeof gateway->roles_text);
    gateway->n_cells = count_cells(gateway, config);
    gateway->plugin_host = (struct plugin_host){.clock = &dyn_clock_system,
                                                .n_cells = gateway->n_cells,
                                                .answers = &gateway->answers,
                                                .leases = &gateway->leases};
    if (plan_network(gateway, config, err) != 0 || settle(gateway, err) != 0 ||
        descriptors_check(gateway->n_cells, err) != 0) {
        return -1;
    }
    struct bus_options bus = {.inproc = config->bus.local == GATEWAY_BUS_INPROC};
    gateway->bus = bus_new(&bus, err);
    if (gateway->bus == NULL) {
        return -1;
    }
    gateway->common.loop = bus_add_loop(gateway->bus, "rest");
    if (gateway_add_ledger(gateway, err) != 0 || gateway_begin(gateway, config_p, source_p, err) != 0) {
        return -1;
    }
    gateway->orphans.time_ms = (uint32_t)config->bus.workers.orphan_time_ms;
    gateway->orphans.bytes_max = (size_t)config->bus.workers.orphan_memory;
    add_common(gateway, config);
    gateway_link_ledger(gateway);
    gateway->cells = dyn_zalloc(gateway->n_cells * sizeof(struct gateway_cell));
    if (gateway_open_edges(gateway, err) != 0) {
        return -1;
    }
    return gateway_add_cells(gateway, err);
}

/* Who closes comes before who calls: threads that never cease to call must not keep a gateway open. */
static void
init_users(pthread_rwlock_t *users)
{
    pthread_rwlockattr_t attr;
    (void)pthread_rwlockattr_init(&attr);
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(users, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
}

static void
gateway_free(dynabus_t *gateway)
{
    bus_free(&gateway->bus);
    gateway_watch_t *watch = atomic_load(&gateway->watch);
    gateway_watch_free(&watch);
    gateway_close_edges(gateway);
    free(gateway->cells);
    request_metrics_free(&gateway->requests);
    gateway_close_keys(gateway);
    gateway_reload_fini(gateway);
    gateway_refresh_fini(&gateway->refresh);
    gateway_network_fini(&gateway->network);
    free(gateway->url);
    (void)pthread_rwlock_destroy(&gateway->users);
    free(gateway);
}

void
gateway_tell_why(char *why, size_t why_size, struct dyn_slice text)
{
    if (why != NULL && why_size > 0) {
        while (text.len > 0 && text.data[text.len - 1] == '\n') {
            text.len--;
        }
        (void)snprintf(why, why_size, "%.*s", (int)text.len, text.data ? text.data : "");
    }
}

static int
gateway_watch(dynabus_t *gateway, struct dyn_err *err)
{
    gateway_watch_t *watch = gateway_watch_start(gateway, err);
    atomic_store(&gateway->watch, watch);
    return watch != NULL ? 0 : -1;
}

dynabus_t *
dynabus_new(const struct dynabus_options *options, char *why, size_t why_size)
{
    dynabus_t *gateway = dyn_zalloc(sizeof *gateway);
    size_t known = options->size < sizeof gateway->options ? options->size : sizeof gateway->options;
    memcpy(&gateway->options, options, known); /* an older caller's struct is shorter */
    gateway->env = gateway_env_read();
    init_users(&gateway->users);
    gateway_reload_init(gateway);
    gateway_refresh_init(&gateway->refresh);
    struct dyn_buf problems = DYN_BUF_INIT;
    struct dyn_err err = {0};
    char *source = NULL;
    config_t *config = NULL;
    if (gateway_roles_parse(gateway->options.roles, &gateway->roles, &err) == 0) {
        config = gateway_read_config(gateway, options->config_path, options->config_text, &source, &problems);
    }
    gateway_warn_of_variables();
    if (config != NULL && build(gateway, &config, &source, &err) == 0 && bus_start(gateway->bus, &err) == 0 &&
        gateway_watch(gateway, &err) == 0) {
        dyn_buf_fini(&problems);
        gateway_refresh_look(gateway);
        gateway->options.config_path = gateway->options.config_text = gateway->options.listen = NULL;
        gateway->options.roles = gateway->options.targets = gateway->options.bus = NULL;
        return gateway;
    }
    config_free(&config); /* where it was not taken */
    free(source);
    gateway_tell_why(why, why_size, problems.len > 0 ? dyn_buf_slice(&problems) : dyn_slice_str(err.text));
    dyn_buf_fini(&problems);
    if (gateway->bus != NULL) {
        (void)bus_stop(gateway->bus, 0);
    }
    gateway_free(gateway);
    return NULL;
}

unsigned
dynabus_close(dynabus_t **gateway_p, uint32_t drain_ms)
{
    dynabus_t *gateway = *gateway_p;
    *gateway_p = NULL;
    if (gateway == NULL) {
        return 0;
    }
    gateway_watch_stop(atomic_load(&gateway->watch)); /* loops may still ask it; they are told no */
    gateway_refresh_close(&gateway->refresh);
    gateway_reload_close(gateway); /* before calls are kept out: it waits for loops, which may make some */
    (void)pthread_rwlock_wrlock(&gateway->users); /* calls that are under way end first */
    gateway->closing = true;
    (void)pthread_rwlock_unlock(&gateway->users);
    const struct gateway_config *config = config_values(gateway->reload.now->config, &gateway_config_part);
    uint32_t limit = drain_ms == DYNABUS_DRAIN_DEFAULT ? (uint32_t)config->drain_timeout_ms : drain_ms;
    hooks_call_until(gateway->hooks, dyn_mono_us(&dyn_clock_system) + (uint64_t)limit * 1000);
    unsigned cut = bus_stop(gateway->bus, limit);
    gateway_free(gateway);
    dyn_log_flush();
    return cut;
}

/* A call of the user's begins: until leave() the gateway is there. false: it is closing. */
static bool
enter(dynabus_t *gateway)
{
    (void)pthread_rwlock_rdlock(&gateway->users);
    if (gateway->closing) {
        (void)pthread_rwlock_unlock(&gateway->users);
        return false;
    }
    return true;
}

static void
leave(dynabus_t *gateway)
{
    (void)pthread_rwlock_unlock(&gateway->users);
}

/* The caller of one cell after the other. NULL: there is nobody to ask here. */
static caller_t *
next_caller(dynabus_t *gateway)
{
    unsigned number = atomic_fetch_add_explicit(&gateway->next_cell, 1, memory_order_relaxed);
    return gateway->cells[number % gateway->n_cells].caller;
}

/* `request` may be an older program's, and shorter. */
static struct dynabus_request
known_part(const struct dynabus_request *request)
{
    struct dynabus_request asked = DYNABUS_REQUEST_INIT;
    memcpy(&asked, request, request->size < sizeof asked ? request->size : sizeof asked);
    return asked;
}

static int
route(dynabus_t *gateway, const struct dynabus_request *request, dynabus_chunk_fn chunk,
      dynabus_answer_fn answered, void *user)
{
    struct dynabus_request asked = known_part(request);
    if (asked.body == NULL || answered == NULL || !enter(gateway)) {
        return -1;
    }
    caller_t *caller = next_caller(gateway);
    int rc = caller != NULL ? caller_submit(caller, &asked, chunk, answered, user) : -1;
    leave(gateway);
    return rc;
}

int
dynabus_embed(dynabus_t *gateway, const struct dynabus_request *request, dynabus_answer_fn answered,
              void *user)
{
    struct dynabus_request asked = known_part(request);
    if (asked.body == NULL || answered == NULL || !enter(gateway)) {
        return -1;
    }
    caller_t *caller = next_caller(gateway);
    int rc = caller != NULL ? caller_embed(caller, &asked, answered, user) : -1;
    leave(gateway);
    return rc;
}

int
dynabus_route(dynabus_t *gateway, const struct dynabus_request *request, dynabus_answer_fn answered,
              void *user)
{
    return route(gateway, request, NULL, answered, user);
}

int
dynabus_route_stream(dynabus_t *gateway, const struct dynabus_request *request, dynabus_chunk_fn chunk,
                     dynabus_answer_fn answered, void *user)
{
    return route(gateway, request, chunk, answered, user);
}

int
dynabus_add_hook(dynabus_t *gateway, dynabus_hook_fn hook, void *user)
{
    if (hook == NULL || !enter(gateway)) {
        return -1;
    }
    int rc = hooks_add(gateway->hooks, hook, user);
    leave(gateway);
    return rc;
}

uint64_t
dynabus_events_dropped(const dynabus_t *gateway)
{
    return atomic_load_explicit(&gateway->shared.events_dropped, memory_order_relaxed);
}

const char *
dynabus_url(const dynabus_t *gateway)
{
    return gateway->url != NULL ? gateway->url : "";
}

bool
dynabus_is_ready(const dynabus_t *gateway)
{
    const struct gateway_network *network = &gateway->network;
    bool has_links = gateway_is_edge(gateway) || gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER) ||
                     gateway_has(gateway->roles, GATEWAY_ROLE_PLUGIN) ||
                     gateway_has(gateway->roles, GATEWAY_ROLE_LEDGER);
    return network->n_routers == 0 || !has_links || bus_process_peers(&network->process) > 0;
}

const char *
dynabus_targets(const dynabus_t *gateway)
{
    return gateway->boot->target_names != NULL ? gateway->boot->target_names : "";
}

const char *
dynabus_bus(const dynabus_t *gateway)
{
    return gateway->bus_text;
}

const char *
dynabus_roles(const dynabus_t *gateway)
{
    return gateway->roles_text;
}

const char *
dynabus_client_auth(const dynabus_t *gateway)
{
    return gateway->auth;
}

const char *
dynabus_version(void)
{
    return gateway_version;
}
