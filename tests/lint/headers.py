#!/usr/bin/python3
"""usage: headers.py BUILD_DIR
Every header compiles alone: it includes what it uses. The public one has to be C99."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["core", "proto", "bus", "edge", "router", "actors", "mock", "gateway", "cli", "models", "limits"]


def compile_alone(header, include_root, language):
    command = ["gcc", f"-x{language[0]}", f"-std={language[1]}", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
               "-fsyntax-only", "-I", str(include_root), "-"]
    source = f'#include "{header}"\n#include "{header}"\ntypedef int not_empty;\n'
    return subprocess.run(command, input=source, capture_output=True, text=True)


def main():
    include_root = Path(sys.argv[1]) / "layers" / "tests"
    jobs = []
    for folder in FOLDERS:
        for header in sorted((ROOT / folder).rglob("*.h")):
            name = header.relative_to(ROOT)
            root = include_root.parent / "cli" if folder == "cli" else include_root
            jobs.append((str(name), root, ("c", "c11")))
    jobs.append(("dynabus.h", ROOT / "include", ("c", "c99")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda job: compile_alone(*job), jobs))
    wrong = 0
    for (name, _, language), result in zip(jobs, results):
        if result.returncode != 0:
            print(f"{name} does not compile alone as {language[1]}:\n{result.stderr}")
            wrong += 1
    print(f"headers: {len(jobs)} compiled alone, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
