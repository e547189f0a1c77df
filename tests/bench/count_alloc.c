/* A library to preload (LD_PRELOAD) that counts who allocates memory: calls of malloc, calloc, realloc
 * and their kin by the module that the call comes from (the program itself, libcurl, libzmq, ...). It
 * changes nothing and prints nothing: the counts stand in the file that COUNT_ALLOC_FILE names,
 * mapped, so that a measurement reads them before and after a load. bench_calls.py makes and reads it.
 *
 * libc's own calls (strdup, getaddrinfo, stdio) count as libc's, those of operator new as libstdc++'s:
 * the caller is who called malloc, not whom it was for. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ROWS_MAX = 64,    /* a gateway has about 50 modules */
    RANGES_MAX = 256, /* executable segments */
    NAME_BYTES = 48,
};

/* As bench_calls.py reads it. */
struct row {
    char name[NAME_BYTES];
    atomic_ullong calls;
    atomic_ullong bytes;
};

struct range {
    uintptr_t begin;
    uintptr_t end;
    size_t row;
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static struct row *rows; /* the last one: callers in no known module */
static struct range ranges[RANGES_MAX];
static size_t n_ranges;
static size_t n_rows;

static size_t
row_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t len = strcspn(name, "."); /* without the version */
    size_t i = 0;
    for (; i < n_rows; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0) {
            return i;
        }
    }
    if (n_rows + 1 >= ROWS_MAX || len >= NAME_BYTES) {
        return ROWS_MAX - 1;
    }
    memcpy(rows[n_rows].name, name, len);
    return n_rows++;
}

static int
add_module(struct dl_phdr_info *module, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    size_t row = row_of(module->dlpi_name[0] != '\0' ? module->dlpi_name : program_invocation_short_name);
    for (size_t i = 0; i < module->dlpi_phnum && n_ranges < RANGES_MAX; i++) {
        const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) {
            uintptr_t begin = module->dlpi_addr + segment->p_vaddr;
            ranges[n_ranges++] = (struct range){begin, begin + segment->p_memsz, row};
        }
    }
    return 0;
}

/* Before main(). What is loaded later (a plugin of a library) counts as "elsewhere". */
__attribute__((constructor)) static void
start_counting(void)
{
    const char *path = getenv("COUNT_ALLOC_FILE");
    int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, sizeof(struct row) * ROWS_MAX) != 0) {
        return;
    }
    void *memory = mmap(NULL, sizeof(struct row) * ROWS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (memory == MAP_FAILED) {
        return;
    }
    struct row *mapped = memory;
    (void)snprintf(mapped[ROWS_MAX - 1].name, NAME_BYTES, "elsewhere");
    rows = mapped;
    (void)dl_iterate_phdr(add_module, NULL);
}

static void
count(const void *caller, size_t bytes)
{
    if (rows == NULL) {
        return;
    }
    size_t row = ROWS_MAX - 1;
    for (size_t i = 0; i < n_ranges; i++) {
        if ((uintptr_t)caller >= ranges[i].begin && (uintptr_t)caller < ranges[i].end) {
            row = ranges[i].row;
            break;
        }
    }
    (void)atomic_fetch_add_explicit(&rows[row].calls, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&rows[row].bytes, bytes, memory_order_relaxed);
}

void *
malloc(size_t size)
{
    count(__builtin_return_address(0), size);
    return __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0), n * size);
    return __libc_calloc(n, size);
}

void *
realloc(void *ptr, size_t size)
{
    count(__builtin_return_address(0), size);
    return __libc_realloc(ptr, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    count(__builtin_return_address(0), size);
    return __libc_memalign(alignment, size);
}

int
posix_memalign(void **ptr_p, size_t alignment, size_t size)
{
    count(__builtin_return_address(0), size);
    void *ptr = __libc_memalign(alignment, size);
    if (ptr == NULL) {
        return ENOMEM;
    }
    *ptr_p = ptr;
    return 0;
}
