#include "core/config_same.h"

static const char *const nothing_ignored[] = {NULL};

static bool
same_strings(const struct config_strings *a, const struct config_strings *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        same = dyn_slice_eq(a->items[i], b->items[i]);
    }
    return same;
}

static bool
same_ints(const struct config_ints *a, const struct config_ints *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->items, b->items, a->n * sizeof *a->items) == 0);
}

/* In the order in which they stand: that is what becomes of them. */
static bool
same_map(const struct config_map *a, const struct config_map *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        same = dyn_slice_eq(a->keys[i], b->keys[i]) && dyn_slice_eq(a->values[i], b->values[i]);
    }
    return same;
}

static bool
same_list(const struct config_section *section, const struct config_list *a, const struct config_list *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        same = config_section_same(section, (const char *)a->items + i * section->size,
                                   (const char *)b->items + i * section->size, NULL);
    }
    return same;
}

static bool
same_variant(const struct config_variant *a, const struct config_variant *b)
{
    bool has_values = a->values != NULL && b->values != NULL;
    return a->section == b->section && (a->values == NULL) == (b->values == NULL) &&
           dyn_slice_eq(a->json, b->json) &&
           (!has_values || config_section_same(a->section, a->values, b->values, NULL));
}

static bool
same_value(const struct config_key *key, const void *a, const void *b)
{
    switch (key->type) {
    case CONFIG_STRING:
    case CONFIG_SECRET:
        return dyn_slice_eq(*(const struct dyn_slice *)a, *(const struct dyn_slice *)b);
    case CONFIG_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case CONFIG_ENUM:
        return *(const int *)a == *(const int *)b;
    case CONFIG_INT:
        return *(const int64_t *)a == *(const int64_t *)b;
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case CONFIG_NUMBER:
        return memcmp(a, b, sizeof(double)) == 0;
    case CONFIG_STRING_LIST:
    case CONFIG_SECRET_LIST:
        return same_strings(a, b);
    case CONFIG_INT_LIST:
        return same_ints(a, b);
    case CONFIG_STRING_MAP:
        return same_map(a, b);
    case CONFIG_SECTION:
        return config_section_same(key->section, a, b, NULL);
    case CONFIG_SECTION_LIST:
        return same_list(key->section, a, b);
    case CONFIG_VARIANT:
        return same_variant(a, b);
    case CONFIG_UNSUPPORTED:
        break;
    }
    return true; /* nobody uses it */
}

static bool
is_same(const struct config_key *key, const void *a, const void *b)
{
    bool same_set = key->set_offset == 0 || *(const bool *)((const char *)a + key->set_offset) ==
                                                *(const bool *)((const char *)b + key->set_offset);
    return same_set && same_value(key, (const char *)a + key->offset, (const char *)b + key->offset);
}

static bool
is_in(const char *const *names, const char *name)
{
    while (*names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

bool
config_section_same(const struct config_section *section, const void *a, const void *b,
                    const char *const *ignored)
{
    ignored = ignored != NULL ? ignored : nothing_ignored;
    for (const struct config_key *key = section->keys; key->name != NULL; key++) {
        if (!is_in(ignored, key->name) && !is_same(key, a, b)) {
            return false;
        }
    }
    return true;
}

void
config_part_differences(const struct config_part *part, const config_t *before, const config_t *now,
                        void (*fn)(void *arg, const struct config_key *key, struct config_mark mark),
                        void *arg)
{
    const void *a = config_values(before, part);
    const void *b = config_values(now, part);
    for (const struct config_key *key = part->section.keys; key->name != NULL; key++) {
        if (!is_same(key, a, b)) {
            const void *field = (const char *)b + key->offset;
            fn(arg, key, config_mark_of((struct config_problems *)(uintptr_t)config_problems(now), field));
        }
    }
}

/* ---- as text ---- */

static void
write_text(struct dyn_slice text, struct dyn_buf *out)
{
    dyn_buf_addf(out, "%zu:", text.len); /* with its length, so that two texts are not another two */
    dyn_buf_add_slice(out, text);
}

static void
write_texts(const struct dyn_slice *items, size_t n, struct dyn_buf *out)
{
    dyn_buf_addf(out, "[%zu ", n);
    for (size_t i = 0; i < n; i++) {
        write_text(items[i], out);
    }
}

static void
write_ints(const struct config_ints *ints, struct dyn_buf *out)
{
    dyn_buf_addf(out, "[%zu ", ints->n);
    for (size_t i = 0; i < ints->n; i++) {
        dyn_buf_addf(out, "%lld ", (long long)ints->items[i]);
    }
}

static void
write_list(const struct config_section *section, const struct config_list *list, struct dyn_buf *out)
{
    dyn_buf_addf(out, "[%zu ", list->n);
    for (size_t i = 0; i < list->n; i++) {
        config_section_write(section, (const char *)list->items + i * section->size, out);
    }
}

static void
write_value(const struct config_key *key, const void *value, struct dyn_buf *out)
{
    switch (key->type) {
    case CONFIG_STRING:
    case CONFIG_SECRET:
        write_text(*(const struct dyn_slice *)value, out);
        return;
    case CONFIG_BOOL:
        dyn_buf_addf(out, "%d", *(const bool *)value);
        return;
    case CONFIG_ENUM:
        dyn_buf_addf(out, "%d", *(const int *)value);
        return;
    case CONFIG_INT:
        dyn_buf_addf(out, "%lld", (long long)*(const int64_t *)value);
        return;
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        dyn_buf_addf(out, "%llu", (unsigned long long)*(const uint64_t *)value);
        return;
    case CONFIG_NUMBER:
        dyn_buf_addf(out, "%a", *(const double *)value);
        return;
    case CONFIG_STRING_LIST:
    case CONFIG_SECRET_LIST:
        write_texts(((const struct config_strings *)value)->items, ((const struct config_strings *)value)->n,
                    out);
        return;
    case CONFIG_INT_LIST:
        write_ints(value, out);
        return;
    case CONFIG_STRING_MAP:
        write_texts(((const struct config_map *)value)->keys, ((const struct config_map *)value)->n, out);
        write_texts(((const struct config_map *)value)->values, ((const struct config_map *)value)->n, out);
        return;
    case CONFIG_SECTION:
        config_section_write(key->section, value, out);
        return;
    case CONFIG_SECTION_LIST:
        write_list(key->section, value, out);
        return;
    case CONFIG_VARIANT:
        write_text(((const struct config_variant *)value)->json, out);
        return;
    case CONFIG_UNSUPPORTED:
        return;
    }
}

void
config_section_write(const struct config_section *section, const void *values, struct dyn_buf *out)
{
    for (const struct config_key *key = section->keys; key->name != NULL; key++) {
        dyn_buf_add_str(out, key->name);
        dyn_buf_add_char(out, '=');
        write_value(key, (const char *)values + key->offset, out);
        if (key->set_offset != 0) {
            dyn_buf_addf(out, "/%d", *(const bool *)((const char *)values + key->set_offset));
        }
        dyn_buf_add_char(out, '\n');
    }
}
