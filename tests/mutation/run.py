#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The mutation test: builds a copy of the library that has every seeded fault, and counts how many the tests notice.

The tables beside this file say what the faults are and which tests must notice them, as commands in the build folder:
the quick tier of mglu-conformance on the CPU backend, a slice of it on the OpenCL backend with PoCL, or tests of the
project's. Each fault is chosen at run time. It is killed when a test fails, crashes or does not end in time.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import overlay

ROOT = overlay.HERE.parent.parent
COPIED = ("CONTRIBUTING.md", "LICENSE", "NEWS.md", "README.md", "SECURITY.md", "meson.build", "meson_options.txt",
          "backends", "bench", "common", "docs", "examples", "include", "packaging", "python", "tests", "tools")
OPTIONS = ["-Doptimization=1", "-Dwarning_level=0", "-Dtests=enabled", "-Dcuda=disabled", "-Dopencl=enabled",
           "-Dbench=disabled", "-Dtools=disabled"]
CONFORMANCE = "tests/conformance/mglu-conformance"
LACKS_ISA = 77
LEAST_LIMIT = 600  # seconds; a slow machine must not count as a noticed fault
POCL = "/etc/OpenCL/vendors/pocl.icd"
FAILED_CASE = re.compile(r"^(?:FAIL|VACUOUS) (\S+)|^\[  FAILED  \] (\S+)", re.MULTILINE)


@dataclasses.dataclass
class Result:
    name: str
    kind: str
    what: str
    killed: bool
    by: str
    seconds: float


@dataclasses.dataclass
class Run:
    """One run of a program with one fault."""

    status: int | None  # None: it did not end in time
    output: str


def fail(text):
    print(f"run.py: {text}", file=sys.stderr)
    sys.exit(2)


def write_if_other(path, data):
    """Does not touch unchanged files, so that a kept build folder rebuilds only what has changed."""
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def copy_sources(table, target):
    """Writes the sources with the faults in them."""
    faulted = set(table.files())
    for name in COPIED:
        for path in [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")):
            file = path.relative_to(ROOT)
            if not path.is_file() or "__pycache__" in file.parts:
                continue
            data = path.read_bytes()
            if file.as_posix() in faulted:
                data = table.apply(file.as_posix(), data.decode("utf-8")).encode("utf-8")
            write_if_other(target / file, data)
            shutil.copymode(path, target / file)


def build(table, folder, targets):
    source, built = folder / "source", folder / "build"
    copy_sources(table, source)
    setup = ["configure", str(built)] if (built / "build.ninja").exists() else ["setup", str(built), str(source)]
    for command in (["meson", *setup, *OPTIONS], ["ninja", "-C", str(built), *targets]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            fail(f"{' '.join(command)}:\n{done.stdout[-4000:]}")


class Tests:
    """Runs the programs of a build that has the faults."""

    def __init__(self, folder, isa):
        self.folder = folder
        self.isa = isa
        self.limit = LEAST_LIMIT
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MGLU_")}
        self.environment = {**kept, "MGLU_TEST_DATA": str(ROOT / "tests/data"), "MALLOC_PERTURB_": "0",
                            "OCL_ICD_VENDORS": POCL, "POCL_CACHE_DIR": str(folder / "pocl"),
                            "MGLU_TEST_PLUGIN": str(folder / "tests/plugins/mglu-sample.so"),
                            "MGLU_TEST_BROKEN": str(folder / "tests/plugins/broken-chosen.so")}

    @staticmethod
    def options(program, case):
        if program != CONFORMANCE:
            return [case] if case else []
        return ["--fail-fast", *(["--filter", case] if case else [])]

    def run(self, command, number, case=""):
        """Ends the program at the first test that fails."""
        words = command.split()
        if "cpu" in words and self.isa != "best":
            words += ["--max-isa", self.isa]
        words += self.options(words[0], case)
        process = subprocess.Popen(
            [str(self.folder / word) if is_file(word) else word for word in words],
            env={**self.environment, "MGLU_MUTANT": str(number)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace")
        late = threading.Event()
        timer = threading.Timer(self.limit, lambda: (late.set(), process.kill()))
        timer.start()
        lines = []
        with process:
            for line in process.stdout:
                lines.append(line)
                if FAILED_CASE.match(line):
                    process.kill()
                    break
        timer.cancel()
        return Run(None if late.is_set() else process.returncode, "".join(lines))

    def check_unmutated(self, attempt):
        """A command and case passes without a fault. Returns how long it took."""
        begin = time.monotonic()
        command, case = attempt
        run = self.run(command, 0, case)
        if run.status == LACKS_ISA and "cpu" in command.split():
            fail(f"this machine lacks {self.isa}; try --isa best")
        if run.status != 0:
            fail(f"{command} {case} fails without any fault:\n{run.output[-4000:]}")
        return time.monotonic() - begin

    def try_fault(self, fault):
        """Runs the case that is known to notice the fault first: it is killed sooner, by the same tests."""
        begin = time.monotonic()
        for command, case in attempts_of(fault):
            run = self.run(command, fault.number, case)
            if run.status != 0:
                return Result(fault.name, fault.kind, fault.what, True, killer(command, run), time.monotonic() - begin)
        return Result(fault.name, fault.kind, fault.what, False, "", time.monotonic() - begin)


def attempts_of(fault):
    first = [(fault.killers[0], fault.first)] if fault.first else []
    return first + [(command, "") for command in fault.killers]


def is_file(word):
    """Whether a word of a command is a file of the build folder."""
    return word.startswith("tests/")


def targets_of(attempts):
    return sorted({word for command, _ in attempts for word in command.split() if is_file(word)})


def killer(command, run):
    """The name of the test that has noticed a fault."""
    if run.status is None:
        return "timeout"
    case = FAILED_CASE.search(run.output)
    program = pathlib.Path(command.split()[0])
    name = "" if program.as_posix() == CONFORMANCE else program.name
    return " ".join(filter(None, [name, (case[1] or case[2]) if case else f"status {run.status}"]))


def selected_faults(table, only, isa):
    faults = [fault for fault in table.faults if fault.isa in (None, isa)]
    if only is None:
        return faults
    names = set(only.split(","))
    unknown = names - {fault.name for fault in faults}
    if unknown:
        fail(f"--only {only}: unknown {', '.join(sorted(unknown))}")
    return [fault for fault in faults if fault.name in names]


def try_all(tests, attempts, faults, jobs):
    """The time limit of a fault is several times that of the slowest attempt without one."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tests.limit = max(LEAST_LIMIT, 10 * max(pool.map(tests.check_unmutated, attempts)))
        for result in pool.map(tests.try_fault, faults):
            verdict = f"killed by {result.by}" if result.killed else "SURVIVED"
            print(f"{result.name:>4} {result.what}: {verdict} ({result.seconds:.1f} s)", flush=True)
            results.append(result)
    return results


def report(results, begin):
    for kind in dict.fromkeys(result.kind for result in results):
        killed = [result.killed for result in results if result.kind == kind]
        print(f"{kind} faults: {sum(killed)} of {len(killed)} killed")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{time.monotonic() - begin:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU time")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, help="folder to build in and keep (default: a temporary one)")
    parser.add_argument("--isa", default="avx2", help="largest CPU instruction set to use, or best (default avx2)")
    parser.add_argument("--only", metavar="N,M", help="these faults only, as 13,40,H3")
    parser.add_argument("--json", metavar="FILE", help="write the results")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="faults tried at once (default: all cores)")
    arguments = parser.parse_args()

    begin = time.monotonic()
    table = overlay.Overlay()
    problems = list(table.problems(ROOT))
    if problems:
        fail("\n".join(problems))
    faults = selected_faults(table, arguments.only, arguments.isa)
    attempts = sorted({attempt for fault in faults for attempt in attempts_of(fault)})
    with contextlib.ExitStack() as stack:
        folder = arguments.build or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        build(table, folder.resolve(), targets_of(attempts))
        tests = Tests(folder.resolve() / "build", arguments.isa)
        results = try_all(tests, attempts, faults, arguments.jobs)
    if arguments.json:
        rows = [dataclasses.asdict(result) for result in results]
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    report(results, begin)
    return 0 if all(result.killed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
