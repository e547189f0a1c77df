#include "core/json_scan.h"

size_t
json_splice_size(struct dyn_slice text, const struct json_edit *edits, size_t n_edits)
{
    size_t size = text.len;
    size_t behind = 0;
    for (size_t i = 0; i < n_edits; i++) {
        DYN_ASSERT(edits[i].offset >= behind && edits[i].offset <= text.len);
        DYN_ASSERT(edits[i].remove <= text.len - edits[i].offset);
        behind = edits[i].offset + edits[i].remove;
        size += edits[i].insert.len;
        size -= edits[i].remove;
    }
    return size;
}

static char *
copy(char *out, const char *data, size_t len)
{
    if (len > 0) {
        memcpy(out, data, len);
    }
    return out + len;
}

void
json_splice(struct dyn_slice text, const struct json_edit *edits, size_t n_edits, char *out)
{
    size_t behind = 0;
    for (size_t i = 0; i < n_edits; i++) {
        out = copy(out, text.data + behind, edits[i].offset - behind);
        out = copy(out, edits[i].insert.data, edits[i].insert.len);
        behind = edits[i].offset + edits[i].remove;
    }
    (void)copy(out, text.data + behind, text.len - behind);
}
