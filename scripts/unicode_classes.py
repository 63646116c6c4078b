#!/usr/bin/env python3
"""Prints moe/data/bpe/unicode_ranges.inc: the characters that GPT-2's pattern calls \\p{L}, \\p{N} and \\s, as ranges.
Usage: scripts/unicode_classes.py > moe/data/bpe/unicode_ranges.inc"""
import sys
import unicodedata


def class_of(code):
    category = unicodedata.category(chr(code))
    if category[0] in "LN":
        return category[0]
    # The property White_Space: the separators and five control characters beside one from Latin-1.
    if category[0] == "Z" or 0x09 <= code <= 0x0D or code == 0x85:
        return "S"
    return None


ranges = []
for code in range(sys.maxunicode + 1):
    kind = class_of(code)
    if kind is None:
        continue
    if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == kind:
        ranges[-1][1] = code
    else:
        ranges.append([code, code, kind])

print(f"// Unicode {unicodedata.unidata_version}: first and last code point of every run of letters (L), numbers (N) and white space (S).")
print("// Written by scripts/unicode_classes.py from Python's unicodedata; do not edit.")
line = ""
for first, last, kind in ranges:
    entry = f"{{0x{first:X}, 0x{last:X}, {kind}}},"
    if len(line) + 1 + len(entry) > 120:
        print(line)
        line = ""
    line += (" " if line else "") + entry
print(line)
