/* Characters and numbers as text, without a buffer type and without stdio: what dyn_buf, the log and
 * the JSON files share. UTF-8 is RFC 3629: shortest form, no surrogates, nothing above U+10FFFF. */
#pragma once

#include "core/base.h"

/* Bytes of the well-formed character that begins at `at` (at < end): 1 to 4, or 0 when malformed. */
size_t dyn_utf8_len(const char *at, const char *end);
/* Writes a scalar value as UTF-8; returns the number of bytes, 1 to 4. */
size_t dyn_utf8_put(char out[4], uint32_t scalar);
/* The scalar value of a well-formed character of that length. */
uint32_t dyn_utf8_scalar(const char *at, size_t len);

/* Decimal digits, not terminated; returns how many. */
enum { DYN_UINT_TEXT_MAX = 20 };
size_t dyn_uint_text(char out[DYN_UINT_TEXT_MAX], uint64_t value);

/* The inside of a JSON string (no quotes): what must be escaped is, C1 controls are too (a terminal
 * obeys them), NUL and bytes that are not UTF-8 become U+FFFD, so that every strict reader takes it.
 * Writes whole characters while they fit and says how far it came. */
struct dyn_escaped {
    size_t read;
    size_t written;
};
struct dyn_escaped dyn_json_escape(struct dyn_slice text, char *out, size_t room);
/* What dyn_json_escape writes when it has room enough. */
size_t dyn_json_escape_size(struct dyn_slice text);

/* first[i] is the smallest index of an item with the text of items[i], itself when there is none before it.
 * n log n, so that lists from files may be long. */
void dyn_slices_first_equal(const struct dyn_slice *items, size_t n, size_t *first);
