"""What is done to the fleet, one way a mode. Whatever is done, one router and one provider live at any time."""

import asyncio
import statistics
import time
from dataclasses import dataclass

from fleet import Broken

# A process that came back counts as living when its peers have had the time to find it: a lost link is tried again
# after 50 ms to 1 s.
SETTLE_SECONDS = 1.5
FIRST_FAULT_SECONDS = 2.5  # by then the load is what it will be
MISSED_SECONDS = 3.5  # a silent router is missed by then
EDGE_CANCEL_SECONDS = 3.0  # calls of a dead edge are over by then
DETECT_SECONDS = 3.0  # a partition is noticed, and what was held is asked of another, by then


@dataclass
class Fault:
    member: str
    what: str
    began: float
    ended: float = None  # the process is back; None: not yet
    held: int = None  # requests that it had

    def covers(self, began, ended):
        """Whether it went on at some time between these."""
        return self.began <= ended and (self.ended is None or self.ended + SETTLE_SECONDS >= began)


class Run:
    """What a mode works with."""

    def __init__(self, fleet, load, upstream, random, seconds):
        self.fleet, self.load, self.upstream, self.random = fleet, load, upstream, random
        self.began = time.monotonic()
        self.until = self.began + seconds
        self.faults = []
        self.broken = []
        self.tasks = []

    def say(self, text):
        print(f"{time.monotonic() - self.began:6.1f}  {text}", flush=True)

    def breaks(self, text):
        self.broken.append(text)
        self.say(f"BROKEN  {text}")

    def later(self, coroutine):
        self.tasks.append(asyncio.create_task(coroutine))

    async def settle(self):
        """What was begun comes to its end."""
        for task in self.tasks:
            await task

    @property
    def is_over(self):
        return time.monotonic() >= self.until

    async def seconds_from(self, first, step):
        """One turn each `step` seconds until the run is over, without drifting."""
        due = self.began + first
        while due < self.until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield
            due += step

    # ---- who may be taken ----

    def lives(self, member):
        return member.is_up and member.up_seconds() >= SETTLE_SECONDS

    def choose(self):
        """A router or provider, beside which a router and a provider live; None when there is none."""
        candidates = []
        for member in self.fleet.routers + self.fleet.providers:
            peers = self.fleet.routers if member in self.fleet.routers else self.fleet.providers
            others = self.fleet.providers if member in self.fleet.routers else self.fleet.routers
            if (
                self.lives(member)
                and any(self.lives(peer) for peer in peers if peer is not member)
                and any(self.lives(other) for other in others)
            ):
                candidates.append(member)
        return self.random.choice(candidates) if candidates else None

    # ---- what it had ----

    def held_by(self, member):
        if member.role == "edge":
            return self.load.held_by_edge(member)
        if member.role == "provider":
            return len(self.upstream.held_by(member.name))
        return None  # of a router the edges say it when they miss it

    def fault(self, member, what):
        fault = Fault(member.name, what, time.monotonic(), held=self.held_by(member))
        self.faults.append(fault)
        if member.role == "router":
            self.later(self.ask_edges(fault, self.fleet.log_ends()))
        return fault

    def told(self, fault):
        in_flight = f"{len(self.load.in_flight)} are in flight"
        if fault.held is None:
            self.say(f"{fault.what} {fault.member}: {in_flight}")
        else:
            self.say(f"{fault.what} {fault.member}: it held {fault.held} requests, {in_flight}")

    async def ask_edges(self, fault, log_ends):
        deadline = time.monotonic() + MISSED_SECONDS
        while time.monotonic() < deadline and fault.held is None:
            await asyncio.sleep(0.05)
            fault.held = self.fleet.held_by_lost_router(log_ends)
        if fault.held is not None:
            self.say(f"{fault.member} is missed by the edge, which had {fault.held} requests there")

    def held_median(self):
        held = [fault.held for fault in self.faults if fault.held is not None]
        return statistics.median(held) if held else 0

    async def come_back(self, member, fault, seconds):
        await asyncio.sleep(seconds)
        await member.start()
        fault.ended = time.monotonic()


# ---- kill ----


async def kill(run):
    """SIGKILL for a router or provider each second; a moment later it is started again."""
    async for _ in run.seconds_from(FIRST_FAULT_SECONDS, 1.0):
        member = run.choose()
        if member is None:
            run.say("nobody could be killed: no other router or provider lives yet")
            continue
        fault = run.fault(member, "kill")
        member.kill()
        run.told(fault)
        run.later(run.come_back(member, fault, 0.05 + run.random.random() * 0.4))


# ---- stop ----


async def stop_one(run, member, fault, seconds, for_good):
    await asyncio.sleep(seconds)
    if for_good:
        member.kill()
        await member.start()
    else:
        member.resume()
    fault.ended = time.monotonic()
    run.say(f"{fault.member} {'is started anew' if for_good else 'goes on'} after {seconds:.1f} s")


async def stop(run):
    """SIGSTOP for a router or provider each second: shorter or longer than peers wait, then it goes on or is replaced."""
    async for _ in run.seconds_from(FIRST_FAULT_SECONDS, 1.0):
        member = run.choose()
        if member is None:
            continue
        seconds = run.random.choice([0.3, 0.8, 1.5, 2.5, 4.0])
        for_good = run.random.random() < 0.3
        fault = run.fault(member, "stop")
        member.pause()
        run.told(fault)
        run.later(stop_one(run, member, fault, seconds, for_good))


# ---- edge ----


async def calls_of_dead_edge(run, edge, fault, numbers):
    await asyncio.sleep(max(0.0, fault.began + EDGE_CANCEL_SECONDS - time.monotonic()))
    left = [call for call in run.upstream.open_calls() if call.number in numbers]
    seconds = time.monotonic() - fault.began
    if left:
        run.breaks(f"{len(left)} upstream calls of {edge.name} are still open {seconds:.1f} s after its death")
    else:
        run.say(f"no upstream call of the dead {edge.name} is open after {seconds:.1f} s, of {len(numbers)} requests")


async def edge(run):
    """SIGKILL for one of the edges every four seconds. Its upstream calls end, the other's requests do not notice."""
    async for _ in run.seconds_from(FIRST_FAULT_SECONDS, 4.0):
        candidates = [member for member in run.fleet.edges if run.lives(member)]
        if len(candidates) < 2:
            run.breaks("an edge has not come back within four seconds")
            continue
        member = run.random.choice(candidates)
        fault = run.fault(member, "kill")
        numbers = {request.number for request in run.load.in_flight.values() if request.edge is member}
        member.kill()
        run.told(fault)
        run.later(run.come_back(member, fault, 0.3))
        run.later(calls_of_dead_edge(run, member, fault, numbers))


# ---- rolling ----


async def replace(run, member):
    fault = Fault(member.name, "replace", time.monotonic())
    run.faults.append(fault)
    if member.role == "router":
        # Its successor has the other of its two endpoints: both live for a while.
        member.endpoints.reverse()
        member.arguments[member.arguments.index("--bus") + 1] = member.endpoints[0]
    seconds = await member.replace()
    fault.ended = time.monotonic()
    run.say(f"replaced {member.name}: the old process took {seconds:.1f} s to end")


async def rolling(run):
    """Everything is replaced, one after the other, each new process ready before the old one gets SIGTERM."""
    await asyncio.sleep(FIRST_FAULT_SECONDS)
    rounds = 0
    while not run.is_over:
        members = list(run.fleet.members)
        run.random.shuffle(members)
        for member in members:
            if run.is_over:
                break
            await replace(run, member)
        else:
            rounds += 1
    replaced = {fault.member for fault in run.faults}
    if len(replaced) < len(run.fleet.members):
        run.say(f"only {len(replaced)} of {len(run.fleet.members)} processes were replaced: too short a run")
    run.say(f"everything was replaced {rounds} times")


# ---- loss ----


async def hamper(run, member, fault, percent, seconds):
    network = run.fleet.network
    network.drop(member.name, percent)
    held = run.upstream.held_by(member.name) if member.role == "provider" else set()
    await asyncio.sleep(seconds)
    network.drop(member.name, 0)
    fault.ended = time.monotonic()
    member.is_stopped = False
    member.ready_at = fault.ended
    if percent == 100 and held and seconds > DETECT_SECONDS:
        asked_again(run, member, fault, held)


def asked_again(run, member, fault, held):
    """What a provider held when it was cut off is asked of another one as soon as that was noticed."""
    second = {}
    for call in run.upstream.calls():
        if call.number in held and call.member != member.name and call.began > fault.began:
            second.setdefault(call.number, call.began - fault.began)
    plain = [number for number in held if number in run.load.requests and not run.load.requests[number].stream]
    waiting = [number for number in plain if number not in second]
    # Some go to another that is cut off as well, and from there on later: what happened to half of them tells when it
    # was noticed.
    if len(waiting) > len(plain) / 2:
        run.breaks(f"{len(waiting)} requests that {member.name} held were not asked of another before it was back")
    if second:
        noticed = statistics.median(second.values())
        routers = {router.name for router in run.fleet.routers}
        detected_by = fault.began + DETECT_SECONDS
        # Who is asked again through a router that is cut off in these very seconds waits until that is noticed, too.
        both = any(other.member in routers and other.covers(fault.began, detected_by) for other in run.faults)
        run.say(
            f"{member.name} was cut off: {len(second)} of its requests went to others, half of them within {noticed:.1f} s, "
            f"the last after {max(second.values()):.1f} s"
        )
        if noticed > DETECT_SECONDS * (2 if both else 1):
            run.breaks(f"the partition of {member.name} was noticed only after {noticed:.1f} s")


async def loss(run):
    """Packets of a router or provider are lost, a few or all, each second; nothing is restarted."""
    async for _ in run.seconds_from(FIRST_FAULT_SECONDS, 1.0):
        member = run.choose()
        if member is None:
            continue
        percent = run.random.choice([2, 5, 15, 100, 100])
        seconds = run.random.choice([0.5, 1.0, 4.0]) if percent == 100 else run.random.choice([1.0, 3.0])
        fault = run.fault(member, f"lose {percent} % of the packets of" if percent < 100 else "cut off")
        member.is_stopped = True  # does not count as living
        run.told(fault)
        run.later(hamper(run, member, fault, percent, seconds))


MODES = {"kill": kill, "stop": stop, "loss": loss, "rolling": rolling, "edge": edge}

__all__ = ["MODES", "Broken", "Fault", "Run"]
