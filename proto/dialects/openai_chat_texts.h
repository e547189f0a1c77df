/* Texts of the OpenAI chat dialect: bodies in openai_chat_texts.c, streams in openai_chat_pieces.c. Private
 * to this folder. Contracts: texts.h. */
#pragma once

#include "proto/dialects/texts.h"

int openai_chat_event_texts(struct dialect_texts_state *state, const struct sse_event *event,
                            struct dialect_event_texts *seen);
void openai_chat_event_rewrite(const struct sse_event *event, const struct dialect_event_texts *seen,
                               const struct dyn_slice *texts, struct dyn_buf *out);
void openai_chat_event_write_piece(const struct dialect_texts_state *state, struct vote_channel channel,
                                   struct dyn_slice text, struct dyn_buf *out);
void openai_chat_event_close(const struct dialect_texts_state *state, const uint32_t *choices, size_t n,
                             struct dyn_slice text, struct dyn_buf *out);

extern const struct dialect_texts openai_chat_texts;
