# SPDX-License-Identifier: MIT
"""What the scripts that time PyTorch beside mglu share: their options, and timing in turns."""

import statistics
import time

import torch

import mglu

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def median(values):
    return statistics.median(values)


def add_options(parser, rounds):
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="(default: %(default)s)")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time: with one thread, beside other work")


def describe(arguments, device):
    """What was measured on, and how."""
    clock = "CPU" if arguments.cpu_time else "clock"
    return (f"torch {torch.__version__}, mglu {mglu.__version__}, {device.details}; h {arguments.h}, d {arguments.d}, "
            f"{arguments.threads} threads, {arguments.rounds} rounds of {clock} time")  # fmt: skip


def in_turns(arguments, cases):
    """For each case, its seconds in each round; all of a round are timed one after the other."""
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    taken = [[] for _ in cases]
    for _ in range(arguments.rounds + 1):  # the first warms up
        for case, seconds in zip(cases, taken):
            begin = clock()
            case()
            seconds.append(clock() - begin)
    return [seconds[1:] for seconds in taken]


def ratios(ours, theirs):
    """How many times as fast, in each round."""
    return [b / a for a, b in zip(ours, theirs)]
