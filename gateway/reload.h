/* How a running gateway takes up another configuration: read, checked, made into an edition, given to all
 * cells or to none. One at a time, whoever asks for it. What it does to actors is the keepers' business. */
#pragma once

#include "core/buf.h"
#include "gateway/edition.h"
#include "gateway/registered_plugin.h"
#include "mock/mock.h"

#include <pthread.h>
#include <sys/stat.h>

/* Tells one content of a file from another as well as can be without reading it. */
struct gateway_mark {
    bool is_there;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written;
    struct timespec changed;
};

struct gateway_mark gateway_mark_of(const char *path);

struct gateway_reload {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_busy; /* under the lock, as all up to `now`: somebody takes one up */
    bool is_closing;
    unsigned waiting;            /* for their turn, or having it */
    struct gateway_edition *now; /* in force */

    /* Of who is busy. */
    struct discovery *discovery; /* what providers say they have; NULL: they were not asked */
    catalogue_t *catalogue; /* of models; NULL: the built-in one */
    struct registered **registered;
    size_t n_registered;
    struct registered_plugin *plugins[REGISTERED_PLUGINS_MAX]; /* of the program */
    size_t n_plugins;

    char *path;   /* of the file; NULL: there is none */
    struct gateway_mark mark; /* of it, before it was read for the first time */
    char *wanted; /* names of targets (`--targets`); NULL: all */
    mock_t *mock; /* the bundled one of --dev; NULL */
    char mock_root[128];
    struct upstream_tally tally;
    atomic_uint_fast64_t applied; /* results of all that were asked for */
    atomic_uint_fast64_t unchanged;
    atomic_uint_fast64_t refused;
};

/* Of a gateway with options and roles; before anything else of it. */
void gateway_reload_init(struct dynabus *gateway);
/* Nobody takes one up any more: waits for who does. */
void gateway_reload_close(struct dynabus *gateway);
/* After the bus is gone. */
void gateway_reload_fini(struct dynabus *gateway);

/* Reads and checks, `path` before `text`; neither: the defaults. NULL with one line per problem in `why`.
 * *source_p: what was read, or NULL. */
config_t *gateway_read_config(const struct dynabus *gateway, const char *path, const char *text,
                              char **source_p, struct dyn_buf *why);
/* The first edition. Takes both, also on failure. */
int gateway_begin(struct dynabus *gateway, config_t **config_p, char **source_p, struct dyn_err *err);

enum gateway_reload_result {
    GATEWAY_RELOAD_APPLIED,
    GATEWAY_RELOAD_UNCHANGED,
    GATEWAY_RELOAD_REFUSED,
    GATEWAY_RELOAD_PARTLY, /* the configuration is in force; keys of the bus or files of TLS can't be used */
};
/* From the file, or from that text where it is not NULL. Any thread but a loop's. `why`: what is wrong, a
 * line each. `expected`: the hash that it must have, NULL: any. */
enum gateway_reload_result gateway_take_up(struct dynabus *gateway, const char *text, const char *expected,
                                           struct dyn_buf *why);
/* Takes the provider; the configuration stays. -1 with a sentence, and it is not taken. */
int gateway_register(struct dynabus *gateway, struct registered **registered_p, struct dyn_err *err);

/* Takes the plugin; the same. */
int gateway_register_plugin(struct dynabus *gateway, struct registered_plugin **registered_p,
                            struct dyn_err *err);
/* Makes the edition in force once more. -1 with a sentence, and all stays as it is. */
int gateway_make_again(struct dynabus *gateway, struct dyn_err *err);

/* Takes the catalogue; the configuration stays. -1 with a sentence, and it is not taken. Any thread but a
 * loop's. */
int gateway_take_catalogue(struct dynabus *gateway, catalogue_t **catalogue_p, struct dyn_err *err);

/* The same with what providers said they have. */
int gateway_take_discovery(struct dynabus *gateway, struct discovery **discovery_p, struct dyn_err *err);

/* The same for all that can be read again: keys of the bus and files of TLS as well, each of which stays as
 * it was where it can't be used. */
enum gateway_reload_result gateway_reload_all(struct dynabus *gateway, const char *expected,
                                              struct dyn_buf *why);

/* The edition in force, one reference. Any thread. */
struct gateway_edition *gateway_edition_now(struct dynabus *gateway);
