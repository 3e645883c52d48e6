#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_table.py SOURCE_ROOT: the table of seeded faults and the sources agree: each is placed once, where it says."""

import collections
import json
import pathlib
import re
import sys

PLACE = re.compile(r"\bMUT(?:_WRAP|_DO)?\(\s*(\d+)\s*,")
KERNEL_FAULTS = range(1, 63)
COMPILED_INTO_CPU = ("backends/cpu/", "common/core/")


def places(root):
    """Numbers of faults with the files they are in."""
    found = collections.defaultdict(list)
    for folder in ("backends", "common"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            for number in PLACE.findall(path.read_text(encoding="utf-8")):
                found[int(number)].append(path.relative_to(root).as_posix())
    return found


def problems(table, found):
    """What is wrong, one text each."""
    listed = {fault["number"]: fault["where"] for fault in table["kernel"] + table["host"]}
    if len(listed) != len(table["kernel"]) + len(table["host"]):
        yield "a number is listed twice"
    if sorted(fault["number"] for fault in table["kernel"]) != list(KERNEL_FAULTS):
        yield f"the kernel faults are not 1 to {KERNEL_FAULTS[-1]}"
    for fault in table["kernel"]:
        if not fault["where"].startswith(COMPILED_INTO_CPU):
            yield f"fault {fault['number']}: not in what the CPU backend is compiled from"
    for number in sorted(listed.keys() | found.keys()):
        expected = [listed[number]] if number in listed else []
        if found.get(number, []) != expected:
            yield f"fault {number}: listed in {expected}, placed in {found.get(number, [])}"


def main():
    root = pathlib.Path(sys.argv[1])
    table = json.loads((root / "tests/mutation/faults.json").read_text(encoding="utf-8"))
    texts = list(problems(table, places(root)))
    for text in texts:
        print(text, file=sys.stderr)
    return 1 if texts else 0


if __name__ == "__main__":
    sys.exit(main())
