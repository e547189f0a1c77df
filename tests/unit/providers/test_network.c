/* The way to the upstream: names, TLS, proxies. Names are looked up by this program's own getaddrinfo(). */
#include "core/log.h"
#include "tests/unit/providers/certificate.h"
#include "tests/unit/providers/scene.h"

#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <sys/resource.h>

/* ---- names ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hangs;      /* names that begin with "hang" are held */
    unsigned inside; /* look-ups that are held */
    unsigned lookups;
    unsigned most_inside;
} names = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void
hold_names(bool hold)
{
    pthread_mutex_lock(&names.lock);
    names.hangs = hold;
    names.lookups = hold ? 0 : names.lookups;
    names.most_inside = hold ? 0 : names.most_inside;
    pthread_cond_broadcast(&names.changed);
    while (!hold && names.inside > 0) {
        pthread_cond_wait(&names.changed, &names.lock);
    }
    pthread_mutex_unlock(&names.lock);
}

static void
wait_while_held(void)
{
    pthread_mutex_lock(&names.lock);
    names.inside++;
    names.lookups++;
    names.most_inside = names.inside > names.most_inside ? names.inside : names.most_inside;
    pthread_cond_broadcast(&names.changed);
    while (names.hangs) {
        pthread_cond_wait(&names.changed, &names.lock);
    }
    names.inside--;
    pthread_cond_broadcast(&names.changed);
    pthread_mutex_unlock(&names.lock);
}

/* Found by libcurl instead of the C library's: every name that is not told to fail is this machine. */
__attribute__((visibility("default"))) int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)hints;
    if (strncmp(node, "hang", 4) == 0) {
        wait_while_held();
    }
    if (strncmp(node, "gone", 4) == 0) {
        return EAI_NONAME;
    }
    /* "two" has an address at which nobody listens, in front of the one that does. */
    bool two = strncmp(node, "two", 3) == 0;
    struct {
        struct addrinfo info;
        struct sockaddr_in address;
    } *found = dyn_zalloc(2 * sizeof *found);
    for (unsigned i = 0; i < 2; i++) {
        found[i].address =
            (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)(service ? strtoul(service, NULL, 10) : 0)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (two && i == 0 ? 1 : 0))};
        found[i].info = (struct addrinfo){.ai_family = AF_INET,
                                          .ai_socktype = SOCK_STREAM,
                                          .ai_addrlen = sizeof found[i].address,
                                          .ai_addr = (struct sockaddr *)&found[i].address,
                                          .ai_next = two && i == 0 ? &found[1].info : NULL};
    }
    *out = &found[0].info;
    return 0;
}

__attribute__((visibility("default"))) void
freeaddrinfo(struct addrinfo *found)
{
    free(found);
}

static void
answers(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK", JSON_TYPE, ANSWER);
    }
}

static void
set_root(struct scene *scene, const char *scheme, const char *host)
{
    (void)snprintf(scene->root, sizeof scene->root, "%s://%s:%u/v1", scheme, host, scene->upstream->port);
    scene->target.root = dyn_slice_str(scene->root);
}

static void
a_name_is_looked_up(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    set_root(scene, "http", "upstream.test");
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    scene_free(scene);
}

static void
the_next_address_is_tried(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    set_root(scene, "http", "two.test");
    for (unsigned i = 0; i < 20; i++) {
        (void)scene_request(scene, CHAT);
    }
    scene_play(scene);
    assert_int_equal(atomic_load(&scene->shared.succeeded), 20);
    scene_free(scene);
}

static void
a_name_without_address_is_unreachable(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    set_root(scene, "http", "gone.test");
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_UNREACHABLE);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
cancel_when_held(struct bus_timer *timer)
{
    struct scene *scene = *(struct scene **)(timer + 1);
    pthread_mutex_lock(&names.lock);
    bool held = names.inside > 0;
    pthread_mutex_unlock(&names.lock);
    if (!held) {
        bus_timer_arm(scene->loop, timer, 1);
        return;
    }
    scene_send(scene, env_about(ENV_CANCEL, scene->template));
}

static void
arm_cancel(bus_actor_t *me, struct scene *scene)
{
    (void)me;
    bus_timer_arm(scene->loop, scene->user, 1);
}

/* While a resolver thread hangs a cancel is answered at once, and the loop goes on. */
static void
a_cancel_does_not_wait_for_the_name(void **state)
{
    (void)state;
    struct {
        struct bus_timer timer;
        struct scene *scene;
    } later = {.timer = {.fire = cancel_when_held}};
    hold_names(true);
    struct scene *scene = scene_new(answers);
    later.scene = scene;
    scene->user = &later.timer;
    scene->on_start = arm_cancel;
    set_root(scene, "http", "hang.test");
    scene->template = env_clone_request(scene_request(scene, CHAT));
    scene_start(scene);
    gate_wait(&scene->ended); /* the name is still held */
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_CANCELLED);
    assert_int_equal(scene->end->upstream_calls, 0);
    hold_names(false);
    scene_stop(scene);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 0);
    env_free(&scene->template);
    scene_free(scene);
}

/* A name that does not come is a connection that was not made in time; a hundred requests for it keep a few
 * threads busy, not a hundred; and the actor can be stopped while they hang. */
static void
a_hanging_name_times_out(void **state)
{
    (void)state;
    hold_names(true);
    struct scene *scene = scene_new(answers);
    scene->target.connect_ms = 50;
    set_root(scene, "http", "hang.test");
    for (unsigned i = 0; i < 100; i++) {
        (void)scene_request(scene, CHAT);
    }
    scene_play(scene);
    assert_int_equal(scene->n_ends, 100);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_TIMEOUT);
    assert_int_equal(scene->calls_left, 0);
    pthread_mutex_lock(&names.lock);
    assert_true(names.most_inside >= 1 && names.most_inside <= 8);
    pthread_mutex_unlock(&names.lock);
    hold_names(false);
    scene_free(scene);
}

static void
lets_names_go(struct bus_timer *timer)
{
    (void)timer;
    hold_names(false);
}

/* All that waited for a name go on when it comes. */
static void
waiting_calls_go_on_with_the_name(void **state)
{
    (void)state;
    struct bus_timer timer = {.fire = lets_names_go};
    hold_names(true);
    struct scene *scene = scene_new(answers);
    scene->user = &timer;
    scene->on_start = arm_cancel; /* arms the timer above */
    set_root(scene, "http", "hang2.test");
    for (unsigned i = 0; i < 50; i++) {
        (void)scene_request(scene, CHAT);
    }
    scene_start(scene);
    scene_stop(scene);
    assert_int_equal(scene->n_ends, 50);
    assert_int_equal(atomic_load(&scene->shared.succeeded), 50);
    assert_true(names.lookups <= 8);
    bus_timer_fini(&timer);
    scene_free(scene);
}

/* ---- TLS ---- */

static struct certificate *served;

static void
answers_over_tls(struct upstream *upstream, int fd)
{
    SSL *ssl = certificate_accept(served, fd);
    struct dyn_buf request = DYN_BUF_INIT;
    while (ssl != NULL && certificate_read_request(ssl, &request)) {
        atomic_fetch_add(&upstream->n_requests, 1);
        struct dyn_buf answer = DYN_BUF_INIT;
        dyn_buf_addf(&answer, "HTTP/1.1 200 OK\r\n" JSON_TYPE "Content-Length: %zu\r\n\r\n%s", strlen(ANSWER),
                     ANSWER);
        (void)SSL_write(ssl, answer.data, (int)answer.len);
        dyn_buf_fini(&answer);
    }
    dyn_buf_fini(&request);
    SSL_free(ssl);
}

/* Plays one request with the log caught; *log is to be freed. */
static struct scene *
play_logged(struct scene *scene, char **log)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    dyn_log_configure(ends[1], DYN_LOG_WARN, DYN_LOG_FORMAT_JSON);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    dyn_log_configure(2, DYN_LOG_WARN, DYN_LOG_FORMAT_JSON);
    *log = dyn_zalloc(65536);
    assert_true(read(ends[0], *log, 65535) >= -1);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return scene;
}

static void
a_trusted_certificate_is_enough(void **state)
{
    (void)state;
    struct certificate certificate;
    certificate_make(&certificate, "DNS:upstream.test,IP:127.0.0.1", 3600);
    served = &certificate;
    const char *const hosts[] = {"upstream.test", "127.0.0.1"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(hosts); i++) {
        struct scene *scene = scene_new(answers_over_tls);
        scene->target.ca_file = certificate.path;
        set_root(scene, "https", hosts[i]);
        (void)scene_request(scene, CHAT);
        (void)scene_request(scene, CHAT);
        scene_play(scene);
        assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
        assert_string_equal(dyn_buf_cstr(&scene->body), ANSWER ANSWER);
        scene_free(scene);
    }
    certificate_free(&certificate);
}

static atomic_uint resumed;

static void
answers_once_over_tls(struct upstream *upstream, int fd)
{
    SSL *ssl = certificate_accept(served, fd);
    struct dyn_buf request = DYN_BUF_INIT;
    if (ssl != NULL && certificate_read_request(ssl, &request)) {
        atomic_fetch_add(&upstream->n_requests, 1);
        atomic_fetch_add(&resumed, (unsigned)SSL_session_reused(ssl));
        struct dyn_buf answer = DYN_BUF_INIT;
        dyn_buf_addf(&answer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(ANSWER), ANSWER);
        (void)SSL_write(ssl, answer.data, (int)answer.len);
        (void)SSL_shutdown(ssl);
        dyn_buf_fini(&answer);
    }
    dyn_buf_fini(&request);
    SSL_free(ssl);
}

static void
ignores_header(void *self, struct dyn_slice name, struct dyn_slice value)
{
    (void)self;
    (void)name;
    (void)value;
}

static void
ignores_head(void *self, const struct http_call_head *head)
{
    (void)self;
    (void)head;
}

static void
ignores_data(void *self, struct dyn_slice bytes)
{
    (void)self;
    (void)bytes;
}

static void
ignores_settled(void *self)
{
    (void)self;
}

static void
keeps_end(void *self, const struct http_call_result *result)
{
    *(int *)self = (int)result->end;
}

/* One call of an origin of its own, so with a handle of its own. */
static int
call_once(bus_loop_t *loop, http_client_t *client, const struct http_origin_options *options)
{
    static const struct http_call_ops ops = {.header = ignores_header,
                                             .head = ignores_head,
                                             .data = ignores_data,
                                             .settled = ignores_settled,
                                             .done = keeps_end};
    struct http_call_request request = {.connect_ms = 5000, .first_byte_ms = 5000, .idle_ms = 5000};
    struct dyn_err err;
    http_origin_t *origin = http_origin_new(client, options, &err);
    assert_non_null(origin);
    int end = -1;
    (void)http_call_start(origin, &request, &ops, &end);
    while (end < 0) {
        bus_loop_run_once(loop, 100);
    }
    http_origin_free(&origin);
    return end;
}

/* What one connection agreed on spares the next a full handshake, whichever handle it is of. */
static void
tls_sessions_are_shared(void **state)
{
    (void)state;
    struct certificate certificate;
    struct dyn_err err;
    certificate_make(&certificate, "DNS:upstream.test", 3600);
    served = &certificate;
    atomic_store(&resumed, 0);
    struct upstream *upstream = upstream_new(answers_once_over_tls, NULL);
    bus_loop_t *loop = bus_loop_new("tls");
    struct http_client_options none = {.connections_max = 0};
    http_client_t *client = http_client_new(loop, &none, &err);
    char url[64];
    (void)snprintf(url, sizeof url, "https://upstream.test:%u/v1", upstream->port);
    struct http_origin_options options = {.url = url, .ca_file = certificate.path};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(call_once(loop, client, &options), HTTP_CALL_COMPLETE);
    }
    http_client_unref(&client);
    bus_loop_free(&loop);
    assert_int_equal(atomic_load(&upstream->n_connections), 3);
    assert_int_equal(atomic_load(&resumed), 2);
    upstream_free(upstream);
    certificate_free(&certificate);
}

/* Refused before a byte of the request is sent; the log says which host, why, and which key to look at. */
static void
assert_tls_refused(struct scene *scene, const char *reason)
{
    char *log;
    (void)play_logged(scene, &log);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_TLS);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_null(scene->end->error_text.data);
    assert_int_equal(atomic_load(&scene->upstream->n_requests), 0);
    const char *host = strstr(scene->root, "://") + 3;
    char authority[64];
    (void)snprintf(authority, sizeof authority, "%.*s", (int)strcspn(host, "/"), host);
    if (strstr(log, authority) == NULL || strstr(log, reason) == NULL ||
        strstr(log, "upstream.ca_file") == NULL) {
        fail_msg("expected %s, '%s' and upstream.ca_file in: %s", authority, reason, log);
    }
    assert_int_equal(scene->calls_left, 0);
    free(log);
    scene_free(scene);
}

static void
speaks_no_tls(struct upstream *upstream, int fd)
{
    char hello[4096];
    if (recv(fd, hello, sizeof hello, 0) > 0) {
        upstream_say(upstream, fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    }
}

static void
certificates_are_judged(void **state)
{
    (void)state;
    struct certificate good;
    struct certificate expired;
    certificate_make(&good, "DNS:upstream.test", 3600);
    certificate_make(&expired, "DNS:upstream.test", -3600);
    served = &good;
    struct scene *scene = scene_new(answers_over_tls); /* nobody trusts it */
    set_root(scene, "https", "upstream.test");
    assert_tls_refused(scene, "self-signed certificate");

    scene = scene_new(answers_over_tls); /* it is for another host */
    scene->target.ca_file = good.path;
    set_root(scene, "https", "other.test");
    assert_tls_refused(scene, "no alternative certificate subject name matches");

    served = &expired;
    scene = scene_new(answers_over_tls);
    scene->target.ca_file = expired.path;
    set_root(scene, "https", "upstream.test");
    assert_tls_refused(scene, "certificate has expired");

    scene = scene_new(speaks_no_tls);
    set_root(scene, "https", "upstream.test");
    char *log;
    (void)play_logged(scene, &log);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_TLS);
    free(log);
    scene_free(scene);

    scene = scene_new(answers_over_tls);
    scene->target.ca_file = "/nowhere/ca.pem";
    set_root(scene, "https", "upstream.test");
    assert_tls_refused(scene, "/nowhere/ca.pem");
    certificate_free(&good);
    certificate_free(&expired);
}

/* ---- proxies ---- */

static char *
proxy_url(const struct scene *scene)
{
    static char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", scene->upstream->port);
    return url;
}

static void
http_goes_through_the_proxy(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers); /* plays the proxy */
    scene->target.root = DYN_SLICE("http://gone.test/v1");
    scene->target.proxy = proxy_url(scene);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_non_null(
        strstr(scene->upstream->request, "POST http://gone.test/v1/chat/completions HTTP/1.1\r\n"));
    scene_free(scene);
}

static void
no_proxy_is_honoured(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    set_root(scene, "http", "inside.test");
    scene->target.proxy = "http://127.0.0.1:1";
    scene->target.no_proxy = "localhost,.test";
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_non_null(strstr(scene->upstream->request, "POST /v1/chat/completions HTTP/1.1\r\n"));
    scene_free(scene);
}

static void
tunnels(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) { /* CONNECT */
        upstream_say(upstream, fd, "HTTP/1.1 200 Connection established\r\nX-RateLimit-Evil: 1\r\n\r\n");
        answers_over_tls(upstream, fd);
    }
}

static void
https_goes_through_a_tunnel(void **state)
{
    (void)state;
    struct certificate certificate;
    certificate_make(&certificate, "DNS:gone.test", 3600);
    served = &certificate;
    struct scene *scene = scene_new(tunnels);
    scene->target.root = DYN_SLICE("https://gone.test/v1");
    scene->target.ca_file = certificate.path;
    scene->target.proxy = proxy_url(scene);
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_string_equal(dyn_buf_cstr(&scene->body), ANSWER);
    assert_null(scene_header(scene->end, "x-ratelimit-evil"));
    assert_non_null(strstr(scene->upstream->request, "CONNECT gone.test:443 HTTP/1.1\r\n"));
    assert_null(strstr(scene->upstream->request, "sk-secret"));
    scene_free(scene);
    certificate_free(&certificate);
}

static void
refuses_to_tunnel(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "403 Forbidden", "", "no");
    }
}

static void
a_proxy_that_refuses_is_named(void **state)
{
    (void)state;
    struct scene *scene = scene_new(refuses_to_tunnel);
    char *log;
    scene->target.root = DYN_SLICE("https://gone.test/v1");
    scene->target.proxy = proxy_url(scene);
    (void)play_logged(scene, &log);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_UNREACHABLE);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_non_null(strstr(log, "gone.test"));
    assert_non_null(strstr(log, "upstream.proxy"));
    free(log);
    scene_free(scene);
}

static void
use_up_descriptors(bus_actor_t *me, struct scene *scene)
{
    (void)me;
    struct rlimit limit = *(struct rlimit *)scene->user;
    int next = dup(STDIN_FILENO);
    CHECK(next >= 0 && close(next) == 0);
    limit.rlim_cur = (rlim_t)next;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* That this process may open no more is no fault of the target: its breaker does not hear of it. */
static void
no_descriptor_is_no_fault_of_the_target(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers);
    struct rlimit limit;
    char *log;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    scene->user = &limit;
    scene->on_start = use_up_descriptors;
    (void)play_logged(scene, &log);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(scene->end->error, ERR_UPSTREAM_UNAVAILABLE);
    assert_int_equal(scene->end->upstream_calls, 0);
    assert_false(err_row(scene->end->error)->counts);
    assert_non_null(strstr(log, "ulimit"));
    free(log);
    scene_free(scene);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* of OpenSSL's own writing in this program's servers */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_looked_up),
        cmocka_unit_test(the_next_address_is_tried),
        cmocka_unit_test(a_name_without_address_is_unreachable),
        cmocka_unit_test(a_cancel_does_not_wait_for_the_name),
        cmocka_unit_test(a_hanging_name_times_out),
        cmocka_unit_test(waiting_calls_go_on_with_the_name),
        cmocka_unit_test(a_trusted_certificate_is_enough),
        cmocka_unit_test(tls_sessions_are_shared),
        cmocka_unit_test(certificates_are_judged),
        cmocka_unit_test(http_goes_through_the_proxy),
        cmocka_unit_test(no_proxy_is_honoured),
        cmocka_unit_test(https_goes_through_a_tunnel),
        cmocka_unit_test(a_proxy_that_refuses_is_named),
        cmocka_unit_test(no_descriptor_is_no_fault_of_the_target),
    };
    return SCENE_RUN_BOTH_WAYS(tests, NULL, NULL);
}
