#include "proto/dialects/upstream_json.h"

#include "core/arena.h"
#include "core/rand.h"

#include <stdlib.h>

/* "\uXXXX" */
#define ESCAPE_BYTES 6u

/* The unit of a \u escape that begins at `at`, or -1. */
static int
escaped_unit(const char *at, const char *end)
{
    uint8_t bytes[2];
    if ((size_t)(end - at) < ESCAPE_BYTES || at[0] != '\\' || at[1] != 'u' ||
        dyn_hex_decode(bytes, sizeof bytes, dyn_slice(at + 2, 2 * sizeof bytes)) != 0) {
        return -1;
    }
    return bytes[0] << 8 | bytes[1];
}

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
        int unit = escaped_unit(at, end);
        if (unit < 0) {
            at += end - at >= 2 ? 2 : 1;
        } else if (is_surrogate(unit, 0xD800) && is_surrogate(escaped_unit(at + ESCAPE_BYTES, end), 0xDC00)) {
            at += 2 * ESCAPE_BYTES;
        } else {
            if (unit == 0 || is_surrogate(unit, 0xD800) || is_surrogate(unit, 0xDC00)) {
                memcpy(at + 2, "fffd", 4);
            }
            at += ESCAPE_BYTES;
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
