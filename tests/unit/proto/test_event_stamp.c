/* The publisher's members behind the map of whoever made the event: its bytes stay as they were, its own
 * claims to be numbered do not, and what is no map is refused. */
#include "proto/event.h"
#include "proto/mp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct event_stamp stamp = {
    .topic = DYN_SLICE_INIT("gateway.request.completed"),
    .node = DYN_SLICE_INIT("00112233445566778899aabbccddeeff"),
    .epoch = 1790000000,
    .sequence = 70000,
    .topic_sequence = 5,
};

static void
assert_stamped(const struct event_record *record)
{
    assert_true(dyn_slice_eq(record->topic, stamp.topic));
    assert_true(dyn_slice_eq(record->node, stamp.node));
    assert_int_equal(record->epoch, stamp.epoch);
    assert_int_equal(record->sequence, stamp.sequence);
    assert_int_equal(record->topic_sequence, stamp.topic_sequence);
}

static struct event_record
stamped(struct dyn_slice map, dyn_block_t **body)
{
    struct event_record record;
    struct dyn_err err;
    assert_int_equal(event_stamp(map, &stamp, body, &err), 0);
    assert_int_equal(mp_check(dyn_block_slice(*body), 4096, &err), 0);
    assert_int_equal(event_decode(dyn_block_slice(*body), &record), 0);
    assert_stamped(&record);
    return record;
}

static void
a_record_keeps_its_fields(void **state)
{
    (void)state;
    struct event_record record = {.model = DYN_SLICE("m"), .tokens_out = 77, .cost_usd = 0.25};
    struct dyn_buf map = DYN_BUF_INIT;
    event_encode(&record, &map);
    dyn_block_t *body = NULL;
    struct event_record again = stamped(dyn_buf_slice(&map), &body);
    assert_true(dyn_slice_is(again.model, "m"));
    assert_int_equal(again.tokens_out, 77);
    assert_true(again.cost_usd == 0.25);
    dyn_block_unref(&body);
    dyn_buf_fini(&map);
}

/* {"a": 1, "sequence": [7, 8], "node": "liar", "b": {"node": 3}} */
static void
what_it_said_of_its_own_number_is_gone(void **state)
{
    (void)state;
    struct dyn_slice map = DYN_SLICE("\x84\xa1"
                                     "a\x01\xa8"
                                     "sequence\x92\x07\x08\xa4"
                                     "node\xa4"
                                     "liar"
                                     "\xa1"
                                     "b\x81\xa4"
                                     "node\x03");
    dyn_block_t *body = NULL;
    (void)stamped(map, &body);
    struct mp_cursor cursor = mp_cursor(dyn_block_slice(body));
    struct mp_value value;
    assert_true(mp_next(&cursor, &value) && value.type == MP_MAP);
    assert_int_equal(value.number, 2 + 5);
    assert_memory_equal(cursor.next,
                        "\xa1"
                        "a\x01\xa1"
                        "b\x81\xa4"
                        "node\x03",
                        12);
    dyn_block_unref(&body);
}

/* Maps of 0 to 15, up to 65,535 and of more pairs have heads of their own; the stamp may move one across. */
static void
a_map_of_any_size_gets_a_right_head(void **state)
{
    (void)state;
    static const unsigned sizes[] = {0, 1, 10, 11, 15, 16, 2000};
    for (size_t i = 0; i < DYN_ARRAY_LEN(sizes); i++) {
        struct dyn_buf map = DYN_BUF_INIT;
        unsigned n = sizes[i];
        const char head[] = {(char)0xde, (char)(n >> 8), (char)n};
        dyn_buf_add(&map, head, sizeof head);
        for (unsigned k = 0; k < n; k++) {
            dyn_buf_add_str(&map, "\xa1k\x01");
        }
        dyn_block_t *body = NULL;
        struct dyn_err err;
        assert_int_equal(event_stamp(dyn_buf_slice(&map), &stamp, &body, &err), 0);
        struct mp_cursor cursor = mp_cursor(dyn_block_slice(body));
        struct mp_value value;
        assert_true(mp_next(&cursor, &value) && value.type == MP_MAP);
        assert_int_equal(value.number, n + 5);
        assert_int_equal(mp_check(dyn_block_slice(body), 5000, &err), 0);
        dyn_block_unref(&body);
        dyn_buf_fini(&map);
    }
}

static void
what_is_no_map_with_text_keys_is_refused(void **state)
{
    (void)state;
    static const struct dyn_slice wrong[] = {
        {NULL, 0},
        DYN_SLICE_INIT("\x01"),
        DYN_SLICE_INIT("\x81\x01\x02"),         /* a number for a key */
        DYN_SLICE_INIT("\x81\xa1k"),            /* no value */
        DYN_SLICE_INIT("\x80\x80"),             /* bytes behind it */
        DYN_SLICE_INIT("\xdf\xff\xff\xff\xff"), /* a count that lies */
        DYN_SLICE_INIT("\x81\xa1\xff\x01"),     /* not UTF-8 */
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        dyn_block_t *body = NULL;
        struct dyn_err err;
        assert_int_equal(event_stamp(wrong[i], &stamp, &body, &err), -1);
        assert_null(body);
    }
    struct dyn_buf large = DYN_BUF_INIT;
    dyn_buf_add(&large, "\x81\xa1k\xda\xff\xf0", 6);
    for (unsigned i = 0; i < 0xfff0; i++) {
        dyn_buf_add_char(&large, 'x');
    }
    dyn_block_t *body = NULL;
    struct dyn_err err;
    assert_int_equal(event_stamp(dyn_buf_slice(&large), &stamp, &body, &err), -1);
    assert_int_equal(err.code, DYN_E_LIMIT);
    dyn_buf_fini(&large);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_keeps_its_fields),
        cmocka_unit_test(what_it_said_of_its_own_number_is_gone),
        cmocka_unit_test(a_map_of_any_size_gets_a_right_head),
        cmocka_unit_test(what_is_no_map_with_text_keys_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
