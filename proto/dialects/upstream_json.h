/* JSON that upstreams send, where it is less clean than what clients may send: NUL and halves of
 * surrogate pairs as escapes (a character cut between two chunks of a stream), members given twice.
 * Clients' libraries take such texts, so the gateway passes them on; here it only has to see what is in
 * them. Everything else is as strict as in requests. */
#pragma once

#include "core/json_scan.h"

/* Validates a text that must be an object. *copy_p is NULL, or memory that *object points into instead of
 * `text`, byte for byte at the same offsets; free() it. -1: not JSON, or not an object. */
int upstream_json_scan(struct dyn_slice text, struct json_value *object, char **copy_p);

struct arena;

/* The same; what *object points into lies in `text` or in the arena. */
int upstream_json_scan_in(struct dyn_slice text, struct arena *arena, struct json_value *object);
