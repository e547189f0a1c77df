/* usage: bench_limits [seconds per line]
 * What a take costs: one bucket, four at once, by name; one thread, and two at the same bucket. */
#include "core/clock.h"
#include "limits/counters.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 1000, NAMES = 200 };

struct line {
    const char *name;
    void (*run)(struct line *line, struct counters_cache *cache, struct limits_now now);
    struct bucket buckets[4];
    struct limit_spec spec;
    counters_t *counters;
    struct name_hash names[NAMES];
    uint64_t run_us;
};

static void
one(struct line *line, struct counters_cache *cache, struct limits_now now)
{
    (void)cache;
    struct limit_take take = {.bucket = &line->buckets[0], .spec = &line->spec, .n = 1};
    (void)bucket_take(&take, now);
}

static void
four(struct line *line, struct counters_cache *cache, struct limits_now now)
{
    (void)cache;
    struct limit_take takes[4];
    for (size_t i = 0; i < 4; i++) {
        takes[i] = (struct limit_take){.bucket = &line->buckets[i], .spec = &line->spec, .n = 1};
    }
    (void)limit_take_all(takes, 4, now);
}

static void
named(struct line *line, struct counters_cache *cache, struct limits_now now)
{
    struct name_hash name = line->names[now.mono_us % NAMES];
    struct counter *counter = counters_open(cache, name, &line->spec, now);
    struct limit_take take = {.bucket = &counter->bucket, .spec = &line->spec, .n = 1};
    (void)bucket_take(&take, now);
    counter_close(counter);
}

static void
hashed(struct line *line, struct counters_cache *cache, struct limits_now now)
{
    struct name_hash name = counters_name(line->counters, 1, DYN_SLICE("0123456789abcdef"));
    struct counter *counter = counters_open(cache, name, &line->spec, now);
    struct limit_take take = {.bucket = &counter->bucket, .spec = &line->spec, .n = 1};
    (void)bucket_take(&take, now);
    counter_close(counter);
}

static void *
run(void *self)
{
    struct line *line = self;
    struct counters_cache cache;
    counters_cache_init(&cache, line->counters);
    uint64_t begin = dyn_mono_us(&dyn_clock_system), now = begin, n = 0;
    while (now - begin < line->run_us) {
        for (int i = 0; i < BATCH; i++) {
            line->run(line, &cache, (struct limits_now){now + (unsigned)i, now});
        }
        n += BATCH;
        now = dyn_mono_us(&dyn_clock_system);
    }
    counters_cache_fini(&cache);
    double *ns = malloc(sizeof *ns);
    *ns = (double)(now - begin) * 1e3 / (double)n;
    return ns;
}

static double
measure(struct line *line, size_t n_threads)
{
    pthread_t threads[2];
    double sum = 0;
    for (size_t i = 0; i < n_threads; i++) {
        DYN_ASSERT(pthread_create(&threads[i], NULL, run, line) == 0);
    }
    for (size_t i = 0; i < n_threads; i++) {
        void *ns = NULL;
        DYN_ASSERT(pthread_join(threads[i], &ns) == 0);
        sum += *(double *)ns;
        free(ns);
    }
    return sum / (double)n_threads;
}

int
main(int argc, char **argv)
{
    static struct line lines[] = {{.name = "one bucket", .run = one},
                                  {.name = "four buckets, all or none", .run = four},
                                  {.name = "one of 200 names", .run = named},
                                  {.name = "the same, name hashed each time", .run = hashed}};
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    printf("%-34s %12s %12s\n", "take", "1 thread", "2 threads");
    for (size_t i = 0; i < DYN_ARRAY_LEN(lines); i++) {
        struct line *line = &lines[i];
        struct limits_now now = {dyn_mono_us(&dyn_clock_system), 0};
        struct dyn_err err;
        DYN_ASSERT(limit_spec_init(&line->spec, LIMIT_RATE, 1000000000, 1000000, 0, &err) == 0);
        line->counters = counters_new(NAMES * 2);
        line->run_us = (uint64_t)(seconds * 1e6);
        for (size_t b = 0; b < 4; b++) {
            bucket_init(&line->buckets[b], &line->spec, now);
        }
        for (unsigned name = 0; name < NAMES; name++) {
            line->names[name] = counters_name(line->counters, name, DYN_SLICE("key"));
        }
        double alone = measure(line, 1), together = measure(line, 2);
        printf("%-34s %9.1f ns %9.1f ns\n", line->name, alone, together);
        counters_free(&line->counters);
    }
    return 0;
}
