/* The facade over cJSON. What cJSON is lax about, the scanner has refused before cJSON sees it. */
#include "core/json_tree.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

struct cJSON *
json_tree_parse(struct dyn_slice text, unsigned max_depth, struct json_error *error)
{
    struct json_value value;
    if (json_scan(text, max_depth, &value, error) != 0) {
        return NULL;
    }
    const char *end = value.raw.data;
    cJSON *tree = cJSON_ParseWithLengthOpts(value.raw.data, value.raw.len, &end, 0);
    if (tree == NULL || end != value.raw.data + value.raw.len) {
        cJSON_Delete(tree);
        tree = NULL;
        if (error != NULL) {
            *error = (struct json_error){"a number too long for a tree", (size_t)(end - text.data)};
        }
    }
    return tree;
}

void
json_tree_free(struct cJSON **tree_p)
{
    cJSON_Delete(*tree_p);
    *tree_p = NULL;
}

void
json_tree_print(const struct cJSON *tree, struct dyn_buf *out)
{
    char *text = cJSON_PrintUnformatted(tree);
    DYN_ASSERT(text != NULL); /* only memory can run out */
    dyn_buf_add_str(out, text);
    cJSON_free(text);
}
