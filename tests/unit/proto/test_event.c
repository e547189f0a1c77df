/* The record of an ended request as a msgpack map and back: every field, both kinds, and maps of strangers.
 */
#include "proto/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

enum field_kind { KIND_TEXT, KIND_UINT, KIND_BOOL, KIND_REAL, KIND_LIST };
enum field_where { IN_C = 1, IN_F = 2, IN_CF = 3, IN_P = 4 };

static const struct {
    const char *name;
    enum field_kind kind;
    enum field_where where;
    size_t offset;
} fields[] = {
#define EVENT_FIELD(type, name, where, help)                                                                 \
    {#name, KIND_##type, IN_##where, offsetof(struct event_record, name)},
#include "proto/event_fields.def"
#undef EVENT_FIELD
};

/* Another value in each field: its place in the table. */
static struct event_record
full_record(bool failed)
{
    struct event_record record = {.failed = failed};
    for (size_t i = 0; i < DYN_ARRAY_LEN(fields); i++) {
        void *at = (char *)&record + fields[i].offset;
        switch (fields[i].kind) {
        case KIND_TEXT:
            *(struct dyn_slice *)at = dyn_slice_str(fields[i].name);
            break;
        case KIND_UINT:
            *(uint64_t *)at = UINT64_MAX - i;
            break;
        case KIND_BOOL:
            *(bool *)at = true;
            break;
        case KIND_REAL:
            *(double *)at = 0.5 + (double)i;
            break;
        case KIND_LIST:
            *(struct dyn_slice *)at = DYN_SLICE("\x92\x81\xa1x\x90\x07"); /* [{"x": []}, 7] */
            break;
        }
    }
    return record;
}

static bool
is_same(const struct event_record *a, const struct event_record *b, size_t i)
{
    const void *left = (const char *)a + fields[i].offset;
    const void *right = (const char *)b + fields[i].offset;
    switch (fields[i].kind) {
    case KIND_TEXT:
    case KIND_LIST:
        return dyn_slice_eq(*(const struct dyn_slice *)left, *(const struct dyn_slice *)right) &&
               (((const struct dyn_slice *)left)->data == NULL) ==
                   (((const struct dyn_slice *)right)->data == NULL);
    case KIND_UINT:
        return *(const uint64_t *)left == *(const uint64_t *)right;
    case KIND_BOOL:
        return *(const bool *)left == *(const bool *)right;
    case KIND_REAL:
        return memcmp(left, right, sizeof(double)) == 0;
    }
    return false;
}

static void
each_field_comes_back_in_the_kind_that_has_it(void **state)
{
    (void)state;
    static const struct event_record nothing;
    for (int failed = 0; failed < 2; failed++) {
        struct event_record record = full_record(failed != 0);
        struct event_record again;
        struct dyn_buf map = DYN_BUF_INIT;
        event_encode(&record, &map);
        assert_int_equal(event_decode(dyn_buf_slice(&map), &again), 0);
        assert_int_equal(again.failed, failed);
        for (size_t i = 0; i < DYN_ARRAY_LEN(fields); i++) {
            bool told = (fields[i].where & (failed ? IN_F : IN_C)) != 0;
            assert_true(is_same(told ? &record : &nothing, &again, i));
        }
        dyn_buf_fini(&map);
    }
}

static void
absent_text_is_left_out_and_empty_text_is_not(void **state)
{
    (void)state;
    struct event_record record = {.model = DYN_SLICE("")};
    struct event_record again;
    struct dyn_buf map = DYN_BUF_INIT;
    event_encode(&record, &map);
    assert_int_equal(event_decode(dyn_buf_slice(&map), &again), 0);
    assert_non_null(again.model.data);
    assert_int_equal(again.model.len, 0);
    assert_null(again.provider.data);
    assert_null(again.error.data);
    dyn_buf_fini(&map);
}

/* A reader in another language refuses a whole map for one byte that is not UTF-8. */
static void
text_that_is_not_utf8_does_not_spoil_the_event(void **state)
{
    (void)state;
    struct event_record record = {
        .failed = true, .error_code = DYN_SLICE("x"), .error = DYN_SLICE("a\xC3(\xFF")};
    struct event_record again;
    struct dyn_buf map = DYN_BUF_INIT;
    event_encode(&record, &map);
    assert_int_equal(event_decode(dyn_buf_slice(&map), &again), 0);
    assert_true(dyn_slice_is(again.error, "a?(?"));
    dyn_buf_fini(&map);
}

/* Two attempts, one with all that there is to say; then as a stranger may have written it. */
static void
attempts_come_back(void **state)
{
    (void)state;
    struct event_attempt attempts[] = {
        {.target = DYN_SLICE("a"),
         .provider = DYN_SLICE("p"),
         .worker = DYN_SLICE("w"),
         .error = DYN_SLICE("UPSTREAM_ERROR"),
         .status = 503,
         .started_us = 7,
         .ttft_us = 8,
         .total_us = 9,
         .upstream_calls = 1,
         .hedge = true,
         .lost_race = true,
         .redelivery = true,
         .estimated = true,
         .tokens_in = UINT64_MAX,
         .tokens_out = 3,
         .cost_usd = 0.5},
        {.target = DYN_SLICE("b")},
    };
    struct event_attempt again[4];
    struct event_record record = {.status = 200};
    struct event_record read;
    struct dyn_buf list = DYN_BUF_INIT;
    struct dyn_buf map = DYN_BUF_INIT;
    event_attempts_encode(attempts, 2, &list);
    record.attempt_list = dyn_buf_slice(&list);
    event_encode(&record, &map);
    assert_int_equal(event_decode(dyn_buf_slice(&map), &read), 0);
    assert_int_equal(event_attempts_decode(read.attempt_list, again, 4), 2);
    assert_true(dyn_slice_is(again[0].target, "a") && dyn_slice_is(again[0].error, "UPSTREAM_ERROR"));
    assert_true(dyn_slice_is(again[0].provider, "p") && dyn_slice_is(again[0].worker, "w"));
    assert_true(again[0].hedge && again[0].lost_race && again[0].redelivery && again[0].estimated);
    assert_int_equal(again[0].status + again[0].started_us + again[0].ttft_us + again[0].total_us, 527);
    assert_true(again[0].tokens_in == UINT64_MAX && again[0].tokens_out == 3);
    assert_true(again[0].cost_usd > 0.499 && again[0].cost_usd < 0.501);
    assert_true(dyn_slice_is(again[1].target, "b") && again[1].error.data == NULL && !again[1].hedge);
    assert_int_equal(event_attempts_decode(read.attempt_list, again, 1), 1);
    assert_int_equal(event_attempts_decode(DYN_SLICE("\x93\x07\x81\x01\x02\x81\xa6target\xa1q"), again, 4),
                     3);
    assert_true(again[0].target.data == NULL && again[1].target.data == NULL);
    assert_true(dyn_slice_is(again[2].target, "q"));
    assert_int_equal(event_attempts_decode(DYN_SLICE("\x07"), again, 4), 0);
    assert_int_equal(event_attempts_decode(dyn_slice(NULL, 0), again, 4), 0);
    dyn_buf_fini(&list);
    dyn_buf_fini(&map);
}

#define MAP(text) dyn_slice((text), sizeof(text) - 1)

static void
a_strangers_map_is_read_as_far_as_it_is_ours(void **state)
{
    (void)state;
    struct event_record record;
    /* an unknown key with a container, an integer for a real, a text for a number, a key twice */
    assert_int_equal(event_decode(MAP("\x85"
                                      "\xa1x\x92\x01\x81\xa1y\xc0"
                                      "\xa8"
                                      "cost_usd\x02"
                                      "\xa8"
                                      "attempts\xa1z"
                                      "\xa6"
                                      "status\xcc\xc8"
                                      "\xa6"
                                      "status\xcd\x01\x94"),
                                  &record),
                     0);
    assert_true(record.cost_usd > 1.9 && record.cost_usd < 2.1);
    assert_int_equal(record.attempts, 0);
    assert_int_equal(record.status, 404);
    assert_false(record.failed);
}

/* In the order of the table they are looked for behind the last one. */
static void
members_are_found_in_any_order(void **state)
{
    (void)state;
    struct event_record record;
    assert_int_equal(event_decode(MAP("\x84"
                                      "\xa5"
                                      "topic\xa1t"
                                      "\xa6"
                                      "status\xcc\xc8"
                                      "\xa8"
                                      "provider\xa1p"
                                      "\xa8"
                                      "trace_id\xa1i"),
                                  &record),
                     0);
    assert_true(dyn_slice_is(record.topic, "t") && dyn_slice_is(record.provider, "p"));
    assert_true(dyn_slice_is(record.trace_id, "i"));
    assert_int_equal(record.status, 200);
}

static void
what_is_no_sound_map_is_refused(void **state)
{
    (void)state;
    const struct dyn_slice bad[] = {
        dyn_slice(NULL, 0),
        MAP("\xc0"),                                                  /* nil */
        MAP("\x91\x01"),                                              /* an array */
        MAP("\x81\x01\x01"),                                          /* a key that is no text */
        MAP("\x81\x81\x01\x01\x01"),                                  /* a key that is a map */
        MAP("\x81\xa6status"),                                        /* cut */
        MAP("\x80\x80"),                                              /* something behind */
        MAP("\xdf\xff\xff\xff\xff\xa1x\x01"),                         /* four thousand million members */
        MAP("\x81\xa5model\xdb\xff\xff\xff\xff"),                     /* a text longer than everything */
        MAP("\x81\xa5model\xa1\xff"),                                 /* not UTF-8 */
        MAP("\x81\xa1x\xc7\x01\x01\x01"),                             /* an extension */
        MAP("\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01"), /* deep */
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(bad); i++) {
        struct event_record record = full_record(true);
        assert_int_equal(event_decode(bad[i], &record), -1);
        assert_null(record.model.data);
        assert_false(record.failed);
    }
}

static void
the_reference_names_each_field(void **state)
{
    (void)state;
    struct dyn_buf page = DYN_BUF_INIT;
    event_write_reference(&page);
    for (size_t i = 0; i < DYN_ARRAY_LEN(fields); i++) {
        char row[80];
        (void)snprintf(row, sizeof row, "| `%s` |", fields[i].name);
        assert_non_null(strstr(dyn_buf_cstr(&page), row));
    }
    dyn_buf_fini(&page);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_comes_back_in_the_kind_that_has_it),
        cmocka_unit_test(absent_text_is_left_out_and_empty_text_is_not),
        cmocka_unit_test(attempts_come_back),
        cmocka_unit_test(text_that_is_not_utf8_does_not_spoil_the_event),
        cmocka_unit_test(a_strangers_map_is_read_as_far_as_it_is_ours),
        cmocka_unit_test(members_are_found_in_any_order),
        cmocka_unit_test(what_is_no_sound_map_is_refused),
        cmocka_unit_test(the_reference_names_each_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
