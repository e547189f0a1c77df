/* Events of a router on their way to the publisher: what goes in comes out, and a stamp makes of each the
 * very bytes that one makes of a map from anywhere. */
#include "proto/event_batch.h"
#include "proto/mp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct event_record records[] = {
    {.model = DYN_SLICE_INIT("one"), .status = 200, .latency_us = 70000, .cost_usd = 0.5},
    {.failed = true, .error_code = DYN_SLICE_INIT("x"), .model = DYN_SLICE_INIT("two")},
    {.model = DYN_SLICE_INIT("three"), .timestamp_us = UINT64_MAX},
};

static void
each_comes_out_in_order(void **state)
{
    (void)state;
    struct dyn_buf batch = DYN_BUF_INIT;
    struct event_batch_item item;
    struct event_record record;
    size_t at = 0;
    for (size_t i = 0; i < DYN_ARRAY_LEN(records); i++) {
        event_batch_add(&batch, &records[i]);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(records); i++) {
        assert_true(event_batch_next(dyn_buf_slice(&batch), &at, &item));
        assert_int_equal(event_decode(event_batch_map(batch.data, &item), &record), 0);
        assert_true(dyn_slice_eq(record.model, records[i].model));
        assert_int_equal(item.failed, records[i].failed);
        assert_string_equal(event_batch_topic(&item),
                            item.failed ? EVENT_REQUEST_FAILED : EVENT_REQUEST_COMPLETED);
    }
    assert_false(event_batch_next(dyn_buf_slice(&batch), &at, &item));
    dyn_buf_fini(&batch);
}

/* The numbers and the topic take as much room as they can. */
static void
stamped_it_is_what_any_map_becomes(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(records); i++) {
        struct dyn_buf batch = DYN_BUF_INIT;
        struct dyn_buf map = DYN_BUF_INIT;
        dyn_block_t *other = NULL;
        struct event_batch_item item;
        struct event_stamp stamp = {.node = DYN_SLICE("00112233445566778899aabbccddeeff"),
                                    .epoch = UINT32_MAX,
                                    .sequence = i > 0 ? UINT64_MAX : 1,
                                    .topic_sequence = i > 0 ? UINT64_MAX : 1};
        event_encode(&records[i], &map);
        event_batch_add(&batch, &records[i]);
        event_batch_add(&batch, &records[0]); /* its neighbour stays as it is */
        size_t at = 0;
        assert_true(event_batch_next(dyn_buf_slice(&batch), &at, &item));
        stamp.topic = dyn_slice_str(event_batch_topic(&item));
        event_batch_stamp(batch.data, &item, &stamp);
        assert_int_equal(event_stamp(dyn_buf_slice(&map), &stamp, &other, NULL), 0);
        assert_true(dyn_slice_eq(event_batch_map(batch.data, &item), dyn_block_slice(other)));
        at = 0;
        assert_true(event_batch_next(dyn_buf_slice(&batch), &at, &item));
        assert_true(dyn_slice_eq(event_batch_map(batch.data, &item), dyn_block_slice(other)));
        assert_true(event_batch_next(dyn_buf_slice(&batch), &at, &item));
        struct event_record record;
        assert_int_equal(event_decode(event_batch_map(batch.data, &item), &record), 0);
        assert_true(dyn_slice_is(record.model, "one") && record.node.data == NULL);
        assert_int_equal(at, batch.len);
        dyn_block_unref(&other);
        dyn_buf_fini(&batch);
        dyn_buf_fini(&map);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_comes_out_in_order),
        cmocka_unit_test(stamped_it_is_what_any_map_becomes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
