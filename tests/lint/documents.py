#!/usr/bin/python3
"""The documents keep what they promise: links between files lead somewhere, every line under "Works" in README.md
names a test file that exists and holds tests, commands of ./dev that are mentioned exist."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [path for pattern in ("*.md", "docs/**/*.md", "proto/*.md", "examples/**/*.md") for path in ROOT.glob(pattern)]


def broken_links(path, text):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        if not (path.parent / link).exists():
            yield f"{path.relative_to(ROOT)}: the link {link} leads nowhere"


def works_without_test():
    lines = (ROOT / "README.md").read_text().splitlines()
    rows = []
    for line in lines[lines.index("| Works | Shown by |") + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(line)
    if not rows:
        yield "README.md: no line under Works"
    for row in rows:
        tests = re.findall(r"\]\((tests/[^)]+)\)", row)
        if not tests:
            yield f"README.md: no test is named: {row}"
        for test in tests:
            path = ROOT / test
            if not path.is_file() or (path.suffix == ".py" and "def test_" not in path.read_text()):
                yield f"README.md: {test} is not a file with tests"


def unknown_commands(path, text):
    known = set(re.findall(r"^cmd_(\w+)\(\)", (ROOT / "dev").read_text(), re.M))
    for command in re.findall(r"\./dev ([a-z]+)", text):
        if command not in known:
            yield f"{path.relative_to(ROOT)}: there is no ./dev {command}"


def main():
    found = list(works_without_test())
    for path in DOCUMENTS:
        text = path.read_text()
        found += broken_links(path, text)
        found += unknown_commands(path, text)
    print("\n".join(found + [f"documents: {len(DOCUMENTS)} read, {len(found)} findings"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
