/* What a strategy may ask about the body of a request, read in one walk that is only made when the plan needs
 * it. No tree: values stay where they stand, and texts are decoded only where they are searched. */
#pragma once

#include "core/json_scan.h"
#include "router/strategy.h"

/* Fills what stands behind ROUTE_NEEDS_BODY and ROUTE_NEEDS_TEXT in `needs`. `body` is a JSON object that the
 * dialect has taken; it and the arena have to stay as long as the facts do. `places`: of its members, may be
 * NULL. */
void route_facts_read(struct route_facts *facts, struct dyn_slice body, const struct json_places *places,
                      uint32_t needs, struct arena *arena);
