/* What two configurations that were read differ in, told by the tables of their parts: for a reload, which
 * keeps what is as it was. Compares values, not how they were written: references by what they stood for. */
#pragma once

#include "core/buf.h"
#include "core/config.h"

/* Two structs of one section, filled. `ignored` names keys of it that do not count; ends with NULL, may be
 * NULL. */
bool config_section_same(const struct config_section *section, const void *a, const void *b,
                         const char *const *ignored);

/* Calls `fn` for each key at the top of that part whose value differs; `mark` is where `now` has it, or
 * the place around it. */
void config_part_differences(const struct config_part *part, const config_t *before, const config_t *now,
                             void (*fn)(void *arg, const struct config_key *key, struct config_mark mark),
                             void *arg);

/* The struct of a section as text that is the same for the same values, and for no others. Not for people: it
 * has what secrets stand for. */
void config_section_write(const struct config_section *section, const void *values, struct dyn_buf *out);
