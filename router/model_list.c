/* See model_list.h. A table that is indexed by a hash of the name; a place that is taken is followed by the
 * next one. */
#include "router/model_list.h"

#include "router/strategies/rank.h"

#include <stdlib.h>

enum { SLOTS_MIN = 16 };

/* Where a name stands. */
struct listed {
    uint32_t target; /* its number and 1; 0: the slot is free */
    uint32_t model;  /* of those that it lists, else of the catalogue's of its provider */
};

struct route_model_list {
    uint64_t generation;    /* of the members that it was made of */
    catalogue_t *catalogue; /* a reference; NULL: there was none */
    size_t n_slots;         /* a power of 2, twice the names at least */
    dyn_block_t *text;      /* NULL: nobody has asked for it */
    struct known {
        const struct catalogue_model *first;
        size_t n;
    } known[ROUTE_TARGETS_MAX]; /* of each target that lists none: what the catalogue knows of its provider */
    struct listed slots[];
};

/* The catalogue has models that are asked in ways which no surface here has. */
static bool
is_asked_here(const struct catalogue_model *model)
{
    return model->mode == CATALOGUE_MODE_CHAT || model->mode == CATALOGUE_MODE_EMBEDDING ||
           model->mode == CATALOGUE_MODE_UNKNOWN;
}

/* As routing has it (candidates.c): the catalogue says what a target serves that does not say so itself. */
static struct known
known_of(const struct route_members *members, size_t target)
{
    const struct route_target *row = &members->targets[target];
    struct known known = {NULL, 0};
    bool asks = row->n_models == 0 && !row->models_only && !row->is_announced && row->name.len > 0;
    if (asks && members->catalogue != NULL) {
        known.n = catalogue_of_provider(members->catalogue, row->provider, &known.first);
    }
    return known;
}

static size_t
slots_for(const struct route_members *members)
{
    size_t n = 0;
    size_t n_slots = SLOTS_MIN;
    for (size_t i = 0; i < members->n_targets; i++) {
        n += members->targets[i].n_models + known_of(members, i).n;
    }
    while (n_slots < 2 * n) {
        n_slots *= 2;
    }
    return n_slots;
}

static size_t
count_of(const route_model_list_t *list, const struct route_members *members, size_t target)
{
    size_t n = members->targets[target].n_models;
    return n > 0 ? n : list->known[target].n;
}

/* Absent: one that is not listed. */
static struct dyn_slice
name_of(const route_model_list_t *list, const struct route_members *members, size_t target, size_t model)
{
    if (members->targets[target].n_models > 0) {
        return members->targets[target].models[model];
    }
    const struct catalogue_model *known = &list->known[target].first[model];
    return is_asked_here(known) ? catalogue_id(known) : dyn_slice(NULL, 0);
}

/* Where the name stands, or the free slot where it would. */
static struct listed *
find(route_model_list_t *list, const struct route_members *members, struct dyn_slice model)
{
    size_t at = (size_t)route_hash(model) & (list->n_slots - 1);
    while (list->slots[at].target != 0 &&
           !dyn_slice_eq(name_of(list, members, list->slots[at].target - 1, list->slots[at].model), model)) {
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
    list->catalogue = members->catalogue != NULL ? catalogue_ref(members->catalogue) : NULL;
    list->n_slots = n_slots;
    for (size_t i = 0; i < members->n_targets; i++) {
        list->known[i] = known_of(members, i);
        for (size_t k = 0; k < count_of(list, members, i); k++) {
            struct dyn_slice name = name_of(list, members, i, k);
            struct listed *at = name.data != NULL ? find(list, members, name) : NULL;
            if (at != NULL && at->target == 0) {
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
        catalogue_unref(&list->catalogue);
        free(list);
    }
}

static route_model_list_t *
list_now(struct route_members *members)
{
    if (members->list == NULL || members->list->generation != members->generation ||
        members->list->catalogue != members->catalogue) {
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
is_first(route_model_list_t *list, const struct route_members *members, size_t target, size_t model,
         struct dyn_slice name)
{
    const struct listed *at = find(list, members, name);
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
        for (size_t k = 0; k < count_of(list, members, i); k++) {
            struct dyn_slice name = name_of(list, members, i, k);
            if (name.data != NULL && is_first(list, members, i, k, name)) {
                dyn_buf_add_str(&out, comma);
                route_model_text(&out, name, members->targets[i].provider);
                comma = ",";
            }
        }
    }
    dyn_buf_add_str(&out, "]}");
    list->text = dyn_block_copy(0, dyn_buf_slice(&out));
    dyn_buf_fini(&out);
    return list->text;
}
