#!/usr/bin/python3
"""House rules that no compiler checks: where big libraries may be included, which C functions are
refused, how long lines and files may be, what must not stand in the tree. One line per finding."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINE_MAX = 110
FILE_MAX_LINES = 800

# A big library stays where it can be replaced: the pattern of its headers, and the files that may
# include them. Tests may use any of them.
HOMES = [
    (r"ev\.h|ev\+\+\.h", r"bus/loop[a-z_]*\.[ch]|edge/http_socket\.c"),
    (r"zmq\.h|zmq_utils\.h", r"bus/.*"),
    (r"czmq\.h|czmq_.*\.h", r"bus/cert\.c|examples/.*"),
    (r"libwebsockets\.h", r"edge/http_socket\.c|cli/version\.c"),
    (r"http_parser\.h", r"edge/http_parse\.c|cli/version\.c"),
    (r"curl/.*", r"actors/providers/[a-z_]*\.[ch]|cli/version\.c"),
    (r"msgpack.*", r"proto/[a-z_]*\.[ch]|cli/version\.c"),
    (r"(cjson/)?cJSON\.h", r"core/json_tree\.c|cli/version\.c"),
    (r"yaml\.h", r"core/config[a-z_]*\.c|cli/version\.c"),
    (r"openssl/.*", r"core/.*|edge/http_tls\.c|router/.*|actors/providers/.*|cli/version\.c"),
    (r"sqlite3\.h|libpq-fe\.h", r"actors/ledger/.*"),
    (r"hiredis/.*", r"actors/.*"),
    (r"pcre2\.h", r"core/regex\.c"),
]

# No length known to the callee, hidden state, or no way to see an error.
REFUSED_FUNCTIONS = re.compile(
    r"\b(strcpy|strcat|stpcpy|sprintf|vsprintf|strtok|gets|atoi|atol|atoll|atof|asctime|ctime|gmtime|localtime|"
    r"alloca|tmpnam|mktemp|rand|srand|setjmp|longjmp)\s*\("
)
# Written so that this file does not contain what it looks for.
LEFT_OVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.}~)])/(work|root|home|Users)/[\w.]")

SOURCE = re.compile(r"\.(c|h|def)$")
TEXT = re.compile(r"(\.(c|h|def|md|py|sh|txt|cmake|yaml|yml|json|in|vtc)|/dev|/run|CMakeLists\.txt|dev)$")


def tracked_files():
    """What is committed or about to be; without git, everything but the build trees."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True)
    if listing.returncode == 0:
        names = listing.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
        names = [n for n in names if not n.startswith((".git/", "build/"))]
    return sorted(n for n in names if (ROOT / n).is_file())


def without_comments_and_strings(text):
    """The code alone, every line kept in its place."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return "\n" * token.count("\n") or " "
        return '""'

    return pattern.sub(blank, text)


def numbered(text):
    return enumerate(text.split("\n"), start=1)


def include_findings(name, text):
    for number, line in numbered(text):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if not match:
            continue
        header = match.group(1)
        if header.startswith("../") or "/../" in header:
            yield number, f'"{header}": a relative include gets round the layers'
        if name.startswith(("tests/", "examples/")):
            continue
        for headers, home in HOMES:
            if re.fullmatch(headers, header) and not re.fullmatch(home, name):
                yield number, f"<{header}> belongs to {home}"


def source_findings(name, text):
    yield from include_findings(name, text)
    for number, line in numbered(without_comments_and_strings(text)):
        for match in REFUSED_FUNCTIONS.finditer(line):
            yield number, f"{match.group(1)}() is refused"
    lines = text.split("\n")
    if len(lines) > FILE_MAX_LINES:
        yield 1, f"{len(lines)} lines, at most {FILE_MAX_LINES}"
    for number, line in numbered(text):
        if len(line) > LINE_MAX and not name.endswith(".def"):
            yield number, f"{len(line)} columns, at most {LINE_MAX}"
        if "\t" in line:
            yield number, "a tab"
    if name.endswith(".h") and "#pragma once" not in text and name != "include/dynabus.h":
        yield 1, "no '#pragma once'"


def text_findings(name, text):
    for number, line in numbered(text):
        if LEFT_OVERS.search(line):
            yield number, "a left-over note"
        if MACHINE_PATHS.search(line):
            yield number, "a path of one machine"
        if line != line.rstrip() and not name.endswith(".md"):
            yield number, "blanks at the end"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end"


def main():
    findings = 0
    files = 0
    for name in tracked_files():
        is_source = SOURCE.search(name)
        if not is_source and not TEXT.search("/" + name):
            continue
        if "/seeds/" in name or "/golden/" in name or "/vectors/" in name:
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        files += 1
        found = list(text_findings(name, text))
        if is_source:
            found += source_findings(name, text)
        for number, what in sorted(found):
            print(f"{name}:{number}: {what}")
        findings += len(found)
    print(f"house rules: {files} files, {findings} findings")
    return 1 if findings or not files else 0


if __name__ == "__main__":
    sys.exit(main())
