/* Why a call failed, filled once where it happened and never re-worded on the way up. The codes here
 * are those of the runtime; what a caller of the gateway sees is proto/errors.def. */
#pragma once

#include "core/base.h"

enum dyn_code {
    DYN_OK = 0,
    DYN_E_INVALID, /* malformed or out of range */
    DYN_E_FULL,    /* a byte or count limit is used up; try again later */
    DYN_E_GONE,    /* the peer does not exist any more */
    DYN_E_LIMIT,   /* input is larger, deeper or longer than allowed */
    DYN_E_IO,      /* the system refused: errno is part of the text */
    DYN_E_CONFIG,  /* what the operator wrote cannot work */
};

struct dyn_err {
    enum dyn_code code;
    char text[400]; /* one sentence, terminated */
};

/* `err` may be NULL. Always returns -1, so that `return dyn_err_set(...)` reads well. */
int dyn_err_set(struct dyn_err *err, enum dyn_code code, const char *fmt, ...) DYN_PRINTF(3, 4);
