/* What the readers of JSON price lists share. For the files of this folder. */
#pragma once

#include "core/json_scan.h"
#include "models/rows.h"

/* A string's text, decoded into the rows' arena when it has to be; absent for other values. */
struct dyn_slice catalogue_json_text(struct catalogue_rows *rows, struct json_value value);
struct dyn_slice catalogue_json_key(struct catalogue_rows *rows, const struct json_member *member);
/* A whole number of tokens, also in quotes or with a fraction of zeros; 0: not said, or beyond 32 bits. */
uint32_t catalogue_json_count(struct json_value value);
/* The outermost object, validated. */
int catalogue_json_parse(struct dyn_slice json, struct json_value *object, struct dyn_err *err);
