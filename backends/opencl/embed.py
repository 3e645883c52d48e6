#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Joins sources into one OpenCL program and prints it as the initialiser of a C array.

Includes are dropped: what a source needs comes before it on the command line. Of a public header only the enums are
taken: kernels know a dtype by the name and the number that the library has for it.
"""

import argparse
import pathlib
import re

INCLUDE = re.compile(r"^\s*#\s*include\b.*$\n?", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
ENUM = re.compile(r"^typedef enum MGLU_ENUM32\((\w+)\) (\{[^}]*\} \w+;)$", re.MULTILINE)


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def enums(header):
    """The enums of a C header, without their comments; OpenCL C and C give them the same values."""
    text = COMMENT.sub("", read(header))
    found = ENUM.findall(text)
    if len(found) != text.count("typedef enum") or not found:
        raise SystemExit(f"{header}: found {len(found)} enums written as "
                         "'typedef enum MGLU_ENUM32(NAME) {...} NAME;', "
                         f"expected {max(1, text.count('typedef enum'))}")
    return "".join(f"typedef enum {name} {rest}\n" for name, rest in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enums", metavar="HEADER", help="a header whose enums come first")
    parser.add_argument("sources", metavar="SOURCE", nargs="+")
    arguments = parser.parse_args()
    text = enums(arguments.enums) if arguments.enums else ""
    text += "".join(INCLUDE.sub("", read(source)) for source in arguments.sources)
    data = text.encode("utf-8")
    for start in range(0, len(data), 20):
        print(" ".join(f"{byte}," for byte in data[start : start + 20]))


if __name__ == "__main__":
    main()
