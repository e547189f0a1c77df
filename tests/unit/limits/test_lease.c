/* One limit over a fleet: 4 edges send requests to 2 routers, which hold leases of one owner. Messages are
 * late, lost, doubled and out of order; routers and the owner are killed, stopped in order, cut off. Time is
 * simulated: the same seed is the same run. */
#include "core/rand.h"
#include "limits/lease.h"
#include "tests/unit/limits/limits_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { EDGES = 4, ROUTERS = 2, LIMIT = 1000, WINDOWS = 3, EVENTS_MAX = 64, WAITING_MAX = 4096 };
#define WINDOW_US   (10 * SECOND_US)
#define BEGIN_US    (1000 * WINDOW_US)
#define STEP_US     1000 /* an edge sends a request each few of them */
#define PATIENCE_US 500000

enum fault {
    CALM,
    ONE_SIDED,
    LOSSY,
    ROUTER_KILLED,
    ROUTER_STOPPED,
    OWNER_KILLED,
    OWNER_FORGETS,
    CUT_OFF,
    FAULTS
};
static const char *const fault_names[FAULTS] = {"calm",          "one router asked", "lossy",
                                                "router killed", "router stopped",   "owner killed",
                                                "owner forgets", "cut off"};

struct message {
    uint64_t at_us; /* arrives; 0: nothing here */
    bool is_ask;
    unsigned router;
    struct lease_ask ask;
    struct lease_grant grant;
};

struct fleet {
    enum fault fault;
    struct dyn_rng rng;
    uint64_t now_us;
    struct message messages[EVENTS_MAX];
    struct lease_owner owner;
    bool owner_is_up;
    struct lease_holder holders[ROUTERS];
    bool is_up[ROUTERS], is_cut[ROUTERS];
    uint64_t waiting[ROUTERS][WAITING_MAX]; /* until when each waits */
    size_t n_waiting[ROUTERS];
    uint64_t used[ROUTERS]; /* of the window, by the holder's life */
    uint64_t passed[WINDOWS + 1], asked[WINDOWS + 1];
    uint64_t open_at_death; /* given to who died, and not used */
    uint64_t saved_window, saved;
};

static struct limits_now
now_of(const struct fleet *fleet)
{
    return at_us(fleet->now_us);
}

static size_t
window_of(const struct fleet *fleet)
{
    size_t window = (fleet->now_us - BEGIN_US) / WINDOW_US;
    return window < WINDOWS ? window : WINDOWS;
}

static int
save(void *self, uint64_t window, uint64_t given)
{
    struct fleet *fleet = self;
    fleet->saved_window = window;
    fleet->saved = given;
    return 0;
}

static void
owner_starts(struct fleet *fleet, bool is_first)
{
    struct lease_owner_options options = {.id = 1 + dyn_rng_below(&fleet->rng, UINT64_MAX - 1),
                                          .limit = LIMIT,
                                          .period_us = WINDOW_US,
                                          .save = fleet->fault == OWNER_FORGETS ? NULL : save,
                                          .self = fleet,
                                          .saved_window = fleet->saved_window,
                                          .saved = fleet->saved};
    lease_owner_fini(&fleet->owner);
    lease_owner_init(&fleet->owner, &options, is_first, fleet->now_us);
    fleet->owner_is_up = true;
}

static void
router_starts(struct fleet *fleet, unsigned router, enum lease_fallback fallback)
{
    uint64_t id = 1 + dyn_rng_below(&fleet->rng, UINT64_MAX - 1);
    struct dyn_err err;
    DYN_ASSERT(
        lease_holder_init(&fleet->holders[router], id, LIMIT, WINDOW_US, fallback, now_of(fleet), &err) == 0);
    fleet->is_up[router] = true;
    fleet->n_waiting[router] = 0;
    fleet->used[router] = 0;
}

static void
deliver_later(struct fleet *fleet, const struct message *message)
{
    uint64_t copies = 1;
    if (fleet->fault == LOSSY) {
        uint64_t draw = dyn_rng_below(&fleet->rng, 20);
        copies = draw == 0 ? 0 : draw == 1 ? 2 : 1;
    }
    for (size_t i = 0; copies > 0; i++) {
        DYN_ASSERT(i < EVENTS_MAX);
        if (fleet->messages[i].at_us == 0) {
            uint64_t slow_us = fleet->fault == LOSSY ? 150000 : 5000;
            fleet->messages[i] = *message;
            fleet->messages[i].at_us = fleet->now_us + 100 + dyn_rng_below(&fleet->rng, slow_us);
            copies--;
        }
    }
}

static void
let_ask(struct fleet *fleet, unsigned router)
{
    struct message message = {.is_ask = true, .router = router};
    if (lease_holder_ask(&fleet->holders[router], now_of(fleet), &message.ask) && !fleet->is_cut[router]) {
        deliver_later(fleet, &message);
    }
}

static void
pass(struct fleet *fleet, unsigned router)
{
    fleet->passed[window_of(fleet)]++;
    fleet->used[router]++;
}

/* Some requests are refused by something else after they were taken: they give back. */
static enum lease_verdict
try_one(struct fleet *fleet, unsigned router)
{
    struct limit_take take;
    enum lease_verdict verdict = lease_holder_take(&fleet->holders[router], &take, 1, now_of(fleet));
    if (verdict == LEASE_TAKEN && dyn_rng_below(&fleet->rng, 20) == 0) {
        struct hands hands = {fleet->now_us};
        struct dyn_clock clock = clock_of(&hands);
        bucket_give_back(&take, &clock);
        return LEASE_REFUSED;
    }
    if (verdict == LEASE_TAKEN) {
        pass(fleet, router);
    } else if (verdict == LEASE_WAIT) {
        lease_holder_want(&fleet->holders[router], 1);
    }
    return verdict;
}

static void
request(struct fleet *fleet, unsigned router)
{
    if (!fleet->is_up[router]) {
        router = (router + 1) % ROUTERS; /* the edge finds another */
    }
    if (!fleet->is_up[router]) {
        return;
    }
    fleet->asked[window_of(fleet)]++;
    if (try_one(fleet, router) == LEASE_WAIT && fleet->n_waiting[router] < WAITING_MAX) {
        fleet->waiting[router][fleet->n_waiting[router]++] = fleet->now_us + PATIENCE_US;
    }
}

static void
retry_waiting(struct fleet *fleet, unsigned router)
{
    size_t n = fleet->n_waiting[router];
    fleet->n_waiting[router] = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t until = fleet->waiting[router][i];
        if (fleet->now_us < until && try_one(fleet, router) == LEASE_WAIT) {
            fleet->waiting[router][fleet->n_waiting[router]++] = until;
        }
    }
}

static void
deliver(struct fleet *fleet, const struct message *message)
{
    unsigned router = message->router;
    if (message->is_ask) {
        struct message answer = {.router = router};
        if (fleet->owner_is_up &&
            lease_owner_ask(&fleet->owner, &message->ask, fleet->now_us, &answer.grant) == LEASE_ANSWERED) {
            deliver_later(fleet, &answer);
        }
    } else if (fleet->is_up[router] && !fleet->is_cut[router]) {
        uint64_t window = fleet->holders[router].window;
        lease_holder_grant(&fleet->holders[router], &message->grant, now_of(fleet));
        fleet->used[router] = fleet->holders[router].window == window ? fleet->used[router] : 0;
        retry_waiting(fleet, router);
    }
}

static void
router_dies(struct fleet *fleet, unsigned router)
{
    const struct lease_holder *holder = &fleet->holders[router];
    for (size_t i = 0; i < fleet->owner.n_holders; i++) {
        const struct lease_at *at = &fleet->owner.holders[i];
        if (at->holder == holder->id && fleet->owner.window == holder->window) {
            fleet->open_at_death = at->given - at->returned - fleet->used[router];
        }
    }
    fleet->is_up[router] = false;
}

static void
do_fault(struct fleet *fleet)
{
    struct message goodbye = {.is_ask = true, .router = 1};
    if (fleet->fault == ROUTER_KILLED) {
        router_dies(fleet, 1);
    } else if (fleet->fault == ROUTER_STOPPED) {
        lease_holder_goodbye(&fleet->holders[1], now_of(fleet), &goodbye.ask);
        deliver_later(fleet, &goodbye);
        fleet->is_up[1] = false;
    } else if (fleet->fault == OWNER_KILLED || fleet->fault == OWNER_FORGETS) {
        fleet->owner_is_up = false;
    } else if (fleet->fault == CUT_OFF) {
        fleet->is_cut[1] = true;
    }
}

static void
undo_fault(struct fleet *fleet)
{
    if (!fleet->owner_is_up) {
        owner_starts(fleet, false);
    }
    if (!fleet->is_up[1]) {
        router_starts(fleet, 1, LEASE_DENY);
    }
    fleet->is_cut[1] = false;
}

static void
run(struct fleet *fleet, enum fault fault, uint64_t seed, enum lease_fallback fallback)
{
    *fleet = (struct fleet){.fault = fault, .now_us = BEGIN_US};
    dyn_rng_seed(&fleet->rng, seed);
    owner_starts(fleet, true);
    for (unsigned router = 0; router < ROUTERS; router++) {
        router_starts(fleet, router, fallback);
    }
    /* in the first window, before the limit is reached */
    uint64_t fault_at = BEGIN_US + SECOND_US / 2 + dyn_rng_below(&fleet->rng, SECOND_US);
    uint64_t over_at = fault_at + SECOND_US / 2 + dyn_rng_below(&fleet->rng, 12 * SECOND_US);
    for (; fleet->now_us < BEGIN_US + WINDOWS * WINDOW_US; fleet->now_us += STEP_US) {
        for (size_t i = 0; i < EVENTS_MAX; i++) {
            if (fleet->messages[i].at_us != 0 && fleet->messages[i].at_us <= fleet->now_us) {
                struct message message = fleet->messages[i];
                fleet->messages[i].at_us = 0;
                deliver(fleet, &message);
            }
        }
        for (unsigned edge = 0; edge < EDGES; edge++) {
            if (dyn_rng_below(&fleet->rng, 10) == 0) {
                request(fleet, fault == ONE_SIDED ? 0 : (unsigned)dyn_rng_below(&fleet->rng, ROUTERS));
            }
        }
        for (unsigned router = 0; router < ROUTERS; router++) {
            if (fleet->is_up[router]) {
                let_ask(fleet, router);
            }
        }
        if (fleet->now_us / STEP_US == fault_at / STEP_US) {
            do_fault(fleet);
        } else if (fleet->now_us / STEP_US == over_at / STEP_US) {
            undo_fault(fleet);
        }
    }
    lease_owner_fini(&fleet->owner);
}

/* What the fault leaves of the first window at least. */
static uint64_t
least(const struct fleet *fleet, size_t window)
{
    bool is_exact = fleet->fault == CALM || fleet->fault == ONE_SIDED || fleet->fault == LOSSY ||
                    fleet->fault == ROUTER_STOPPED;
    if (is_exact) {
        return LIMIT;
    }
    if (fleet->fault == ROUTER_KILLED) {
        return window == 0 ? LIMIT - fleet->open_at_death : LIMIT;
    }
    return window == WINDOWS - 1 ? LIMIT : 0; /* the last one has nothing of it left */
}

static void
a_fleet_passes_exactly_the_limit(void **state)
{
    (void)state;
    static struct fleet fleet;
    printf("%-18s %8s %22s %12s %12s   (limit %d in each window, %d seeds)\n", "fault", "asked",
           "passed, windows 1 2 3", "open lease", "never above", LIMIT, SEEDS);
    for (int fault = CALM; fault < FAULTS; fault++) {
        uint64_t fewest[WINDOWS] = {LIMIT, LIMIT, LIMIT}, most = 0, open = 0, asked = UINT64_MAX;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            run(&fleet, (enum fault)fault, seed, LEASE_DENY);
            for (size_t w = 0; w < WINDOWS; w++) {
                if (fleet.passed[w] > LIMIT || fleet.passed[w] < least(&fleet, w)) {
                    fail_msg("%s, seed %llu, window %zu: %llu passed", fault_names[fault],
                             (unsigned long long)seed, w + 1, (unsigned long long)fleet.passed[w]);
                }
                fewest[w] = fleet.passed[w] < fewest[w] ? fleet.passed[w] : fewest[w];
                most = fleet.passed[w] > most ? fleet.passed[w] : most;
                asked = fleet.asked[w] < asked ? fleet.asked[w] : asked;
            }
            open = fleet.open_at_death > open ? fleet.open_at_death : open;
        }
        printf("%-18s %8llu       %4llu  %4llu  %4llu %12llu %12llu\n", fault_names[fault],
               (unsigned long long)asked, (unsigned long long)fewest[0], (unsigned long long)fewest[1],
               (unsigned long long)fewest[2], (unsigned long long)open, (unsigned long long)most);
    }
}

/* Who is configured to go on does so with his share: never more than the limit and one share. */
static void
without_its_owner_a_holder_goes_on_with_its_share(void **state)
{
    (void)state;
    static struct fleet fleet;
    uint64_t fewest = UINT64_MAX, most = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run(&fleet, CUT_OFF, seed, LEASE_LOCAL_SHARE);
        for (size_t w = 0; w < WINDOWS; w++) {
            assert_true(fleet.passed[w] <= LIMIT + LIMIT / ROUTERS);
            fewest = fleet.passed[w] < fewest ? fleet.passed[w] : fewest;
            most = fleet.passed[w] > most ? fleet.passed[w] : most;
        }
    }
    assert_true(fewest >= LIMIT - 1); /* all that the owner has, by the router that reaches it */
    printf("local share: %llu to %llu passed\n", (unsigned long long)fewest, (unsigned long long)most);
}

static void
pieces_shrink_to_one(void **state)
{
    (void)state;
    static struct lease_owner owner;
    struct lease_owner_options options = {.id = 7, .limit = 64, .period_us = WINDOW_US};
    struct lease_grant grant;
    lease_owner_init(&owner, &options, true, BEGIN_US);
    uint64_t before = 0, piece = UINT64_MAX, sequence = 0;
    struct lease_ask other = {.holder = 2, .sequence = 1};
    assert_true(lease_owner_ask(&owner, &other, BEGIN_US, &grant));
    while (lease_owner_left(&owner) > 0) {
        struct lease_ask ask = {.holder = 1,
                                .owner = 7,
                                .window = grant.window,
                                .sequence = ++sequence,
                                .wants = 1,
                                .used = before};
        assert_true(lease_owner_ask(&owner, &ask, BEGIN_US, &grant));
        assert_true(grant.given - before <= piece);
        piece = grant.given - before;
        before = grant.given;
    }
    assert_int_equal(piece, 1);
    assert_int_equal(before, 64);
    struct lease_ask again = {.holder = 1, .sequence = sequence, .wants = 5}; /* repeated: nothing changes */
    assert_true(lease_owner_ask(&owner, &again, BEGIN_US, &grant));
    assert_int_equal(grant.given, 64);
    struct lease_ask old = {.holder = 1, .sequence = sequence - 1, .wants = 5};
    assert_false(lease_owner_ask(&owner, &old, BEGIN_US, &grant));
    lease_owner_fini(&owner);
}

static void
an_owner_without_memory_counts_its_window_as_spent(void **state)
{
    (void)state;
    static struct lease_owner owner;
    struct lease_owner_options options = {.id = 7, .limit = 64, .period_us = WINDOW_US};
    lease_owner_init(&owner, &options, false, BEGIN_US);
    assert_int_equal(lease_owner_left(&owner), 0);
    struct lease_ask ask = {.holder = 1, .sequence = 1, .wants = 1};
    struct lease_grant grant;
    assert_true(lease_owner_ask(&owner, &ask, BEGIN_US + WINDOW_US - 1, &grant));
    assert_int_equal(grant.given, 0);
    assert_false(grant.may_come);
    assert_int_equal(grant.left_us, 1);
    ask.sequence = 2;
    assert_true(lease_owner_ask(&owner, &ask, BEGIN_US + WINDOW_US, &grant));
    assert_int_equal(grant.given, 16);
    lease_owner_fini(&owner);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_shrink_to_one),
        cmocka_unit_test(an_owner_without_memory_counts_its_window_as_spent),
        cmocka_unit_test(a_fleet_passes_exactly_the_limit),
        cmocka_unit_test(without_its_owner_a_holder_goes_on_with_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
