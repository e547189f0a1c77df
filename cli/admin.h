/* What the words behind `dynabus admin` have in common: where the gateway is, a request to its /admin, its
 * answer. admin.c has keys and budgets, admin_logs.c the request log and the audit log. */
#pragma once

#include "core/buf.h"
#include "core/json_scan.h"

#include <stdio.h>

enum {
    ADMIN_ANSWER_MAX = 2 * 1024 * 1024, /* bytes; a gateway's own answers have one MiB at most */
    ADMIN_NAMES_MAX = 64,
    ADMIN_FILTERS_MAX = 16,
};

struct admin_names {
    const char *items[ADMIN_NAMES_MAX];
    size_t n;
};

/* A parameter of a list: its name in the query, and what was written behind the option. */
struct admin_filter {
    const char *name;
    const char *value;
};

struct admin_wanted {
    const char *url;
    const char *key;
    bool is_json;
    const char *name;
    const char *group;
    const char *expires_in;
    struct admin_names scopes, models, targets;
    struct admin_filter filters[ADMIN_FILTERS_MAX];
    size_t n_filters;
};

/* `path` behind /admin/; `body` absent: none. -1, and why is on standard error. */
int admin_ask(const struct admin_wanted *wanted, const char *method, const char *path, struct dyn_slice body,
              struct dyn_buf *answer);
/* Status, and where the body begins; 0: it is no answer of a gateway. */
unsigned admin_take_apart(struct dyn_buf *answer, struct dyn_slice *body);
/* A member of the object, in `width` columns; `otherwise` where it is not there. */
void admin_print_text(FILE *out, struct json_value object, const char *name, const char *otherwise,
                      int width);
/* Says what the gateway said; the exit code. */
int admin_tell_error(unsigned status, struct dyn_slice body);
/* "90d", "12h", "30m": seconds; 0: it is none of these. */
uint64_t admin_seconds_of(const char *text);
/* What stands in a path as it is, and otherwise escaped. */
void admin_add_escaped(struct dyn_buf *path, const char *text);

/* `logs ..` and `audit ..` (admin_logs.c); the exit code. */
int admin_choose_logs(char **words, int n, const struct admin_wanted *wanted);
