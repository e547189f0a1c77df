/* What the router answers itself: the bodies, byte for byte. */
#include "router/plan.h"
#include "router/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct dyn_slice first_models[] = {DYN_SLICE_INIT("gpt"), DYN_SLICE_INIT("a \"quoted\" one")};
static const struct dyn_slice second_models[] = {DYN_SLICE_INIT("gpt"), DYN_SLICE_INIT("other")};

static struct route_target targets[] = {
    {.name = DYN_SLICE_INIT("first"),
     .provider = DYN_SLICE_INIT("openai"),
     .models = first_models,
     .n_models = 2},
    {.name = DYN_SLICE_INIT("second"),
     .provider = DYN_SLICE_INIT("mock"),
     .models = second_models,
     .n_models = 2},
    {.name = DYN_SLICE_INIT("any"), .provider = DYN_SLICE_INIT("openai-compatible")},
};

static const bus_addr_t addrs[] = {1, 1, 1};

static bool only_admits; /* the router under test */

/* The END, or NULL; the caller frees it. */
static struct env *
answer_to(enum env_surface surface, const char *model, size_t n_targets)
{
    static struct router router;
    static struct route_plan no_plugins;
    router.options.only_admits = only_admits;
    router.options.plan = &no_plugins;
    router.loop = bus_loop_new("test");
    route_members_init(&router.members, targets, addrs, n_targets);
    struct route_request rq = {.router = &router, .model = dyn_slice_str(model)};
    rq.request = env_new(ENV_REQUEST);
    rq.request->surface = surface;
    rq.node.id = env_id_random();
    struct env *end = route_local_answer(&rq);
    if (end != NULL) {
        assert_int_equal(end->kind, ENV_END);
        assert_int_equal(end->outcome, ENV_OUTCOME_OK);
        assert_true(env_id_eq(&end->id, &rq.node.id));
        assert_true(dyn_slice_is(end->content_type, "application/json"));
        assert_int_equal(end->body_bytes, env_body_len(end));
    }
    env_free(&rq.request);
    route_members_fini(&router.members);
    bus_loop_free(&router.loop);
    return end;
}

static void
expect(enum env_surface surface, const char *model, size_t n_targets, unsigned status, const char *body)
{
    struct env *end = answer_to(surface, model, n_targets);
    assert_non_null(end);
    assert_int_equal(end->status, status);
    struct dyn_slice got = dyn_block_slice(end->body);
    assert_int_equal(got.len, strlen(body));
    assert_memory_equal(got.data, body, got.len);
    env_free(&end);
}

/* A model that two targets list belongs to the first. */
static void
each_model_is_listed_once(void **state)
{
    (void)state;
    expect(ENV_SURFACE_MODELS, NULL, 3, 200,
           "{\"object\":\"list\",\"data\":["
           "{\"id\":\"gpt\",\"object\":\"model\",\"created\":0,\"owned_by\":\"openai\"},"
           "{\"id\":\"a \\\"quoted\\\" one\",\"object\":\"model\",\"created\":0,\"owned_by\":\"openai\"},"
           "{\"id\":\"other\",\"object\":\"model\",\"created\":0,\"owned_by\":\"mock\"}]}");
    expect(ENV_SURFACE_MODELS, NULL, 0, 200, "{\"object\":\"list\",\"data\":[]}");
}

static void
a_model_is_found_by_its_whole_name(void **state)
{
    (void)state;
    expect(ENV_SURFACE_MODEL, "other", 3, 200,
           "{\"id\":\"other\",\"object\":\"model\",\"created\":0,\"owned_by\":\"mock\"}");
    static const char *const unknown[] = {"othe", "others", "OTHER", "", "first"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(unknown); i++) {
        assert_null(answer_to(ENV_SURFACE_MODEL, unknown[i], 3));
    }
}

static void
health_lists_the_targets(void **state)
{
    (void)state;
    expect(ENV_SURFACE_HEALTH, NULL, 3, 200,
           "{\"status\":\"ok\",\"providers\":["
           "{\"name\":\"first\",\"status\":\"available\",\"circuit\":\"closed\",\"models\":2,\"members\":1},"
           "{\"name\":\"second\",\"status\":\"available\",\"circuit\":\"closed\",\"models\":2,\"members\":1},"
           "{\"name\":\"any\",\"status\":\"available\",\"circuit\":\"closed\",\"models\":0,\"members\":1}]}");
    expect(ENV_SURFACE_HEALTH, NULL, 0, 503, "{\"status\":\"no_providers\",\"providers\":[]}");
}

static void
ready_is_who_can_route(void **state)
{
    (void)state;
    expect(ENV_SURFACE_READY, NULL, 2, 200,
           "{\"status\":\"ready\",\"targets\":[{\"name\":\"first\",\"routable\":true,\"members\":1},"
           "{\"name\":\"second\",\"routable\":true,\"members\":1}]}");
    expect(ENV_SURFACE_READY, NULL, 0, 503, "{\"status\":\"not_ready\",\"reason\":\"no routable targets\"}");
    only_admits = true;
    expect(ENV_SURFACE_READY, NULL, 0, 200, "{\"status\":\"ready\",\"targets\":[]}");
    only_admits = false;
}

/* The provider is known to be out: its process is there, but nothing is sent to it. */
static void
an_open_breaker_is_told(void **state)
{
    (void)state;
    health_board_t *board = health_board_new();
    targets[0].health = board;
    health_board_set_breaker(board, HEALTH_OPEN, UINT64_MAX);
    expect(ENV_SURFACE_HEALTH, NULL, 1, 200,
           "{\"status\":\"ok\",\"providers\":["
           "{\"name\":\"first\",\"status\":\"available\",\"circuit\":\"open\",\"models\":2,\"members\":1}]}");
    expect(ENV_SURFACE_READY, NULL, 1, 503, "{\"status\":\"not_ready\",\"reason\":\"no routable targets\"}");
    expect(ENV_SURFACE_READY, NULL, 2, 200,
           "{\"status\":\"ready\",\"targets\":[{\"name\":\"first\",\"routable\":false,\"members\":1},"
           "{\"name\":\"second\",\"routable\":true,\"members\":1}]}");
    health_board_set_breaker(board, HEALTH_OPEN, 1); /* its time is over: one may try */
    expect(ENV_SURFACE_HEALTH, NULL, 1, 200,
           "{\"status\":\"ok\",\"providers\":[{\"name\":\"first\",\"status\":\"available\","
           "\"circuit\":\"half-open\",\"models\":2,\"members\":1}]}");
    targets[0].health = NULL;
    health_board_unref(&board);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_model_is_listed_once), cmocka_unit_test(a_model_is_found_by_its_whole_name),
        cmocka_unit_test(health_lists_the_targets),  cmocka_unit_test(ready_is_who_can_route),
        cmocka_unit_test(an_open_breaker_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
