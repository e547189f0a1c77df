/* Base64 in the standard alphabet (RFC 4648 section 4). */
#pragma once

#include "core/buf.h"

/* Appends the bytes with padding. */
void dyn_base64_add(struct dyn_buf *out, struct dyn_slice bytes);
/* Appends what the text stands for; padding may be absent, white space may not stand in it. -1: it is none,
 * and `out` is as it was. */
int dyn_base64_decode(struct dyn_slice text, struct dyn_buf *out);
