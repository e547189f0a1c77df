/* The errors a caller can see: what errors.def says about each, as data. */
#pragma once

#include "core/base.h"

struct dyn_buf;

enum err_code {
    ERR_NONE = 0,
#define ERR(name, code, http, blame, retry, breaker, type, sentence) ERR_##name,
#include "proto/errors.def"
#undef ERR
    ERR_COUNT
};

enum err_blame { ERR_BLAME_CLIENT, ERR_BLAME_GATEWAY, ERR_BLAME_KEY, ERR_BLAME_PROVIDER };

struct err_row {
    const char    *name;    /* "UPSTREAM_TIMEOUT": unique, used on the bus and, in lower case, in metrics */
    const char    *code;    /* "upstream_timeout": what the client reads; two rows may share one */
    uint16_t       http;    /* status answered */
    enum err_blame blame;   /* whose fault */
    bool           retryable; /* another attempt may succeed */
    bool           counts;  /* a failure in the eyes of the circuit breaker */
    const char    *type;    /* OpenAI "type" */
    const char    *sentence;
};

/* Never NULL; a code out of range gives INTERNAL's row. */
const struct err_row *err_row(enum err_code code);
/* By unique name ("UPSTREAM_TIMEOUT"); ERR_NONE when there is none. */
enum err_code err_by_name(struct dyn_slice name);

/* {"error":{"message":..,"type":..,"param":..,"code":..}} as the OpenAI API has it; `message` and `param`
 * may be absent (the row's sentence, null). `upstream_code` is added when present. */
void err_write_openai(struct dyn_buf *out, enum err_code code, struct dyn_slice message,
                      struct dyn_slice param, struct dyn_slice upstream_code);

/* docs/errors.md: the rows as a table, in the order of errors.def. */
void err_write_reference(struct dyn_buf *out);
