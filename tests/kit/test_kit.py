# SPDX-License-Identifier: MIT
"""The folder that bench/gpu-kit makes: what it needs, what its run finds, and that the run continues after a failure.

KIT_BUILD is the build that the kit is made of, KIT_DRIVER a libcuda.so.1 that runs the kernels on the host. Nothing
here depends on how long anything takes.
"""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD, DRIVER = pathlib.Path(os.environ["KIT_BUILD"]), pathlib.Path(os.environ["KIT_DRIVER"])
COREUTILS = "cat cut date dirname env head ls mkdir rm sleep tail tee timeout tr".split()
GLIBC = re.compile(r"(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread))\.so\.\d+$")
POCL = [pathlib.Path("/usr/lib") / f"{platform.machine()}-linux-gnu" / name for name in ("libpocl.so.2", "pocl")]
MEASURED = ["cold", "batches", "variant-simt4", "variant-simt8", "variant-mma8", "warm", "ffn"]
PROVEN = ["device", "exact", "quick", "graph"]
LOOKED_FOR = ["sanitizer", "profile", "torch"]


def make_kit(folder, *options):
    """The result of bench/gpu-kit for this build, by default for machines like this one."""
    newest = ["--glibc", platform.libc_ver()[1]]
    return subprocess.run([ROOT / "bench" / "gpu-kit", folder, "--built", BUILD, *newest, *options],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip


def write_script(path, script):
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class KitTest(unittest.TestCase):
    """A kit, and a minimal environment to run it in: coreutils, and a folder with the driver."""

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        cls.kit, cls.tools, cls.drivers = cls.folder / "a kit", cls.folder / "tools", cls.folder / "lib" / "drivers"
        cls.drivers.mkdir(parents=True)
        cls.tools.mkdir()
        for name in COREUTILS:
            (cls.tools / name).symlink_to(shutil.which(name))
        shutil.copy(DRIVER, cls.drivers / "libcuda.so.1")
        made = make_kit(cls.kit)
        assert made.returncode == 0, made.stdout

    def environment(self):
        return {"PATH": str(self.tools), "HOME": str(self.folder), "LD_LIBRARY_PATH": str(self.drivers)}

    def start(self, *arguments, rehearse=("--rehearse",), **variables):
        return subprocess.run([self.kit / "run", "--minutes", "60", *rehearse, *arguments],
                              env={**self.environment(), **variables}, cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip

    def steps(self, out):
        """The result of each step, in the order of the run."""
        read = [json.loads(path.read_text()) for path in sorted((out / "steps").glob("*.json"))]
        return {step["step"]: step for step in read}


class RunTest(KitTest):
    def driver_of_opencl(self):
        """PoCL under the name of NVIDIA's driver. It looks for its parts in its own folder, and for a linker."""
        if not all(path.exists() for path in POCL) or not shutil.which("ld"):
            return False
        (self.drivers / "libnvidia-opencl.so.1").symlink_to(POCL[0])
        (self.drivers / "pocl").symlink_to(POCL[1])
        (self.folder / "share").symlink_to("/usr/share")
        (self.tools / "ld").symlink_to(shutil.which("ld"))
        return True

    def test_run(self):
        """Everything that needs no external tool runs and passes, and the report can be made of it."""
        opencl = ["opencl-exact", "opencl"] if self.driver_of_opencl() else []
        result = self.start("out")
        steps = self.steps(self.folder / "out")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        for name in PROVEN + MEASURED + opencl:
            self.assertEqual(steps[name]["state"], "passed", steps[name])
        for name in LOOKED_FOR + ([] if opencl else ["opencl"]):
            self.assertEqual(steps[name]["state"], "skipped", steps[name])
        self.assertEqual([name for name in steps if name in PROVEN[:2] + MEASURED[:2]], PROVEN[:2] + MEASURED[:2])
        self.check_measured(self.folder / "out", MEASURED)
        self.check_table(result.stdout, steps)
        self.check_document(self.folder / "out")

    def check_measured(self, out, names):
        for name in names:
            report = json.loads((out / f"{name}.json").read_text())
            self.assertEqual(report["timer"], "events", name)
            ours = [row for row in report["rows"] if row["backend"] == "cuda"]
            self.assertTrue(ours and all(row["median_us"] > 0 for row in ours), name)
            copies = [row for row in report["rows"] if (row["backend"], row["what"]) == ("nvidia", "copy")]
            for row in ours if copies else []:
                self.assertGreater(row["read_gbps"], 0)
                self.assertGreater(row["fraction_of_read_bandwidth"], 0)
        self.assertTrue(copies or name == "ffn")

    def check_table(self, printed, steps):
        for name, step in steps.items():
            self.assertRegex(printed, rf"{step['state']} +\d+ s +{name} ")
        for regime in ("cold", "warm"):
            for shape in ("48x128", "32x64"):
                part = printed.split(f"\n{shape}, {regime}, cuda, a copy moves ")[1].split("\n\n")[0]
                self.assertEqual([line.split()[0] for line in part.splitlines()[1:]], ["n_m", "0", "1", "2"])

    def check_document(self, out):
        """bench/report.py puts what the run left between the markers of the document."""
        tree = self.folder / "tree"
        parts = [*(ROOT / "bench").glob("report*.py"), ROOT / "bench" / "figures.json", ROOT / "docs" / "performance.md"]
        for part in parts:
            copy = tree / part.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(part, copy)
        report = ["python3", tree / "bench" / "report.py"]
        kept = subprocess.run([*report, "keep", out], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        subprocess.run([*report, "write", tree / kept], check=True)
        text = (tree / "docs" / "performance.md").read_text()
        self.assertIn("### Imaginary GPU, arch=sm_90", text)
        self.assertRegex(text, r"\| exact \| passed \|")
        self.assertRegex(text, r"\| 48x128 \| 2 \| [\d.]+ \(")
        self.assertIn("the paper's kernel", text)
        # The document has the expected values of bench/figures.json.
        document = (ROOT / "docs" / "performance.md").read_text()
        expected = document.split("<!-- bench/report.py writes about GPUs from here -->")[1].split("\n- paper")[0]
        self.assertIn(expected, text)

    def test_libraries(self):
        """Programs find all libraries except glibc in the kit, also those that they open at run time."""
        trace = {**self.environment(), "LD_TRACE_LOADED_OBJECTS": "1"}
        for program in (self.kit / "bin").iterdir():
            listed = subprocess.run([program], env=trace, stdout=subprocess.PIPE, text=True, check=True).stdout
            for name, path in re.findall(r"^\s*(\S+) => (.*) \(0x", listed, re.MULTILINE):
                is_right = GLIBC.match(name) or path.startswith(str(self.kit))
                self.assertTrue(is_right, f"{program.name}: {name} => {path}")
        debug = {**self.environment(), "LD_DEBUG": "files", "OCL_ICD_VENDORS": str(self.kit / "share/OpenCL/vendors")}
        opened = subprocess.run([self.kit / "bin" / "mglu", "devices"], env=debug, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, check=True).stderr  # fmt: skip
        loaders = re.findall(r"calling init: (.*libOpenCL\.so.*)", opened)
        if (self.kit / "lib" / "libOpenCL.so.1").exists():
            self.assertEqual([os.path.realpath(path) for path in loaders], [f"{self.kit.resolve()}/lib/libOpenCL.so.1"])

    def test_size(self):
        """A few MB for each architecture, so that it is easy to copy."""
        size = sum(file.stat().st_size for file in self.kit.rglob("*") if file.is_file())
        self.assertLess(size, 40e6)


class TroubleTest(KitTest):
    @classmethod
    def setUpClass(cls):
        """Programs that do nothing, which is fast, except mglu itself, which queries the device."""
        super().setUpClass()
        for name in ("mglu-bench", "mglu-conformance", "test-cuda-graph"):
            cls.replace(name, "echo done")

    @classmethod
    def replace(cls, name, script):
        write_script(cls.kit / "bin" / name, script)

    def test_what_is_found(self):
        """Tools and cuBLAS of a toolkit that is in no path; and the shapes that are measured without --rehearse."""
        toolkit = self.folder / "toolkit"
        (toolkit / "bin").mkdir(parents=True)
        (toolkit / "lib64").mkdir()
        (toolkit / "lib64" / "libcublas.so.12").touch()
        for name in ("compute-sanitizer", "ncu"):
            write_script(toolkit / "bin" / name, 'echo "$@"')
        self.replace("mglu-bench", 'echo "$@"')
        result = self.start("found", rehearse=(), CUDA_HOME=str(toolkit))
        self.replace("mglu-bench", "echo done")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        said = {name: (self.folder / "found" / f"{name}.txt").read_text() for name in ("racecheck", "profile", "cold")}
        self.assertIn("--tool racecheck --error-exitcode 9 bin/mglu-conformance", said["racecheck"])
        self.assertIn("bin/mglu-bench --backend cuda", said["profile"])
        self.assertIn("--shapes 14336x4096,8192x2048 --masks 1,2,4,8,16", said["cold"])
        self.assertIn(f"nvidia=LD_LIBRARY_PATH='{self.drivers}:{toolkit}/lib64' exec timeout", said["cold"])

    def test_step_that_hangs(self):
        """Only this step is ended, even if it ignores the signal to end; the steps after it are run."""
        self.replace("test-cuda-graph", "trap '' TERM\necho so far\nwhile :; do sleep 1; done")
        result = self.start("--longest", "5", "hangs")
        self.replace("test-cuda-graph", "echo done")
        steps = self.steps(self.folder / "hangs")
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertEqual(steps["graph"]["state"], "failed")
        self.assertEqual(steps["graph"]["said"], "stopped after 5 s; its last line: so far")
        self.assertIn("ffn", steps)

    def test_step_that_fails(self):
        self.replace("mglu-conformance", "echo it is \\\"wrong\\\"; exit 3")
        result = self.start("fails")
        self.replace("mglu-conformance", "echo done")
        steps = self.steps(self.folder / "fails")
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertEqual((steps["exact"]["state"], steps["exact"]["said"]), ("failed", "it is 'wrong'"))
        self.assertEqual(steps["ffn"]["state"], "passed")

    def test_time_that_is_over(self):
        """Steps for which no time is left are skipped and report it; the run has not failed."""
        result = self.start("--minutes", "0", "late")
        steps = self.steps(self.folder / "late")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(steps["device"]["state"], "passed")
        self.assertEqual({steps[name]["state"] for name in MEASURED}, {"skipped"})
        self.assertIn("s are left of 0 minutes", steps["cold"]["said"])

    def test_no_driver(self):
        driver = self.drivers / "libcuda.so.1"
        driver.write_text("rubbish")
        result = self.start("bare")
        shutil.copy(DRIVER, driver)
        self.assertEqual(result.returncode, 3, result.stdout)
        self.assertRegex(result.stderr, r"^run: no NVIDIA GPU is available here: .*libcuda.so.1: .*\n$")

    def test_full_disk(self):
        """At the beginning, or later: one line, and the results until then are kept."""
        for file, done in (".space", []), ("steps/02-exact.json", ["device"]):
            with self.subTest(file):
                out = self.folder / f"full {len(done)}"
                (out / "steps").mkdir(parents=True)
                (out / file).symlink_to("/dev/full")
                result = self.start(out)
                self.assertEqual(result.returncode, 4, result.stdout)
                self.assertRegex(result.stderr, r"^run: .*can't be written \(is the disk full\?\).*\n$")
                (out / file).unlink()
                self.assertEqual(list(self.steps(out)), done)

    def test_bad_usage(self):
        for arguments in ["--minutes", "soon"], ["--longest"], ["--quickly"]:
            self.assertEqual(self.start(*arguments).returncode, 2, arguments)

    def test_glibc_that_is_too_new(self):
        """A kit that would not start on the oldest supported glibc is not made."""
        folder = self.folder / "old"
        made = make_kit(folder, "--glibc", "2.3")
        self.assertEqual(made.returncode, 1)
        self.assertRegex(made.stdout, r"^gpu-kit: \S+ needs \S+ of glibc [\d.]+, but the kit must run with 2.3: ")
        self.assertFalse(folder.exists())

    def test_folder_that_is_no_kit(self):
        (self.folder / "taken").mkdir()
        (self.folder / "taken" / "letter").write_text("mine")
        self.assertIn("is neither empty nor a kit", make_kit(self.folder / "taken").stdout)
        self.assertTrue((self.folder / "taken" / "letter").exists())


if __name__ == "__main__":
    unittest.main()
