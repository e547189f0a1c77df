/* What is measured, as data (metrics.def), and the words of Prometheus' text format, version 0.0.4
 * (prometheus.io, "Exposition formats"). Pure. */
#pragma once

#include "core/buf.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum metric_source { METRIC_REQUEST, METRIC_NODE, METRIC_BREAKER, METRIC_SELF };

enum metric_family_id {
#define FAMILY(id, name, type, unit, source, labels, help) METRIC_##id,
#define VALUE(name, family, label)
#include "proto/metrics.def"
#undef FAMILY
#undef VALUE
    METRIC_FAMILIES
};

struct metric_family {
    const char        *name;
    enum metric_type   type;
    enum metric_source source;
    const char        *unit;
    const char        *labels; /* "provider, model"; "" */
    const char        *help;
};
extern const struct metric_family metric_families[METRIC_FAMILIES];

/* The numbers of one process. */
enum node_value {
#define FAMILY(id, name, type, unit, source, labels, help)
#define VALUE(name, family, label) NODE_##name,
#include "proto/metrics.def"
#undef FAMILY
#undef VALUE
    NODE_VALUES
};

struct node_value_row {
    const char            *name;
    enum metric_family_id  family;
    const char            *label; /* values of the family's labels, "a, b"; NULL: it has none */
};
extern const struct node_value_row node_value_rows[NODE_VALUES];

struct node_values {
    uint64_t values[NODE_VALUES];
};

struct node_breakers;

/* Who knows some numbers of this process: adds them. Any thread. */
struct node_source {
    void (*read)(void *arg, struct node_values *values);
    void *arg;
    void (*read_breakers)(void *arg, struct node_breakers *breakers); /* NULL: it knows of none */
};

/* ---- the text ---- */

/* "# HELP" and "# TYPE". */
void metrics_text_head(struct dyn_buf *out, enum metric_family_id family);
/* One sample: name and suffix ("_bucket", ""), labels as `name="value"` pairs of the family in its order;
 * an absent value ends them. `le` may be NULL. */
void metrics_text_name(struct dyn_buf *out, enum metric_family_id family, const char *suffix,
                       const struct dyn_slice *values, const char *le);
void metrics_text_uint(struct dyn_buf *out, uint64_t value); /* behind the name */
void metrics_text_real(struct dyn_buf *out, double value);

/* docs/metrics.md. */
void metrics_write_reference(struct dyn_buf *out);
