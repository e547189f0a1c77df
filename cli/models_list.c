/* dynabus models list and show. */
#include "cli/cli.h"
#include "cli/models.h"
#include "core/buf.h"
#include "models/cost.h"
#include "models/image.h"

#include <strings.h>

/* ---- what is listed ---- */

static bool
contains(struct dyn_slice text, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= text.len; i++) {
        if (strncasecmp(text.data + i, word, len) == 0) {
            return true;
        }
    }
    return false;
}

bool
models_is_mode(const char *mode)
{
    for (unsigned i = 0; i < CATALOGUE_MODE_COUNT; i++) {
        if (strcmp(mode, catalogue_mode_name((enum catalogue_mode)i)) == 0) {
            return true;
        }
    }
    return false;
}

static bool
is_wanted(const struct catalogue_model *model, const struct models_options *options, uint32_t today)
{
    if (options->mode != NULL && strcmp(options->mode, catalogue_mode_name(model->mode)) != 0) {
        return false;
    }
    if (!options->all && catalogue_is_deprecated(model, today) != options->deprecated) {
        return false;
    }
    return options->word == NULL || contains(catalogue_id(model), options->word);
}

static void
put_slice(struct dyn_buf *out, struct dyn_slice text, int width)
{
    dyn_buf_add_slice(out, text);
    for (int used = (int)text.len; used < width; used++) {
        dyn_buf_add_char(out, ' ');
    }
}

static void
put_price(struct dyn_buf *out, uint64_t price, int width)
{
    struct dyn_buf text = DYN_BUF_INIT;
    models_put_per_million(&text, price);
    for (int used = (int)text.len; used < width; used++) {
        dyn_buf_add_char(out, ' ');
    }
    dyn_buf_add_slice(out, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

/* For people: the first columns of what `show` says. */
static void
put_line(struct dyn_buf *out, const struct catalogue_model *model, uint32_t today)
{
    put_slice(out, catalogue_provider(model), 18);
    dyn_buf_add_char(out, ' ');
    put_slice(out, catalogue_id(model), 48);
    dyn_buf_add_char(out, ' ');
    put_slice(out, dyn_slice_str(catalogue_mode_name(model->mode)), 10);
    dyn_buf_addf(out, " %8u", model->context_window);
    put_price(out, catalogue_price(model, CATALOGUE_PRICE_INPUT), 10);
    put_price(out, catalogue_price(model, CATALOGUE_PRICE_OUTPUT), 10);
    if (catalogue_is_deprecated(model, today)) {
        dyn_buf_add_str(out, "  deprecated");
    }
    dyn_buf_add_char(out, '\n');
}

/* ---- JSON ---- */

static void
put_member(struct dyn_buf *out, const char *key, struct dyn_slice text)
{
    if (text.len > 0) {
        dyn_buf_addf(out, ",\"%s\":", key);
        dyn_buf_add_json_string(out, text);
    }
}

static void
put_count(struct dyn_buf *out, const char *key, uint32_t count)
{
    if (count > 0) {
        dyn_buf_addf(out, ",\"%s\":%u", key, count);
    }
}

static void
put_day(struct dyn_buf *out, const char *key, uint32_t day)
{
    if (day > 0) {
        dyn_buf_addf(out, ",\"%s\":\"%04u-%02u-%02u\"", key, day / 10000, day / 100 % 100, day % 100);
    }
}

static void
put_price_object(struct dyn_buf *out, const struct image_price *price)
{
    dyn_buf_addf(out, "{\"price\":\"%s\",\"usd_per_million\":", catalogue_price_name(price->price));
    models_put_per_million(out, price->amount);
    if (price->above > 0) {
        dyn_buf_addf(out, ",\"above_tokens\":%u", price->above);
    }
    if (price->service != CATALOGUE_STANDARD) {
        dyn_buf_addf(out, ",\"service\":\"%s\"", catalogue_service_name(price->service));
    }
    dyn_buf_add_char(out, '}');
}

static void
put_json(struct dyn_buf *out, const struct catalogue_model *model, uint32_t today)
{
    dyn_buf_add_str(out, "{\"provider\":");
    dyn_buf_add_json_string(out, catalogue_provider(model));
    put_member(out, "id", catalogue_id(model));
    put_member(out, "mode", dyn_slice_str(catalogue_mode_name(model->mode)));
    put_count(out, "context_window", model->context_window);
    put_count(out, "max_output_tokens", model->max_output);
    put_member(out, "status", dyn_slice_str(catalogue_status_name(model->status)));
    dyn_buf_addf(out, ",\"deprecated\":%s", catalogue_is_deprecated(model, today) ? "true" : "false");
    put_day(out, "deprecation_date", model->deprecated_on);
    put_day(out, "sunset_date", model->sunset_on);
    put_member(out, "successor", catalogue_successor(model));
    dyn_buf_add_str(out, ",\"capabilities\":[");
    bool is_first = true;
    for (unsigned i = 0; i < CATALOGUE_CAPABILITY_COUNT; i++) {
        if (catalogue_can(model, i)) {
            dyn_buf_addf(out, "%s\"%s\"", is_first ? "" : ",", catalogue_capability_name(i));
            is_first = false;
        }
    }
    dyn_buf_add_str(out, "],\"prices\":[");
    for (size_t i = 0; i < model->n_prices; i++) {
        dyn_buf_add_str(out, i > 0 ? "," : "");
        put_price_object(out, &image_prices(model)[i]);
    }
    dyn_buf_add_char(out, ']');
    put_member(out, "source", catalogue_source(model));
    put_day(out, "updated_at", model->updated_on);
    dyn_buf_add_str(out, "}\n");
}

static bool
print(struct dyn_buf *out)
{
    bool is_written = fwrite(dyn_buf_cstr(out), 1, out->len, stdout) == out->len && fflush(stdout) == 0;
    dyn_buf_fini(out);
    return is_written;
}

int
models_list(const catalogue_t *catalogue, const struct models_options *options)
{
    const struct catalogue_model *first = catalogue_at(catalogue, 0);
    size_t n = catalogue_count(catalogue);
    if (options->provider != NULL) {
        n = catalogue_of_provider(catalogue, dyn_slice_str(options->provider), &first);
    }
    if (n == 0) {
        (void)fprintf(stderr, "dynabus models: the catalogue knows no provider '%s'\n", options->provider);
        return CLI_FAILED;
    }
    struct dyn_buf out = DYN_BUF_INIT;
    uint32_t today = models_today();
    if (!options->json) {
        dyn_buf_addf(&out, "%-18s %-48s %-10s %8s %9s %9s\n", "provider", "model", "mode", "context",
                     "in $/M", "out $/M");
    }
    size_t listed = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_wanted(&first[i], options, today)) {
            listed++;
            (options->json ? put_json : put_line)(&out, &first[i], today);
        }
    }
    bool is_written = print(&out);
    if (!options->json) {
        (void)fprintf(stderr, "%zu of %zu models\n", listed, n);
    }
    return is_written ? CLI_OK : CLI_FAILED;
}

/* ---- show ---- */

static void
put_fact(struct dyn_buf *out, const char *name, struct dyn_slice text)
{
    if (text.len > 0) {
        dyn_buf_addf(out, "  %-16s %.*s\n", name, (int)text.len, text.data);
    }
}

static void
put_date(struct dyn_buf *out, const char *name, uint32_t day)
{
    if (day > 0) {
        dyn_buf_addf(out, "  %-16s %04u-%02u-%02u\n", name, day / 10000, day / 100 % 100, day % 100);
    }
}

static void
put_amount(struct dyn_buf *out, uint64_t amount, bool per_million)
{
    char text[COST_USD_TEXT_MAX];
    if (per_million) {
        models_put_per_million(out, amount);
    } else {
        dyn_buf_add(out, text, cost_usd_text(amount, text));
    }
}

static void
put_prices(struct dyn_buf *out, const struct catalogue_model *model)
{
    if (model->n_prices == 0) {
        dyn_buf_add_str(out, "  price            unknown\n");
    }
    for (size_t i = 0; i < model->n_prices; i++) {
        const struct image_price *price = &image_prices(model)[i];
        const char *unit = catalogue_price_unit(price->price);
        bool is_small = strstr(unit, "token") != NULL || strstr(unit, "character") != NULL;
        struct dyn_buf amount = DYN_BUF_INIT;
        put_amount(&amount, price->amount, is_small);
        dyn_buf_addf(out, "  %-16s %s USD %s: %s", i == 0 ? "prices" : "", dyn_buf_cstr(&amount),
                     is_small ? "for a million" : "for each", unit);
        if (price->above > 0) {
            dyn_buf_addf(out, ", requests of more than %u tokens", price->above);
        }
        if (price->service != CATALOGUE_STANDARD) {
            dyn_buf_addf(out, ", %s service", catalogue_service_name(price->service));
        }
        dyn_buf_add_char(out, '\n');
        dyn_buf_fini(&amount);
    }
}

static void
put_all(struct dyn_buf *out, const struct catalogue_model *model, uint32_t today)
{
    struct dyn_slice provider = catalogue_provider(model);
    struct dyn_slice id = catalogue_id(model);
    dyn_buf_addf(out, "%.*s/%.*s\n", (int)provider.len, provider.data, (int)id.len, id.data);
    put_fact(out, "mode", dyn_slice_str(catalogue_mode_name(model->mode)));
    if (model->context_window > 0) {
        dyn_buf_addf(out, "  %-16s %u tokens\n", "context", model->context_window);
    }
    if (model->max_output > 0) {
        dyn_buf_addf(out, "  %-16s %u tokens\n", "output", model->max_output);
    }
    bool is_deprecated = catalogue_is_deprecated(model, today);
    put_fact(out, "status",
             dyn_slice_str(is_deprecated ? "deprecated" : catalogue_status_name(model->status)));
    put_date(out, "deprecated on", model->deprecated_on);
    put_date(out, "sunset on", model->sunset_on);
    put_fact(out, "successor", catalogue_successor(model));
    const char *name = "can";
    for (unsigned i = 0; i < CATALOGUE_CAPABILITY_COUNT; i++) {
        if (catalogue_can(model, i)) {
            put_fact(out, name, dyn_slice_str(catalogue_capability_name(i)));
            name = "";
        }
    }
    put_prices(out, model);
    put_fact(out, "source", catalogue_source(model));
    put_date(out, "looked at", model->updated_on);
}

/* PROVIDER/ID, or an ID that any number of providers have. */
int
models_show(const catalogue_t *catalogue, const struct models_options *options)
{
    struct dyn_buf out = DYN_BUF_INIT;
    struct dyn_slice word = dyn_slice_str(options->word);
    uint32_t today = models_today();
    void (*put)(struct dyn_buf *, const struct catalogue_model *, uint32_t) =
        options->json ? put_json : put_all;
    const char *slash = strchr(options->word, '/');
    struct dyn_slice provider = dyn_slice_str(options->provider);
    const struct catalogue_model *model = NULL;
    if (provider.data != NULL) {
        model = catalogue_find_own(catalogue, provider, word);
    } else if (slash != NULL) {
        provider = dyn_slice(options->word, (size_t)(slash - options->word));
        model = catalogue_find_own(catalogue, provider, dyn_slice_str(slash + 1));
    }
    if (model != NULL) {
        put(&out, model, today);
    }
    for (size_t i = 0; model == NULL && options->provider == NULL && i < catalogue_count(catalogue); i++) {
        const struct catalogue_model *one = catalogue_at(catalogue, i);
        if (image_compare_fold(catalogue_id(one), word) == 0) {
            put(&out, one, today);
        }
    }
    if (out.len > 0) {
        return print(&out) ? CLI_OK : CLI_FAILED;
    }
    (void)fprintf(stderr, "dynabus models: the catalogue has no model '%s'\n", options->word);
    struct dyn_slice near[3];
    size_t n = catalogue_near(catalogue, slash != NULL ? dyn_slice_str(slash + 1) : word, NULL, 0, near, 3);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(stderr, "%s%.*s%s", i == 0 ? "near it: " : ", ", (int)near[i].len, near[i].data,
                      i + 1 == n ? "\n" : "");
    }
    return CLI_FAILED;
}
