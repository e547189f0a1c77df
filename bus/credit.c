/* Byte credit, see credit.h. */
#include "bus/credit.h"

void
credit_sender_grant(struct credit_sender *sender, uint32_t bytes)
{
    sender->available += bytes;
}

size_t
credit_sender_take(struct credit_sender *sender, size_t want)
{
    size_t take = want < sender->available ? want : (size_t)sender->available;
    sender->available -= take;
    return take;
}

void
credit_receiver_init(struct credit_receiver *receiver, uint32_t window)
{
    *receiver = (struct credit_receiver){.outstanding = window, .window = window};
}

bool
credit_receiver_arrived(struct credit_receiver *receiver, size_t bytes)
{
    if (bytes > receiver->outstanding) {
        return false;
    }
    receiver->outstanding -= bytes;
    return true;
}

uint32_t
credit_receiver_consumed(struct credit_receiver *receiver, size_t bytes)
{
    receiver->consumed += bytes;
    /* Half a window: a grant costs an envelope, and the sender still has the other half to go on. */
    if (receiver->consumed < receiver->window / 2 || receiver->consumed == 0) {
        return 0;
    }
    uint64_t grant = receiver->consumed < UINT32_MAX ? receiver->consumed : UINT32_MAX;
    receiver->consumed -= grant;
    receiver->outstanding += grant;
    return (uint32_t)grant;
}
