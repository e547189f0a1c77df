/* The ledger's share of the configuration file: where what must survive is kept. */
#pragma once

#include "core/config.h"

enum ledger_backend { LEDGER_BACKEND_NONE, LEDGER_BACKEND_SQLITE };

struct ledger_config {
    struct {
        int backend; /* enum ledger_backend */
        bool backend_is_set;
        struct dyn_slice dsn;
        uint64_t buffer; /* bytes */
        uint64_t keep_logs_ms; /* 0: for ever */
    } store;
};

extern const struct config_part ledger_config_part;

/* What the configuration says, else Ferro's variables; the first of them that names a store counts. */
struct ledger_place {
    enum ledger_backend backend;
    const char *dsn; /* lives as long as configuration and environment */
    const char *variable; /* that said so; NULL: the configuration, or nobody */
};
/* -1 with a sentence: a variable names a store that this version does not have. `variable` as getenv(). */
int ledger_place_find(const struct ledger_config *config, const char *(*variable)(const char *name),
                      struct ledger_place *place, struct dyn_err *err);
