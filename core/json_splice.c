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
copy(char *out, struct dyn_slice from, size_t begin, size_t end)
{
    if (end > begin) {
        memcpy(out, from.data + begin, end - begin);
    }
    return out + (end - begin);
}

void
json_splice(struct dyn_slice text, const struct json_edit *edits, size_t n_edits, char *out)
{
    size_t behind = 0;
    for (size_t i = 0; i < n_edits; i++) {
        out = copy(out, text, behind, edits[i].offset);
        out = copy(out, edits[i].insert, 0, edits[i].insert.len);
        behind = edits[i].offset + edits[i].remove;
    }
    (void)copy(out, text, behind, text.len);
}
