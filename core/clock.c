/* The system's clocks, and timestamps without the C library's time zone lock. */
#include "core/clock.h"

#include <string.h>
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

/* ---- reading ---- */

/* civil_date() the other way round. */
static uint64_t
days_since_1970(unsigned year, unsigned month, unsigned day)
{
    enum { DAYS_TO_1970 = 719468, DAYS_IN_400_YEARS = 146097 };
    unsigned years = month <= 2 ? year - 1 : year;
    unsigned era = years / 400;
    unsigned in_era_years = years % 400;
    unsigned from_march = month > 2 ? month - 3 : month + 9;
    unsigned in_year = (153 * from_march + 2) / 5 + day - 1;
    unsigned in_era = in_era_years * 365 + in_era_years / 4 - in_era_years / 100 + in_year;
    return (uint64_t)era * DAYS_IN_400_YEARS + in_era - DAYS_TO_1970;
}

static bool
get_digits(struct dyn_slice text, size_t at, size_t n, unsigned least, unsigned most, unsigned *out)
{
    *out = 0;
    for (size_t i = at; i < at + n; i++) {
        if (i >= text.len || text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        *out = *out * 10 + (unsigned)(text.data[i] - '0');
    }
    return *out >= least && *out <= most;
}

static bool
is_at(struct dyn_slice text, size_t at, const char *any)
{
    return at < text.len && text.data[at] != '\0' && strchr(any, text.data[at]) != NULL;
}

/* "Z", or "+02:00": seconds east of Greenwich. */
static bool
get_offset(struct dyn_slice text, int *seconds)
{
    unsigned hours, minutes;
    *seconds = 0;
    if (text.len == 1) {
        return is_at(text, 0, "Zz");
    }
    if (text.len != 6 || !is_at(text, 0, "+-") || !is_at(text, 3, ":") ||
        !get_digits(text, 1, 2, 0, 23, &hours) || !get_digits(text, 4, 2, 0, 59, &minutes)) {
        return false;
    }
    *seconds = (int)(hours * 60 + minutes) * (text.data[0] == '-' ? -60 : 60);
    return true;
}

/* Digits beyond microseconds are left out. */
static size_t
get_fraction(struct dyn_slice text, size_t at, unsigned *us)
{
    unsigned unit = US_PER_S / 10;
    *us = 0;
    for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++, unit /= 10) {
        *us += unit * (unsigned)(text.data[at] - '0');
    }
    return at;
}

bool
dyn_timestamp_read(struct dyn_slice text, uint64_t *wall_us)
{
    static const unsigned char days_of[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    size_t at = 19; /* behind the seconds */
    unsigned year, month, day, hour, minute, second, us = 0;
    int offset;
    if (!get_digits(text, 0, 4, 1970, 9999, &year) || !is_at(text, 4, "-") ||
        !get_digits(text, 5, 2, 1, 12, &month) || !is_at(text, 7, "-") ||
        !get_digits(text, 8, 2, 1, days_of[month - 1], &day) || !is_at(text, 10, "Tt ") ||
        !get_digits(text, 11, 2, 0, 23, &hour) || !is_at(text, 13, ":") ||
        !get_digits(text, 14, 2, 0, 59, &minute) || !is_at(text, 16, ":") ||
        !get_digits(text, 17, 2, 0, 60, &second)) {
        return false;
    }
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2 && day == 29 && !is_leap) {
        return false;
    }
    if (is_at(text, at, ".")) {
        at = get_fraction(text, at + 1, &us);
    }
    if (!get_offset(dyn_slice(text.data + at, text.len - at), &offset)) {
        return false;
    }
    int64_t seconds = (int64_t)(days_since_1970(year, month, day) * 86400) +
                      (int64_t)((hour * 60 + minute) * 60 + second) - offset;
    *wall_us = seconds < 0 ? 0 : (uint64_t)seconds * US_PER_S + us;
    return seconds >= 0;
}

const struct dyn_clock dyn_clock_system = {
    .mono_us = system_mono_us,
    .wall_us = system_wall_us,
    .self = NULL,
};
