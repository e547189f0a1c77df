/* Decimal fractions as integers, without a double in between: money is exact. Pure. */
#pragma once

#include "core/base.h"

/* `number` (JSON's grammar) times 10^scale, rounded half up; what is more than zero never becomes zero. False
 * when it is no number, negative, or does not fit. */
bool catalogue_decimal(struct dyn_slice number, int scale, uint64_t *out);
/* "2026-09-30", whatever follows, as 20260930; 0 when it is no date. */
uint32_t catalogue_day(struct dyn_slice text);
