#include "gateway/roles.h"

#include <stdio.h>
#include <string.h>

static const char *const words[GATEWAY_ROLE_COUNT] = {
#define ROLE(name, word, about) [GATEWAY_ROLE_##name] = word,
#include "gateway/roles.def"
#undef ROLE
};

static struct dyn_slice
trim(struct dyn_slice word)
{
    while (word.len > 0 && word.data[0] == ' ') {
        word.data++;
        word.len--;
    }
    while (word.len > 0 && word.data[word.len - 1] == ' ') {
        word.len--;
    }
    return word;
}

static int
add_role(struct dyn_slice word, gateway_roles_t *roles, struct dyn_err *err)
{
    for (size_t i = 0; i < GATEWAY_ROLE_COUNT; i++) {
        if (dyn_slice_is(word, words[i])) {
            *roles |= 1u << i;
            return 0;
        }
    }
    return dyn_err_set(
        err, DYN_E_CONFIG,
        "--roles: '%.*s' is no role; there are edge, router, provider, plugin, metrics and ledger",
        (int)(word.len < 40 ? word.len : 40), word.data);
}

int
gateway_roles_parse(const char *text, gateway_roles_t *roles, struct dyn_err *err)
{
    *roles = 0;
    if (text == NULL) {
        *roles = GATEWAY_ROLES_ALL;
        return 0;
    }
    for (const char *at = text; at != NULL;) {
        const char *comma = strchr(at, ',');
        size_t len = comma != NULL ? (size_t)(comma - at) : strlen(at);
        if (add_role(trim(dyn_slice(at, len)), roles, err) != 0) {
            return -1;
        }
        at = comma != NULL ? comma + 1 : NULL;
    }
    return 0;
}

void
gateway_roles_text(gateway_roles_t roles, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < GATEWAY_ROLE_COUNT && len + 1 < size; i++) {
        if (gateway_has(roles, (enum gateway_role)i)) {
            int written = snprintf(out + len, size - len, "%s%s", len > 0 ? ", " : "", words[i]);
            len += written > 0 ? (size_t)written : 0;
        }
    }
}
