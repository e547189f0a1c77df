#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>

int
dyn_err_set(struct dyn_err *err, enum dyn_code code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->code = code;
        (void)vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return -1;
}
