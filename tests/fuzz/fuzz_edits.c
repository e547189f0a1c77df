/* Edits of a JSON text: the input is lines, the first one the text, each further one an edit (`=`, `-` or
 * `+`, the pointer, a tab, the value). What comes out is JSON, and what was refused leaves nothing. */
#include "proto/edits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EDITS = 16 };

static struct dyn_slice
next_line(struct dyn_slice *input)
{
    const char *end = input->len > 0 ? memchr(input->data, '\n', input->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - input->data) : input->len;
    struct dyn_slice line = dyn_slice(input->data, len);
    size_t skip = end != NULL ? len + 1 : len;
    *input = dyn_slice(input->data + skip, input->len - skip);
    return line;
}

static bool
read_edit(struct dyn_slice line, struct vote_edit *edit)
{
    if (line.len < 1) {
        return false;
    }
    const char *tab = memchr(line.data, '\t', line.len);
    size_t len = tab != NULL ? (size_t)(tab - line.data) : line.len;
    edit->op = line.data[0] == '-'   ? VOTE_EDIT_REMOVE
               : line.data[0] == '+' ? VOTE_EDIT_ADD
                                     : VOTE_EDIT_REPLACE;
    edit->at = dyn_slice(line.data + 1, len - 1);
    edit->value = tab != NULL ? dyn_slice(tab + 1, line.len - len - 1) : dyn_slice("", 0);
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice input = dyn_slice((const char *)data, size);
    struct vote_edit edits[EDITS];
    size_t n = 0;
    struct dyn_slice text = next_line(&input);
    struct json_error error;
    dyn_block_t *out = NULL;
    if (size == 0 || json_scan(text, JSON_DEPTH_DEFAULT, NULL, &error) != 0) {
        return 0;
    }
    while (n < EDITS && input.len > 0 && read_edit(next_line(&input), &edits[n])) {
        n++;
    }
    if (edits_apply(text, edits, n, 0, &out, NULL) == 0) {
        DYN_ASSERT(json_scan(dyn_block_slice(out), JSON_DEPTH_DEFAULT, NULL, &error) == 0);
    } else {
        DYN_ASSERT(out == NULL);
    }
    dyn_block_unref(&out);
    return 0;
}
