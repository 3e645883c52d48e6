# SPDX-License-Identifier: MIT
"""Builds mglu in several ways and runs its tests in each; see tools/test."""
import collections
import json
import os
import pathlib
import subprocess
import sys

# nvcc takes minutes: one build has the CUDA backend. The kernels are tested on the host in each.
NO_CUDA = "-Dcuda=disabled"
SANITIZE = [NO_CUDA, "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"]
SANITIZE_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
    "LSAN_OPTIONS": f"suppressions={pathlib.Path('tests/lsan.supp').resolve()}:print_suppressions=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "MGLU_TEST_QUICK": "1",
    # Drivers leak on their own: a folder without any. Tests of drivers name theirs.
    "OCL_ICD_VENDORS": str(pathlib.Path("tests/opencl").resolve()),
}

# prepare: a command; where it fails, the build is skipped, and the last line that it printed is the reason.
Build = collections.namedtuple("Build", "compiler options environment prepare", defaults=[None])
CXX = {"gcc": "g++", "clang": "clang++"}
BUILDS = {
    "gcc": Build("gcc", ["-Dwerror=true"], {}),
    "clang": Build("clang", ["-Dwerror=true", NO_CUDA], {"MGLU_TEST_QUICK": "1"}),
    "gcc-sanitize": Build("gcc", SANITIZE, SANITIZE_ENV),
    "clang-sanitize": Build("clang", SANITIZE, SANITIZE_ENV),
    # What is left when every optional part is missing.
    "plain": Build("gcc", ["-Dwerror=true", NO_CUDA, "-Dopenmp=disabled", "-Dio=disabled", "-Dtools=disabled",
                           "-Dbench=disabled", "-Ddefault_library=static"], {"MGLU_TEST_QUICK": "1"}),
    # In an emulator.
    "aarch64": Build("gcc", ["-Dwerror=true", "--cross-file", "build/sysroot-aarch64/sysroot.ini",
                             "--cross-file", "tools/cross/aarch64.ini"], {}, "tools/cross/aarch64-setup"),
}


def run_quietly(command, environment):
    """Runs a command; its output is shown only when it fails."""
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        sys.stdout.buffer.write(result.stdout)
        print(f"failed: {' '.join(command)}", flush=True)
    return result.returncode == 0


def why_not(command):
    """Runs a command that prepares a build; says why it couldn't, or nothing."""
    result = subprocess.run([command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    sys.stdout.write(result.stdout if result.returncode == 0 else "")
    lines = result.stdout.splitlines() or [f"{command} failed"]
    return lines[-1] if result.returncode != 0 else None


def show_failure(name, test):
    """Prints what a failed test printed."""
    print(f"--- {name}: {test['name']}: {test['result']}")
    print(test.get("stdout", ""), test.get("stderr", ""), sep="", end="\n", flush=True)


def run_build(name, build):
    """Configures, builds and tests one build; returns (passed, failed, skipped)."""
    reason = why_not(build.prepare) if build.prepare else None
    if reason:
        print(f"{name}: skipped: {reason}", flush=True)
        return 0, 0, 1
    folder = pathlib.Path("build") / f"test-{name}"
    environment = {**os.environ, **build.environment, "CC": build.compiler, "CXX": CXX[build.compiler]}
    if not (folder / "build.ninja").exists():
        if not run_quietly(["meson", "setup", str(folder), *build.options], environment):
            return 0, 1, 0
    if not run_quietly(["ninja", "-C", str(folder)], environment):
        return 0, 1, 0
    log = folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    subprocess.run(["meson", "test", "-C", str(folder), "--no-rebuild"], env=environment, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)
    tests = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    failed = [test for test in tests if test["result"] not in ("OK", "SKIP")]
    skipped = sum(test["result"] == "SKIP" for test in tests)
    for test in failed:
        show_failure(name, test)
    passed = len(tests) - len(failed) - skipped
    print(f"{name}: {passed} passed, {len(failed)} failed, {skipped} skipped", flush=True)
    return passed, len(failed) + (not tests), skipped


def main(names):
    unknown = [name for name in names if name not in BUILDS]
    if unknown:
        print(f"test: unknown build {unknown[0]}; known: {' '.join(BUILDS)}", file=sys.stderr)
        return 2
    results = [run_build(name, BUILDS[name]) for name in names or BUILDS]
    passed, failed, skipped = (sum(counts) for counts in zip(*results))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
