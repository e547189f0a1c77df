/* See money_window.h. The Gregorian calendar by whole cycles of 400 years, counted from a first of March,
 * so that the leap day is the last of its year. */
#include "limits/money_window.h"

#define DAY_US           (UINT64_C(86400) * 1000000)
#define DAYS_OF_CYCLE    146097u
#define DAYS_BEFORE_1970 719468u /* from 0000-03-01 */

const char *
money_window_name(enum money_window window)
{
    static const char *const names[MONEY_WINDOWS] = {"day", "week", "month", "total"};
    return window < MONEY_WINDOWS ? names[window] : "?";
}

/* Months since January of year 0. */
static uint32_t
month_of_day(uint64_t days)
{
    uint64_t day = days + DAYS_BEFORE_1970, cycle = day / DAYS_OF_CYCLE;
    uint32_t in_cycle = (uint32_t)(day % DAYS_OF_CYCLE);
    uint32_t year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    uint32_t in_year = in_cycle - (365 * year + year / 4 - year / 100);
    uint32_t month = (5 * in_year + 2) / 153; /* from March */
    return (uint32_t)(cycle * 400 + year) * 12 + month + 2;
}

uint32_t
money_window_number(enum money_window window, uint64_t wall_us)
{
    uint64_t days = wall_us / DAY_US;
    switch (window) {
    case MONEY_DAY:
        return (uint32_t)days;
    case MONEY_WEEK:
        return (uint32_t)((days + 3) / 7); /* 1970-01-01 was a Thursday */
    case MONEY_MONTH:
        return month_of_day(days);
    case MONEY_TOTAL:
    case MONEY_WINDOWS:
    default:
        return 0;
    }
}

uint64_t
money_window_end_us(enum money_window window, uint64_t wall_us)
{
    if (window >= MONEY_TOTAL) {
        return UINT64_MAX;
    }
    uint64_t days = wall_us / DAY_US;
    uint32_t now = money_window_number(window, wall_us);
    do {
        days++;
    } while (money_window_number(window, days * DAY_US) == now);
    return days * DAY_US;
}
