/* Bytes on their way back: streams at every split, answers longer than a CHUNK, credit, cancels. */
#include "core/rand.h"
#include "proto/sse.h"
#include "tests/unit/providers/scene.h"

#include <dirent.h>

#define CRLF_DELTA "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\r\n\r\n"

/* ---- the bytes ---- */

static const char script[] = "\xef\xbb\xbf: hello\n\n" DELTA("one") CRLF_DELTA
    "event: message\ndata: {\"choices\":[{"
    "\"index\":0,\ndata: \"delta\":{\"content\":\"two lines\"}}]}\n\n: comment\n\n" FINISH DONE;

static void
plays_by_pieces(struct upstream *upstream, int fd)
{
    size_t piece = *(size_t *)((struct scene *)upstream->user)->user;
    if (!upstream_request(upstream, fd)) {
        return;
    }
    upstream_say(upstream, fd, SSE_HEAD);
    for (size_t i = 0; i < sizeof script - 1; i += piece) {
        char part[sizeof script];
        size_t len = sizeof script - 1 - i < piece ? sizeof script - 1 - i : piece;
        memcpy(part, script + i, len);
        part[len] = '\0';
        upstream_chunk(upstream, fd, part);
    }
    upstream_chunk(upstream, fd, "");
}

/* However the upstream cuts its bytes, the same bytes come out, and every CHUNK is made of whole events. */
static void
a_stream_is_the_same_at_every_split(void **state)
{
    (void)state;
    const size_t pieces[] = {1, 2, 3, 5, 7, 17, 64, 100, 333, sizeof script};
    for (size_t i = 0; i < DYN_ARRAY_LEN(pieces); i++) {
        size_t piece = pieces[i];
        struct scene *scene = scene_new(plays_by_pieces);
        scene->user = &piece;
        (void)scene_request(scene, CHAT_STREAM);
        scene_play(scene);
        assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
        assert_string_equal(dyn_buf_cstr(&scene->body), script);
        for (struct dyn_list *link = scene->seen.next; link != &scene->seen; link = link->next) {
            const struct env *env = DYN_CONTAINER_OF(link, struct env, link);
            struct dyn_slice body = dyn_block_slice(env->body);
            if (env->kind == ENV_CHUNK) {
                assert_true(body.len > 0 && strchr("\r\n", body.data[body.len - 1]) != NULL);
                assert_true(dyn_block_tailroom(env->body) >= 2);
                assert_true(dyn_block_headroom(env->body) >= (env->sequence == 0 ? ENV_BODY_HEADROOM : 32));
            }
        }
        assert_int_equal(scene->calls_left, 0);
        scene_free(scene);
    }
}

static void
streams_with_usage(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        upstream_chunk(upstream, fd, DELTA("one") FINISH USAGE DONE);
        upstream_chunk(upstream, fd, "");
    }
}

static void
usage_goes_to_who_asked_for_it(void **state)
{
    (void)state;
    struct scene *scene = scene_new(streams_with_usage);
    (void)scene_request(scene,
                        "{\"model\":\"gpt\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                        "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    scene_play(scene);
    assert_string_equal(dyn_buf_cstr(&scene->body), DELTA("one") FINISH USAGE DONE);
    assert_int_equal(scene->end->usage.total_tokens, 5);
    scene_free(scene);
}

#define TIER_DELTA(role, text)                                                                               \
    "data: {\"service_tier\":\"flex\",\"choices\":[{\"index\":0,\"delta\":{" role "\"content\":\"" text      \
    "\"}}]}\n\n"

static void
says_its_tier_first(struct upstream *upstream, int fd)
{
    const char *first = ((struct scene *)upstream->user)->user;
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        upstream_chunk(upstream, fd, first);
        upstream_chunk(upstream, fd, DELTA("two") FINISH USAGE DONE);
        upstream_chunk(upstream, fd, "");
    }
}

/* The first chunk says how it is sold, the last one how much it is. */
static void
an_early_service_tier_is_kept(void **state)
{
    (void)state;
    static char firsts[][128] = {TIER_DELTA("\"role\":\"assistant\",", ""), TIER_DELTA("", "one")};
    for (size_t i = 0; i < DYN_ARRAY_LEN(firsts); i++) {
        struct scene *scene = scene_new(says_its_tier_first);
        scene->user = firsts[i];
        (void)scene_request(scene, CHAT_STREAM);
        scene_play(scene);
        assert_int_equal(scene->end->usage.total_tokens, 5);
        assert_int_equal(scene->end->usage.service, ENV_SERVICE_FLEX);
        scene_free(scene);
    }
}

static void
lingers_after_done(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        upstream_chunk(upstream, fd, DELTA("one") DONE);
        upstream_wait_for_close(fd); /* never ends the body */
    }
}

/* The end marker is the end, whatever the connection does. */
static void
the_end_is_told_by_the_marker(void **state)
{
    (void)state;
    struct scene *scene = scene_new(lingers_after_done);
    (void)scene_request(scene, CHAT_STREAM);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_string_equal(dyn_buf_cstr(&scene->body), DELTA("one") DONE);
    scene_free(scene);
}

static void
looks_at_the_request(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_CHUNK && env->sequence == 0) {
        *(unsigned *)scene->user = atomic_load(&scene->template->body->refs);
    }
}

/* A stream may last for minutes; the request it answers is not kept for so long. */
static void
a_stream_lets_go_of_its_request(void **state)
{
    (void)state;
    unsigned refs = 0;
    struct scene *scene = scene_new(streams_with_usage);
    scene->target.ask_usage = false;
    scene->template = env_clone_request(scene_request(scene, CHAT_STREAM));
    scene->user = &refs;
    scene->on_envelope = looks_at_the_request;
    scene_play(scene);
    assert_int_equal(refs, 1); /* the test's own */
    env_free(&scene->template);
    scene_free(scene);
}

/* ---- long answers ---- */

static char *long_answer; /* of about 300 KiB */

static int
make_long_answer(void **state)
{
    (void)state;
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(
        &text, "{\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (unsigned i = 0; text.len < 300000; i++) {
        dyn_buf_addf(&text, "%u \\\"", i);
    }
    dyn_buf_add_str(&text,
                    "\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}");
    long_answer = dyn_strdup(dyn_buf_cstr(&text));
    dyn_buf_fini(&text);
    return 0;
}

static int
free_long_answer(void **state)
{
    (void)state;
    free(long_answer);
    return 0;
}

static void
answers_at_length(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK", JSON_TYPE, long_answer);
    }
}

static void
answers_at_length_in_chunks(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, "HTTP/1.1 200 OK\r\n" JSON_TYPE "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < strlen(long_answer); i += 777) {
            char part[778];
            (void)snprintf(part, sizeof part, "%s", long_answer + i);
            upstream_chunk(upstream, fd, part);
        }
        upstream_chunk(upstream, fd, "");
    }
}

static void
assert_long_answer(struct scene *scene)
{
    (void)scene_request(scene, CHAT);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_string_equal(dyn_buf_cstr(&scene->body), long_answer);
    assert_true(scene->n_chunks >= 9);
    assert_true(scene->max_chunk <= ENV_CHUNK_MAX);
    assert_true(scene->end->usage.known);
    assert_int_equal(scene->end->usage.total_tokens, 3);
    assert_int_equal(scene->end->body_bytes, strlen(long_answer));
    assert_int_equal(env_body_len(scene->end), 0); /* behind CHUNKs it has none */
    assert_false(scene_first(scene)->stream);
    assert_int_equal(scene_first(scene)->status, 200);
    assert_true(dyn_slice_is(scene_first(scene)->content_type, "application/json"));
    scene_free(scene);
}

static void
a_long_answer_comes_in_chunks(void **state)
{
    (void)state;
    assert_long_answer(scene_new(answers_at_length));
    assert_long_answer(scene_new(answers_at_length_in_chunks));
}

/* A mailbox that is full for a while costs time, not bytes. */
static void
a_full_mailbox_is_waited_for(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers_at_length);
    scene->mailbox_bytes = 40 * 1024;
    assert_long_answer(scene);
}

/* ---- credit ---- */

enum { SMALL_WINDOW = 1000 };

static void
streams_a_long_event(struct upstream *upstream, int fd)
{
    struct dyn_buf event = DYN_BUF_INIT;
    dyn_buf_add_str(&event, DELTA("one") "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    for (unsigned i = 0; i < 100000; i++) {
        dyn_buf_add_char(&event, 'y');
    }
    dyn_buf_add_str(&event, "\"}}]}\n\n" DONE);
    if (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK", "Content-Type: text/event-stream\r\n", dyn_buf_cstr(&event));
        upstream_wait_for_close(fd);
    }
    dyn_buf_fini(&event);
}

static void
never_beyond_credit(struct scene *scene, struct env *env)
{
    size_t *open = scene->user; /* granted and not yet used */
    size_t len = env_body_len(env);
    if (env->kind == ENV_CHUNK) {
        CHECK(len <= *open);
        *open -= len;
        owner_grant(scene, env, len);
        *open += len;
    }
}

/* The first CHUNK opens the whole window again. */
static void
grants_a_window(struct scene *scene, struct env *env)
{
    size_t *open = scene->user;
    size_t len = env_body_len(env);
    if (env->kind != ENV_CHUNK) {
        return;
    }
    CHECK(len <= *open);
    *open -= len;
    if (*open <= ENV_WINDOW_FIRST / 2) {
        owner_grant(scene, env, ENV_WINDOW_FIRST - *open);
        *open = ENV_WINDOW_FIRST;
    }
}

/* An event longer than a CHUNK may be, and a window smaller than any event. */
static void
long_events_are_cut_to_fit_the_credit(void **state)
{
    (void)state;
    const uint32_t windows[] = {1, SMALL_WINDOW, ENV_WINDOW_FIRST};
    for (size_t i = 0; i < DYN_ARRAY_LEN(windows); i++) {
        size_t open = windows[i];
        if (windows[i] == 1) {
            open = 1;
        }
        struct scene *scene = scene_new(streams_a_long_event);
        scene->grants = false;
        scene->user = &open;
        scene->on_envelope = never_beyond_credit;
        scene_request(scene, CHAT_STREAM)->credit = windows[i];
        scene_play(scene);
        assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
        assert_true(scene->body.len > 100000);
        assert_memory_equal(scene->body.data + scene->body.len - strlen(DONE), DONE, strlen(DONE));
        assert_true(scene->max_chunk <= ENV_CHUNK_MAX);
        scene_free(scene);
    }
}

/* A redelivered request comes with what is left of its window, which may be next to nothing. */
static void
pieces_grow_with_what_is_granted(void **state)
{
    (void)state;
    struct scene *scene = scene_new(answers_at_length);
    size_t open = 2;
    scene->grants = false;
    scene->user = &open;
    scene->on_envelope = grants_a_window;
    scene_request(scene, CHAT)->credit = 2;
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_string_equal(dyn_buf_cstr(&scene->body), long_answer);
    assert_true(scene->n_chunks < 100 + ENV_CHUNK_MAX);
    assert_true(scene->max_chunk > SMALL_WINDOW);
    scene_free(scene);
}

enum { FLOOD_BYTES = 96 * 1024 * 1024 };

static void
floods(struct upstream *upstream, int fd)
{
    static char events[64 * 1024];
    size_t len = 0;
    while (len + sizeof DELTA("0123456789") < sizeof events) {
        memcpy(events + len, DELTA("0123456789"), sizeof DELTA("0123456789") - 1);
        len += sizeof DELTA("0123456789") - 1;
    }
    if (!upstream_request(upstream, fd)) {
        return;
    }
    upstream_say(upstream, fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    for (size_t sent = 0; sent < FLOOD_BYTES && atomic_load(&upstream->n_closed_early) == 0; sent += len) {
        upstream_send(upstream, fd, events, len);
    }
}

struct stall {
    struct scene *scene;
    struct bus_timer timer;
    struct env *chunk; /* the last one */
    size_t received;
    size_t sent_before; /* by the upstream, at the last look */
    unsigned looks_without_change;
};

/* Looks until the upstream has stood still for a while, then cancels. */
static void
look_at_upstream(struct bus_timer *timer)
{
    struct stall *stall = DYN_CONTAINER_OF(timer, struct stall, timer);
    struct scene *scene = stall->scene;
    size_t sent = atomic_load(&scene->upstream->bytes_sent);
    stall->looks_without_change = sent == stall->sent_before ? stall->looks_without_change + 1 : 0;
    stall->sent_before = sent;
    if (stall->looks_without_change < 10) {
        bus_timer_arm(scene->loop, timer, 10);
        return;
    }
    scene_send(scene, env_about(ENV_CANCEL, stall->chunk));
}

static void
takes_nothing_more(struct scene *scene, struct env *env)
{
    struct stall *stall = scene->user;
    if (env->kind == ENV_CHUNK) {
        stall->received += env_body_len(env);
        if (stall->chunk == NULL) {
            stall->chunk = env;
            bus_timer_arm(scene->loop, &stall->timer, 10);
        }
    } else {
        bus_timer_fini(&stall->timer);
    }
}

/* Without credit the upstream's own sending stops: what is buffered is the kernel's, a few MiB of 96. */
static void
a_slow_receiver_stops_the_upstream(void **state)
{
    (void)state;
    struct scene *scene = scene_new(floods);
    struct stall stall = {.scene = scene, .timer = {.fire = look_at_upstream}};
    scene->grants = false;
    scene->user = &stall;
    scene->on_envelope = takes_nothing_more;
    (void)scene_request(scene, CHAT_STREAM);
    scene_play(scene);
    assert_true(stall.received <= ENV_WINDOW_FIRST);
    assert_true(stall.received > ENV_WINDOW_FIRST / 2);
    assert_true(stall.sent_before < FLOOD_BYTES / 2);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_CANCELLED);
    assert_true(scene->end->usage.known && scene->end->usage.estimated);
    assert_int_equal(scene->calls_left, 0);
    scene_free(scene);
}

static void
floods_a_little(struct upstream *upstream, int fd)
{
    if (upstream_request(upstream, fd)) {
        upstream_say(upstream, fd, SSE_HEAD);
        for (unsigned i = 0; i < 5000; i++) {
            upstream_chunk(upstream, fd, DELTA("0123456789"));
        }
        upstream_chunk(upstream, fd, DONE);
        upstream_chunk(upstream, fd, "");
    }
}

struct trickle {
    struct scene *scene;
    struct bus_timer timer;
    struct env *chunk;
    size_t owed; /* received and not granted again */
};

static void
grant_some(struct bus_timer *timer)
{
    struct trickle *trickle = DYN_CONTAINER_OF(timer, struct trickle, timer);
    if (trickle->owed > 0) {
        owner_grant(trickle->scene, trickle->chunk, trickle->owed);
        trickle->owed = 0;
    }
    bus_timer_arm(trickle->scene->loop, timer, 1);
}

static void
takes_slowly(struct scene *scene, struct env *env)
{
    struct trickle *trickle = scene->user;
    if (env->kind == ENV_END) {
        bus_timer_fini(&trickle->timer);
        return;
    }
    if (trickle->chunk == NULL) {
        trickle->chunk = env;
        bus_timer_arm(scene->loop, &trickle->timer, 1);
    }
    trickle->owed += env_body_len(env);
}

/* Paused and resumed again and again, nothing is lost or repeated. */
static void
pausing_loses_nothing(void **state)
{
    (void)state;
    struct scene *scene = scene_new(floods_a_little);
    struct trickle trickle = {.scene = scene, .timer = {.fire = grant_some}};
    scene->grants = false;
    scene->user = &trickle;
    scene->on_envelope = takes_slowly;
    scene_request(scene, CHAT_STREAM)->credit = 8192;
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(scene->body.len, 5000 * strlen(DELTA("0123456789")) + strlen(DONE));
    for (size_t i = 0; i < 5000; i++) {
        assert_memory_equal(scene->body.data + i * strlen(DELTA("0123456789")), DELTA("0123456789"),
                            strlen(DELTA("0123456789")));
    }
    scene_free(scene);
}

/* ---- cancels ---- */

enum { CANCELS = 1000, CANCELS_AT_ONCE = 40 };

static void
streams_until_closed(struct upstream *upstream, int fd)
{
    if (!upstream_request(upstream, fd)) {
        return;
    }
    upstream_say(upstream, fd, SSE_HEAD);
    while (atomic_load(&upstream->stopping) == false) {
        struct pollfd closed = {.fd = fd, .events = POLLIN | POLLRDHUP};
        upstream_chunk(upstream, fd, DELTA("tick"));
        if (poll(&closed, 1, 1) > 0) {
            break;
        }
    }
    atomic_fetch_add((atomic_uint *)((struct scene *)upstream->user)->user2, 1);
}

struct cancels {
    struct dyn_rng rng;
    unsigned started;
    unsigned cancelled;
};

static void
start_one(struct scene *scene)
{
    struct cancels *cancels = scene->user;
    struct env *request = env_clone_request(scene->template);
    request->id = env_id_random();
    cancels->started++;
    bool at_once = dyn_rng_below(&cancels->rng, 8) == 0;
    struct env *cancel = env_about(ENV_CANCEL, request);
    scene_send(scene, request);
    if (at_once) {
        scene_send(scene, cancel);
    } else {
        env_free(&cancel);
    }
}

static void
cancels_at_random(struct scene *scene, struct env *env)
{
    struct cancels *cancels = scene->user;
    if (env->kind == ENV_END) {
        cancels->cancelled += env->outcome == ENV_OUTCOME_CANCELLED;
        if (cancels->started < CANCELS) {
            start_one(scene);
        }
    } else if (dyn_rng_below(&cancels->rng, 4) == 0) {
        scene_send(scene, env_about(ENV_CANCEL, env));
    }
}

static void
start_all(struct bus_actor *me, struct scene *scene)
{
    (void)me;
    for (unsigned i = 0; i < CANCELS_AT_ONCE; i++) {
        start_one(scene);
    }
}

static size_t
open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t n = 0;
    while (readdir(folder) != NULL) {
        n++;
    }
    (void)closedir(folder);
    return n;
}

/* A thousand streams cancelled at any time: each has its END, every upstream sees its connection close, and
 * no handle and no descriptor is left. */
static void
a_thousand_cancels_leave_nothing(void **state)
{
    (void)state;
    size_t descriptors = open_descriptors();
    struct cancels cancels = {.started = 0};
    atomic_uint closed = 0;
    dyn_rng_seed(&cancels.rng, 7);
    struct scene *scene = scene_new(streams_until_closed);
    scene->user = &cancels;
    scene->user2 = &closed;
    scene->on_envelope = cancels_at_random;
    scene->on_start = start_all;
    scene->n_expected = CANCELS;
    scene->template = scene_request(scene, CHAT_STREAM);
    scene->n_requests = 0;
    scene_play(scene);
    assert_int_equal(scene->n_ends, CANCELS);
    assert_int_equal(cancels.cancelled, CANCELS);
    assert_int_equal(atomic_load(&scene->shared.cancelled), CANCELS);
    assert_int_equal(scene->calls_left, 0);
    while (atomic_load(&closed) < atomic_load(&scene->upstream->n_requests)) {
        (void)usleep(1000); /* the test's own time limit ends this if a connection stays open */
    }
    env_free(&scene->template);
    scene_free(scene);
    assert_int_equal(open_descriptors(), descriptors);
}

/* A cancel for a request that is not there, or of another attempt, does nothing. */
static void
cancels_a_stranger(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_CHUNK && env->sequence == 0) {
        struct env *cancel = env_about(ENV_CANCEL, env);
        cancel->attempt++;
        scene_send(scene, cancel);
        cancel = env_about(ENV_CANCEL, env);
        cancel->id = env_id_random();
        scene_send(scene, cancel);
        struct env *credit = env_about(ENV_CREDIT, env);
        credit->id = env_id_random();
        scene_send(scene, credit);
    }
}

static void
others_cancels_do_nothing(void **state)
{
    (void)state;
    struct scene *scene = scene_new(streams_with_usage);
    scene->on_envelope = cancels_a_stranger;
    (void)scene_request(scene, CHAT_STREAM);
    scene_play(scene);
    assert_int_equal(scene->end->outcome, ENV_OUTCOME_OK);
    scene_free(scene);
}

/* ---- draining ---- */

static void
opens_the_gate(struct scene *scene, struct env *env)
{
    struct gate *begun = scene->user;
    if (env->kind == ENV_CHUNK && env->sequence == 0) {
        gate_open(begun);
    }
}

/* What is not finished by the end of the drain ends with an error, and the actor is idle in time. */
static void
draining_ends_what_does_not_end(void **state)
{
    (void)state;
    struct gate begun;
    atomic_uint closed = 0;
    gate_init(&begun, 1);
    struct scene *scene = scene_new(streams_until_closed);
    scene->user = &begun;
    scene->user2 = &closed;
    scene->on_envelope = opens_the_gate;
    (void)scene_request(scene, CHAT_STREAM);
    scene_start(scene);
    gate_wait(&begun);
    assert_int_equal(bus_stop(scene->bus, 200), 0);
    assert_int_equal(atomic_load(&scene->shared.failed), 1);
    assert_int_equal(atomic_load(&scene->shared.in_flight), 0);
    if (!scene_inproc) { /* there the owner, idle at once, may have been stopped before it read its END */
        assert_int_equal(scene->n_ends, 1);
        assert_int_equal(scene->end->error, ERR_DRAINING);
    }
    assert_int_equal(http_client_calls(scene->client), 0);
    http_client_unref(&scene->client);
    scene_free(scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_the_same_at_every_split),
        cmocka_unit_test(usage_goes_to_who_asked_for_it),
        cmocka_unit_test(an_early_service_tier_is_kept),
        cmocka_unit_test(the_end_is_told_by_the_marker),
        cmocka_unit_test(a_stream_lets_go_of_its_request),
        cmocka_unit_test(a_long_answer_comes_in_chunks),
        cmocka_unit_test(a_full_mailbox_is_waited_for),
        cmocka_unit_test(long_events_are_cut_to_fit_the_credit),
        cmocka_unit_test(pieces_grow_with_what_is_granted),
        cmocka_unit_test(a_slow_receiver_stops_the_upstream),
        cmocka_unit_test(pausing_loses_nothing),
        cmocka_unit_test(a_thousand_cancels_leave_nothing),
        cmocka_unit_test(others_cancels_do_nothing),
        cmocka_unit_test(draining_ends_what_does_not_end),
    };
    return SCENE_RUN_BOTH_WAYS(tests, make_long_answer, free_long_answer);
}
