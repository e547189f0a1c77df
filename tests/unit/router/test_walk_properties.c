/* What holds of every walk, over thousands of made-up configurations and requests: the targets that are asked
 * are those that an explanation names, in its order, each at most as often as its policy allows; and whoever
 * could be served by a healthy target is served. The router is the real one; its upstreams fail in the ways
 * that a case gives them. Every case is made from a seed that a failure names. */
#include "route_cases.h"

#include "bus/bus_impl.h"
#include "core/buf.h"
#include "router/request.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CASES = 10000, TARGETS_MAX = 6, MODES = ROUTE_MODE_STICKY + 1, TRIES_MAX = 3, START_US = 1000000 };
enum { CALLS_MAX = TARGETS_MAX * (TRIES_MAX + ROUTE_CREDENTIAL_TRIES_MAX) };

enum manner { HEALTHY, BROKEN, UNREACHABLE, LIMITED, UNAUTHORISED, REFUSING, FULL, SILENT, MANNERS };

struct walk;
struct upstream {
    struct walk *walk;
    size_t index;
    bus_actor_t *me;
    enum manner manner;
};

struct walk {
    bus_t *bus;
    bus_loop_t *loop;
    uint64_t now_us;
    struct dyn_clock clock;
    struct router_shared shared;
    struct router *impl;
    bus_addr_t router;
    bus_actor_t *client;
    struct upstream upstreams[TARGETS_MAX];
    bus_addr_t addrs[TARGETS_MAX];
    size_t calls[CALLS_MAX + 1]; /* targets, as they were asked */
    size_t n_calls;
    struct env *end; /* the client's */
    size_t ends;
};

/* ---- actors ---- */

static int
client_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct walk *)self)->client = me;
    return 0;
}

static void
client_receive(void *self, struct env **env_p)
{
    struct walk *walk = self;
    if ((*env_p)->kind == ENV_END) {
        env_free(&walk->end);
        walk->end = *env_p;
        walk->ends++;
        *env_p = NULL;
        return;
    }
    env_free(env_p);
}

static void
nothing(void *self)
{
    (void)self;
}

static const struct bus_actor_ops client_ops = {
    .kind = "client", .start = client_start, .receive = client_receive, .stop = nothing};

static int
upstream_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct upstream *)self)->me = me;
    return 0;
}

static struct env *
answer_of(enum manner manner, const struct env *request)
{
    static const struct {
        enum err_code error;
        uint16_t status;
        uint32_t retry_ms;
    } failures[MANNERS] = {
        [BROKEN] = {ERR_UPSTREAM_ERROR, 500, 0},          [UNREACHABLE] = {ERR_UPSTREAM_UNREACHABLE, 0, 0},
        [LIMITED] = {ERR_UPSTREAM_RATE_LIMIT, 429, 1500}, [UNAUTHORISED] = {ERR_UPSTREAM_AUTH, 401, 0},
        [REFUSING] = {ERR_UPSTREAM_UNAVAILABLE, 0, 700},  [FULL] = {ERR_PROVIDER_SATURATED, 0, 0},
    };
    struct env *end = env_about(ENV_END, request);
    end->outcome = manner == HEALTHY ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    end->error = failures[manner].error;
    end->upstream_status = failures[manner].status;
    end->retry_ms = failures[manner].retry_ms;
    end->upstream_calls = manner != REFUSING && manner != FULL;
    end->status = manner == HEALTHY ? 200 : 0;
    end->body = manner == HEALTHY ? dyn_block_copy(0, DYN_SLICE("{}")) : NULL;
    return end;
}

static void
upstream_receive(void *self, struct env **env_p)
{
    struct upstream *upstream = self;
    struct walk *walk = upstream->walk;
    struct env *end = NULL;
    if ((*env_p)->kind == ENV_REQUEST) {
        assert_in_range(walk->n_calls, 0, CALLS_MAX - 1);
        walk->calls[walk->n_calls++] = upstream->index;
        end = upstream->manner != SILENT ? answer_of(upstream->manner, *env_p) : NULL;
    } else if ((*env_p)->kind == ENV_CANCEL) {
        end = env_about(ENV_END, *env_p);
        end->outcome = ENV_OUTCOME_CANCELLED;
        end->error = ERR_CLIENT_CLOSED;
        end->upstream_calls = 1;
    }
    if (end != NULL) {
        assert_int_equal(bus_send(upstream->me, (*env_p)->from, &end, NULL), 0);
    }
    env_free(env_p);
}

static const struct bus_actor_ops upstream_ops = {
    .kind = "upstream", .start = upstream_start, .receive = upstream_receive, .stop = nothing};

/* ---- the world ---- */

static uint64_t
walk_us(void *self)
{
    return ((struct walk *)self)->now_us;
}

static bus_addr_t
add(struct walk *walk, const struct bus_actor_ops *ops, void *self)
{
    struct dyn_err err;
    bus_addr_t addr = bus_add_actor(walk->bus, walk->loop, ops, self);
    struct bus_actor *actor = bus_find(walk->bus, addr);
    assert_int_equal(actor->ops->start(actor->self, actor, &err), 0);
    return addr;
}

static struct walk *
walk_new(struct route_plan *plan)
{
    struct dyn_err err;
    struct walk *walk = dyn_zalloc(sizeof *walk);
    walk->now_us = START_US;
    walk->clock = (struct dyn_clock){.mono_us = walk_us, .wall_us = walk_us, .self = walk};
    walk->shared.admission.open = true;
    walk->bus = bus_new(NULL, &err);
    walk->loop = bus_add_loop(walk->bus, "walk");
    bus_loop_set_clock(walk->loop, &walk->clock);
    (void)add(walk, &client_ops, walk);
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        walk->upstreams[i] = (struct upstream){.walk = walk, .index = i};
        walk->addrs[i] = add(walk, &upstream_ops, &walk->upstreams[i]);
    }
    struct router_options options = {.plan = plan, .addrs = walk->addrs, .shared = &walk->shared, .seed = 1};
    walk->impl = router_new(&options);
    walk->router = add(walk, &router_actor_ops, walk->impl);
    return walk;
}

static void
walk_free(struct walk *walk)
{
    env_free(&walk->end);
    bus_free(&walk->bus);
    free(walk);
}

/* Until it has its END, whatever time that takes. */
static void
ask(struct walk *walk, enum env_surface surface, struct dyn_slice body)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = surface;
    request->dialect = DYN_SLICE("openai_chat");
    request->trace_id = DYN_SLICE("0123456789abcdef0123456789abcdef");
    request->credit = ENV_WINDOW_FIRST;
    request->body = dyn_block_copy(0, body);
    env_add_header(request, DYN_SLICE("team"), DYN_SLICE("blue"));
    walk->ends = 0;
    walk->n_calls = 0;
    assert_int_equal(bus_send(walk->client, walk->router, &request, NULL), 0);
    for (unsigned turns = 0; walk->ends == 0; turns++) {
        assert_in_range(turns, 0, 1000);
        bus_loop_run_once(walk->loop, 0);
        uint64_t next_us = bus_loop_next_timer_us(walk->loop);
        if (walk->ends == 0 && !bus_loop_has_tasks(walk->loop) && next_us > walk->now_us) {
            walk->now_us = next_us;
        }
    }
    bus_loop_run_once(walk->loop, 0);
}

/* ---- cases ---- */

static struct scene *
make_case(uint64_t seed, struct lists *lists, struct dyn_rng *rng)
{
    dyn_rng_seed(rng, seed);
    struct scene *scene = scene_new((enum route_mode)(seed % MODES), dyn_rng_below(rng, TARGETS_MAX) + 1);
    *lists = (struct lists){.conditions = {{.key = {NULL, 0}}}};
    scene->config.request_timeout_ms = 60000;
    scene->config.max_attempts = (int64_t)dyn_rng_below(rng, TARGETS_MAX) + 1;
    scene->config.retry_budget = (struct route_retry_budget_config){100, 100};
    scene->config.strategy.unpriced = (int)dyn_rng_below(rng, 2); /* all are: `skip` would refuse */
    scene->config.strategy.unpriced = scene->config.strategy.unpriced == ROUTE_UNPRICED_SKIP
                                          ? ROUTE_UNPRICED_ALLOW
                                          : scene->config.strategy.unpriced;
    scene->config.strategy.latency = (int)dyn_rng_below(rng, 3);
    scene->config.strategy.sticky.by = (int)dyn_rng_below(rng, 3);
    scene->config.strategy.sticky.header = DYN_SLICE("team");
    make_rules(scene, lists, rng);
    for (size_t i = 0; i < scene->n; i++) {
        struct route_target *target = &scene->targets[i];
        target->weight = (double)dyn_rng_below(rng, 4);
        target->retry.attempts = (uint32_t)dyn_rng_below(rng, TRIES_MAX) + 1;
        target->retry.base_ms = 100;
        target->retry.max_ms = 1000;
    }
    scene_plan(scene);
    return scene;
}

static void
write_request(struct dyn_rng *rng, struct dyn_buf *body)
{
    static const char *const texts[] = {"hello aab", "x refund", "nothing of that"};
    dyn_buf_addf(body, "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]",
                 dyn_rng_below(rng, 2) ? "m" : "other", texts[dyn_rng_below(rng, DYN_ARRAY_LEN(texts))]);
    if (dyn_rng_below(rng, 2) == 0) {
        dyn_buf_addf(body, ",\"user\":\"eve\"");
    }
    if (dyn_rng_below(rng, 4) == 0) {
        dyn_buf_addf(body, ",\"metadata\":{\"tier\":\"gold\"}");
    }
    dyn_buf_addf(body, "}");
}

/* ---- what holds ---- */

struct told {
    size_t order[TARGETS_MAX];
    size_t n;
};

/* "order":["t1","t0"] of an explanation. */
static struct told
read_order(struct dyn_slice explanation)
{
    static const char member[] = "\"order\":[";
    struct told told = {.n = 0};
    char *text = dyn_strndup(explanation.data, explanation.len);
    const char *at = strstr(text, member);
    assert_non_null(at);
    for (at += sizeof member - 1; *at == '"' || *at == ','; at++) {
        if (*at == '"') {
            assert_int_equal(at[1], 't');
            told.order[told.n++] = (size_t)(at[2] - '0');
            at += 3; /* the closing quote */
        }
    }
    assert_int_equal(*at, ']');
    free(text);
    return told;
}

static const char *broken; /* what did not hold, in the case at hand */

static void
hold(bool does, const char *what)
{
    broken = does || broken != NULL ? broken : what;
}

static size_t
tries_at(const struct walk *walk, size_t from)
{
    size_t n = 1;
    while (from + n < walk->n_calls && walk->calls[from + n] == walk->calls[from]) {
        n++;
    }
    return n;
}

/* Who was asked, in the order in which they were: the beginning of what was told. */
static size_t
check_order(const struct walk *walk, const struct scene *scene, const struct told *told)
{
    size_t targets = 0;
    for (size_t i = 0; i < walk->n_calls && broken == NULL;) {
        size_t target = walk->calls[i];
        size_t tries = tries_at(walk, i);
        hold(targets < told->n && told->order[targets] == target, "what is explained is what is walked");
        hold(tries <= scene->targets[target].retry.attempts,
             "nobody is asked more often than its policy says");
        hold(walk->upstreams[target].manner != HEALTHY || (tries == 1 && i + 1 == walk->n_calls),
             "who answers is asked once, and nobody behind it");
        i += tries;
        targets++;
    }
    return targets;
}

static void
check_answer(const struct walk *walk, const struct scene *scene, const struct told *told, size_t asked)
{
    bool is_named = scene->decision.asked.is_named;
    size_t budget = (size_t)scene->config.max_attempts;
    size_t used = 0; /* who refuses was not tried */
    size_t healthy = 0;
    while (healthy < told->n && walk->upstreams[told->order[healthy]].manner != HEALTHY) {
        enum manner manner = walk->upstreams[told->order[healthy++]].manner;
        used += manner != REFUSING && manner != FULL;
    }
    bool is_first = healthy == 0;
    bool can_be = healthy < told->n && used < budget && (is_first || !is_named);
    hold(walk->ends == 1, "it ends once");
    hold(!can_be || walk->end->outcome == ENV_OUTCOME_OK, "who can be served is served");
    hold(healthy < told->n || walk->end->outcome == ENV_OUTCOME_ERROR, "who can't is told so");
    hold(told->n > 0 || asked == 0, "where nobody is named nobody is asked");
    hold(is_named || can_be || asked >= (told->n < budget ? told->n : budget), "all are tried in vain");
}

static bool
walk_case(struct walk *walk, uint64_t seed)
{
    struct lists lists;
    struct dyn_rng rng;
    struct dyn_buf request = DYN_BUF_INIT;
    struct dyn_buf question = DYN_BUF_INIT;
    struct scene *scene = make_case(seed, &lists, &rng);
    for (size_t i = 0; i < scene->n; i++) {
        walk->upstreams[i].manner = (enum manner)dyn_rng_below(&rng, MANNERS);
    }
    router_apply(walk->impl, scene->plan, walk->addrs);
    write_request(&rng, &request);
    dyn_buf_addf(&question, "{\"request\":%s}", dyn_buf_cstr(&request));
    dyn_rng_seed(&walk->impl->rng, seed);
    ask(walk, ENV_SURFACE_EXPLAIN, dyn_buf_slice(&question));
    hold(walk->n_calls == 0, "an explanation calls nobody");
    struct told told = read_order(dyn_block_slice(walk->end->body));
    dyn_rng_seed(&walk->impl->rng, seed);
    ask(walk, ENV_SURFACE_CHAT, dyn_buf_slice(&request));
    scene->decision.asked.is_named = scene->config.strategy.mode == ROUTE_MODE_SINGLE ||
                                     scene->config.strategy.mode == ROUTE_MODE_CONDITIONAL ||
                                     scene->config.strategy.mode == ROUTE_MODE_CONTENT_BASED;
    check_answer(walk, scene, &told, check_order(walk, scene, &told));
    bool is_served = walk->end->outcome == ENV_OUTCOME_OK;
    dyn_buf_fini(&request);
    dyn_buf_fini(&question);
    scene_free(scene);
    return is_served;
}

static void
ten_thousand_walks(void **state)
{
    (void)state;
    size_t served = 0;
    struct scene *first = scene_new(ROUTE_MODE_FALLBACK, 1);
    scene_plan(first);
    struct walk *walk = walk_new(first->plan);
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        broken = NULL;
        served += walk_case(walk, seed);
        if (broken != NULL) {
            fail_msg("seed %llu: does not hold: %s", (unsigned long long)seed, broken);
        }
    }
    assert_in_range(served, CASES / 8, CASES / 2); /* the cases are of both kinds */
    walk_free(walk);
    scene_free(first);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
