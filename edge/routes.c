/* See routes.h. */
#include "edge/routes.h"

#include "core/rand.h"

static const struct edge_route routes[] = {
#define EDGE_ROUTE(name, path, methods, surface, body)                                                       \
    {EDGE_ROUTE_##name, DYN_SLICE_INIT(path), methods, ENV_SURFACE_##surface, EDGE_BODY_##body},
#include "edge/routes.def"
#undef EDGE_ROUTE
};

static bool
starts_with(struct dyn_slice text, struct dyn_slice start)
{
    return text.len >= start.len && memcmp(text.data, start.data, start.len) == 0;
}

static bool
route_takes(const struct edge_route *route, struct dyn_slice path, struct dyn_slice *id)
{
    struct dyn_slice own = route->path;
    *id = dyn_slice(NULL, 0);
    if (own.data[own.len - 1] != '*') {
        return dyn_slice_eq(own, path);
    }
    own.len--;
    if (path.len <= own.len || !starts_with(path, own)) {
        return false;
    }
    *id = dyn_slice(path.data + own.len, path.len - own.len);
    return true;
}

/* RFC 9110 9.1 and 9.3; others are answered 501 wherever they point. */
static bool
is_known_method(struct dyn_slice method)
{
    static const struct dyn_slice known[] = {
        DYN_SLICE_INIT("GET"),    DYN_SLICE_INIT("HEAD"),    DYN_SLICE_INIT("POST"),  DYN_SLICE_INIT("PUT"),
        DYN_SLICE_INIT("DELETE"), DYN_SLICE_INIT("OPTIONS"), DYN_SLICE_INIT("TRACE"), DYN_SLICE_INIT("PATCH"),
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(known); i++) {
        if (dyn_slice_eq(method, known[i])) {
            return true;
        }
    }
    return false;
}

static bool
takes_method(const struct edge_route *route, struct dyn_slice method)
{
    if (route->methods == EDGE_POST) {
        return dyn_slice_is(method, "POST");
    }
    if (route->methods == EDGE_ANY) {
        return !dyn_slice_is(method, "OPTIONS") && !dyn_slice_is(method, "TRACE");
    }
    return dyn_slice_is(method, "GET") || dyn_slice_is(method, "HEAD");
}

struct edge_match
edge_route_match(struct dyn_slice method, struct dyn_slice path)
{
    struct edge_match match = {
        .refuse = ERR_NOT_FOUND,
        .is_api = dyn_slice_is(path, "/v1") || starts_with(path, DYN_SLICE("/v1/")),
    };
    if (!is_known_method(method)) {
        match.refuse = ERR_METHOD_UNKNOWN;
        return match;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(routes); i++) {
        if (route_takes(&routes[i], path, &match.id)) {
            match.route = &routes[i];
            match.refuse = takes_method(match.route, method) ? ERR_NONE : ERR_METHOD_NOT_ALLOWED;
            break;
        }
    }
    return match;
}

struct dyn_slice
edge_route_allow(const struct edge_route *route)
{
    return route->methods == EDGE_POST  ? DYN_SLICE("POST")
           : route->methods == EDGE_ANY ? DYN_SLICE("GET, HEAD, POST, PUT, PATCH, DELETE")
                                        : DYN_SLICE("GET, HEAD");
}

struct dyn_slice
edge_path_decode(struct arena *arena, struct dyn_slice text)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte == '%') {
            if (text.len - i < 3 || dyn_hex_decode(&byte, 1, dyn_slice(text.data + i + 1, 2)) != 0) {
                return dyn_slice(NULL, 0);
            }
            i += 2;
        }
        if (byte < ' ' || byte == 0x7f) {
            return dyn_slice(NULL, 0);
        }
        out[len++] = (char)byte;
    }
    out[len] = '\0';
    return dyn_slice(out, len);
}
