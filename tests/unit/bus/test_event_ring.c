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
    event_ring_push(ring, sequence, topic, dyn_slice_str(text));
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
    large[EVENT_SLOT_COST + 1] = '\0'; /* the map alone would fit */
    push(&ring, 3, "t", large);
    assert_string_equal(read_from(&ring, 0, "", 100), "a>2");
    assert_string_equal(read_from(&ring, 2, "", 100), ">2");
    event_ring_fini(&ring);
}

static void
nothing_is_kept_and_nothing_owned_without_room(void **state)
{
    (void)state;
    struct event_ring ring;
    event_ring_init(&ring, 0);
    push(&ring, 1, "t", "a");
    push(&ring, 2, "t", "");
    assert_string_equal(read_from(&ring, 0, "", 100), ">0");
    assert_null(ring.memory);
    event_ring_fini(&ring);
    event_ring_init(&ring, 4096);
    assert_null(ring.memory); /* until there is something to keep */
    event_ring_fini(&ring);
}

enum { SHORT_FROM = 5000 };
/* The text of an event, told by its number: 0 to 299 bytes, and later 0 to 29. */
static size_t
text_of(uint64_t sequence, char text[300])
{
    size_t len = (size_t)(sequence * 7919 % (sequence < SHORT_FROM ? 300 : 30));
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + (sequence + i) % 26);
    }
    return len;
}

static void
check_all(const struct event_ring *ring, uint64_t oldest, uint64_t newest)
{
    dyn_block_t *out = dyn_block_new(0, 0);
    char text[300];
    size_t at = 0;
    assert_int_equal(event_ring_read(ring, 0, DYN_SLICE(""), SIZE_MAX, &out), newest + 1);
    for (uint64_t sequence = oldest; sequence <= newest; sequence++) {
        size_t len = text_of(sequence, text);
        assert_true(out->len - at >= len);
        assert_memory_equal(dyn_block_data(out) + at, text, len);
        at += len;
    }
    assert_int_equal(at, out->len);
    dyn_block_unref(&out);
}

/* Of every length, so that each place of the end is met: what passes it comes back whole. */
static void
a_map_that_passes_the_end_goes_on_at_the_front(void **state)
{
    (void)state;
    struct event_ring ring;
    char text[300];
    size_t n_split = 0;
    event_ring_init(&ring, 10007);
    for (uint64_t sequence = 1; sequence <= 3000; sequence++) {
        event_ring_push(&ring, sequence, "t", dyn_slice(text, text_of(sequence, text)));
        assert_true(ring.bytes <= ring.limit && ring.held <= ring.size);
        const struct event_slot *newest = &ring.slots[(ring.first + ring.n - 1) & (ring.cap - 1)];
        n_split += newest->at + newest->len > ring.size;
        check_all(&ring, sequence + 1 - ring.n, sequence);
    }
    assert_in_range(n_split, 30, 60); /* once a round of some 70 events */
    event_ring_fini(&ring);
}

/* Long ones first, so that slots wrap around; short ones then need more slots. */
static void
slots_that_wrapped_around_grow(void **state)
{
    (void)state;
    struct event_ring ring;
    char text[300];
    uint64_t sequence = SHORT_FROM - 1000;
    bool has_wrapped = false;
    event_ring_init(&ring, 40 * 1024);
    for (; sequence < SHORT_FROM; sequence++) {
        event_ring_push(&ring, sequence, "t", dyn_slice(text, text_of(sequence, text)));
    }
    for (size_t cap = ring.cap; ring.cap == cap; sequence++) {
        has_wrapped = has_wrapped || ring.first + ring.n > cap;
        event_ring_push(&ring, sequence, "t", dyn_slice(text, text_of(sequence, text)));
    }
    assert_true(has_wrapped);
    check_all(&ring, sequence - ring.n, sequence - 1);
    event_ring_fini(&ring);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_goes_on_where_it_stopped),
        cmocka_unit_test(the_oldest_go_when_the_bytes_are_used_up),
        cmocka_unit_test(an_event_larger_than_all_is_not_kept_and_costs_none_of_the_others),
        cmocka_unit_test(nothing_is_kept_and_nothing_owned_without_room),
        cmocka_unit_test(a_map_that_passes_the_end_goes_on_at_the_front),
        cmocka_unit_test(slots_that_wrapped_around_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
