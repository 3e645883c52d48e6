# SPDX-License-Identifier: MIT
"""Each example does what the comment at its top says: its compile line works, and it prints those lines.

Needs MGLU_SOURCE and MGLU_BUILD, the roots of the sources and of the build.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["MGLU_SOURCE"])
BUILD = pathlib.Path(os.environ["MGLU_BUILD"])
EXAMPLES = SOURCE / "examples"
BUILT = BUILD / "tests" / "examples"
MODEL = SOURCE / "tests" / "data" / "licence-lm"

sys.path.insert(0, str(SOURCE / "tests" / "programs"))
import safetensors


def header(example):
    """Lines of the comment at the top, without its asterisks."""
    comment = re.search(r"^/\*\n(.*?)^ \*/$", (EXAMPLES / example).read_text(encoding="utf-8"), re.M | re.S)
    return [line[3:] for line in comment[1].splitlines()]


def compile_lines(example):
    return [line.strip() for line in header(example) if re.match(r"    (cc|c\+\+|mpicc) ", line)]


def documented_output(example):
    """What is indented after "prints:", to the end of the comment."""
    lines = header(example)
    first = next(i for i, line in enumerate(lines) if line.endswith("prints:")) + 1
    return "".join(line[4:] + "\n" for line in lines[first:])


def examples(*suffixes):
    """Names of the numbered examples, in order."""
    return sorted(path.name for path in EXAMPLES.glob("0*") if path.suffix in suffixes)


def output(command, **variables):
    """What a command prints; of the caller's settings for the library none reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MGLU_")}
    result = subprocess.run(list(map(str, command)), env={**kept, **variables}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if result.returncode != 0:
        raise AssertionError(f"{command}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def arguments(example):
    return [MODEL] if example.startswith("03-file") else []


class FolderTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)


class PrintedTest(unittest.TestCase):
    """On the CPU, which every machine has."""

    def test_each_example_prints_what_its_comment_says(self):
        built = [name for name in examples(".c", ".cpp") if (BUILT / name.replace(".", "-")).exists()]
        self.assertGreaterEqual(len(built), 5)
        for name in built:
            with self.subTest(name):
                printed = output([BUILT / name.replace(".", "-"), *arguments(name)], MGLU_BACKEND="cpu")
                self.assertEqual(printed, documented_output(name))

    def test_the_readme_shows_the_first_example_and_its_output(self):
        readme = (SOURCE / "README.md").read_text(encoding="utf-8")
        code = re.search(r"^```c\n(.*?)^```$", readme, re.M | re.S)[1]
        printed = re.search(r"^```text\n(.*?)^```$", readme, re.M | re.S)[1]
        self.assertEqual(code, (EXAMPLES / "01-hello.c").read_text(encoding="utf-8").split("\n */\n", 1)[1])
        self.assertEqual(printed, documented_output("01-hello.c"))


def lines_of(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


class DocumentsTest(unittest.TestCase):
    """The code in docs/embedding.md and the pages below is code that a test compiles."""

    def sources(self):
        folders = [EXAMPLES, SOURCE / "tests" / "examples", SOURCE / "tests" / "hosts"]
        paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".c", ".cpp", ".py")]
        return ["\n".join(lines_of(path.read_text(encoding="utf-8"))) for path in paths]

    def test_each_block_of_code_is_part_of_a_source_file(self):
        sources, found = self.sources(), 0
        for page in [SOURCE / "docs" / "embedding.md", *sorted((SOURCE / "docs" / "embedding").glob("*.md"))]:
            for block in re.findall(r"^```(?:c|cpp|python)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
                with self.subTest(page.name):
                    self.assertTrue(any("\n".join(lines_of(block)) in source for source in sources), block)
                found += 1
        self.assertGreaterEqual(found, 10)


class OpenClTest(unittest.TestCase):
    def test_the_example_for_any_device_prints_the_same_on_an_opencl_device(self):
        printed = output([BUILT / "05-device-c"], MGLU_BACKEND="opencl")
        self.assertEqual(printed, documented_output("05-device.c"))


class FileTest(FolderTest):
    """Example 03 on the outputs of mglu pack."""

    def setUp(self):
        super().setUp()
        self.mglu = BUILD / "tools" / "mglu"

    def file_example(self, *arguments):
        return output([BUILT / "03-file-c", *arguments])

    def test_a_packed_file_and_a_gguf_file_have_the_layers_and_results_of_the_checkpoint(self):
        for name in ("packed.safetensors", "packed.gguf"):
            with self.subTest(name):
                packed = self.folder / name
                output([self.mglu, "pack", MODEL / "model.safetensors", packed])
                self.assertEqual(self.file_example(packed), documented_output("03-file.c"))

    def test_a_whole_block_gives_the_result_of_mglu_run(self):
        ones = {"x": safetensors.tensor("F32", [1, 128], [1] * 128)}
        safetensors.write(self.folder / "x.safetensors", ones)
        result = self.folder / "y.safetensors"
        output([self.mglu, "run", MODEL, "--layer", "model.layers.1.mlp", "--backend", "cpu",
                "--x", f"{self.folder}/x.safetensors:x", "--out", f"{result}:y"])
        y = safetensors.values(safetensors.read(result)[0]["y"])
        expected = "model.layers.1.mlp of ones: y = " + " ".join(f"{value:.4f}" for value in y[:4]) + " ..."
        self.assertEqual(self.file_example(MODEL, "model.layers.1.mlp").splitlines()[-1], expected)

    def test_a_file_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(AssertionError, "(?s)status 1.*io: .*/missing.*No such file"):
            self.file_example(self.folder / "missing")


class MpiTest(FolderTest):
    """Where OpenMPI is the MPI, its variables let root start more processes than there are CPUs."""

    OPENMPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}

    def test_any_number_of_ranks_gives_the_result_within_its_bound(self):
        packed = self.folder / "packed.safetensors"
        output([BUILD / "tools" / "mglu", "pack", MODEL / "model.safetensors", packed])
        expected = documented_output("mpi/main.c")
        for ranks in (1, 2, 4):
            with self.subTest(ranks=ranks):
                printed = output(["mpirun", "-n", ranks, BUILT / "mpi-layer", packed, "model.layers.0.mlp"],
                                 MGLU_BACKEND="cpu", **self.OPENMPI)
                first = f"{ranks} ranks, 512 rows, of which rank 0 has {512 // ranks}\n"
                self.assertEqual(printed, first + expected.split("\n", 1)[1])
        self.assertEqual(first + expected.split("\n", 1)[1], expected)


class InstalledTest(FolderTest):
    """The compile lines, with the installed library, in a copy of the installed examples."""

    def setUp(self):
        super().setUp()
        output(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", self.folder / "root"])
        found = next(self.folder.rglob("mglu.pc"))
        libraries = str(next(self.folder.rglob("libmglu.so")).parent)
        self.here = self.folder / "examples"
        shutil.copytree(next(self.folder.rglob("01-hello.c")).parent, self.here)
        self.variables = {"PKG_CONFIG_PATH": str(found.parent), "PKG_CONFIG_SYSROOT_DIR": str(self.folder / "root"),
                          "LIBRARY_PATH": libraries, "LD_LIBRARY_PATH": libraries, "MGLU_BACKEND": "cpu"}

    def compile(self, name):
        """Runs the compile line in the folder of the example; the program that it makes."""
        (line,) = compile_lines(name)
        folder = (self.here / name).parent
        output(["sh", "-c", f"cd '{folder}' && {line}"], **self.variables)
        return folder / re.search(r"-o (\S+)", line)[1]

    def test_each_compile_line_makes_a_program_that_prints_what_its_comment_says(self):
        names = examples(".c", ".cpp")
        self.assertGreaterEqual(len(names), 7)
        for name in names:
            with self.subTest(name):
                printed = output([self.compile(name), *arguments(name)], **self.variables)
                self.assertEqual(printed, documented_output(name))

    @unittest.skipUnless(shutil.which("mpicc"), "no mpicc")
    def test_the_compile_line_of_the_mpi_example_makes_a_program(self):
        self.assertTrue(self.compile("mpi/main.c").exists())


if __name__ == "__main__":
    unittest.main()
