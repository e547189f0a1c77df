#include "gateway/keyring.h"

#include "actors/ledger/ledger_config.h"
#include "actors/ledger/store.h"
#include "actors/plugins/plugin_config.h"
#include "core/clock.h"
#include "core/log.h"
#include "gateway/cell.h"
#include "gateway/edition.h"
#include "gateway/storage.h"
#include "router/keys_actor.h"
#include "router/keys_config.h"

#include <stdio.h>
#include <stdlib.h>

static const struct admission_config *
config_of(const dynabus_t *gateway)
{
    return config_values(gateway->config, &keys_config_part);
}

/* ---- keys that the ledger of this process keeps ---- */

/* Until the bus runs the store is asked itself. */
static int
ask_store(void *self, const struct ledger_message *question, dyn_block_t **answer, uint16_t *status,
          struct dyn_err *err)
{
    struct store_job job = {.ask = *question};
    int rc = store_sqlite.read(self, &job, dyn_wall_us(&dyn_clock_system), err);
    if (rc == 0) {
        job.answer.rows = dyn_buf_slice(&job.rows);
        job.answer.n_rows = job.n_rows;
        *answer = ledger_message_encode(&job.answer);
        *status = job.status;
    }
    dyn_buf_fini(&job.rows);
    return rc;
}

/* The first request finds them there already. */
static int
load_first(dynabus_t *gateway, const char *dsn, struct dyn_err *err)
{
    void *store = store_sqlite.open(dsn, err);
    if (store == NULL) {
        return -1;
    }
    struct key_courier courier = {.ask = ask_store, .self = store};
    key_ledger_set_courier(&gateway->key_admin.store, &courier);
    int rc = key_admin_load(&gateway->key_admin, err);
    store_sqlite.close(store);
    return rc;
}

/* Nobody but this process changes them when it has the ledger itself: then they never get old. */
static int
open_ledgers(dynabus_t *gateway, const struct ledger_place *place, struct dyn_err *err)
{
    bool is_here = gateway_has(gateway->roles, GATEWAY_ROLE_LEDGER);
    gateway->keys = key_ring_new(is_here ? 0 : config_of(gateway)->keys.max_stale_ms * 1000);
    gateway->key_admin = (struct key_admin){.ring = gateway->keys, .store = key_ledger_new(gateway->keys)};
    gateway->has_key_store = gateway->has_ledgers_keys = true;
    return is_here ? load_first(gateway, place->dsn, err) : 0;
}

/* ---- what stands in keys ---- */

/* What stands in a key holds over all routers that know the key; alone, a process counts for itself. */
static config_t *
implied_plugins(bool is_fleet)
{
    static const struct config_part *const parts[] = {&plugin_config_part};
    char text[256];
    int len = snprintf(text, sizeof text,
                       "plugins: [{name: rate-limit, type: ratelimit, stage: before_request, enabled: true, "
                       "config: {keys_only: true, scope: %s}}, {name: budget, type: ratelimit, "
                       "stage: before_request, enabled: true, config: {}}]",
                       is_fleet ? "fleet" : "process");
    return config_parse(dyn_slice(text, (size_t)len), "keys", parts, DYN_ARRAY_LEN(parts), NULL);
}

static void
imply_plugins(dynabus_t *gateway, bool has_store)
{
    bool is_here = gateway_has(gateway->roles, GATEWAY_ROLE_LEDGER);
    gateway->implied = implied_plugins(has_store && (gateway->network.listens || !is_here));
}

config_t *
gateway_implied_of(const config_t *config)
{
    const struct admission_config *admission = config_values(config, &keys_config_part);
    struct ledger_place place;
    bool has_file = admission->keys.file.len > 0;
    bool has_store = gateway_place_of(config, &place, NULL) == 0 && place.backend != LEDGER_BACKEND_NONE;
    return has_file || has_store ? implied_plugins(false) : NULL;
}

const struct plugin_config *
gateway_implied_plugins(const dynabus_t *gateway)
{
    return gateway->implied != NULL ? config_values(gateway->implied, &plugin_config_part) : NULL;
}

/* ---- all of them ---- */

int
gateway_open_keys(dynabus_t *gateway, struct dyn_err *err)
{
    const struct admission_config *config = config_of(gateway);
    struct ledger_place place;
    gateway->guessing =
        guessing_new((uint32_t)config->auth.max_failures, config->auth.failure_window_ms * 1000);
    if (gateway_find_store(gateway, &place, err) != 0) {
        return -1;
    }
    bool has_file = config->keys.file.len > 0;
    bool has_store = place.backend != LEDGER_BACKEND_NONE;
    gateway->env.keys_in_store = has_store && !has_file;
    if (gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER) && (has_store || has_file)) {
        imply_plugins(gateway, has_store);
    }
    if (gateway_has(gateway->roles, GATEWAY_ROLE_ROUTER) && has_store && !has_file) {
        return open_ledgers(gateway, &place, err);
    }
    if (!has_file || !gateway_has_router(gateway)) {
        return 0;
    }
    gateway->keys = key_ring_new(0);
    gateway->key_admin =
        (struct key_admin){.ring = gateway->keys, .store = key_file_new(config->keys.file.data)};
    gateway->has_key_store = true;
    return key_admin_load(&gateway->key_admin, err);
}

bool
gateway_has_usable_key(const dynabus_t *gateway)
{
    if (gateway->keys == NULL || !key_ring_has_table(gateway->keys)) {
        return config_of(gateway)->keys.file.len > 0 || gateway->env.keys_in_store;
    }
    uint64_t now_ms = dyn_wall_us(&dyn_clock_system) / 1000;
    key_table_t *table = key_ring_get(gateway->keys);
    bool found = false;
    for (size_t i = 0; i < key_table_count(table) && !found; i++) {
        found = key_is_usable(key_table_at(table, i), now_ms);
    }
    key_table_unref(&table);
    return found;
}

void
gateway_add_keys(dynabus_t *gateway)
{
    if (gateway->has_key_store) {
        struct keys_actor_options options = {.admin = gateway->key_admin,
                                             .journal = gateway->common.ledger,
                                             .is_ledgers = gateway->has_ledgers_keys};
        gateway->has_key_store = false; /* the actor's */
        gateway->common.keys =
            bus_add_actor(gateway->bus, gateway->common.loop, &keys_actor_ops, keys_actor_new(&options));
    }
}

void
gateway_close_keys(dynabus_t *gateway)
{
    if (gateway->has_key_store) {
        gateway->key_admin.store.ops->close(gateway->key_admin.store.self);
    }
    key_ring_free(&gateway->keys);
    config_free(&gateway->implied);
    guessing_free(&gateway->guessing);
}
