/* See node_breakers.h. */
#include "proto/node_breakers.h"

#include "proto/mp.h"

#include <stdlib.h>

static struct dyn_slice
name_of(const struct node_breaker *breaker)
{
    return dyn_slice(breaker->name, breaker->name_len);
}

/* The states of enum health_state stand in order: the worst is the last. */
void
node_breakers_add(struct node_breakers *breakers, struct dyn_slice target, enum health_state state)
{
    bool is_sound = target.len > 0 && target.len <= NODE_BREAKER_NAME_MAX && state <= HEALTH_OPEN;
    for (size_t i = 0; is_sound && i < breakers->n; i++) {
        struct node_breaker *known = &breakers->items[i];
        if (dyn_slice_eq(name_of(known), target)) {
            known->state = state > known->state ? (uint8_t)state : known->state;
            return;
        }
    }
    if (!is_sound || breakers->n >= NODE_BREAKERS_MAX) {
        return;
    }
    breakers->items = dyn_realloc(breakers->items, (breakers->n + 1) * sizeof *breakers->items);
    struct node_breaker *breaker = &breakers->items[breakers->n++];
    *breaker = (struct node_breaker){.name_len = (uint8_t)target.len, .state = (uint8_t)state};
    memcpy(breaker->name, target.data, target.len);
}

void
node_breakers_fini(struct node_breakers *breakers)
{
    free(breakers->items);
    *breakers = (struct node_breakers){NULL, 0};
}

void
node_breakers_read(struct node_breakers *breakers, struct dyn_slice map)
{
    struct mp_cursor at = mp_cursor(map);
    struct mp_value head;
    if (map.len == 0 || !mp_next(&at, &head) || head.type != MP_MAP) {
        return;
    }
    for (uint64_t i = 0; i < head.number; i++) {
        struct mp_value key;
        struct mp_value value;
        if (!mp_next(&at, &key) || key.type != MP_STR) {
            return;
        }
        struct mp_cursor number = at;
        mp_skip(&at);
        if (mp_next(&number, &value) && value.type == MP_UINT && value.number <= HEALTH_OPEN) {
            node_breakers_add(breakers, key.bytes, (enum health_state)value.number);
        }
    }
}
