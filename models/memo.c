/* A small table in which a name has one place; what was there before has to go. */
#include "models/memo.h"

#include <stdlib.h>

enum {
    MEMO_PLACES = 64, /* a power of two; a gateway has fewer models in use at a time than this, mostly */
    MEMO_NAME_MAX =
        200, /* bytes of target, provider and model together; longer ones are searched each time */
};

struct memo_place {
    uint32_t hash;
    uint8_t target_len, provider_len, model_len;
    bool is_used;
    const struct catalogue_model *model;
    char name[MEMO_NAME_MAX];
};

struct catalogue_memo {
    catalogue_t *catalogue;
    const struct memo_place
        *last; /* a request asks for the same several times; NULL: none of this catalogue */
    struct memo_place places[MEMO_PLACES];
};

catalogue_memo_t *
catalogue_memo_new(void)
{
    return dyn_zalloc(sizeof(catalogue_memo_t));
}

void
catalogue_memo_free(catalogue_memo_t **memo_p)
{
    catalogue_memo_t *memo = *memo_p;
    *memo_p = NULL;
    if (memo != NULL) {
        catalogue_unref(&memo->catalogue);
        free(memo);
    }
}

/* Length, first and last eight bytes: names that agree in these share a place, which costs a search. */
static uint32_t
hash_more(uint32_t hash, struct dyn_slice text)
{
    uint64_t ends[2] = {0, 0};
    if (text.len >= sizeof *ends) { /* of a known size, so that no call is made */
        memcpy(&ends[0], text.data, sizeof *ends);
        memcpy(&ends[1], text.data + text.len - sizeof *ends, sizeof *ends);
    } else if (text.len >= sizeof(uint32_t)) {
        memcpy(&ends[0], text.data, sizeof(uint32_t));
        memcpy(&ends[1], text.data + text.len - sizeof(uint32_t), sizeof(uint32_t));
    } else if (text.len > 0) {
        memcpy(&ends[0], text.data, text.len);
    }
    uint64_t mixed =
        (ends[0] ^ (ends[1] << 1 | ends[1] >> 63) ^ text.len ^ hash) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mixed >> 32);
}

static bool
is_at(const struct memo_place *place, struct dyn_slice target, struct dyn_slice provider,
      struct dyn_slice model)
{
    const char *name = place->name;
    return place->is_used && dyn_slice_eq(dyn_slice(name, place->target_len), target) &&
           dyn_slice_eq(dyn_slice(name + target.len, place->provider_len), provider) &&
           dyn_slice_eq(dyn_slice(name + target.len + provider.len, place->model_len), model);
}

static void
copy(char **at, struct dyn_slice text)
{
    if (text.len > 0) {
        memcpy(*at, text.data, text.len);
        *at += text.len;
    }
}

static void
remember(struct memo_place *place, uint32_t hash, struct dyn_slice target, struct dyn_slice provider,
         struct dyn_slice model)
{
    place->hash = hash;
    place->target_len = (uint8_t)target.len;
    place->provider_len = (uint8_t)provider.len;
    place->model_len = (uint8_t)model.len;
    place->is_used = true;
    char *at = place->name;
    copy(&at, target);
    copy(&at, provider);
    copy(&at, model);
}

const struct catalogue_model *
catalogue_memo_find(catalogue_memo_t *memo, const catalogue_t *catalogue, struct dyn_slice target,
                    struct dyn_slice provider, struct dyn_slice model)
{
    if (target.len + provider.len + model.len > MEMO_NAME_MAX) {
        return catalogue_find_for(catalogue, target, provider, model);
    }
    if (memo->catalogue != catalogue) {
        catalogue_unref(&memo->catalogue);
        memset(memo->places, 0, sizeof memo->places);
        memo->last = NULL;
        memo->catalogue = catalogue_ref(catalogue);
    }
    if (memo->last != NULL && is_at(memo->last, target, provider, model)) {
        return memo->last->model;
    }
    uint32_t hash = hash_more(hash_more(hash_more(0, target), provider), model);
    struct memo_place *place = &memo->places[(hash ^ hash >> 16) % MEMO_PLACES];
    if (place->hash != hash || !is_at(place, target, provider, model)) {
        remember(place, hash, target, provider, model);
        place->model = catalogue_find_for(catalogue, target, provider, model);
    }
    memo->last = place;
    return place->model;
}
