/* The last events, bounded in bytes: what is kept, what goes, and how a reader gets through them in steps. */
#include "bus/event_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void
push(struct event_ring *ring, uint64_t sequence, const char *topic, const char *text)
{
    dyn_block_t *body = dyn_block_copy(0, dyn_slice_str(text));
    event_ring_push(ring, sequence, topic, body, dyn_block_slice(body), 0);
    dyn_block_unref(&body);
}

/* Reads on and says what came, then the next sequence: "ab>3". */
static const char *
read_from(const struct event_ring *ring, uint64_t since, const char *topic, size_t max)
{
    static char text[256];
    dyn_block_t *out = dyn_block_new(0, 0);
    uint64_t next = event_ring_read(ring, since, dyn_slice_str(topic), max, &out);
    (void)snprintf(text, sizeof text, "%.*s>%u", (int)out->len, dyn_block_data(out), (unsigned)next);
    dyn_block_unref(&out);
    return text;
}

static void
a_reader_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct event_ring ring;
    event_ring_init(&ring, 100000);
    assert_string_equal(read_from(&ring, 0, "", 100), ">0");
    assert_string_equal(read_from(&ring, 7, "", 100), ">7");
    push(&ring, 1, "x.one", "a");
    push(&ring, 2, "x.two", "bb");
    push(&ring, 3, "x.one", "c");
    assert_string_equal(read_from(&ring, 0, "", 100), "abbc>4");
    assert_string_equal(read_from(&ring, 2, "", 100), "bbc>4");
    assert_string_equal(read_from(&ring, 4, "", 100), ">4");
    assert_string_equal(read_from(&ring, 0, "", 2), "a>2");
    assert_string_equal(read_from(&ring, 2, "", 2), "bb>3");
    assert_string_equal(read_from(&ring, 0, "x.", 100), "abbc>4");
    assert_string_equal(read_from(&ring, 0, "x.one", 100), "ac>4");
    assert_string_equal(read_from(&ring, 0, "x.ones", 100), ">4");
    event_ring_fini(&ring);
}

static void
the_oldest_go_when_the_bytes_are_used_up(void **state)
{
    (void)state;
    struct event_ring ring;
    event_ring_init(&ring, 10 * (EVENT_SLOT_COST + 1));
    for (uint64_t i = 1; i <= 1000; i++) {
        char text[2] = {(char)('0' + i % 10), '\0'};
        push(&ring, i, "t", text);
        assert_true(ring.bytes <= ring.limit);
    }
    assert_int_equal(ring.n, 10);
    assert_string_equal(read_from(&ring, 0, "t", 100), "1234567890>1001");
    assert_string_equal(read_from(&ring, 998, "t", 100), "890>1001");
    event_ring_fini(&ring);
    assert_int_equal(ring.bytes, 0);
}

static void
an_event_larger_than_all_is_not_kept_and_costs_none_of_the_others(void **state)
{
    (void)state;
    struct event_ring ring;
    event_ring_init(&ring, 2 * EVENT_SLOT_COST);
    push(&ring, 1, "t", "a");
    char large[2 * EVENT_SLOT_COST + 1];
    memset(large, 'z', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    push(&ring, 2, "t", large);
    assert_string_equal(read_from(&ring, 0, "", 100), "a>2");
    assert_string_equal(read_from(&ring, 2, "", 100), ">2");
    event_ring_fini(&ring);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_goes_on_where_it_stopped),
        cmocka_unit_test(the_oldest_go_when_the_bytes_are_used_up),
        cmocka_unit_test(an_event_larger_than_all_is_not_kept_and_costs_none_of_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
