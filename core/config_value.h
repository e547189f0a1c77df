/* The text of one scalar as the type that the schema asks for. Pure: no file, no places; the error is
 * the end of a sentence that begins with the key ("must be ..."). Internal to the loader. */
#pragma once

#include "core/config.h"
#include "core/err.h"

int config_read_bool(struct dyn_slice text, bool *out, struct dyn_err *err);
int config_read_int(struct dyn_slice text, int64_t *out, struct dyn_err *err);
int config_read_number(struct dyn_slice text, double *out, struct dyn_err *err);
int config_read_size(struct dyn_slice text, uint64_t *out, struct dyn_err *err);
int config_read_enum(struct dyn_slice text, const struct config_key *key, int *out, struct dyn_err *err);

/* Whether the key's limits hold for a value of its type (read as a double: limits are small). */
int config_check_range(const struct config_key *key, double value, struct dyn_slice text,
                       struct dyn_err *err);
/* "1 to 65535", "at least 1s", or empty: the limits in the type's own notation. */
struct config_range {
    char text[80];
};
struct config_range config_range_text(const struct config_key *key);
/* "a whole number, like 8080": what a key of that type takes. */
const char *config_type_wants(enum config_type type);

/* What both files of readers use. Digits may have '_' between them. */
static inline bool
config_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
bool config_is_digits(const char *at, const char *end);
/* From *at on; false when there is no digit or the number does not fit. */
bool config_read_digits(const char **at, const char *end, uint64_t *out);

/* Names in a row, for a problem: "a, b, c", as many as fit, then "...". */
struct config_listed {
    char text[200];
    size_t used;
    bool is_full;
};
void config_list_add(struct config_listed *listed, const char *name);

/* The name that a mistyped one most likely stood for, or NULL; capitals do not count. `names` ends with
 * NULL. */
const char *config_nearest(struct dyn_slice typed, const char *const *names);
