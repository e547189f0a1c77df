/* What a worker says it serves, as a map and back; maps of strangers are taken whole or not at all. */
#include "proto/ready.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

struct reading {
    struct arena arena;
    struct ready ready;
    struct dyn_err err;
    int result;
};

static struct reading
read_body(struct dyn_slice body)
{
    struct reading reading = {.result = 0};
    arena_init(&reading.arena, NULL, 0);
    reading.result = ready_decode(body, &reading.arena, &reading.ready, &reading.err);
    return reading;
}

#define BYTES(text) dyn_slice(text, sizeof text - 1)

static void
all_members_come_back(void **state)
{
    (void)state;
    static const struct dyn_slice models[] = {DYN_SLICE_INIT("gpt-4o"), DYN_SLICE_INIT("caf\xc3\xa9/7b")};
    const struct ready_target targets[] = {
        {.name = DYN_SLICE("first"),
         .provider = DYN_SLICE("openai"),
         .dialect = DYN_SLICE("openai_chat"),
         .models = models,
         .n_models = 2,
         .surfaces = 1u << ENV_SURFACE_CHAT | 1u << ENV_SURFACE_MODELS,
         .any_model = true},
        {.name = DYN_SLICE("second")},
    };
    struct ready ready = {targets, 2};
    struct dyn_buf body = DYN_BUF_INIT;
    ready_encode(&ready, &body);
    struct reading reading = read_body(dyn_buf_slice(&body));
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.ready.n_targets, 2);
    const struct ready_target *first = &reading.ready.targets[0];
    assert_true(dyn_slice_is(first->name, "first"));
    assert_true(dyn_slice_is(first->provider, "openai"));
    assert_true(dyn_slice_is(first->dialect, "openai_chat"));
    assert_int_equal(first->n_models, 2);
    assert_true(dyn_slice_eq(first->models[1], models[1]));
    assert_int_equal(first->surfaces, targets[0].surfaces);
    assert_true(first->any_model);
    const struct ready_target *second = &reading.ready.targets[1];
    assert_true(dyn_slice_is(second->name, "second"));
    assert_null(second->provider.data);
    assert_true(dyn_slice_is(second->dialect, READY_DIALECT)); /* what is not said */
    assert_int_equal(second->surfaces, 1u << ENV_SURFACE_CHAT);
    assert_int_equal(second->n_models, 0);
    assert_false(second->any_model);
    arena_fini(&reading.arena);
    dyn_buf_fini(&body);
}

/* 02-WORKER's example, byte by byte: other languages write the same. */
static void
the_form_is_that_of_the_specification(void **state)
{
    (void)state;
    static const struct dyn_slice models[] = {DYN_SLICE_INIT("m")};
    const struct ready_target target = {
        .name = DYN_SLICE("t"), .provider = DYN_SLICE("mock"), .models = models, .n_models = 1};
    struct ready ready = {&target, 1};
    struct dyn_buf body = DYN_BUF_INIT;
    ready_encode(&ready, &body);
    assert_true(
        dyn_slice_eq(dyn_buf_slice(&body), BYTES("\x81\xa7targets\x91\x83\xa4name\xa1t\xa8provider\xa4mock"
                                                 "\xa6models\x91\xa1m")));
    dyn_buf_fini(&body);
}

static void
what_no_request_can_name_is_left_out(void **state)
{
    (void)state;
    static const struct dyn_slice models[] = {DYN_SLICE_INIT("\xff"), DYN_SLICE_INIT(""),
                                              DYN_SLICE_INIT("m")};
    const struct ready_target targets[] = {{.name = DYN_SLICE("t"), .models = models, .n_models = 3},
                                           {.name = DYN_SLICE("\xc0\x80")}};
    struct ready ready = {targets, 2};
    struct dyn_buf body = DYN_BUF_INIT;
    ready_encode(&ready, &body);
    struct reading reading = read_body(dyn_buf_slice(&body));
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.ready.n_targets, 1);
    assert_int_equal(reading.ready.targets[0].n_models, 1);
    assert_true(dyn_slice_is(reading.ready.targets[0].models[0], "m"));
    arena_fini(&reading.arena);
    dyn_buf_fini(&body);
}

/* More models than a READY may name: the first ones go, and a router takes the body. */
static void
too_many_models_are_cut(void **state)
{
    (void)state;
    enum { N = READY_MODELS_MAX + 10 };
    struct dyn_slice *models = dyn_alloc(N * sizeof *models);
    for (size_t i = 0; i < N; i++) {
        models[i] = DYN_SLICE("m");
    }
    const struct ready_target targets[] = {{.name = DYN_SLICE("t"), .models = models, .n_models = N},
                                           {.name = DYN_SLICE("u"), .models = models, .n_models = 1}};
    struct ready ready = {targets, 2};
    struct dyn_buf body = DYN_BUF_INIT;
    ready_encode(&ready, &body);
    struct reading reading = read_body(dyn_buf_slice(&body));
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.ready.targets[0].n_models, READY_MODELS_MAX);
    assert_int_equal(reading.ready.targets[1].n_models, 0);
    arena_fini(&reading.arena);
    dyn_buf_fini(&body);
    free(models);
}

static void
later_versions_may_say_more(void **state)
{
    (void)state;
    struct reading reading =
        read_body(BYTES("\x82\xa6region\xa2"
                        "eu\xa7targets\x91\x83\xa4load\x92\x01\xcb\0\0\0\0\0\0\0\0\xa4name\xa1t"
                        "\xa8surfaces\x91\xa5later"));
    assert_int_equal(reading.result, 0);
    assert_int_equal(reading.ready.n_targets, 1);
    assert_true(dyn_slice_is(reading.ready.targets[0].name, "t"));
    assert_int_equal(reading.ready.targets[0].surfaces, 0); /* only one that we do not know */
    arena_fini(&reading.arena);
}

static void
nothing_serves_nothing(void **state)
{
    (void)state;
    struct reading absent = read_body(dyn_slice(NULL, 0));
    struct reading empty = read_body(BYTES("\x80"));
    assert_int_equal(absent.result, 0);
    assert_int_equal(absent.ready.n_targets, 0);
    assert_int_equal(empty.result, 0);
    assert_int_equal(empty.ready.n_targets, 0);
    arena_fini(&absent.arena);
    arena_fini(&empty.arena);
}

static void
what_breaks_a_rule_is_refused_whole(void **state)
{
    (void)state;
    static const struct {
        struct dyn_slice body;
        const char *says;
    } cases[] = {
        {{"\xc1", 1}, ""},
        {{"\x90", 1}, "'body' must be a map"},
        {{"\x81\x01\x02", 3}, "'body' has a key that is no text"},
        {{"\x81\xa7targets\x80", 10}, "'targets' must be a list"},
        {{"\x81\xa7targets\x91\x01", 11}, "'targets' must be a map"},
        {{"\x81\xa7targets\x91\x80", 11}, "'name' is missing"},
        {{"\x81\xa7targets\x91\x81\xa4name\x01", 17}, "'name' must be text"},
        {{"\x81\xa7targets\x91\x81\xa4name\xa0", 17}, "'name' has 1 to 256 bytes"},
        {{"\x81\xa7targets\x91\x81\xa4name\xa1\n", 18}, "'name' has a control character"},
        {{"\x81\xa7targets\x91\x82\xa4name\xa1t\xa4name\xa1t", 25}, "'name' stands twice"},
        {{"\x81\xa7targets\x92\x81\xa4name\xa1t\x81\xa4name\xa1t", 26}, "names a target twice"},
        {{"\x81\xa7targets\x91\x82\xa4name\xa1t\xa6models\xa1m", 27}, "'models' must be a list"},
        {{"\x81\xa7targets\x91\x82\xa4name\xa1t\xa6models\x91\x01", 27}, "'models' must be text"},
        {{"\x81\xa7targets\x91\x82\xa4name\xa1t\xa8surfaces\x91\x01", 29}, "list of words"},
        {{"\x81\xa7targets\x91\x82\xa4name\xa1t\xa9"
          "any_model\x01",
          29},
         "true or false"},
        {{"\x82\xa7targets\x90\xa7targets\x90", 19}, "'targets' stands twice"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct reading reading = read_body(cases[i].body);
        assert_int_equal(reading.result, -1);
        assert_int_equal(reading.ready.n_targets, 0);
        if (strstr(reading.err.text, cases[i].says) == NULL) {
            fail_msg("case %zu: '%s' is not in '%s'", i, cases[i].says, reading.err.text);
        }
        arena_fini(&reading.arena);
    }
}

static void
pack_text(msgpack_packer *packer, const char *text)
{
    (void)msgpack_pack_str(packer, strlen(text));
    (void)msgpack_pack_str_body(packer, text, strlen(text));
}

/* n targets of m models each, all named alike or not. */
static void
pack_many(msgpack_sbuffer *out, size_t n, size_t m)
{
    msgpack_packer packer;
    char name[32];
    msgpack_sbuffer_init(out);
    msgpack_packer_init(&packer, out, msgpack_sbuffer_write);
    (void)msgpack_pack_map(&packer, 1);
    pack_text(&packer, "targets");
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "t%zu", i);
        (void)msgpack_pack_map(&packer, 2);
        pack_text(&packer, "name");
        pack_text(&packer, name);
        pack_text(&packer, "models");
        (void)msgpack_pack_array(&packer, m);
        for (size_t j = 0; j < m; j++) {
            pack_text(&packer, "m");
        }
    }
}

static void
assert_many(size_t n, size_t m, int result)
{
    msgpack_sbuffer out;
    pack_many(&out, n, m);
    struct reading reading = read_body(dyn_slice(out.data, out.size));
    assert_int_equal(reading.result, result);
    arena_fini(&reading.arena);
    msgpack_sbuffer_destroy(&out);
}

static void
limits_hold(void **state)
{
    (void)state;
    assert_many(READY_TARGETS_MAX, READY_MODELS_MAX / READY_TARGETS_MAX, 0);
    assert_many(READY_TARGETS_MAX, READY_MODELS_MAX / READY_TARGETS_MAX + 1, -1);
    assert_many(READY_TARGETS_MAX + 1, 1, -1);
    assert_many(1, READY_MODELS_MAX, 0);
    assert_many(1, READY_MODELS_MAX + 1, -1);
    assert_many(1, 100000, -1); /* refused before anything is allocated for it */
}

/* A body that ends early says nothing at all. */
static void
every_prefix_is_refused(void **state)
{
    (void)state;
    msgpack_sbuffer out;
    pack_many(&out, 3, 2);
    for (size_t len = 1; len < out.size; len++) {
        struct reading reading = read_body(dyn_slice(out.data, len));
        assert_int_equal(reading.result, -1);
        assert_int_equal(reading.ready.n_targets, 0);
        arena_fini(&reading.arena);
    }
    msgpack_sbuffer_destroy(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_members_come_back),
        cmocka_unit_test(the_form_is_that_of_the_specification),
        cmocka_unit_test(what_no_request_can_name_is_left_out),
        cmocka_unit_test(too_many_models_are_cut),
        cmocka_unit_test(later_versions_may_say_more),
        cmocka_unit_test(nothing_serves_nothing),
        cmocka_unit_test(what_breaks_a_rule_is_refused_whole),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(every_prefix_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
