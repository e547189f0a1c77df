/* Which of the formats a catalogue is in. */
#include "models/corrections.h"
#include "models/json.h"

enum { LOOKED_AT_MAX = 64 }; /* entries of a JSON catalogue that are looked at */

/* Ferro's entries hold their prices in an object, LiteLLM's name their provider in their own way. */
static bool
is_ferro(struct json_value object)
{
    struct json_iter each = json_iter(object);
    struct json_member member;
    for (size_t i = 0; i < LOOKED_AT_MAX && json_iter_next(&each, &member); i++) {
        struct json_value found;
        if (member.value.type != JSON_OBJECT) {
            continue;
        }
        if (json_find(member.value, "litellm_provider", &found)) {
            return false;
        }
        if (json_find(member.value, "pricing", &found) || json_find(member.value, "model_id", &found)) {
            return true;
        }
    }
    return false;
}

static bool
tells_of(const struct catalogue_rows *rows, size_t first, const struct catalogue_row *of)
{
    for (size_t i = first; i < rows->n; i++) {
        if (dyn_slice_eq(rows->items[i].id, of->id) && dyn_slice_eq(rows->items[i].provider, of->provider)) {
            return true;
        }
    }
    return false;
}

/* What others' lists are known to be wrong about, for the models that they tell of. */
static void
correct(struct catalogue_rows *rows, size_t first)
{
    struct catalogue_rows known;
    catalogue_rows_init(&known);
    (void)catalogue_read_text(&known, catalogue_corrections(), NULL);
    bool were_patches = rows->are_patches;
    rows->are_patches = true;
    for (size_t i = 0; i < known.n; i++) {
        if (tells_of(rows, first, &known.items[i])) {
            (void)catalogue_rows_add(rows, &known.items[i]);
        }
    }
    rows->are_patches = were_patches;
    catalogue_rows_fini(&known);
}

static int
read_json(struct catalogue_rows *rows, struct dyn_slice json, struct dyn_err *err)
{
    struct json_value object;
    size_t first = rows->n;
    if (catalogue_json_parse(json, &object, err) != 0) {
        return -1;
    }
    int rc = is_ferro(object) ? catalogue_read_ferro(rows, object, err)
                              : catalogue_read_litellm(rows, object, err);
    correct(rows, first);
    return rc;
}

int
catalogue_read(struct catalogue_rows *rows, struct dyn_slice bytes, struct dyn_err *err)
{
    if (bytes.len > CATALOGUE_BYTES_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "a catalogue of %zu bytes is larger than %d", bytes.len,
                           CATALOGUE_BYTES_MAX);
    }
    size_t before = rows->n;
    size_t at = 0;
    while (at < bytes.len && memchr(" \t\r\n", bytes.data[at], 4) != NULL) {
        at++;
    }
    bool is_json = at < bytes.len && bytes.data[at] == '{';
    int rc = is_json ? read_json(rows, bytes, err) : catalogue_read_text(rows, bytes, err);
    if (rc == 0 && rows->n == before) {
        rc = dyn_err_set(err, DYN_E_INVALID, "there is no model in the catalogue");
    }
    return rc;
}
