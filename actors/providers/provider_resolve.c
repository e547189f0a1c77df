/* Precedence, in one place: what the file says, then the environment, then the row. */
#include "actors/providers/provider_resolve.h"

#include "actors/providers/provider_url.h"

#include <stdlib.h>

struct dyn_slice
provider_variable(const struct config_lookup *lookup, const char *name)
{
    if (name == NULL) {
        return dyn_slice(NULL, 0);
    }
    const char *value = lookup != NULL ? lookup->variable(lookup->self, name) : getenv(name);
    return value != NULL && *value != '\0' ? dyn_slice_str(value) : dyn_slice(NULL, 0);
}

struct dyn_slice
provider_target_provider(const struct provider_target_config *target)
{
    return target->provider.len > 0 ? target->provider : target->virtual_key;
}

struct dyn_slice
provider_target_name(const struct provider_target_config *target)
{
    if (target->name.data != NULL) {
        return target->name;
    }
    return target->virtual_key.len > 0 ? target->virtual_key : target->provider;
}

struct dyn_slice
provider_target_key(struct dyn_slice configured, const struct provider_row *row,
                    const struct config_lookup *lookup)
{
    if (row->auth == PROVIDER_AUTH_NONE) {
        return dyn_slice(NULL, 0);
    }
    return configured.len > 0 ? configured : provider_variable(lookup, row->key_env);
}

/* "https://host/{}/v1" with what stands for the braces. -1: nothing does. */
static int
filled_root(const struct provider_row *row, const struct config_lookup *lookup, struct arena *arena,
            struct dyn_slice *root, struct dyn_err *err)
{
    const char *braces = row->root_env != NULL ? strstr(row->root, "{}") : NULL;
    if (braces == NULL) {
        return provider_url_root(dyn_slice_str(row->root), NULL, arena, root, err);
    }
    struct dyn_slice part = provider_variable(lookup, row->root_env);
    if (part.len == 0) {
        return dyn_err_set(err, DYN_E_CONFIG, "the provider '%s' needs %s, or a base_url", row->id,
                           row->root_env);
    }
    struct dyn_slice filled = arena_printf(arena, "%.*s%.*s%s", (int)(braces - row->root), row->root,
                                           (int)part.len, part.data, braces + 2);
    return provider_url_root(filled, NULL, arena, root, err);
}

/* Hosts become roots: a scheme in front and the row's tail behind, where they are missing. What people copy
 * from a provider's page may name an operation, too. */
static struct dyn_slice
root_of_host(struct dyn_slice given, const struct provider_row *row, struct arena *arena)
{
    static const struct dyn_slice operations[] = {DYN_SLICE_INIT("/chat/completions"),
                                                  DYN_SLICE_INIT("/embeddings"), DYN_SLICE_INIT("/models")};
    bool has_scheme = memmem(given.data, given.len, "://", 3) != NULL;
    while (given.len > 0 && given.data[given.len - 1] == '/') {
        given.len--;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(operations); i++) {
        size_t len = operations[i].len;
        if (given.len > len && memcmp(given.data + given.len - len, operations[i].data, len) == 0) {
            given.len -= len;
        }
    }
    bool has_tail = memmem(given.data, given.len, row->root_tail, strlen(row->root_tail)) != NULL;
    return arena_printf(arena, "%s%.*s%s", has_scheme ? "" : row->root_scheme, (int)given.len, given.data,
                        has_tail ? "" : row->root_tail);
}

int
provider_target_root(struct dyn_slice configured, const struct provider_row *row,
                     const struct config_lookup *lookup, struct arena *arena, struct dyn_slice *root,
                     struct dyn_err *err)
{
    struct dyn_slice given = configured.len > 0 ? configured : provider_variable(lookup, row->base_url_env);
    if (given.len == 0 && row->root == NULL) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "the provider '%s' needs a base_url, such as http://127.0.0.1:8000/v1", row->id);
    }
    if (given.len == 0) {
        return filled_root(row, lookup, arena, root, err);
    }
    if (row->root_tail != NULL && memchr(given.data, '?', given.len) == NULL &&
        memchr(given.data, '#', given.len) == NULL) {
        given = root_of_host(given, row, arena);
    }
    return provider_url_root(given, row->root, arena, root, err);
}

/* ---- proxies ---- */

bool
provider_proxy_is_valid(struct dyn_slice proxy)
{
    static const struct dyn_slice schemes[] = {
        DYN_SLICE_INIT("http://"),    DYN_SLICE_INIT("https://"),  DYN_SLICE_INIT("socks4://"),
        DYN_SLICE_INIT("socks4a://"), DYN_SLICE_INIT("socks5://"), DYN_SLICE_INIT("socks5h://"),
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(schemes); i++) {
        size_t len = schemes[i].len;
        if (proxy.len > len && dyn_slice_ieq(dyn_slice(proxy.data, len), schemes[i])) {
            return provider_url_host(proxy).len > 0;
        }
    }
    return dyn_slice_is(proxy, "none");
}

/* As curl and Go read it: HTTP_PROXY in capitals is not looked at, since a CGI client can set it. */
static struct dyn_slice
proxy_in_environment(struct dyn_slice root, const struct config_lookup *lookup)
{
    static const char *const for_https[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    static const char *const for_http[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    bool is_https = provider_url_is_https(root);
    const char *const *names = is_https ? for_https : for_http;
    size_t n = is_https ? DYN_ARRAY_LEN(for_https) : DYN_ARRAY_LEN(for_http);
    for (size_t i = 0; i < n; i++) {
        struct dyn_slice value = provider_variable(lookup, names[i]);
        if (value.data != NULL) {
            return value;
        }
    }
    return dyn_slice(NULL, 0);
}

struct dyn_slice
provider_proxy_for(struct dyn_slice root, struct dyn_slice configured, const struct config_lookup *lookup)
{
    struct dyn_slice proxy = configured.len > 0 ? configured : proxy_in_environment(root, lookup);
    bool is_none = dyn_slice_is(proxy, "none") || provider_url_is_loopback(root);
    return is_none ? dyn_slice(NULL, 0) : proxy;
}

struct dyn_slice
provider_no_proxy_for(struct dyn_slice configured, const struct config_lookup *lookup)
{
    struct dyn_slice named = configured.len > 0 ? configured : provider_variable(lookup, "no_proxy");
    return named.len > 0 ? named : provider_variable(lookup, "NO_PROXY");
}
