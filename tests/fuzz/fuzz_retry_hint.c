/* Headers of an answer, one "name: value" a line: whatever they say, the hint is at most a day, and so is
 * what each way of reading a value gives alone. */
#include "actors/providers/retry_hint.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_US (UINT64_C(1790000000) * 1000000)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct retry_hint hint = {.after_ms = 0};
    const char *at = (const char *)data;
    const char *end = at + size;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end != NULL ? line_end : end;
        const char *colon = memchr(at, ':', (size_t)(line_end - at));
        if (colon != NULL) {
            struct dyn_slice value = dyn_slice(colon + 1, (size_t)(line_end - colon - 1));
            retry_hint_header(&hint, dyn_slice(at, (size_t)(colon - at)), value, NOW_US);
            DYN_ASSERT(retry_hint_after(value, NOW_US) <= RETRY_HINT_MAX_MS);
            DYN_ASSERT(retry_hint_after_ms(value) <= RETRY_HINT_MAX_MS);
            DYN_ASSERT(retry_hint_reset(value, NOW_US) <= RETRY_HINT_MAX_MS);
        }
        at = line_end < end ? line_end + 1 : end;
    }
    DYN_ASSERT(retry_hint_ms(&hint) <= RETRY_HINT_MAX_MS);
    return 0;
}
