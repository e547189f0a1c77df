/* Blacks out what looks like a secret in a text before it is kept: keys of providers and of this gateway,
 * tokens, passwords in addresses, private keys, addresses of mail. Knows forms, not values. */
#pragma once

#include "core/buf.h"
#include "core/err.h"

typedef struct blackout blackout_t;

blackout_t *blackout_new(struct dyn_err *err);
void blackout_free(blackout_t **blackout_p); /* NULL is accepted */
/* Any thread. Appends the first `most` bytes of the text (cut between characters) with "[REDACTED]" in place
 * of each secret; one that the cut goes through is blacked out, too. Texts may be JSON: escapes hide nothing.
 * A text that cannot be searched within its limits, or is not UTF-8, is left out whole, and
 * "[NOT INSPECTED]" stands there. */
void blackout_write(const blackout_t *blackout, struct dyn_slice text, uint64_t most, struct dyn_buf *out);
