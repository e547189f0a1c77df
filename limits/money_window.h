/* The pieces of the calendar that money is counted in: UTC, a week begins on Monday. */
#pragma once

#include "core/base.h"

enum money_window { MONEY_DAY, MONEY_WEEK, MONEY_MONTH, MONEY_TOTAL, MONEY_WINDOWS };

const char *money_window_name(enum money_window window); /* "day" */
/* Which one it is; grows by one with each. MONEY_TOTAL: always 0. */
uint32_t money_window_number(enum money_window window, uint64_t wall_us);
/* When the next one begins; MONEY_TOTAL: UINT64_MAX. */
uint64_t money_window_end_us(enum money_window window, uint64_t wall_us);
