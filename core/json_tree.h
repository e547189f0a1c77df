/* JSON trees (cJSON) for everything that is not on the request path: the one file that includes cJSON
 * is json_tree.c. Parsing is strict: the text is validated by json_scan first (UTF-8, depth, trailing
 * data, NUL), which cJSON does not do. */
#pragma once

#include "core/buf.h"
#include "core/json_scan.h"

struct cJSON; /* users include <cjson/cJSON.h> for reading trees; only ...CaseSensitive look-ups */

/* NULL with error. The caller frees with json_tree_free. Numbers become doubles; those of more
 * than 63 characters are refused where cJSON would read only that much of them. */
struct cJSON *json_tree_parse(struct dyn_slice text, unsigned max_depth, struct json_error *error);
void json_tree_free(struct cJSON **tree_p);
/* Compact text appended. */
void json_tree_print(const struct cJSON *tree, struct dyn_buf *out);
