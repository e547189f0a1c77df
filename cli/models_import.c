/* dynabus models import: LiteLLM's price list or Ferro's catalog.json as our text, or what of it differs from
 * the built-in prices as a section of a configuration. */
#include "cli/cli.h"
#include "cli/models.h"
#include "core/buf.h"
#include "models/cost.h"
#include "models/rows.h"

/* In the names of `models.prices` (docs/configuration.md). */
static const struct {
    enum catalogue_price price;
    const char *key;
    bool is_each; /* not by the million */
} keys[] = {
    {CATALOGUE_PRICE_INPUT, "input_per_m_tokens", false},
    {CATALOGUE_PRICE_OUTPUT, "output_per_m_tokens", false},
    {CATALOGUE_PRICE_CACHE_READ, "cache_read_per_m_tokens", false},
    {CATALOGUE_PRICE_CACHE_WRITE, "cache_write_per_m_tokens", false},
    {CATALOGUE_PRICE_REASONING, "reasoning_per_m_tokens", false},
    {CATALOGUE_PRICE_AUDIO_IN, "audio_input_per_m_tokens", false},
    {CATALOGUE_PRICE_AUDIO_OUT, "audio_output_per_m_tokens", false},
    {CATALOGUE_PRICE_IMAGE_OUT, "image_per_tile", true},
};

static uint64_t
known_price(struct dyn_slice provider, struct dyn_slice id, enum catalogue_price price)
{
    const struct catalogue_model *known = catalogue_find_own(catalogue_builtin(), provider, id);
    return known != NULL ? catalogue_price(known, price) : PRICE_UNKNOWN;
}

/* `models.prices` has one price of each kind; put there, it would hold for long requests and for other
 * services, too, which the list has prices of their own for. */
static bool
has_more_prices(const struct catalogue_model *model)
{
    struct catalogue_prices least;
    struct catalogue_prices most;
    catalogue_prices(model, 0, CATALOGUE_STANDARD, &least);
    for (unsigned service = 0; service < CATALOGUE_SERVICE_COUNT; service++) {
        catalogue_prices(model, UINT32_MAX, (enum catalogue_service)service, &most);
        if (memcmp(&least, &most, sizeof least) != 0) {
            return true;
        }
    }
    return false;
}

static bool
differs(const struct catalogue_model *model)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(keys); i++) {
        uint64_t price = catalogue_price(model, keys[i].price);
        if (price != PRICE_UNKNOWN &&
            price != known_price(catalogue_provider(model), catalogue_id(model), keys[i].price)) {
            return true;
        }
    }
    return false;
}

/* A model that cannot be put as it is stands there as a comment. */
static void
put_left_out(struct dyn_buf *out, const struct catalogue_model *model)
{
    struct dyn_slice provider = catalogue_provider(model);
    struct dyn_slice id = catalogue_id(model);
    dyn_buf_addf(out,
                 "    # %.*s/%.*s has prices of its own for long requests or other services: use the list\n",
                 (int)provider.len, provider.data, (int)id.len, id.data);
}

static void
put_override(struct dyn_buf *out, const struct catalogue_model *model)
{
    struct dyn_slice provider = catalogue_provider(model);
    struct dyn_slice id = catalogue_id(model);
    bool is_open = false;
    for (size_t i = 0; i < DYN_ARRAY_LEN(keys); i++) {
        uint64_t price = catalogue_price(model, keys[i].price);
        if (price == PRICE_UNKNOWN || price == known_price(provider, id, keys[i].price)) {
            continue;
        }
        if (!is_open) {
            dyn_buf_add_str(out, "    - provider: ");
            dyn_buf_add_json_string(out, provider);
            dyn_buf_add_str(out, "\n      model: ");
            dyn_buf_add_json_string(out, id);
            dyn_buf_add_char(out, '\n');
            is_open = true;
        }
        dyn_buf_addf(out, "      %s: ", keys[i].key);
        if (keys[i].is_each) {
            char text[COST_USD_TEXT_MAX];
            dyn_buf_add(out, text, cost_usd_text(price, text));
        } else {
            models_put_per_million(out, price);
        }
        dyn_buf_add_char(out, '\n');
    }
}

static void
put_overrides(struct dyn_buf *out, struct catalogue_rows *rows)
{
    catalogue_t *catalogue = catalogue_of_image(catalogue_rows_pack(rows));
    dyn_buf_add_str(out, "models:\n  prices:\n");
    size_t before = out->len;
    size_t n_left_out = 0;
    struct dyn_buf left_out = DYN_BUF_INIT;
    for (size_t i = 0; i < catalogue_count(catalogue); i++) {
        const struct catalogue_model *model = catalogue_at(catalogue, i);
        if (!differs(model)) {
            continue;
        }
        if (has_more_prices(model)) {
            put_left_out(&left_out, model);
            n_left_out++;
        } else {
            put_override(out, model);
        }
    }
    if (out->len == before && n_left_out > 0) {
        dyn_buf_clear(out);
        dyn_buf_add_str(out, "models:\n  prices: []\n");
    }
    dyn_buf_add(out, left_out.data, left_out.len);
    dyn_buf_fini(&left_out);
    if (n_left_out > 0) {
        (void)fprintf(stderr,
                      "%zu models have prices of their own for long requests or other services, which "
                      "models.prices cannot hold; models.catalog_url can\n",
                      n_left_out);
    }
    if (out->len == before) {
        dyn_buf_clear(out);
        dyn_buf_add_str(out, "# Every price in it is that of the built-in catalogue.\nmodels: {}\n");
    }
    catalogue_unref(&catalogue);
}

int
models_import(const struct models_options *options)
{
    struct dyn_buf text = DYN_BUF_INIT;
    struct dyn_buf out = DYN_BUF_INIT;
    struct dyn_err err;
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    int rc = models_read_file(options->word, &text, &err);
    rc = rc == 0 ? catalogue_read(&rows, dyn_buf_slice(&text), &err) : rc;
    if (rc == 0) {
        catalogue_rows_settle(&rows);
        (void)fprintf(stderr, "%s: %zu models\n", options->word, rows.n);
        if (options->prices) {
            put_overrides(&out, &rows);
        } else {
            catalogue_rows_write(&rows, &out);
        }
        bool is_written = fwrite(dyn_buf_cstr(&out), 1, out.len, stdout) == out.len && fflush(stdout) == 0;
        rc = is_written ? 0 : dyn_err_set(&err, DYN_E_IO, "cannot write to standard output");
    }
    if (rc != 0) {
        (void)fprintf(stderr, "dynabus models: %s\n", err.text);
    }
    catalogue_rows_fini(&rows);
    dyn_buf_fini(&text);
    dyn_buf_fini(&out);
    return rc == 0 ? CLI_OK : CLI_FAILED;
}
