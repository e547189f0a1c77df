/* What stands at the top of a JSON object that is too long to be kept: fed in pieces as it passes by, it
 * leaves a short object with the same members, in which long values are empty ones of their kind. So the
 * usage of an answer of any length is read from a few hundred bytes, without a second copy of the answer.
 * Brackets and strings are followed; what stands between them is judged by who reads the short object. */
#pragma once

#include "core/buf.h"

enum {
    PROVIDER_SKIM_VALUE_MAX = 4096,      /* a member's value longer than this is left empty */
    PROVIDER_SKIM_TOTAL_MAX = 64 * 1024, /* of the short object */
    PROVIDER_SKIM_DEPTH_MAX = 128,
};

struct provider_skim {
    struct dyn_buf out;
    uint64_t is_array[PROVIDER_SKIM_DEPTH_MAX / 64]; /* bit: what was opened at that depth */
    size_t value_start;                              /* in out, of the member's value; behind its ':' */
    unsigned depth;
    char value_kind; /* first character of the value; 0: none yet */
    bool in_value;
    bool is_leaving_out; /* the value is too long */
    bool in_string;
    bool is_escaped; /* the next character belongs to a backslash */
    bool is_over;    /* the object is closed */
    bool is_wrong;
};

void provider_skim_init(struct provider_skim *skim);
void provider_skim_fini(struct provider_skim *skim);
void provider_skim_feed(struct provider_skim *skim, struct dyn_slice bytes);
/* The short object, or absent when the bytes were no whole object. Borrowed. */
struct dyn_slice provider_skim_result(const struct provider_skim *skim);
