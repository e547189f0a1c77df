/* What the mock reads of a chat request: the few members that change its answer. Slices point into the
 * body. */
#pragma once

#include "core/base.h"

enum { MOCK_NUMBER_MAX = 32 };
#define MOCK_TOKENS_ANY UINT32_MAX

struct mock_chat {
    struct dyn_slice model;  /* between its quotes, as it was spelled */
    struct dyn_slice number; /* that the client gave its request (docs/mock.md); absent without one */
    bool stream;
    bool include_usage;
    bool has_messages;
    bool is_anthropic; /* the Messages API was asked, not chat completions */
    uint32_t max_tokens; /* MOCK_TOKENS_ANY: not limited */
    uint32_t prompt_tokens;
};

/* 0, or -1 with what a real upstream would complain about: a sentence in `why`, the member in `param`
 * (NULL: none). */
int mock_chat_read(struct mock_chat *chat, struct dyn_slice body, const char **why, const char **param);
/* A number that can stand in a tag: 1 to 32 letters, digits, '-' or '_'. */
bool mock_number_is_valid(struct dyn_slice number);
