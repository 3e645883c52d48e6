# SPDX-License-Identifier: MIT
"""Forward and backward of a projection in training: a SwiGLU of PyTorch's operators, masked units written in PyTorch as
formulas say (a masked copy of W for each gate and each value), and mglu.torch.MGLU, by PyTorch's operations and by the
library's kernels.

All are timed in turns in one process. A masked unit has 1 + n_m products where a SwiGLU has 2: "by count" is its time
over the SwiGLU's, in the same rounds, divided by (1 + n_m) / 2. Memory is the peak of a step above what was there
before the module: parameters, gradients and what is kept for backward, but not x and y's gradient. Needs mglu and
torch.
"""

import argparse
import ctypes
import datetime
import gc
import json
import pathlib

import torch
import torch.nn.functional as F
from report import DOCUMENT, RESULTS, replace_between
from turns import DTYPES, add_options, describe, in_turns, median, ratios

import mglu
import mglu.torch


class SwiGLU(torch.nn.Module):
    def __init__(self, h, d, dtype):
        super().__init__()
        self.gate, self.up = (torch.nn.Linear(h, d, bias=False, dtype=dtype) for _ in range(2))

    def forward(self, x):
        return F.silu(self.gate(x)) * self.up(x)


class Naive(torch.nn.Module):
    def __init__(self, h, d, masks, dtype):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(d, h, dtype=dtype) * h**-0.5)
        self.mask = torch.nn.Parameter(torch.randn(masks, d, h, dtype=dtype) * 0.01)

    def forward(self, x):
        y = 0
        for logits in self.mask:
            mask = (logits > 0).to(x.dtype) + logits - logits.detach()  # straight-through
            y = y + F.silu(F.linear(x, mask * self.weight)) * F.linear(x, (1 - mask) * self.weight)
        return y


BEGIN, END = "<!-- bench/train.py writes from here -->", "<!-- to here, about training -->"
HEADING = ["| dtype | | ms | | over SwiGLU | by count | peak MiB | over SwiGLU |",
           "|---|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
# Name: what makes the module, of (h, d, number of masks, dtype).
MASKED = {
    "naive": Naive,
    "MGLU, torch": lambda h, d, masks, dtype: mglu.torch.MGLU(h, d, masks, dtype=dtype, kernels="torch"),
    "MGLU, kernels": lambda h, d, masks, dtype: mglu.torch.MGLU(h, d, masks, dtype=dtype, kernels="mglu"),
}


class Case:
    """A module and its step."""

    def __init__(self, name, masks, make, arguments, dtype):
        self.name, self.masks = name, masks
        resident_at_peak()
        begin = resident_now()
        self.module = make()
        self.x = torch.randn(arguments.tokens, arguments.h, dtype=dtype, requires_grad=True)
        self.dy = torch.randn(arguments.tokens, arguments.d, dtype=dtype)
        begin += self.x.nbytes + self.dy.nbytes
        self.step()
        self.step()
        self.memory = max(1, resident_at_peak() - begin)

    def step(self):
        """From gradients that are not there to those of x and of all parameters."""
        self.x.grad = None
        self.module.zero_grad()
        self.module(self.x).backward(self.dy)


def status_of(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def resident_now():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return status_of("VmRSS")


def resident_at_peak():
    """Since the last call of this."""
    peak = status_of("VmHWM")
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return peak


def keep_no_freed_memory():
    """Large blocks go back to the system when they are freed, so that a peak is a peak of what is used."""
    threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    ctypes.CDLL(None).mallopt(threshold, 1 << 20)


def cases_of(arguments, dtype):
    h, d = arguments.h, arguments.d
    Case("first", 0, lambda: SwiGLU(h, d, dtype), arguments, dtype)  # what libraries keep from their first call on
    yield Case("SwiGLU", 0, lambda: SwiGLU(h, d, dtype), arguments, dtype)
    for masks in arguments.masks:
        for name in MASKED:
            yield Case(name, masks, lambda: MASKED[name](h, d, masks, dtype), arguments, dtype)


def measure(arguments, dtype_name):
    cases = list(cases_of(arguments, DTYPES[dtype_name]))
    taken = in_turns(arguments, [case.step for case in cases])
    for case, seconds in zip(cases, taken):
        over = ratios(taken[0], seconds)
        yield {"dtype": dtype_name, "what": case.name, "n_masks": case.masks,
               "ms": [round(1e3 * value, 2) for value in seconds], "over_swiglu": median(over),
               "by_count": median(over) / ((1 + case.masks) / 2 if case.masks else 1),
               "over_swiglu_least": min(over), "over_swiglu_most": max(over),
               "peak_mib": case.memory / 2**20, "peak_over_swiglu": case.memory / cases[0].memory}  # fmt: skip


def line_of(row):
    name = f"{row['what']}, n_m = {row['n_masks']}" if row["n_masks"] else row["what"]
    cells = [row["dtype"], name, f"{median(row['ms']):.0f}", f"{min(row['ms']):.0f} to {max(row['ms']):.0f}",
             f"{row['over_swiglu']:.2f}", f"{row['by_count']:.2f}", f"{row['peak_mib']:.0f}",
             f"{row['peak_over_swiglu']:.2f}"]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def write(head, rows):
    """The results to bench/results/, the table to docs/performance.md."""
    path = RESULTS / f"training-{datetime.date.today().isoformat()}.json"
    path.write_text(json.dumps({"measured": head, "rows": rows}, indent=1) + "\n")
    lines = [f"{head}:", "", *HEADING, *map(line_of, rows), "",
             f"From [bench/results/{path.name}](../bench/results/{path.name}).", ""]  # fmt: skip
    DOCUMENT.write_text(replace_between(DOCUMENT.read_text(), BEGIN, END, lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--h", type=int, default=768, help="hidden size (default: %(default)s)")
    parser.add_argument("--d", type=int, default=3072, help="intermediate size (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=4096, help="(default: %(default)s)")
    parser.add_argument("--dtypes", choices=("f32", "bf16"), nargs="+", default=["f32", "bf16"],
                        help="of all tensors (default: f32 bf16)")  # fmt: skip
    parser.add_argument("--masks", type=int, nargs="+", default=[1, 2, 4], help="numbers of masks (default: 1 2 4)")
    parser.add_argument("--write", action="store_true", help="keep the results: bench/results, docs/performance.md")
    add_options(parser, rounds=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    keep_no_freed_memory()
    device = mglu.Context(threads=arguments.threads, backends="cpu").device("cpu")
    head = f"{describe(arguments, device)}; {arguments.tokens} tokens"
    print(head, "", *HEADING, sep="\n")
    rows = []
    for dtype in arguments.dtypes:
        for row in measure(arguments, dtype):
            print(line_of(row), flush=True)
            rows.append(row)
    if arguments.write:
        write(head, rows)


if __name__ == "__main__":
    main()
