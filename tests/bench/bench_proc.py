"""Processes of a benchmark: started here, measured through /proc, ended by the process that started them."""

import os
import signal
import socket
import subprocess
import time
import urllib.request


def free_port():
    """A loopback port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_text(path):
    """A file of /proc, or nothing when its process ended meanwhile."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def stat_fields(pid):
    """Fields of /proc/PID/stat from the state on: the command before it may hold spaces and brackets."""
    return read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def tree(pid):
    """The process and all that descend from it."""
    parents = {}
    for name in os.listdir("/proc"):
        fields = stat_fields(name) if name.isdigit() else []
        if len(fields) > 1:
            parents[int(name)] = int(fields[1])
    found = [pid]
    for member in found:
        found.extend(child for child, parent in parents.items() if parent == member)
    return found


def cpu_us(pid):
    """User and system time of the tree in microseconds.

    The scheduler's own count (nanoseconds a thread) where the kernel has it, else utime + stime, which
    count in hundredths of a second."""
    total = 0
    for member in tree(pid):
        tasks = f"/proc/{member}/task"
        counts = [
            read_text(f"{tasks}/{task}/schedstat").split() for task in (os.listdir(tasks) if os.path.isdir(tasks) else [])
        ]
        if counts and all(counts):
            total += sum(int(count[0]) for count in counts) / 1000
        else:
            fields = stat_fields(member)
            ticks = int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0
            total += ticks * 1_000_000 / os.sysconf("SC_CLK_TCK")
    return total


def rss_kib(pid):
    """Resident memory of the tree."""
    lines = [line for member in tree(pid) for line in read_text(f"/proc/{member}/status").splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


class Server:
    """A server under test, or the upstream behind it."""

    def __init__(self, name, command, port, log_path, env=None, cpus=None):
        self.name = name
        self.port = port
        self.log_path = log_path
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, **(env or {})),
                preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
            )
        self.wait_until_listening()
        self.rss_at_start_kib = rss_kib(self.pid)

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    def wait_until_listening(self, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            raise SystemExit(f"bench: {self.name} does not listen on port {self.port}:\n{log.read()[-2000:]}")

    def ask(self, body, key):
        """One plain request, to see that the path works before it is measured."""
        request = urllib.request.Request(
            self.url, body, {"content-type": "application/json", "authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Reader:
    """A program beside the load, of which nothing is measured."""

    def __init__(self, command, log_path):
        self.log = open(log_path, "wb")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid

    def ask(self, *_):
        """It answers nothing."""

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
