/* Answers of an upstream in any pieces: the first byte says how they are cut. Whole, in those pieces and byte
 * by byte the same headers, body and end come out. */
#include "actors/providers/http_reader.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add_piece(struct dyn_buf *told, const struct http_reader *reader, const struct http_piece *piece)
{
    if (piece->kind == HTTP_PIECE_DATA) {
        dyn_buf_add_slice(told, piece->value);
        return;
    }
    dyn_buf_addf(told, "<%d %u %d>", (int)piece->kind, reader->status, reader->is_kept);
    dyn_buf_add_slice(told, piece->name);
    dyn_buf_add_char(told, '=');
    dyn_buf_add_slice(told, piece->value);
}

static void
read_in_pieces(struct dyn_slice answer, size_t piece_max, struct dyn_buf *told)
{
    struct http_reader reader;
    struct http_piece piece = {.kind = HTTP_PIECE_HEADER};
    int found = 0;
    http_reader_init(&reader);
    for (size_t at = 0; at < answer.len && found == 0; at += piece_max) {
        size_t len = answer.len - at < piece_max ? answer.len - at : piece_max;
        char *copy = dyn_strndup(answer.data + at, len);
        struct dyn_slice bytes = {copy, len};
        while ((found = http_reader_next(&reader, &bytes, &piece)) == 1) {
            add_piece(told, &reader, &piece);
            if (piece.kind == HTTP_PIECE_END) {
                break;
            }
        }
        DYN_ASSERT(found != 0 || bytes.len == 0);
        free(copy);
    }
    dyn_buf_addf(told, "<%d %d>", found, found == 0 && http_reader_ends_here(&reader));
    http_reader_fini(&reader);
}

static void
expect_same(struct dyn_slice answer, size_t piece_max, const struct dyn_buf *whole)
{
    struct dyn_buf told = DYN_BUF_INIT;
    read_in_pieces(answer, piece_max, &told);
    DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&told), dyn_buf_slice(whole)));
    dyn_buf_fini(&told);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct dyn_slice answer = dyn_slice((const char *)data + 1, size - 1);
    struct dyn_buf whole = DYN_BUF_INIT;
    read_in_pieces(answer, answer.len, &whole);
    expect_same(answer, (size_t)data[0] + 1, &whole);
    expect_same(answer, 1, &whole);
    dyn_buf_fini(&whole);
    return 0;
}
