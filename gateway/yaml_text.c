#include "gateway/yaml_text.h"

#include <ctype.h>

/* Words that YAML's readers take for something else than text. */
static bool
is_word_of_yaml(struct dyn_slice text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        if (dyn_slice_ieq(text, dyn_slice_str(words[i]))) {
            return true;
        }
    }
    return false;
}

static bool
is_plain(struct dyn_slice text)
{
    if (text.len == 0 || !isalpha((unsigned char)text.data[0]) || is_word_of_yaml(text)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!isalnum((unsigned char)text.data[i]) && strchr("-._/", text.data[i]) == NULL) {
            return false;
        }
        if (text.data[i] == '\0') {
            return false;
        }
    }
    return true;
}

void
yaml_add_text(struct dyn_buf *out, struct dyn_slice text)
{
    if (is_plain(text)) {
        dyn_buf_add_slice(out, text);
    } else {
        dyn_buf_add_json_string(out, text);
    }
}

void
yaml_add_comment(struct dyn_buf *out, const char *text)
{
    dyn_buf_add_str(out, "# ");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        dyn_buf_add_char(out, c < ' ' || c >= 0x7f ? '?' : *text);
    }
    dyn_buf_add_char(out, '\n');
}
