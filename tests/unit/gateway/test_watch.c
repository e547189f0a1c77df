/* The watch of the configuration: a file that changes early, and those who go on asking while it ends. */
#include "tests/unit/gateway/gateway_fixture.h"

#include "gateway/gateway.h"
#include "gateway/watch.h"
#include "tests/conformance/raw.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void
write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) > 0);
    (void)fclose(file);
}

static dynabus_t *
gateway_of(const char *path, const char *text)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    char why[1024] = "";
    options.config_path = path;
    options.config_text = text;
    options.dev = path != NULL;
    options.cells = 1;
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fail_msg("%s", why);
    }
    return gateway;
}

static uint64_t
version_of(dynabus_t *gateway)
{
    dynabus_config_t *now = dynabus_get_config(gateway);
    uint64_t version = dynabus_config_version(now);
    dynabus_config_free(&now);
    return version;
}

static void
wait_a_moment(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* After it was read for the start, and before the watch begins. */
static void
a_file_that_changes_while_the_gateway_starts_is_read_again(void **state)
{
    enum { TRIES = 4000 };
    (void)state;
    char path[] = "/tmp/dynabus-test-XXXXXX.yaml";
    (void)close(mkstemps(path, 5));
    write_text(path, "max_attempts: 2\n");
    dynabus_t *gateway = gateway_of(path, NULL);
    gateway_watch_t *watch = atomic_load(&gateway->watch);
    gateway_watch_stop(watch);
    gateway_watch_free(&watch);
    write_text(path, "max_attempts: 3 # other\n");
    atomic_store(&gateway->watch, gateway_watch_start(gateway, NULL));
    for (unsigned i = 0; i < TRIES && version_of(gateway) == 1; i++) {
        wait_a_moment();
    }
    assert_int_equal(version_of(gateway), 2);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    (void)unlink(path);
}

/* ---- asking ---- */

enum { ASKING_THREADS = 3 };

struct asking {
    gateway_watch_t *watch;
    atomic_bool is_over;
    atomic_uint taken;
    atomic_uint done;
};

static void
note_done(void *arg, enum gateway_reload_result result, const char *why)
{
    struct asking *asking = arg;
    CHECK(result == GATEWAY_RELOAD_UNCHANGED || (result == GATEWAY_RELOAD_REFUSED && *why != '\0'));
    (void)atomic_fetch_add(&asking->done, 1);
}

static void *
ask_until_over(void *arg)
{
    struct asking *asking = arg;
    while (!atomic_load(&asking->is_over)) {
        if (gateway_watch_ask(asking->watch, DYN_SLICE(""), note_done, asking) == 0) {
            (void)atomic_fetch_add(&asking->taken, 1);
        }
    }
    CHECK(gateway_watch_ask(asking->watch, DYN_SLICE(""), note_done, asking) == -1);
    return NULL;
}

static void
whoever_asks_while_it_stops_is_answered_once_or_refused(void **state)
{
    enum { ROUNDS = 20 };
    (void)state;
    dynabus_t *gateway = gateway_of(NULL, "{}");
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct asking asking = {.watch = gateway_watch_start(gateway, NULL)};
        pthread_t threads[ASKING_THREADS];
        for (unsigned i = 0; i < ASKING_THREADS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, ask_until_over, &asking), 0);
        }
        while (atomic_load(&asking.done) < 10) {
            wait_a_moment();
        }
        gateway_watch_stop(asking.watch);
        atomic_store(&asking.is_over, true);
        for (unsigned i = 0; i < ASKING_THREADS; i++) {
            (void)pthread_join(threads[i], NULL);
        }
        assert_int_equal(atomic_load(&asking.done), atomic_load(&asking.taken));
        gateway_watch_free(&asking.watch);
    }
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* ---- an administrator ---- */

struct administrator {
    const char *endpoint;
    struct gate heard; /* its first ACK */
    atomic_bool is_over;
};

/* Where the gateway has gone, it goes nowhere. */
static void
say_config(const struct raw *raw)
{
    struct dyn_buf header = DYN_BUF_INIT;
    struct env *env = env_new(ENV_CONFIG);
    env->id = env_id_random();
    CHECK(env_encode(env, &header, NULL) == 0);
    (void)zmq_send(raw->socket, header.data, header.len, ZMQ_DONTWAIT);
    dyn_buf_fini(&header);
    env_free(&env);
}

static void *
ask_on_and_on(void *arg)
{
    struct administrator *administrator = arg;
    bool has_heard = false;
    struct raw raw = raw_open((struct raw_options){.connect = administrator->endpoint});
    raw_set_int(&raw, ZMQ_LINGER, 0);
    raw_say_ready(&raw, "admin");
    while (!atomic_load(&administrator->is_over)) {
        say_config(&raw);
        struct env *env = raw_receive(&raw, has_heard ? 0 : RAW_TIMEOUT_MS);
        if (env != NULL && env->kind == ENV_ACK && !has_heard) {
            has_heard = true;
            gate_open(&administrator->heard);
        }
        env_free(&env);
    }
    raw_close(&raw);
    return NULL;
}

static void
a_gateway_closes_while_the_bus_asks_it_to_reload(void **state)
{
    enum { ROUNDS = 10 };
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char text[256];
        (void)snprintf(text, sizeof text, "bus: {listen: 'ipc:///tmp/dynabus-watch-%d-%u'}\n", (int)getpid(),
                       round);
        dynabus_t *gateway = gateway_of(NULL, text);
        struct administrator administrator = {0};
        char endpoint[BUS_ENDPOINT_MAX];
        (void)snprintf(endpoint, sizeof endpoint, "%s", dynabus_bus(gateway));
        administrator.endpoint = endpoint;
        gate_init(&administrator.heard, 1);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, ask_on_and_on, &administrator), 0);
        gate_wait(&administrator.heard);
        (void)dynabus_close(&gateway, 100);
        atomic_store(&administrator.is_over, true);
        (void)pthread_join(thread, NULL);
    }
}

/* Several reloads at once take turns, files and all. */
static void *
reload_often(void *gateway)
{
    for (unsigned i = 0; i < 50; i++) {
        char why[256];
        CHECK(dynabus_reload(gateway, why, sizeof why) == 0);
    }
    return NULL;
}

static void
reloads_take_turns(void **state)
{
    (void)state;
    dynabus_t *gateway = gateway_of(NULL, "{}");
    pthread_t threads[ASKING_THREADS];
    for (unsigned i = 0; i < ASKING_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reload_often, gateway), 0);
    }
    for (unsigned i = 0; i < ASKING_THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(version_of(gateway), 1);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_changes_while_the_gateway_starts_is_read_again),
        cmocka_unit_test(whoever_asks_while_it_stops_is_answered_once_or_refused),
        cmocka_unit_test(a_gateway_closes_while_the_bus_asks_it_to_reload),
        cmocka_unit_test(reloads_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
