/* What is told when a request has ended: the record behind gateway.request.completed and
 * gateway.request.failed, and its form on the bus (a msgpack map in the body of an EVENT). */
#pragma once

#include "core/buf.h"

#define EVENT_REQUEST_COMPLETED "gateway.request.completed"
#define EVENT_REQUEST_FAILED    "gateway.request.failed"

#define EVENT_TYPE_TEXT struct dyn_slice
#define EVENT_TYPE_UINT uint64_t
#define EVENT_TYPE_BOOL bool
#define EVENT_TYPE_REAL double

struct event_record {
    bool failed;
#define EVENT_FIELD(type, name, where, help) EVENT_TYPE_##type name;
#include "proto/event_fields.def"
#undef EVENT_FIELD
};

void event_encode(const struct event_record *record, struct dyn_buf *out);
/* Texts point into `map`, which may come from anywhere. -1 and an empty record when it is no sound map with
 * text keys. Unknown keys are ignored, and values of another type than the field's; of a repeated key the
 * last counts. */
int event_decode(struct dyn_slice map, struct event_record *record);

/* The reference page in Markdown, from the table. */
void event_write_reference(struct dyn_buf *out);
