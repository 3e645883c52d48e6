# SPDX-License-Identifier: MIT
"""Finds the fastest kernels of the CUDA backend on this machine's device.

tune.py MGLU_BENCH [--write]
tune.py MGLU_BENCH --ring

Times every kernel on both shapes of the paper with mglu-bench, selecting it by MGLU_CUDA_VARIANT, and
prints the device's rows of backends/cuda/dispatch_table.h. With --write the rows replace those of the same architecture
in the file, or are added to it.

With --ring it times one token on the engine `ring`, which no row names, beside SIMT and tensor cores; nothing is written.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

TABLE = pathlib.Path(__file__).resolve().parent.parent.parent / "backends" / "cuda" / "dispatch_table.h"
SHAPES = "8192x2048,14336x4096"
BATCHES = [1, 2, 4, 8, 16]
FORMS = {0: "GLU", 1: "MASKS_1", 2: "MASKS_2", 4: "MASKS_4", 8: "MASKS_8", 16: "MASKS_16"}
WARPS = [4, 8, 16]
VARIANTS = [f"simt:{warps}" for warps in WARPS] + ["mma8", "mma16"]


def measure(bench, variant, batches):
    """One report of mglu-bench with one kernel."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [bench, "--backend", "cuda", "--shapes", SHAPES, "--masks", "1,2,4,8,16", "--x-dtype", "f16",
                   "--batch", ",".join(map(str, batches)), "--regime", "cold", "--seconds", "0.5", "--json", file.name]
        run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "MGLU_CUDA_VARIANT": variant, "MGLU_LOG": "warn"})
        sys.stderr.write(run.stderr)
        run.check_returncode()
        if variant.startswith("ring") and "cuda: ring is not used" in run.stderr:
            raise SystemExit(f"tune: {variant} was not measured")
        return json.loads(pathlib.Path(file.name).read_text())


def times_of(reports):
    """Microseconds by masks, batch and variant, both shapes added up."""
    times = {}
    for variant, report in reports.items():
        for row in report["rows"]:
            if row["median_us"] is None:
                raise SystemExit(f"tune: {variant} was not measured: {row['skipped'] or row['failed']}")
            key = row["n_masks"], row["batch"], variant
            times[key] = times.get(key, 0) + row["median_us"]
    return times


def first_batch(times, masks, variant, others):
    """One more than the largest batch at which a variant is not the fastest; 0 where that is the largest of all."""
    slow = [batch for batch in BATCHES
            if times[masks, batch, variant] >= min(times[masks, batch, other] for other in others)]
    last = max(slow, default=0)
    return 0 if last == BATCHES[-1] else last + 1


def row_of(times, masks, architecture):
    """A row of the table. The warps are selected for one token, as larger batches use tensor cores."""
    warps = min(WARPS, key=lambda count: times[masks, 1, f"simt:{count}"])
    simt = f"simt:{warps}"
    either = {(masks, batch, "mma"): min(times[masks, batch, name] for name in ("mma8", "mma16")) for batch in BATCHES}
    mma8 = first_batch({**times, **either}, masks, "mma", [simt])
    mma16 = first_batch(times, masks, "mma16", [simt, "mma8"])
    return f"    {{{architecture}, MGLU_CUDA_{FORMS[masks]}, {mma8}, {mma16}, {warps}}},"


def rows_of(reports):
    """The architecture and its rows; the down-projection is not timed apart and uses the warps of the plain layer."""
    report = next(iter(reports.values()))
    device = report["device"]
    architecture = int(re.search(r"arch=sm_(\d+)", device["details"]).group(1))
    times = times_of(reports)
    rows = [row_of(times, masks, architecture) for masks in FORMS]
    warps = rows[0].rsplit(", ", 1)[1]
    comment = f"    /* {device['name']}, {device['details'].split()[1]}, measured {report['date'][:10]}. */"
    return architecture, [comment, f"    {{{architecture}, MGLU_CUDA_SUM, 0, 0, {warps}", *rows]


def compare_ring(bench):
    """Prints microseconds of one token, both shapes added up, by masks and kernel."""
    variants = ["ring:4", "ring:8", "simt:4", "simt:8", "mma8"]
    times = times_of({variant: measure(bench, variant, [1]) for variant in variants})
    print(f"{'masks':>6}" + "".join(f"{variant:>10}" for variant in variants))
    for masks in FORMS:
        print(f"{masks:>6}" + "".join(f"{times[masks, 1, variant]:>10.1f}" for variant in variants))


def write(architecture, rows):
    """Puts the rows where those of the architecture are, in ascending order. A comment belongs to the rows after it."""
    begin, rest = TABLE.read_text().split("mglu_cuda_dispatch_rows[] = {\n", 1)
    body, end = rest.split("};", 1)
    groups = {}
    comment = []
    for line in body.splitlines():
        row = re.match(r"    \{(\d+),", line)
        if row:
            groups.setdefault(int(row.group(1)), []).extend([*comment, line])
            comment = []
        else:
            comment.append(line)
    groups[architecture] = rows
    lines = [line for key in sorted(groups) for line in groups[key]]
    TABLE.write_text(f"{begin}mglu_cuda_dispatch_rows[] = {{\n" + "\n".join(lines) + f"\n}};{end}")


def main(arguments):
    if not arguments or arguments[1:] not in ([], ["--write"], ["--ring"]):
        print("usage: tune.py MGLU_BENCH [--write | --ring]", file=sys.stderr)
        return 2
    if arguments[1:] == ["--ring"]:
        compare_ring(arguments[0])
        return 0
    reports = {variant: measure(arguments[0], variant, BATCHES) for variant in VARIANTS}
    architecture, rows = rows_of(reports)
    print("\n".join(rows))
    if arguments[1:]:
        write(architecture, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
