/* The words of the router's configuration that are read by hand: what a condition looks at, comparisons. */
#include "router/router_config.h"

#include <string.h>

static bool
has_prefix(struct dyn_slice text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

enum route_condition_kind
route_condition_kind_of(struct dyn_slice key, struct dyn_slice *name)
{
    static const char *const words[] = {
        [ROUTE_CONDITION_MODEL] = "model",
        [ROUTE_CONDITION_MODEL_PREFIX] = "model_prefix",
        [ROUTE_CONDITION_KEY] = "key",
        [ROUTE_CONDITION_USER] = "user",
        [ROUTE_CONDITION_ESTIMATED_TOKENS] = "estimated_tokens",
        [ROUTE_CONDITION_HAS_IMAGES] = "has_images",
        [ROUTE_CONDITION_HAS_TOOLS] = "has_tools",
        [ROUTE_CONDITION_STREAM] = "stream",
    };
    static const struct {
        const char *prefix;
        enum route_condition_kind kind;
    } named[] = {{"header.", ROUTE_CONDITION_HEADER}, {"metadata.", ROUTE_CONDITION_METADATA}};
    struct dyn_slice none = {NULL, 0};
    struct dyn_slice *out = name != NULL ? name : &none;
    *out = none;
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        if (dyn_slice_is(key, words[i])) {
            return (enum route_condition_kind)i;
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(named); i++) {
        size_t len = strlen(named[i].prefix);
        if (has_prefix(key, named[i].prefix) && key.len > len) {
            *out = dyn_slice(key.data + len, key.len - len);
            return named[i].kind;
        }
    }
    return ROUTE_CONDITION_UNKNOWN;
}

/* Digits without a sign, in 64 bits. */
static int
read_amount(struct dyn_slice text, uint64_t *amount)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value)) {
            return -1;
        }
    }
    *amount = value;
    return text.len > 0 ? 0 : -1;
}

int
route_comparison_read(struct dyn_slice text, enum route_comparison *comparison, uint64_t *amount)
{
    static const struct {
        const char *sign;
        enum route_comparison comparison;
    } signs[] = {{"<=", ROUTE_LESS_EQUAL}, {">=", ROUTE_GREATER_EQUAL}, {"==", ROUTE_EQUAL},
                 {"<", ROUTE_LESS},        {">", ROUTE_GREATER},        {"=", ROUTE_EQUAL}};
    struct dyn_slice rest = text;
    *comparison = ROUTE_EQUAL;
    for (size_t i = 0; i < DYN_ARRAY_LEN(signs); i++) {
        size_t len = strlen(signs[i].sign);
        if (has_prefix(text, signs[i].sign)) {
            *comparison = signs[i].comparison;
            rest = dyn_slice(text.data + len, text.len - len);
            break;
        }
    }
    while (rest.len > 0 && rest.data[0] == ' ') {
        rest = dyn_slice(rest.data + 1, rest.len - 1);
    }
    return read_amount(rest, amount);
}
