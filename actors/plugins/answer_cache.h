/* Answers that were good once, and calls in flight that several requests wait for. One object for the whole
 * process, behind one small lock that is held for looking up and linking, never while bytes of an answer are
 * copied: entries are blocks with counted references. It knows no bus and no plugin; whoever waits has a seat
 * that is woken.
 *
 * Answers: least recently used leave first; bounded in entries and in bytes, all that an entry costs counted;
 * one that is too old is gone when it is looked for.
 *
 * Calls: of equal requests the first leads and the others wait. The call is theirs together: when the
 * leader's client leaves, it goes on while anybody waits. When it fails one of those that wait leads once
 * more; when that fails, too, all others fail as it did, so that a provider in trouble gets two calls and not
 * a thousand. */
#pragma once

#include "core/block.h"
#include "core/list.h"
#include "proto/env.h"

#include <stdatomic.h>

typedef struct answer_cache answer_cache_t;
struct answer_flight;

enum { ANSWER_KEY_BYTES = 32, ANSWER_ERROR_TEXT_MAX = 200 };
struct answer_key {
    uint8_t bytes[ANSWER_KEY_BYTES];
};

struct answer_limits {
    uint64_t max_age_us; /* 0: nothing is kept */
    uint64_t max_entries;
    uint64_t max_bytes;
};

/* Of a process: several caches count here together. */
struct answer_counters {
    atomic_uint_fast64_t hits;    /* served from what was kept */
    atomic_uint_fast64_t misses;  /* went on to a provider */
    atomic_uint_fast64_t shared;  /* served by the call of another request */
    atomic_uint_fast64_t evicted; /* left for others before their time */
    atomic_uint_fast64_t entries; /* now */
    atomic_uint_fast64_t bytes;   /* now */
};

/* Where requests of one loop wait; what is decided for them is taken there. */
struct answer_seat {
    struct dyn_list done;    /* the cache's lock */
    void (*wake)(void *arg); /* under the lock, any thread: only says that there is something to take */
    void *arg;
};

enum answer_outcome {
    ANSWER_PENDING,
    ANSWER_READY,    /* `answer` holds it */
    ANSWER_PROMOTED, /* it leads now: it has to be sent */
    ANSWER_FAILED,   /* as `error` and `error_text` say */
    ANSWER_ABANDONED /* it leads, its client is gone, and now nobody waits any more: it may be cancelled */
};

/* One request that leads or waits. In the object of whoever asks, which stays until the call is over. */
struct answer_call {
    struct dyn_list link; /* lock: in the flight's list of who waits, or in the seat's */
    struct answer_seat *seat;
    struct answer_flight *flight; /* lock; NULL: none (any more) */
    struct answer_key key;
    bool leads;  /* written under the lock */
    bool stores; /* its answer may be kept */
    /* after answer_seat_take() */
    enum answer_outcome outcome;
    dyn_block_t *answer; /* a reference of the call's */
    struct env_usage usage;
    enum err_code error;
    char error_text[ANSWER_ERROR_TEXT_MAX];
};

enum answer_found { ANSWER_HIT, ANSWER_LEADS, ANSWER_WAITS };
struct answer_asking {
    bool reads;          /* may be served from what was kept, and by another's call */
    bool stores;         /* its own answer may be kept */
    uint64_t max_age_us; /* older ones will not do; UINT64_MAX: any */
    uint64_t now_us;
};

/* `counters` outlive it; NULL: nobody wants to know. One reference. */
answer_cache_t *answer_cache_new(const struct answer_limits *limits, struct answer_counters *counters)
    __attribute__((returns_nonnull));
answer_cache_t *answer_cache_ref(answer_cache_t *cache) __attribute__((returns_nonnull));
void answer_cache_unref(answer_cache_t **cache_p); /* no calls are open */
/* Other limits from now on: what is beyond them leaves at once. */
void answer_cache_limit(answer_cache_t *cache, const struct answer_limits *limits);

/* HIT: call->answer and call->usage hold it, and the call is over. Else it is open until answer_call_ended()
 * or answer_call_leave(). `call` comes zeroed, with its seat. */
enum answer_found answer_cache_ask(answer_cache_t *cache, const struct answer_key *key,
                                   const struct answer_asking *asking, struct answer_call *call);
/* The answer of one that leads: kept where it may be, and given to all who wait. A reference is taken. */
void answer_call_succeeded(answer_cache_t *cache, struct answer_call *call, dyn_block_t *answer,
                           const struct env_usage *usage, uint64_t now_us);
void answer_call_failed(answer_cache_t *cache, struct answer_call *call, enum err_code error,
                        struct dyn_slice text);
/* It ended well, and its answer is of no use to others (too long): those that wait go each for itself. */
void answer_call_unfit(answer_cache_t *cache, struct answer_call *call);
/* The client of one that leads is gone. true: nobody else waits for it. Else it goes on, and ABANDONED comes
 * to its seat when the last one leaves. */
bool answer_call_orphaned(answer_cache_t *cache, struct answer_call *call);
/* Nobody waits for its outcome any more, whatever it was about to be. The call is over. */
void answer_call_leave(answer_cache_t *cache, struct answer_call *call);
/* The next that something was decided for, or NULL. */
struct answer_call *answer_seat_take(answer_cache_t *cache, struct answer_seat *seat);
