/* How many cores this process may really use. */
#pragma once

#include "core/base.h"

/* The smaller of CPU affinity and cgroup quota, at least 1. */
unsigned usable_cores(void);
/* The quota in a cgroup v2 cpu.max ("200000 100000") in whole cores, rounded up; 0: no limit, or not
 * understood. Pure. */
unsigned cores_in_cpu_max(struct dyn_slice text);
