#!/usr/bin/env python3
"""summarise_tests.py FOLDER: says how many GoogleTest tests ran, and which were skipped and why, from the XML files that the
test programs left in FOLDER."""
import pathlib
import sys
import xml.etree.ElementTree as xml


def skipped_because(case):
    """The reason of a test that was skipped, None of one that was not."""
    message = case.find("skipped")
    if message is None:
        return None
    lines = (message.get("message") or message.text or "").strip().splitlines()
    # GoogleTest puts the place, FILE:LINE, before what the test says.
    return lines[-1] if len(lines) > 1 else "no reason given"


ran = failed = 0
skipped = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.xml")):
    for case in xml.parse(path).iter("testcase"):
        if case.get("status") != "run":
            continue
        reason = skipped_because(case)
        if reason is None:
            ran += 1
            failed += case.find("failure") is not None
        else:
            name = f"{case.get('classname')}.{case.get('name')}"
            skipped.setdefault(reason, []).append(f"{path.stem}: {name}")

count = sum(map(len, skipped.values()))
print(f"\n{ran + count} tests: {ran - failed} passed, {failed} failed, {count} skipped" + (":" if count else ""))
for reason, names in sorted(skipped.items()):
    print(f"  {reason} ({len(names)})")
    for name in names:
        print(f"    {name}")
