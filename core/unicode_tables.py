#!/usr/bin/python3
"""Writes unicode.def, unicode_loose.def and unicode_forms.def beside this file, from the Unicode data that Python brings along: str.casefold() is the
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

# Default_Ignorable_Code_Point (DerivedCoreProperties.txt), annotations, and the controls beyond ASCII: nothing
# is seen of them.
HIDDEN = [
    (0x80, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160),
    (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
]  # fmt: skip

# Letters that are drawn in something, or small capitals: NFKD leaves them as they are, or in brackets.
DRAWN = [(0x249C, "a"), (0x1F110, "A"), (0x1F150, "A"), (0x1F170, "A")]
SMALL_CAPITALS = "ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ɪi ᴊj ᴋk ʟl ᴍm ɴn ᴏo ᴘp ꞯq ʀr ꜱs ᴛt ᴜu ᴠv ᴡw ʏy ᴢz ɑa ɡg ıi ƒf"

# Letters that a reader takes for one of ASCII. Of Cyrillic both cases become the same letter, so that words of
# that script are found in any case.
ALIKE = (
    "аa вb еe ѕs іi јj кk мm нh оo пn рp сc тt уy хx һh ԁd ԛq ԝw ӏl ѵv ԍg "
    "АA ВB ЕE ЅS ІI ЈJ КK МM НH ОO ПN РP СC ТT УY ХX ҺH ԀD ԚQ ԜW ӀL ѴV ԌG "
    "αa βb γy εe ηn ιi κk μu νv οo ρp τt υu χx ωw ϲc ϳj "
    "ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX ϹC ͿJ "
    "օo սu հh ոn ցg զq ՕO ՍU ՀH ՈN ՑG ԶQ "
    "ᎪA ᏴB ᏟC ᎠD ᎬE ᏀG ᎻH ᎥI ᎫJ ᏦK ᏞL ᎷM ᏢP ᎡR ᏚS ᎢT ᏙV ᎳW ᏃZ"
)

# Combining classes of what may stand on any letter of a script and spells the same word; not those of vowels
# (Indic, Thai, Lao, Tibetan), of viramas (9) and of kana's voicing (8).
ACCENT_CLASSES = {1, 7, *range(10, 37), *range(202, 241)}
RUN_MAX = 16


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


def in_ranges(ranges, code):
    return any(first <= code <= last for first, last in ranges)


def loose():
    """What each character stands for, of those that do not stand for themselves."""
    drawn = {first + i: chr(ord(a) + i) for first, a in DRAWN for i in range(26)}
    small = {ord(pair[0]): pair[1] for pair in SMALL_CAPITALS.split()}
    table = {}
    for code in scalars():
        char = chr(code)
        if in_ranges(HIDDEN, code) or 0xAC00 <= code <= 0xD7A3:
            continue
        to = drawn.get(code) or unicodedata.normalize("NFKD", char)
        to = "".join(small.get(ord(c)) or small.get(ord(c.casefold()[0])) or c for c in to)
        is_space = unicodedata.category(char)[0] == "Z"
        if to != char and (to[0] != " " or is_space):
            table[code] = [ord(c) for c in to if not in_ranges(HIDDEN, ord(c))]
    return table


def loose_runs(table):
    runs, pool = [], []
    for code, to in sorted(table.items()):
        if runs and runs[-1][0] + runs[-1][1] == code and runs[-1][1] < RUN_MAX:
            runs[-1][1] += 1
        else:
            runs.append([code, 1, len(pool)])
        pool += [("T", c) for c in to[:-1]] + [("E", to[-1])]
    return runs, pool


def is_accent(code):
    char = chr(code)
    if in_ranges(HIDDEN, code):
        return False
    return unicodedata.combining(char) in ACCENT_CLASSES or unicodedata.category(char) == "Me"


def ranges_of(is_one):
    ranges = []
    for code in scalars():
        if is_one(code):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return ranges


def lines_of(texts, between=" "):
    line = ""
    for text in texts:
        if line and len(line) + len(between) + len(text) > LINE_MAX:
            yield line
            line = ""
        line += (between if line else "") + text
    yield line


def forms_file(pool):
    return [
        f"/* Made by unicode_tables.py from Unicode {unicodedata.unidata_version}: what the characters of */",
        "/* unicode_loose.def stand for (NFKD). E: the last of one. */",
        *lines_of((f"{name}(0x{code:X})" for name, code in pool), ""),
    ]


def loose_file(runs):
    alike = sorted((ord(pair[0]), pair[1]) for pair in ALIKE.split())
    return [
        f"/* Made by unicode_tables.py from Unicode {unicodedata.unidata_version}; of characters beyond ASCII. */",
        "/* RUN: first of characters that follow each other, how many, where what they stand for begins */",
        *rows("RUN", ((f"0x{a:X}", str(n), str(at)) for a, n, at in runs)),
        "/* HIDDEN: first, last of what is not seen */",
        *rows("HIDDEN", ([f"0x{c:X}" for c in row] for row in HIDDEN)),
        "/* ACCENT: first, last of marks that do not make another word */",
        *rows("ACCENT", ([f"0x{c:X}" for c in row] for row in ranges_of(is_accent))),
        "/* ALIKE: a letter, and the one of ASCII that it is taken for */",
        *rows("ALIKE", ((f"0x{c:X}", f"'{letter}'") for c, letter in alike)),
    ]


def rows(name, items):
    return lines_of(f"{name}({', '.join(item)})" for item in items)


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
    runs, pool = loose_runs(loose())
    files = ("unicode.def", out), ("unicode_loose.def", loose_file(runs)), ("unicode_forms.def", forms_file(pool))
    for name, lines in files:
        text = "\n".join(lines) + "\n"
        if sys.argv[1:] == ["--show"]:
            sys.stdout.write(text)
        else:
            Path(__file__).with_name(name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
