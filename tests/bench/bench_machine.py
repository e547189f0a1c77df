"""On what a benchmark ran, and how much of the machine others took meanwhile."""

import os
import platform
import re
import resource
import subprocess
import time

from bench_proc import cpu_us, read_text

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def first_line(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False)
        return done.stdout.strip().splitlines()[0] if done.stdout.strip() else ""
    except OSError:
        return ""


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.*)$", read_text("/proc/cpuinfo"), re.M)
    return found.group(1).strip() if found else platform.machine()


def libraries(gateway):
    done = subprocess.run([gateway, "version"], stdout=subprocess.PIPE, text=True, timeout=10, check=False)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def descriptor_limit():
    """The soft limit is raised to the hard one: a stream takes two, one on each side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def facts(gateway):
    memory = re.search(r"MemTotal:\s+(\d+)", read_text("/proc/meminfo"))
    virtual = first_line("systemd-detect-virt", "--vm")
    return {
        "processors": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "virtual": virtual if virtual not in ("", "none") else "",
        "memory_mib": int(memory.group(1)) // 1024 if memory else 0,
        "kernel": platform.release(),
        "gateway": libraries(gateway),
        "nginx": first_line("nginx", "-v").rpartition(": ")[2],
        "compiler": first_line("gcc", "--version"),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load_before": os.getloadavg()[0],
    }


def busy_us():
    """All processors: user, nice, system, interrupts, steal. Interrupts are within the time of the process that they hit,
    unless the kernel keeps them apart (IRQ_TIME_ACCOUNTING): there they look like another program."""
    words = [int(word) for word in read_text("/proc/stat").splitlines()[0].split()[1:9]]
    return (words[0] + words[1] + words[2] + words[5] + words[6] + words[7]) * TICK_US


class Others:
    """What processes that are not ours took, as a share of the machine. Ours are this one and its children, those that
    have ended included."""

    def __init__(self):
        self.processors = os.cpu_count() or 1
        self.restart()

    @staticmethod
    def ours_us():
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cpu_us(os.getpid()) + (ended.ru_utime + ended.ru_stime) * 1_000_000

    def restart(self):
        self.busy, self.ours, self.time = busy_us(), self.ours_us(), time.monotonic()

    def share(self):
        elapsed = (time.monotonic() - self.time) * 1_000_000 * self.processors
        took = (busy_us() - self.busy) - (self.ours_us() - self.ours)
        return min(max(took / elapsed, 0.0), 1.0) if elapsed else 0.0
