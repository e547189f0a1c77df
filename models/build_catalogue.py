#!/usr/bin/python3
"""usage: build_catalogue.py [--pack PROGRAM] [--wheel FILE] [--newest]

Makes models/catalogue.tsv and models/SOURCES.md of the price list in a released litellm wheel, which is
pinned by its hash in models/pin.json, and of models/corrections.tsv. For maintainers: the build itself reads
catalogue.tsv and fetches nothing.

--pack    the built catalogue_pack (default build/release/models/catalogue_pack)
--wheel   a wheel that is there already; else pip downloads it
--newest  pins the newest release instead of taking the pinned one"""

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LICENCE = "Permission is hereby granted, free of charge"
MODELS_MIN = 2500
# What a model has as its source when its row names none.
LIST = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"

SOURCES = """# Where the model catalogue is from

Written by `models/build_catalogue.py`; the facts of each model carry their own source and date in
`catalogue.tsv`, and `dynabus models show` prints them.

| what | value |
|---|---|
| price list | `{member}` in `{package}` {version} |
| project | https://github.com/BerriAI/litellm |
| file | `{wheel}` |
| SHA-256 of the file | `{sha256}` |
| SHA-256 of the list | `{list_sha256}` |
| licence | MIT, Copyright (c) 2023 Berri AI; the text is in NOTICE |
| looked at | {looked_at} |
| own corrections | `corrections.tsv`, {corrections} models |
| models in the catalogue | {models} of {providers} providers |
| with a price | {priced} |

A model whose row in the list names no source has the list as its source. Prices in the list that are finer
than 10^-12 USD per unit are rounded to that. Image sizes that the list prices by the pixel are priced by the image.
"""


def fail(why):
    sys.exit(f"build_catalogue: {why}")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def download(package, version, folder):
    """pip brings the wheel of Linux on x86-64, whatever machine this is, so that the hash is always the same."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--implementation=cp", "--python-version=3.12", "--abi=cp312", "--abi=abi3", "--abi=none",
               "--platform=manylinux_2_28_x86_64", "--platform=any", "--dest", str(folder),
               f"{package}=={version}" if version else package]
    if subprocess.run(command).returncode != 0:
        fail("pip could not download the wheel")
    wheels = list(Path(folder).glob("*.whl"))
    if len(wheels) != 1:
        fail(f"one wheel was wanted, {len(wheels)} came")
    return wheels[0]


def check_licence(wheel):
    texts = [wheel.read(name).decode() for name in wheel.namelist() if "dist-info" in name and "LICENSE" in name]
    if not any(LICENCE in text for text in texts):
        fail("the wheel's licence is not the MIT licence any more; read it before going on")


def count(path):
    rows = [line.split("\t") for line in path.read_text().splitlines() if "\t" in line]
    return len(rows), len({row[0] for row in rows}), sum("$" in row[3] for row in rows)


def main():
    options = argparse.ArgumentParser(usage=__doc__.split("\n", 1)[0][7:])
    options.add_argument("--pack", default=str(HERE.parent / "build/release/models/catalogue_pack"))
    options.add_argument("--wheel")
    options.add_argument("--newest", action="store_true")
    options = options.parse_args()
    pin_file = HERE / "pin.json"
    pin = json.loads(pin_file.read_text())
    with tempfile.TemporaryDirectory() as folder:
        version = None if options.newest else pin["version"]
        path = Path(options.wheel) if options.wheel else download(pin["package"], version, folder)
        digest = sha256(path.read_bytes())
        if options.newest:
            today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            pin.update(version=path.name.split("-")[1], wheel=path.name, sha256=digest, looked_at=today)
        elif digest != pin["sha256"]:
            fail(f"{path.name} has SHA-256 {digest}, the pin says {pin['sha256']}")
        with zipfile.ZipFile(path) as wheel:
            check_licence(wheel)
            price_list = wheel.read(pin["member"])
        list_file = Path(folder) / "prices.json"
        list_file.write_bytes(price_list)
        out = HERE / "catalogue.tsv"
        packed = Path(folder) / "catalogue.tsv"
        command = [options.pack, "--text", pin["looked_at"].replace("-", ""), LIST, str(packed),
                   str(HERE / "corrections.tsv"), str(list_file)]
        if subprocess.run(command).returncode != 0:
            fail("the price list could not be read")
        models, providers, priced = count(packed)
        if models < MODELS_MIN:
            fail(f"{models} models are fewer than {MODELS_MIN}: the list has changed its form")
        out.write_bytes(packed.read_bytes())
    corrections = count(HERE / "corrections.tsv")[0]
    (HERE / "SOURCES.md").write_text(SOURCES.format(
        **pin, list_sha256=sha256(price_list), corrections=corrections, models=models, providers=providers,
        priced=priced))
    pin_file.write_text(json.dumps(pin, indent=2) + "\n")
    print(f"{models} models of {providers} providers, {priced} with a price")


if __name__ == "__main__":
    main()
