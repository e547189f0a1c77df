/* Errors of upstreams, as our callers see them. Texts of providers are let through for the statuses
 * only that speak of the caller's request; everything else is our own sentence. */
#include "actors/providers/provider_errors.h"

#include "core/buf.h"
#include "core/json_scan.h"
#include "core/text.h"

enum err_code
provider_error_of_status(unsigned status)
{
    switch (status) {
    case 400:
        return ERR_UPSTREAM_INVALID;
    case 401:
    case 403:
        return ERR_UPSTREAM_AUTH;
    case 404:
        return ERR_UPSTREAM_NOT_FOUND;
    case 408:
    case 504:
        return ERR_UPSTREAM_TIMEOUT;
    case 413:
        return ERR_UPSTREAM_TOO_LARGE;
    case 422:
        return ERR_UPSTREAM_UNPROCESSABLE;
    case 429:
        return ERR_UPSTREAM_RATE_LIMIT;
    default:
        return ERR_UPSTREAM_ERROR;
    }
}

enum err_code
provider_error_of_call(enum http_call_end end, bool is_stream)
{
    switch (end) {
    case HTTP_CALL_COMPLETE:
    case HTTP_CALL_CUT:
        return ERR_UPSTREAM_CUT;
    case HTTP_CALL_UNRESOLVED:
    case HTTP_CALL_REFUSED:
    case HTTP_CALL_PROXY:
        return ERR_UPSTREAM_UNREACHABLE;
    case HTTP_CALL_TLS:
        return ERR_UPSTREAM_TLS;
    case HTTP_CALL_CONNECT_TIMEOUT:
    case HTTP_CALL_FIRST_BYTE_TIMEOUT:
        return ERR_UPSTREAM_TIMEOUT;
    case HTTP_CALL_IDLE_TIMEOUT:
        return is_stream ? ERR_STREAM_IDLE : ERR_UPSTREAM_TIMEOUT;
    case HTTP_CALL_DEADLINE:
        return ERR_GATEWAY_TIMEOUT;
    case HTTP_CALL_GARBAGE:
        return ERR_UPSTREAM_GARBAGE;
    case HTTP_CALL_FAILED: /* another process may have what this one lacks; the target is not to blame */
        return ERR_UPSTREAM_UNAVAILABLE;
    }
    return ERR_INTERNAL;
}

bool
provider_error_may_show(enum err_code code)
{
    return code == ERR_UPSTREAM_INVALID || code == ERR_UPSTREAM_UNPROCESSABLE;
}

/* ---- error bodies ---- */

static struct dyn_slice
decoded(struct json_value value, struct arena *arena)
{
    if (value.type == JSON_NUMBER) {
        return arena_copy(arena, value.raw);
    }
    if (value.type != JSON_STRING) {
        return dyn_slice(NULL, 0);
    }
    struct dyn_buf text = DYN_BUF_INIT;
    json_string_decode(value, &text);
    struct dyn_slice copy = arena_copy(arena, text.len > 0 ? dyn_buf_slice(&text) : DYN_SLICE(""));
    dyn_buf_fini(&text);
    return copy;
}

static struct dyn_slice
member_text(struct json_value object, const char *key, struct arena *arena)
{
    struct json_value value;
    return json_find(object, key, &value) ? decoded(value, arena) : dyn_slice(NULL, 0);
}

/* The first of two texts that says something. */
static struct dyn_slice
first_of(struct dyn_slice a, struct dyn_slice b)
{
    return a.len > 0 ? a : b;
}

/* "a; b; c" of a list whose items are texts or objects with `key`. */
static struct dyn_slice
joined(struct json_value list, const char *key, struct arena *arena)
{
    struct dyn_buf text = DYN_BUF_INIT_LIMIT(PROVIDER_TEXT_MAX * 4); /* more would be cut off anyway */
    struct json_iter it = json_iter(list);
    struct json_member item;
    while (json_iter_next(&it, &item)) {
        struct dyn_slice part =
            item.value.type == JSON_OBJECT ? member_text(item.value, key, arena) : decoded(item.value, arena);
        if (part.len > 0) {
            dyn_buf_add_str(&text, text.len > 0 ? "; " : "");
            dyn_buf_add_slice(&text, part);
        }
    }
    struct dyn_slice copy = text.len > 0 ? arena_copy(arena, dyn_buf_slice(&text)) : dyn_slice(NULL, 0);
    dyn_buf_fini(&text);
    return copy;
}

static void
read_labels(struct json_value object, struct arena *arena, struct provider_error *error)
{
    int64_t number = 0;
    struct json_value code;
    error->type = first_of(error->type, member_text(object, "type", arena));
    error->param = first_of(error->param, member_text(object, "param", arena));
    if (error->code.len == 0 && json_find(object, "code", &code)) {
        error->code = decoded(code, arena);
        bool is_status =
            code.type == JSON_NUMBER && json_int64(code, &number) == 0 && number >= 400 && number < 600;
        error->status = is_status ? (unsigned)number : 0;
    }
}

static void
read_error_member(struct json_value value, struct arena *arena, struct provider_error *error)
{
    if (value.type == JSON_OBJECT) {
        error->message = first_of(member_text(value, "message", arena), member_text(value, "error", arena));
        read_labels(value, arena, error);
    } else if (value.type == JSON_ARRAY) {
        error->message = joined(value, "message", arena);
    } else {
        error->message = decoded(value, arena);
    }
}

static void
read_detail(struct json_value value, struct arena *arena, struct provider_error *error)
{
    if (value.type == JSON_OBJECT) {
        error->message = first_of(member_text(value, "message", arena), member_text(value, "error", arena));
        read_labels(value, arena, error);
    } else if (value.type == JSON_ARRAY) {
        error->message = joined(value, "msg", arena);
    } else {
        error->message = decoded(value, arena);
    }
}

static void
read_object(struct json_value object, struct arena *arena, struct provider_error *error)
{
    struct json_value value;
    if (json_find(object, "error", &value)) {
        read_error_member(value, arena, error);
    }
    if (error->message.len == 0 && json_find(object, "detail", &value)) {
        read_detail(value, arena, error);
    }
    if (error->message.len == 0 && json_find(object, "message", &value)) {
        read_detail(value, arena, error);
    }
    if (error->message.len == 0 && json_find(object, "errors", &value) && value.type == JSON_ARRAY) {
        error->message = joined(value, "message", arena);
    }
    if (error->message.len > 0) {
        read_labels(object, arena, error);
    }
}

bool
provider_error_read(struct dyn_slice body, struct arena *arena, struct provider_error *error)
{
    struct json_value value;
    struct json_error wrong;
    *error = (struct provider_error){.status = 0};
    if (json_scan(body, JSON_DEPTH_DEFAULT, &value, &wrong) != 0) {
        return false;
    }
    if (value.type == JSON_ARRAY) {
        struct json_iter it = json_iter(value);
        struct json_member first;
        if (!json_iter_next(&it, &first)) {
            return false;
        }
        value = first.value;
    }
    if (value.type == JSON_OBJECT) {
        read_object(value, arena, error);
    }
    return error->message.len > 0;
}

enum err_code
provider_error_of_body(const struct provider_error *error)
{
    static const struct {
        const char *label;
        enum err_code code;
    } labels[] = {
        {"rate_limit_error", ERR_UPSTREAM_RATE_LIMIT},   {"rate_limit_exceeded", ERR_UPSTREAM_RATE_LIMIT},
        {"insufficient_quota", ERR_UPSTREAM_RATE_LIMIT}, {"authentication_error", ERR_UPSTREAM_AUTH},
        {"invalid_api_key", ERR_UPSTREAM_AUTH},          {"invalid_request_error", ERR_UPSTREAM_INVALID},
        {"model_not_found", ERR_UPSTREAM_NOT_FOUND},     {"not_found_error", ERR_UPSTREAM_NOT_FOUND},
        {"permission_error", ERR_UPSTREAM_AUTH},         {"request_too_large", ERR_UPSTREAM_TOO_LARGE},
        {"timeout_error", ERR_UPSTREAM_TIMEOUT},         {"overloaded_error", ERR_UPSTREAM_ERROR},
    };
    if (error->status != 0) {
        return provider_error_of_status(error->status);
    }
    for (size_t pass = 0; pass < 2; pass++) { /* the code is more exact than the type */
        struct dyn_slice said = pass == 0 ? error->code : error->type;
        for (size_t i = 0; i < DYN_ARRAY_LEN(labels); i++) {
            if (said.len > 0 && dyn_slice_is(said, labels[i].label)) {
                return labels[i].code;
            }
        }
    }
    return ERR_UPSTREAM_ERROR;
}

/* ---- text that may be shown ---- */

/* Length of the secret that stands at `at`, else 0; the longest one counts. */
static size_t
secret_at(struct dyn_slice text, size_t at, const struct dyn_slice *secrets, size_t n_secrets)
{
    size_t longest = 0;
    for (size_t i = 0; i < n_secrets; i++) {
        struct dyn_slice secret = secrets[i];
        if (secret.len >= PROVIDER_SECRET_MIN && secret.len > longest && secret.len <= text.len - at &&
            memcmp(text.data + at, secret.data, secret.len) == 0) {
            longest = secret.len;
        }
    }
    return longest;
}

bool
provider_text_has_secret(struct dyn_slice text, const struct dyn_slice *secrets, size_t n_secrets)
{
    for (size_t i = 0; i < n_secrets; i++) {
        if (secrets[i].len >= PROVIDER_SECRET_MIN && secrets[i].len <= text.len &&
            memmem(text.data, text.len, secrets[i].data, secrets[i].len) != NULL) {
            return true;
        }
    }
    return false;
}

static struct dyn_slice
trim_spaces(struct dyn_slice text)
{
    while (text.len > 0 && (unsigned char)text.data[0] <= ' ') {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && (unsigned char)text.data[text.len - 1] <= ' ') {
        text.len--;
    }
    return text;
}

struct dyn_slice
provider_text_clean(struct dyn_slice text, const struct dyn_slice *secrets, size_t n_secrets,
                    const blackout_t *shapes, struct arena *arena)
{
    text = trim_spaces(text);
    struct dyn_buf clean = DYN_BUF_INIT;
    size_t points = 0;
    for (size_t i = 0; i < text.len;) {
        if (points == PROVIDER_TEXT_MAX) {
            dyn_buf_add_str(&clean, "\xe2\x80\xa6");
            break;
        }
        size_t secret = secret_at(text, i, secrets, n_secrets);
        size_t len = dyn_utf8_len(text.data + i, text.data + text.len);
        bool is_control = len == 1 && ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f);
        if (secret > 0) {
            dyn_buf_add_str(&clean, "[redacted]");
        } else if (is_control || len == 0) {
            dyn_buf_add_char(&clean, ' ');
        } else {
            dyn_buf_add(&clean, text.data + i, len);
        }
        i += secret > 0 ? secret : len > 0 ? len : 1;
        points++;
    }
    if (shapes != NULL && clean.len > 0) {
        struct dyn_buf shaped = DYN_BUF_INIT;
        blackout_write(shapes, dyn_buf_slice(&clean), clean.len, &shaped);
        dyn_buf_fini(&clean);
        clean = shaped;
    }
    struct dyn_slice copy = clean.len > 0 ? arena_copy(arena, dyn_buf_slice(&clean)) : dyn_slice(NULL, 0);
    dyn_buf_fini(&clean);
    return copy;
}
