/* Memory that the start needed and serving does not. Of the fifty libraries that ours load the dynamic linker
 * reads every symbol table, and initializers run that nobody needs again: 12 MiB of pages that stay mapped,
 * though no request looks at them. What is given back here are clean pages of the program and its libraries,
 * read-only and private: touched again they are mapped again, from the page cache and 64 KiB at a time.
 * Pages of other files stay: whoever mapped one may have unmapped it since we looked, as the dynamic linker
 * does with its cache, and what is at that place by then may be somebody's memory.
 *
 * Here, not in the library: the pages of a program that embeds a gateway are its own business. */
#include "cli/memory.h"

#include "core/piece.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    MAPPINGS_MAX = 512, /* some 180 are there; more are left alone */
    LINE_MAX_BYTES = 512,
    FIELDS_BEFORE_PATH = 4,                 /* and behind the addresses: rights, offset, device, inode */
    QUIET_US = MEMORY_LOOK_MS * 1000 / 100, /* processor time between two looks: 1 % */
    IDLE_US = QUIET_US * 2 / 5,             /* nobody asks at all; timers take half as much */
    LOAD_US = 200 * 1000,                   /* less than this leaves nothing worth a search */
    LOOKS_AFTER_LOAD = 45,                  /* until kept connections have become too old: 90 s */
    FIRST_LOOKS = 2,                        /* each of them searches; the second finds what threads shed */
    LOOKS_A_SEARCH = 5,                     /* afterwards */
    IDLE_LOOKS = 5,
    FREE_END_BUSY = 16 * 1024 * 1024, /* bodies of 1 MiB on eight connections */
    FREE_END_QUIET = 128 * 1024,
    FROM_ARENAS_MAX = 32 * 1024 * 1024, /* the most that malloc takes */
};

struct mapping {
    uintptr_t begin;
    uintptr_t end;
    bool is_clean_file;
};

/* Read-only parts of the program and of what it has loaded, in pages. */
struct loaded {
    struct segment {
        uintptr_t begin;
        uintptr_t end;
    } segments[MAPPINGS_MAX];
    size_t n;
};

static int
note_loaded(struct dl_phdr_info *info, size_t size, void *loaded_)
{
    (void)size;
    struct loaded *loaded = loaded_;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < info->dlpi_phnum && loaded->n < MAPPINGS_MAX; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && (part->p_flags & PF_W) == 0) {
            loaded->segments[loaded->n++] =
                (struct segment){begin & ~(page - 1), (begin + part->p_memsz + page - 1) & ~(page - 1)};
        }
    }
    return 0;
}

static bool
is_loaded(const struct loaded *loaded, const struct mapping *mapping)
{
    for (size_t i = 0; i < loaded->n; i++) {
        if (mapping->begin >= loaded->segments[i].begin && mapping->end <= loaded->segments[i].end) {
            return true;
        }
    }
    return false;
}

/* Hexadecimal, followed by that character; *at_p moves behind it. */
static bool
read_address(const char **at_p, char behind, uintptr_t *address)
{
    char *end;
    *address = strtoul(*at_p, &end, 16);
    bool is_one = end != *at_p && *end == behind;
    *at_p = end + is_one;
    return is_one;
}

/* A line "begin-end rights offset device inode path"; the others tell of the mapping before them. */
static bool
read_place(const char *line, struct mapping *mapping)
{
    const char *rights = line;
    if (!read_address(&rights, '-', &mapping->begin) || !read_address(&rights, ' ', &mapping->end)) {
        return false;
    }
    const char *path = rights;
    for (unsigned i = 0; i < FIELDS_BEFORE_PATH; i++) {
        path += strcspn(path, " ");
        path += strspn(path, " ");
    }
    mapping->is_clean_file = *path == '/' && rights[1] == '-' && rights[3] == 'p';
    return true;
}

/* "Anonymous" counts pages that are not those of the file any more: of relocations, of a debugger's
 * breakpoints, of whoever patches code. Where there is one the whole mapping stays. */
static size_t
read_mappings(FILE *file, struct mapping mappings[MAPPINGS_MAX])
{
    char line[LINE_MAX_BYTES];
    static const char anonymous[] = "Anonymous:";
    size_t n = 0;
    bool continues = false; /* the line before was longer than ours */
    while (fgets(line, sizeof line, file) != NULL) {
        bool is_begin = !continues;
        continues = strchr(line, '\n') == NULL;
        if (is_begin && n < MAPPINGS_MAX && read_place(line, &mappings[n])) {
            n++;
        } else if (is_begin && n > 0 && strncmp(line, anonymous, sizeof anonymous - 1) == 0 &&
                   strtoul(line + sizeof anonymous - 1, NULL, 10) != 0) {
            mappings[n - 1].is_clean_file = false;
        }
    }
    return n;
}

void
memory_give_back_start(void)
{
    static struct mapping mappings[MAPPINGS_MAX];
    static struct loaded loaded;
    (void)malloc_trim(0);
    loaded.n = 0;
    (void)dl_iterate_phdr(note_loaded, &loaded);
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL) {
        return;
    }
    size_t n = read_mappings(file, mappings);
    (void)fclose(file);
    for (size_t i = 0; i < n; i++) {
        if (mappings[i].is_clean_file && is_loaded(&loaded, &mappings[i])) {
            (void)madvise((void *)mappings[i].begin, mappings[i].end - mappings[i].begin, MADV_DONTNEED);
        }
    }
}

/* Large bodies lie at the end of an arena. malloc would cut that off when they go, and map it anew for the
 * next ones: a hundred page faults for each request of 1 MiB, a tenth of its time. */
static void
set_free_end(int bytes)
{
    static int set;
    if (bytes != set) {
        set = bytes;
        (void)mallopt(M_TRIM_THRESHOLD, bytes);
    }
}

void
memory_keep_while_busy(void)
{
    set_free_end(FREE_END_BUSY);
    (void)mallopt(M_MMAP_THRESHOLD, FROM_ARENAS_MAX);
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

static void
give_back_freed(void)
{
    (void)malloc_trim(0);
    dyn_pieces_shed(); /* each thread at its next turn: they go with the next search */
}

/* The allocator looks through all that is free, and who allocates waits meanwhile: so when nobody does. More
 * than once, for connections that nobody uses are kept for a while after a load. The program's own pages go
 * once, when next to no request has come for longer: the next one waits for those it needs. */
void
memory_give_back_after_load(void)
{
    static uint64_t last_us;
    static uint64_t given_back_at_us;
    static unsigned looks = LOOKS_AFTER_LOAD; /* quiet ones since the last load */
    static unsigned idle_looks;
    static bool has_pages;
    uint64_t now_us = processor_us();
    uint64_t spent_us = now_us - last_us;
    last_us = now_us;
    if (now_us - given_back_at_us > LOAD_US) {
        looks = 0;
        has_pages = true;
    }
    set_free_end(spent_us < QUIET_US ? FREE_END_QUIET : FREE_END_BUSY); /* a search leaves that end alone */
    idle_looks = spent_us < IDLE_US ? idle_looks + 1 : 0;
    if (spent_us >= QUIET_US || looks == LOOKS_AFTER_LOAD) {
        return;
    }
    if (looks < FIRST_LOOKS || looks % LOOKS_A_SEARCH == 0) {
        give_back_freed();
    }
    if (has_pages && idle_looks >= IDLE_LOOKS) {
        memory_give_back_start();
        has_pages = false;
    }
    looks++;
    given_back_at_us = last_us = processor_us(); /* the search is nobody's load */
}
