/* Records of keys as JSON, what writing (key_json.c) and reading (key_read.c) have in common. Private to the
 * files of keys. */
#pragma once

#include "router/keys.h"

#define KEY_PICO_PER_USD UINT64_C(1000000000000)

/* A number of a record: its name, and where it stands in struct key_limits or key_budget. */
struct key_number_field {
    const char *name;
    size_t offset;
};
enum { KEY_LIMIT_FIELDS = 4, KEY_BUDGET_FIELDS = 3 };
extern const struct key_number_field key_limit_fields[KEY_LIMIT_FIELDS];
extern const struct key_number_field key_budget_fields[KEY_BUDGET_FIELDS];

/* Values alone, without a name. */
void key_json_scopes(uint32_t scopes, struct dyn_buf *out);
void key_json_list(const struct key_list *list, struct dyn_buf *out);
void key_json_limits(const struct key_limits *limits, struct dyn_buf *out);
void key_json_budget(const struct key_budget *budget, struct dyn_buf *out);
/* ,"name":"2026-.."; nothing when it is 0. */
void key_json_time(const char *name, uint64_t ms, struct dyn_buf *out);
void key_json_hex(const char *name, const uint8_t *bytes, size_t len, struct dyn_buf *out);
