"""What can happen to the store of a ledger: its process stops, its file system is full, its file is locked. Each fault
has begin() and end(); what it does it does from outside."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from pathlib import Path

SMALL_DISK = "64m"


def mounts_work():
    """Whether a process may have a file system of its own here."""
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    try:
        return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def on_small_disk(folder, size=SMALL_DISK):
    """Words before a command that give it, and nobody else, a small file system at `folder`."""
    script = 'mount -t tmpfs -o size="$0",mode=700 tmpfs "$1" && shift && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", script, size, str(folder)]


def ask(path, query):
    """One number out of a store that nobody writes to just now. A file that only another process can see is copied:
    SQLite would follow the link under /proc to the folder of that name here."""
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("", "-wal"):
            if os.path.exists(f"{path}{ending}"):
                shutil.copy(f"{path}{ending}", f"{folder}/kept.db{ending}")
        with sqlite3.connect(f"{folder}/kept.db") as db:
            return db.execute(query).fetchone()[0]


class Frozen:
    """The process of the ledger takes no step."""

    name = "process stopped"

    def __init__(self, pid):
        self.pid = pid

    def begin(self):
        os.kill(self.pid, signal.SIGSTOP)

    def end(self):
        os.kill(self.pid, signal.SIGCONT)


class Full:
    """No byte is left on the file system that the process `pid` has at `folder`."""

    name = "file system full"

    def __init__(self, pid, folder):
        self.filler = Path(f"/proc/{pid}/root{folder}/filler")

    def begin(self):
        with open(self.filler, "wb", buffering=0) as filler:
            for size in (65536, 4096, 1):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def end(self):
        self.filler.unlink()


class Limited:
    """No file of the process may grow: what a full disk looks like where nothing can be mounted."""

    name = "files may not grow"

    def __init__(self, pid):
        self.pid = pid
        self.before = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def begin(self):
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (1, self.before[1]))

    def end(self):
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, self.before)


class Locked:
    """Another program has the database, and does not let go."""

    name = "database locked"

    def __init__(self, path):
        self.path = path
        self.other = None

    def begin(self):
        self.other = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
        self.other.execute("BEGIN IMMEDIATE")

    def end(self):
        self.other.execute("ROLLBACK")
        self.other.close()
