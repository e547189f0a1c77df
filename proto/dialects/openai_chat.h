/* The parts of the OpenAI chat dialect, one file each; openai_chat.c puts them into its ops table.
 * Private to this folder. Contracts: dialect.h. */
#pragma once

#include "proto/dialects/dialect.h"

int openai_chat_read_request(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
                             struct dialect_problem *problem);
int openai_chat_read_places(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
                            struct json_places *places, struct dialect_problem *problem);
dyn_block_t *openai_chat_splice_request(struct dyn_slice body, const struct dialect_request *request,
                                        const struct dialect_splice *splice);
int openai_chat_read_event(const struct sse_event *event, struct dialect_event *seen);
extern const struct dialect_replay openai_chat_replay;
