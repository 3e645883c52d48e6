# SPDX-License-Identifier: MIT
"""Builds mglu in several ways and runs its tests in each; see tools/test."""
import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

NO_CUDA = "-Dcuda=disabled"  # CUDA has builds of its own; each build also tests the kernels on the host
STRICT = ["-Dwerror=true", NO_CUDA]
SANITIZE = [NO_CUDA, "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"]
# Lines for reports, without variables, which take gcc as long as all else.
LINES = "-g1"
# Clang's checks of undefined behaviour take three quarters of the time that kernels take to compile; gcc has the same.
CLANG_IGNORES = f"-fsanitize-ignorelist={pathlib.Path('tests/clang_undefined.ignore').resolve()}"
# What these sanitizers don't know is left out: OpenMP's runtime for both; for that of memory also libraries that are
# compiled without it. Threads come from a pool (tests/stress/pool.h).
SANITIZE_ALONE = [NO_CUDA, "-Dopenmp=disabled", "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"]
NO_LIBRARIES = ["-Dopencl=disabled", "-Dtools=disabled", "-Dbench=disabled"]
# clang 14 does not know that stat64() and fstat64() write, which _FILE_OFFSET_BITS, set by Meson, makes of stat(). Where
# off_t has 64 bits anyway, nothing else changes.
KNOWN_NAMES = ["-Dc_args=-U_FILE_OFFSET_BITS"]
# OpenCL drivers leak, so this folder has none. Tests of drivers set their own.
NO_DRIVERS = {"OCL_ICD_VENDORS": str(pathlib.Path("tests/opencl").resolve())}
SANITIZE_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
    "LSAN_OPTIONS": f"suppressions={pathlib.Path('tests/lsan.supp').resolve()}:print_suppressions=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    **NO_DRIVERS,
}
HOSTS = pathlib.Path("build/hosts").resolve()
FIND_NVCC = ["sh", "-c", 'PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin; command -v nvcc >/dev/null || { echo "no nvcc"; exit 1; }']

SKIPPED = 77
# The time limits of tests are for an idle machine; others are busy, or several times slower.
TIME_LIMIT_FACTOR = "10"

# suites: the only tests that are run, those of `long` included. has_long_tests: whether the suite `long` of
# tests/meson.build belongs to this build. left_out: suites that do not. prepare: a command; where it fails, the build
# is skipped, and the last line of its output is the reason. setup: a test setup of Meson's.
Build = collections.namedtuple("Build", "compiler options environment suites has_long_tests left_out prepare setup",
                               defaults=[{}, (), False, ["source", "compiler"], None, None])
CXX = {"gcc": "g++", "clang": "clang++"}
BUILDS = {
    "gcc": Build("gcc", [*STRICT, "-Ddefault_library=both"], has_long_tests=True, left_out=[]),
    # Two of the architectures; cuda-all has the others. Optimised is what nvcc compiles, whatever the level.
    "cuda": Build("gcc", ["-Dwerror=true", "-Dcuda=enabled", "-Dnvcc_architectures=90,120", "-Doptimization=1"],
                  suites=["cuda"], prepare=FIND_NVCC),
    # The programs are tested as gcc compiles them, and as both do with sanitizers.
    "clang": Build("clang", STRICT, left_out=["source", "programs"]),
    "gcc-sanitize": Build("gcc", [*SANITIZE, f"-Dc_args={LINES}", f"-Dcpp_args={LINES}"], SANITIZE_ENV),
    "clang-sanitize": Build("clang", [*SANITIZE, f"-Dc_args={LINES} {CLANG_IGNORES}", f"-Dcpp_args={LINES}"],
                            SANITIZE_ENV),
    # Without all optional parts.
    "plain": Build("gcc", [*STRICT, "-Dopenmp=disabled", "-Dio=disabled", "-Dtools=disabled", "-Dbench=disabled",
                           "-Ddefault_library=static"]),
    # In an emulator.
    "aarch64": Build("gcc", ["-Dwerror=true", "--cross-file", "build/sysroot-aarch64/sysroot.ini",
                             "--cross-file", "tools/cross/aarch64.ini"], prepare=["tools/cross/aarch64-setup"]),
}
EXTRA_BUILDS = {
    "cuda-all": Build("gcc", ["-Dwerror=true", "-Dcuda=enabled"], suites=["cuda"], prepare=FIND_NVCC),
    "clang-thread": Build("clang", [*SANITIZE_ALONE, "-Db_sanitize=thread"],
                          {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1", **NO_DRIVERS},
                          suites=["unit", "thread"]),
    "clang-memory": Build("clang", [*SANITIZE_ALONE, *NO_LIBRARIES, *KNOWN_NAMES, "-Db_sanitize=memory"],
                          suites=["unit", "thread"]),
    # The emulated processor has AVX2. Without OpenMP, whose threads spin while another has valgrind's lock.
    "valgrind": Build("gcc", [NO_CUDA, "-Dopenmp=disabled", "-Doptimization=1", "-Ddebug=true"], NO_DRIVERS,
                      suites=["memcheck"], prepare=["tools/setup", "valgrind"], setup="valgrind"),
    # Models of the transformers package, which takes 800 MB with PyTorch.
    "hub": Build("gcc", STRICT, suites=["hub"], prepare=["tools/setup", "hub"]),
    # Examples inside ggml and ONNX Runtime, which are downloaded and compiled.
    "hosts": Build("gcc", [*STRICT, f"-Dcmake_prefix_path={HOSTS / 'ggml'}",
                           f"-Dpkg_config_path={HOSTS / 'pkgconfig'}"],
                   suites=["hosts"], prepare=["tools/hosts/setup"]),
    # The flags of Debian's packages.
    "distribution": Build("gcc", [*STRICT, "--buildtype=plain",
                                  "-Dc_args=-g -O2 -fstack-protector-strong -Wformat -Werror=format-security "
                                  "-Wdate-time -D_FORTIFY_SOURCE=2",
                                  "-Dc_link_args=-Wl,-z,relro -Wl,-z,now"]),
}
# Commands that are one test each; 77 is the exit status of a skipped one, and the last line of output the reason.
EXTRA_COMMANDS = {
    "mutation": ["python3", "tests/mutation/run.py"],
    "coverage": ["tools/coverage"],
    # The wheel, beside a current PyTorch and on a bare Debian 12.
    "python": ["tools/python/test"],
    # Packages, and a bare Debian that has them or the README's installation.
    "debian": ["sh", "-c", "tools/setup debian || exit 77; packaging/test-debian"],
    # Each target for 20 s, with the address and undefined-behaviour sanitizers.
    "fuzz": ["sh", "-c", "tests/fuzz/build >build/fuzz.log 2>&1 || { cat build/fuzz.log; exit 1; }; tests/fuzz/run"],
}

Done = collections.namedtuple("Done", "code output seconds cpu_seconds")
Counts = collections.namedtuple("Counts", "passed failed skipped")


def run(command, environment=None):
    """Runs a command; cpu_seconds includes all processes that it started and waited for."""
    begin = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        output = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Done(process.returncode, output, time.monotonic() - begin, usage.ru_utime + usage.ru_stime)


def seconds_of(step, done):
    return f"{step} {done.seconds:.0f} s ({done.cpu_seconds:.0f} s of CPU time)"


def remove_old_openmp_registrations():
    """Of ended processes; what goes wrong with them: tests/faults/test_library.c."""
    for file in pathlib.Path("/dev/shm").glob("__KMP_REGISTERED_LIB_*_*"):
        try:
            os.kill(int(file.name.split("_")[-2]), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):  # another user's
                file.unlink()
        except PermissionError:  # it runs
            pass


class Run:
    """One build: compiled, then tested. Its output is printed at the end, in one piece, since builds overlap."""

    def __init__(self, name, build):
        self.name, self.build = name, build
        self.folder = pathlib.Path("build") / f"test-{name}"
        self.environment = {**os.environ, **build.environment, "CC": build.compiler, "CXX": CXX[build.compiler]}
        self.lines = []
        self.times = []

    def finish(self, *counts):
        result = Counts(*counts)
        self.lines += [f"{self.name}: {result.passed} passed, {result.failed} failed, {result.skipped} skipped"]
        self.lines += [f"{self.name}: {what}" for what in self.times]
        print("\n".join(self.lines), flush=True)
        return result

    def step(self, name, command):
        """Runs a command; its output is printed only when it fails."""
        done = run(command, self.environment)
        self.times.append(seconds_of(name, done))
        if done.code != 0:
            self.lines += [done.output, f"failed: {' '.join(command)}"]
        return done.code == 0

    def why_not(self):
        """Prepares the build. Returns the reason if that fails, else None."""
        if not self.build.prepare:
            return None
        done = run(self.build.prepare)
        self.times.append(seconds_of("preparation", done))
        lines = done.output.splitlines()
        if done.code == 0:
            self.lines += lines
            return None
        return lines[-1] if lines else f"{self.build.prepare[0]} failed"

    def make(self):
        """Configures and compiles; returns the result where there is nothing to test."""
        reason = self.why_not()
        if reason:
            self.lines.append(f"{self.name}: skipped: {reason}")
            return self.finish(0, 0, 1)
        begin = time.time_ns()
        configured = (self.folder / "build.ninja").exists() or \
            self.step("configuration", ["meson", "setup", str(self.folder), *self.build.options])
        compile_command = ["ninja", "-C", str(self.folder), f"-j{os.cpu_count()}"]
        if not configured or not self.step("compilation", compile_command + self.needed_files()):
            return self.finish(0, 1, 0)
        self.times[-1] += self.slowest_file(begin)
        return None

    def needed_files(self):
        """Where only some suites are tested, what their tests need; an empty list means everything."""
        if not self.build.suites:
            return []
        tests, targets = (json.loads((self.folder / "meson-info" / f"intro-{what}.json").read_text())
                          for what in ("tests", "targets"))
        files = {target["id"]: target["filename"] for target in targets}
        suites = {f"mglu:{suite}" for suite in self.build.suites}
        names = {name for test in tests if suites & set(test["suite"]) for target in test["depends"]
                 for name in files[target]}
        return sorted(os.path.relpath(name, self.folder) for name in names)

    def slowest_file(self, begin):
        """Of the files written since `begin`. Ninja's log has start and end in ms, file time in ns, and name."""
        lines = [line.split("\t") for line in (self.folder / ".ninja_log").read_text().splitlines()[1:]]
        took = [(int(end) - int(start), name) for start, end, written, name, _ in lines if int(written) >= begin]
        milliseconds, name = max(took, default=(0, "none"))
        return f"; slowest: {name} {milliseconds / 1000:.0f} s"

    def selected_tests(self, run_all):
        """Arguments of `meson test`."""
        if self.build.suites:
            selected = [word for suite in self.build.suites for word in ("--suite", suite)]
            return selected + (["--setup", self.build.setup] if self.build.setup else [])
        left_out = ["long", "longest"][self.build.has_long_tests + run_all:] + self.build.left_out
        return [word for suite in left_out for word in ("--no-suite", suite)]

    def test(self, run_all):
        log = self.folder / "meson-logs" / "testlog.json"
        log.unlink(missing_ok=True)
        remove_old_openmp_registrations()
        done = run(["meson", "test", "-C", str(self.folder), "--no-rebuild", "-t", TIME_LIMIT_FACTOR,
                    *self.selected_tests(run_all)], self.environment)
        tests = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        slowest = sorted(tests, key=lambda test: -test["duration"])[:3]
        self.times.append(seconds_of("tests", done) + "; slowest: " +
                          ", ".join(f"{test['name']} {test['duration']:.0f} s" for test in slowest))
        if not tests:
            self.lines.append(done.output)
            return self.finish(0, 1, 0)
        return self.judge(tests)

    def judge(self, tests):
        """Adds the output of failed tests."""
        failed = [test for test in tests if test["result"] not in ("OK", "SKIP")]
        skipped = sum(test["result"] == "SKIP" for test in tests)
        for test in failed:
            self.lines += [f"--- {self.name}: {test['name']}: {test['result']}",
                           test.get("stdout", "") + test.get("stderr", "")]
        return self.finish(len(tests) - len(failed) - skipped, len(failed), skipped)


def run_builds(builds, run_all):
    """Compiles one build while another is tested, since neither uses all CPUs until it ends."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(1) as tester:
        for name, build in builds.items():
            this = Run(name, build)
            result = this.make()
            results.append(result or tester.submit(this.test, run_all))
        return [result if isinstance(result, Counts) else result.result() for result in results]


def run_command(name, command):
    done = run(command)
    outcome = {0: "passed", SKIPPED: "skipped"}.get(done.code, "failed")
    if outcome != "passed":
        print(done.output)
    print(f"{name}: {outcome}\n{name}: {seconds_of('run', done)}", flush=True)
    return Counts(outcome == "passed", outcome == "failed", outcome == "skipped")


def main():
    known = {**BUILDS, **EXTRA_BUILDS, **EXTRA_COMMANDS}
    parser = argparse.ArgumentParser(prog="tools/test", description="Builds mglu in several ways and tests each.")
    parser.add_argument("--all", action="store_true", help="run everything, long tests in every build")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"what to run: {' '.join(known)}")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"unknown build {unknown[0]}; known: {' '.join(known)}")
    names = arguments.names or (known if arguments.all else BUILDS)
    print(f"{len(names)} builds, each reported when its tests have ended: {' '.join(names)}", flush=True)
    begin = time.monotonic()
    results = run_builds({name: known[name] for name in names if name not in EXTRA_COMMANDS}, arguments.all)
    results += [run_command(name, EXTRA_COMMANDS[name]) for name in names if name in EXTRA_COMMANDS]
    usage = os.times()
    print(f"all: {time.monotonic() - begin:.0f} s ({usage.children_user + usage.children_system:.0f} s of CPU time)")
    passed, failed, skipped = (sum(counts) for counts in zip(*results))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
