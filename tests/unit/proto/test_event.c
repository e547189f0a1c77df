/* The record of an ended request as a msgpack map and back: every field, both kinds, and maps of strangers.
 */
#include "proto/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

enum field_kind { KIND_TEXT, KIND_UINT, KIND_BOOL, KIND_REAL };
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
        cmocka_unit_test(text_that_is_not_utf8_does_not_spoil_the_event),
        cmocka_unit_test(a_strangers_map_is_read_as_far_as_it_is_ours),
        cmocka_unit_test(what_is_no_sound_map_is_refused),
        cmocka_unit_test(the_reference_names_each_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
