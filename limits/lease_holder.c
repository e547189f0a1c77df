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
    holder->heard_at_us = now.mono_us;
    return 0;
}

static uint64_t
unused(const struct lease_holder *holder, struct limits_now now)
{
    return bucket_look(&holder->piece, &holder->spec, 0, now).left;
}

static enum lease_verdict
take_share(struct lease_holder *holder, struct limit_take *take, uint64_t n, struct limits_now now)
{
    if (holder->fallback == LEASE_DENY) {
        return LEASE_REFUSED;
    }
    uint64_t holders = atomic_load_explicit(&holder->holders, memory_order_relaxed);
    *take = (struct limit_take){.bucket = &holder->share, .spec = &holder->share_spec, .n = n * holders};
    return bucket_take(take, now) ? LEASE_TAKEN : LEASE_REFUSED;
}

enum lease_verdict
lease_holder_take(struct lease_holder *holder, struct limit_take *take, uint64_t n, struct limits_now now)
{
    *take = (struct limit_take){.bucket = &holder->piece, .spec = &holder->spec, .n = n};
    if (bucket_take(take, now)) {
        return LEASE_TAKEN;
    }
    if (n > holder->spec.amount) {
        return LEASE_REFUSED;
    }
    if (atomic_load_explicit(&holder->is_lost, memory_order_relaxed)) {
        return take_share(holder, take, n, now);
    }
    bool is_now = now.mono_us < atomic_load_explicit(&holder->until_us, memory_order_acquire);
    bool is_spent = is_now && atomic_load_explicit(&holder->is_spent, memory_order_relaxed);
    return is_spent ? LEASE_REFUSED : LEASE_WAIT;
}

void
lease_holder_want(struct lease_holder *holder, uint64_t n)
{
    holder->wants = n > holder->wants ? n : holder->wants;
}

static bool
is_current(const struct lease_holder *holder, struct limits_now now)
{
    return now.mono_us < atomic_load_explicit(&holder->until_us, memory_order_relaxed);
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
    return holder->wants != 0 || (is_low && !atomic_load(&holder->is_spent)) ||
           (holder->is_wanted_back && left != 0) || is_time;
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
        .wants = holder->wants,
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
    if (holder->is_wanted_back && holder->wants == 0) {
        return_unused(holder, now);
    } else if (holder->wants == 0 && holder->last_piece > 1 && unused(holder, now) < holder->last_piece / 2 &&
               is_current(holder, now) && !atomic_load(&holder->is_spent)) {
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
    holder->is_wanted_back = false;
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
    holder->given += more;
    bucket_allowance_add(&holder->piece, more);
    holder->last_piece = more != 0 ? more : holder->last_piece;
    bool is_out = holder->wants != 0 && more == 0;
    atomic_store_explicit(&holder->is_spent, is_out && !grant->may_come, memory_order_relaxed);
    holder->is_wanted_back = grant->is_wanted_back;
    holder->wants = 0; /* who still waits says so again */
    atomic_store_explicit(&holder->holders, grant->holders == 0 ? 1 : grant->holders, memory_order_relaxed);
}

void
lease_holder_goodbye(struct lease_holder *holder, struct limits_now now, struct lease_ask *ask)
{
    return_unused(holder, now);
    holder->wants = 0;
    fill_ask(holder, now, ask);
    ask->is_goodbye = true;
}
