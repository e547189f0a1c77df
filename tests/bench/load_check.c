#include "load_check.h"

#include <stdio.h>
#include <string.h>

void
load_check_start(struct load_check *check, struct load_totals *totals, uint64_t request)
{
    check->totals = totals;
    check->request = request;
    check->next_seq = 0;
    check->skipped = 0;
    check->is_in_order = true;
    check->in_tag = false;
    check->saw_done = false;
    check->done_matched = 0;
    check->tag_len = 0;
    check->nonce[0] = '\0';
}

static void
order_tag(struct load_check *check, uint64_t seq)
{
    struct load_totals *totals = check->totals;
    if (seq == check->next_seq) {
        check->next_seq++;
    } else if (seq > check->next_seq) {
        check->skipped += seq - check->next_seq;
        check->next_seq = seq + 1;
    } else if (check->skipped > 0) {
        totals->out_of_order++;
        check->is_in_order = false;
        check->skipped--;
    } else {
        totals->repeated++;
    }
}

static void
tag_done(struct load_check *check)
{
    struct load_totals *totals = check->totals;
    unsigned long long request;
    unsigned long long seq;
    unsigned long long sent_us;
    char nonce[LOAD_NONCE_MAX];
    check->tag[check->tag_len] = '\0';
    if (sscanf(check->tag, "%llu.%32[0-9a-f].%llu.%llu", &request, nonce, &seq, &sent_us) != 4) {
        totals->unreadable++;
        return;
    }
    totals->tokens++;
    if (check->nonce[0] == '\0') {
        memcpy(check->nonce, nonce, sizeof nonce);
    }
    if (request != check->request || strcmp(nonce, check->nonce) != 0) {
        totals->mixed++;
        return;
    }
    order_tag(check, seq);
    uint64_t sent_ns = sent_us * 1000;
    load_hist_add(&totals->delay, check->now_ns > sent_ns ? check->now_ns - sent_ns : 0);
}

/* "[DONE]" may be split over pieces. No prefix of it repeats inside, so a mismatch starts over. */
static void
watch_for_done(struct load_check *check, const char *data, size_t len)
{
    static const char done[] = "[DONE]";
    for (size_t i = 0; i < len && !check->saw_done; i++) {
        if (check->done_matched == 0) {
            const char *open = memchr(data + i, '[', len - i);
            if (open == NULL) {
                return;
            }
            i = (size_t)(open - data);
        }
        check->done_matched = data[i] == done[check->done_matched] ? check->done_matched + 1 : data[i] == '[';
        check->saw_done = check->done_matched == sizeof done - 1;
    }
}

void
load_check_feed(void *self, const char *data, size_t len)
{
    struct load_check *check = self;
    const char *end = data + len;
    watch_for_done(check, data, len);
    while (data < end) {
        const char *mark = memchr(data, '~', (size_t)(end - data));
        if (check->in_tag) {
            size_t piece = (size_t)((mark != NULL ? mark : end) - data);
            size_t room = LOAD_TAG_MAX - 1 - check->tag_len;
            piece = piece < room ? piece : room;
            memcpy(check->tag + check->tag_len, data, piece);
            check->tag_len += piece;
        }
        if (mark == NULL) {
            return;
        }
        if (check->in_tag) {
            tag_done(check);
        }
        check->in_tag = !check->in_tag;
        check->tag_len = 0;
        data = mark + 1;
    }
}

bool
load_check_end(struct load_check *check, uint64_t expected_tokens)
{
    uint64_t arrived = check->next_seq - check->skipped;
    if (arrived < expected_tokens) {
        check->totals->lost += expected_tokens - arrived;
    }
    return check->is_in_order && check->next_seq == expected_tokens && check->skipped == 0;
}
