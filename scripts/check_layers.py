#!/usr/bin/env python3
"""Checks that a folder includes only from its left in the order of the layers, that torch/torch.h is nowhere, and that no
file has more than 400 lines."""
import pathlib
import re
import sys

ORDER = [
    ["base"], ["config"], ["formats"], ["cluster"], ["ops"], ["flow"], ["parameters"], ["parallel"],
    ["routing", "capacity", "dispatch", "experts", "balance"], ["layers"], ["checkpoint", "data"], ["models"],
    ["objectives", "generation", "analyze"], ["train"], ["planning", "study"], ["mpi"], ["report", "corpora"], ["tools"],
]
RANK = {folder: rank for rank, group in enumerate(ORDER) for folder in group}
BESIDE = {"report", "corpora", "tools"}  # these stand beside moe/, all others in it
INCLUDE = re.compile(r'#include [<"](?:moe/([a-z_]+)/|(report|corpora|tools)/)')
LONGEST = 400

root = pathlib.Path(__file__).resolve().parent.parent
problems = []
for path in sorted([*root.glob("moe/**/*"), *(path for folder in (*BESIDE, "tests") for path in root.glob(folder + "/**/*"))]):
    if path.suffix not in {".h", ".cpp"}:
        continue
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(root)
    if len(text.splitlines()) > LONGEST:
        problems.append(f"{name}: expected at most {LONGEST} lines, found {len(text.splitlines())}. Split it.")
    if "torch/torch.h" in text:
        problems.append(f"{name}: includes torch/torch.h. Include what is used.")
    folder = name.parts[0]
    if folder == "moe" and len(name.parts) > 2:
        folder = name.parts[1]
    elif folder not in BESIDE:
        continue
    if folder not in RANK:
        problems.append(f"{name}: expected a folder of the layers, found '{folder}'. Add it to the order.")
        continue
    for inside, beside in INCLUDE.findall(text):
        other = inside or beside
        allowed = other == folder or (other in RANK and RANK[other] < RANK[folder])
        if not allowed:
            problems.append(f"{name}: '{folder}' may not include '{other}'.")

for problem in problems:
    print("error: [layers]", problem, file=sys.stderr)
sys.exit(1 if problems else 0)
