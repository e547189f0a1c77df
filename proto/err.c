/* The rows of errors.def as data, and the two texts made from them: the body of an error answer in the
 * OpenAI shape, and the page of the documentation. It decides nothing; router and providers do. */
#include "proto/err.h"

#include "core/buf.h"

enum { RETRY_NO = false, RETRY_YES = true, BREAKER_IGNORED = false, BREAKER_COUNTS = true };

static const struct err_row rows[ERR_COUNT] = {
    [ERR_NONE] = {"NONE", "none", 200, ERR_BLAME_GATEWAY, false, false, "none", "no error"},
#define ERR(name_, code_, http_, blame_, retry_, breaker_, type_, sentence_)                                 \
    [ERR_##name_] = {#name_, code_,    http_, ERR_BLAME_##blame_, RETRY_##retry_, BREAKER_##breaker_,        \
                     type_,  sentence_},
#include "proto/errors.def"
#undef ERR
};

static const char *const blame_words[] = {
    [ERR_BLAME_CLIENT] = "client",
    [ERR_BLAME_GATEWAY] = "gateway",
    [ERR_BLAME_KEY] = "key",
    [ERR_BLAME_PROVIDER] = "provider",
};

const struct err_row *
err_row(enum err_code code)
{
    return (unsigned)code < ERR_COUNT ? &rows[code] : &rows[ERR_INTERNAL];
}

enum err_code
err_by_name(struct dyn_slice name)
{
    for (unsigned code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        if (dyn_slice_is(name, rows[code].name)) {
            return (enum err_code)code;
        }
    }
    return ERR_NONE;
}

void
err_write_openai(struct dyn_buf *out, enum err_code code, struct dyn_slice message, struct dyn_slice param,
                 struct dyn_slice upstream_code)
{
    const struct err_row *row = err_row(code);
    dyn_buf_add_slice(out, DYN_SLICE("{\"error\":{\"message\":"));
    dyn_buf_add_json_string(out, message.data != NULL ? message : dyn_slice_str(row->sentence));
    dyn_buf_addf(out, ",\"type\":\"%s\",\"param\":", row->type);
    if (param.data != NULL) {
        dyn_buf_add_json_string(out, param);
    } else {
        dyn_buf_add_slice(out, DYN_SLICE("null"));
    }
    dyn_buf_addf(out, ",\"code\":\"%s\"", row->code);
    if (upstream_code.data != NULL) {
        dyn_buf_add_slice(out, DYN_SLICE(",\"upstream_code\":"));
        dyn_buf_add_json_string(out, upstream_code);
    }
    dyn_buf_add_slice(out, DYN_SLICE("}}"));
}

static const char reference_head[] =
    "# Errors\n\n"
    "Every error that the gateway itself answers with. The body is always\n"
    "`{\"error\":{\"message\":..,\"type\":..,\"param\":..,\"code\":..}}`; `param` names the member of the "
    "request that\n"
    "is wrong, or is null. A stream that has begun ends with one event of this form and without `[DONE]`.\n"
    "\"Tried again\" tells whether the gateway itself tries another attempt, \"opens the breaker\" whether "
    "the\n"
    "error counts as a failure of the target. This page is generated from the table that the gateway runs "
    "on.\n\n"
    "| status | code | type | whose fault | tried again | opens the breaker | meaning |\n"
    "|---|---|---|---|---|---|---|\n";

void
err_write_reference(struct dyn_buf *out)
{
    dyn_buf_add_str(out, reference_head);
    for (unsigned code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        const struct err_row *row = &rows[code];
        dyn_buf_addf(out, "| %u | `%s` | `%s` | %s | %s | %s | %s |\n", row->http, row->code, row->type,
                     blame_words[row->blame], row->retryable ? "yes" : "no", row->counts ? "yes" : "no",
                     row->sentence);
    }
}
