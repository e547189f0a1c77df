/* Byte credit of one attempt, both ends (01-ENVELOPE, credit). Pure. The sender spends what was granted;
 * the receiver grants again what it has passed on, in steps large enough to be worth an envelope. */
#pragma once

#include "core/base.h"

struct credit_sender {
    uint64_t available; /* bytes that may be sent now */
};
struct credit_receiver {
    uint64_t outstanding; /* granted and not yet received */
    uint64_t consumed;    /* received and passed on since the last grant */
    uint32_t window;
};

void credit_sender_grant(struct credit_sender *sender, uint32_t bytes);
/* How much of `want` may go now. */
size_t credit_sender_take(struct credit_sender *sender, size_t want);

void credit_receiver_init(struct credit_receiver *receiver, uint32_t window);
/* Bytes arrived. false: the sender went beyond its credit. */
bool credit_receiver_arrived(struct credit_receiver *receiver, size_t bytes);
/* Bytes were passed on. Returns how much to grant now, 0 when it is not yet half a window. */
uint32_t credit_receiver_consumed(struct credit_receiver *receiver, size_t bytes);
