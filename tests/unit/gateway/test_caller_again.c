/* A plain answer that starts over: the library hands over the last one, whole. */
#include "gateway/caller.h"
#include "tests/unit/edge/stage.h"

struct outcome {
    struct gate gate;
    int status;
    char body[64];
};

static void
answered(void *user, const struct dynabus_answer *answer)
{
    struct outcome *outcome = user;
    CHECK(answer->body_len < sizeof outcome->body);
    outcome->status = answer->status;
    memcpy(outcome->body, answer->body, answer->body_len);
    gate_open(&outcome->gate);
}

static void
send_piece(struct stage *stage, struct extra *router, const struct env *request, enum env_kind kind,
           uint32_t sequence, const char *text)
{
    struct env *env = env_about(kind, request);
    env->sequence = sequence;
    env->body = dyn_block_copy(0, dyn_slice_str(text));
    if (kind == ENV_END) {
        env->outcome = ENV_OUTCOME_OK;
        env->body_bytes = strlen("the whole one");
    }
    stage_send(stage, router, request->from, env);
}

/* Of two attempts the second counts, in whatever form it comes. */
static void
the_answer_that_came_last_is_handed_over(void **state)
{
    (void)state;
    for (unsigned in_chunks = 0; in_chunks < 2; in_chunks++) {
        struct stage stage;
        struct extra router = {.n_got = 0};
        struct outcome outcome = {.status = 0};
        struct dynabus_request asked = {.body = "{}", .body_len = 2};
        gate_init(&outcome.gate, 1);
        stage_init(&stage, 0);
        stage_add(&stage, &router);
        caller_t *caller = caller_new(router.addr, DYN_SLICE("secret"));
        (void)bus_add_actor(stage.bus, stage.loop, &caller_actor_ops, caller);
        stage_start(&stage);
        assert_int_equal(caller_submit(caller, &asked, NULL, answered, &outcome), 0);
        stage_do(&stage, NULL, NULL);
        struct env *request = extra_take(&router, ENV_REQUEST);
        send_piece(&stage, &router, request, ENV_CHUNK, 0, "of the one");
        send_piece(&stage, &router, request, ENV_CHUNK, 1, " that was lost");
        if (in_chunks) {
            send_piece(&stage, &router, request, ENV_CHUNK, 0, "the ");
            send_piece(&stage, &router, request, ENV_CHUNK, 1, "whole ");
        }
        send_piece(&stage, &router, request, ENV_END, 0, in_chunks ? "one" : "the whole one");
        gate_wait(&outcome.gate);
        assert_int_equal(outcome.status, 200);
        assert_string_equal(outcome.body, "the whole one");
        stage_stop(&stage);
        extra_fini(&router);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_that_came_last_is_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
