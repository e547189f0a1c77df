#include "gateway/descriptors.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Counted in /proc/PID/fd with some room: 16 and 9 a cell, more for a name with several addresses and for
 * what is open only during the start. */
enum { DESCRIPTORS_BASE = 32, DESCRIPTORS_PER_CELL = 12 };

/* Asking the kernel for them is exact: what is open already and who else opens files is accounted for. */
int
descriptors_check(unsigned n_cells, struct dyn_err *err)
{
    unsigned wanted = DESCRIPTORS_BASE + n_cells * DESCRIPTORS_PER_CELL;
    int *fds = dyn_alloc(wanted * sizeof *fds);
    unsigned got = 0;
    while (got < wanted && (fds[got] = eventfd(0, EFD_CLOEXEC)) >= 0) {
        got++;
    }
    for (unsigned i = 0; i < got; i++) {
        (void)close(fds[i]);
    }
    free(fds);
    if (got < wanted) {
        return dyn_err_set(
            err, DYN_E_IO,
            "%u cells need %u open files and connections to start with, and the limit leaves %u; "
            "raise it (`ulimit -n`) or use fewer cells",
            n_cells, wanted, got);
    }
    return 0;
}
