"""Processes of a benchmark: started here, measured through /proc, ended by the process that started them."""

import os
import signal
import socket
import ssl
import subprocess
import threading
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


def open_files(pid):
    """Descriptors of the process alone, or None when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def threads(pid):
    found = [line for line in read_text(f"/proc/{pid}/status").splitlines() if line.startswith("Threads:")]
    return int(found[0].split()[1]) if found else None


class MemoryWatch:
    """Resident memory of some trees over time, read by a thread. Their processes are looked up once."""

    PERIOD_S = 0.25
    PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

    def __init__(self, servers):
        self.trees = {name: tree(server.pid) for name, server in servers.items()}
        self.began = time.monotonic()
        self.times = []
        self.marks = {}
        self.series = {name: [] for name in servers}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(self.PERIOD_S):
            for name, members in self.trees.items():
                sizes = [read_text(f"/proc/{member}/statm").split() for member in members]
                self.series[name].append(sum(int(size[1]) for size in sizes if size) * self.PAGE_KIB)
            self.times.append(time.monotonic())  # last: whoever sees a time finds the sizes of it

    def now_kib(self, name):
        return self.series[name][-1] if self.series[name] else 0

    def mark(self, what):
        """Keeps the sizes of this moment, the first time that it is called with that name."""
        self.marks.setdefault(what, {name: self.now_kib(name) for name in self.series})

    def peak_kib(self, name, since):
        """The largest size since that time."""
        known = zip(self.times, self.series.get(name, ()))
        return max((size for at, size in known if at >= since), default=0)

    def stop(self):
        self.over.set()
        self.thread.join()


class Server:
    """A server under test, or the upstream behind it."""

    def __init__(self, name, command, port, log_path, env=None, cpus=None, scheme="http"):
        self.name = name
        self.scheme = scheme
        self.port = port
        self.log_path = log_path
        self.asked = False
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
        return f"{self.scheme}://127.0.0.1:{self.port}/v1/chat/completions"

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
        trust_all = ssl._create_unverified_context()  # pylint: disable=protected-access
        with urllib.request.urlopen(request, timeout=5, context=trust_all) as answer:
            return answer.read()

    def ask_to_stop(self):
        """Several drain at the same time when all are asked first."""
        self.asked = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self):
        if self.process.poll() is None:
            if not self.asked:
                self.ask_to_stop()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Reader:
    """A program beside the load, of which nothing is measured."""

    name = "reader"

    def __init__(self, command, log_path, keep=True):
        """Without `keep` what it prints goes nowhere: a line for each request fills a disk."""
        self.log = open(log_path if keep else os.devnull, "wb")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid

    def ask(self, *_):
        """It answers nothing."""

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
