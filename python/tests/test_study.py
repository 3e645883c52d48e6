# SPDX-License-Identifier: MIT
"""bench/study, in small."""

import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the package torch was not found; tools/test python installs it")
pytest.importorskip("tqdm", reason="the package tqdm was not found; tools/setup wheel installs it")
STUDY = pathlib.Path(__file__).resolve().parents[2] / "bench" / "study"
if not STUDY.exists():
    pytest.skip("no source tree: bench/study was not found", allow_module_level=True)
sys.path.append(str(STUDY))
import corpus  # noqa: E402
import summary  # noqa: E402
from settings import SETTINGS  # noqa: E402
from training import Training, train  # noqa: E402
from variants import VARIANTS  # noqa: E402

if not corpus.FOLDER.exists():
    pytest.skip(f"{corpus.FOLDER} was not found: it is Debian's", allow_module_level=True)
SMALL = SETTINGS["small"]


@pytest.fixture(scope="module")
def text():
    return corpus.load()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models are so small that threads would mostly wait for each other; and figures are compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def study(*arguments):
    return subprocess.run([sys.executable, STUDY, *map(str, arguments)], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip


def test_held_out_text_is_not_in_the_training_text(text):
    known = corpus.runs_of_words(text.held_out.decode())
    assert len(text.train) > 5 * len(text.held_out) and len(known) > 1000
    assert known.isdisjoint(run for part in text.train.decode().split("\n\n") for run in corpus.runs_of_words(part))


def test_a_folder_without_licences_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="expected MPL-2.0 and other licences, found no files"):
        corpus.load(tmp_path)


def test_variants_differ_in_the_block_alone(text):
    first, *others = (Training(text, SMALL, name, 1) for name in VARIANTS)
    rest = {name: value for name, value in first.model.named_parameters() if ".mlp." not in name}
    assert len(rest) == 2 + 4 * SMALL.layers
    for other in others:
        assert torch.equal(other.batch()[0], first.batch()[0])
        for name, value in rest.items():
            assert torch.equal(value, other.model.get_parameter(name)), name
    assert not torch.equal(first.batch()[0], Training(text, SMALL, "gelu", 2).batch()[0])


# Bits of a block: weights of 16, masks of 1, d = 48 and h = 32.
BITS = {"gelu": 2 * 16, "swiglu": 3 * 16, "swiglu-shared": 2 * 16, "swimglu-1": 2 * 16 + 1, "swimglu-8": 2 * 16 + 8,
        "swimglu-2-fixed": 2 * 16 + 2, "swimglu-4": 36, "swiglu-narrow": 36, "swimglu-4-wide": 48}  # fmt: skip


@pytest.mark.parametrize("name", BITS)
def test_bytes_of_a_block(text, name):
    assert Training(text, SMALL, name, 1).model.layers[0].mlp.bytes() == BITS[name] * 48 * 32 // 8


@pytest.mark.parametrize("name", ["swimglu-2", "swimglu-4-top-2"])
def test_masks_are_learned(text, name):
    training = Training(text, SMALL, name, 1)
    mask = training.model.layers[0].mlp.projection.mask
    before = mask > 0
    while training.step < SMALL.steps:
        training.advance()
    assert 0 < (before != (mask > 0)).double().mean() < 0.5
    assert 0.4 < training.result(name)["ones"][0] < 0.6


def test_fixed_masks_stay(text):
    training = Training(text, SMALL, "swimglu-2-fixed", 1)
    before = training.model.layers[0].mlp.projection.mask.clone()
    training.advance()
    assert torch.equal(before, training.model.layers[0].mlp.projection.mask)


class Interrupt(Exception):
    pass


def test_an_interrupted_run_ends_with_the_same_figures(text, tmp_path, monkeypatch):
    monkeypatch.setattr("training.CHECKPOINT_SECONDS", 0)
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    taken = []

    def stop(step, loss):
        taken.append(step)
        if step == 4 and taken.count(4) == 1:
            raise Interrupt

    train(folders[0], text, SMALL, "swimglu-2", 1, lambda *_: None)
    with pytest.raises(Interrupt):
        train(folders[1], text, SMALL, "swimglu-2", 1, stop)
    train(folders[1], text, SMALL, "swimglu-2", 1, stop)
    whole, parts = (json.loads((folder / "swimglu-2-1.json").read_text()) for folder in folders)
    assert taken == [0, 1, 2, 3, 4, 4, 5]
    assert whole["curve"] == parts["curve"] and whole["ones"] == parts["ones"]
    assert [path.name for path in folders[1].iterdir()] == ["swimglu-2-1.json"]


def test_one_command_makes_the_table(tmp_path):
    out = tmp_path / "out"
    command = ["run", out, "--setting", "small", "--variants", "swiglu", "swimglu-4"]
    done = study(*command, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["SwiGLU", "SwiMGLU, n_m = 4"]
    for line in lines[2:]:
        assert math.exp(4) < float(line.split("|")[3]) < 256, "perplexity: learned a little"
    files = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(files) == 5
    again = study(*command)
    assert (again.returncode, again.stdout) == (0, done.stdout), "runs that have ended are not repeated"
    assert files == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    other = study("run", out, "--setting", "medium")
    assert other.returncode == 1 and "its runs have another setting (layers" in other.stderr


def run_of(name, seed, nats):
    """Half the perplexity on the training text."""
    curve = [{"step": 1, "train_nats": nats - math.log(2), "held_out_nats": nats}]
    return {"variant": name, "seed": seed, "ffn_bytes": 1000, "parameters": 1, "cpu_seconds": 2.0 + seed,
            "ones": [0.5, 0.25], "curve": curve}  # fmt: skip


PERPLEXITIES = {"swiglu": (4, 6), "swimglu-4": (5, 7.5)}
STUDY_OF_TWO = {
    "setting": {"layers": 2, "steps": 1}, "date": "2000-01-01",
    "runs": [run_of(name, seed, math.log(value)) for name in PERPLEXITIES
             for seed, value in enumerate(PERPLEXITIES[name])],
}  # fmt: skip


def test_spread_is_over_seeds_and_differences_are_of_equal_seeds():
    held_out, trained = "6.250 | 1.768 | +1.250 ± 0.354", "3.125 | 0.884 | +0.625 ± 0.177"
    assert summary.table(STUDY_OF_TWO)[2:] == [
        "| SwiGLU | 1,000 | 5.000 | 1.414 |  | 2.500 | 0.707 |  | 1.00 | 23.7 |",
        f"| SwiMGLU, n_m = 4 | 1,000 | {held_out} | {trained} | 1.00 | 23.9 |",
    ]
    assert summary.ones_table(STUDY_OF_TWO)[2:] == ["| SwiMGLU, n_m = 4 | 0.500 | 0.250 |"]


def test_results_plots_and_the_document_are_written(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the package matplotlib was not found; tools/setup wheel installs it")
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    monkeypatch.setattr(summary, "DOCUMENT", tmp_path / "study.md")
    summary.DOCUMENT.write_text(f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n")
    kept = summary.keep(STUDY_OF_TWO)
    summary.write(STUDY_OF_TWO)
    text = summary.DOCUMENT.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "\n".join(summary.table(STUDY_OF_TWO)) in text
    assert f"[bench/results/{kept.name}]" in text and json.loads(kept.read_text()) == STUDY_OF_TWO
    for picture in ("study-curves.svg", "study-ones.svg"):
        assert "SwiMGLU, n_m = 4" in (tmp_path / picture).read_text()
