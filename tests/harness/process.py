"""The real binary as a child process: started with a clean environment, watched, ended by SIGTERM. An exit
code other than 0, or a sanitizer's report in its log, fails the test that used it."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

from harness.http import request_once

BINARY = os.environ.get("DYNABUS_BINARY", "build/release/dynabus")
INPROC = os.environ.get("DYNABUS_TEST_WIRE") == "inproc"
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "DEADLYSIGNAL")
# Sanitizers make everything slower: waits are bounds against hanging, not measurements.
START_SECONDS = 30
STOP_SECONDS = 30


# For tests that look at resident memory: the sanitizer keeps freed blocks back otherwise.
FLAT_MEMORY = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


def sanitized():
    program = Path(BINARY).read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


def memory_bound(size_bytes):
    """What resident memory may grow by; a sanitizer surrounds and shadows each block."""
    return size_bytes * (3 if sanitized() else 1)


def free_port():
    """One that the kernel gives to nobody meanwhile: connections of other tests get theirs above these."""
    dice = random.SystemRandom()  # tests that run beside this one may have the same seed
    while True:
        port = dice.randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def clean_environment(extra):
    kept = ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment.update(extra)
    return {name: value for name, value in environment.items() if value is not None}


class Process:
    def __init__(self, arguments, log_path, environment=None, max_files=None, prefix=()):
        """`prefix`: words before the command, of a program that becomes it (nsenter, taskset)."""
        self.log_path = Path(log_path)
        self.arguments = [*map(str, prefix), BINARY, *map(str, arguments)]

        def limits():
            if max_files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))

        with open(self.log_path, "wb") as log:
            self.child = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=clean_environment(environment or {}), preexec_fn=limits, cwd=self.log_path.parent,
            )

    @property
    def pid(self):
        return self.child.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_lines(self, **fields):
        """JSON lines of the log that have all these fields."""
        found = []
        for line in self.log().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if all(entry.get(name) == value for name, value in fields.items()):
                found.append(entry)
        return found

    def wait_exit(self, seconds=STOP_SECONDS):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"still running after {seconds} s: {self.arguments}\n{self.log()}") from None

    def wait_until(self, condition, what, seconds=START_SECONDS):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return
            if self.child.poll() is not None:
                raise AssertionError(f"exit {self.child.returncode} instead of {what}: {self.arguments}\n{self.log()}")
            time.sleep(0.02)
        raise AssertionError(f"not {what} after {seconds} s: {self.arguments}\n{self.log()}")

    def signal(self, number=signal.SIGTERM):
        self.child.send_signal(number)

    def assert_clean_log(self):
        text = self.log()
        for word in SANITIZER_WORDS:
            assert word not in text, text

    def stop(self):
        """Ends it as an operator would and insists on a clean end. Once only."""
        if self.child.returncode is None:
            if self.child.poll() is None:
                self.signal()
            code = self.wait_exit()
            assert code == 0, f"exit {code}: {self.arguments}\n{self.log()}"
        self.assert_clean_log()

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    # What the kernel says about it.

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self, field="VmRSS"):
        """Now; with "VmHWM" the most that it was."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")


class HttpProcess(Process):
    """One that listens on `port` of the loopback address and says when it is ready."""

    def __init__(self, arguments, port, log_path, ready_path, **options):
        super().__init__(arguments, log_path, **options)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.ready_path = ready_path

    def is_ready(self):
        """But for plugins of the test's own that are still to join."""
        try:
            answer = request_once(self.port, "GET", self.ready_path)
            return answer.status == 200 or b'"reason":"required plugins are not there"' in answer.body
        except (OSError, ValueError):
            return False

    def wait_ready(self):
        self.wait_until(self.is_ready, "ready")
        return self
