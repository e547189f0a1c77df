/* What operators ask of the ledger over HTTP, read: "GET logs?model=gpt-4o&limit=20" becomes a question of
 * 06-LEDGER. Pure; decides nothing about who may. A parameter that is not known is refused: a filter that is
 * spelled wrongly must not widen what a DELETE takes away. */
#pragma once

#include "core/arena.h"
#include "proto/err.h"
#include "proto/ledger.h"

enum desk_about { DESK_LOGS, DESK_STATS, DESK_PURGE, DESK_AUDIT, DESK_BUDGETS, DESK_RESET };

enum {
    DESK_LIST_DEFAULT = 50,
    DESK_LIST_MAX = 200,
    DESK_TOP_DEFAULT = 10,
    DESK_TOP_MAX = 100,
    DESK_POINTS_DEFAULT = 24,
    DESK_POINTS_MAX = 120,
};

struct desk_question {
    enum desk_about about;
    struct ledger_message ask; /* texts lie in the arena */
};

struct desk_refusal {
    enum err_code code;
    const char *param; /* static; NULL: none */
    char text[240];    /* "": the sentence of the code */
};

/* `text` as the edge writes it: the method, a blank, the path behind /admin/ with its query. -1 with why
 * not. */
int desk_question_read(struct dyn_slice text, struct arena *arena, struct desk_question *question,
                       struct desk_refusal *refusal);
/* {"limit":50,"model":"gpt-4o"}: what counted. */
void desk_question_filters(const struct desk_question *question, struct dyn_buf *out);
