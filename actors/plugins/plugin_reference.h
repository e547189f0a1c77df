/* Pages about the built-in plugins in Markdown, from their tables: what each is, where it votes, what it
 * refuses with, and its keys. Examples and prose are put around that by tests/lint/generated-docs. */
#pragma once

#include "actors/plugins/plugin.h"

/* docs/plugins/README.md: one line for each. */
void plugin_write_index(struct dyn_buf *out);
/* What one can do and how it is configured. */
void plugin_write_page(const struct plugin_ops *ops, struct dyn_buf *out);
