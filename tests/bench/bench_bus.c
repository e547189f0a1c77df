/* What a hop costs over each wire: two actors throw envelopes to each other, one at a time (the loops
 * sleep in between: latency) or 64 at a time (throughput). Wall time and CPU of the process, each per hop.
 * Between processes the two are in two buses, one with a port, one with a link, and CPU is that of both,
 * libzmq's threads included. Then what the loop's own tools cost. Prints figures; nothing passes or fails
 * by time. */
#include "bus/cert.h"
#include "bus/remote.h"
#include "core/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WINDOW = 64, LOADED_HOPS = 400000, IDLE_HOPS = 20000, TOOL_ROUNDS = 1000000 };

struct bench {
    const char *name;
    bool inproc, two_loops;
};

struct thrower {
    struct table *table;
    bus_actor_t *me;
    unsigned throws; /* at start */
};

struct table {
    bus_t *bus;
    struct thrower a, b;
    bus_addr_t addr_a, addr_b;
    enum env_kind kind;
    size_t body_bytes;
    uint32_t hops_left; /* a's: it sees every second hop */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
};

static uint64_t
cpu_us(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* As a router sends them: the fields that a real one has. */
static struct env *
realistic(enum env_kind kind, size_t body_bytes)
{
    struct env *env = env_new(kind);
    env->id = env_id_random();
    env->attempt = 1;
    env->credit = kind == ENV_CREDIT ? 16384 : 0;
    if (kind == ENV_REQUEST) {
        env->surface = ENV_SURFACE_CHAT;
        env->dialect = env_copy(env, DYN_SLICE("openai_chat"));
        env->model = env_copy(env, DYN_SLICE("gpt-4o-mini"));
        env->target = env_copy(env, DYN_SLICE("openai"));
        env->trace_id = env_copy(env, DYN_SLICE("4bf92f3577b34da6a3ce929d0e0e4736"));
        env->deadline_ms = 30000;
        env->credit = ENV_WINDOW_FIRST;
        env->stream = true;
    }
    if (body_bytes > 0) {
        env->body = dyn_block_new(ENV_BODY_HEADROOM, body_bytes);
        memset(dyn_block_data(env->body), 'x', body_bytes);
        env->body->len = body_bytes;
    }
    return env;
}

static void
throw_back(struct thrower *me, struct env **env_p)
{
    bus_addr_t to = me == &me->table->a ? me->table->addr_b : me->table->addr_a;
    DYN_ASSERT(bus_send(me->me, to, env_p, NULL) == 0);
}

static int
start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct thrower *thrower = self;
    (void)err;
    thrower->me = me;
    for (unsigned i = 0; i < thrower->throws; i++) {
        struct env *env = realistic(thrower->table->kind, thrower->table->body_bytes);
        throw_back(thrower, &env);
    }
    return 0;
}

static void
finish(struct table *table)
{
    (void)pthread_mutex_lock(&table->lock);
    table->done = true;
    (void)pthread_cond_signal(&table->changed);
    (void)pthread_mutex_unlock(&table->lock);
}

static void
receive(void *self, struct env **env_p)
{
    struct thrower *thrower = self;
    struct table *table = thrower->table;
    if (thrower == &table->a) {
        if (table->hops_left == 0) {
            env_free(env_p);
            return;
        }
        if (--table->hops_left == 0) {
            finish(table);
        }
    }
    throw_back(thrower, env_p);
}

static void
stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops thrower_ops = {
    .kind = "thrower", .start = start, .receive = receive, .stop = stop};

static void
measure(const struct bench *bench, enum env_kind kind, size_t body_bytes, unsigned window, uint32_t hops,
        double *wall_us, double *spent_us)
{
    struct bus_options options = {.inproc = bench->inproc};
    struct table table = {.kind = kind, .body_bytes = body_bytes, .hops_left = hops / 2};
    struct dyn_err err;
    (void)pthread_mutex_init(&table.lock, NULL);
    (void)pthread_cond_init(&table.changed, NULL);
    table.bus = bus_new(&options, &err);
    bus_loop_t *loop_a = bus_add_loop(table.bus, "bench-a");
    bus_loop_t *loop_b = bench->two_loops ? bus_add_loop(table.bus, "bench-b") : loop_a;
    table.a = (struct thrower){.table = &table, .throws = window};
    table.b = (struct thrower){.table = &table};
    table.addr_a = bus_add_actor(table.bus, loop_a, &thrower_ops, &table.a);
    table.addr_b = bus_add_actor(table.bus, loop_b, &thrower_ops, &table.b);
    uint64_t cpu_before = cpu_us();
    uint64_t before = dyn_mono_us(&dyn_clock_system);
    DYN_ASSERT(bus_start(table.bus, &err) == 0);
    (void)pthread_mutex_lock(&table.lock);
    while (!table.done) {
        (void)pthread_cond_wait(&table.changed, &table.lock);
    }
    (void)pthread_mutex_unlock(&table.lock);
    *wall_us = (double)(dyn_mono_us(&dyn_clock_system) - before) / hops;
    *spent_us = (double)(cpu_us() - cpu_before) / hops;
    (void)bus_stop(table.bus, 1000);
    bus_free(&table.bus);
}

/* ---- between processes ---- */

enum { REMOTE_HOPS = 100000, REMOTE_IDLE_HOPS = 10000 };

struct remote_bench {
    const char *name;
    const char *endpoint;
    bool curve;
};

/* One side: an actor with a port or a link, that throws back what its peer threw. */
struct side {
    struct table *table; /* of the link's side: it counts */
    struct bus_process process;
    struct bus_remote_options options;
    bus_t *bus;
    bus_actor_t *me;
    bus_port_t *port;
    bus_link_t *link;
    unsigned throws;
};

static void
side_heard(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct side *side = self;
    struct table *table = side->table;
    if ((*env_p)->kind == ENV_GOODBYE) {
        return;
    }
    if ((*env_p)->kind == ENV_READY) {
        for (unsigned i = 0; i < side->throws; i++) {
            struct env *env = realistic(table->kind, table->body_bytes);
            DYN_ASSERT(bus_send(side->me, peer->addr, &env, NULL) == 0);
        }
        return;
    }
    if (side->link != NULL) {
        if (table->hops_left == 0) {
            return;
        }
        if (--table->hops_left == 0) {
            finish(table);
        }
    }
    DYN_ASSERT(bus_send(side->me, peer->addr, env_p, NULL) == 0);
}

static void
side_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("edge");
}

static const struct bus_remote_ops side_ops = {.receive = side_heard, .ready = side_ready};

static int
side_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct side *side = self;
    side->me = me;
    if (side->options.roles != 0) {
        side->port = bus_port_open(me, &side->options, err);
    } else {
        side->link = bus_link_open(me, &side->options, err);
    }
    return side->port != NULL || side->link != NULL ? 0 : -1;
}

static void
side_receive(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static void
side_stop(void *self)
{
    struct side *side = self;
    bus_port_close(&side->port);
    bus_link_close(&side->link);
}

static const struct bus_actor_ops side_actor_ops = {
    .kind = "side", .start = side_start, .receive = side_receive, .stop = side_stop};

static void
side_open(struct side *side, const char *endpoint, uint32_t roles, bus_security_t *security)
{
    struct dyn_err err;
    bus_process_init(&side->process, security);
    side->options = (struct bus_remote_options){.process = &side->process,
                                                .endpoint = endpoint,
                                                .roles = roles,
                                                .kinds = UINT32_MAX,
                                                .ops = &side_ops,
                                                .self = side};
    side->bus = bus_new(NULL, &err);
    (void)bus_add_actor(side->bus, bus_add_loop(side->bus, "bench"), &side_actor_ops, side);
    if (bus_start(side->bus, &err) != 0) {
        fprintf(stderr, "bench_bus: %s\n", err.text);
        exit(1);
    }
}

static void
side_close(struct side *side)
{
    (void)bus_stop(side->bus, 1000);
    bus_free(&side->bus);
}

/* `keys`: of the port and of the link. */
static void
measure_remote(const struct remote_bench *bench, bus_security_t *const keys[2], enum env_kind kind,
               size_t body_bytes, unsigned window, uint32_t hops, double *wall_us, double *spent_us)
{
    struct table table = {.kind = kind, .body_bytes = body_bytes, .hops_left = hops / 2};
    struct side port = {.table = &table};
    struct side link = {.table = &table, .throws = window};
    (void)pthread_mutex_init(&table.lock, NULL);
    (void)pthread_cond_init(&table.changed, NULL);
    side_open(&port, bench->endpoint, 1u << BUS_ROLE_EDGE, keys[0]);
    uint64_t cpu_before = cpu_us();
    uint64_t before = dyn_mono_us(&dyn_clock_system);
    side_open(&link, bus_port_endpoint(port.port), 0, keys[1]);
    (void)pthread_mutex_lock(&table.lock);
    while (!table.done) {
        (void)pthread_cond_wait(&table.changed, &table.lock);
    }
    (void)pthread_mutex_unlock(&table.lock);
    *wall_us = (double)(dyn_mono_us(&dyn_clock_system) - before) / hops;
    *spent_us = (double)(cpu_us() - cpu_before) / hops;
    side_close(&link);
    side_close(&port);
}

/* A router and an edge that know each other, in a folder that is gone afterwards. */
static void
make_keys(bus_security_t *keys[2])
{
    char folder[] = "/tmp/dynabus-bench-XXXXXX";
    char names[2][64];
    char allowed[64];
    char secret[80];
    struct bus_cert cert;
    struct dyn_err err;
    DYN_ASSERT(mkdtemp(folder) != NULL);
    (void)snprintf(names[0], sizeof names[0], "%s/router", folder);
    (void)snprintf(names[1], sizeof names[1], "%s/edge", folder);
    (void)snprintf(allowed, sizeof allowed, "%s", folder);
    DYN_ASSERT(bus_cert_make(BUS_ROLE_ROUTER, "router", &cert, &err) == 0);
    DYN_ASSERT(bus_cert_save(&cert, names[0], &err) == 0);
    DYN_ASSERT(bus_cert_make(BUS_ROLE_EDGE, "edge", &cert, &err) == 0);
    DYN_ASSERT(bus_cert_save(&cert, names[1], &err) == 0);
    const char *router = names[0];
    keys[0] = bus_security_new(&(struct bus_security_options){.cert = names[0], .allowed = allowed}, &err);
    keys[1] = bus_security_new(
        &(struct bus_security_options){.cert = names[1], .servers = &router, .n_servers = 1}, &err);
    DYN_ASSERT(keys[0] != NULL && keys[1] != NULL);
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(secret, sizeof secret, "%s_secret", names[i]);
        (void)unlink(secret);
        (void)unlink(names[i]);
    }
    (void)rmdir(folder);
}

struct load {
    const char *name;
    enum env_kind kind;
    size_t body_bytes;
};

static void
measure_remotes(const struct load *loads, size_t n_loads)
{
    char ipc[64];
    (void)snprintf(ipc, sizeof ipc, "ipc:///tmp/dynabus-bench-%d", (int)getpid());
    const struct remote_bench benches[] = {{"ipc", ipc, false},
                                           {"tcp", "tcp://127.0.0.1:0", false},
                                           {"tcp with CURVE", "tcp://127.0.0.1:0", true}};
    bus_security_t *plain = bus_security_new(&(struct bus_security_options){.cert = NULL}, NULL);
    bus_security_t *none[2] = {plain, plain};
    bus_security_t *keys[2];
    make_keys(keys);
    for (size_t i = 0; i < DYN_ARRAY_LEN(benches); i++) {
        for (size_t k = 0; k < n_loads; k++) {
            double loaded, loaded_cpu, idle, idle_cpu;
            bus_security_t *const *with = benches[i].curve ? keys : none;
            measure_remote(&benches[i], with, loads[k].kind, loads[k].body_bytes, WINDOW, REMOTE_HOPS,
                           &loaded, &loaded_cpu);
            measure_remote(&benches[i], with, loads[k].kind, loads[k].body_bytes, 1, REMOTE_IDLE_HOPS, &idle,
                           &idle_cpu);
            printf("%-20s %-18s %14.3f %14.3f %14.3f %14.3f\n", benches[i].name, loads[k].name, loaded,
                   loaded_cpu, idle, idle_cpu);
        }
    }
    bus_security_free(&plain);
    bus_security_free(&keys[0]);
    bus_security_free(&keys[1]);
}

static void
measure_wires(void)
{
    static const struct bench benches[] = {
        {"local", false, false}, {"inproc, one loop", true, false}, {"inproc, two loops", false, true}};
    static const struct load loads[] = {{"CREDIT, no body", ENV_CREDIT, 0},
                                        {"CHUNK of 512 B", ENV_CHUNK, 512},
                                        {"REQUEST of 64 KB", ENV_REQUEST, 65536}};
    printf("%-20s %-18s %14s %14s %14s %14s\n", "us per hop", "", "64 in flight", "its CPU", "1 in flight",
           "its CPU");
    for (size_t i = 0; i < DYN_ARRAY_LEN(benches); i++) {
        for (size_t k = 0; k < DYN_ARRAY_LEN(loads); k++) {
            double loaded, loaded_cpu, idle, idle_cpu;
            measure(&benches[i], loads[k].kind, loads[k].body_bytes, WINDOW, LOADED_HOPS, &loaded,
                    &loaded_cpu);
            measure(&benches[i], loads[k].kind, loads[k].body_bytes, 1, IDLE_HOPS, &idle, &idle_cpu);
            printf("%-20s %-18s %14.3f %14.3f %14.3f %14.3f\n", benches[i].name, loads[k].name, loaded,
                   loaded_cpu, idle, idle_cpu);
        }
    }
    measure_remotes(loads, DYN_ARRAY_LEN(loads));
}

/* ---- the loop's tools ---- */

static void
do_nothing_task(struct bus_task *task)
{
    (void)task;
}

static void
do_nothing_timer(struct bus_timer *timer)
{
    (void)timer;
}

static void
do_nothing_post(void *arg)
{
    (void)arg;
}

static void
print_ns(const char *what, uint64_t before_us, unsigned rounds)
{
    double ns = (double)(dyn_mono_us(&dyn_clock_system) - before_us) * 1000 / rounds;
    printf("%-44s %8.1f ns\n", what, ns);
}

static void
measure_loop(void)
{
    bus_loop_t *loop = bus_loop_new("bench");
    struct bus_task task;
    struct bus_timer timer = {.fire = do_nothing_timer};
    bus_task_init(&task, do_nothing_task);

    uint64_t before = dyn_mono_us(&dyn_clock_system);
    for (unsigned i = 0; i < TOOL_ROUNDS / 10; i++) {
        bus_task_queue(loop, &task);
        bus_loop_run_once(loop, 0);
    }
    print_ns("a turn with one task, poll included", before, TOOL_ROUNDS / 10);

    before = dyn_mono_us(&dyn_clock_system);
    for (unsigned i = 0; i < TOOL_ROUNDS; i++) {
        bus_timer_arm(loop, &timer, 1000 + i % 7);
        bus_timer_disarm(&timer);
    }
    print_ns("a timer armed and disarmed", before, TOOL_ROUNDS);
    bus_timer_fini(&timer);

    before = dyn_mono_us(&dyn_clock_system);
    for (unsigned i = 0; i < TOOL_ROUNDS; i++) {
        bus_loop_post(loop, do_nothing_post, NULL);
    }
    bus_loop_run_once(loop, 0);
    print_ns("a post to a busy loop", before, TOOL_ROUNDS);

    before = dyn_mono_us(&dyn_clock_system);
    for (unsigned i = 0; i < TOOL_ROUNDS; i++) {
        struct env *env = realistic(ENV_CHUNK, 0);
        env_free(&env);
    }
    print_ns("an envelope made (with an id) and freed", before, TOOL_ROUNDS);
    bus_loop_free(&loop);
}

int
main(void)
{
    dyn_log_configure(STDERR_FILENO, DYN_LOG_WARN, DYN_LOG_FORMAT_TEXT);
    measure_wires();
    measure_loop();
    return 0;
}
