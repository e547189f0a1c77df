/* What stands between the requests for a target and its upstream: breaker, limiter, credentials; and what is
 * learned from how calls end: those three, and latencies. One object per target and process, shared by the
 * provider actors of all cells; any thread. Told the time; it sends nothing: who calls it passes on what it
 * returns. What it knows is read from its board (proto/health.h). */
#pragma once

#include "actors/providers/breaker.h"
#include "actors/providers/credentials.h"
#include "actors/providers/latency.h"
#include "actors/providers/limiter.h"

typedef struct provider_guard provider_guard_t;

/* All zero: nothing is limited, and there is no credential. */
struct provider_guard_config {
    struct breaker_config breaker;
    uint32_t limit;            /* calls in flight; 0: any number */
    uint32_t queue_max;        /* who may wait for one of them to end */
    uint32_t queue_timeout_ms; /* how long; 0: as long as its request may take */
    size_t n_creds;
    uint64_t probe_us; /* after so long a probe that was not heard of is given up */
};

/* Those who want to hear of changes, one a loop. */
enum { PROVIDER_LISTENERS_MAX = 256 };

/* One reference. */
provider_guard_t *provider_guard_new(const struct provider_guard_config *config)
    __attribute__((returns_nonnull));
provider_guard_t *provider_guard_ref(provider_guard_t *guard);
void provider_guard_unref(provider_guard_t **guard_p);
health_board_t *provider_guard_board(const provider_guard_t *guard);
uint32_t provider_guard_queue_timeout_ms(const provider_guard_t *guard);

/* ---- one call ---- */

/* What a call holds. Zero-initialised: nothing; it must not move while it holds something. */
struct provider_pass {
    struct breaker_permit permit;
    struct limiter_place place;
    uint64_t model_key;
    size_t cred;     /* which credential it uses */
    bool holds;      /* entered, and not left */
    bool is_counted; /* in flight */
};

struct provider_refusal {
    enum err_code error;
    uint32_t retry_ms; /* when it makes sense to ask again; 0: not known */
};

enum provider_verdict { PROVIDER_PASSES, PROVIDER_WAITS, PROVIDER_REFUSED };

/* PASSES: call with credential pass->cred. WAITS: its seat is told. In every case it has to leave. */
enum provider_verdict provider_guard_enter(provider_guard_t *guard, struct provider_pass *pass,
                                           struct limiter_seat *seat, struct dyn_slice model, uint64_t now_us,
                                           struct provider_refusal *refusal);
/* For the seat that was told: the next of its calls that waited no more; NULL: no more. */
struct provider_pass *provider_guard_next(provider_guard_t *guard, struct limiter_seat *seat);
/* ... may it call now? The target may have failed meanwhile. */
enum provider_verdict provider_guard_proceed(provider_guard_t *guard, struct provider_pass *pass,
                                             uint64_t now_us, struct provider_refusal *refusal);

struct provider_outcome {
    enum breaker_outcome breaker;
    struct credentials_outcome cred;
    struct dyn_slice model;
    uint64_t ttft_us;  /* 0: no stream */
    uint64_t total_us; /* 0: nothing is learned from it */
};
/* The call is over; `outcome` NULL: and says nothing about the target. Returns the seat that has to be told
 * that one of its calls has a place; 0: nobody. Again: does nothing. */
uint32_t provider_guard_leave(provider_guard_t *guard, struct provider_pass *pass,
                              const struct provider_outcome *outcome, uint64_t now_us);
/* Credentials that another attempt at once could use instead of that call's. */
uint32_t provider_guard_other_creds(provider_guard_t *guard, const struct provider_pass *pass,
                                    uint64_t now_us);

/* ---- changes ---- */

/* Any thread; again: does nothing. */
void provider_guard_listen(provider_guard_t *guard, uint32_t address);
size_t provider_guard_listeners(const provider_guard_t *guard, uint32_t addresses[PROVIDER_LISTENERS_MAX]);
/* Something has changed that was not told yet; it counts as told now. *is_state: state or credentials, not
 * only that it is full now, or no more. */
bool provider_guard_has_news(provider_guard_t *guard, bool *is_state);
/* Brings the board up to what time alone has changed. */
void provider_guard_refresh(provider_guard_t *guard, uint64_t now_us);

struct provider_guard_counts {
    uint64_t refused_open, refused_full, refused_creds, waited;
};
void provider_guard_counts(const provider_guard_t *guard, struct provider_guard_counts *counts);
bool provider_guard_has_breaker(const provider_guard_t *guard);
