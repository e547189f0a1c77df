/* Ferro's catalog.json: one object, "prefix/model_id" a member, prices in USD per million tokens, null where
 * none is known. */
#include "models/decimal.h"
#include "models/json.h"
#include "models/prefix.h"

enum { USD = 12, USD_PER_MILLION = 6, SECONDS_PER_MINUTE = 60 };

static const struct {
    const char *key;
    enum catalogue_price price;
    int scale;
} price_keys[] = {
    {"input_per_m_tokens", CATALOGUE_PRICE_INPUT, USD_PER_MILLION},
    {"output_per_m_tokens", CATALOGUE_PRICE_OUTPUT, USD_PER_MILLION},
    {"cache_read_per_m_tokens", CATALOGUE_PRICE_CACHE_READ, USD_PER_MILLION},
    {"cache_write_per_m_tokens", CATALOGUE_PRICE_CACHE_WRITE, USD_PER_MILLION},
    {"reasoning_per_m_tokens", CATALOGUE_PRICE_REASONING, USD_PER_MILLION},
    {"embedding_per_m_tokens", CATALOGUE_PRICE_INPUT, USD_PER_MILLION},
    {"image_per_tile", CATALOGUE_PRICE_IMAGE_OUT, USD},
    {"audio_input_per_minute", CATALOGUE_PRICE_SECOND_IN, USD},
    {"audio_output_per_character", CATALOGUE_PRICE_CHARACTER_IN, USD},
};

static const char *const statuses[] = {"ga", "preview", "legacy", "deprecated"};

static void
read_prices(struct catalogue_row *row, struct json_value pricing)
{
    struct json_iter each = json_iter(pricing);
    for (struct json_member member; json_iter_next(&each, &member);) {
        for (size_t i = 0; i < DYN_ARRAY_LEN(price_keys); i++) {
            uint64_t amount;
            if (!json_key_is(&member, price_keys[i].key) || member.value.type != JSON_NUMBER ||
                !catalogue_decimal(member.value.raw, price_keys[i].scale, &amount)) {
                continue;
            }
            if (price_keys[i].price == CATALOGUE_PRICE_SECOND_IN) {
                amount = (amount + SECONDS_PER_MINUTE / 2) / SECONDS_PER_MINUTE;
            }
            (void)catalogue_row_price(row, price_keys[i].price, CATALOGUE_STANDARD, 0, amount);
        }
    }
}

static void
read_capabilities(struct catalogue_row *row, struct json_value flags)
{
    struct json_iter each = json_iter(flags);
    for (struct json_member member; json_iter_next(&each, &member);) {
        for (unsigned i = 0; i < CATALOGUE_CAPABILITY_COUNT && member.value.type == JSON_TRUE; i++) {
            if (json_key_is(&member, catalogue_capability_name((enum catalogue_capability)i))) {
                row->capabilities |= 1u << i;
            }
        }
    }
}

static void
read_lifecycle(struct catalogue_rows *rows, struct catalogue_row *row, struct json_value lifecycle)
{
    struct json_iter each = json_iter(lifecycle);
    for (struct json_member member; json_iter_next(&each, &member);) {
        struct dyn_slice text = catalogue_json_text(rows, member.value);
        if (json_key_is(&member, "deprecation_date")) {
            row->deprecated_on = catalogue_day(text);
        } else if (json_key_is(&member, "sunset_date")) {
            row->sunset_on = catalogue_day(text);
        } else if (json_key_is(&member, "successor")) {
            row->successor = text;
        }
        for (unsigned i = 0; json_key_is(&member, "status") && i < DYN_ARRAY_LEN(statuses); i++) {
            if (dyn_slice_is(text, statuses[i])) {
                row->status = (enum catalogue_status)i;
            }
        }
    }
}

static void
read_mode(struct catalogue_row *row, struct dyn_slice word)
{
    for (unsigned i = 0; i < CATALOGUE_MODE_COUNT; i++) {
        if (dyn_slice_is(word, catalogue_mode_name((enum catalogue_mode)i))) {
            row->mode = (enum catalogue_mode)i;
        }
    }
}

static void
read_fact(struct catalogue_rows *rows, struct catalogue_row *row, const struct json_member *member)
{
    struct json_value value = member->value;
    struct dyn_slice text = catalogue_json_text(rows, value);
    if (json_key_is(member, "provider") && text.len > 0) {
        row->provider = text;
    } else if (json_key_is(member, "model_id") && text.len > 0) {
        row->id = text;
    } else if (json_key_is(member, "mode")) {
        read_mode(row, text);
    } else if (json_key_is(member, "context_window")) {
        row->context_window = catalogue_json_count(value);
    } else if (json_key_is(member, "max_output_tokens")) {
        row->max_output = catalogue_json_count(value);
    } else if (json_key_is(member, "source")) {
        row->source = text;
    } else if (json_key_is(member, "updated_at")) {
        row->updated_on = catalogue_day(text);
    } else if (json_key_is(member, "pricing")) {
        read_prices(row, value);
    } else if (json_key_is(member, "capabilities")) {
        read_capabilities(row, value);
    } else if (json_key_is(member, "lifecycle")) {
        read_lifecycle(rows, row, value);
    }
}

/* What the member is called says provider and id, unless its own fields do. */
static int
read_entry(struct catalogue_rows *rows, struct dyn_slice name, struct json_value facts)
{
    struct catalogue_row row = catalogue_row(rows);
    struct json_iter each = json_iter(facts);
    for (struct json_member member; json_iter_next(&each, &member);) {
        read_fact(rows, &row, &member);
    }
    const char *slash = name.len > 0 ? memchr(name.data, '/', name.len) : NULL;
    if (slash != NULL) {
        size_t n = (size_t)(slash - name.data);
        row.provider = dyn_slice(name.data, n);
        row.id = row.id.len > 0 ? row.id : dyn_slice(slash + 1, name.len - n - 1);
    }
    row.trust = catalogue_prefix_trust(row.provider);
    row.provider = catalogue_prefix_id(row.provider);
    return catalogue_rows_add(rows, &row);
}

int
catalogue_read_ferro(struct catalogue_rows *rows, struct json_value object, struct dyn_err *err)
{
    struct json_iter each = json_iter(object);
    for (struct json_member member; json_iter_next(&each, &member);) {
        struct dyn_slice name = catalogue_json_key(rows, &member);
        if (member.value.type == JSON_OBJECT && read_entry(rows, name, member.value) != 0) {
            return dyn_err_set(err, DYN_E_LIMIT, "the catalogue has more than %d models", CATALOGUE_ROWS_MAX);
        }
    }
    return 0;
}
