#include "core/blackout.h"

#include "core/json_view.h"
#include "core/regex.h"
#include "core/text.h"

#include <stdlib.h>

/* What follows a cut is searched, too: a private key, the longest that an expression below bounds, each
 * of its line ends as an escape. */
enum { BEYOND_CUT_BYTES = 10 * 1024 };

/* Where a word begins, also behind an escape of JSON inside of JSON: "\\nsk-..". */
#define BEGIN "(?:\\b|(?<=\\\\[nrtbf]))"

/* One expression: a text is walked through once. Prefixes first, which fail at their first letter. */
static const char pattern[] =
    "(?i:bearer)[ ]+[A-Za-z0-9._~+/=-]{12,}"                     /* Authorization */
    "|eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]*" /* JWT */
    "|" BEGIN "(?:AKIA|ASIA)[0-9A-Z]{16}\\b"                     /* AWS access key id */
    "|" BEGIN "sk-[A-Za-z0-9_-]{20,}"                            /* OpenAI, Anthropic, Qwen, .. */
    "|" BEGIN "pplx-[A-Za-z0-9]{20,}"                            /* Perplexity */
    "|" BEGIN "gsk_[A-Za-z0-9]{20,}"                             /* Groq */
    "|" BEGIN "AIza[0-9A-Za-z_-]{30,}"                           /* Google */
    "|" BEGIN "xai-[A-Za-z0-9]{20,}"                             /* xAI */
    "|" BEGIN "hf_[A-Za-z0-9]{20,}"                              /* Hugging Face */
    "|" BEGIN "fgws?_[0-9a-f]{32,}"                              /* Ferro's keys and sessions */
    "|" BEGIN "dyn_[A-Za-z0-9]+_[A-Za-z0-9_-]{20,}"              /* ours */
    "|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\\s\\\\]{0,8192}(?:-----END [A-Z ]{0,30}PRIVATE "
    "KEY-----)?"
    "|[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\\s/:@\"\\\\]{0,256}:[^\\s/@\"\\\\]{1,256}@" /* user:password@ */
    "|[?&](?i:key|api_key|apikey|token|access_token|secret|signature|sig|password)=[^&\\s\"\\\\#]{4,512}"
    "|" BEGIN
    "(?i:api[_-]?key|secret|token|password|passwd|credential)s?\\\\?[\"']?\\s{0,4}[:=]\\s{0,4}\\\\?[\"']?"
    "[A-Za-z0-9_./+-]{24,64}"
    "|" BEGIN
    "[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\\.[A-Za-z0-9-]{1,63}){0,6}\\.[A-Za-z]{2,24}\\b"; /* mail
                                                                                                    */

struct blackout {
    dyn_regex_t *regex;
};

blackout_t *
blackout_new(struct dyn_err *err)
{
    struct blackout *blackout = dyn_zalloc(sizeof *blackout);
    unsigned column;
    blackout->regex = dyn_regex_new(dyn_slice(pattern, sizeof pattern - 1), &column, err);
    if (blackout->regex == NULL) {
        free(blackout);
        return NULL;
    }
    return blackout;
}

void
blackout_free(blackout_t **blackout_p)
{
    if (*blackout_p != NULL) {
        dyn_regex_free(&(*blackout_p)->regex);
        free(*blackout_p);
        *blackout_p = NULL;
    }
}

static bool
is_utf8(struct dyn_slice text)
{
    const char *end = text.data + text.len;
    for (const char *at = text.data; at < end;) {
        size_t len = dyn_utf8_len(at, end);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}

/* Cut between characters. */
static struct dyn_slice
beginning(struct dyn_slice text, uint64_t most)
{
    size_t len = text.len < most ? text.len : (size_t)most;
    while (len > 0 && len < text.len && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return dyn_slice(text.data, len);
}

/* What is searched: the text, or what its escapes stand for. */
struct searched {
    struct dyn_slice text;
    struct json_view view;
    bool is_view;
};

static void
begin_search(struct searched *searched, struct dyn_slice text)
{
    *searched = (struct searched){.text = text};
    if (text.len > 0 && memchr(text.data, '\\', text.len) != NULL) {
        json_view_feed(&searched->view, text, true);
        searched->text = dyn_buf_slice(&searched->view.text);
        searched->is_view = true;
    }
}

static size_t
place_of(const struct searched *searched, size_t position)
{
    return searched->is_view ? (size_t)json_view_place(&searched->view, position) : position;
}

static enum dyn_regex_result
write_found(const blackout_t *blackout, const struct searched *searched, struct dyn_slice text, size_t most,
            struct dyn_buf *out)
{
    struct dyn_regex_budget budget = {.left_us = DYN_REGEX_BUDGET_US};
    struct dyn_regex_place place;
    enum dyn_regex_result found = DYN_REGEX_YES;
    size_t done = 0;
    for (size_t from = 0; found == DYN_REGEX_YES && done < most; from = place.end) {
        found = dyn_regex_find(blackout->regex, searched->text, from, false, &place, &budget);
        size_t begin = found == DYN_REGEX_YES ? place_of(searched, place.begin) : most;
        begin = begin < most ? begin : most;
        if (found != DYN_REGEX_LIMIT && begin > done) {
            dyn_buf_add(out, text.data + done, begin - done);
        }
        if (found == DYN_REGEX_YES && begin < most) {
            dyn_buf_add_str(out, "[REDACTED]");
        }
        done = found == DYN_REGEX_YES ? place_of(searched, place.end) : most;
    }
    return found;
}

void
blackout_write(const blackout_t *blackout, struct dyn_slice text, uint64_t most, struct dyn_buf *out)
{
    size_t begin = out->len;
    struct searched searched;
    size_t kept = beginning(text, most).len;
    text = beginning(text, kept + (uint64_t)BEYOND_CUT_BYTES);
    bool is_text = is_utf8(text);
    begin_search(&searched, is_text ? text : dyn_slice(NULL, 0));
    if (!is_text || write_found(blackout, &searched, text, kept, out) == DYN_REGEX_LIMIT) {
        out->len = begin;
        dyn_buf_add_str(out, "[NOT INSPECTED]");
    }
    json_view_fini(&searched.view);
}
