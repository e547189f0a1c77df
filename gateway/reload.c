#include "gateway/reload.h"

#include "actors/ledger/ledger_config.h"
#include "actors/plugins/plugin_config.h"
#include "actors/providers/provider_config.h"
#include "core/config_same.h"
#include "core/log.h"
#include "edge/edge.h"
#include "edge/edge_config.h"
#include "edge/group.h"
#include "edge/owner.h"
#include "gateway/cell.h"
#include "gateway/discover.h"
#include "gateway/keyring.h"
#include "router/keys_config.h"
#include "router/models_config.h"
#include "router/router_config.h"

#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* More than a configuration may have: the loader says so. */
enum { SOURCE_BYTES_MAX = (1 << 20) + 1 };

/* ---- reading ---- */

struct gateway_mark
gateway_mark_of(const char *path)
{
    struct stat status;
    if (path == NULL || stat(path, &status) != 0) {
        return (struct gateway_mark){.is_there = false};
    }
    return (struct gateway_mark){true,           status.st_dev,  status.st_ino,
                                 status.st_size, status.st_mtim, status.st_ctim};
}

/* Secrets of targets are for the processes that call them. */
static const struct config_part *const parts_without_upstreams[] = {
    &gateway_config_part, &edge_config_part,   &router_config_part, &keys_config_part,
    &models_config_part,  &plugin_config_part, &ledger_config_part,
};

/* NULL: it cannot be read; the loader says why. */
static char *
read_source(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    char *bytes = dyn_alloc(SOURCE_BYTES_MAX + 1);
    size_t used = 0;
    ssize_t n = 1;
    while (n > 0 && used < SOURCE_BYTES_MAX) {
        n = read(fd, bytes + used, SOURCE_BYTES_MAX - used);
        used += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    bytes[used] = '\0';
    if (n < 0 || strlen(bytes) != used) { /* a zero byte is no text: let the loader say so */
        free(bytes);
        return NULL;
    }
    return bytes;
}

static config_t *
read_from(const struct dynabus *gateway, const char *path, const char *text, char **source_p)
{
    struct config_options how = {.ignore_unsupported = gateway->options.ignore_unsupported};
    if (!gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER)) {
        how.resolve = parts_without_upstreams;
        how.n_resolve = DYN_ARRAY_LEN(parts_without_upstreams);
    }
    if (path != NULL) {
        *source_p = read_source(path);
        return *source_p != NULL
                   ? config_parse(dyn_slice_str(*source_p), path, gateway_parts, gateway_n_parts, &how)
                   : config_load(path, gateway_parts, gateway_n_parts, &how);
    }
    if (text != NULL) {
        *source_p = dyn_strdup(text);
        return config_parse(dyn_slice_str(text), "config", gateway_parts, gateway_n_parts, &how);
    }
    return config_defaults(gateway_parts, gateway_n_parts);
}

config_t *
gateway_read_config(const struct dynabus *gateway, const char *path, const char *text, char **source_p,
                    struct dyn_buf *why)
{
    *source_p = NULL;
    config_t *config = read_from(gateway, path, text, source_p);
    if (!config_ok(config)) {
        dyn_buf_add_str(why, "the configuration cannot be used\n");
        config_print_problems(config, why);
        config_free(&config);
        free(*source_p);
        *source_p = NULL;
        return NULL;
    }
    gateway_warn(config);
    router_config_finish(config_values(config, &router_config_part));
    return config;
}

/* ---- editions ---- */

static int
add_plugins(struct dynabus *gateway, struct gateway_edition *edition, struct dyn_err *err)
{
    struct registered_ops registered;
    registered_plugin_list(gateway->reload.plugins, gateway->reload.n_plugins, &registered);
    struct plugin_set_options options = {
        .host = &gateway->plugin_host,
        .registered = registered.items,
        .implied = gateway_implied_plugins(gateway),
        .hosts_router = gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER),
        .hosts_plugin = gateway_has(gateway->roles, GATEWAY_ROLE_PLUGIN),
        .former = gateway->reload.now != NULL ? gateway->reload.now->plugins : NULL,
    };
    return gateway_edition_add_plugins(edition, &options, err);
}

static struct gateway_edition *
make_edition(struct dynabus *gateway, uint64_t number, config_t **config_p, char **source_p,
             struct registered *const *registered, size_t n_registered, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    bool calls = gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER);
    bool has_targets = calls || gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER);
    struct upstreams_options options = {
        .tally = &reload->tally,
        .dev = gateway->options.dev,
        .mock_url = reload->mock != NULL ? reload->mock_root : NULL,
        .routes_only = !calls,
        .may_be_none = (gateway->network.listens && !calls) || !gateway->options.serve_http,
        .names = reload->wanted,
        .registered = registered,
        .n_registered = n_registered,
        .discovery = reload->discovery,
        .former = reload->now != NULL ? reload->now->upstreams : NULL,
    };
    const catalogue_t *catalogue = reload->catalogue != NULL ? reload->catalogue : catalogue_builtin();
    struct gateway_edition *edition = gateway_edition_new(number, config_p, has_targets ? &options : NULL,
                                                          gateway_has_router(gateway), catalogue, err);
    if (edition != NULL && add_plugins(gateway, edition, err) != 0) {
        gateway_edition_unref(&edition);
    }
    if (edition != NULL) {
        edition->source = *source_p;
        *source_p = NULL;
    }
    free(*source_p);
    *source_p = NULL;
    return edition;
}

static void
show(struct dynabus *gateway, const struct gateway_edition *edition)
{
    uint64_t digest = config_digest(edition->config);
    atomic_store(&gateway->network.process.config_digest, digest);
    atomic_store(&gateway->network.process.config_version, edition->number);
    atomic_store(&gateway->shared.config_digest, digest);
}

static int
start_mock(struct gateway_reload *reload, struct dyn_err *err)
{
    struct mock_options options = {.listen = "127.0.0.1:0"};
    reload->mock = mock_start(&options, err);
    if (reload->mock == NULL) {
        return -1;
    }
    (void)snprintf(reload->mock_root, sizeof reload->mock_root, "%s/v1", mock_url(reload->mock));
    return 0;
}

int
gateway_begin(struct dynabus *gateway, config_t **config_p, char **source_p, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    if (gateway->options.dev && gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER) &&
        start_mock(reload, err) != 0) {
        config_free(config_p);
        free(*source_p);
        return -1;
    }
    reload->now = make_edition(gateway, 1, config_p, source_p, NULL, 0, err);
    if (reload->now == NULL) {
        return -1;
    }
    gateway->boot = gateway_edition_ref(reload->now);
    gateway->config = gateway->boot->config;
    show(gateway, reload->now);
    return 0;
}

struct gateway_edition *
gateway_edition_now(struct dynabus *gateway)
{
    struct gateway_reload *reload = &gateway->reload;
    (void)pthread_mutex_lock(&reload->lock);
    struct gateway_edition *edition = gateway_edition_ref(reload->now);
    (void)pthread_mutex_unlock(&reload->lock);
    return edition;
}

/* ---- what differs ---- */

/* What a running gateway takes up. All else of these parts was worked out when it began. */
static const char *const live_gateway_keys[] = {"apiVersion", "drain_timeout", "reload", NULL};
static const char *const live_keys_keys[] = {NULL};
static const char *const live_edge_keys[] = {NULL};
static const char *const live_ledger_keys[] = {NULL}; /* a store is not changed under those who write */

struct difference {
    const config_t *now;
    const char *const *live; /* NULL: all */
    unsigned n;
    bool warns;
};

static void
note_difference(void *arg, const struct config_key *key, struct config_mark mark)
{
    struct difference *difference = arg;
    bool is_live = difference->live == NULL;
    for (size_t i = 0; !is_live && difference->live[i] != NULL; i++) {
        is_live = strcmp(difference->live[i], key->name) == 0;
    }
    difference->n++;
    if (!is_live && difference->warns) {
        dyn_log(DYN_LOG_WARN, "gateway.reload.restart", "a change needs a restart and is not in force",
                DYN_LOG_STR("key", key->name), DYN_LOG_UINT("line", mark.line));
    }
}

static unsigned
compare(const config_t *before, const config_t *now, bool warns)
{
    struct difference difference = {.now = now, .warns = warns};
    for (size_t i = 0; i < gateway_n_parts; i++) {
        const struct config_part *part = gateway_parts[i];
        difference.live = part == &gateway_config_part  ? live_gateway_keys
                          : part == &edge_config_part   ? live_edge_keys
                          : part == &keys_config_part   ? live_keys_keys
                          : part == &ledger_config_part ? live_ledger_keys
                                                        : NULL;
        config_part_differences(part, before, now, note_difference, &difference);
    }
    return difference.n;
}

/* ---- to the cells ---- */

struct cell_step {
    struct dynabus *gateway;
    struct gateway_cell *cell;
    struct gateway_edition *edition;
    int result;
    struct dyn_err *err;
    sem_t done;
};

static void
prepare_on_loop(void *arg)
{
    struct cell_step *step = arg;
    step->result = keeper_prepare(step->cell->keeper, step->edition, step->err);
    (void)sem_post(&step->done);
}

static void
abandon_on_loop(void *arg)
{
    struct cell_step *step = arg;
    if (step->cell->keeper != NULL) {
        keeper_abandon(step->cell->keeper);
    }
    (void)sem_post(&step->done);
}

/* Rules of the new configuration may look at other headers. */
static void
tell_edge(void *edge, const struct gateway_edition *edition)
{
    struct gateway_headers headers;
    gateway_headers_init(&headers, edition);
    edge_apply(edge, headers.names, headers.n);
    gateway_headers_fini(&headers);
}

/* The first one shows it, between two envelopes: who joins there never hears of the new configuration with
 * the former targets, and what a cell says of its new targets says the new configuration. */
static void
commit_on_loop(void *arg)
{
    struct cell_step *step = arg;
    if (step->cell == &step->gateway->cells[0]) {
        show(step->gateway, step->edition);
    }
    if (step->cell->plugins_self != NULL) { /* before the router asks for what is new */
        plugin_actor_apply(step->cell->plugins_self, step->edition->plugins);
    }
    if (step->cell->plugin_link != NULL) {
        plugin_link_apply(step->cell->plugin_link, step->edition->plugins);
    }
    if (step->cell->keeper != NULL) {
        keeper_commit(step->cell->keeper);
    }
    if (step->cell->owner_self != NULL) {
        const struct router_config *router = config_values(step->edition->config, &router_config_part);
        owner_apply(step->cell->owner_self, router->request_timeout_ms);
    }
    if (step->cell->edge_self != NULL) {
        tell_edge(step->cell->edge_self, step->edition);
    }
    (void)sem_post(&step->done);
}

static int
on_cell(struct dynabus *gateway, unsigned i, struct gateway_edition *edition, void (*fn)(void *arg),
        struct dyn_err *err)
{
    struct gateway_cell *cell = &gateway->cells[i];
    struct cell_step step = {.gateway = gateway, .cell = cell, .edition = edition, .err = err};
    (void)sem_init(&step.done, 0, 0);
    bus_loop_post(cell->loop, fn, &step);
    while (sem_wait(&step.done) != 0) { /* a signal */
    }
    (void)sem_destroy(&step.done);
    return step.result;
}

/* All cells have everything that the edition needs before the first one lets go of anything. */
static int
give_to_cells(struct dynabus *gateway, struct gateway_edition *edition, struct dyn_err *err)
{
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        if (gateway->cells[i].keeper != NULL && on_cell(gateway, i, edition, prepare_on_loop, err) != 0) {
            while (i-- > 0) {
                (void)on_cell(gateway, i, edition, abandon_on_loop, NULL);
            }
            return -1;
        }
    }
    for (unsigned i = 0; i < gateway->n_cells; i++) {
        (void)on_cell(gateway, i, edition, commit_on_loop, NULL);
    }
    return 0;
}

static void
put_in_force(struct gateway_reload *reload, struct gateway_edition *edition)
{
    (void)pthread_mutex_lock(&reload->lock);
    struct gateway_edition *former = reload->now;
    reload->now = edition;
    (void)pthread_mutex_unlock(&reload->lock);
    gateway_edition_unref(&former);
}

/* ---- one at a time ---- */

static bool
begin(struct gateway_reload *reload)
{
    (void)pthread_mutex_lock(&reload->lock);
    bool may = !reload->is_closing;
    reload->waiting += may;
    while (may && reload->is_busy) {
        (void)pthread_cond_wait(&reload->changed, &reload->lock);
    }
    reload->is_busy = reload->is_busy || may;
    (void)pthread_mutex_unlock(&reload->lock);
    return may;
}

static void
end(struct gateway_reload *reload)
{
    (void)pthread_mutex_lock(&reload->lock);
    reload->is_busy = false;
    reload->waiting--;
    (void)pthread_cond_broadcast(&reload->changed);
    (void)pthread_mutex_unlock(&reload->lock);
}

static void
add_line(struct dyn_buf *why, const char *text)
{
    dyn_buf_add_str(why, text);
    dyn_buf_add_char(why, '\n');
}

static int
change(struct dynabus *gateway, config_t **config_p, char **source_p, struct registered *const *registered,
       size_t n_registered, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    uint64_t number = reload->now->number + 1;
    struct gateway_edition *edition =
        make_edition(gateway, number, config_p, source_p, registered, n_registered, err);
    if (edition == NULL || give_to_cells(gateway, edition, err) != 0) {
        gateway_edition_unref(&edition);
        return -1;
    }
    put_in_force(reload, edition);
    gateway_refresh_look(gateway);
    char hash[BUS_CONFIG_HASH_SIZE];
    bus_process_config(&gateway->network.process, hash);
    dyn_log(DYN_LOG_INFO, "gateway.reload", "a new configuration is in force",
            DYN_LOG_UINT("version", number), DYN_LOG_STR("hash", hash),
            DYN_LOG_STR("targets", edition->target_names != NULL ? edition->target_names : ""));
    return 0;
}

static bool
is_expected(const config_t *config, const char *expected)
{
    char hash[BUS_CONFIG_HASH_SIZE];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)config_digest(config));
    return expected == NULL || *expected == '\0' || strcmp(hash, expected) == 0;
}

static enum gateway_reload_result
take_up(struct dynabus *gateway, const char *text, const char *expected, struct dyn_buf *why)
{
    struct gateway_reload *reload = &gateway->reload;
    struct dyn_err err;
    char *source = NULL;
    if (text == NULL && reload->path == NULL && is_expected(reload->now->config, expected)) {
        return GATEWAY_RELOAD_UNCHANGED;
    }
    if (text == NULL && reload->path == NULL) {
        add_line(why, "this process has no configuration file");
        return GATEWAY_RELOAD_REFUSED;
    }
    config_t *config = gateway_read_config(gateway, text != NULL ? NULL : reload->path, text, &source, why);
    if (config == NULL) {
        return GATEWAY_RELOAD_REFUSED;
    }
    const config_t *before = reload->now->config;
    if (!is_expected(config, expected)) {
        add_line(why, "the configuration found here has another hash than the one expected");
    } else if (config_digest(config) == config_digest(before) && compare(before, config, false) == 0) {
        config_free(&config);
        free(source);
        return GATEWAY_RELOAD_UNCHANGED;
    } else {
        (void)compare(gateway->boot->config, config, true);
        if (change(gateway, &config, &source, reload->registered, reload->n_registered, &err) == 0) {
            return GATEWAY_RELOAD_APPLIED;
        }
        add_line(why, err.text);
    }
    config_free(&config);
    free(source);
    return GATEWAY_RELOAD_REFUSED;
}

static enum gateway_reload_result
take_up_and_tell(struct dynabus *gateway, const char *text, const char *expected, struct dyn_buf *why)
{
    struct gateway_reload *reload = &gateway->reload;
    enum gateway_reload_result result = take_up(gateway, text, expected, why);
    atomic_uint_fast64_t *counter = result == GATEWAY_RELOAD_APPLIED     ? &reload->applied
                                    : result == GATEWAY_RELOAD_UNCHANGED ? &reload->unchanged
                                                                         : &reload->refused;
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    if (result == GATEWAY_RELOAD_REFUSED) {
        dyn_log(DYN_LOG_ERROR, "gateway.reload.refused", "the configuration in force stays",
                DYN_LOG_STR("reason", dyn_buf_cstr(why)));
    }
    return result;
}

/* Whether there is such a file that can't be used. None waits for another. */
static bool
reload_files(struct dynabus *gateway, struct dyn_buf *why)
{
    struct dyn_buf problems = DYN_BUF_INIT;
    struct dyn_err err;
    if (gateway->network.security != NULL && bus_security_reload(gateway->network.security, &err) != 0) {
        add_line(&problems, err.text);
    }
    if (gateway->edges != NULL && edge_group_reload(gateway->edges, &err) != 0) {
        add_line(&problems, err.text);
    }
    bool has_failed = problems.len > 0;
    if (has_failed) {
        dyn_log(DYN_LOG_ERROR, "gateway.reload.files", "keys or certificates in force stay",
                DYN_LOG_STR("reason", dyn_buf_cstr(&problems)));
        dyn_buf_add_slice(why, dyn_buf_slice(&problems));
    }
    dyn_buf_fini(&problems);
    return has_failed;
}

static enum gateway_reload_result
reload_in_turn(struct dynabus *gateway, const char *text, const char *expected, bool has_files,
               struct dyn_buf *why)
{
    struct gateway_reload *reload = &gateway->reload;
    if (!begin(reload)) {
        add_line(why, "the gateway is closing");
        return GATEWAY_RELOAD_REFUSED;
    }
    enum gateway_reload_result result = take_up_and_tell(gateway, text, expected, why);
    if (has_files && reload_files(gateway, why) && result != GATEWAY_RELOAD_REFUSED) {
        result = GATEWAY_RELOAD_PARTLY;
    }
    end(reload);
    return result;
}

enum gateway_reload_result
gateway_take_up(struct dynabus *gateway, const char *text, const char *expected, struct dyn_buf *why)
{
    return reload_in_turn(gateway, text, expected, false, why);
}

enum gateway_reload_result
gateway_reload_all(struct dynabus *gateway, const char *expected, struct dyn_buf *why)
{
    return reload_in_turn(gateway, NULL, expected, true, why);
}

/* The configuration in force once more, as it was read: what it refers to may have changed, and a new file is
 * for a reload to take up. */
static int
with_registered(struct dynabus *gateway, struct registered *const *registered, size_t n, struct dyn_err *err)
{
    struct gateway_edition *now = gateway->reload.now;
    struct dyn_buf why = DYN_BUF_INIT;
    char *source = NULL;
    config_t *config = gateway_read_config(gateway, NULL, now->source, &source, &why);
    int rc = config != NULL
                 ? change(gateway, &config, &source, registered, n, err)
                 : dyn_err_set(err, DYN_E_CONFIG, "the configuration in force can't be read again: %s",
                               dyn_buf_cstr(&why));
    config_free(&config);
    free(source);
    dyn_buf_fini(&why);
    return rc;
}

/* First come, first in order; who comes again takes its former place. */
int
gateway_register(struct dynabus *gateway, struct registered **registered_p, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    if (!begin(reload)) {
        return dyn_err_set(err, DYN_E_GONE, "the gateway is closing");
    }
    size_t n = reload->n_registered;
    size_t at = 0;
    struct registered **all = dyn_zalloc((n + 1) * sizeof(struct registered *));
    for (size_t i = 0; i < n; i++) {
        all[i] = reload->registered[i];
    }
    while (at < n && !dyn_slice_eq(all[at]->target.name, (*registered_p)->target.name)) {
        at++;
    }
    struct registered *former = all[at];
    all[at] = *registered_p;
    int rc = with_registered(gateway, all, at == n ? n + 1 : n, err);
    if (rc == 0) {
        *registered_p = NULL;
        free(reload->registered);
        reload->registered = all;
        reload->n_registered = at == n ? n + 1 : n;
        registered_unref(&former);
    } else {
        free(all);
    }
    end(reload);
    return rc;
}

static size_t
place_of_plugin(const struct gateway_reload *reload, const char *name)
{
    size_t at = 0;
    while (at < reload->n_plugins && strcmp(reload->plugins[at]->ops.name, name) != 0) {
        at++;
    }
    return at;
}

int
gateway_register_plugin(struct dynabus *gateway, struct registered_plugin **registered_p, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    if (!gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER) &&
        !gateway_has(gateway->roles, GATEWAY_ROLE_PLUGIN)) {
        return dyn_err_set(err, DYN_E_INVALID, "this process has neither the role router nor plugin");
    }
    if (!begin(reload)) {
        return dyn_err_set(err, DYN_E_GONE, "the gateway is closing");
    }
    size_t n = reload->n_plugins;
    size_t at = place_of_plugin(reload, (*registered_p)->ops.name);
    if (at == REGISTERED_PLUGINS_MAX) {
        end(reload);
        return dyn_err_set(err, DYN_E_LIMIT, "%d plugins are registered already", REGISTERED_PLUGINS_MAX);
    }
    struct registered_plugin *former = at < n ? reload->plugins[at] : NULL;
    reload->plugins[at] = *registered_p;
    reload->n_plugins = at == n ? n + 1 : n;
    int rc = with_registered(gateway, reload->registered, reload->n_registered, err);
    if (rc == 0) {
        *registered_p = NULL;
        registered_plugin_unref(&former);
    } else {
        reload->plugins[at] = former;
        reload->n_plugins = n;
    }
    end(reload);
    return rc;
}

int
gateway_make_again(struct dynabus *gateway, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    if (!begin(reload)) {
        return dyn_err_set(err, DYN_E_GONE, "the gateway is closing");
    }
    int rc = with_registered(gateway, reload->registered, reload->n_registered, err);
    end(reload);
    return rc;
}

int
gateway_take_catalogue(struct dynabus *gateway, catalogue_t **catalogue_p, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    if (!begin(reload)) {
        return dyn_err_set(err, DYN_E_GONE, "the gateway is closing");
    }
    catalogue_t *former = reload->catalogue;
    reload->catalogue = *catalogue_p;
    int rc = with_registered(gateway, reload->registered, reload->n_registered, err);
    if (rc == 0) {
        *catalogue_p = NULL;
        catalogue_unref(&former);
    } else {
        reload->catalogue = former;
    }
    end(reload);
    return rc;
}

int
gateway_take_discovery(struct dynabus *gateway, struct discovery **discovery_p, struct dyn_err *err)
{
    struct gateway_reload *reload = &gateway->reload;
    if (!begin(reload)) {
        return dyn_err_set(err, DYN_E_GONE, "the gateway is closing");
    }
    struct discovery *former = reload->discovery;
    reload->discovery = *discovery_p;
    int rc = with_registered(gateway, reload->registered, reload->n_registered, err);
    if (rc == 0) {
        *discovery_p = NULL;
        discovery_free(&former);
    } else {
        reload->discovery = former;
    }
    end(reload);
    return rc;
}

/* ---- life ---- */

void
gateway_reload_init(struct dynabus *gateway)
{
    struct gateway_reload *reload = &gateway->reload;
    const struct dynabus_options *options = &gateway->options;
    (void)pthread_mutex_init(&reload->lock, NULL);
    (void)pthread_cond_init(&reload->changed, NULL);
    upstream_tally_init(&reload->tally);
    reload->path = options->config_path != NULL ? dyn_strdup(options->config_path) : NULL;
    reload->mark = gateway_mark_of(reload->path);
    reload->wanted = options->targets != NULL ? dyn_strdup(options->targets) : NULL;
}

void
gateway_reload_close(struct dynabus *gateway)
{
    struct gateway_reload *reload = &gateway->reload;
    (void)pthread_mutex_lock(&reload->lock);
    reload->is_closing = true;
    while (reload->waiting > 0) {
        (void)pthread_cond_wait(&reload->changed, &reload->lock);
    }
    (void)pthread_mutex_unlock(&reload->lock);
}

void
gateway_reload_fini(struct dynabus *gateway)
{
    struct gateway_reload *reload = &gateway->reload;
    gateway_edition_unref(&reload->now);
    gateway_edition_unref(&gateway->boot);
    for (size_t i = 0; i < reload->n_registered; i++) {
        registered_unref(&reload->registered[i]);
    }
    free(reload->registered);
    for (size_t i = 0; i < reload->n_plugins; i++) {
        registered_plugin_unref(&reload->plugins[i]);
    }
    catalogue_unref(&reload->catalogue);
    discovery_free(&reload->discovery);
    mock_stop(&reload->mock);
    upstream_tally_fini(&reload->tally);
    free(reload->path);
    free(reload->wanted);
    (void)pthread_cond_destroy(&reload->changed);
    (void)pthread_mutex_destroy(&reload->lock);
}
