# SPDX-License-Identifier: MIT
"""Compares ptxas's output for the CUDA kernels with the checked-in table: no spills, no more registers.

cuda_registers.py NVCC TABLE LOG...            compares; exits 1 on a spill, a missing kernel or more registers
cuda_registers.py --write NVCC TABLE LOG...    writes the table from the logs

NVCC is the compiler's version. Registers are compared with those of the same version only, and architectures that were
not compiled are left out. A kernel that an architecture is not to have has a - there.
"""

import argparse
import collections
import pathlib
import re
import sys

ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for '(?P<architecture>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers", re.DOTALL)


def read_logs(paths):
    """{kernel: {architecture: (registers, spilled bytes)}}"""
    found = collections.defaultdict(dict)
    for path in paths:
        for entry in ENTRY.finditer(path.read_text(encoding="utf-8")):
            spilled = int(entry["stores"]) + int(entry["loads"])
            found[entry["kernel"]][entry["architecture"]] = (int(entry["registers"]), spilled)
    return found


def read_table(path):
    """(nvcc's version, {kernel: {architecture: registers}})"""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    architectures = lines[1][1:]
    return lines[0][1], {line[0]: {a: int(word) for a, word in zip(architectures, line[1:]) if word != "-"}
                         for line in lines[2:]}


def write_table(path, nvcc, found):
    architectures = sorted({a for kernel in found.values() for a in kernel}, key=lambda a: int(re.sub(r"\D", "", a)))
    lines = ["# Registers of each CUDA kernel on each architecture; tests/build/cuda_registers.py --write makes this.",
             f"nvcc {nvcc}",
             f"{'kernel':<28}" + "".join(f"{a:>9}" for a in architectures)]
    for kernel in sorted(found):
        counts = [found[kernel][a][0] if a in found[kernel] else "-" for a in architectures]
        lines.append(f"{kernel:<28}" + "".join(f"{count:>9}" for count in counts))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compare(table, found, same_compiler):
    """What is wrong, one line each."""
    compiled = sorted({architecture for kernel in found.values() for architecture in kernel})
    if not compiled:
        yield "the logs have no kernel"
    for kernel in sorted(set(table) | set(found)):
        for architecture in compiled:
            name = f"{kernel} on {architecture}"
            limit = table.get(kernel, {}).get(architecture)
            if architecture not in found.get(kernel, {}):
                if limit is not None:
                    yield f"{name}: in the table, but not compiled"
                continue
            registers, spilled = found[kernel][architecture]
            if spilled:
                yield f"{name}: {spilled} bytes spilled"
            if limit is None:
                yield f"{name}: compiled, but not in the table"
            elif same_compiler and registers > limit:
                yield f"{name}: {registers} registers, {limit} in the table"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("nvcc")
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("logs", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()
    found = read_logs(arguments.logs)
    if arguments.write:
        write_table(arguments.table, arguments.nvcc, found)
        return 0
    version, table = read_table(arguments.table)
    faults = list(compare(table, found, version == arguments.nvcc))
    if version != arguments.nvcc:
        print(f"nvcc is {arguments.nvcc}, the table is of {version}: registers are not compared, spills are")
    print("\n".join(faults) or f"{sum(map(len, found.values()))} kernels within the table, none spills")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
