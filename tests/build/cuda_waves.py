# SPDX-License-Identifier: MIT
"""Compares the waves of the CUDA kernels on known devices with the checked-in table: no more than there.

cuda_waves.py LAUNCHES NVCC TABLE LOG...            compares; exits 1 where a kernel takes more waves or is missing
cuda_waves.py --write LAUNCHES NVCC TABLE LOG...    writes the table from the logs

LAUNCHES is the program cuda-launches, which prints threads and shared memory; the logs of ptxas have the registers.
A wave is all blocks of threads that a device holds at once; in the last, partial one most of the device is idle.
NVCC is the compiler's version, and is compared as in cuda_registers.py.
"""

import argparse
import pathlib
import subprocess
import sys

import cuda_registers

# Multiprocessors; threads and bytes of shared memory of one. Source: the CUDA programming guide, compute capabilities.
DEVICES = {
    "H100-H200": {"architecture": "sm_90", "multiprocessors": 132, "threads": 2048, "shared": 228 << 10},
    "RTX-5090": {"architecture": "sm_120", "multiprocessors": 170, "threads": 1536, "shared": 100 << 10},
}
SHAPES = [(14336, 4096), (8192, 2048)]
REGISTERS, REGISTER_GRANULE, MOST_BLOCKS, SYSTEM_SHARED, SHARED_GRANULE = 65536, 256, 24, 1024, 128


def round_up(value, granule):
    return -(-value // granule) * granule


def resident_blocks(device, registers, threads, shared):
    """Blocks of threads that a multiprocessor holds at once."""
    per_warp = round_up(registers * 32, REGISTER_GRANULE)
    return min(MOST_BLOCKS, device["threads"] // threads, REGISTERS // (per_warp * (threads // 32)),
               device["shared"] // (round_up(shared, SHARED_GRANULE) + SYSTEM_SHARED))


def read_launches(program, rows, columns, multiprocessors):
    """{kernel: (blocks of the grid, threads, bytes of shared memory)}"""
    text = subprocess.run([program, str(rows), str(columns), str(multiprocessors)], check=True, capture_output=True,
                          text=True).stdout
    return {line.split()[0]: tuple(map(int, line.split()[1:])) for line in text.splitlines()}


def columns_of(program, found):
    """{kernel: {column: (blocks of a multiprocessor, waves)}} for the devices whose architecture was compiled."""
    table = {}
    for name, device in DEVICES.items():
        for rows, columns in SHAPES:
            for kernel, (grid, threads, shared) in read_launches(program, rows, columns,
                                                                 device["multiprocessors"]).items():
                compiled = found.get(kernel, {}).get(device["architecture"])
                if compiled is None:
                    continue
                blocks = resident_blocks(device, compiled[0], threads, shared)
                waves = grid / (blocks * device["multiprocessors"]) if blocks else float("inf")
                table.setdefault(kernel, {})[f"{name}:{rows}x{columns}"] = (blocks, waves)
    return table


def write_table(path, nvcc, table):
    names = [f"{name}:{rows}x{columns}" for name in DEVICES for rows, columns in SHAPES]
    lines = ["# Blocks of threads that a multiprocessor holds at once, and waves of one token; computed from registers",
             "# and shared memory. tests/build/cuda_waves.py --write makes this.",
             f"nvcc {nvcc}",
             f"{'kernel':<28}" + "".join(f"{name:>23}" for name in names)]
    for kernel in sorted(table):
        cells = (table[kernel][name] for name in names)
        lines.append(f"{kernel:<28}" + "".join(f"{blocks:>14} {waves:>8.2f}" for blocks, waves in cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_table(path):
    """(nvcc's version, {kernel: {column: waves}})"""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return lines[0][1], {line[0]: dict(zip(lines[1][1:], map(float, line[2::2]))) for line in lines[2:]}


def compare(limits, table):
    """What is wrong, one line each."""
    for kernel in sorted(set(limits) | set(table)):
        for column, (_, waves) in table.get(kernel, {}).items():
            limit = limits.get(kernel, {}).get(column)
            if limit is None:
                yield f"{kernel} on {column}: compiled, but not in the table"
            elif round(waves, 2) > limit:
                yield f"{kernel} on {column}: {waves:.2f} waves, {limit:.2f} in the table"
        if table and kernel not in table:
            yield f"{kernel}: in the table, but not compiled"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("launches")
    parser.add_argument("nvcc")
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("logs", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()
    table = columns_of(arguments.launches, cuda_registers.read_logs(arguments.logs))
    if arguments.write:
        write_table(arguments.table, arguments.nvcc, table)
        return 0
    version, limits = read_table(arguments.table)
    if version != arguments.nvcc or not table:
        print(f"skipped: the table is of nvcc {version} and of {', '.join(DEVICES)}; this is nvcc {arguments.nvcc}")
        return 77
    faults = list(compare(limits, table))
    print("\n".join(faults) or f"{len(table)} kernels take no more waves than in the table")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
