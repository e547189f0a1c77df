/* The roles of a process (`--roles`): which parts of a gateway it hosts; the rest it joins over the bus.
 * Pure. */
#pragma once

#include "core/err.h"

#include <stdbool.h>

enum gateway_role {
#define ROLE(name, word, about) GATEWAY_ROLE_##name,
#include "gateway/roles.def"
#undef ROLE
    GATEWAY_ROLE_COUNT
};

/* Bits 1 << enum gateway_role. */
typedef unsigned gateway_roles_t;
#define GATEWAY_ROLES_ALL ((1u << GATEWAY_ROLE_COUNT) - 1)

static inline bool
gateway_has(gateway_roles_t roles, enum gateway_role role)
{
    return (roles >> role) & 1;
}

/* "edge,router"; NULL: all. -1 with a sentence: a word that is no role, or none at all. */
int gateway_roles_parse(const char *text, gateway_roles_t *roles, struct dyn_err *err);
/* "edge, router" into out, cut where it does not fit. */
void gateway_roles_text(gateway_roles_t roles, char *out, size_t size);
