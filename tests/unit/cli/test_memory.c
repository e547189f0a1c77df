/* What is given back at the start: pages of the program and its libraries, and of nothing else. */
#include "cli/memory.c" /* of the program, not of a library */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FILE_BYTES = 1024 * 1024, PAGE_BYTES_MIN = 4096 };

/* KiB that are there of the mapping that begins so, or, with 0, of all read-only parts of files. */
static unsigned long
resident_kib(uintptr_t begin)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[LINE_MAX_BYTES];
    struct mapping mapping;
    bool is_wanted = false;
    unsigned long kib = 0;
    unsigned long sum = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (read_place(line, &mapping)) {
            is_wanted = begin != 0 ? mapping.begin == begin : mapping.is_clean_file;
        } else if (is_wanted && sscanf(line, "Rss: %lu", &kib) == 1) {
            sum += kib;
        }
    }
    (void)fclose(file);
    return sum;
}

static void
lines_about_a_mapping_are_told_from_others(void **state)
{
    static const struct {
        const char *line;
        bool is_place;
        bool is_clean_file;
    } rows[] = {
        {"7f0a00001000-7f0a00002000 r-xp 00001000 fe:01 1234   /usr/lib/libc.so.6\n", true, true},
        {"7f0a00001000-7f0a00002000 r--p 00001000 fe:01 1234   /a b (deleted)\n", true, true},
        {"7f0a00001000-7f0a00002000 rw-p 00001000 fe:01 1234   /usr/lib/libc.so.6\n", true, false},
        {"7f0a00001000-7f0a00002000 r--s 00001000 fe:01 1234   /usr/lib/libc.so.6\n", true, false},
        {"7f0a00001000-7f0a00002000 r--p 00000000 00:00 0      [anon:/name]\n", true, false},
        {"7f0a00001000-7f0a00002000 r--p 00000000 00:00 0 \n", true, false},
        {"Anonymous:             0 kB\n", false, false},
        {"FilePmdMapped:         0 kB\n", false, false},
        {"VmFlags: rd ex mr mw me\n", false, false},
        {"\n", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mapping mapping = {0};
        assert_int_equal(read_place(rows[i].line, &mapping), rows[i].is_place);
        if (rows[i].is_place) {
            assert_true(mapping.begin == 0x7f0a00001000 && mapping.end == 0x7f0a00002000);
            assert_int_equal(mapping.is_clean_file, rows[i].is_clean_file);
        }
    }
}

static void
pages_of_libraries_are_given_back(void **state)
{
    (void)state;
    unsigned long before = resident_kib(0);
    memory_give_back_start();
    assert_true(resident_kib(0) < before);
}

/* Whoever has mapped it may unmap it meanwhile, and what is there then is no file. */
static void
other_files_are_left_alone(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        (void)fputc('x', file);
    }
    (void)fflush(file);
    const volatile char *bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, fileno(file), 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    for (size_t i = 0; i < FILE_BYTES; i += PAGE_BYTES_MIN) {
        assert_int_equal(bytes[i], 'x');
    }
    assert_int_equal(resident_kib((uintptr_t)bytes), FILE_BYTES / 1024);
    memory_give_back_start();
    assert_int_equal(resident_kib((uintptr_t)bytes), FILE_BYTES / 1024);
    (void)munmap((void *)(uintptr_t)bytes, FILE_BYTES);
    (void)fclose(file);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_about_a_mapping_are_told_from_others),
        cmocka_unit_test(pages_of_libraries_are_given_back),
        cmocka_unit_test(other_files_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
