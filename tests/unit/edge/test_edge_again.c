/* Requests that are sent again when a process of the gateway was lost: what the edge's client sees of it. */
#include "tests/unit/edge/edge_fixture.h"

#define CHAT_HEAD "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
#define CHAT      CHAT_HEAD "Content-Length: 2\r\n\r\n{}"

static const char lost[] = "{\"answer\":\"of the lost one\"}";
static const char whole[] = "{\"answer\":\"of the other one, which is a bit longer\"}";

static void
send_piece(struct world *world, const struct env *request, uint32_t sequence, const char *text, size_t len)
{
    struct env *chunk = first_chunk_for(request, false, "");
    dyn_block_append(&chunk->body, text, len);
    chunk->sequence = sequence;
    router_send(world, chunk);
}

static void
assert_answered(struct caller *caller, const char *body)
{
    caller_wait_answer(caller);
    assert_int_equal(caller_status(caller), 200);
    assert_string_equal(strstr(caller->got, "\r\n\r\n") + 4, body);
}

/* Whoever worked on it was lost behind byte `cut`; another sends all of it, in CHUNKs or in its END. */
static void
cut_and_start_over(struct world *world, struct caller *caller, size_t cut, bool in_chunks)
{
    caller_forget(caller);
    caller_send(caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    size_t half = cut / 2;
    send_piece(world, request, 0, lost, half);
    send_piece(world, request, 1, lost + half, cut - half);
    if (in_chunks) {
        send_piece(world, request, 0, whole, 10);
        send_piece(world, request, 1, whole + 10, 5);
    }
    const char *rest = in_chunks ? whole + 15 : whole;
    struct env *end = end_for(request, rest);
    end->body_bytes = strlen(whole);
    router_send(world, end);
    assert_answered(caller, whole);
    env_free(&request);
}

static void
a_plain_answer_cut_at_every_byte_is_repaired(void **state)
{
    (void)state;
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    for (size_t cut = 0; cut <= strlen(lost); cut++) {
        cut_and_start_over(world, &caller, cut, true);
        cut_and_start_over(world, &caller, cut, false);
    }
    caller_close(&caller);
    world_stop(world);
}

/* Twice as much passes as the window is wide, and all of it comes again: credit is for what arrives. */
static void
starting_over_costs_no_credit(void **state)
{
    (void)state;
    enum { PIECE = ENV_CHUNK_MAX, PIECES = 20 };
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    char *text = malloc(PIECE);
    memset(text, 'x', PIECE);
    caller_send(&caller, CHAT);
    struct env *request = router_take(world, ENV_REQUEST);
    size_t credit = request->credit;
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < PIECES; i++) {
            while (credit < PIECE) {
                struct env *more = router_take(world, ENV_CREDIT);
                credit += more->credit;
                env_free(&more);
            }
            credit -= PIECE;
            send_piece(world, request, i, text, PIECE);
        }
    }
    router_send(world, end_for(request, NULL));
    caller_wait_answer(&caller);
    char length[64];
    (void)snprintf(length, sizeof length, "content-length: %u\r\n", PIECE * PIECES);
    caller_assert_has(&caller, length);
    free(text);
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

static void
the_client_says_what_may_be_sent_again(void **state)
{
    (void)state;
    static const char *const words[] = {"always", "unsent", "never"};
    struct world *world = world_start();
    struct caller caller = caller_connect(world);
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        char text[256];
        (void)snprintf(text, sizeof text, CHAT_HEAD "X-Dynabus-Redeliver: %s\r\nContent-Length: 2\r\n\r\n{}",
                       words[i]);
        caller_forget(&caller);
        caller_send(&caller, text);
        struct env *request = router_take(world, ENV_REQUEST);
        assert_slice_equal(request->redeliver, words[i]);
        struct env *end = end_for(request, "{}");
        end->redelivered = (uint32_t)i;
        router_send(world, end);
        assert_answered(&caller, "{}");
        assert_int_equal(caller_has(&caller, "x-dynabus-redelivered: "), i > 0);
        env_free(&request);
    }
    caller_assert_has(&caller, "x-dynabus-redelivered: 2\r\n");
    caller_forget(&caller);
    caller_send(&caller, CHAT_HEAD "X-Dynabus-Redeliver: sometimes\r\nContent-Length: 2\r\n\r\n{}");
    struct env *request = router_take(world, ENV_REQUEST);
    assert_int_equal(request->refuse, ERR_INVALID_REQUEST);
    assert_int_equal(request->redeliver.len, 0);
    router_send(world, error_for(request, ERR_INVALID_REQUEST));
    caller_wait_answer(&caller);
    assert_int_equal(caller_status(&caller), 400);
    env_free(&request);
    caller_close(&caller);
    world_stop(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_answer_cut_at_every_byte_is_repaired),
        cmocka_unit_test(starting_over_costs_no_credit),
        cmocka_unit_test(the_client_says_what_may_be_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
