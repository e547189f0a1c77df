"""The kinds of load that a benchmark puts on each path."""

KEY = "bench-key"  # sent by the client; the gateway is told to ask for it
ALL = "dynabus-all"
PLAIN_PATHS = ("direct", "nginx", "dynabus")
SPARE_DESCRIPTORS = 400  # of a gateway: listeners, log, bus, store, connections that are about to close


PATIENCE_MS = {True: 60_000, False: 10_000}  # without a byte, until an answer is given up: of streams, of others


class Row:
    """One kind of load, and the paths that it is put on."""

    def __init__(self, name, streams, connections, seconds, *, tokens=8, pace_ms=0, delay_ms=0, body_bytes=1024, rate=0,
                 close_each=False, ramp_ms=None, paths=PLAIN_PATHS, others=(), fewer=0, by_wrk=False):  # fmt: skip
        self.name = name
        self.streams = streams
        self.connections = connections
        self.seconds = seconds
        self.tokens = tokens
        self.pace_ms = pace_ms
        self.delay_ms = delay_ms
        self.body_bytes = body_bytes
        self.rate = rate  # requests a second that begin whatever becomes of others; 0: closed loop
        self.close_each = close_each
        # Streams begin spread over the time that one takes, so that as many are open at any moment.
        most_ms = delay_ms or (min(tokens * pace_ms, 1000) if streams else 0)
        self.ramp_ms = most_ms if ramp_ms is None else ramp_ms
        self.paths = (*paths, *others)
        self.by_wrk = by_wrk
        self.fewer = fewer  # rounds than the rows that bounds are set for

    @property
    def model(self):
        model = f"mock-tokens-{self.tokens}" + (f"-pace-{self.pace_ms}" if self.pace_ms else "")
        return model + (f"-delay-{self.delay_ms}" if self.delay_ms else "")

    def command(self, load, server):
        options = {
            "--connections": self.connections,
            "--seconds": self.seconds,
            "--warmup": max(self.ramp_ms / 1000, 0.2),
            "--ramp-ms": self.ramp_ms,
            "--tokens": self.tokens,
            "--model": self.model,
            "--body-bytes": self.body_bytes,
            "--key": KEY,
            "--timeout-ms": PATIENCE_MS[self.streams],
            "--rate": self.rate,
            "--close-each": int(self.close_each),
        }
        words = [str(word) for pair in options.items() for word in pair]
        return [load, "streams" if self.streams else "requests", server.url, *words]


def wide_streams(descriptors):
    """As many as the limit on descriptors allows: two each in the gateway."""
    return max(100, min(10_000, (descriptors - SPARE_DESCRIPTORS) // 2))


def smoke_rows():
    """A look at whether answers are whole, not at what they cost."""
    return [
        Row("requests-64", False, 64, 0.4, others=(ALL,)),
        Row("churn-8", False, 8, 0.4, close_each=True),
        Row("open-1", False, 1, 0.4, rate=500),
        Row("streams-100", True, 100, 0.4, tokens=25, pace_ms=20, others=(ALL,)),
    ]


def quick_rows():
    return [
        Row("requests-1", False, 1, 0.8, others=(ALL,)),
        Row("requests-64", False, 64, 0.8, others=(ALL,)),
        Row("streams-100", True, 100, 0.8, tokens=25, pace_ms=20, others=(ALL,)),
    ]


def full_rows(descriptors, features, guards):
    every = (ALL,)

    def requests(name, connections, seconds=1.0, **more):
        return Row(name, False, connections, seconds, **{"others": every, "fewer": 1, **more})

    def streams(count, seconds=1.2, **more):
        return Row(f"streams-{count}", True, count, seconds, tokens=50, pace_ms=20, **{"others": every, "fewer": 1, **more})

    return [
        requests("requests-1", 1, fewer=0),
        requests("open-1", 1, 1.5, rate=1000),
        requests("requests-8", 8),
        requests("requests-64", 64, fewer=0),
        requests("wrk-64", 64, by_wrk=True),
        requests("requests-500", 500),
        requests("requests-8-64k", 8, body_bytes=64 * 1024, fewer=0),
        requests("requests-8-1m", 8, body_bytes=1024 * 1024),
        requests("slow-1000", 1000, 1.5, delay_ms=60, ramp_ms=500),
        requests("churn-8", 8, 0.8, close_each=True),
        requests("tls-in-64", 64, 1.5, paths=("direct", "nginx-tls", "dynabus-tls"), others=()),
        requests("tls-out-64", 64, 1.5, paths=("direct", "nginx-out", "dynabus-out"), others=()),
        requests("features-64", 64, paths=("direct", "dynabus", *features), others=()),
        streams(1, 1.0),
        streams(100, others=(ALL, *guards), fewer=0),
        streams(500),
        streams(1000, fewer=0),
        streams(2000, fewer=2),
        Row("streams-wide", True, wide_streams(descriptors), 1, tokens=20, pace_ms=250, ramp_ms=2500, fewer=2,
            paths=("direct", "nginx-wide", "dynabus"), others=every),
    ]  # fmt: skip


ROUNDS = {"smoke": 1, "quick": 3, "full": 4}


def rows_of(kind, descriptors=0, features=(), guards=(), has_wrk=True):
    if kind == "full":
        return [row for row in full_rows(descriptors, features, guards) if has_wrk or not row.by_wrk]
    return quick_rows() if kind == "quick" else smoke_rows()
