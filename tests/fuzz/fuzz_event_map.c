/* Maps that anybody may publish: what the publisher makes of them is a sound map with its own numbers, a
 * process's report is read or refused, and as JSON they end up as one line. */
#include "proto/event.h"
#include "proto/mp_json.h"
#include "proto/node_event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_stamped(struct dyn_slice map)
{
    const struct event_stamp stamp = {
        .topic = DYN_SLICE("a.b"), .node = DYN_SLICE("n"), .epoch = 1, .sequence = 7};
    dyn_block_t *body = NULL;
    struct event_record record;
    if (event_stamp(map, &stamp, &body, NULL) != 0) {
        return;
    }
    if (mp_check(dyn_block_slice(body), EVENT_STAMPED_VALUES + 10, NULL) != 0) {
        abort();
    }
    if (event_decode(dyn_block_slice(body), &record) == 0 &&
        (record.sequence != 7 || !dyn_slice_is(record.node, "n") || !dyn_slice_is(record.topic, "a.b"))) {
        abort();
    }
    dyn_block_unref(&body);
}

static void
check_json(struct dyn_slice map)
{
    if (mp_check(map, EVENT_STAMPED_VALUES, NULL) == 0) {
        struct mp_cursor cursor = mp_cursor(map);
        struct dyn_buf line = DYN_BUF_INIT;
        mp_write_json(&cursor, &line);
        if (line.len == 0 || memchr(line.data, '\n', line.len) != NULL) {
            abort();
        }
        dyn_buf_fini(&line);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice map = dyn_slice(size > 0 ? (const char *)data : "", size);
    struct node_report report;
    check_stamped(map);
    check_json(map);
    (void)node_report_decode(map, &report);
    return 0;
}
