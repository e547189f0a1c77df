/* What is written fast is, byte for byte, what msgpack-c writes. */
#include "core/buf.h"
#include "proto/mp.h"
#include "proto/mp_json.h"
#include "proto/mp_write.h"

#include <math.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROOM = 70000 };

struct both {
    struct dyn_buf theirs;
    msgpack_packer packer;
    char *ours;
    char *at;
};

static void
begin(struct both *both)
{
    both->theirs = (struct dyn_buf)DYN_BUF_INIT;
    msgpack_packer_init(&both->packer, &both->theirs, mp_append);
    both->ours = both->at = dyn_alloc(ROOM);
}

static void
end(struct both *both)
{
    assert_int_equal(both->at - both->ours, both->theirs.len);
    assert_memory_equal(both->ours, both->theirs.data, both->theirs.len);
    dyn_buf_fini(&both->theirs);
    free(both->ours);
}

/* At the borders of each form. */
static const uint64_t numbers[] = {0,     1,      0x1f,    0x20,       0x7f,        0x80,      0xff,
                                   0x100, 0xffff, 0x10000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX};

static void
numbers_and_flags(void **state)
{
    struct both both;
    (void)state;
    begin(&both);
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        both.at = mp_put_uint(both.at, numbers[i]);
        (void)msgpack_pack_uint64(&both.packer, numbers[i]);
        both.at = mp_put_real(both.at, (double)numbers[i] / 3);
        (void)msgpack_pack_double(&both.packer, (double)numbers[i] / 3);
        both.at = mp_put_bool(both.at, i % 2 == 0);
        (void)(i % 2 == 0 ? msgpack_pack_true(&both.packer) : msgpack_pack_false(&both.packer));
    }
    end(&both);
}

static void
heads_of_maps_and_lists(void **state)
{
    struct both both;
    (void)state;
    begin(&both);
    for (size_t i = 0; numbers[i] <= UINT32_MAX; i++) {
        both.at = mp_put_array(mp_put_map(both.at, numbers[i]), numbers[i]);
        (void)msgpack_pack_map(&both.packer, numbers[i]);
        (void)msgpack_pack_array(&both.packer, numbers[i]);
    }
    end(&both);
}

static void
texts_and_blobs(void **state)
{
    static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    char *text = dyn_alloc(65536);
    (void)state;
    memset(text, 'x', 65536);
    for (size_t i = 0; i < DYN_ARRAY_LEN(lengths); i++) {
        struct both both;
        struct dyn_slice bytes = dyn_slice(text, lengths[i]);
        begin(&both);
        both.at = mp_put_any_text(both.at, bytes);
        mp_pack_text(&both.packer, bytes);
        end(&both);
        begin(&both);
        both.at = mp_put_blob(both.at, bytes);
        (void)msgpack_pack_bin(&both.packer, bytes.len);
        (void)msgpack_pack_bin_body(&both.packer, bytes.data, bytes.len);
        end(&both);
    }
    free(text);
}

static void
keys(void **state)
{
    static const struct mp_key short_key = MP_KEY("a");
    static const struct mp_key long_key = MP_KEY("abcdefghijklmnopqrstuvw");
    struct both both;
    (void)state;
    begin(&both);
    both.at = mp_put_key(mp_put_key(both.at, &long_key), &short_key);
    mp_pack_text(&both.packer, DYN_SLICE("abcdefghijklmnopqrstuvw"));
    mp_pack_text(&both.packer, DYN_SLICE("a"));
    end(&both);
}

static void
what_is_not_utf_8_has_question_marks(void **state)
{
    char out[16];
    (void)state;
    assert_int_equal(mp_put_any_text(out, DYN_SLICE("a\xff"
                                                    "b")) -
                         out,
                     4);
    assert_memory_equal(out,
                        "\xa3"
                        "a?b",
                        4);
    assert_int_equal(mp_put_any_text(out, DYN_SLICE("\xc3\xa9")) - out, 3);
    assert_memory_equal(out, "\xa2\xc3\xa9", 3);
}

/* Whatever its length, wherever a byte above ASCII stands. */
static void
texts_of_any_length(void **state)
{
    static const char *const others[] = {"", "\xc3\xa9", "\xff"};
    (void)state;
    for (size_t len = 0; len < 48; len++) {
        for (size_t at = 0; at <= len; at++) {
            for (size_t k = 0; k < DYN_ARRAY_LEN(others); k++) {
                size_t more = strlen(others[k]);
                char *text = dyn_alloc(len + more + 1); /* of its exact size: nothing is read behind it */
                char *out = dyn_alloc(len + more + MP_VALUE_ROOM);
                memset(text, 'x', len + more);
                memcpy(text + at, others[k], more);
                char *end = mp_put_any_text(out, dyn_slice(text, len + more));
                text[at] = k == 2 ? '?' : text[at];
                const char *head = mp_put_text_head(out, len + more);
                assert_int_equal(end - head, len + more);
                assert_memory_equal(head, text, len + more);
                free(text);
                free(out);
            }
        }
    }
}

/* As printf's %.15g has them, which is not asked for whole ones. */
static void
numbers_as_json(void **state)
{
    static const struct {
        double real;
        const char *text;
    } rows[] = {{0, "0"},
                {-0.0, "-0"},
                {7, "7"},
                {999999999999999, "999999999999999"},
                {1e15, "1e+15"},
                {-3, "-3"},
                {0.25, "0.25"},
                {1e300, "1e+300"},
                {2.5e-7, "2.5e-07"},
                {1e15 + 2, "1e+15"},
                {(double)INFINITY, "null"},
                {(double)NAN, "null"}};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        char bytes[16];
        struct dyn_buf out = DYN_BUF_INIT;
        char *end = mp_put_real(bytes, rows[i].real);
        struct mp_cursor cursor = mp_cursor(dyn_slice(bytes, (size_t)(end - bytes)));
        mp_write_json(&cursor, &out);
        assert_string_equal(dyn_buf_cstr(&out), rows[i].text);
        dyn_buf_fini(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_flags),   cmocka_unit_test(heads_of_maps_and_lists),
        cmocka_unit_test(texts_and_blobs),     cmocka_unit_test(keys),
        cmocka_unit_test(numbers_as_json),     cmocka_unit_test(what_is_not_utf_8_has_question_marks),
        cmocka_unit_test(texts_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
