/* Lists of models as providers answer them: whatever they say, names are sound, sorted, each once, and few
 * enough; and a list of what was found reads the same. */
#include "gateway/discover.h"

#include "core/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_before(struct dyn_slice a, struct dyn_slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order != 0 ? order < 0 : a.len < b.len;
}

static void
check_names(const struct discovered *found)
{
    DYN_ASSERT(found->n <= DISCOVERED_MAX);
    for (size_t i = 0; i < found->n; i++) {
        DYN_ASSERT(found->models[i].len > 0);
        DYN_ASSERT(i == 0 || is_before(found->models[i - 1], found->models[i]));
    }
}

static void
write_and_read(struct arena *arena, const struct discovered *found)
{
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"data\":[");
    for (size_t i = found->n; i-- > 0;) {
        dyn_buf_add_str(&text, i + 1 == found->n ? "{\"id\":" : ",{\"id\":");
        dyn_buf_add_json_string(&text, found->models[i]);
        dyn_buf_add_str(&text, "}");
    }
    dyn_buf_add_str(&text, "]}");
    struct discovered again = {.n = 0};
    DYN_ASSERT(discovery_read(arena, dyn_buf_slice(&text), &again) && again.n == found->n);
    for (size_t i = 0; i < again.n; i++) {
        DYN_ASSERT(dyn_slice_eq(again.models[i], found->models[i]));
    }
    dyn_buf_fini(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct discovered found = {.n = 0};
    arena_init(&arena, NULL, 0);
    bool is_list = discovery_read(&arena, dyn_slice((const char *)data, size), &found);
    DYN_ASSERT(is_list || found.n == 0);
    check_names(&found);
    if (is_list) {
        write_and_read(&arena, &found);
    }
    arena_fini(&arena);
    return 0;
}
