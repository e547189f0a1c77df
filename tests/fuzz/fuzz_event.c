/* Maps of events from anyone: decoded or refused. What was decoded is encoded, and that decodes to a record
 * which encodes to the same bytes. */
#include "proto/event.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event_record record;
    struct event_record again;
    if (event_decode(dyn_slice((const char *)data, size), &record) != 0) {
        DYN_ASSERT(record.model.data == NULL && !record.failed);
        return 0;
    }
    struct dyn_buf first = DYN_BUF_INIT;
    struct dyn_buf second = DYN_BUF_INIT;
    event_encode(&record, &first);
    DYN_ASSERT(event_decode(dyn_buf_slice(&first), &again) == 0);
    DYN_ASSERT(again.failed == record.failed);
    event_encode(&again, &second);
    DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&first), dyn_buf_slice(&second)));
    dyn_buf_fini(&first);
    dyn_buf_fini(&second);
    return 0;
}
