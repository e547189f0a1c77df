#!/usr/bin/python3
"""Writes unicode.def beside this file, from the Unicode data that Python brings along: str.casefold() is the
full case folding of CaseFolding.txt (status C and F), categories are those of UnicodeData.txt. Run it by hand
when a newer Unicode is wanted, with `--show` to look at it first."""

import sys
import unicodedata
from pathlib import Path

LINE_MAX = 108

# Scripts that put no space between words: each character counts as a word of its own there (UAX #29 does the
# same, or leaves them to a dictionary). Thai and Lao, Myanmar, Khmer, Hiragana, ideographs.
WITHOUT_SPACES = [
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x309F),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
]


def scalars():
    for code in range(0x80, 0x110000):
        if not 0xD800 <= code <= 0xDFFF:
            yield code


def folds():
    ranges, full = [], []
    for code in scalars():
        folded = [ord(c) for c in chr(code).casefold()]
        if folded == [code]:
            continue
        if len(folded) > 1:
            full.append((code, *folded, *[0] * (3 - len(folded))))
            continue
        delta = folded[0] - code
        if ranges:
            first, last, stride, before = ranges[-1]
            step = code - last
            if before == delta and (step == stride or (first == last and step <= 2)):
                ranges[-1] = (first, code, step, delta)
                continue
        ranges.append((code, code, 1, delta))
    return ranges, full


def is_word(code):
    if any(first <= code <= last for first, last in WITHOUT_SPACES):
        return False
    category = unicodedata.category(chr(code))
    return category[0] in "LMN" or category == "Pc"


def words():
    ranges = []
    for code in scalars():
        if not is_word(code):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ranges


def rows(name, items):
    line = ""
    for item in items:
        row = f"{name}({', '.join(item)})"
        if line and len(line) + 1 + len(row) > LINE_MAX:
            yield line
            line = ""
        line += (" " if line else "") + row
    yield line


def main():
    ranges, full = folds()
    out = [
        f"/* Made by unicode_tables.py from Unicode {unicodedata.unidata_version}; of characters beyond ASCII. */",
        "/* FOLD: first, last, every how many, what is added (CaseFolding.txt, C) */",
        *rows("FOLD", ((f"0x{a:X}", f"0x{b:X}", str(s), str(d)) for a, b, s, d in ranges)),
        "/* FULL: character, what it becomes, 0 where there is no more (CaseFolding.txt, F) */",
        *rows("FULL", ([f"0x{c:X}" for c in row] for row in full)),
        "/* WORD: first, last of letters, marks, digits and connectors, scripts without spaces left out */",
        *rows("WORD", ([f"0x{c:X}" for c in row] for row in words())),
    ]
    text = "\n".join(out) + "\n"
    if sys.argv[1:] == ["--show"]:
        sys.stdout.write(text)
    else:
        Path(__file__).with_name("unicode.def").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
