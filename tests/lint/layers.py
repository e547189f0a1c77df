#!/usr/bin/python3
"""usage: layers.py BUILD_DIR
A forbidden include fails to build. For each layer a real compile command of that layer is taken from
compile_commands.json and given a snippet that includes one header of another folder: allowed ones have
to compile, all others have to fail because the header is not found."""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["core", "proto", "models", "limits", "bus", "edge", "router", "actors/providers", "actors/plugins", "actors/metrics", "actors/ledger", "mock",
           "gateway", "cli"]

# What each folder may include beside itself. Written down here a second time, so that a change of the
# build alone cannot move a wall.
MAY_INCLUDE = {
    "core": [],
    "proto": ["core"],
    "models": ["core", "proto"],
    "limits": ["core"],
    "bus": ["core", "proto"],
    "edge": ["core", "proto", "bus"],
    "router": ["core", "proto", "models", "bus"],
    "actors/providers": ["core", "proto", "bus"],
    "actors/plugins": ["core", "proto", "bus", "limits"],
    "actors/ledger": ["core", "proto", "bus", "limits"],
    "actors/metrics": ["core", "proto", "bus"],
    "mock": ["core", "proto", "bus", "edge"],
    "gateway": ["core", "proto", "models", "limits", "bus", "edge", "router", "actors/providers", "actors/plugins", "actors/metrics", "actors/ledger", "mock"],
}


def header_of(folder):
    headers = sorted((ROOT / folder).glob("*.h"))
    return headers[0].relative_to(ROOT) if headers else None


def flags_of(folder, commands):
    """Compiler and flags of that layer, without source and output. A folder without a file of its own
    yet is compiled from the build tree."""
    for entry in commands:
        source = Path(entry["file"])
        of_layer = source.parent == ROOT / folder or re.search(rf"/{folder}/empty\.c$", entry["file"])
        if not of_layer:
            continue
        words = shlex.split(entry["command"])
        flags = words[: words.index("-o")]
        return [w for w in flags if w != "-Werror"], entry["directory"]
    return None, None


def compile_snippet(flags, directory, text):
    with tempfile.NamedTemporaryFile("w", suffix=".c") as snippet:
        snippet.write(text)
        snippet.flush()
        return subprocess.run(flags + ["-fsyntax-only", snippet.name], cwd=directory, capture_output=True, text=True)


def main():
    commands = json.loads((Path(sys.argv[1]) / "compile_commands.json").read_text())
    wrong = allowed = refused = 0
    for layer, may_include in MAY_INCLUDE.items():
        flags, directory = flags_of(layer, commands)
        if flags is None:
            print(f"{layer}: no compile command")
            wrong += 1
            continue
        for folder in FOLDERS:
            header = header_of(folder)
            if header is None:
                continue
            result = compile_snippet(flags, directory, f'#include "{header}"\ntypedef int not_empty;\n')
            compiled = result.returncode == 0
            not_found = f"{header}: No such file" in result.stderr or f"'{header}' file not found" in result.stderr
            if folder == layer or folder in may_include:
                allowed += 1
                if not compiled:
                    print(f"{layer} cannot include {header}:\n{result.stderr}")
                    wrong += 1
            else:
                refused += 1
                if compiled or not not_found:
                    print(f"{layer} must not be able to include {header}\n{result.stderr}")
                    wrong += 1
    print(f"layers: {allowed} includes compile, {refused} are refused, {wrong} wrong")
    return 1 if wrong or not allowed or not refused else 0


if __name__ == "__main__":
    sys.exit(main())
