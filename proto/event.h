/* What is told when a request has ended: the record behind gateway.request.completed and
 * gateway.request.failed, and its form on the bus (a msgpack map in the body of an EVENT). */
#pragma once

#include "core/block.h"
#include "core/buf.h"
#include "core/err.h"
#include "proto/vote.h"

#define EVENT_REQUEST_COMPLETED "gateway.request.completed"
#define EVENT_REQUEST_FAILED    "gateway.request.failed"
#define EVENT_REQUESTS          "gateway.request." /* what the two begin with */
#define EVENT_NODE_COUNTERS     "gateway.node.counters" /* proto/metrics.h */

#define EVENT_TYPE_TEXT struct dyn_slice
#define EVENT_TYPE_UINT uint64_t
#define EVENT_TYPE_BOOL bool
#define EVENT_TYPE_REAL double
#define EVENT_TYPE_LIST struct dyn_slice /* an array as msgpack has it; absent: there is none */
/* Words of ours, by their number. */
#define EVENT_TYPE_STAGE   enum vote_stage
#define EVENT_TYPE_VERDICT unsigned /* enum vote_verdict, or EVENT_VERDICT_OPEN */
enum { EVENT_VERDICT_OPEN = VOTE_VERDICT_COUNT, EVENT_VERDICT_COUNT };

struct event_record {
    bool failed;
#define EVENT_FIELD(type, name, where, help) EVENT_TYPE_##type name;
#include "proto/event_fields.def"
#undef EVENT_FIELD
};

/* One entry of attempt_list. */
struct event_attempt {
#define ATTEMPT_FIELD(type, name, help) EVENT_TYPE_##type name;
#include "proto/event_attempt_fields.def"
#undef ATTEMPT_FIELD
};
enum { EVENT_ATTEMPTS_MAX = 32 };
/* The value of attempt_list. */
void event_attempts_encode(const struct event_attempt *attempts, size_t n, struct dyn_buf *out);
/* Up to `max` of them; texts point into `list`, which is of a record that was decoded. How many. */
size_t event_attempts_decode(struct dyn_slice list, struct event_attempt *attempts, size_t max);

/* One entry of plugins. */
struct event_plugin {
#define PLUGIN_FIELD(type, name, help) EVENT_TYPE_##type name;
#include "proto/event_plugin_fields.def"
#undef PLUGIN_FIELD
};
enum { EVENT_PLUGINS_MAX = 32 };
/* The value of plugins. */
void event_plugins_encode(const struct event_plugin *plugins, size_t n, struct dyn_buf *out);

void event_encode(const struct event_record *record, struct dyn_buf *out);
/* Texts point into `map`, which may come from anywhere. -1 and an empty record when it is no sound map with
 * text keys. Unknown keys are ignored, and values of another type than the field's; of a repeated key the
 * last counts. */
int event_decode(struct dyn_slice map, struct event_record *record);

/* What the publisher says of an event: the fields of kind P. */
struct event_stamp {
    struct dyn_slice topic;
    struct dyn_slice node;
    uint32_t         epoch;
    uint64_t         sequence;
    uint64_t         topic_sequence;
};
enum {
    EVENT_MAX = 64 * 1024,        /* bytes of an event's map as it is published */
    EVENT_STAMPED_VALUES = 4096,  /* keys and values in it */
    EVENT_NODE_LEN = 32,
};
/* Makes *body_p of the map, as it is, with the stamp's members behind its own; those of the same names
 * that it had are gone. -1 with err (DYN_E_INVALID, DYN_E_LIMIT) when it is no sound map with text keys,
 * or too large. */
DYN_MUST_CHECK int event_stamp(struct dyn_slice map, const struct event_stamp *stamp, dyn_block_t **body_p,
                               struct dyn_err *err);

/* The reference page in Markdown, from the table. */
void event_write_reference(struct dyn_buf *out);
