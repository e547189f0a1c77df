/* The Anthropic messages dialect: its way into and out of the record of chat.h and what its files share.
 * Private to this folder. Contracts: chat.h, dialect.h. */
#pragma once

#include "proto/dialects/chat.h"

int anthropic_in(struct dyn_slice body, struct arena *arena, struct chat_request *request,
                 struct dialect_problem *problem);
int anthropic_out(const struct chat_request *request, struct arena *arena, struct dyn_buf *out,
                  struct chat_losses *losses, struct dialect_problem *problem);
int anthropic_answer_in(struct dyn_slice body, struct arena *arena, struct chat_answer *answer);
void anthropic_answer_out(const struct chat_answer *answer, struct dyn_buf *out);
int anthropic_event_in(struct chat_reading *reading, const struct sse_event *event, chat_event_fn tell,
                       void *self);
void anthropic_event_out(struct chat_writing *writing, const struct chat_event *event, struct dyn_buf *out);

/* ---- anthropic_out_messages.c ---- */

struct anthropic_writing {
    const struct chat_request *request;
    struct arena *arena;
    struct dyn_buf *out;
    struct chat_losses *losses;
    struct dialect_problem *problem;
};
/* `system` and `messages`. */
int anthropic_put_messages(struct anthropic_writing *w);

/* ---- anthropic_out_thinking.c ---- */

enum {
    ANTHROPIC_MAX_TOKENS = 4096, /* when the client sets no limit: what every Claude model can write */
    ANTHROPIC_BUDGET_MIN = 1024, /* the API refuses less */
};

/* How the model is to think, and how much it may write with that. */
struct anthropic_thinking {
    bool is_on;
    uint64_t budget;       /* 0: said by `raw`, or off */
    struct dyn_slice raw;  /* the client's own words; absent: none */
    uint64_t max_tokens;
};
struct anthropic_thinking anthropic_plan_thinking(struct anthropic_writing *w);
/* The other way: the word that comes nearest to what `thinking` says; absent: it says none. */
struct dyn_slice anthropic_effort(struct json_value thinking);

/* ---- anthropic_answers.c ---- */

/* What an object `usage` says, over what is known already (a stream says it in two parts). */
void anthropic_usage_read(struct json_value object, struct env_usage *usage);
void anthropic_put_usage(struct dyn_buf *out, const struct env_usage *usage);
enum chat_finish anthropic_finish(struct json_value reason);
const char *anthropic_finish_word(enum chat_finish finish);
