/* Following a JSON text just far enough. Text inside strings is nearly all of a long answer; it is passed
 * over by looking for the next quote. */
#include "actors/providers/provider_skim.h"

void
provider_skim_init(struct provider_skim *skim)
{
    *skim = (struct provider_skim){.out = DYN_BUF_INIT_LIMIT(PROVIDER_SKIM_TOTAL_MAX)};
}

void
provider_skim_fini(struct provider_skim *skim)
{
    dyn_buf_fini(&skim->out);
}

static void
keep(struct provider_skim *skim, const char *at, size_t len)
{
    if (skim->in_value && skim->out.len - skim->value_start + len > PROVIDER_SKIM_VALUE_MAX) {
        skim->is_leaving_out = true;
    }
    if (!skim->is_leaving_out) {
        dyn_buf_add(&skim->out, at, len);
        skim->is_wrong |= skim->out.failed;
    }
}

static const char *
empty_of(char kind)
{
    switch (kind) {
    case '{':
        return "{}";
    case '[':
        return "[]";
    case '"':
        return "\"\"";
    default:
        return "0"; /* a number of thousands of digits */
    }
}

/* The member's value is at its end. */
static void
end_value(struct provider_skim *skim)
{
    if (skim->is_leaving_out) {
        skim->out.len = skim->value_start;
        skim->is_leaving_out = false;
        skim->in_value = false;
        const char *empty = empty_of(skim->value_kind);
        keep(skim, empty, strlen(empty));
    }
    skim->in_value = false;
}

static void
open_bracket(struct provider_skim *skim, char c)
{
    if (skim->depth == PROVIDER_SKIM_DEPTH_MAX || (skim->depth == 0 && c == '[')) {
        skim->is_wrong = true;
        return;
    }
    uint64_t bit = (uint64_t)1 << (skim->depth % 64);
    uint64_t *word = &skim->is_array[skim->depth / 64];
    *word = c == '[' ? *word | bit : *word & ~bit;
    skim->depth++;
    keep(skim, &c, 1);
}

static void
close_bracket(struct provider_skim *skim, char c)
{
    if (skim->depth == 0) {
        skim->is_wrong = true;
        return;
    }
    skim->depth--;
    bool is_array = (skim->is_array[skim->depth / 64] >> (skim->depth % 64)) & 1;
    skim->is_wrong |= is_array != (c == ']');
    if (skim->depth == 0) {
        end_value(skim);
        skim->is_over = true;
    }
    keep(skim, &c, 1);
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
take_character(struct provider_skim *skim, char c)
{
    if (is_space(c)) { /* kept where it parts two words, so that nothing wrong becomes right */
        if (skim->in_value && skim->value_kind != 0) {
            keep(skim, &c, 1);
        }
        return;
    }
    if (skim->is_over || (skim->depth == 0 && c != '{')) {
        skim->is_wrong = true;
        return;
    }
    bool is_member_end = skim->depth == 1 && c == ',';
    if (is_member_end) {
        end_value(skim);
    } else if (skim->in_value && skim->value_kind == 0) {
        skim->value_kind = c;
    }
    if (c == '{' || c == '[') {
        open_bracket(skim, c);
    } else if (c == '}' || c == ']') {
        close_bracket(skim, c);
    } else {
        skim->in_string = c == '"';
        keep(skim, &c, 1);
    }
    if (skim->depth == 1 && c == ':' && !skim->in_value) {
        skim->in_value = true;
        skim->value_kind = 0;
        skim->value_start = skim->out.len;
    }
}

/* Inside a string: returns how many bytes were taken, up to its closing quote. */
static size_t
take_string(struct provider_skim *skim, const char *at, size_t len)
{
    size_t taken = 0;
    while (taken < len && skim->in_string) {
        if (skim->is_escaped) {
            skim->is_escaped = false;
            taken++;
            continue;
        }
        const char *quote = memchr(at + taken, '"', len - taken);
        size_t end = quote != NULL ? (size_t)(quote - at) : len;
        const char *slash = memchr(at + taken, '\\', end - taken);
        if (slash != NULL) {
            taken = (size_t)(slash - at) + 1;
            skim->is_escaped = true;
        } else {
            taken = quote != NULL ? end + 1 : len;
            skim->in_string = quote == NULL;
        }
    }
    keep(skim, at, taken);
    return taken;
}

void
provider_skim_feed(struct provider_skim *skim, struct dyn_slice bytes)
{
    for (size_t i = 0; i < bytes.len && !skim->is_wrong;) {
        if (skim->in_string) {
            i += take_string(skim, bytes.data + i, bytes.len - i);
        } else {
            take_character(skim, bytes.data[i++]);
        }
    }
}

struct dyn_slice
provider_skim_result(const struct provider_skim *skim)
{
    bool is_whole = skim->is_over && !skim->is_wrong;
    return is_whole ? dyn_buf_slice(&skim->out) : dyn_slice(NULL, 0);
}
