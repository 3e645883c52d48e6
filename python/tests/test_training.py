# SPDX-License-Identifier: MIT
"""docs/training.md, in small: what its script trains gives PyTorch's perplexity on every backend of this machine."""

import copy
import json
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import mglu

torch = pytest.importorskip("torch", reason="the package torch was not found; tools/test python installs it")
pytest.importorskip("transformers", reason="the package transformers was not found; tools/setup wheel installs it")
import mglu.torch  # noqa: E402

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "training.md"
if not DOCUMENT.exists():
    pytest.skip("no source tree: docs/training.md was not found", allow_module_level=True)
if not pathlib.Path("/usr/share/common-licenses").exists():
    pytest.skip("/usr/share/common-licenses was not found: it is Debian's", allow_module_level=True)
SMALLER = {"steps, window = 600, 256": "steps, window = 40, 256", "lr=2e-3": "lr=2e-2",
           "hidden_size=128": "hidden_size=32", "intermediate_size=512": "intermediate_size=64",
           "num_hidden_layers=4": "num_hidden_layers=2"}  # fmt: skip
NATS = 1e-6  # per byte: docs/training.md
OWN_VARIABLES = ("MGLU_BACKEND", "MGLU_MAX_ISA", "MGLU_NUM_THREADS", "MGLU_LOG")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def program(*arguments):
    environment = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    done = subprocess.run([sys.executable, "-m", "mglu", *map(str, arguments)], capture_output=True, text=True,
                          env=environment, errors="replace", timeout=600)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), arguments
    return done.stdout


def devices():
    """Options of the program for each way of computing that this machine has."""
    found = {device["backend"]: device for device in json.loads(program("devices", "--json")) if device["available"]}
    yield "--backend", "ref"
    for isa in found["cpu"]["instruction_sets"]:
        yield "--backend", "cpu", "--threads", "1", "--max-isa", isa
    if "opencl" in found:
        yield "--backend", "opencl"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which the document's scripts were run, and their names."""
    code = "".join(blocks("python"))
    for whole, small in SMALLER.items():
        assert code.count(whole) == 1, whole
        code = code.replace(whole, small)
    folder, before, threads = tmp_path_factory.mktemp("training"), os.getcwd(), torch.get_num_threads()
    os.chdir(folder)
    torch.manual_seed(1)
    torch.set_num_threads(1)
    names = {}
    try:
        exec(compile(code, str(DOCUMENT), "exec"), names)
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    return folder, names


def nats_per_byte(names):
    return names["nats"].item() / (len(names["held_out"]) - 1)


def test_the_script_is_short():
    assert len([line for line in blocks("python")[0].splitlines() if line]) <= 20


def test_the_script_learns(trained):
    assert nats_per_byte(trained[1]) < math.log(256) - 0.5


def test_the_commands_of_the_document(trained, monkeypatch):
    folder, names = trained
    monkeypatch.chdir(folder)
    commands = [shlex.split(line) for line in blocks("sh")[-1].splitlines()]
    assert [command[:2] for command in commands] == [["mglu", "pack"], ["mglu", "perplexity"], ["mglu", "generate"]]
    _, said, text = (program(*command[1:]) for command in commands)
    figure = float(re.search(r"perplexity +([0-9.]+)", said)[1])
    assert figure == pytest.approx(math.exp(nats_per_byte(names)), rel=1e-4)
    assert text.startswith("You may convey ") and len(text) > 200


def measured(names, model, text):
    """Nats per byte of another model and text, by the document's script."""
    code = blocks("python")[1].replace('(folder / "MPL-2.0").read_bytes()', "text")
    scope = {**names, "model": model, "text": text.read_bytes()}
    exec(compile(code, str(DOCUMENT), "exec"), scope)
    return nats_per_byte(scope)


def stored_as(model, dtype):
    """A model whose feed-forward matrices are rounded as packing rounds them."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer in model.model.layers:
            for matrix in (layer.mlp.up_proj.weight, layer.mlp.down_proj.weight):
                matrix.copy_(torch.from_numpy(mglu.unpack_weights(mglu.pack_weights(matrix.float().numpy(), dtype))))
    return model


def test_perplexity_is_that_of_pytorch_on_every_device(trained, tmp_path):
    folder, names = trained
    text = tmp_path / "text"
    text.write_bytes(bytes(names["held_out"][:2000].tolist()))
    wanted = {}
    for dtype in ("f32", "bf16", "q4_0"):
        wanted[dtype] = measured(names, stored_as(names["model"], dtype), text)
        program("pack", folder / "model", tmp_path / dtype, "--dtype", dtype)
        for options in devices():
            said = json.loads(program("perplexity", tmp_path / dtype, "--text", text, "--json", *options))
            assert said["nll_nats_per_byte"] == pytest.approx(wanted[dtype], abs=NATS), (dtype, options)
    assert abs(wanted["q4_0"] - wanted["f32"]) > 10 * NATS, "rounding is not seen"


def test_a_routed_model_selects_as_many_masks_as_it_was_trained_with(trained, tmp_path):
    names = trained[1]
    torch.manual_seed(2)
    model = mglu.torch.replace_mlp(names["transformers"].LlamaForCausalLM(names["model"].config), n_masks=4, top_k=2)
    with torch.no_grad():
        for matrix in model.parameters():
            if matrix.dim() == 2:
                matrix.normal_(0, 0.3)
    model.save_pretrained(tmp_path / "model")
    text = tmp_path / "text"
    text.write_bytes(bytes(names["held_out"][:200].tolist()))
    said = json.loads(program("perplexity", tmp_path / "model", "--text", text, "--json", "--backend", "ref"))
    assert said["nll_nats_per_byte"] == pytest.approx(measured(names, model, text), abs=NATS)
