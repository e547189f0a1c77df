/* A request being read: what its files share. Private to the OpenAI chat dialect. */
#pragma once

#include "proto/dialects/openai_chat.h"

/* What visitors return to stop the scan; -1 is the scan's own. */
enum { GO_ON = 0, REFUSED = 1 };

struct reading {
    struct arena           *arena;
    struct dialect_request *request;
    struct dialect_problem *problem;

    /* Where the scan stands inside `messages` and `tools`: indexes, and bits of the members seen in the
     * object at hand. */
    size_t   message;
    unsigned message_seen;
    size_t   part;
    unsigned part_seen;
    size_t   call;
    unsigned function_seen;
    size_t   tool;
};

/* Names the member that is wrong: `path` and what follows make its name, `what` the rest of the sentence.
 * Returns REFUSED. */
int reading_refuse(struct reading *r, const char *what, const char *path, ...) DYN_PRINTF(3, 4);

/* `key` is a literal. Asked several times for each member of a request, mostly answered by the length. */
static inline bool
reading_key_is(const struct json_member *member, struct dyn_slice key)
{
    return DYN_UNLIKELY(member->key_is_escaped) ? json_key_is(member, key.data)
                                                : dyn_slice_eq(member->key, key);
}

/* Visitors of the arrays of these names. */
extern const struct json_visitor reading_messages;
extern const struct json_visitor reading_tools;
