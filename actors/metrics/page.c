/* See page.h. What the kernel says of this process (proc(5)) is read here too. */
#include "actors/metrics/page.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- this process ---- */

static double
cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* Reads a small file of /proc; "" when there is none. */
static void
read_file(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(out, 1, size - 1, file) : 0;
    out[len] = '\0';
    if (file != NULL) {
        (void)fclose(file);
    }
}

static double
resident_bytes(void)
{
    char text[128];
    unsigned long pages;
    read_file("/proc/self/statm", text, sizeof text);
    const char *second = strchr(text, ' '); /* the first is the size of the address space */
    pages = second != NULL ? strtoul(second, NULL, 10) : 0;
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double
open_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL) {
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            (void)closedir(dir);
            break;
        }
        n += entry->d_name[0] != '.' ? 1 : 0;
    }
    return n > 0 ? (double)(n - 1) : 0; /* without the one that looked */
}

static double
max_files(void)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return (double)limit.rlim_cur;
}

/* Field 22 of /proc/self/stat counts ticks since the boot, of which /proc/stat knows the date. */
static double
start_seconds(void)
{
    char text[1024];
    unsigned long long ticks = 0;
    unsigned long long boot = 0;
    read_file("/proc/self/stat", text, sizeof text);
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    for (unsigned field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    ticks = at != NULL ? strtoull(at, NULL, 10) : 0;
    FILE *file = fopen("/proc/stat", "re");
    while (file != NULL && boot == 0 && fgets(text, sizeof text, file) != NULL) {
        boot = strncmp(text, "btime ", 6) == 0 ? strtoull(text + 6, NULL, 10) : 0;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return (double)boot + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* ---- the page ---- */

enum { LABELS_MAX = 2 }; /* of a family of a process's own figures */

/* "remote, success" into its values. */
static void
split_labels(const char *text, struct dyn_slice labels[LABELS_MAX])
{
    for (size_t i = 0; i < LABELS_MAX; i++) {
        size_t len = text != NULL ? strcspn(text, ",") : 0;
        labels[i] = dyn_slice(text, len);
        text = text != NULL && text[len] != '\0' ? text + len + strlen(", ") : NULL;
    }
}

/* A process counts microseconds where the page has seconds (proto/metrics.def). */
static void
write_node_value(enum metric_family_id family, uint64_t value, struct dyn_buf *out)
{
    if (strcmp(metric_families[family].unit, "seconds") == 0) {
        metrics_text_real(out, (double)value / 1e6);
    } else {
        metrics_text_uint(out, value);
    }
}

static void
write_node_family(const struct metrics_facts *facts, enum metric_family_id family, struct dyn_buf *out)
{
    metrics_text_head(out, family);
    for (size_t i = 0; i < NODE_VALUES; i++) {
        if (node_value_rows[i].family == family) {
            struct dyn_slice labels[LABELS_MAX];
            split_labels(node_value_rows[i].label, labels);
            metrics_text_name(out, family, "", labels, NULL);
            write_node_value(family, facts->values.values[i], out);
        }
    }
}

static void
write_breakers(const struct metrics_facts *facts, enum metric_family_id family, struct dyn_buf *out)
{
    static const uint64_t figures[] = {[HEALTH_CLOSED] = 0, [HEALTH_OPEN] = 1, [HEALTH_HALF_OPEN] = 2};
    metrics_text_head(out, family);
    for (size_t i = 0; i < facts->breakers.n; i++) {
        const struct node_breaker *breaker = &facts->breakers.items[i];
        struct dyn_slice label = dyn_slice(breaker->name, breaker->name_len);
        metrics_text_name(out, family, "", &label, NULL);
        metrics_text_uint(out, figures[breaker->state]);
    }
}

static void
write_one(enum metric_family_id family, struct dyn_slice label, double value, struct dyn_buf *out)
{
    metrics_text_head(out, family);
    metrics_text_name(out, family, "", &label, NULL);
    metrics_text_real(out, value);
}

static void
write_self(const struct metrics_facts *facts, struct dyn_buf *out)
{
    const struct dyn_slice none = {NULL, 0};
    write_one(METRIC_NODES, none, facts->nodes, out);
    write_one(METRIC_CONFIG_HASHES, none, facts->configs, out);
    write_one(METRIC_CONFIG_VERSION, none, (double)facts->config_version, out);
    if (facts->config.len > 0) {
        write_one(METRIC_CONFIG_INFO, facts->config, 1, out);
    }
    write_one(METRIC_BUILD_INFO, facts->version, 1, out);
    write_one(METRIC_EVENTS_MISSED, none, (double)facts->events_missed, out);
    write_one(METRIC_PROCESS_CPU, none, cpu_seconds(), out);
    write_one(METRIC_PROCESS_MEMORY, none, resident_bytes(), out);
    write_one(METRIC_PROCESS_FDS, none, open_files(), out);
    write_one(METRIC_PROCESS_MAX_FDS, none, max_files(), out);
    write_one(METRIC_PROCESS_START, none, start_seconds(), out);
}

void
metrics_write_page(const struct metrics_facts *facts, struct dyn_buf *out)
{
    for (size_t i = 0; i < METRIC_FAMILIES; i++) {
        enum metric_family_id family = (enum metric_family_id)i;
        if (metric_families[i].source == METRIC_REQUEST) {
            request_metrics_write(facts->requests, family, out);
        } else if (metric_families[i].source == METRIC_NODE) {
            write_node_family(facts, family, out);
        } else if (metric_families[i].source == METRIC_BREAKER) {
            write_breakers(facts, family, out);
        }
    }
    write_self(facts, out);
}
