/* A request being read: what its files share. Private to the OpenAI chat dialect. */
#pragma once

#include "proto/dialects/openai_chat.h"

/* What callbacks of the scan return to stop it; -1 is the scan's own. */
enum { GO_ON = 0, REFUSED = 1 };

struct reading {
    struct arena *arena;
    struct dialect_request *request;
    struct dialect_problem *problem;
    bool has_messages;
    bool has_completion_limit;
};

/* Names the member that is wrong: `path` and what follows make its name, `what` the rest of the sentence.
 * Returns REFUSED. */
int reading_refuse(struct reading *r, const char *what, const char *path, ...) DYN_PRINTF(3, 4);
/* `key` is a literal. */
bool reading_key_is(const struct json_member *member, struct dyn_slice key);
int reading_messages(struct reading *r, struct json_value value);
