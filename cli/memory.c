/* Memory that the start needed and serving does not. Of the fifty libraries that ours load the dynamic linker
 * reads every symbol table, and initializers run that nobody needs again: 12 MiB of pages that stay mapped,
 * though no request looks at them. What is given back here are clean pages of files, read-only and private:
 * touched again they are mapped again, from the page cache and 64 KiB at a time.
 *
 * Here, not in the library: the pages of a program that embeds a gateway are its own business. */
#include "cli/memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum {
    MAPPINGS_MAX = 512, /* some 180 are there; more are left alone */
    LINE_MAX_BYTES = 512,
    QUIET_US = MEMORY_LOOK_MS * 1000 / 100, /* processor time between two looks: 1 % */
    LOAD_US = 200 * 1000,                   /* less than this leaves nothing worth a search */
    TIMES_AFTER_LOAD = 9,                   /* until kept connections have become too old */
};

struct mapping {
    uintptr_t begin;
    uintptr_t end;
    bool is_clean_file;
};

static bool
read_place(const char *line, struct mapping *mapping)
{
    unsigned long begin = 0;
    unsigned long end = 0;
    char rights[5];
    int path_at = 0;
    if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &begin, &end, rights, &path_at) != 3) {
        return false;
    }
    *mapping = (struct mapping){
        .begin = begin,
        .end = end,
        .is_clean_file = path_at > 0 && line[path_at] == '/' && rights[1] == '-' && rights[3] == 'p',
    };
    return true;
}

/* "Anonymous" counts pages that are not those of the file any more: of relocations, of a debugger's
 * breakpoints, of whoever patches code. Where there is one the whole mapping stays. */
static size_t
read_mappings(FILE *file, struct mapping mappings[MAPPINGS_MAX])
{
    char line[LINE_MAX_BYTES];
    size_t n = 0;
    unsigned long anonymous_kib = 0;
    bool continues = false; /* the line before was longer than ours */
    while (fgets(line, sizeof line, file) != NULL) {
        bool is_begin = !continues;
        continues = strchr(line, '\n') == NULL;
        if (is_begin && n < MAPPINGS_MAX && read_place(line, &mappings[n])) {
            n++;
        } else if (is_begin && n > 0 && sscanf(line, "Anonymous: %lu", &anonymous_kib) == 1) {
            mappings[n - 1].is_clean_file = mappings[n - 1].is_clean_file && anonymous_kib == 0;
        }
    }
    return n;
}

void
memory_give_back_start(void)
{
    static struct mapping mappings[MAPPINGS_MAX];
    (void)malloc_trim(0);
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL) {
        return;
    }
    size_t n = read_mappings(file, mappings);
    (void)fclose(file);
    for (size_t i = 0; i < n; i++) {
        if (mappings[i].is_clean_file) {
            (void)madvise((void *)mappings[i].begin, mappings[i].end - mappings[i].begin, MADV_DONTNEED);
        }
    }
}

static uint64_t
processor_us(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* The allocator looks through all that is free, and who allocates waits meanwhile: so when nobody does. More
 * than once, for connections that nobody uses are kept for a while after a load. */
void
memory_give_back_after_load(void)
{
    static uint64_t last_us;
    static uint64_t given_back_at_us;
    static unsigned times_left;
    uint64_t now_us = processor_us();
    bool is_quiet = now_us - last_us < QUIET_US;
    last_us = now_us;
    if (now_us - given_back_at_us > LOAD_US) {
        times_left = TIMES_AFTER_LOAD;
    }
    if (is_quiet && times_left > 0) {
        (void)malloc_trim(0);
        times_left--;
        given_back_at_us = processor_us();
    }
}
