"""What the mock saw: its journal of calls, read over HTTP and added up by request number and by provider.

Each provider process calls the mock under a path of its own (/provider-2/v1/..), so a call shows who made it.
"""

from dataclasses import dataclass

from harness.http import Connection


@dataclass
class Call:
    number: str
    member: str  # who called: "provider-2"
    stream: bool
    began: float  # seconds of the monotonic clock, which all processes of a machine share
    ended: float  # None: still open
    end: str  # open, answered, cancelled


def call_of(record):
    return Call(
        record["number"],
        record["path"].split("/")[1],
        record["stream"],
        record["began_us"] / 1e6,
        record["ended_us"] / 1e6 if record["ended_us"] else None,
        record["end"],
    )


class Upstream:
    def __init__(self, port):
        self.port = port

    def calls(self):
        """All calls of the run, in the order of their arrival."""
        calls, since = [], 0
        with Connection(self.port) as connection:
            while True:
                page = connection.request("GET", f"/mock/calls?since={since}").json()
                if not page["calls"]:
                    return calls
                calls += map(call_of, page["calls"])
                since = page["next"]

    def open_calls(self):
        with Connection(self.port) as connection:
            return list(map(call_of, connection.request("GET", "/mock/calls?open").json()["calls"]))

    def held_by(self, member):
        """Numbers of the requests that this provider is calling the mock for right now."""
        return {call.number for call in self.open_calls() if call.member == member}


def by_number(calls):
    grouped = {}
    for call in calls:
        grouped.setdefault(call.number, []).append(call)
    return grouped
