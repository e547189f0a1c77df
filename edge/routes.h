/* Which path is what, as data (routes.def). Pure. */
#pragma once

#include "proto/env.h"

enum edge_methods { EDGE_GET_HEAD, EDGE_POST, EDGE_ANY };
enum edge_body { EDGE_BODY_NONE, EDGE_BODY_JSON, EDGE_BODY_MAYBE /* JSON, if there is one */ };

enum edge_route_name {
#define EDGE_ROUTE(name, path, methods, surface, body) EDGE_ROUTE_##name,
#include "edge/routes.def"
#undef EDGE_ROUTE
    EDGE_ROUTE_COUNT
};

struct edge_route {
    enum edge_route_name name;
    struct dyn_slice     path;
    enum edge_methods    methods;
    enum env_surface     surface;
    enum edge_body       body;
};

struct edge_match {
    const struct edge_route *route; /* NULL: there is nothing at this path */
    enum err_code            refuse; /* NOT_FOUND, METHOD_NOT_ALLOWED, METHOD_UNKNOWN; ERR_NONE: served */
    bool                     is_api; /* below /v1: who calls is looked at before what is wrong */
    struct dyn_slice         id;     /* where the path ended in '*', not decoded */
};

struct edge_match edge_route_match(struct dyn_slice method, struct dyn_slice path);
/* For the Allow header: "GET, HEAD". */
struct dyn_slice edge_route_allow(const struct edge_route *route);
/* Undoes %XX into the arena. Absent when an escape is broken or makes a control character. */
struct dyn_slice edge_path_decode(struct arena *arena, struct dyn_slice text);
