/* See embeddings.h. Every number of a vector comes from a hash of the text and its place; nothing is kept. */
#include "mock/embeddings.h"

#include "core/base64.h"
#include "core/json_scan.h"

#include <stdlib.h>

enum {
    DIMENSIONS = 8, /* unless the request says */
    DIMENSIONS_MAX = 8192,
    INPUTS_MAX = 8192,
    BYTES_PER_TOKEN = 4,
};

struct asked {
    struct dyn_slice model; /* with its quotes */
    struct json_value input;
    int64_t dimensions;
    bool is_base64;
};

static int
read_member(void *self, const struct json_member *member)
{
    struct asked *asked = self;
    if (json_key_is(member, "model") && member->value.type == JSON_STRING) {
        asked->model = member->value.raw;
    } else if (json_key_is(member, "input")) {
        asked->input = member->value;
    } else if (json_key_is(member, "dimensions")) {
        (void)json_int64(member->value, &asked->dimensions);
    } else if (json_key_is(member, "encoding_format")) {
        asked->is_base64 = json_string_is(member->value, "base64");
    }
    return 0;
}

/* FNV-1a (Fowler, Noll, Vo), then spread by a multiplication. */
static uint32_t
hash_of(struct dyn_slice text, uint32_t place)
{
    uint32_t hash = 2166136261u ^ place;
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (uint8_t)text.data[i]) * 16777619u;
    }
    return (hash ^ hash >> 15) * 2246822519u;
}

/* In [-1, 1), in steps that a float has exactly. */
static float
number_at(struct dyn_slice text, uint32_t place)
{
    return (float)(hash_of(text, place) >> 16) / 32768.0f - 1.0f;
}

static void
add_vector(struct dyn_buf *out, const struct asked *asked, struct dyn_slice text)
{
    uint32_t n = (uint32_t)asked->dimensions;
    if (!asked->is_base64) {
        for (uint32_t i = 0; i < n; i++) {
            dyn_buf_addf(out, "%s%.9g", i > 0 ? "," : "[", (double)number_at(text, i));
        }
        dyn_buf_add_char(out, ']');
        return;
    }
    uint8_t *bytes = dyn_alloc(n * sizeof(float));
    for (uint32_t i = 0; i < n; i++) { /* little-endian, as OpenAI's clients read them */
        float number = number_at(text, i);
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        for (size_t j = 0; j < sizeof bits; j++) {
            bytes[i * sizeof bits + j] = (uint8_t)(bits >> (8 * j));
        }
    }
    dyn_buf_add_char(out, '"');
    dyn_base64_add(out, dyn_slice((const char *)bytes, n * sizeof(float)));
    dyn_buf_add_char(out, '"');
    free(bytes);
}

static void
add_item(struct dyn_buf *out, const struct asked *asked, size_t index, struct dyn_slice text)
{
    dyn_buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index > 0 ? "," : "",
                 index);
    add_vector(out, asked, text);
    dyn_buf_add_char(out, '}');
}

/* One text, or one list of tokens, is one input. */
static bool
is_one(struct json_value input)
{
    struct json_iter items = json_iter(input);
    struct json_member first;
    return input.type == JSON_STRING || (json_iter_next(&items, &first) && first.value.type == JSON_NUMBER);
}

static void
add_items(struct dyn_buf *out, const struct asked *asked)
{
    size_t n = 0;
    if (is_one(asked->input)) {
        add_item(out, asked, 0, asked->input.raw);
        return;
    }
    struct json_iter items = json_iter(asked->input);
    for (struct json_member item; n < INPUTS_MAX && json_iter_next(&items, &item); n++) {
        add_item(out, asked, n, item.value.raw);
    }
}

dyn_block_t *
mock_embeddings(struct dyn_slice body, size_t headroom, const char **why, const char **param)
{
    struct asked asked = {.dimensions = DIMENSIONS};
    *param = NULL;
    *why = "the body is not a JSON object";
    if (json_scan_object(body, JSON_DEPTH_DEFAULT, read_member, &asked, NULL) != 0) {
        return NULL;
    }
    bool has_input =
        asked.input.raw.data != NULL && (asked.input.type == JSON_STRING || asked.input.type == JSON_ARRAY);
    bool has_size = asked.dimensions >= 1 && asked.dimensions <= DIMENSIONS_MAX;
    if (asked.model.data == NULL || !has_input || !has_size) {
        *param = asked.model.data == NULL ? "model" : !has_input ? "input" : "dimensions";
        *why = "a parameter of the request is missing or wrong";
        return NULL;
    }
    unsigned long tokens = asked.input.raw.len / BYTES_PER_TOKEN + 1;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"object\":\"list\",\"data\":[");
    add_items(&text, &asked);
    dyn_buf_addf(&text, "],\"model\":%.*s,\"usage\":{\"prompt_tokens\":%lu,\"total_tokens\":%lu}}",
                 (int)asked.model.len, asked.model.data, tokens, tokens);
    dyn_block_t *block = dyn_block_copy(headroom, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    return block;
}
