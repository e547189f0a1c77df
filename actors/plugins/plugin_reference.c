#include "actors/plugins/plugin_reference.h"

static bool
is_told(const struct plugin_ops *ops, enum vote_stage stage)
{
    return stage == VOTE_ON_ERROR || (stage == VOTE_AFTER_REQUEST && ops->traits.watches);
}

static bool
votes_at(const struct plugin_ops *ops, enum vote_stage stage)
{
    return (ops->traits.stages & VOTE_STAGE_BIT(stage)) != 0;
}

/* Those where it is told, or those where it is asked. Returns how many there are. */
static size_t
add_stages(const struct plugin_ops *ops, bool told, struct dyn_buf *out)
{
    size_t n = 0;
    for (unsigned i = VOTE_BEFORE_REQUEST; i < VOTE_STAGE_COUNT; i++) {
        enum vote_stage stage = (enum vote_stage)i;
        if (votes_at(ops, stage) && is_told(ops, stage) == told) {
            dyn_buf_addf(out, "%s`%s`", n++ > 0 ? ", " : "", vote_stage_name(stage));
        }
    }
    return n;
}

static bool
fails_open(const struct plugin_ops *ops)
{
    return ops->type == PLUGIN_LOGGING || ops->type == PLUGIN_METRICS;
}

static const char introduction[] =
    "# Plugins\n"
    "\n"
    "A plugin votes on requests: before they are sent, on each piece of a stream, on an answer; and it is "
    "told of "
    "errors. Entries of `plugins:` say who is asked, in that order; keys that all have are in the "
    "[reference](../configuration.md). [explain](../explain.md) tells who would be asked about a request.\n"
    "\n"
    "| plugin | type | is asked at | |\n"
    "|---|---|---|---|\n";

static const char more[] = "\n"
                           "A name that is none of these joins over the bus, in any language ([write your "
                           "own](write-your-own.md)), or is a "
                           "function of the C program that the gateway is part of ([embed](../embed.md)).\n";

void
plugin_write_index(struct dyn_buf *out)
{
    const struct plugin_ops *ops;
    dyn_buf_add_str(out, introduction);
    for (size_t i = 0; (ops = plugin_builtin_at(i)) != NULL; i++) {
        dyn_buf_addf(out, "| [%s](%s.md) | `%s` | ", ops->name, ops->name, plugin_type_name(ops->type));
        (void)add_stages(ops, false, out);
        dyn_buf_addf(out, " | %s |\n", ops->summary);
    }
    dyn_buf_add_str(out, more);
}

/* ---- a page ---- */

static void
add_needs(const struct plugin_ops *ops, struct dyn_buf *out)
{
    static const char *const words[] = {"counts", "the price it may come to", "headers", "texts", "the body"};
    const char *comma = "";
    for (unsigned bit = 0; bit < DYN_ARRAY_LEN(words); bit++) {
        if ((ops->traits.needs & (1u << bit)) != 0) {
            dyn_buf_addf(out, "%s%s", comma, words[bit]);
            comma = ", ";
        }
    }
    for (size_t i = 0; ops->headers != NULL && ops->headers[i] != NULL; i++) {
        dyn_buf_addf(out, "%s`%s`", i == 0 ? ": " : ", ", ops->headers[i]);
    }
}

static void
add_abilities(const struct plugin_ops *ops, struct dyn_buf *out)
{
    const char *words[5];
    size_t n = 0;
    if (ops->denies != 0) {
        words[n++] = "refuse";
    }
    if (ops->traits.amends) {
        words[n++] = "change bodies";
    }
    if (ops->traits.answers) {
        words[n++] = "answer in a provider's place";
    }
    if (ops->traits.charges) {
        words[n++] = "take from a limit, and give back";
    }
    if (ops->traits.watches) {
        words[n++] = "keep what it sees";
    }
    for (size_t i = 0; i < n; i++) {
        dyn_buf_addf(out, "%s%s", i > 0 ? ", " : "", words[i]);
    }
}

static void
add_refusals(const struct plugin_ops *ops, struct dyn_buf *out)
{
    for (unsigned i = VOTE_BEFORE_REQUEST; i < VOTE_STAGE_COUNT; i++) {
        enum vote_stage stage = (enum vote_stage)i;
        if ((ops->denies & VOTE_STAGE_BIT(stage)) == 0) {
            continue;
        }
        dyn_buf_addf(out, "| refuses at `%s` with | ", vote_stage_name(stage));
        if (stage == VOTE_DURING_STREAM) {
            dyn_buf_add_str(out, "the end of the stream |\n");
            continue;
        }
        const struct err_row *row =
            err_row(stage == VOTE_BEFORE_REQUEST ? plugin_denial(dyn_slice_str(ops->name), ops->type)
                                                 : ERR_RESPONSE_REJECTED);
        dyn_buf_addf(out, "%u `%s` |\n", (unsigned)row->http, row->code);
    }
}

static void
add_facts(const struct plugin_ops *ops, struct dyn_buf *out)
{
    const struct err_row *failure = err_row(ERR_PLUGIN_ERROR);
    dyn_buf_addf(out, "| | |\n|---|---|\n| type | `%s` |\n| is asked at | ", plugin_type_name(ops->type));
    (void)add_stages(ops, false, out);
    dyn_buf_add_str(out, " |\n");
    struct dyn_buf told = DYN_BUF_INIT;
    if (add_stages(ops, true, &told) > 0) {
        dyn_buf_addf(out, "| is told at | %.*s |\n", (int)told.len, told.data);
    }
    dyn_buf_fini(&told);
    dyn_buf_add_str(out, "| is shown | ");
    add_needs(ops, out);
    dyn_buf_add_str(out, " |\n| may | ");
    add_abilities(ops, out);
    dyn_buf_add_str(out, " |\n");
    add_refusals(ops, out);
    if (fails_open(ops)) {
        dyn_buf_add_str(out, "| when it fails | requests go on, unless `on_failure: closed` |\n");
    } else {
        dyn_buf_addf(out, "| when it fails | %u `%s`, unless `on_failure: open` |\n", (unsigned)failure->http,
                     failure->code);
    }
    dyn_buf_addf(out, "| `place` | %s |\n", ops->traits.shares ? "`router`" : "`router` or `plugin`");
}

void
plugin_write_page(const struct plugin_ops *ops, struct dyn_buf *out)
{
    add_facts(ops, out);
    dyn_buf_add_str(out, "\n## Keys of `config`\n\n");
    config_write_keys(ops->config, out);
}
