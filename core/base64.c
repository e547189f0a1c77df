#include "core/base64.h"

enum { GROUP = 3, DIGITS = 4, DIGIT_BITS = 6 };

void
dyn_base64_add(struct dyn_buf *out, struct dyn_slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.len; i += GROUP) {
        size_t n = bytes.len - i < GROUP ? bytes.len - i : GROUP;
        uint32_t group = (uint32_t)at[i] << 16 | (n > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                         (n > 2 ? (uint32_t)at[i + 2] : 0);
        dyn_buf_add_char(out, digits[group >> 18]);
        dyn_buf_add_char(out, digits[group >> 12 & 63]);
        dyn_buf_add_char(out, n > 1 ? digits[group >> 6 & 63] : '=');
        dyn_buf_add_char(out, n > 2 ? digits[group & 63] : '=');
    }
}

static int
value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Without its padding; -1: there is padding that does not belong. */
static int
trim_padding(struct dyn_slice *text)
{
    size_t padding = 0;
    while (text->len > 0 && padding < 2 && text->data[text->len - 1] == '=') {
        text->len--;
        padding++;
    }
    bool is_whole = padding == 0 || (text->len + padding) % DIGITS == 0;
    return is_whole && text->len % DIGITS != 1 ? 0 : -1;
}

int
dyn_base64_decode(struct dyn_slice text, struct dyn_buf *out)
{
    size_t before = out->len;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    if (trim_padding(&text) != 0) {
        return -1;
    }
    (void)dyn_buf_room(out, text.len / DIGITS * GROUP + GROUP);
    for (size_t i = 0; i < text.len; i++) {
        int value = value_of(text.data[i]);
        if (value < 0) {
            out->len = before;
            return -1;
        }
        bits = bits << DIGIT_BITS | (uint32_t)value;
        n_bits += DIGIT_BITS;
        if (n_bits >= 8) {
            n_bits -= 8;
            dyn_buf_add_char(out, (char)(bits >> n_bits & 0xFF));
        }
    }
    return 0;
}
