/* See proxies.h. */
#include "edge/proxies.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { HOPS_MAX = 32 }; /* that are looked at: a header may be long */
#define DEFAULT_NETWORKS "127.0.0.0/8,::1/128"

/* ---- addresses ---- */

/* Without "[..]" and port. */
static struct dyn_slice
host_of(struct dyn_slice text)
{
    if (text.len > 0 && text.data[0] == '[') {
        const char *end = memchr(text.data, ']', text.len);
        return end != NULL ? dyn_slice(text.data + 1, (size_t)(end - text.data) - 1) : dyn_slice(NULL, 0);
    }
    const char *first = text.len > 0 ? memchr(text.data, ':', text.len) : NULL;
    bool has_port = first != NULL && memrchr(text.data, ':', text.len) == first;
    return has_port ? dyn_slice(text.data, (size_t)(first - text.data)) : text;
}

static bool
address_read(struct dyn_slice text, uint8_t out[16], bool *is_v4)
{
    char word[INET6_ADDRSTRLEN];
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (text.len == 0 || text.len >= sizeof word) {
        return false;
    }
    memcpy(word, text.data, text.len);
    word[text.len] = '\0';
    *is_v4 = inet_pton(AF_INET, word, out + sizeof mapped) == 1;
    if (*is_v4) {
        memcpy(out, mapped, sizeof mapped);
        return true;
    }
    bool is_v6 = inet_pton(AF_INET6, word, out) == 1;
    *is_v4 = is_v6 && memcmp(out, mapped, sizeof mapped) == 0;
    return is_v6;
}

bool
edge_network_read(struct dyn_slice text, struct edge_network *network)
{
    bool is_v4;
    text = dyn_slice_trim(text);
    const char *slash = text.len > 0 ? memchr(text.data, '/', text.len) : NULL;
    size_t len = slash != NULL ? (size_t)(slash - text.data) : text.len;
    if (!address_read(dyn_slice(text.data, len), network->bytes, &is_v4)) {
        return false;
    }
    bool is_written_v4 = is_v4 && memchr(text.data, ':', len) == NULL;
    unsigned most = is_written_v4 ? 32 : 128;
    unsigned bits = slash != NULL ? 0 : most;
    size_t digits = slash != NULL ? text.len - len - 1 : 0;
    if (slash != NULL && (digits == 0 || digits > 3)) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        char c = slash[1 + i];
        if (c < '0' || c > '9') {
            return false;
        }
        bits = bits * 10 + (unsigned)(c - '0');
    }
    network->bits = bits + (is_written_v4 ? 96 : 0);
    return bits <= most;
}

static bool
is_in(const struct edge_network *network, const uint8_t address[16])
{
    size_t whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    if (memcmp(network->bytes, address, whole) != 0) {
        return false;
    }
    return rest == 0 || (network->bytes[whole] ^ address[whole]) >> (8 - rest) == 0;
}

static bool
is_trusted(const struct edge_proxies *proxies, const uint8_t address[16])
{
    size_t i = 0;
    while (i < proxies->n && !is_in(&proxies->networks[i], address)) {
        i++;
    }
    return i < proxies->n;
}

/* ---- the list ---- */

static int
add(struct edge_proxies *proxies, struct dyn_slice text, struct dyn_err *err)
{
    struct edge_network network;
    if (!edge_network_read(text, &network)) {
        return dyn_err_set(err, DYN_E_CONFIG,
                           "TRUSTED_PROXIES: '%.*s' is no network; write 10.0.0.0/8, ::1/128 or an address",
                           text.len < 60 ? (int)text.len : 60, text.data);
    }
    proxies->networks = dyn_realloc(proxies->networks, (proxies->n + 1) * sizeof *proxies->networks);
    proxies->networks[proxies->n++] = network;
    return 0;
}

int
edge_proxies_init(struct edge_proxies *proxies, const struct config_strings *configured, bool is_set,
                  const char *environment, struct dyn_err *err)
{
    int rc = 0;
    *proxies = (struct edge_proxies){0};
    for (size_t i = 0; i < configured->n && rc == 0; i++) {
        rc = add(proxies, configured->items[i], err);
    }
    const char *rest = is_set                                        ? ""
                       : environment != NULL && *environment != '\0' ? environment
                                                                     : DEFAULT_NETWORKS;
    while (*rest != '\0' && rc == 0) {
        size_t len = strcspn(rest, ",");
        struct dyn_slice item = dyn_slice_trim(dyn_slice(rest, len));
        rc = item.len > 0 ? add(proxies, item, err) : 0;
        rest += len + (rest[len] == ',');
    }
    return rc;
}

void
edge_proxies_fini(struct edge_proxies *proxies)
{
    free(proxies->networks);
    *proxies = (struct edge_proxies){0};
}

/* ---- whose request it is ---- */

static struct dyn_slice
spelled(const uint8_t address[16], bool is_v4, struct arena *arena)
{
    char text[INET6_ADDRSTRLEN];
    (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, address + (is_v4 ? 12 : 0), text, sizeof text);
    return is_v4 ? arena_printf(arena, "%s", text) : arena_printf(arena, "[%s]", text);
}

/* From the right: what is nearer was said by those who are believed. False: all are trusted, or no addresses.
 */
static bool
last_stranger(const struct edge_proxies *proxies, struct dyn_slice list, unsigned *hops, uint8_t out[16],
              bool *is_v4)
{
    while (list.len > 0 && *hops < HOPS_MAX) {
        const char *comma = memrchr(list.data, ',', list.len);
        size_t begin = comma != NULL ? (size_t)(comma - list.data) + 1 : 0;
        struct dyn_slice hop = host_of(dyn_slice_trim(dyn_slice(list.data + begin, list.len - begin)));
        ++*hops;
        if (address_read(hop, out, is_v4) && !is_trusted(proxies, out)) {
            return true;
        }
        list.len = begin > 0 ? begin - 1 : 0;
    }
    return false;
}

struct dyn_slice
edge_proxies_client(const struct edge_proxies *proxies, const struct http_request *request,
                    const struct edge_headers *headers, struct arena *arena)
{
    uint8_t address[16];
    bool is_v4;
    unsigned hops = 0;
    bool has_said = headers->x_forwarded_for.data != NULL || headers->x_real_ip.data != NULL;
    if (DYN_LIKELY(!has_said) || !address_read(host_of(request->peer), address, &is_v4) ||
        !is_trusted(proxies, address)) {
        return request->peer;
    }
    for (size_t i = request->n_headers; i > 0 && headers->x_forwarded_for.data != NULL; i--) {
        const struct http_header *header = &request->headers[i - 1];
        if (dyn_slice_ieq(header->name, DYN_SLICE("x-forwarded-for")) &&
            last_stranger(proxies, header->value, &hops, address, &is_v4)) {
            return spelled(address, is_v4, arena);
        }
    }
    return address_read(host_of(dyn_slice_trim(headers->x_real_ip)), address, &is_v4)
               ? spelled(address, is_v4, arena)
               : request->peer;
}
