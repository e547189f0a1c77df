/* Escapes of JSON strings (RFC 8259, section 7): checked once by the scanner, decoded where asked. */
#pragma once

#include "core/base.h"

enum { JSON_UNIT_BYTES = 6 }; /* "\uXXXX" */
/* The unit of UTF-16 that is escaped at `at`, whatever it is half of; -1: there is something else. */
int json_escape_unit(const char *at, const char *end);
/* Checks the escape that begins at `at` (a backslash): how many bytes it has, or 0 with *what saying
 * what is wrong. A surrogate pair counts as one escape; half of one, and \u0000, are refused. */
size_t json_escape_check(const char *at, const char *end, const char **what);
/* Decodes one checked escape: bytes read; *written (1 to 4) bytes are in `out`. */
size_t json_escape_decode(const char *at, char out[4], size_t *written);
/* Decodes the inside of a checked string; returns its length, at most raw.len, which `out` must have. */
size_t json_unescape(struct dyn_slice raw, char *out);
/* What json_unescape returns, without writing. */
size_t json_unescape_size(struct dyn_slice raw);
