#include "actors/plugins/blackout.h"

#include "core/regex.h"
#include "core/text.h"

#include <stdlib.h>

/* One expression: a text is walked through once. Prefixes first, which fail at their first letter. */
static const char pattern[] =
    "(?i:bearer)[ ]+[A-Za-z0-9._~+/=-]{12,}"                     /* Authorization */
    "|eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]*" /* JWT */
    "|\\b(?:AKIA|ASIA)[0-9A-Z]{16}\\b"                           /* AWS access key id */
    "|\\bsk-[A-Za-z0-9_-]{20,}"                                  /* OpenAI, Anthropic, Qwen, .. */
    "|\\bpplx-[A-Za-z0-9]{20,}"                                  /* Perplexity */
    "|\\bgsk_[A-Za-z0-9]{20,}"                                   /* Groq */
    "|\\bAIza[0-9A-Za-z_-]{30,}"                                 /* Google */
    "|\\bxai-[A-Za-z0-9]{20,}"                                   /* xAI */
    "|\\bhf_[A-Za-z0-9]{20,}"                                    /* Hugging Face */
    "|\\bfgws?_[0-9a-f]{32,}"                                    /* Ferro's keys and sessions */
    "|\\bdyn_[A-Za-z0-9]+_[A-Za-z0-9_-]{20,}"                    /* ours */
    "|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\\s\\\\]{0,8192}(?:-----END [A-Z ]{0,30}PRIVATE "
    "KEY-----)?"
    "|[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\\s/:@\"\\\\]{0,256}:[^\\s/@\"\\\\]{1,256}@" /* user:password@ */
    "|[?&](?i:key|api_key|apikey|token|access_token|secret|signature|sig|password)=[^&\\s\"\\\\#]{4,512}"
    "|\\b(?i:api[_-]?key|secret|token|password|passwd|credential)s?\\\\?[\"']?\\s{0,4}[:=]\\s{0,4}\\\\?[\"']?"
    "[A-Za-z0-9_./+-]{24,64}"
    "|\\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\\.[A-Za-z0-9-]{1,63}){0,6}\\.[A-Za-z]{2,24}\\b"; /* mail
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

void
blackout_write(const blackout_t *blackout, struct dyn_slice text, struct dyn_buf *out)
{
    struct dyn_regex_budget budget = {.left_us = DYN_REGEX_BUDGET_US};
    size_t begin = out->len;
    size_t from = 0;
    struct dyn_regex_place place;
    enum dyn_regex_result found = is_utf8(text) ? DYN_REGEX_YES : DYN_REGEX_LIMIT;
    while (found == DYN_REGEX_YES) {
        found = dyn_regex_find(blackout->regex, text, from, false, &place, &budget);
        if (found == DYN_REGEX_YES) {
            dyn_buf_add(out, text.data + from, place.begin - from);
            dyn_buf_add_str(out, "[REDACTED]");
            from = place.end;
        }
    }
    if (found == DYN_REGEX_NO) {
        dyn_buf_add(out, text.data + from, text.len - from);
        return;
    }
    out->len = begin;
    dyn_buf_add_str(out, "[NOT INSPECTED]");
}
