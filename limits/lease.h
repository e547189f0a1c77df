/* A limit of a whole fleet: `amount` in each window, lent out in small pieces. One owner knows what it
 * gave to whom; each process that limits requests is a holder and takes from its piece without asking.
 * Never more than the amount pass, whatever is lost, repeated, late or dead: what was given and did not
 * come back counts as spent until its window ends. Pieces shrink to 1 near the end, unused ones are asked
 * back when somebody else is out, so that when nobody dies exactly the amount passes.
 *
 * Pure: messages and times come as arguments, the caller carries them. All numbers in a message are sums
 * since the window began, so that losing or repeating one changes nothing. */
#pragma once

#include "limits/bucket.h"

enum {
    LEASE_HOLDERS_MAX = 256,
    LEASE_RENEW_US = 200000,   /* a holder with a piece shows that it lives, and hears that others are out */
    LEASE_REPEAT_US = 100000,  /* an ask without an answer is sent again */
    LEASE_LOST_US = 2000000,   /* without an answer the owner, without an ask the holder counts as lost */
};

struct lease_ask {
    uint64_t holder;   /* random, another one for each life of a process; never 0 */
    uint64_t owner;    /* that the sums are about: the one of the last grant */
    uint64_t sequence; /* grows */
    uint64_t window;   /* that the sums are of */
    uint64_t used;
    uint64_t returned;
    uint64_t wants;    /* at least so many more; 0: none */
    bool is_goodbye;   /* it comes no more */
};

struct lease_grant {
    uint64_t holder;
    uint64_t owner;    /* random, another one for each life of it */
    uint64_t sequence; /* of the ask */
    uint64_t window;
    uint64_t given;    /* since the window began */
    uint64_t left_us;  /* until the window ends, when the ask came */
    uint64_t limit;
    uint32_t holders;  /* how many are known */
    bool is_wanted_back; /* somebody else is out: return what is not used */
    bool may_come;     /* what is out may still come back in this window */
    uint64_t left;     /* what nobody has */
};

/* What a process counts of its leases, as holder and as owner. */
struct lease_counters {
    atomic_uint_fast64_t open;         /* now: limits of which it has a piece, or waits for one */
    atomic_uint_fast64_t granted;      /* pieces that came */
    atomic_uint_fast64_t renewed;      /* answers without a new piece */
    atomic_uint_fast64_t returned;     /* given up in order */
    atomic_uint_fast64_t owner_lost;   /* times that the owner was silent for too long */
    atomic_uint_fast64_t holders_lost; /* of the owner: pieces that count as spent */
};

/* ---- the owner ---- */

struct lease_owner_options {
    uint64_t id;
    uint64_t limit;
    uint64_t period_us;
    /* Says how much may have been given in the window, before it is. Returns 0 when that is safe; -1;
     * LEASE_SAVE_LATER: lease_owner_saved() follows. NULL: an owner that starts anew counts the window that
     * it starts in as spent. */
    int (*save)(void *self, uint64_t window, uint64_t given_up_to);
    void *self;
    /* What was saved last, for an owner with `save`: of that window. */
    uint64_t saved_window;
    uint64_t saved;
};

enum { LEASE_SAVE_LATER = 1 };

struct lease_at {
    uint64_t holder; /* 0: free */
    uint64_t sequence;
    uint64_t given, returned, used; /* of the window */
    uint64_t asked_at_us;
    bool is_told; /* that it is lost */
};

struct lease_owner {
    struct lease_owner_options options;
    uint64_t window;
    uint64_t before; /* may have been given by an owner before, in this window */
    uint64_t saved;  /* safe up to here */
    uint64_t out_until_us; /* somebody is out, by then he will have asked again */
    uint64_t out_holder;
    struct lease_at *holders; /* grows to LEASE_HOLDERS_MAX */
    size_t n_holders;
};

/* `is_first`: there was no owner before, ever; a fleet that is new. */
void lease_owner_init(struct lease_owner *owner, const struct lease_owner_options *options, bool is_first,
                      uint64_t wall_us);
void lease_owner_fini(struct lease_owner *owner);

enum lease_answer {
    LEASE_DROPPED,  /* too late, or of too many holders: there is no answer */
    LEASE_ANSWERED, /* `grant` says it */
    LEASE_UNSAVED,  /* the same again after lease_owner_saved(); until then `grant` gives nothing new */
};
/* Takes an ask, in whatever order. */
enum lease_answer lease_owner_ask(struct lease_owner *owner, const struct lease_ask *ask, uint64_t wall_us,
                                  struct lease_grant *grant);
/* What save() was told of is safe. */
void lease_owner_saved(struct lease_owner *owner, uint64_t window, uint64_t given_up_to);
/* What nobody has been given in the window. */
uint64_t lease_owner_left(const struct lease_owner *owner);
/* A holder that has said nothing for LEASE_LOST_US, and what it may have had open: counts as spent. Once for
 * each; false: there is none more. */
bool lease_owner_next_lost(struct lease_owner *owner, uint64_t wall_us, uint64_t *holder, uint64_t *open);
/* Nothing that was given matters any more: it may be forgotten. */
bool lease_owner_is_idle(const struct lease_owner *owner, uint64_t wall_us);

/* ---- a holder ---- */

enum lease_fallback { LEASE_DENY, LEASE_LOCAL_SHARE };

struct lease_holder {
    uint64_t id;
    enum lease_fallback fallback;
    struct limit_spec spec;  /* of the piece; its `until_us` is the one below */
    struct bucket piece;     /* any thread takes from it */
    atomic_uint_fast64_t until_us;
    struct limit_spec share_spec;
    struct bucket share;     /* while the owner is lost: of the whole limit each counts for all holders */
    atomic_uint holders;     /* how many these were */
    atomic_bool is_lost;
    atomic_uint_fast64_t spent_from; /* so many are not left anywhere in this window: no use in asking */
    atomic_uint_fast64_t left;       /* what nobody had when the owner last said */

    /* one thread, or a lock of the caller's */
    uint64_t period_us;
    uint64_t owner;
    uint64_t window;
    uint64_t given, returned;
    uint64_t last_piece;
    uint64_t sequence, answered;
    uint64_t asked_at_us;    /* of the last ask that waits for its answer; 0: none */
    uint64_t first_asked_at_us; /* of the first that does */
    uint64_t heard_at_us;
    uint64_t wants;
    uint64_t owes; /* used beyond what it had: comes out of the next pieces of the window */
    bool is_wanted_back;
    bool is_leaving;
};

int lease_holder_init(struct lease_holder *holder, uint64_t id, uint64_t limit, uint64_t period_us,
                      enum lease_fallback fallback, struct limits_now now, struct dyn_err *err);

enum lease_verdict {
    LEASE_TAKEN,
    LEASE_REFUSED, /* the fleet has used it up, or the owner is lost: until the window ends */
    LEASE_WAIT,    /* lease_holder_want(), and again after the next grant */
};
/* Any thread; no lock. `take` is filled: give back with bucket_give_back(). */
enum lease_verdict lease_holder_take(struct lease_holder *holder, struct limit_take *take, uint64_t n,
                                     struct limits_now now);
/* The same in two steps, for who takes from several at once: what is taken from, and what to do when that has
 * refused. LEASE_TAKEN: `take` names another bucket now, that of the local share. */
void lease_holder_fill(struct lease_holder *holder, struct limit_take *take, uint64_t n);
enum lease_verdict lease_holder_refused(struct lease_holder *holder, struct limit_take *take,
                                        struct limits_now now);
/* The rest: one thread. Somebody waits for `n`. */
void lease_holder_want(struct lease_holder *holder, uint64_t n);
/* More was used than was taken, and the piece had not got it: what bucket_settle() returns. */
void lease_holder_owe(struct lease_holder *holder, uint64_t n);
/* Nobody uses it now: the next asks return what is not used and say goodbye, until one was answered or
 * somebody wants again. */
void lease_holder_leave(struct lease_holder *holder);
/* It has nothing, waits for nothing, and the owner knows. */
bool lease_holder_is_gone(const struct lease_holder *holder, struct limits_now now);
/* True: `ask` is to be sent now. Called after a want, after a grant, and each LEASE_REPEAT_US. */
bool lease_holder_ask(struct lease_holder *holder, struct limits_now now, struct lease_ask *ask);
/* The owner's answer; those who wait try again. */
void lease_holder_grant(struct lease_holder *holder, const struct lease_grant *grant, struct limits_now now);
/* The last ask: everything that is not used. */
void lease_holder_goodbye(struct lease_holder *holder, struct limits_now now, struct lease_ask *ask);
