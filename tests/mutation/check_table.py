#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_table.py SOURCE_ROOT: every fault can be put into the sources, exactly where its table says."""

import pathlib
import sys

import overlay


def main():
    texts = list(overlay.Overlay().problems(pathlib.Path(sys.argv[1])))
    for text in texts:
        print(text, file=sys.stderr)
    return 1 if texts else 0


if __name__ == "__main__":
    sys.exit(main())
