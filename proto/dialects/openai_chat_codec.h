/* The OpenAI chat dialect's way into and out of the record of chat.h, one file each. Private to this folder.
 * Contracts: chat.h. */
#pragma once

#include "proto/dialects/chat.h"

int openai_chat_in(struct dyn_slice body, struct arena *arena, struct chat_request *request,
                   struct dialect_problem *problem);
int openai_chat_out(const struct chat_request *request, struct arena *arena, struct dyn_buf *out,
                    struct chat_losses *losses, struct dialect_problem *problem);
int openai_chat_answer_in(struct dyn_slice body, struct arena *arena, struct chat_answer *answer);
void openai_chat_answer_out(const struct chat_answer *answer, struct dyn_buf *out);
int openai_chat_event_in(struct chat_reading *reading, const struct sse_event *event, chat_event_fn tell,
                         void *self);
void openai_chat_event_out(struct chat_writing *writing, const struct chat_event *event, struct dyn_buf *out);

extern const struct chat_codec openai_chat_codec;

/* In one place for answers and streams. */
void openai_chat_put_usage(struct dyn_buf *out, const struct env_usage *usage);
const char *openai_chat_finish_word(enum chat_finish finish); /* "stop" */
enum chat_finish openai_chat_finish(struct json_value reason);
