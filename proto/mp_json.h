/* MessagePack as JSON, for people and for tools that read lines. Pure. */
#pragma once

#include "core/buf.h"
#include "proto/mp.h"

/* Appends one value with all its elements. Bytes become a text of hex digits, numbers that JSON has not
 * become null, keys that are no text are left out with their value. Checked bytes only (mp_check). */
void mp_write_json(struct mp_cursor *cursor, struct dyn_buf *out);
