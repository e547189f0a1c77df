#include "core/text.h"

#include "core/json_skip.h"

#include <stdlib.h>

static bool
is_continuation(unsigned char byte)
{
    return (byte & 0xC0u) == 0x80u;
}

/* RFC 3629, section 4. The second byte carries every range limit; the others are plain. */
size_t
dyn_utf8_len(const char *at, const char *end)
{
    const unsigned char *p = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    unsigned char lead = p[0];
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) { /* continuation, overlong, or above U+10FFFF */
        return 0;
    }
    if (left < 2 || !is_continuation(p[1])) {
        return 0;
    }
    if (lead < 0xE0) {
        return 2;
    }
    if (left < 3 || !is_continuation(p[2])) {
        return 0;
    }
    if (lead < 0xF0) {
        bool overlong = lead == 0xE0 && p[1] < 0xA0;
        bool surrogate = lead == 0xED && p[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (left < 4 || !is_continuation(p[3])) {
        return 0;
    }
    bool overlong = lead == 0xF0 && p[1] < 0x90;
    bool too_large = lead == 0xF4 && p[1] > 0x8F;
    return overlong || too_large ? 0 : 4;
}

size_t
dyn_utf8_put(char out[4], uint32_t scalar)
{
    if (scalar < 0x80) {
        out[0] = (char)scalar;
        return 1;
    }
    if (scalar < 0x800) {
        out[0] = (char)(0xC0u | (scalar >> 6));
        out[1] = (char)(0x80u | (scalar & 0x3Fu));
        return 2;
    }
    if (scalar < 0x10000) {
        out[0] = (char)(0xE0u | (scalar >> 12));
        out[1] = (char)(0x80u | ((scalar >> 6) & 0x3Fu));
        out[2] = (char)(0x80u | (scalar & 0x3Fu));
        return 3;
    }
    out[0] = (char)(0xF0u | (scalar >> 18));
    out[1] = (char)(0x80u | ((scalar >> 12) & 0x3Fu));
    out[2] = (char)(0x80u | ((scalar >> 6) & 0x3Fu));
    out[3] = (char)(0x80u | (scalar & 0x3Fu));
    return 4;
}

uint32_t
dyn_utf8_scalar(const char *at, size_t len)
{
    static const unsigned char lead_bits[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t scalar = (unsigned char)at[0] & lead_bits[len];
    for (size_t i = 1; i < len; i++) {
        scalar = (scalar << 6) | ((unsigned char)at[i] & 0x3Fu);
    }
    return scalar;
}

size_t
dyn_uint_text(char out[DYN_UINT_TEXT_MAX], uint64_t value)
{
    static const char pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940"
        "41424344454647484950515253545556575859606162636465666768697071727374757677787980"
        "81828384858687888990919293949596979899";
    char digits[2 * DYN_UINT_TEXT_MAX] = {0}; /* the number, and room behind it: as much is copied always */
    size_t at = DYN_UINT_TEXT_MAX;
    for (; value >= 100; value /= 100) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * (value % 100), 2);
    }
    if (value >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * value, 2);
    } else {
        digits[--at] = (char)('0' + value);
    }
    memcpy(out, digits + at, DYN_UINT_TEXT_MAX);
    return DYN_UINT_TEXT_MAX - at;
}

static size_t
put_u_escape(char out[6], uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    out[0] = '\\';
    out[1] = 'u';
    for (unsigned i = 0; i < 4; i++) {
        out[2 + i] = hex[(unit >> (12 - 4 * i)) & 0xFu];
    }
    return 6;
}

/* One character that is not plain: reads *read bytes, returns how many it wrote. */
static size_t
escape_one(const char *at, const char *end, char out[6], size_t *read)
{
    static const char two[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: the byte, its letter */
    *read = 1;
    for (const char *pair = two; *pair != '\0'; pair += 2) {
        if (*at == *pair) {
            out[0] = '\\';
            out[1] = pair[1];
            return 2;
        }
    }
    size_t len = *at != '\0' ? dyn_utf8_len(at, end) : 0;
    if (len == 0) {
        return dyn_utf8_put(out, 0xFFFD);
    }
    uint32_t scalar = dyn_utf8_scalar(at, len);
    *read = len;
    if (scalar < 0xA0) { /* a control character, of C0 or C1 */
        return put_u_escape(out, scalar);
    }
    memcpy(out, at, len);
    return len;
}

struct dyn_escaped
dyn_json_escape(struct dyn_slice text, char *out, size_t room)
{
    struct dyn_escaped done = {0, 0};
    while (done.read < text.len) {
        const char *at = text.data + done.read;
        const char *end = text.data + text.len;
        size_t run = (size_t)(json_skip_plain(at, end) - at);
        char piece[6];
        size_t read = run;
        size_t len = run > 0 ? run : escape_one(at, end, piece, &read);
        size_t left = room - done.written;
        if (len > left && run == 0) {
            break;
        }
        bool cut = len > left;
        len = cut ? left : len;
        memcpy(out + done.written, run > 0 ? at : piece, len);
        done.written += len;
        done.read += run > 0 ? len : read;
        if (cut) {
            break;
        }
    }
    return done;
}

size_t
dyn_json_escape_size(struct dyn_slice text)
{
    size_t size = 0;
    for (size_t i = 0; i < text.len;) {
        const char *at = text.data + i;
        const char *end = text.data + text.len;
        size_t run = (size_t)(json_skip_plain(at, end) - at);
        char piece[6];
        size_t read = run;
        size += run > 0 ? run : escape_one(at, end, piece, &read);
        i += read;
    }
    return size;
}

/* ---- equal ones ---- */

/* Texts first, then places. */
static int
compare_places(const void *a_p, const void *b_p, void *items_p)
{
    const struct dyn_slice *items = items_p;
    size_t a = *(const size_t *)a_p;
    size_t b = *(const size_t *)b_p;
    size_t len = items[a].len < items[b].len ? items[a].len : items[b].len;
    int order = len > 0 ? memcmp(items[a].data, items[b].data, len) : 0;
    if (order == 0) {
        order = (items[a].len > items[b].len) - (items[a].len < items[b].len);
    }
    return order != 0 ? order : (a > b) - (a < b);
}

void
dyn_slices_first_equal(const struct dyn_slice *items, size_t n, size_t *first)
{
    size_t *places = dyn_alloc((n + 1) * sizeof *places);
    for (size_t i = 0; i < n; i++) {
        places[i] = i;
    }
    qsort_r(places, n, sizeof *places, compare_places, (void *)(uintptr_t)items);
    for (size_t i = 0; i < n; i++) {
        bool is_new = i == 0 || !dyn_slice_eq(items[places[i]], items[places[i - 1]]);
        first[places[i]] = is_new ? places[i] : first[places[i - 1]];
    }
    free(places);
}
