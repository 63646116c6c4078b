#!/usr/bin/env python3
"""Writes the tables of README.md that show measurements, from docs/results.md, the one place where results are published.
  readme_figures.py [--check]
A block of README.md between <!-- figures: SECTION | COLUMN, COLUMN … --> and <!-- end of figures --> is the table under the
heading SECTION of docs/results.md, all its rows, these columns. With --check nothing is written: status 1 when README.md says
anything else, or when a sentence with a number marked <!-- from: SECTION --> has a number that the section does not have."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- figures: ([^|>]+?) \| ([^>]+?) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)
MARKED = re.compile(r"^(.*?)<!-- from: ([^>]+?) -->", re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?")


def sections(text):
    """heading -> what stands under it"""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {parts[i].strip(): parts[i + 1] for i in range(1, len(parts), 2)}


def table_under(section, name):
    lines = [line for line in section.splitlines() if line.startswith("|")]
    if len(lines) < 3:
        sys.exit(f"error: [readme] expected a table under '{name}' of docs/results.md, found none. Correct the heading.")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def block(found, published):
    name, wanted = found.group(2).strip(), [column.strip() for column in found.group(3).split(";")]
    if name not in published:
        sys.exit(f"error: [readme] expected a heading '{name}' in docs/results.md, found none. Correct README.md.")
    head, *rows = table_under(published[name], name)
    missing = [column for column in wanted if column not in head]
    if missing:
        sys.exit(f"error: [readme] expected columns {wanted} under '{name}', found {head}. Correct README.md.")
    places = [head.index(column) for column in wanted]
    lines = ["| " + " | ".join(wanted) + " |", "|" + "---|" * len(wanted)]
    lines += ["| " + " | ".join(row[place] for place in places) + " |" for row in rows]
    return found.group(1) + "\n".join(lines) + "\n" + found.group(5)


def unknown_numbers(readme, published):
    problems = []
    for line, name in MARKED.findall(readme):
        known = set(NUMBER.findall(published.get(name.strip(), "")))
        problems += [f"'{number}' is not in the section '{name}' of docs/results.md: {line.strip()[:60]}"
                     for number in NUMBER.findall(re.sub(r"`[^`]*`", "", line)) if number not in known]
    return problems


def main():
    published = sections((root / "docs/results.md").read_text(encoding="utf-8"))
    path = root / "README.md"
    now = path.read_text(encoding="utf-8")
    wanted = BLOCK.sub(lambda found: block(found, published), now)
    problems = unknown_numbers(wanted, published)
    if sys.argv[1:] == ["--check"]:
        if wanted != now:
            problems.append("its tables differ from those of docs/results.md")
    elif wanted != now:
        path.write_text(wanted, encoding="utf-8")
    for problem in problems:
        print(f"error: [readme] expected README.md to say what docs/results.md says: {problem}. Run scripts/readme_figures.py.",
              file=sys.stderr)
    sys.exit(1 if problems else 0)


main()
