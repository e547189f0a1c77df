/* JSON text in pieces, read as who parses it later will: escapes are decoded, everything else stays as it is.
 * The arguments of a tool call are such a text inside of a text. Not a parser: quotes and brackets mean
 * nothing here. Each byte of the view knows where in the text it comes from. */
#pragma once

#include "core/buf.h"

struct json_view {
    bool is_plain;          /* nobody asks for places: none are kept, which are eight bytes for each */
    struct dyn_buf text;    /* the view from `base` on */
    uint64_t base;
    uint64_t *places;       /* of each byte of it: where its character begins in the text that came */
    size_t places_cap;
    uint64_t done;          /* bytes of the text that are in the view */
    unsigned n_partial;     /* an escape that is not whole yet: at most two of "\uXXXX" */
    char partial[12];
};

void json_view_fini(struct json_view *view);
/* `is_last`: what is not whole by then stays as it is. */
void json_view_feed(struct json_view *view, struct dyn_slice piece, bool is_last);
/* Where the character at that position begins in the text that came; at the end: where the next one will. */
uint64_t json_view_place(const struct json_view *view, uint64_t position);
/* The view is not looked at before that position any more. */
void json_view_trim(struct json_view *view, uint64_t position);
