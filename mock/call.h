/* One call to the mock, from its request to the last byte or to the fault that was asked for. It decides
 * what is sent when; the bytes are mock/answer.c's. */
#pragma once

#include "mock/answer.h"
#include "mock/mock_impl.h"

struct mock_call;

/* Answers the exchange, now or later. `rule` may be NULL: the model's name decides. */
void mock_call_begin(struct mock_core *core, http_exchange_t *exchange, const struct mock_chat *chat,
                     struct mock_rule *rule);
/* For the server's callbacks: bytes left, the exchange is over. */
void mock_call_written(struct mock_call *call);
void mock_call_done(struct mock_call *call, bool complete);

/* Answers with an error in the OpenAI shape. `param` may be NULL. */
void mock_reply_error(http_exchange_t *exchange, unsigned status, const char *message, const char *param);
