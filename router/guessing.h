/* Who sends wrong credentials is slowed: failures are counted for each address, and beyond a rate nothing
 * that could be guessed is looked at any more. The table is bounded; where it is full of those that fail,
 * the one that failed least is forgotten. One for a process, behind a lock that only failures and those
 * who are slowed take. Time is monotonic and an argument. */
#pragma once

#include "core/base.h"

typedef struct guessing guessing_t;

enum { GUESSING_ADDRESSES = 4096 }; /* 64 KB */

/* `failures` in `window_us` are let pass, at once or one after the other. NULL with `failures` 0: nobody is
 * slowed. */
guessing_t *guessing_new(uint32_t failures, uint64_t window_us);
void guessing_free(guessing_t **guessing_p);

/* The address without its port, and without brackets. */
struct dyn_slice guessing_host(struct dyn_slice address);
/* `address`: "192.0.2.1:4711", "[2001:db8::1]:4711", or any name. A port does not count, and of IPv6 the
 * first 64 bits do. `guessing` may be NULL. */
void guessing_failed(guessing_t *guessing, struct dyn_slice address, uint64_t now_us);
/* Seconds until it may try again, rounded up; 0: now. */
uint32_t guessing_wait_s(guessing_t *guessing, struct dyn_slice address, uint64_t now_us);
