#include "load_answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
load_answer_reset(struct load_answer *answer)
{
    answer->state = LOAD_ANSWER_HEAD;
    answer->status = 0;
    answer->keep_alive = true;
    answer->left = 0;
    answer->line_len = 0;
    answer->body_bytes = 0;
    answer->head_len = 0;
}

/* Value of a header in the terminated head, or NULL. */
static const char *
head_value(const char *head, const char *name)
{
    size_t name_len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
            line += name_len + 1;
            return line + strspn(line, " ");
        }
    }
    return NULL;
}

static void
head_done(struct load_answer *answer)
{
    const char *head = answer->head;
    if (strncmp(head, "HTTP/1.", 7) != 0 || answer->head_len < 12) {
        answer->state = LOAD_ANSWER_BROKEN;
        return;
    }
    answer->status = (unsigned)strtoul(head + 9, NULL, 10);
    const char *connection = head_value(head, "connection");
    if (connection != NULL ? strncasecmp(connection, "close", 5) == 0 : head[7] == '0') {
        answer->keep_alive = false;
    }
    const char *encoding = head_value(head, "transfer-encoding");
    const char *length = head_value(head, "content-length");
    if (encoding != NULL && strncasecmp(encoding, "chunked", 7) == 0) {
        answer->state = LOAD_ANSWER_CHUNK_SIZE;
    } else if (length != NULL) {
        answer->left = strtoull(length, NULL, 10);
        answer->state = answer->left > 0 ? LOAD_ANSWER_LENGTH : LOAD_ANSWER_DONE;
    } else {
        answer->keep_alive = false;
        answer->state = LOAD_ANSWER_CLOSE;
    }
}

/* Collects the head; returns the bytes used. */
static size_t
feed_head(struct load_answer *answer, const char *data, size_t len)
{
    size_t room = LOAD_HEAD_MAX - 1 - answer->head_len;
    size_t take = len < room ? len : room;
    size_t before = answer->head_len;
    memcpy(answer->head + before, data, take);
    answer->head_len += take;
    size_t from = before > 3 ? before - 3 : 0;
    char *end = memmem(answer->head + from, answer->head_len - from, "\r\n\r\n", 4);
    if (end == NULL) {
        if (take == room) {
            answer->state = LOAD_ANSWER_BROKEN;
        }
        return take;
    }
    size_t head_len = (size_t)(end - answer->head) + 4;
    answer->head_len = head_len;
    answer->head[head_len] = '\0';
    head_done(answer);
    return head_len - before;
}

/* 16 when it is none. */
static unsigned
hex_digit(unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, c | (c >= 'A' ? 0x20 : 0)) : NULL;
    return found != NULL ? (unsigned)(found - digits) : 16;
}

static size_t
feed_chunk_size(struct load_answer *answer, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n') {
            answer->state = answer->left > 0 ? LOAD_ANSWER_CHUNK : LOAD_ANSWER_TRAILER;
            answer->line_len = 0;
            return i + 1;
        }
        if (c == ';') {
            answer->line_len = 1; /* an extension follows: skipped */
        }
        if (c == '\r' || answer->line_len > 0) {
            continue;
        }
        unsigned digit = hex_digit(c);
        if (digit > 15 || answer->left >> 56 != 0) {
            answer->state = LOAD_ANSWER_BROKEN;
            return i;
        }
        answer->left = answer->left * 16 + digit;
    }
    return len;
}

/* Skips a line; an empty trailer line ends the answer. */
static size_t
feed_line_end(struct load_answer *answer, const char *data, size_t len)
{
    const char *end = memchr(data, '\n', len);
    size_t used = end != NULL ? (size_t)(end - data) + 1 : len;
    answer->line_len += used;
    if (end != NULL) {
        bool empty = answer->line_len <= 2;
        answer->line_len = 0;
        if (answer->state == LOAD_ANSWER_CHUNK_END) {
            answer->state = LOAD_ANSWER_CHUNK_SIZE;
        } else if (empty) {
            answer->state = LOAD_ANSWER_DONE;
        }
    }
    return used;
}

static size_t
feed_body(struct load_answer *answer, const char *data, size_t len, load_body_fn body, void *self)
{
    size_t take = len;
    if (answer->state != LOAD_ANSWER_CLOSE && answer->left < len) {
        take = (size_t)answer->left;
    }
    body(self, data, take);
    answer->body_bytes += take;
    if (answer->state != LOAD_ANSWER_CLOSE) {
        answer->left -= take;
        if (answer->left == 0) {
            answer->state = answer->state == LOAD_ANSWER_CHUNK ? LOAD_ANSWER_CHUNK_END : LOAD_ANSWER_DONE;
        }
    }
    return take;
}

size_t
load_answer_feed(struct load_answer *answer, const char *data, size_t len, load_body_fn body, void *self)
{
    size_t used = 0;
    while (used < len && answer->state != LOAD_ANSWER_DONE && answer->state != LOAD_ANSWER_BROKEN) {
        const char *next = data + used;
        size_t left = len - used;
        switch (answer->state) {
        case LOAD_ANSWER_HEAD:
            used += feed_head(answer, next, left);
            break;
        case LOAD_ANSWER_CHUNK_SIZE:
            used += feed_chunk_size(answer, next, left);
            break;
        case LOAD_ANSWER_CHUNK_END:
        case LOAD_ANSWER_TRAILER:
            used += feed_line_end(answer, next, left);
            break;
        case LOAD_ANSWER_LENGTH:
        case LOAD_ANSWER_CHUNK:
        case LOAD_ANSWER_CLOSE:
            used += feed_body(answer, next, left, body, self);
            break;
        case LOAD_ANSWER_DONE:
        case LOAD_ANSWER_BROKEN:
            break;
        }
    }
    return used;
}

bool
load_answer_closed(struct load_answer *answer)
{
    if (answer->state == LOAD_ANSWER_CLOSE) {
        answer->state = LOAD_ANSWER_DONE;
    }
    return answer->state == LOAD_ANSWER_DONE;
}
