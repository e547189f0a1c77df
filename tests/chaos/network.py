"""A network of its own for mode loss: each router and provider in a network namespace behind a veth pair, everything else
in the outer one, which forwards. nftables in the outer namespace loses packets. Needs no right of the caller but to make
user namespaces; where those, iproute2 or nft are missing, the mode is not run, and says so.
"""

import os
import shutil
import subprocess
import sys

from fleet import Network

INSIDE = "DYNABUS_CHAOS_INSIDE"
NOT_RUN = 2
NET = "10.77"


def not_run(why):
    print(f"chaos mode=loss not run: {why}")
    sys.exit(NOT_RUN)


def enter_namespaces():
    """Replaces this program by itself inside a user and a network namespace."""
    if os.environ.get(INSIDE):
        return
    for tool in ("unshare", "nsenter", "ip", "nft"):
        if shutil.which(tool) is None:
            not_run(f"there is no {tool} here")
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        not_run("this system does not allow user and network namespaces")
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-rn", sys.executable, *sys.argv])


def ip(*words, inside=()):
    done = subprocess.run([*inside, "ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        not_run(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Namespaces(Network):
    mock_listen_host = "0.0.0.0"
    mock_port = 0  # filled in by the fleet

    def __init__(self):
        self.holders = {}  # name -> process that keeps its namespace
        self.drops = {}  # name -> percent
        ip("link", "set", "lo", "up")
        try:
            with open("/proc/sys/net/ipv4/ip_forward", "w") as switch:
                switch.write("1")
        except OSError as problem:
            not_run(f"no forwarding: {problem}")
        self.load_rules()

    # ---- hosts ----

    def add(self, name):
        """A namespace behind a veth pair: .1 is the outer side, .2 the member."""
        if name in self.holders:
            return
        number = len(self.holders) + 1
        holder = subprocess.Popen(["unshare", "-n", "sleep", "100000"], stdin=subprocess.DEVNULL)
        self.holders[name] = (holder, number)
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        inside = self.enter(holder)
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        ip("addr", "add", f"{NET}.{number}.1/30", "dev", f"v{number}")
        ip("link", "set", f"v{number}", "up")
        ip("link", "set", "lo", "up", inside=inside)
        ip("addr", "add", f"{NET}.{number}.2/30", "dev", "eth0", inside=inside)
        ip("link", "set", "eth0", "up", inside=inside)
        ip("route", "add", "default", "via", f"{NET}.{number}.1", inside=inside)

    @staticmethod
    def enter(holder):
        return ["nsenter", "-t", str(holder.pid), "-n"]

    def is_apart(self, name):
        return name.startswith(("router", "provider"))

    def host_of(self, name):
        if not self.is_apart(name):
            return "127.0.0.1"
        self.add(name)
        return f"{NET}.{self.holders[name][1]}.2"

    def mock_host(self, name):
        if not self.is_apart(name):
            return "127.0.0.1"
        self.add(name)
        return f"{NET}.{self.holders[name][1]}.1"

    def prefix(self, name):
        return self.enter(self.holders[name][0]) if self.is_apart(name) else []

    # ---- loss ----

    def drop(self, name, percent):
        """From now on so many of a hundred packets from and to that member are lost, but not those to the mock."""
        self.drops[name] = percent
        self.load_rules()

    def load_rules(self):
        """All rules anew, in one transaction."""
        lines = ["table inet chaos", "delete table inet chaos", "table inet chaos {"]
        for hook in ("input", "output", "forward"):
            lines.append(f"chain {hook} {{ type filter hook {hook} priority 0; policy accept;")
            # Two rules: nft 1.0.6 makes one comparison of "sport != x dport != x".
            lines += [f"tcp sport {self.mock_port} accept", f"tcp dport {self.mock_port} accept"]
            for name, percent in self.drops.items():
                if percent > 0:
                    number = self.holders[name][1]
                    chance = "" if percent >= 100 else f"numgen random mod 100 < {percent} "
                    lines.append(f"ip saddr {NET}.{number}.2 {chance}drop")
                    lines.append(f"ip daddr {NET}.{number}.2 {chance}drop")
            lines.append("}")
        lines.append("}")
        done = subprocess.run(["nft", "-f", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True)
        if done.returncode != 0:
            not_run(f"nft: {done.stderr.strip()}")

    def close(self):
        for holder, _ in self.holders.values():
            holder.kill()
            holder.wait()
