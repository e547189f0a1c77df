/* The system's clocks, and timestamps without the C library's time zone lock. */
#include "core/clock.h"

#include <time.h>

#define US_PER_S 1000000u

static uint64_t
read_us(clockid_t id)
{
    struct timespec now;
    DYN_ASSERT(clock_gettime(id, &now) == 0);
    return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t
system_mono_us(void *self)
{
    (void)self;
    return read_us(CLOCK_MONOTONIC) + 1; /* 0 means "no time" to callers */
}

static uint64_t
system_wall_us(void *self)
{
    (void)self;
    return read_us(CLOCK_REALTIME);
}

/* Days since 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
 * the leap day is the last of a year and month lengths follow 153 days in 5 months. */
static void
civil_date(uint64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    enum { DAYS_TO_0000_03_01 = 719468, DAYS_IN_400_YEARS = 146097 };
    uint64_t shifted = days + DAYS_TO_0000_03_01;
    uint64_t era = shifted / DAYS_IN_400_YEARS;
    unsigned in_era = (unsigned)(shifted % DAYS_IN_400_YEARS);
    unsigned years = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * years + years / 4 - years / 100);
    unsigned from_march = (5 * in_year + 2) / 153;
    *day = in_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = (unsigned)(era * 400) + years + (*month <= 2 ? 1 : 0);
}

static char *
put_digits(char *out, unsigned value, unsigned width)
{
    for (unsigned i = width; i-- > 0; value /= 10) {
        out[i] = (char)('0' + value % 10);
    }
    return out + width;
}

void
dyn_timestamp(uint64_t wall_us, char out[DYN_TIMESTAMP_SIZE])
{
    static const uint64_t last_us = 253402300799999999u; /* 9999-12-31T23:59:59.999999Z */
    uint64_t us = wall_us < last_us ? wall_us : last_us;
    uint64_t seconds = us / US_PER_S;
    unsigned in_day = (unsigned)(seconds % 86400);
    unsigned year, month, day;
    civil_date(seconds / 86400, &year, &month, &day);
    char *at = put_digits(out, year, 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    at = put_digits(at, day, 2);
    *at++ = 'T';
    at = put_digits(at, in_day / 3600, 2);
    *at++ = ':';
    at = put_digits(at, in_day / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, in_day % 60, 2);
    *at++ = '.';
    at = put_digits(at, (unsigned)(us % US_PER_S / 1000), 3);
    *at++ = 'Z';
    *at = '\0';
}

const struct dyn_clock dyn_clock_system = {
    .mono_us = system_mono_us,
    .wall_us = system_wall_us,
    .self = NULL,
};
