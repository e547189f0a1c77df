/* 01-ENVELOPE.md and the code say the same: the tables of kinds, members and limits are read here and
 * compared with what the codec runs on. */
#include "proto/env_fields.h"
#include "proto/mp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CELLS_MAX = 8, CELL_MAX = 600 };

struct row {
    char cells[CELLS_MAX][CELL_MAX];
    size_t n;
};

static char *document;

static int
read_document(void **state)
{
    (void)state;
    FILE *file = fopen(DYNABUS_SOURCE_DIR "/proto/01-ENVELOPE.md", "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size > 0);
    rewind(file);
    document = calloc(1, (size_t)size + 1);
    assert_non_null(document);
    assert_int_equal(fread(document, 1, (size_t)size, file), (size_t)size);
    (void)fclose(file);
    return 0;
}

static int
free_document(void **state)
{
    (void)state;
    free(document);
    return 0;
}

/* Behind the head of the first table below a heading. */
static const char *
table_below(const char *heading)
{
    const char *at = strstr(document, heading);
    assert_non_null(at);
    at = strstr(at, "\n|");
    assert_non_null(at);
    at = strstr(at, "|---");
    assert_non_null(at);
    at = strchr(at, '\n');
    assert_non_null(at);
    return at + 1;
}

/* false behind the last row. Back quotes are taken off. */
static bool
next_row(const char **at, struct row *row)
{
    const char *end = strchr(*at, '\n');
    row->n = 0;
    if (**at != '|' || end == NULL) {
        return false;
    }
    for (const char *from = *at + 1; from < end;) {
        const char *to = memchr(from, '|', (size_t)(end - from));
        size_t len = 0;
        if (to == NULL) {
            break;
        }
        assert_true(row->n < CELLS_MAX && (size_t)(to - from) < CELL_MAX);
        for (const char *c = from + 1; c < to - 1; c++) {
            if (*c != '`') {
                row->cells[row->n][len++] = *c;
            }
        }
        row->cells[row->n++][len] = '\0';
        from = to + 1;
    }
    *at = end + 1;
    return true;
}

static const char *
type_word(enum env_field_type type)
{
    switch (type) {
    case ENV_FIELD_ID:
        return "id";
    case ENV_FIELD_U16:
    case ENV_FIELD_U32:
    case ENV_FIELD_U64:
        return "number";
    case ENV_FIELD_BOOL:
        return "bool";
    case ENV_FIELD_TEXT:
        return "text";
    case ENV_FIELD_BYTES:
        return "bytes";
    case ENV_FIELD_SURFACE:
    case ENV_FIELD_OUTCOME:
    case ENV_FIELD_ERROR:
    case ENV_FIELD_STAGE:
    case ENV_FIELD_VERDICT:
        return "word";
    case ENV_FIELD_HEADERS:
        return "list";
    case ENV_FIELD_USAGE:
    case ENV_FIELD_FACTS:
        return "map";
    }
    return "";
}

static void
members_are_those_of_the_table(void **state)
{
    (void)state;
    struct row row;
    const char *at = table_below("### Members of the header");
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        char limit[32];
        assert_true(next_row(&at, &row));
        assert_int_equal(row.n, 5);
        (void)snprintf(limit, sizeof limit, "%llu", (unsigned long long)env_fields[i].max);
        assert_string_equal(row.cells[0], env_fields[i].key.data);
        assert_string_equal(row.cells[1], type_word(env_fields[i].type));
        assert_string_equal(row.cells[2], limit);
        assert_in_range(env_fields[i].key.len, 1, 16);
    }
    assert_false(next_row(&at, &row));
}

static void
kinds_are_those_of_the_code(void **state)
{
    (void)state;
    struct row row;
    const char *at = table_below("### Kinds");
    for (int kind = ENV_REQUEST; kind < ENV_KIND_COUNT; kind++) {
        assert_true(next_row(&at, &row));
        assert_string_equal(row.cells[0], env_kind_name((enum env_kind)kind));
    }
    assert_false(next_row(&at, &row));
}

/* "131,072 bytes" */
static unsigned long
first_number(const char *cell)
{
    unsigned long number = 0;
    for (; (*cell >= '0' && *cell <= '9') || *cell == ','; cell++) {
        number = *cell == ',' ? number : number * 10 + (unsigned long)(*cell - '0');
    }
    return number;
}

static void
limits_are_those_of_the_code(void **state)
{
    (void)state;
    static const unsigned long limits[] = {
        ENV_HEADER_MAX,      ENV_MEMBERS_MAX,  ENV_VALUES_MAX, MP_DEPTH_MAX, ENV_CHUNK_MAX,
        ENV_HELD_ANSWER_MAX, ENV_MAP_BODY_MAX, 0 /* none */,   ENV_BODY_MAX, ENV_WINDOW_FIRST,
    };
    struct row row;
    const char *at = table_below("### Limits");
    for (size_t i = 0; i < DYN_ARRAY_LEN(limits); i++) {
        assert_true(next_row(&at, &row));
        assert_int_equal(first_number(row.cells[1]), limits[i]);
    }
    assert_false(next_row(&at, &row));
}

static void
words_are_those_of_the_code(void **state)
{
    (void)state;
    for (int surface = 0; surface < ENV_SURFACE_COUNT; surface++) {
        char word[32];
        (void)snprintf(word, sizeof word, "`%s`", env_surface_name((enum env_surface)surface));
        assert_non_null(strstr(document, word));
    }
    for (int outcome = ENV_OUTCOME_OK; outcome <= ENV_OUTCOME_CANCELLED; outcome++) {
        char word[32];
        (void)snprintf(word, sizeof word, "`%s`", env_outcome_name((enum env_outcome)outcome));
        assert_non_null(strstr(document, word));
    }
    char version[32];
    (void)snprintf(version, sizeof version, "* Version: %d.%d\n", ENV_VERSION_MAJOR, ENV_VERSION_MINOR);
    assert_non_null(strstr(document, version));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_those_of_the_table),
        cmocka_unit_test(kinds_are_those_of_the_code),
        cmocka_unit_test(limits_are_those_of_the_code),
        cmocka_unit_test(words_are_those_of_the_code),
    };
    return cmocka_run_group_tests(tests, read_document, free_document);
}
