#!/usr/bin/env python3
"""Breaks a fleet under load and counts what its clients got.

    chaos.py [SECONDS] [SEED] [kill|stop|loss|rolling|edge]

One edge (two in mode edge), two routers, four providers on tcp with CURVE keys; 200 streams and 200 plain requests are in
flight all the time. Exit 0: every promise held. 1: one was broken. 2: the run says nothing (the processes that were taken
held too little, or it could not be run here).
"""

import argparse
import asyncio
import os
import random
import shutil
import sys
import time
from pathlib import Path

import network
from client import Kind, Load
from faults import MODES, Run
from fleet import MASTER_KEY, Broken, Fleet, Network
from report import Sum
from upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
IN_FLIGHT = 200  # of each kind
DRAIN_SECONDS = 9  # for the requests that are in flight at the end
STOP_SECONDS = 3
START_AND_END_SECONDS = 40  # only a run that hangs takes as long
HELD_MEDIAN = 20  # under this a run proves little
ROUTERS, PROVIDERS = 2, 4

WAIT = "delay-200to2000"
KINDS = [
    Kind("short", f"mock-tokens-20-{WAIT}", 20, False, 8),
    # 300 KB in pieces, several windows of credit: a process may die in the middle of it.
    Kind("long", f"mock-tokens-300-word-1000-drip-10-piece-10000-{WAIT}", 300, False, 1),
    Kind("upload", f"mock-tokens-20-{WAIT}", 20, False, 1, request_bytes=100_000),
    Kind("stream", f"mock-tokens-20-pace-20to60-{WAIT}", 20, True, 1),
]
# So long that an upstream call of a dead edge would be seen.
LONG_STREAM = Kind("long stream", f"mock-tokens-40-pace-150-{WAIT}", 40, True, 1)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=int, default=60)
    parser.add_argument("seed", nargs="?", type=int, default=None)
    parser.add_argument("mode", nargs="?", default="kill", choices=sorted(MODES))
    parser.add_argument("--log-level", default="info", help="of the processes")
    parser.add_argument("--cells", type=int, default=1, help="of each process")
    parser.add_argument("--one-process", action="store_true", help="whole gateways instead of roles; mode edge only")
    return parser.parse_args()


async def carry_out(options, fleet):
    if options.one_process:
        fleet.prepare_one_process(2 if options.mode == "edge" else 1)
    else:
        fleet.prepare(2 if options.mode == "edge" else 1, ROUTERS, PROVIDERS, spare_routers=options.mode == "rolling")
    await fleet.start()
    draws = random.Random(options.seed)
    kinds = [*KINDS, LONG_STREAM] if options.mode == "edge" else KINDS
    load = Load(fleet.edges, kinds, random.Random(draws.random()), MASTER_KEY)
    upstream = Upstream(fleet.mock_port)
    run = Run(fleet, load, upstream, random.Random(draws.random()), options.seconds)
    load.start(IN_FLIGHT, IN_FLIGHT)
    try:
        await MODES[options.mode](run)
        await asyncio.sleep(max(0.0, run.until - time.monotonic()))
        await run.settle()
    finally:
        load.stopping = True
    run.say(f"no new requests; {len(load.in_flight)} are in flight")
    await load.stop(DRAIN_SECONDS)
    for name in await fleet.stop(STOP_SECONDS):
        run.breaks(f"{name} did not end within {STOP_SECONDS} s of SIGTERM, with nothing to do")
    for sentence in fleet.died_by_themselves() + fleet.sanitizer_reports():
        run.breaks(sentence)
    return run, Sum(run, upstream.calls())


async def in_time(coroutine, seconds):
    try:
        return await asyncio.wait_for(coroutine, seconds)
    except asyncio.TimeoutError:
        raise Broken(f"the run did not end within {seconds} s") from None


def verdict(options, run, total):
    total.show()
    broken = total.broken(options.mode)
    median = run.held_median()
    takes = options.mode != "rolling"
    if takes:
        print(f"  requests held by a process when it was taken: median {median:.0f}")
    for sentence in broken:
        print(f"  BROKEN: {sentence}")
    is_invalid = takes and not broken and median < HELD_MEDIAN
    if is_invalid:
        print(f"  INVALID: the processes that were taken held a median of {median:.0f} requests, {HELD_MEDIAN} are needed")
    print(total.last_line(options.seed, options.mode), flush=True)
    return 1 if broken else 2 if is_invalid else 0


def main():
    options = parse_options()
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(3), "big")
    if options.mode == "loss":
        network.enter_namespaces()  # runs this program again, inside
    directory = ROOT / "build/chaos" / options.mode
    shutil.rmtree(directory, ignore_errors=True)
    print(f"chaos: {options.seconds} s, seed {options.seed}, mode {options.mode}; logs in {directory.relative_to(ROOT)}")
    hosts = network.Namespaces() if options.mode == "loss" else Network()
    fleet = Fleet(directory, hosts, options.seed, options.log_level, options.cells)
    try:
        run, total = asyncio.run(in_time(carry_out(options, fleet), options.seconds + START_AND_END_SECONDS))
    except Broken as problem:
        print(f"chaos: {problem}\nchaos seed={options.seed} mode={options.mode} broken")
        return 1
    finally:
        fleet.close()
    return verdict(options, run, total)


if __name__ == "__main__":
    sys.exit(main())
