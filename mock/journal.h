/* The journal: what became of each of the last calls, for tests that must know how often a request reached
 * its upstream and when a call was given up (docs/mock.md). A ring of a fixed number of records; nothing is
 * kept without `--journal`. Used on the mock's loop. */
#pragma once

#include "core/buf.h"
#include "mock/answer.h"

enum {
    MOCK_JOURNAL_PATH = 64,             /* bytes kept of a path */
    MOCK_JOURNAL_PAGE = 4096,           /* calls in one answer */
};

enum mock_call_end { MOCK_CALL_OPEN, MOCK_CALL_ANSWERED, MOCK_CALL_CANCELLED, MOCK_CALL_FAULT };

struct mock_record {
    uint64_t call; /* from 1, in the order of arrival; 0: unused */
    uint64_t began_us; /* monotonic */
    uint64_t ended_us;
    uint32_t tokens; /* events of a stream that were sent */
    enum mock_call_end end;
    bool stream;
    uint8_t number_len;
    uint8_t path_len;
    char number[MOCK_NUMBER_MAX];
    char nonce[MOCK_NONCE_DIGITS];
    char path[MOCK_JOURNAL_PATH];
};

struct mock_journal {
    struct mock_record *records;
    size_t capacity; /* 0: nothing is kept */
    uint64_t last;   /* call that was written last */
};

void mock_journal_init(struct mock_journal *journal, size_t capacity);
void mock_journal_fini(struct mock_journal *journal);
/* The record of a new call, or NULL. Good until so many further calls have come; then it is another's, which
 * its `call` shows. */
struct mock_record *mock_journal_begin(struct mock_journal *journal, const struct mock_chat *chat,
                                       struct dyn_slice path, const char nonce[MOCK_NONCE_DIGITS]);
/* For a record of mock_journal_begin; does nothing when it is NULL or has become another call's. */
void mock_journal_end(struct mock_record *record, uint64_t call, enum mock_call_end end, uint32_t tokens,
                      uint64_t now_us);
/* {"next":N,"calls":[..]}: those behind `since`, in order, one page; `next` is the next page's `since`. */
void mock_journal_write(const struct mock_journal *journal, uint64_t since, bool open_only,
                        struct dyn_buf *out);
