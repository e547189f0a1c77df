#include "models/json.h"

#include "models/decimal.h"

enum { DEPTH_MAX = 32 };

struct dyn_slice
catalogue_json_text(struct catalogue_rows *rows, struct json_value value)
{
    if (value.type != JSON_STRING) {
        return dyn_slice(NULL, 0);
    }
    struct dyn_slice plain = json_string_plain(value);
    if (plain.data != NULL) {
        return plain;
    }
    struct dyn_buf decoded = DYN_BUF_INIT;
    json_string_decode(value, &decoded);
    struct dyn_slice text = arena_copy(&rows->arena, dyn_buf_slice(&decoded));
    dyn_buf_fini(&decoded);
    return text;
}

struct dyn_slice
catalogue_json_key(struct catalogue_rows *rows, const struct json_member *member)
{
    if (!member->key_is_escaped) {
        return member->key;
    }
    struct json_value quoted = {JSON_STRING, dyn_slice(member->key.data - 1, member->key.len + 2)};
    return catalogue_json_text(rows, quoted);
}

uint32_t
catalogue_json_count(struct json_value value)
{
    struct dyn_slice digits = value.type == JSON_STRING ? json_string_plain(value) : value.raw;
    uint64_t count;
    if ((value.type != JSON_STRING && value.type != JSON_NUMBER) || !catalogue_decimal(digits, 0, &count)) {
        return 0;
    }
    return count <= UINT32_MAX ? (uint32_t)count : 0;
}

int
catalogue_json_parse(struct dyn_slice json, struct json_value *object, struct dyn_err *err)
{
    struct json_error error;
    if (json_scan(json, DEPTH_MAX, object, &error) != 0) {
        return dyn_err_set(err, DYN_E_INVALID, "the catalogue is no JSON: %s at byte %zu", error.what,
                           error.offset);
    }
    if (object->type != JSON_OBJECT) {
        return dyn_err_set(err, DYN_E_INVALID, "the catalogue is JSON, but no object of models");
    }
    return 0;
}
