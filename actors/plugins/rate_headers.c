/* See rate_headers.h. */
#include "actors/plugins/rate_headers.h"

#include "core/text.h"

static size_t
put_number(char *out, uint64_t value)
{
    char digits[DYN_UINT_TEXT_MAX];
    size_t len = dyn_uint_text(digits, value);
    memcpy(out, digits, len);
    return len;
}

/* Seconds with at most three places, without trailing zeros. */
static size_t
put_seconds(char *out, uint64_t ms)
{
    size_t len = put_number(out, ms / 1000);
    unsigned rest = (unsigned)(ms % 1000);
    if (rest != 0) {
        out[len++] = '.';
        for (unsigned place = 100; rest != 0; place /= 10) {
            out[len++] = (char)('0' + rest / place);
            rest %= place;
        }
    }
    out[len++] = 's';
    return len;
}

size_t
rate_duration_text(uint64_t us, char out[RATE_HEADER_TEXT_MAX])
{
    uint64_t ms = us / 1000 + (us % 1000 != 0), minutes = ms / 60000;
    size_t len = 0;
    if (ms != 0 && ms < 1000) {
        len = put_number(out, ms);
        memcpy(out + len, "ms", 2);
        return len + 2;
    }
    if (minutes >= 60) {
        len += put_number(out, minutes / 60);
        out[len++] = 'h';
    }
    if (minutes > 0) {
        len += put_number(out + len, minutes % 60);
        out[len++] = 'm';
    }
    return len + put_seconds(out + len, ms % 60000);
}

static void
add(struct rate_headers *headers, struct dyn_slice name, size_t len)
{
    struct env_header *header = &headers->items[headers->n];
    header->name = name;
    header->value = dyn_slice(headers->texts[headers->n], len);
    headers->n++;
}

void
rate_headers_add_never(struct rate_headers *headers)
{
    DYN_ASSERT(headers->n < RATE_HEADERS_MAX);
    headers->items[headers->n++] =
        (struct env_header){DYN_SLICE_INIT("x-should-retry"), DYN_SLICE_INIT("false")};
}

void
rate_headers_add(struct rate_headers *headers, bool is_tokens, const struct bucket_level *level)
{
    static const struct dyn_slice names[2][3] = {
        {DYN_SLICE_INIT("x-ratelimit-limit-requests"), DYN_SLICE_INIT("x-ratelimit-remaining-requests"),
         DYN_SLICE_INIT("x-ratelimit-reset-requests")},
        {DYN_SLICE_INIT("x-ratelimit-limit-tokens"), DYN_SLICE_INIT("x-ratelimit-remaining-tokens"),
         DYN_SLICE_INIT("x-ratelimit-reset-tokens")}};
    DYN_ASSERT(headers->n + 3 <= RATE_HEADERS_MAX);
    add(headers, names[is_tokens][0], dyn_uint_text(headers->texts[headers->n], level->limit));
    add(headers, names[is_tokens][1], dyn_uint_text(headers->texts[headers->n], level->left));
    add(headers, names[is_tokens][2], rate_duration_text(level->reset_us, headers->texts[headers->n]));
}
