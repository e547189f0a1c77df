/* See model_list.h. A table that is indexed by a hash of the name; a place that is taken is followed by the
 * next one. */
#include "router/model_list.h"

#include "router/strategies/rank.h"

#include <stdlib.h>

enum { SLOTS_MIN = 16 };

/* Where a name stands. */
struct listed {
    uint32_t target; /* its number and 1; 0: the slot is free */
    uint32_t model;
};

struct route_model_list {
    uint64_t generation; /* of the members that it was made of */
    size_t n_slots;      /* a power of 2, twice the names at least */
    dyn_block_t *text;   /* NULL: nobody has asked for it */
    struct listed slots[];
};

static size_t
slots_for(const struct route_members *members)
{
    size_t n = 0;
    size_t n_slots = SLOTS_MIN;
    for (size_t i = 0; i < members->n_targets; i++) {
        n += members->targets[i].n_models;
    }
    while (n_slots < 2 * n) {
        n_slots *= 2;
    }
    return n_slots;
}

static struct dyn_slice
name_at(const struct route_members *members, const struct listed *at)
{
    return members->targets[at->target - 1].models[at->model];
}

/* Where the name stands, or the free slot where it would. */
static struct listed *
find(route_model_list_t *list, const struct route_members *members, struct dyn_slice model)
{
    size_t at = (size_t)route_hash(model) & (list->n_slots - 1);
    while (list->slots[at].target != 0 && !dyn_slice_eq(name_at(members, &list->slots[at]), model)) {
        at = (at + 1) & (list->n_slots - 1);
    }
    return &list->slots[at];
}

static route_model_list_t *
list_new(const struct route_members *members)
{
    size_t n_slots = slots_for(members);
    route_model_list_t *list = dyn_zalloc(sizeof *list + n_slots * sizeof list->slots[0]);
    list->generation = members->generation;
    list->n_slots = n_slots;
    for (size_t i = 0; i < members->n_targets; i++) {
        for (size_t k = 0; k < members->targets[i].n_models; k++) {
            struct listed *at = find(list, members, members->targets[i].models[k]);
            if (at->target == 0) {
                *at = (struct listed){(uint32_t)i + 1, (uint32_t)k};
            }
        }
    }
    return list;
}

void
route_model_list_free(route_model_list_t **list_p)
{
    route_model_list_t *list = *list_p;
    *list_p = NULL;
    if (list != NULL) {
        dyn_block_unref(&list->text);
        free(list);
    }
}

static route_model_list_t *
list_now(struct route_members *members)
{
    if (members->list == NULL || members->list->generation != members->generation) {
        route_model_list_free(&members->list);
        members->list = list_new(members);
    }
    return members->list;
}

const struct route_target *
route_model_owner(struct route_members *members, struct dyn_slice model)
{
    const struct listed *at = find(list_now(members), members, model);
    return at->target != 0 ? &members->targets[at->target - 1] : NULL;
}

/* ---- its text ---- */

void
route_model_text(struct dyn_buf *out, struct dyn_slice id, struct dyn_slice owner)
{
    dyn_buf_add_str(out, "{\"id\":");
    dyn_buf_add_json_string(out, id);
    dyn_buf_add_str(out, ",\"object\":\"model\",\"created\":0,\"owned_by\":");
    dyn_buf_add_json_string(out, owner);
    dyn_buf_add_char(out, '}');
}

static bool
is_first(route_model_list_t *list, const struct route_members *members, size_t target, size_t model)
{
    const struct listed *at = find(list, members, members->targets[target].models[model]);
    return at->target == target + 1 && at->model == model;
}

dyn_block_t *
route_models_text(struct route_members *members)
{
    route_model_list_t *list = list_now(members);
    if (list->text != NULL) {
        return list->text;
    }
    struct dyn_buf out = DYN_BUF_INIT;
    const char *comma = "";
    dyn_buf_add_str(&out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < members->n_targets; i++) {
        for (size_t k = 0; k < members->targets[i].n_models; k++) {
            if (is_first(list, members, i, k)) {
                dyn_buf_add_str(&out, comma);
                route_model_text(&out, members->targets[i].models[k], members->targets[i].provider);
                comma = ",";
            }
        }
    }
    dyn_buf_add_str(&out, "]}");
    list->text = dyn_block_copy(0, dyn_buf_slice(&out));
    dyn_buf_fini(&out);
    return list->text;
}
