#include "actors/ledger/ledger_config.h"

#include <stdlib.h>
#include <strings.h>

#define DEFAULT_DSN "dynabus.db"

static const char *const backend_names[] = {"none", "sqlite", NULL};
static const char *const later_names[] = {"postgres", "postgresql", NULL};

static const struct config_key store_keys[] = {
    {.name = "backend",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct ledger_config, store.backend) - offsetof(struct ledger_config, store),
     .default_text = "none",
     .names = backend_names,
     .unsupported_names = later_names,
     .set_offset =
         offsetof(struct ledger_config, store.backend_is_set) - offsetof(struct ledger_config, store),
     .help =
         "What keeps keys, budgets, the request log and the audit log. `none`: nothing survives a restart. "
         "`sqlite`: one file of the process with the role `ledger`."},
    {.name = "dsn",
     .type = CONFIG_STRING,
     .offset = offsetof(struct ledger_config, store.dsn) - offsetof(struct ledger_config, store),
     .default_text = DEFAULT_DSN,
     .help = "`sqlite`: path of the file, or a `file:` address. It is made where there is none, readable for "
             "its owner alone. Not on a network file system."},
    {.name = "buffer",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct ledger_config, store.buffer) - offsetof(struct ledger_config, store),
     .default_text = "32MiB",
     .min = 1024.0 * 1024,
     .max = 4096.0 * 1024 * 1024,
     .help = "Rows that a process keeps while the store does not take them. Beyond that the oldest are lost, "
             "which readiness and a counter tell. Some 500 bytes a row."},
    {.name = "keep_logs",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct ledger_config, store.keep_logs_ms) - offsetof(struct ledger_config, store),
     .default_text = "0s",
     .max = 10.0 * 366 * 24 * 3600 * 1000,
     .help =
         "How long rows of the request log are kept: `720h` are 30 days. Older ones are deleted, a few at a "
         "time. 0: until somebody deletes them. The audit log is kept for ever."},
    {.name = NULL},
};

static const struct config_section store_section = {
    .keys = store_keys,
    .size = sizeof((struct ledger_config *)NULL)->store,
    .mark_offset = SIZE_MAX,
};

static const struct config_key ledger_keys[] = {
    {.name = "store",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct ledger_config, store),
     .section = &store_section,
     .help = "What must survive a restart, and where."},
    {.name = NULL},
};

const struct config_part ledger_config_part = {
    .folder = "actors/ledger",
    .section = {.keys = ledger_keys, .size = sizeof(struct ledger_config), .mark_offset = SIZE_MAX},
};

/* ---- variables ---- */

static const struct {
    const char *backend;
    const char *dsn;
} variables[] = {
    {"API_KEY_STORE_BACKEND", "API_KEY_STORE_DSN"},
    {"REQUEST_LOG_STORE_BACKEND", "REQUEST_LOG_STORE_DSN"},
    {"CONFIG_STORE_BACKEND", "CONFIG_STORE_DSN"},
};

static bool
is_memory(const char *word)
{
    return *word == '\0' || strcasecmp(word, "memory") == 0 || strcasecmp(word, "in-memory") == 0 ||
           strcasecmp(word, "inmemory") == 0;
}

int
ledger_place_find(const struct ledger_config *config, const char *(*variable)(const char *name),
                  struct ledger_place *place, struct dyn_err *err)
{
    *place = (struct ledger_place){
        .backend = (enum ledger_backend)config->store.backend,
        .dsn = config->store.dsn.len > 0 ? config->store.dsn.data : DEFAULT_DSN,
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(variables) && !config->store.backend_is_set; i++) {
        const char *backend = variable(variables[i].backend);
        const char *dsn = variable(variables[i].dsn);
        if (backend == NULL || is_memory(backend)) {
            continue;
        }
        if (strcasecmp(backend, "sqlite") != 0) {
            return dyn_err_set(err, DYN_E_CONFIG,
                               "%s: '%.40s' is not supported in this version; there are sqlite and memory",
                               variables[i].backend, backend);
        }
        place->backend = LEDGER_BACKEND_SQLITE;
        place->dsn = dsn != NULL && *dsn != '\0' ? dsn : place->dsn;
        place->variable = variables[i].backend;
        return 0;
    }
    return 0;
}
