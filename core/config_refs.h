/* ${NAME} and ${file:PATH} in the values of the configuration, resolved here and nowhere else. What
 * they stand for may be secret: it goes into the value and into no problem. Internal to the loader. */
#pragma once

#include "core/config.h"

struct config_refs {
    struct arena *arena;
    struct config_problems *problems;
    const struct config_lookup *lookup; /* NULL: the environment */
    const char *name;                   /* of the configuration file: relative paths begin in its folder */
    size_t expanded_bytes;              /* all values together; a small file may refer often */
};

/* Whether the text refers to anything: if not, it is a literal. */
bool config_refs_any(struct dyn_slice text);
/* The text with its references replaced, in the arena and terminated. Problems stand at `mark` and begin
 * with `path`, the key's dotted name; -1 when there was one. */
int config_refs_resolve(struct config_refs *refs, struct dyn_slice text, struct config_mark mark,
                        const char *path, struct dyn_slice *out);
