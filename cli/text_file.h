/* Where `init` and `import` leave what they made: standard output, or a file that is not to be lost. */
#pragma once

#include "core/buf.h"

/* `path` NULL: standard output. A file is made with mode 0600; one that is there already is left alone
 * unless `may_replace`. Says on standard error what went wrong, as `command`; -1 then. */
int cli_write_text(const char *command, const char *path, bool may_replace, const struct dyn_buf *text);
