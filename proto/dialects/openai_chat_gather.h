/* Private to this folder. Contracts: replay.h. */
#pragma once

#include "proto/dialects/openai_chat.h"

#include "core/buf.h"

void *openai_chat_gather_new(size_t max_bytes);
int openai_chat_gather(void *gathered, const struct sse_event *event);
int openai_chat_gather_end(void *gathered, const struct env_usage *usage, struct dyn_buf *out);
void openai_chat_gather_free(void *gathered);
