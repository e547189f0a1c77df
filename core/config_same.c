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
