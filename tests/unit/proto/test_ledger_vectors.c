/* The test vectors of 06-LEDGER (proto/vectors/1.3/ledger.json): what is read is written as they say. That
 * they hold what they claim is checked with another implementation of MessagePack, in
 * tests/client/test_vectors.py. */
#include "core/json_tree.h"
#include "core/rand.h"
#include "proto/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

static struct cJSON *
load(const char *path)
{
    struct dyn_buf text = DYN_BUF_INIT;
    struct json_error error;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t got = 1; got > 0;) {
        char *room = dyn_buf_room(&text, 65536);
        got = fread(room, 1, 65536, file);
        text.len += got;
    }
    (void)fclose(file);
    struct cJSON *tree = json_tree_parse(dyn_buf_slice(&text), 16, &error);
    assert_non_null(tree);
    dyn_buf_fini(&text);
    return tree;
}

static const char *
string_of(const struct cJSON *object, const char *key)
{
    const struct cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static dyn_block_t *
write_again(struct ledger_message *message)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    struct mp_cursor cursor = mp_cursor(message->rows);
    struct ledger_row row;
    size_t n = 0;
    while (ledger_row_next(&cursor, &row)) {
        if (row.table != LEDGER_TABLES) {
            ledger_row_encode(&row, &rows);
            n++;
        }
    }
    message->rows = dyn_buf_slice(&rows);
    message->n_rows = n;
    dyn_block_t *written = ledger_message_encode(message);
    dyn_buf_fini(&rows);
    return written;
}

static void
bodies_are_read_and_written(void **state)
{
    (void)state;
    struct cJSON *vectors = load(DYNABUS_SOURCE_DIR "/proto/vectors/1.3/ledger.json");
    const struct cJSON *vector;
    unsigned refused = 0, taken = 0;
    cJSON_ArrayForEach(vector, vectors)
    {
        const char *hex = string_of(vector, "body");
        const char *expected = string_of(vector, "written");
        size_t len = strlen(hex) / 2;
        uint8_t *bytes = dyn_alloc(len + 1);
        struct ledger_message message;
        struct dyn_err err;
        assert_int_equal(dyn_hex_decode(bytes, len, dyn_slice_str(hex)), 0);
        int rc = ledger_message_decode(dyn_slice((const char *)bytes, len), &message, &err);
        if (string_of(vector, "error") != NULL) {
            assert_int_equal(rc, -1);
            refused++;
        } else {
            assert_int_equal(rc, 0);
            dyn_block_t *written = write_again(&message);
            struct dyn_slice body = dyn_block_slice(written);
            char *shown = dyn_zalloc(2 * body.len + 1);
            dyn_hex_encode(shown, (const uint8_t *)body.data, body.len);
            assert_string_equal(shown, expected != NULL ? expected : hex);
            free(shown);
            dyn_block_unref(&written);
            taken++;
        }
        free(bytes);
    }
    assert_true(refused >= 10 && taken >= 15);
    json_tree_free(&vectors);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bodies_are_read_and_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
