# SPDX-License-Identifier: MIT
"""The package against the headers, the documents and the type checker."""

import ctypes
import doctest
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import mglu
from mglu import _library, _structs

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ROOT / "include"
needs_sources = pytest.mark.skipif(not HEADERS.exists(), reason="no source tree: include was not found")


@needs_sources
def test_structs_are_those_of_the_headers(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler was found")
    lines = ["#include <mglu/mglu.h>", "#include <mglu/io.h>"]
    for struct in _structs.ALL:
        name = struct.c_name
        lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(struct)}, "sizeof {name}");')
        for field, kind in struct._fields_:
            where = f"offsetof({name}, {field}) == {getattr(struct, field).offset}"
            size = f"sizeof((({name} *)0)->{field}) == {ctypes.sizeof(kind)}"
            lines.append(f'_Static_assert({where} && {size}, "{name}.{field}");')
    source = tmp_path / "structs.c"
    source.write_text("\n".join(lines) + "\n")
    command = [compiler, "-std=c11", f"-I{HEADERS}", "-fsyntax-only", source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_sources
def test_enums_are_those_of_the_headers():
    text = "".join(header.read_text() for header in sorted((HEADERS / "mglu").glob("*.h")))
    values = {name: int(value) for name, value in re.findall(r"^    MGLU_(\w+) = (\d+)", text, re.MULTILINE)}
    flags = {name: 1 << int(bit) for name, bit in re.findall(r"^    MGLU_(\w+) = 1u << (\d+)", text, re.MULTILINE)}
    assert [values[f"DTYPE_{name.upper()}"] for name in _structs.DTYPES] == list(_structs.DTYPES.values())
    assert [values[f"FILE_{name}"] for name in _structs.FILE_DTYPES] == list(range(len(_structs.FILE_DTYPES)))
    for name in ("MASK_WORDS", "MASK_BYTES", "MASK_LOGITS_F32", "MASK_LOGITS_F16", "MASK_LOGITS_BF16", "MASK_BITS",
                 "KIND_MASKED", "KIND_PLAIN"):
        assert getattr(_structs, name) == values[name]
    assert (_structs.FORMAT_SAFETENSORS, _structs.FORMAT_GGUF) == (values["FILE_FORMAT_SAFETENSORS"],
                                                                   values["FILE_FORMAT_GGUF"])
    for name in [name for name in vars(_structs) if re.match("WEIGHTS_|LAYER_|TRAIN_|FILE_(?!DTYPES)", name)]:
        assert getattr(_structs, name) == flags[name]


@needs_sources
def test_functions_are_those_of_the_headers():
    text = "".join(header.read_text() for header in sorted((HEADERS / "mglu").glob("*.h")))
    for name, (_, arguments) in {**_library._CORE, **_library._IO}.items():
        declared = re.search(rf"^MGLU_API [^;(]*\b{name}\(([^;]*)\);", text, re.MULTILINE)
        assert declared, f"{name} is in no header"
        assert len(arguments) == (0 if declared[1] == "void" else declared[1].count(",") + 1), name


@needs_sources
def test_the_document_is_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False, optionflags=flags)
    assert tried > 20 and failed == 0


@needs_sources
def test_the_readme_is_right():
    code, output = re.search(r"^```python\n(.*?)^```\n.*?^```text\n(.*?)^```", (ROOT / "README.md").read_text(),
                             re.MULTILINE | re.DOTALL).groups()
    assert len(code.splitlines()) <= 6
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == output, done.stderr


def test_types_are_complete(tmp_path, monkeypatch):
    mypy = pytest.importorskip("mypy.api", reason="the package mypy was not found; tools/test python installs it")
    package = shutil.copytree(pathlib.Path(mglu.__file__).parent, tmp_path / "mglu")
    if importlib.util.find_spec("torch") is None:
        shutil.rmtree(package / "torch")
    monkeypatch.chdir(tmp_path)
    output, errors, status = mypy.run(["--strict", "--cache-dir=/dev/null", "mglu"])
    assert status == 0, output + errors
