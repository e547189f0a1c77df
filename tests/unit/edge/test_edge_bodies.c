/* Bodies that the edge does not take: too long, or too much with all the others. */
#include "tests/unit/edge/edge_fixture.h"

#define CHAT_HEAD "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

static void
a_body_too_large_is_refused_without_it(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    caller_send(&caller, CHAT_HEAD "Expect: 100-continue\r\nContent-Length: 10485761\r\n\r\n");
    struct env *request = router_take(world, ENV_REQUEST);
    assert_int_equal(request->refuse, ERR_REQUEST_TOO_LARGE);
    assert_null(request->body);
    router_send(world, error_for(request, ERR_REQUEST_TOO_LARGE));
    caller_wait_end(&caller);
    assert_int_equal(caller_status(&caller), 413);
    caller_assert_has(&caller, "connection: close\r\n");
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static void
caller_send_body(struct caller *caller, size_t len)
{
    char head[256];
    (void)snprintf(head, sizeof head, CHAT_HEAD "Content-Length: %zu\r\n\r\n", len);
    caller_send(caller, head);
    char *body = calloc(1, len + 1);
    memset(body, 'x', len);
    caller_send(caller, body);
    free(body);
}

/* Bodies count together from their arrival to the end of their answers; small ones not at all. */
static void
bodies_beyond_the_memory_for_them_are_refused(void **state)
{
    (void)state;
    struct world *world = world_start_with(&(struct world_options){.max_body_memory = 100000});
    struct caller first = caller_connect(world);
    struct caller second = caller_connect(world);
    struct caller small = caller_connect(world);
    caller_send_body(&first, 60000);
    struct env *held = router_take(world, ENV_REQUEST);
    assert_int_equal(held->refuse, ERR_NONE);
    caller_send_body(&second, 60000);
    struct env *refused = router_take(world, ENV_REQUEST);
    assert_int_equal(refused->refuse, ERR_SATURATED);
    assert_null(refused->body);
    router_send(world, error_for(refused, ERR_SATURATED));
    caller_wait_end(&second);
    assert_int_equal(caller_status(&second), 429);
    caller_assert_has(&second, "retry-after: 1\r\n");
    caller_send_body(&small, HTTP_BODY_UNCOUNTED);
    struct env *passed = router_take(world, ENV_REQUEST);
    assert_int_equal(passed->refuse, ERR_NONE);
    router_send(world, end_for(held, "{}"));
    caller_wait_answer(&first);
    caller_forget(&first);
    caller_send_body(&first, 60000); /* what the first took up was given back */
    struct env *again = router_take(world, ENV_REQUEST);
    assert_int_equal(again->refuse, ERR_NONE);
    env_free(&held);
    env_free(&refused);
    env_free(&passed);
    env_free(&again);
    caller_close(&first);
    caller_close(&second);
    caller_close(&small);
    world_stop(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_too_large_is_refused_without_it),
        cmocka_unit_test(bodies_beyond_the_memory_for_them_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
