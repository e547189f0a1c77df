/* The base-URL rules: what an operator writes as base_url is the API root, not the host. */
#include "actors/providers/provider_url.h"

#include <ctype.h>

#define PORT_MAX 65535u

struct url_parts {
    struct dyn_slice scheme;
    struct dyn_slice userinfo; /* absent without '@' */
    struct dyn_slice host;     /* with brackets */
    struct dyn_slice port;     /* absent without ':' */
    struct dyn_slice path;     /* from the first slash behind the authority; may be empty */
};

static struct dyn_slice
between(const char *begin, const char *end)
{
    return dyn_slice(begin, (size_t)(end - begin));
}

static const char *
find(struct dyn_slice text, char c)
{
    return text.len > 0 ? memchr(text.data, c, text.len) : NULL;
}

/* host and port of "host:port", "[::1]:port". -1: a bracket without its partner, text behind it. */
static int
split_host(struct dyn_slice authority, struct url_parts *parts)
{
    const char *end = authority.data + authority.len;
    const char *host_end = NULL;
    if (authority.len > 0 && authority.data[0] == '[') {
        const char *bracket = find(authority, ']');
        if (bracket == NULL) {
            return -1;
        }
        host_end = bracket + 1;
    } else {
        const char *colon = find(authority, ':');
        host_end = colon != NULL ? colon : end;
    }
    parts->host = between(authority.data, host_end);
    if (host_end == end) {
        return 0;
    }
    if (*host_end != ':') {
        return -1;
    }
    parts->port = between(host_end + 1, end);
    return 0;
}

static int
split(struct dyn_slice url, struct url_parts *parts)
{
    *parts = (struct url_parts){.scheme = {NULL, 0}};
    const char *colon = find(url, ':');
    const char *end = url.data + url.len;
    if (colon == NULL || end - colon < 3 || colon[1] != '/' || colon[2] != '/') {
        return -1;
    }
    parts->scheme = between(url.data, colon);
    struct dyn_slice rest = between(colon + 3, end);
    const char *slash = find(rest, '/');
    struct dyn_slice authority = between(rest.data, slash != NULL ? slash : end);
    parts->path = between(slash != NULL ? slash : end, end);
    const char *at = authority.len > 0 ? memrchr(authority.data, '@', authority.len) : NULL;
    if (at != NULL) {
        parts->userinfo = between(authority.data, at);
        authority = between(at + 1, authority.data + authority.len);
    }
    return split_host(authority, parts);
}

static bool
is_port(struct dyn_slice port)
{
    unsigned value = 0;
    for (size_t i = 0; i < port.len; i++) {
        if (!isdigit((unsigned char)port.data[i])) {
            return false;
        }
        value = value * 10 + (unsigned)(port.data[i] - '0');
        if (value > PORT_MAX) {
            return false;
        }
    }
    return value > 0;
}

/* RFC 3986 reg-name and IP-literal, as far as names are used: letters, digits, and - . _ ~ : % [ ] */
static bool
is_host(struct dyn_slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!isalnum((unsigned char)host.data[i]) && strchr("-._~:%[]", host.data[i]) == NULL) {
            return false;
        }
    }
    return host.len > 0 && !dyn_slice_is(host, "[]");
}

static struct dyn_slice
without_slashes_at_end(struct dyn_slice text)
{
    while (text.len > 0 && text.data[text.len - 1] == '/') {
        text.len--;
    }
    return text;
}

/* Why `url` cannot be an API root; NULL when it can. */
static const char *
complaint(struct dyn_slice url, struct url_parts *parts)
{
    for (size_t i = 0; i < url.len; i++) {
        unsigned char c = (unsigned char)url.data[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\') {
            return "it has a character that no URL has";
        }
        if (c == '?' || c == '#') {
            return "it has a query or a fragment, and nothing could be added behind that";
        }
    }
    if (split(url, parts) != 0) {
        return "it is no URL; write it like https://host/v1";
    }
    if (!dyn_slice_ieq(parts->scheme, DYN_SLICE("https")) &&
        !dyn_slice_ieq(parts->scheme, DYN_SLICE("http"))) {
        return "its scheme is neither https nor http";
    }
    if (!is_host(parts->host)) {
        return "it names no host";
    }
    if (parts->port.data != NULL && !is_port(parts->port)) {
        return "its port is no number from 1 to 65535";
    }
    return NULL;
}

/* "/v1" of "https://host/v1", "/v1beta": 'v' and a digit. Absent when the root ends otherwise. */
static struct dyn_slice
version_segment(const char *root)
{
    const char *slash = root != NULL ? strrchr(root, '/') : NULL;
    if (slash == NULL || slash[1] != 'v' || !isdigit((unsigned char)slash[2])) {
        return dyn_slice(NULL, 0);
    }
    return dyn_slice_str(slash);
}

int
provider_url_root(struct dyn_slice given, const char *default_root, struct arena *arena,
                  struct dyn_slice *root, struct dyn_err *err)
{
    if (given.len == 0) {
        if (default_root == NULL) {
            return dyn_err_set(err, DYN_E_CONFIG, "a base_url is needed");
        }
        given = dyn_slice_str(default_root);
    }
    struct url_parts parts;
    const char *wrong = complaint(given, &parts);
    if (wrong != NULL) {
        return dyn_err_set(err, DYN_E_CONFIG, "base_url cannot be used: %s", wrong);
    }
    bool has_path = without_slashes_at_end(parts.path).len > 0;
    struct dyn_slice tail = has_path ? dyn_slice(NULL, 0) : version_segment(default_root);
    struct dyn_slice head = without_slashes_at_end(given);
    *root =
        arena_printf(arena, "%.*s%.*s", (int)head.len, head.data, (int)tail.len, tail.data ? tail.data : "");
    return 0;
}

struct dyn_slice
provider_url_authority(struct dyn_slice url)
{
    struct url_parts parts;
    if (split(url, &parts) != 0) {
        return dyn_slice(NULL, 0);
    }
    return between(parts.host.data, parts.path.data);
}

struct dyn_slice
provider_url_host(struct dyn_slice url)
{
    struct url_parts parts;
    if (split(url, &parts) != 0) {
        return dyn_slice(NULL, 0);
    }
    if (parts.host.len >= 2 && parts.host.data[0] == '[') {
        return dyn_slice(parts.host.data + 1, parts.host.len - 2);
    }
    return parts.host;
}

bool
provider_url_is_https(struct dyn_slice url)
{
    struct url_parts parts;
    return split(url, &parts) == 0 && dyn_slice_ieq(parts.scheme, DYN_SLICE("https"));
}

bool
provider_url_is_loopback(struct dyn_slice url)
{
    struct dyn_slice host = provider_url_host(url);
    bool is_v4 = host.len > 4 && memcmp(host.data, "127.", 4) == 0;
    for (size_t i = 0; i < host.len && is_v4; i++) {
        is_v4 = isdigit((unsigned char)host.data[i]) || host.data[i] == '.';
    }
    return is_v4 || dyn_slice_ieq(host, DYN_SLICE("localhost")) || dyn_slice_is(host, "::1");
}
