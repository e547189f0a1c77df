/* Names are looked up off the loop: answers come to it, a name server that hangs holds nobody up. */
#include "bus/resolver.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

enum { LONG_WAIT_MS = 20000 }; /* never waited for: something happens before */

/* A name service that answers "hangs" only when it is let go. */
struct names {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool let_go;
    unsigned hanging;
};

static void
hang(struct names *names)
{
    (void)pthread_mutex_lock(&names->lock);
    names->hanging++;
    (void)pthread_cond_broadcast(&names->changed);
    while (!names->let_go) {
        (void)pthread_cond_wait(&names->changed, &names->lock);
    }
    names->hanging--;
    (void)pthread_cond_broadcast(&names->changed);
    (void)pthread_mutex_unlock(&names->lock);
}

static int
look_up(void *self, const char *host, struct bus_addresses *addresses, struct dyn_err *err)
{
    if (strcmp(host, "hangs") == 0) {
        hang(self);
    }
    if (strcmp(host, "unknown") == 0) {
        return dyn_err_set(err, DYN_E_IO, "%s: nobody knows", host);
    }
    addresses->n = 1;
    (void)snprintf(addresses->text[0], BUS_ADDRESS_TEXT, "address of %s", host);
    return 0;
}

struct scene {
    struct names names;
    bus_loop_t *loop;
    bus_resolver_t *resolver;
};

struct heard {
    unsigned answers;
    unsigned failures;
    char text[400];
};

static void
hear(void *arg, const struct bus_addresses *addresses, const struct dyn_err *err)
{
    struct heard *heard = arg;
    heard->answers++;
    heard->failures += addresses == NULL;
    (void)snprintf(heard->text, sizeof heard->text, "%s", addresses != NULL ? addresses->text[0] : err->text);
}

static int
open_scene(void **state)
{
    static struct scene scene;
    memset(&scene, 0, sizeof scene);
    (void)pthread_mutex_init(&scene.names.lock, NULL);
    (void)pthread_cond_init(&scene.names.changed, NULL);
    scene.loop = bus_loop_new("test");
    scene.resolver = bus_resolver_new_with(look_up, &scene.names);
    *state = &scene;
    return 0;
}

static void
wait_until_hanging(struct names *names, unsigned n)
{
    (void)pthread_mutex_lock(&names->lock);
    while (names->hanging != n) {
        (void)pthread_cond_wait(&names->changed, &names->lock);
    }
    (void)pthread_mutex_unlock(&names->lock);
}

static void
let_go(struct names *names)
{
    (void)pthread_mutex_lock(&names->lock);
    names->let_go = true;
    (void)pthread_cond_broadcast(&names->changed);
    (void)pthread_mutex_unlock(&names->lock);
    wait_until_hanging(names, 0);
}

static int
close_scene(void **state)
{
    struct scene *scene = *state;
    if (scene->resolver != NULL) {
        bus_resolver_free(&scene->resolver);
    }
    bus_loop_free(&scene->loop);
    return 0;
}

static struct bus_question *
ask(struct scene *scene, const char *host, struct heard *heard)
{
    return bus_resolver_ask(scene->resolver, host, scene->loop, hear, heard);
}

static void
wait_for_answer(struct scene *scene, const struct heard *heard)
{
    while (heard->answers == 0) {
        bus_loop_run_once(scene->loop, LONG_WAIT_MS);
    }
}

static void
an_answer_comes_to_the_loop(void **state)
{
    struct scene *scene = *state;
    struct heard known = {0};
    struct heard unknown = {0};
    (void)ask(scene, "known", &known);
    (void)ask(scene, "unknown", &unknown);
    assert_int_equal(known.answers, 0);
    wait_for_answer(scene, &known);
    wait_for_answer(scene, &unknown);
    assert_string_equal(known.text, "address of known");
    assert_int_equal(unknown.failures, 1);
    assert_string_equal(unknown.text, "unknown: nobody knows");
}

static void
one_that_hangs_does_not_hold_up_others(void **state)
{
    struct scene *scene = *state;
    struct heard hangs = {0};
    (void)ask(scene, "hangs", &hangs);
    wait_until_hanging(&scene->names, 1);
    for (int i = 0; i < 20; i++) {
        struct heard other = {0};
        (void)ask(scene, "other", &other);
        wait_for_answer(scene, &other);
    }
    assert_int_equal(hangs.answers, 0);
    let_go(&scene->names);
    wait_for_answer(scene, &hangs);
    assert_int_equal(hangs.answers, 1);
}

static void
a_cancelled_question_is_not_answered(void **state)
{
    struct scene *scene = *state;
    struct heard looking[BUS_RESOLVER_THREADS] = {{0}};
    struct heard queued = {0};
    struct heard posted = {0};
    struct bus_question *questions[BUS_RESOLVER_THREADS];
    struct bus_question *question = ask(scene, "known", &posted);
    struct heard after = {0};
    (void)ask(scene, "known", &after);
    for (int i = 0; i < BUS_RESOLVER_THREADS; i++) {
        questions[i] = ask(scene, "hangs", &looking[i]);
    }
    wait_until_hanging(&scene->names, BUS_RESOLVER_THREADS); /* so the first two are answered and posted */
    bus_question_cancel(&question);
    assert_null(question);
    question = ask(scene, "known", &queued); /* every thread hangs */
    bus_question_cancel(&question);
    for (int i = 0; i < BUS_RESOLVER_THREADS; i++) {
        bus_question_cancel(&questions[i]);
    }
    let_go(&scene->names);
    wait_for_answer(scene, &after);
    bus_resolver_free(&scene->resolver);
    bus_loop_run_once(scene->loop, 0);
    assert_int_equal(posted.answers + queued.answers, 0);
    for (int i = 0; i < BUS_RESOLVER_THREADS; i++) {
        assert_int_equal(looking[i].answers, 0);
    }
}

/* The thread goes on alone, and frees what it shared with its resolver. */
static void
stopping_does_not_wait_for_a_name_server(void **state)
{
    struct scene *scene = *state;
    struct heard hangs = {0};
    struct bus_question *question = ask(scene, "hangs", &hangs);
    wait_until_hanging(&scene->names, 1);
    bus_question_cancel(&question);
    bus_resolver_free(&scene->resolver);
    assert_int_equal(scene->names.hanging, 1);
    let_go(&scene->names);
    assert_int_equal(hangs.answers, 0);
}

static void
numbers_need_no_look_up(void **state)
{
    (void)state;
    char text[BUS_ADDRESS_TEXT];
    static const char *const numbers[] = {"127.0.0.1", "10.0.0.255", "::1", "fe80::1%eth0"};
    static const char *const names[] = {
        "router",          "1.2.3", "127.0.0.1%eth0",
        "1.2.3.4.example", "",      "0123456789012345678901234567890123456789012345678901234567890123456789"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        assert_true(bus_address_is_number(numbers[i], text));
        assert_string_equal(text, numbers[i]);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        assert_false(bus_address_is_number(names[i], text));
    }
    assert_true(bus_address_is_number("localhost", text));
    assert_string_equal(text, "127.0.0.1");
}

/* The system's own: a number is its own name, and a name that cannot exist (RFC 6761) is an error. */
static void
the_system_resolves_too(void **state)
{
    (void)state;
    struct heard number = {0};
    struct heard nobody = {0};
    bus_loop_t *loop = bus_loop_new("test");
    bus_resolver_t *resolver = bus_resolver_new();
    (void)bus_resolver_ask(resolver, "127.0.0.2", loop, hear, &number);
    (void)bus_resolver_ask(resolver, "-.invalid", loop, hear, &nobody);
    while (number.answers + nobody.answers < 2) {
        bus_loop_run_once(loop, LONG_WAIT_MS);
    }
    assert_string_equal(number.text, "127.0.0.2");
    assert_int_equal(nobody.failures, 1);
    bus_resolver_free(&resolver);
    bus_loop_free(&loop);
}

int
main(void)
{
#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        WITH_SCENE(an_answer_comes_to_the_loop),
        WITH_SCENE(one_that_hangs_does_not_hold_up_others),
        WITH_SCENE(a_cancelled_question_is_not_answered),
        WITH_SCENE(stopping_does_not_wait_for_a_name_server),
        cmocka_unit_test(numbers_need_no_look_up),
        cmocka_unit_test(the_system_resolves_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
