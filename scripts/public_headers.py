#!/usr/bin/env python3
"""Checks the list of installed headers, cmake/public_headers.txt: every line names headers that exist, what they include is
installed too, and so is all that the examples and the how-to pages include. docs/public_headers.md shows the list; --write
writes that page anew."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = "cmake/public_headers.txt"
PAGE = ROOT / "docs/public_headers.md"
INCLUDE = re.compile(r"#include <(moe/[^>]+)>")
LINK = re.compile(r"\]\(([^)]+)\)")
INTERNAL = "# Not for programs"  # what follows such a line is installed but not shown
HEAD = """# Public headers

What `cmake --install` puts in place and `#include <moe/…>` finds, by folder; each folder's page says what they hold.
`scripts/public_headers.py --write` writes this page from `cmake/public_headers.txt`. Everything else may change without
notice.

"""


def listed():
    """(line of the list, its headers, whether programs may include them)"""
    shown = True
    for line in (ROOT / LIST).read_text(encoding="utf-8").splitlines():
        if line.startswith(INTERNAL):
            shown = False
        if line and not line.startswith("#"):
            yield line, sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(line)), shown


def page_of(folder):
    """The page that says what a folder holds: its own, or that of the nearest folder above."""
    while not (ROOT / folder / "README.md").exists() and "/" in folder:
        folder = folder.rpartition("/")[0]
    return f"{folder}/README.md"


def page(entries):
    folders = {}
    for _, headers, shown in entries:
        for header in headers if shown else []:
            folders.setdefault(header.rpartition("/")[0], []).append(header)
    lines = []
    for folder in sorted(folders):
        title = "`moe/moe.h`: all of the ones below that most programs want" if folder == "moe" else (
            f"[`{folder}`](../{page_of(folder)}): " +
            ", ".join(f"`{header.rpartition('/')[2]}`" for header in folders[folder]))
        lines.append(f"- {title}\n")
    return HEAD + "".join(lines)


def problems(entries):
    installed = {header for _, headers, _ in entries for header in headers}
    for line, headers, _ in entries:
        if not headers:
            yield f"{LIST}: '{line}' names no header. Take it out, or correct it."
    users = [*installed]
    for pattern in ("examples/**/*.cpp", "examples/**/*.h", "docs/howto/*.md", "README.md"):
        users += [str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)]
    for user in sorted(users):
        for header in INCLUDE.findall((ROOT / user).read_text(encoding="utf-8")):
            if header not in installed:
                yield f"{user}: includes {header}, which is not installed. Do without it, or add it to {LIST}."
    for link in LINK.findall(page(entries)):
        if not (PAGE.parent / link).exists():
            yield f"{PAGE.relative_to(ROOT)}: links to {link}, which is not there. Write that page."
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(entries):
        yield f"{PAGE.relative_to(ROOT)}: expected what {LIST} says. Run scripts/public_headers.py --write."


found = list(listed())
if sys.argv[1:] == ["--write"]:
    PAGE.write_text(page(found), encoding="utf-8")
errors = list(problems(found))
for error in errors:
    print("error: [public headers]", error, file=sys.stderr)
sys.exit(1 if errors else 0)
