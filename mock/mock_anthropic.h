/* The mock as an upstream of Anthropic's Messages API: the same words, tags, tools and faults in that wire
 * language. answer.c comes here for calls of POST /messages; nothing else differs. */
#pragma once

#include "mock/answer.h"

void mock_anthropic_add_event(struct mock_answer *answer, uint32_t place, dyn_block_t **out);
void mock_anthropic_add_end(struct mock_answer *answer, dyn_block_t **out);
void mock_anthropic_add_error_event(const struct mock_answer *answer, dyn_block_t **out);
void mock_anthropic_add_plain(struct mock_answer *answer, dyn_block_t **out);
/* {"type":"error","error":{..}} as that API words it for the status. */
void mock_anthropic_add_error(dyn_block_t **out, unsigned status, const char *message);
