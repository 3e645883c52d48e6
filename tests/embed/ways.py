# SPDX-License-Identifier: MIT
"""Every way to find the libraries and to link a program with them, in C11 and C++17, without a warning.

Needs MGLU_BUILD and MGLU_SOURCE, the folders; MGLU_CC and MGLU_CXX, the compilers (no C++ if empty); MGLU_WRAPPER, what
starts programs (empty on the machine itself). Ways that the build or this machine lacks are skipped. Arguments: names of tests.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import unittest

BUILD, SOURCE = (pathlib.Path(os.environ[name]) for name in ("MGLU_BUILD", "MGLU_SOURCE"))
CC, CXX, WRAPPER = (shlex.split(os.environ[name]) for name in ("MGLU_CC", "MGLU_CXX", "MGLU_WRAPPER"))
EMBED = SOURCE / "tests" / "embed"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
COMPILE = {"c": [*CC, "-std=c11", *WARNINGS, EMBED / "consumer.c"]}
if CXX:
    COMPILE["c++"] = [*CXX, "-std=c++17", *WARNINGS, "-x", "c++", EMBED / "consumer.c", "-x", "none"]
# The caller's settings of the library do not reach the tests.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MGLU_")}
RIGHT = "y = -12.9805 13.9872: right\n"


def run(command, environment=None):
    return subprocess.run([str(word) for word in command], env={**ENVIRONMENT, **(environment or {})}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def must(command, environment=None):
    result = run(command, environment)
    if result.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))}\n{result.stdout}")
    return result.stdout


def pkg_config(folder, *options, sysroot=""):
    environment = {"PKG_CONFIG_LIBDIR": str(folder), "PKG_CONFIG_SYSROOT_DIR": str(sysroot)}
    return shlex.split(must(["pkg-config", *options, "mglu-io", "mglu"], environment))


class Installation:
    """What `meson install` makes of a build, in a folder that it was not configured for."""

    def __init__(self, build, root):
        self.root = root
        must(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root])
        self.libraries = next(root.rglob("mglu.pc")).parent.parent
        self.prefix = next(root.rglob("include")).parent

    def flags(self, *options):
        return pkg_config(self.libraries / "pkgconfig", *options, sysroot=self.root)

    def has(self, name):
        return (self.libraries / name).exists()

    def without_shared(self):
        """As a build with -Ddefault_library=static installs it, except that pkg-config is asked for --static."""
        for file in self.libraries.glob("lib*.so*"):
            file.unlink()
        return self


class ConsumerTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_consumer(self, program, libraries="", **settings):
        return run([*WRAPPER, program], {"MGLU_BACKEND": "cpu", "LD_LIBRARY_PATH": str(libraries), **settings}).stdout

    def compile(self, source, *options):
        """Builds a Meson project."""
        built = self.folder / "built"
        must(["meson", "setup", built, source, *options], {"CC": shlex.join(CC), "CXX": shlex.join(CXX)})
        must(["ninja", "-C", built])
        return built


class WaysTest(ConsumerTest):
    def install(self, library):
        installation = Installation(BUILD, self.folder / "root")
        if not installation.has(library):
            self.skipTest(f"this build has no {library}: see default_library")
        return installation

    def need_cmake(self):
        if not shutil.which("cmake"):
            self.skipTest("cmake was not found: install cmake")

    def build_and_run(self, flags, libraries=""):
        for language, command in COMPILE.items():
            with self.subTest(language=language):
                program = self.folder / f"consumer-{language}"
                must([*command, "-o", program, *flags])
                self.assertEqual(self.run_consumer(program, libraries), RIGHT)

    def test_pkg_config_shared(self):
        installation = self.install("libmglu.so")
        self.build_and_run(installation.flags("--cflags", "--libs"), installation.libraries)

    def test_pkg_config_static(self):
        installation = self.install("libmglu.a").without_shared()
        flags = installation.flags("--static", "--cflags")
        self.assertEqual([flag for flag in flags if not flag.startswith("-I")], [], "flags that change the compilation")
        self.build_and_run(installation.flags("--static", "--cflags", "--libs"))

    def test_fully_static(self):
        installation = self.install("libmglu.a").without_shared()
        self.build_and_run(["-static", *installation.flags("--static", "--cflags", "--libs")])
        for backend in ("opencl", "cuda"):
            printed = self.run_consumer(self.folder / "consumer-c", MGLU_BACKEND=backend)
            self.assertRegex(printed, r"no_device: .*(linked statically|built without)")
        self.assertEqual(self.run_consumer(self.folder / "consumer-c", MGLU_BACKEND="auto"), RIGHT)

    def test_uninstalled(self):
        flags = pkg_config(BUILD / "meson-uninstalled", "--static", "--cflags", "--libs")
        self.build_and_run(flags, f"{BUILD / 'backends'}:{BUILD / 'common' / 'io'}")

    def test_cmake_shared(self):
        installation = self.install("libmglu.so")
        self.build_with_cmake(installation)

    def test_cmake_static(self):
        installation = self.install("libmglu.a")
        self.build_with_cmake(installation, "-DMGLU_USE_STATIC_LIBS=ON")
        printed = must(["ldd", self.folder / "built" / "consumer-c"])
        self.assertNotIn("libmglu", printed)

    def build_with_cmake(self, installation, *options):
        self.need_cmake()
        project = self.folder / "project"
        shutil.copytree(EMBED / "cmake", project)
        shutil.copy(EMBED / "consumer.c", project / "consumer.c")
        shutil.copy(EMBED / "consumer.c", project / "consumer.cpp")
        built = self.folder / "built"
        must(["cmake", "-S", project, "-B", built, f"-DCMAKE_PREFIX_PATH={installation.prefix}", *options,
              *(f"-DCMAKE_{language}_FLAGS={' '.join(WARNINGS)}" for language in ("C", "CXX"))],
             {"CC": shlex.join(CC), "CXX": shlex.join(CXX)})
        must(["cmake", "--build", built])
        for language in COMPILE:
            self.assertEqual(self.run_consumer(built / f"consumer-{language}"), RIGHT)

    def test_cmake_refuses_another_version(self):
        self.need_cmake()
        script = self.folder / "version.cmake"
        script.write_text(f"include({BUILD}/packaging/cmake/mgluConfigVersion.cmake)\n"
                          "message(STATUS ${PACKAGE_VERSION_COMPATIBLE})\n")
        for asked, accepted in (("0.1", "TRUE"), ("0.1.0", "TRUE"), ("0.2", "FALSE"), ("0.1.9", "FALSE"),
                                ("0.10", "FALSE"), ("1", "FALSE")):
            with self.subTest(asked=asked):
                printed = must(["cmake", f"-DPACKAGE_FIND_VERSION={asked}", "-P", script])
                self.assertEqual(printed, f"-- {accepted}\n")


class SubprojectTest(ConsumerTest):
    def test_meson_subproject_with_the_flags_for_debugging(self):
        host = self.folder / "host"
        shutil.copytree(EMBED / "subproject", host)
        for name in ("consumer.c", "consumer.cpp"):
            shutil.copy(EMBED / "consumer.c", host / name)
        (host / "subprojects").mkdir()
        (host / "subprojects" / "mglu").symlink_to(SOURCE)
        built = self.compile(host)
        for language in COMPILE:
            self.assertEqual(self.run_consumer(built / f"consumer-{language}"), RIGHT)


class NoLoaderTest(ConsumerTest):
    def test_the_program_computes_and_says_why_there_are_no_drivers(self):
        built = self.compile(SOURCE, "-Ddefault_library=static", "-Dprefer_static=true", "-Dc_link_args=-static",
                             "-Dcuda=disabled", "-Dtests=disabled", "-Dbench=disabled")
        program = built / "tools" / "mglu"
        layer = SOURCE / "tests" / "golden" / "masks-1-silu-f32.safetensors"
        arguments = ["run", layer, "--layer", "mlp", "--x", f"{layer}:golden.x", "--check", f"{layer}:golden.y"]
        self.assertIn("linked statically", must([program, "devices"]))
        for backend in ("auto", "cpu", "ref"):
            must([program, *arguments], {"MGLU_BACKEND": backend})
        for backend in ("opencl", "cuda"):
            result = run([program, *arguments], {"MGLU_BACKEND": backend})
            self.assertEqual(result.returncode, 1, result.stdout)
            self.assertIn("not available", result.stdout)
        installation = Installation(built, self.folder / "root")
        must([*COMPILE["c"], "-o", self.folder / "consumer", *installation.flags("--cflags", "--libs")])
        self.assertEqual(self.run_consumer(self.folder / "consumer"), RIGHT)


if __name__ == "__main__":
    unittest.main()
