/* Texts as they are written into a configuration of ours: plain where that reads as the same text, in quotes
 * else. */
#pragma once

#include "core/buf.h"

void yaml_add_text(struct dyn_buf *out, struct dyn_slice text);
/* A comment to the end of the line: control characters become '?'. Begins with "# ". */
void yaml_add_comment(struct dyn_buf *out, const char *text);
