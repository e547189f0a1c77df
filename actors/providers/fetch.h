/* Fetching what is no model's answer: a newer catalogue, a provider's list of models, whether a page is
 * there. It blocks, so it has a thread of its own or is a command's; never on a loop. Redirects are for what
 * carries no credential. libcurl is behind fetch.c. */
#pragma once

#include "core/buf.h"
#include "core/err.h"

#include <stdatomic.h>

enum { FETCH_ETAG_MAX = 256, FETCH_HEADERS_MAX = 8, FETCH_REDIRECTS_MAX = 5 };

struct fetch {
    const char *url;           /* http or https */
    bool        head_only;     /* HEAD */
    bool        follows;       /* redirects */
    const char *etag;          /* 304 when the answer still has it; NULL: none */
    const char *const *headers; /* "Name: value", NULL behind the last; may be NULL */
    const char *ca_file;       /* NULL: the system's */
    const char *proxy;         /* NULL: none; the environment is not looked at */
    const char *no_proxy;      /* hosts that it is not for; may be NULL */
    uint32_t    timeout_ms;    /* for all of it */
    size_t      bytes_max;     /* of the body; more is an error */
    void       *user;

    /* The outcome. */
    long          status;               /* of the last answer; 0: there was none */
    char          got_etag[FETCH_ETAG_MAX]; /* "" when there was none */
    struct dyn_buf body;                /* the caller's to free */
    char          error[200];           /* a sentence; "" when there was an answer, whatever its status */
};

/* By which proxy a URL is fetched, as requests to providers are. */
struct fetch_way {
    char *proxy;
    char *no_proxy;
};
/* As `proxy` and `no_proxy` of upstream say; what they do not say (empty), the environment does. */
struct fetch_way fetch_way_to(const char *url, struct dyn_slice proxy, struct dyn_slice no_proxy);
void fetch_way_fini(struct fetch_way *way);

/* Makes all of them, at most `at_once` at a time. `done` (may be NULL) is called for each as it ends. Ends
 * early, leaving the rest without an answer, once *stop (may be NULL) is true. -1 when libcurl cannot be
 * used. */
int fetch_all(struct fetch *fetches, size_t n, unsigned at_once,
              void (*done)(void *self, struct fetch *fetch), void *self, const atomic_bool *stop,
              struct dyn_err *err);
