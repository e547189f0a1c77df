/* CPU affinity from sched_getaffinity(2); quota from cgroup v2 (cpu.max) or v1 (cpu.cfs_quota_us), as the
 * kernel's cgroup documentation describes them. Inside a container the process's own group is the root of
 * what it sees, so that is where we look. */
#include "gateway/cores.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool
read_small_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, out, size - 1);
    (void)close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static unsigned
cores_of_quota(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) {
        return 0;
    }
    return (unsigned)((quota + period - 1) / period);
}

unsigned
cores_in_cpu_max(struct dyn_slice text)
{
    char line[64] = {0};
    memcpy(line, text.data, text.len < sizeof line ? text.len : sizeof line - 1);
    char *rest = NULL;
    long long quota = strtoll(line, &rest, 10); /* "max" reads as 0: no limit */
    long long period = strtoll(rest, NULL, 10);
    return cores_of_quota(quota, period);
}

static unsigned
cores_of_cgroup(void)
{
    char text[64];
    if (read_small_file("/sys/fs/cgroup/cpu.max", text, sizeof text)) {
        return cores_in_cpu_max(dyn_slice_str(text));
    }
    char period[64];
    if (read_small_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text) &&
        read_small_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period)) {
        return cores_of_quota(strtoll(text, NULL, 10), strtoll(period, NULL, 10));
    }
    return 0;
}

unsigned
usable_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    unsigned cores = allowed > 0 ? (unsigned)allowed : 1;
    unsigned quota = cores_of_cgroup();
    return quota > 0 && quota < cores ? quota : cores;
}
