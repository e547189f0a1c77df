/* Checks the tokens of one answer of the mock. Each carries a tag, ~REQUEST.NONCE.SEQ.MICROSECONDS~: the
 * number that the client put into its request, the nonce of the upstream call that made the token, the
 * token's place, and the monotonic time at which it was sent (docs/mock.md). No other `~` occurs in an
 * answer, so tags are found in any dialect, whole or split. */
#pragma once

#include "load_hist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_TAG_MAX = 128, LOAD_NONCE_MAX = 33 };

/* Over all answers. */
struct load_totals {
    uint64_t tokens;
    uint64_t lost;          /* never arrived */
    uint64_t repeated;      /* arrived again */
    uint64_t out_of_order;  /* arrived before one that should come earlier */
    uint64_t mixed;         /* of another request or another upstream call */
    uint64_t unreadable;    /* a tag that is not one */
    struct load_hist delay; /* from the mock's send to here */
};

struct load_check {
    struct load_totals *totals;
    uint64_t now_ns;  /* set before each feed */
    uint64_t request; /* the number this answer must carry */
    uint64_t next_seq;
    uint64_t skipped; /* places jumped over so far: lost unless they still come */
    bool is_in_order;
    bool in_tag;
    bool saw_done; /* "[DONE]" went by */
    size_t done_matched;
    size_t tag_len;
    char tag[LOAD_TAG_MAX];
    char nonce[LOAD_NONCE_MAX];
};

void load_check_start(struct load_check *check, struct load_totals *totals, uint64_t request);
/* load_body_fn: bytes of the body. */
void load_check_feed(void *check, const char *data, size_t len);
/* The answer is over and should have had that many tokens. true: all there, in order, of one call. */
bool load_check_end(struct load_check *check, uint64_t expected_tokens);
