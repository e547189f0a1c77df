/* What is asked of a ledger and what it answers, from anyone: bodies are read to their end, and what was read
 * can be written and read again; what operators ask over HTTP; answers as JSON; texts on their way into the
 * log. The first byte chooses which. */
#include "actors/ledger/desk_answer.h"
#include "core/blackout.h"
#include "core/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
write_rows(struct dyn_slice rows, struct dyn_buf *out)
{
    struct mp_cursor cursor = mp_cursor(rows);
    struct ledger_row row;
    size_t n = 0;
    while (ledger_row_next(&cursor, &row)) {
        if (row.table != LEDGER_TABLES) {
            ledger_row_encode(&row, out);
            n++;
        }
    }
    return n;
}

static void
read_message(struct dyn_slice body)
{
    struct ledger_message message, again;
    struct dyn_buf rows = DYN_BUF_INIT, twice = DYN_BUF_INIT;
    if (ledger_message_decode(body, &message, NULL) != 0) {
        return;
    }
    message.n_rows = write_rows(message.rows, &rows);
    message.rows = dyn_buf_slice(&rows);
    dyn_block_t *written = ledger_message_encode(&message);
    DYN_ASSERT(ledger_message_decode(dyn_block_slice(written), &again, NULL) == 0);
    DYN_ASSERT(again.n_rows == message.n_rows && again.sequence == message.sequence);
    DYN_ASSERT(dyn_slice_eq(again.op, message.op) && dyn_slice_eq(again.node, message.node));
    DYN_ASSERT(write_rows(again.rows, &twice) == message.n_rows);
    DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&twice), dyn_buf_slice(&rows)));
    dyn_block_unref(&written);
    dyn_buf_fini(&rows);
    dyn_buf_fini(&twice);
}

static void
check_json(const struct dyn_buf *out)
{
    struct json_value value;
    DYN_ASSERT(json_scan(dyn_buf_slice(out), JSON_DEPTH_DEFAULT, &value, NULL) == 0);
}

static void
read_question(struct dyn_slice text)
{
    struct arena arena;
    struct desk_question question;
    struct desk_refusal refusal;
    struct dyn_buf out = DYN_BUF_INIT;
    arena_init(&arena, NULL, 0);
    if (desk_question_read(text, &arena, &question, &refusal) == 0) {
        desk_question_filters(&question, &out);
        check_json(&out);
    } else {
        DYN_ASSERT(refusal.code != ERR_NONE);
    }
    dyn_buf_fini(&out);
    arena_fini(&arena);
}

static void
write_answer(struct dyn_slice body, enum desk_about about)
{
    struct desk_question question = {.about = about, .ask = {.bodies = 1}};
    struct ledger_message answer;
    struct dyn_buf out = DYN_BUF_INIT;
    if (ledger_message_decode(body, &answer, NULL) == 0) {
        desk_answer_write(&question, &answer, &out);
        check_json(&out);
    }
    dyn_buf_fini(&out);
}

static void
black_out(struct dyn_slice text, uint64_t most)
{
    static blackout_t *blackout;
    struct dyn_buf out = DYN_BUF_INIT;
    if (blackout == NULL) {
        blackout = blackout_new(NULL);
    }
    blackout_write(blackout, text, most, &out);
    DYN_ASSERT(out.len <= 2 * text.len + sizeof "[NOT INSPECTED]");
    dyn_buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct dyn_slice body = dyn_slice((const char *)data + 1, size - 1);
    switch (data[0] % 8) {
    case 0:
    case 1:
        read_message(body);
        break;
    case 2:
        read_question(body);
        break;
    case 3:
        black_out(body, size / 2);
        break;
    default:
        write_answer(body, (enum desk_about)(data[0] % 8 - 4));
        break;
    }
    return 0;
}
