/* The tables of 05-PLUGIN say what the code does. */
#include "proto/edits.h"
#include "proto/plugin_ready.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char *document;

static int
read_document(void **state)
{
    (void)state;
    FILE *file = fopen(DYNABUS_SOURCE_DIR "/proto/05-PLUGIN.md", "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
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

static void
expect_row(const char *key, const char *meaning)
{
    char row[400];
    const char *at = strstr(document, "| fact |");
    assert_non_null(at);
    (void)snprintf(row, sizeof row, "| `%s` | ", key);
    at = strstr(at, row);
    if (at == NULL || strstr(at, meaning) == NULL) {
        print_error("%s\n", key);
    }
    assert_non_null(at);
    const char *end = strchr(at, '\n');
    const char *found = strstr(at, meaning);
    assert_true(found != NULL && found < end);
}

static void
facts_are_those_of_the_table(void **state)
{
    (void)state;
#define FACT(key, member, type, since, meaning) expect_row(key, meaning);
#include "proto/vote_facts.def"
#undef FACT
}

static void
expect_word(const char *word)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof quoted, "`%s`", word);
    assert_non_null(strstr(document, quoted));
}

static void
words_are_those_of_the_code(void **state)
{
    (void)state;
    for (unsigned stage = 1; stage < VOTE_STAGE_COUNT; stage++) {
        expect_word(vote_stage_name((enum vote_stage)stage));
    }
    for (unsigned verdict = 1; verdict < VOTE_VERDICT_COUNT; verdict++) {
        expect_word(vote_verdict_name((enum vote_verdict)verdict));
    }
    for (unsigned bit = 0; vote_need_name(bit) != NULL; bit++) {
        expect_word(vote_need_name(bit));
    }
    for (unsigned kind = 0; kind < VOTE_TEXT_KIND_COUNT; kind++) {
        expect_word(vote_text_kind_name((enum vote_text_kind)kind));
    }
}

static void
limits_are_those_of_the_code(void **state)
{
    (void)state;
    assert_int_equal(VOTE_EDITS_MAX, 1024);
    assert_int_equal(EDITS_WORK_MAX, 134217728);
    assert_int_equal(PLUGIN_SAID_MAX, 32);
    assert_int_equal(ENV_HELD_ANSWER_MAX, 1048576);
    assert_non_null(
        strstr(document, "| edits of one VOTE | 1,024; bytes walked over to find their places 134,217,728 "));
    assert_non_null(strstr(document, "| names in a READY | 32 |"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_those_of_the_table),
        cmocka_unit_test(words_are_those_of_the_code),
        cmocka_unit_test(limits_are_those_of_the_code),
    };
    return cmocka_run_group_tests(tests, read_document, free_document);
}
