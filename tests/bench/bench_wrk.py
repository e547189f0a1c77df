"""The same load by wrk, which is not ours: a check that the own client's figures are not its own making."""

import os
import re
import shutil
import subprocess

from bench_rows import KEY

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = '{body}'
"""


def is_there():
    return shutil.which("wrk") is not None


def body_of(row):
    """As large as the other client's."""
    shape = '{"model":"%s","messages":[{"role":"user","content":"%s"}]}'
    bare = len(shape % (row.model, ""))
    return shape % (row.model, "a bright " * ((row.body_bytes - bare) // 9))


def read(output):
    """What wrk prints, under the names of the other client's result."""
    done = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if not done or not rate:
        return None
    wrong = [int(count) for count in re.findall(r"(?:connect|read|write|timeout) (\d+)", output)]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    errors = sum(wrong) + (int(refused.group(1)) if refused else 0)
    whole = dict.fromkeys(("tokens", "lost", "repeated", "out_of_order", "mixed", "unreadable"), 0)
    return {"answers": int(done.group(1)), "errors": errors, "answers_per_s": float(rate.group(1)), **whole}


def run(row, server, folder):
    script = os.path.join(folder, "wrk.lua")
    with open(script, "w", encoding="ascii") as file:
        file.write(SCRIPT.format(key=KEY, body=body_of(row)))
    # A process of its own for each run: whole seconds are all that wrk takes.
    seconds = max(1, round(row.seconds))
    command = ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "-s", script, server.url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds + 30, check=False)
    result = read(done.stdout)
    if done.returncode != 0 or result is None:
        raise SystemExit(f"bench: wrk failed through {server.name}: {done.stdout[-300:]}")
    return result
