#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The mutation test: builds the library with its seeded faults and counts how many of them the tests notice.

Kernel faults must be noticed by the quick tier of mglu-conformance on the CPU backend, host faults by the tests that
faults.json names. A fault is killed when a test fails, crashes or does not end in time.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONFORMANCE = "tests/conformance/mglu-conformance"
LACKS_ISA = 77
FAILED_CASE = re.compile(r"^(?:FAIL|MISTRUSTED) (\S+)|^\[  FAILED  \] (\S+)", re.MULTILINE)


@dataclasses.dataclass
class Result:
    name: str
    what: str
    killed: bool
    by: str
    seconds: float


@dataclasses.dataclass
class Run:
    """One program with one fault."""

    status: int | None  # None: it did not end in time
    output: str


def fail(text):
    print(f"run.py: {text}", file=sys.stderr)
    sys.exit(2)


def build(folder, targets):
    setup = ["meson", "configure"] if (folder / "build.ninja").exists() else ["meson", "setup"]
    place = [str(folder)] if setup[1] == "configure" else [str(folder), str(ROOT)]
    options = ["-Dmutants=true", "-Dtests=enabled", "-Dcuda=disabled"]
    for command in ([*setup, *place, *options], ["ninja", "-C", str(folder), *targets]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            fail(f"{' '.join(command)}:\n{done.stdout[-4000:]}")


class Tests:
    """Runs the programs of a build that has the faults."""

    def __init__(self, folder, isa):
        self.folder = folder
        self.isa = isa
        self.limit = None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MGLU_")}
        self.environment = {**kept, "MGLU_TEST_DATA": str(ROOT / "tests/data"), "MALLOC_PERTURB_": "0"}

    def run(self, program, fault):
        options = []
        if program == CONFORMANCE:
            options = ["--backend", "cpu", "--tier", "quick", "--fail-fast"]
            options += ["--max-isa", self.isa] if self.isa != "best" else []
        try:
            done = subprocess.run(
                [self.folder / program, *options], env={**self.environment, "MGLU_MUTANT": str(fault)},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                timeout=self.limit)
        except subprocess.TimeoutExpired:
            return Run(None, "")
        return Run(done.returncode, done.stdout)

    def check_unmutated(self, programs):
        """Also finds the time limit: several times what the right code takes."""
        for program in programs:
            begin = time.monotonic()
            run = self.run(program, 0)
            if run.status == LACKS_ISA and program == CONFORMANCE:
                fail(f"this machine lacks {self.isa}; try --isa best")
            if run.status != 0:
                fail(f"{program} fails without any fault:\n{run.output[-4000:]}")
            self.limit = max(self.limit or 0, 120, 5 * (time.monotonic() - begin))

    def try_fault(self, fault, programs):
        begin = time.monotonic()
        name = fault.get("name", str(fault["number"]))
        killer = ""
        for program in programs:
            run = self.run(program, fault["number"])
            if run.status != 0:
                case = FAILED_CASE.search(run.output)
                killer = pathlib.Path(program).name if program != CONFORMANCE else ""
                killer = " ".join(filter(None, [killer, case and (case[1] or case[2])]))
                killer = killer or f"status {run.status}"
                killer = "timeout" if run.status is None else killer
                break
        return Result(name, fault["what"], bool(killer), killer, time.monotonic() - begin)


def chosen_faults(table, only, isa):
    faults = [(fault, [CONFORMANCE]) for fault in table["kernel"] if fault.get("isa", isa) == isa]
    faults += [(fault, fault["killers"]) for fault in table["host"]]
    if only is None:
        return faults
    names = only.split(",")
    known = {fault.get("name", str(fault["number"])) for fault, _ in faults}
    if set(names) - known:
        fail(f"--only {only}: unknown {', '.join(sorted(set(names) - known))}")
    return [(fault, programs) for fault, programs in faults if fault.get("name", str(fault["number"])) in names]


def report(kind, results):
    if results:
        print(f"{kind} faults: {sum(result.killed for result in results)} of {len(results)} killed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, help="build folder to use and keep (default: a temporary one)")
    parser.add_argument("--isa", default="avx2", help="level that the CPU backend is capped to, or best (default avx2)")
    parser.add_argument("--only", metavar="N,M", help="these faults only, as 13,40,H3")
    parser.add_argument("--json", metavar="FILE", help="write the results")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="faults tried at once (default: all cores)")
    arguments = parser.parse_args()

    table = json.loads((HERE / "faults.json").read_text(encoding="utf-8"))
    faults = chosen_faults(table, arguments.only, arguments.isa)
    programs = sorted({program for _, some in faults for program in some})
    with contextlib.ExitStack() as stack:
        folder = arguments.build or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        build(folder.resolve(), programs)
        tests = Tests(folder.resolve(), arguments.isa)
        tests.check_unmutated(programs)
        results = []
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for result in pool.map(lambda pair: tests.try_fault(*pair), faults):
                verdict = f"killed by {result.by}" if result.killed else "SURVIVED"
                print(f"{result.name:>4} {result.what}: {verdict} ({result.seconds:.1f} s)", flush=True)
                results.append(result)
    if arguments.json:
        rows = [dataclasses.asdict(result) for result in results]
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    report("kernel", [result for result in results if not result.name.startswith("H")])
    report("host", [result for result in results if result.name.startswith("H")])
    return 0 if all(result.killed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
