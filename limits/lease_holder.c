/* See lease.h. A piece is used until the time that its window ends at the latest: counted from when the
 * ask was sent, which is before the owner looked at its clock. */
#include "limits/lease.h"

int
lease_holder_init(struct lease_holder *holder, uint64_t id, uint64_t limit, uint64_t period_us,
                  enum lease_fallback fallback, struct limits_now now, struct dyn_err *err)
{
    *holder = (struct lease_holder){.id = id, .fallback = fallback, .period_us = period_us};
    if (limit_spec_init(&holder->spec, LIMIT_ALLOWANCE, limit, period_us, 0, err) < 0 ||
        limit_spec_init(&holder->share_spec, LIMIT_WINDOW, limit, period_us, 0, err) < 0) {
        return -1;
    }
    holder->spec.until_us = &holder->until_us;
    atomic_store(&holder->holders, 1);
    bucket_init(&holder->piece, &holder->spec, now);
    bucket_init(&holder->share, &holder->share_spec, now);
    atomic_store(&holder->spent_from, UINT64_MAX);
    holder->heard_at_us = now.mono_us;
    return 0;
}

static uint64_t
unused(const struct lease_holder *holder, struct limits_now now)
{
    return bucket_look(&holder->piece, &holder->spec, 0, now).left;
}

void
lease_holder_fill(struct lease_holder *holder, struct limit_take *take, uint64_t n)
{
    *take = (struct limit_take){.bucket = &holder->piece, .spec = &holder->spec, .n = n};
}

enum lease_verdict
lease_holder_refused(struct lease_holder *holder, struct limit_take *take, struct limits_now now)
{
    if (take->bucket == &holder->share || take->n > holder->spec.amount) {
        return LEASE_REFUSED;
    }
    if (atomic_load_explicit(&holder->is_lost, memory_order_relaxed)) {
        if (holder->fallback == LEASE_DENY) {
            return LEASE_REFUSED;
        }
        take->bucket = &holder->share;
        take->spec = &holder->share_spec;
        take->n *= atomic_load_explicit(&holder->holders, memory_order_relaxed);
        return LEASE_TAKEN;
    }
    bool is_now = now.mono_us < atomic_load_explicit(&holder->until_us, memory_order_acquire);
    uint64_t spent_from = atomic_load_explicit(&holder->spent_from, memory_order_relaxed);
    return is_now && take->n >= spent_from ? LEASE_REFUSED : LEASE_WAIT;
}

enum lease_verdict
lease_holder_take(struct lease_holder *holder, struct limit_take *take, uint64_t n, struct limits_now now)
{
    enum lease_verdict verdict = LEASE_TAKEN;
    lease_holder_fill(holder, take, n);
    while (verdict == LEASE_TAKEN && !bucket_take(take, now)) {
        verdict = lease_holder_refused(holder, take, now);
    }
    return verdict;
}

void
lease_holder_want(struct lease_holder *holder, uint64_t n)
{
    holder->wants = n > holder->wants ? n : holder->wants;
    holder->is_leaving = false;
}

void
lease_holder_owe(struct lease_holder *holder, uint64_t n)
{
    holder->owes += n;
}

void
lease_holder_leave(struct lease_holder *holder)
{
    holder->is_leaving = true;
}

static bool
is_current(const struct lease_holder *holder, struct limits_now now)
{
    return now.mono_us < atomic_load_explicit(&holder->until_us, memory_order_relaxed);
}

bool
lease_holder_is_gone(const struct lease_holder *holder, struct limits_now now)
{
    bool is_empty = !is_current(holder, now) || unused(holder, now) == 0;
    return holder->is_leaving && is_empty && holder->wants == 0 && holder->first_asked_at_us == 0;
}

static bool
is_spent(const struct lease_holder *holder)
{
    return atomic_load_explicit(&holder->spent_from, memory_order_relaxed) <= 1;
}

/* Somebody waits, half of the piece is used, others are out, or it is time to be heard of. */
static bool
is_due(const struct lease_holder *holder, struct limits_now now)
{
    if (holder->asked_at_us != 0) {
        return now.mono_us - holder->asked_at_us >= LEASE_REPEAT_US;
    }
    uint64_t left = unused(holder, now);
    bool is_low = is_current(holder, now) && holder->last_piece > 1 && left < holder->last_piece / 2;
    bool is_time = now.mono_us - holder->heard_at_us >= LEASE_RENEW_US;
    return holder->wants != 0 || (is_low && !is_spent(holder)) || (holder->is_wanted_back && left != 0) ||
           is_time;
}

/* What it owes goes off the next piece first. */
static uint64_t
most_wanted(const struct lease_holder *holder)
{
    uint64_t sum = holder->wants + holder->owes, most = holder->spec.amount;
    return holder->wants == 0 ? 0 : sum < holder->wants || sum > most ? most : sum;
}

static void
fill_ask(struct lease_holder *holder, struct limits_now now, struct lease_ask *ask)
{
    uint64_t left = is_current(holder, now) ? unused(holder, now) : 0, net = holder->given - holder->returned;
    *ask = (struct lease_ask){
        .holder = holder->id,
        .owner = holder->owner,
        .sequence = ++holder->sequence,
        .window = holder->window,
        .used = net > left ? net - left : 0,
        .returned = holder->returned,
        .wants = most_wanted(holder),
        .is_goodbye = holder->is_leaving,
    };
    holder->asked_at_us = now.mono_us;
    if (holder->first_asked_at_us == 0) {
        holder->first_asked_at_us = now.mono_us;
    }
}

/* What leaves here does not come back, whether or not the owner hears of it in this ask. */
static void
return_unused(struct lease_holder *holder, struct limits_now now)
{
    if (is_current(holder, now)) {
        uint64_t unused_now = bucket_allowance_remove(&holder->piece, UINT64_MAX);
        uint64_t net = holder->given - holder->returned; /* less when some of it came from an owner before */
        holder->returned += unused_now < net ? unused_now : net;
    }
    holder->is_wanted_back = false;
}

bool
lease_holder_ask(struct lease_holder *holder, struct limits_now now, struct lease_ask *ask)
{
    uint64_t silent_since =
        holder->first_asked_at_us > holder->heard_at_us ? holder->first_asked_at_us : holder->heard_at_us;
    if (holder->first_asked_at_us != 0 && now.mono_us - silent_since >= LEASE_LOST_US) {
        atomic_store_explicit(&holder->is_lost, true, memory_order_relaxed);
    }
    if (!is_due(holder, now)) {
        return false;
    }
    if ((holder->is_wanted_back || holder->is_leaving) && holder->wants == 0) {
        return_unused(holder, now);
    } else if (holder->wants == 0 && holder->last_piece > 1 && unused(holder, now) < holder->last_piece / 2 &&
               is_current(holder, now) && !is_spent(holder)) {
        holder->wants = 1; /* before anybody has to wait */
    }
    fill_ask(holder, now, ask);
    return true;
}

static void
begin_window(struct lease_holder *holder, uint64_t window)
{
    (void)bucket_allowance_begin(&holder->piece);
    holder->window = window;
    holder->given = holder->returned = holder->last_piece = 0;
    holder->owes = 0; /* of a window that is over */
    holder->is_wanted_back = false;
}

static void
add_piece(struct lease_holder *holder, uint64_t more)
{
    holder->given += more;
    bucket_allowance_add(&holder->piece, more);
    holder->last_piece = more != 0 ? more : holder->last_piece;
    if (holder->owes != 0) {
        holder->owes -= bucket_allowance_remove(&holder->piece, holder->owes);
    }
}

void
lease_holder_grant(struct lease_holder *holder, const struct lease_grant *grant, struct limits_now now)
{
    if (grant->holder != holder->id || grant->sequence <= holder->answered ||
        grant->sequence > holder->sequence) {
        return;
    }
    uint64_t asked_at_us = holder->first_asked_at_us; /* at the earliest */
    holder->answered = grant->sequence;
    holder->heard_at_us = now.mono_us;
    atomic_store_explicit(&holder->is_lost, false, memory_order_relaxed);
    if (grant->sequence == holder->sequence) {
        asked_at_us = holder->asked_at_us;
        holder->asked_at_us = holder->first_asked_at_us = 0;
    }
    if (grant->window < holder->window) {
        return; /* of an owner whose clock is behind; or late */
    }
    if (grant->window > holder->window) {
        begin_window(holder, grant->window);
    }
    if (grant->owner != holder->owner) { /* its sums begin anew; what is in the piece it counts as spent */
        holder->owner = grant->owner;
        holder->given = holder->returned = 0;
    }
    atomic_store_explicit(&holder->until_us, asked_at_us + grant->left_us, memory_order_release);
    uint64_t more = grant->given > holder->given ? grant->given - holder->given : 0;
    bool is_out = holder->wants != 0 && more == 0 && !grant->may_come;
    atomic_store_explicit(&holder->spent_from, is_out ? holder->wants : UINT64_MAX, memory_order_relaxed);
    atomic_store_explicit(&holder->left, grant->left, memory_order_relaxed);
    add_piece(holder, more);
    holder->is_wanted_back = grant->is_wanted_back;
    holder->wants = 0; /* who still waits says so again */
    atomic_store_explicit(&holder->holders, grant->holders == 0 ? 1 : grant->holders, memory_order_relaxed);
}

void
lease_holder_goodbye(struct lease_holder *holder, struct limits_now now, struct lease_ask *ask)
{
    return_unused(holder, now);
    holder->wants = 0;
    holder->is_leaving = true;
    fill_ask(holder, now, ask);
}
