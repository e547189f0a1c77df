#include "proto/dialects/upstream_json.h"

#include "core/arena.h"
#include "core/json_escape.h"

#include <stdlib.h>

static bool
is_surrogate(int unit, int first)
{
    return (unit & 0xFC00) == first;
}

/* Makes U+FFFD of escapes that a strict scan refuses; the length stays. */
static void
blunt_escapes(char *text, size_t len)
{
    const char *end = text + len;
    for (char *at = text; (at = memchr(at, '\\', (size_t)(end - at))) != NULL;) {
        int unit = json_escape_unit(at, end);
        if (unit < 0) {
            at += end - at >= 2 ? 2 : 1;
        } else if (is_surrogate(unit, 0xD800) &&
                   is_surrogate(json_escape_unit(at + JSON_UNIT_BYTES, end), 0xDC00)) {
            at += 2 * (size_t)JSON_UNIT_BYTES;
        } else {
            if (unit == 0 || is_surrogate(unit, 0xD800) || is_surrogate(unit, 0xDC00)) {
                memcpy(at + 2, "fffd", 4);
            }
            at += JSON_UNIT_BYTES;
        }
    }
}

int
upstream_json_scan(struct dyn_slice text, struct json_value *object, char **copy_p)
{
    *copy_p = NULL;
    if (json_scan(text, JSON_DEPTH_DEFAULT, object, NULL) != 0) {
        if (text.len == 0 || memchr(text.data, '\\', text.len) == NULL) {
            return -1;
        }
        char *copy = dyn_strndup(text.data, text.len);
        blunt_escapes(copy, text.len);
        if (json_scan(dyn_slice(copy, text.len), JSON_DEPTH_DEFAULT, object, NULL) != 0) {
            free(copy);
            return -1;
        }
        *copy_p = copy;
    }
    if (object->type != JSON_OBJECT) {
        free(*copy_p);
        *copy_p = NULL;
        return -1;
    }
    return 0;
}

int
upstream_json_scan_in(struct dyn_slice text, struct arena *arena, struct json_value *object)
{
    char *copy;
    if (upstream_json_scan(text, object, &copy) != 0) {
        return -1;
    }
    if (copy != NULL) {
        size_t offset = (size_t)(object->raw.data - copy);
        struct dyn_slice kept = arena_copy(arena, dyn_slice(copy, text.len));
        object->raw.data = kept.data + offset;
        free(copy);
    }
    return 0;
}
