# SPDX-License-Identifier: MIT
"""The tables of faults, and the sources with every fault in them.

A fault is a few edits: {"file", "find", "replace"}, {"file", "after", "insert"} or {"file", "before", "insert"}. FAULT
in the new text stands for "this fault is chosen", which is decided at run time. All edits are made in the original
text: each text to find occurs there exactly once, and none is part of one that is replaced. A table may
also have "helpers", headers beside it with the files that include them, and "edits" that belong to no fault.
"""

import dataclasses
import difflib
import itertools
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
SWITCH = "tests/mutation/fault.h"
FIRST_INCLUDES = re.compile(r"\A.*?^#include[^\n]*\n(?:\s*#include[^\n]*\n)*", re.MULTILINE | re.DOTALL)
SOURCES = ("backends", "common")


@dataclasses.dataclass
class Edit:
    fault: str
    file: str
    text: str  # what is looked for
    new: str
    how: str  # "find", "after" or "before"

    def span(self, source):
        """Where the new text goes: the range that it replaces, which may be empty."""
        begin = source.index(self.text)
        end = begin + len(self.text)
        return {"find": (begin, end), "after": (end, end), "before": (begin, begin)}[self.how]


@dataclasses.dataclass
class Fault:
    number: int
    name: str
    what: str
    kind: str
    killers: list
    first: str  # the case that is tried before all others
    isa: str | None
    edits: list


def _edit(entry, name, number):
    how = next(how for how in ("find", "after", "before") if how in entry)
    new = re.sub(r"\bFAULT\b", f"(mglu_fault == {number})", entry["replace" if how == "find" else "insert"])
    return Edit(name, entry["file"], entry[how], {"find": new, "after": f"\n{new}", "before": f"{new}\n"}[how], how)


def _fault(table, entry):
    number = entry["number"]
    name = f"{table['prefix']}{number - table['first'] + 1}"
    edits = [_edit(edit, name, number) for edit in entry["edits"]]
    return Fault(number, name, entry["what"], table["kind"], entry.get("killers", table.get("killers")),
                 entry.get("first", ""), entry.get("isa"), edits)


class Overlay:
    """The tables beside this file, *.json."""

    def __init__(self):
        self.tables = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.json"))]
        self.tables.sort(key=lambda table: table["first"])
        self.faults = [_fault(table, entry) for table in self.tables for entry in table["faults"]]
        self.edits = [_edit(edit, table["kind"], 0) for table in self.tables for edit in table.get("edits", [])]
        self.edits += [edit for fault in self.faults for edit in fault.edits]
        self.helpers = [(file, helper) for table in self.tables for helper, files in table.get("helpers", {}).items()
                        for file in files]

    def files(self):
        return sorted({edit.file for edit in self.edits} | {file for file, _ in self.helpers})

    def edits_of(self, file):
        return [edit for edit in self.edits if edit.file == file]

    def apply(self, file, source):
        """The text of a file with all its faults, for a table without problems()."""
        places = [(*edit.span(source), index, edit.new) for index, edit in enumerate(self.edits_of(file))]
        includes = "".join(f'#include "tests/mutation/{helper}"\n' for of, helper in self.helpers if of == file)
        if includes:
            end = FIRST_INCLUDES.match(source).end()
            places.append((end, end, -1, includes))
        for begin, end, _, new in sorted(places, reverse=True):
            source = source[:begin] + new + source[end:]
        return f'#include "{SWITCH}"\n{source}'

    def problems(self, root):
        """What is wrong with the tables, one text each."""
        for table in self.tables:
            yield from _wrong_numbers(table)
        for file in self.files():
            if (root / file).is_file():
                yield from _wrong_edits(self.edits_of(file), (root / file).read_text(encoding="utf-8"), root)
            else:
                yield f"{file}: there is no such file"
                yield from (_missing(edit, root) for edit in self.edits_of(file))


def _wrong_numbers(table):
    entries = table["faults"] + table.get("elsewhere", [])
    numbers = sorted(entry["number"] for entry in entries)
    expected = list(range(table["first"], table["first"] + len(numbers)))
    if numbers != expected:
        yield f"{table['kind']} faults: the numbers are {numbers}, expected {expected[0]} to {expected[-1]}, each once"
    for entry in table["faults"]:
        unswitched = not any("FAULT" in edit.get("replace", edit.get("insert", "")) for edit in entry["edits"])
        if unswitched:
            yield f"fault {entry['number']}: FAULT is nowhere in its edits, so that it could not be chosen"


def _wrong_edits(edits, source, root):
    found = []
    for edit in edits:
        count = source.count(edit.text)
        if count == 1:
            found.append((*edit.span(source), edit))
        elif count > 1:
            yield f"fault {edit.fault}: {edit.file} has {edit.text!r} {count} times; make it longer"
        else:
            yield _missing(edit, root)
    for (begin, end, edit), (other_begin, other_end, other) in itertools.combinations(found, 2):
        if begin < other_end and other_begin < end:
            yield f"faults {edit.fault} and {other.fault}: {edit.file}: {edit.text!r} and {other.text!r} overlap"


def _likeness(text, other):
    """The share of a text, from 0 to 1, that another has too, in pieces of at least three characters."""
    blocks = difflib.SequenceMatcher(None, text, other, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size > 2) / len(text)


def _nearest(text, source):
    """Line and text of the place in a source that is most similar to a text."""
    rows, lines = source.splitlines(), text.count("\n") + 1
    windows = ["\n".join(rows[at : at + lines]).strip() for at in range(max(1, len(rows) - lines + 1))]
    best = max(range(len(windows)), key=lambda at: _likeness(text, windows[at]))
    return best + 1, windows[best]


def _missing(edit, root):
    """Names the most similar place to the text of an edit: in its file, or exactly the same in another."""
    head = f"fault {edit.fault}: {edit.file} has no {edit.text!r}"
    for path in (path for folder in SOURCES for path in sorted((root / folder).rglob("*.*"))):
        source = path.read_text(encoding="utf-8", errors="replace")
        if edit.text in source:
            line = source[: source.index(edit.text)].count("\n") + 1
            return f"{head}; {path.relative_to(root).as_posix()}:{line} has it"
    if not (root / edit.file).is_file():
        return f"{head}, nor has another file"
    line, text = _nearest(edit.text, (root / edit.file).read_text(encoding="utf-8"))
    return f"{head}; the most similar place is {edit.file}:{line}: {text!r}"
