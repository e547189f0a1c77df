/* Answers of the ledger as JSON for operators: lists with a summary, sums by dimension. Pure. */
#pragma once

#include "actors/ledger/desk_question.h"

enum { DESK_ANSWER_MAX = 1024 * 1024 - 16 * 1024 }; /* bytes: what an END takes, with room for the summary */

/* `answer` and its rows come from the ledger, and are read with care all the same. A list ends where the
 * answer is full: `returned_entries` tells how far it came. */
void desk_answer_write(const struct desk_question *question, const struct ledger_message *answer,
                       struct dyn_buf *out);
