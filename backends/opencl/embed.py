#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py SOURCE...: joins sources into one OpenCL program and prints it as the initialiser of a C array.

Includes are dropped: what a source needs comes before it on the command line.
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r"^\s*#\s*include\b.*$\n?", re.MULTILINE)


def main():
    text = "".join(INCLUDE.sub("", pathlib.Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:])
    data = text.encode("utf-8")
    for start in range(0, len(data), 20):
        print(" ".join(f"{byte}," for byte in data[start : start + 20]))


if __name__ == "__main__":
    main()
