#include "gateway/keyring.h"

#include "core/clock.h"
#include "gateway/cell.h"
#include "router/keys_actor.h"
#include "router/keys_config.h"

#include <stdlib.h>

static const struct admission_config *
config_of(const dynabus_t *gateway)
{
    return config_values(gateway->config, &keys_config_part);
}

int
gateway_open_keys(dynabus_t *gateway, struct dyn_err *err)
{
    const struct admission_config *config = config_of(gateway);
    gateway->guessing =
        guessing_new((uint32_t)config->auth.max_failures, config->auth.failure_window_ms * 1000);
    if (config->keys.file.len == 0 || !gateway_has_router(gateway)) {
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
    if (gateway->keys == NULL) {
        return config_of(gateway)->keys.file.len > 0;
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
        gateway->has_key_store = false; /* the actor's */
        gateway->common.keys = bus_add_actor(gateway->bus, gateway->common.loop, &keys_actor_ops,
                                             keys_actor_new(&gateway->key_admin));
    }
}

void
gateway_close_keys(dynabus_t *gateway)
{
    if (gateway->has_key_store) {
        gateway->key_admin.store.ops->close(gateway->key_admin.store.self);
    }
    key_ring_free(&gateway->keys);
    guessing_free(&gateway->guessing);
}
