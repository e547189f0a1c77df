#!/usr/bin/env python3
"""The names of Ferro's Go package: each has its C function with a test, its key, or is said to be missing."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r'^(NAME|KEY|NOT_YET)\("([\w.]+)",\s*(.*)\)$')


def main():
    header = (ROOT / "include/dynabus.h").read_text()
    keys = (ROOT / "docs/configuration.md").read_text()
    findings = []
    seen = set()
    for number, line in enumerate((ROOT / "tests/library_names.def").read_text().splitlines(), 1):
        if not re.match(r"^[A-Z_]+\(", line):
            continue
        row = ROW.match(line)
        if row is None:
            findings.append((number, "is no row"))
            continue
        kind, name, rest = row.groups()
        values = [value.strip().strip('"') for value in rest.split(",", 1)]
        if name in seen:
            findings.append((number, f"{name} stands here twice"))
        seen.add(name)
        if kind == "NAME":
            symbol, test = values
            if not re.search(rf"\b{symbol}\b", header):
                findings.append((number, f"{symbol} is not in include/dynabus.h"))
            if not (ROOT / test).is_file() or not re.search(rf"\b{symbol}\b", (ROOT / test).read_text()):
                findings.append((number, f"{test} does not use {symbol}"))
        elif kind == "KEY" and f"`{values[0]}`" not in keys:
            findings.append((number, f"docs/configuration.md has no key {values[0]}"))
    for number, text in findings:
        print(f"tests/library_names.def:{number}: {text}")
    print(f"library names: {len(seen)} names, {len(findings)} findings")
    return 1 if findings or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
