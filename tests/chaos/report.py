"""The sum of a run: what each request got, how often it reached the upstream and why more than once."""

from client import ANSWERED, ERROR, STREAM_ERROR, UNANSWERED
from upstream import by_number

SHOWN = 8  # of each kind of failure
SLOWEST = 4
LATE_SECONDS = 0.5


def explain_extra(calls, faults):
    """Calls beyond one per request, by what happened while the one before was open; and those without a reason."""
    reasons, unexplained = {}, []
    for number, of_one in by_number(calls).items():
        for before, again in zip(of_one, of_one[1:]):
            over = [fault for fault in faults if fault.covers(before.began, again.began)]
            own = [fault for fault in over if fault.member == before.member]
            routers = [fault for fault in over if fault.member.startswith("router")]
            if own:
                reason = f"{own[0].what} of the provider that had it"
            elif routers:
                reason = f"{routers[0].what} of a router"
            elif over:
                reason = f"{over[0].what} of another process"
            else:
                unexplained.append((number, before, again))
                continue
            reasons[reason] = reasons.get(reason, 0) + 1
    return reasons, unexplained


def show_failures(load, outcome, title):
    failures = load.failures(outcome)
    for (kind, why), requests in failures[:SHOWN]:
        example = requests[0]
        print(f"  {title}: {len(requests)} x {kind}: {why} (first: {example.number})")
    if len(failures) > SHOWN:
        print(f"  {title}: and {len(failures) - SHOWN} other reasons")


class Sum:
    def __init__(self, run, calls):
        self.run, self.load = run, run.load
        self.calls = calls
        done = self.load.requests.values()
        self.sent = len(done)
        self.answered = self.load.count(ANSWERED)
        self.plain_errors = self.load.count(ERROR, stream=False)
        self.errors = self.load.count(ERROR)
        self.stream_errors = self.load.count(STREAM_ERROR)
        self.unanswered = self.load.count(UNANSWERED)
        self.twice = [request for request in done if request.verdict.twice]
        # A stream that never said anything has not begun: it ought to have been answered.
        self.silent_stream_errors = sum(
            1 for request in done if request.verdict.outcome == STREAM_ERROR and request.verdict.tokens == 0
        )
        self.numbers = {call.number for call in calls}
        self.extra = len(calls) - len(self.numbers)
        self.extra_reasons, self.extra_unexplained = explain_extra(calls, run.faults)

    # ---- what is promised ----

    def broken(self, mode):
        found = list(self.run.broken)
        if self.unanswered:
            found.append(f"{self.unanswered} requests got no answer")
        if self.twice:
            found.append(f"{len(self.twice)} answers hold something twice, or have a gap")
        if self.errors:
            found.append(f"{self.errors} requests ({self.plain_errors} plain) got an error although others could serve them")
        if self.silent_stream_errors:
            found.append(f"{self.silent_stream_errors} streams ended with an error before anything of them was sent")
        if mode in ("rolling", "edge") and self.stream_errors:
            found.append(f"{self.stream_errors} streams failed")
        if mode == "edge" and self.extra:
            found.append(f"{self.extra} upstream calls too many: a request of another edge was touched")
        if self.extra_unexplained:
            found.append(f"{len(self.extra_unexplained)} upstream calls too many without a fault that explains them")
        missing = [request.number for request in self.load.requests.values()
                   if request.verdict.outcome == ANSWERED and request.number not in self.numbers]  # fmt: skip
        if missing:
            found.append(f"{len(missing)} answers without an upstream call")
        return found

    # ---- what is shown ----

    def show(self):
        show_failures(self.load, UNANSWERED, "unanswered")
        show_failures(self.load, ERROR, "error")
        show_failures(self.load, STREAM_ERROR, "stream error")
        for request in self.twice[:SHOWN]:
            print(f"  twice: {request.number}: {request.verdict.twice}")
        for reason, count in sorted(self.extra_reasons.items(), key=lambda item: -item[1]):
            print(f"  upstream calls beyond one: {count} x {reason}")
        for number, before, again in self.extra_unexplained[:SHOWN]:
            print(f"  upstream calls beyond one, unexplained: {number} at {before.member} ({before.end}), then {again.member}")
        print(f"  errors before the first byte: plain {self.plain_errors}, stream {self.errors - self.plain_errors}; "
              f"streams that failed before they said anything: {self.silent_stream_errors}")  # fmt: skip
        if self.load.gone_with_edge:
            print(f"  requests whose own edge was killed: {len(self.load.gone_with_edge)}")
        print(f"  requests sent again on another connection, since a kept one closed without a byte: {self.load.repeats}")
        self.show_lag()
        self.show_slowest()

    def show_lag(self):
        """How long an answer lay somewhere behind the upstream's last byte: while its process was stopped, or while others
        found each other again."""
        last = {call.number: call.ended for call in self.calls if call.end == "answered"}
        lags = sorted(
            ((request.ended - last[request.number], request) for request in self.load.requests.values()
             if request.verdict.outcome == ANSWERED and request.number in last),
            key=lambda pair: -pair[0],
        )  # fmt: skip
        late = [pair for pair in lags if pair[0] > LATE_SECONDS]
        if late:
            print(f"  answers that came over {LATE_SECONDS} s after the upstream's last byte: {len(late)}; at most:")
            for lag, request in late[:SLOWEST]:
                print(f"    {request.number}: {lag:.1f} s, came at {request.ended - self.run.began:.1f}")

    def show_slowest(self):
        slowest = sorted(self.load.requests.values(), key=lambda request: request.began - request.ended)
        if not slowest:
            return
        median = slowest[len(slowest) // 2]
        print(f"  a request took {median.ended - median.began:.2f} s in the median; longest:")
        calls = by_number(self.calls)
        for request in slowest[:SLOWEST]:
            steps = ", ".join(
                f"{call.member} at {call.began - request.began:.1f} ({call.end} at {(call.ended or 0) - request.began:.1f})"
                for call in calls.get(request.number, [])
            )
            began = request.began - self.run.began
            print(f"    {request.number} of {began:.1f}: {request.ended - request.began:.1f} s, {request.verdict.outcome}: {steps}")

    def last_line(self, seed, mode):
        return (
            f"chaos seed={seed} mode={mode} sent={self.sent} answered={self.answered} errors={self.errors} "
            f"stream_errors={self.stream_errors} unanswered={self.unanswered} twice={len(self.twice)} "
            f"upstream_extra={self.extra}"
        )
