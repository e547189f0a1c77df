#include "mock/journal.h"

#include <stdlib.h>

static const char *const end_names[] = {
    [MOCK_CALL_OPEN] = "open",
    [MOCK_CALL_ANSWERED] = "answered",
    [MOCK_CALL_CANCELLED] = "cancelled",
    [MOCK_CALL_FAULT] = "fault",
};

void
mock_journal_init(struct mock_journal *journal, size_t capacity)
{
    *journal = (struct mock_journal){.capacity = capacity};
    if (capacity > 0) {
        journal->records = dyn_zalloc(capacity * sizeof *journal->records);
    }
}

void
mock_journal_fini(struct mock_journal *journal)
{
    free(journal->records);
    *journal = (struct mock_journal){0};
}

static uint8_t
keep(char *out, size_t room, struct dyn_slice text)
{
    size_t len = text.len < room ? text.len : room;
    if (len > 0) {
        memcpy(out, text.data, len);
    }
    return (uint8_t)len;
}

struct mock_record *
mock_journal_begin(struct mock_journal *journal, const struct mock_chat *chat, struct dyn_slice path,
                   const char nonce[MOCK_NONCE_DIGITS])
{
    if (journal->capacity == 0) {
        return NULL;
    }
    uint64_t call = ++journal->last;
    struct mock_record *record = &journal->records[call % journal->capacity];
    *record = (struct mock_record){.call = call, .stream = chat->stream};
    record->number_len = keep(record->number, sizeof record->number, chat->number);
    record->path_len = keep(record->path, sizeof record->path, path);
    memcpy(record->nonce, nonce, MOCK_NONCE_DIGITS);
    return record;
}

void
mock_journal_end(struct mock_record *record, uint64_t call, enum mock_call_end end, uint32_t tokens,
                 uint64_t now_us)
{
    if (record != NULL && record->call == call) {
        record->end = end;
        record->tokens = tokens;
        record->ended_us = now_us;
    }
}

static void
write_record(const struct mock_record *record, struct dyn_buf *out)
{
    dyn_buf_add_str(out, "{\"call\":");
    dyn_buf_add_uint(out, record->call);
    dyn_buf_add_str(out, ",\"number\":");
    dyn_buf_add_json_string(out, dyn_slice(record->number, record->number_len));
    dyn_buf_add_str(out, ",\"nonce\":");
    dyn_buf_add_json_string(out, dyn_slice(record->nonce, MOCK_NONCE_DIGITS));
    dyn_buf_add_str(out, ",\"path\":");
    dyn_buf_add_json_string(out, dyn_slice(record->path, record->path_len));
    dyn_buf_addf(out, ",\"stream\":%s,\"end\":\"%s\",\"tokens\":%u,\"began_us\":%llu,\"ended_us\":%llu}",
                 record->stream ? "true" : "false", end_names[record->end], record->tokens,
                 (unsigned long long)record->began_us, (unsigned long long)record->ended_us);
}

void
mock_journal_write(const struct mock_journal *journal, uint64_t since, bool open_only, struct dyn_buf *out)
{
    uint64_t oldest = journal->last > journal->capacity ? journal->last - journal->capacity : 0;
    uint64_t at = since > oldest ? since : oldest;
    struct dyn_buf list = DYN_BUF_INIT;
    unsigned written = 0;
    while (at < journal->last && written < MOCK_JOURNAL_PAGE) {
        const struct mock_record *record = &journal->records[++at % journal->capacity];
        if (!open_only || record->end == MOCK_CALL_OPEN) {
            dyn_buf_add_str(&list, written > 0 ? ",\n" : "");
            write_record(record, &list);
            written++;
        }
    }
    dyn_buf_addf(out, "{\"next\":%llu,\"calls\":[", (unsigned long long)at);
    dyn_buf_add_slice(out, dyn_buf_slice(&list));
    dyn_buf_add_str(out, "]}\n");
    dyn_buf_fini(&list);
}
