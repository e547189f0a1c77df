/* The refresh: a thread of its own that fetches a newer catalogue of models when the configuration (or
 * FERRO_MODEL_CATALOG_URL) says where from. The gateway begins with the catalogue that is built in; what is
 * fetched lies over it, model by model: a short list changes what it tells of and nothing else. Whatever goes
 * wrong leaves the one in force. Nothing is fetched otherwise, and the thread is there only then. */
#pragma once

#include "core/base.h"

#include <pthread.h>
#include <stdatomic.h>

struct dynabus;

struct gateway_refresh {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool has_thread; /* under the lock, as the next two */
    bool is_woken;
    bool is_closing;
    pthread_t thread;
    atomic_uint_fast64_t discover_every_ms; /* as the library was told; 0: as the configuration says */
    atomic_bool stops; /* fetches that are under way */
    atomic_uint_fast64_t loaded; /* from the URL */
    atomic_uint_fast64_t same;   /* the URL still has what is in force */
    atomic_uint_fast64_t failed; /* what was in force stayed */
};

void gateway_refresh_init(struct gateway_refresh *refresh);
/* A configuration came into force: it is looked at what it says. Any thread, once the bus runs. */
void gateway_refresh_look(struct dynabus *gateway);
/* Waits for the thread. Before reloads are closed. */
void gateway_refresh_close(struct gateway_refresh *refresh);
void gateway_refresh_fini(struct gateway_refresh *refresh);

/* The URL without what may be secret in it: user, password and query. For the log. */
size_t gateway_refresh_shown_url(const char *url, char *out, size_t size);
