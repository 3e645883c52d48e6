#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""links.py SOURCE: every relative link in the documents leads to a file, and to a heading where it names one.

File names in backticks that begin with a folder of the sources are checked like links: the guides have many.
"""

import pathlib
import re
import sys

FOLDERS = "backends|bench|common|docs|examples|include|tests|tools"
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)`")
PLACEHOLDER = "NAME"
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(path):
    """Anchors of a document's headings, as GitHub makes them."""
    text = CODE_BLOCK.sub("", path.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken(root, document):
    """What is wrong with the links of one document."""
    text = CODE_BLOCK.sub("", document.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{link}: no such heading"
    for name in NAMED.findall(text):
        if PLACEHOLDER not in name and not (root / name).exists():
            yield f"`{name}`: no such file"


def main(root):
    documents = sorted(path for folder in ("", "docs", "docs/embedding", "examples", "bench", "bench/peers", "tests/golden")
                       for path in (root / folder).glob("*.md"))
    faults = [f"{document.relative_to(root)}: {fault}" for document in documents for fault in broken(root, document)]
    print("\n".join(faults) if faults else f"{len(documents)} documents")
    return 1 if faults or len(documents) < 10 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
