# SPDX-License-Identifier: MIT
"""The scripts of bench/ that time PyTorch beside mglu, on small layers."""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="the package torch was not found; tools/test python installs it")
BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
if not BENCH.exists():
    pytest.skip("no source tree: bench was not found", allow_module_level=True)


def lines_of(script, *arguments):
    command = [sys.executable, BENCH / script, "--h", "32", "--d", "48", "--threads", "1", "--rounds", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_layers_beside_torch():
    head, columns, *rows = lines_of("python.py", "--masks", "1", "3", "--batch", "1", "4", "--copies", "2")
    assert "h 32, d 48, 1 threads, 2 rounds of clock time, bf16" in head
    assert [line.split()[:2] for line in rows] == [["1", "1"], ["1", "4"], ["3", "1"], ["3", "4"]]
    assert all(float(word) > 0 for line in rows for word in line.split())


def test_training_beside_torch():
    lines = lines_of("train.py", "--tokens", "8", "--masks", "1", "2", "--cpu-time")
    assert lines[0].endswith("1 threads, 2 rounds of CPU time; 8 tokens")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:]]
    names = ["SwiGLU", *(f"{what}, n_m = {masks}" for masks in (1, 2)
                         for what in ("naive", "MGLU, torch", "MGLU, kernels"))]  # fmt: skip
    assert [row[:2] for row in rows] == [[dtype, name] for dtype in ("f32", "bf16") for name in names]
    for row in rows:
        over, by_count = map(float, row[4:6])
        masks = int(row[1][-1]) if "n_m" in row[1] else 1
        assert over > 0 and by_count == pytest.approx(over / ((1 + masks) / 2), abs=0.01)
