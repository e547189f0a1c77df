/* docs/providers.md: one line a row. Pure. */
#include "actors/providers/provider_reference.h"

#include "actors/providers/provider_params.h"

static void
write_root(struct dyn_buf *out, const struct provider_row *row)
{
    if (row->root == NULL) {
        dyn_buf_add_str(out, "`base_url`");
    } else {
        dyn_buf_addf(out, "%s", row->root);
    }
    if (row->root_tail != NULL) {
        dyn_buf_addf(out, "; a host gets `%s`", row->root_tail);
    }
}

static void
write_variable(struct dyn_buf *out, const char *name)
{
    if (name != NULL) {
        dyn_buf_addf(out, "%s%s", out->data[out->len - 1] == ' ' ? "" : "<br>", name);
    }
}

static void
write_changes(struct dyn_buf *out, const struct provider_row *row)
{
    const char *between = "";
    for (size_t i = 0; i < PROVIDER_ROW_RENAMES_MAX && row->renames[i].from != NULL; i++) {
        dyn_buf_addf(out, "%s`%s` becomes `%s`", between, row->renames[i].from, row->renames[i].to);
        if (row->renames_at != NULL) {
            dyn_buf_addf(out, " at %s", row->renames_at);
        }
        between = "; ";
    }
    const struct {
        bool is_so;
        const char *what;
    } changes[] = {
        {row->dimensions != NULL, "`dimensions` of embeddings becomes `output_dimension`"},
        {row->counts_logprobs, "`logprobs` becomes the number in `top_logprobs`"},
        {row->no_names, "`messages[].name` is left out"},
        {row->model_prefix != NULL, "its own id in front of a model is left out"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(changes); i++) {
        if (changes[i].is_so) {
            dyn_buf_addf(out, "%s%s", between, changes[i].what);
            between = "; ";
        }
    }
}

static void
write_row(struct dyn_buf *out, const struct provider_row *row)
{
    dyn_buf_addf(out, "| `%s`%s | ", row->id, row->any_model ? " \\*" : "");
    write_root(out, row);
    dyn_buf_add_str(out, " | ");
    write_variable(out, row->key_env);
    write_variable(out, row->base_url_env);
    write_variable(out, row->root_env);
    write_variable(out, row->models_env[0]);
    dyn_buf_addf(out, " | %s | ", row->has_embeddings ? "yes" : "");
    write_changes(out, row);
    dyn_buf_add_str(out, " | ");
    provider_params_names(out, row->unsupported);
    if (row->one_choice) {
        dyn_buf_add_str(out, ", n above 1");
    }
    dyn_buf_add_str(out, " |\n");
}

void
provider_write_reference(struct dyn_buf *out)
{
    dyn_buf_add_str(
        out,
        "# Providers\n\n"
        "Written by `dynabus reference providers` from actors/providers/providers.def; run `./dev docs`\n"
        "after a change. A target of the configuration names one of these as its `provider`; without a\n"
        "configuration each one whose variables are set is a target. Those marked \\* take models that\n"
        "nobody else owns.\n\n"
        "A base URL is the API root: one with a path is taken as it is, one without gets the version that\n"
        "ends the root in the table. What a provider does not support is sent on all the same and logged,\n"
        "left out, or refused: `compatibility.on_unsupported_param` is `warn`, `drop` or `reject`.\n\n"
        "Any server that speaks OpenAI's API can be a target with `provider: openai` and a `base_url`: it\n"
        "gets the client's bytes as they are, but for the model when it has another name there, and\n"
        "`stream_options` on streams (`targets[].stream_usage`). A proxy in front of OpenAI itself may want\n"
        "`targets[].rename_params: always`.\n\n"
        "| provider | API root | variables | embeddings | changed in requests | not supported |\n"
        "|---|---|---|---|---|---|\n");
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        write_row(out, row);
    }
}
