# SPDX-License-Identifier: MIT
"""Reading, writing and packing files."""

import gc
import json
import shutil

import numpy as np
import pytest
from conftest import Problem, assert_within

import mglu

MASKED = Problem(64, 96, masks=2, outputs=64)
PLAIN = Problem(64, 96, masks=0, outputs=64, biases=True)


@pytest.fixture
def path(tmp_path):
    """A file with a masked block, a plain block, and a projection."""
    projection = Problem(64, 8, masks=3, biases=True, router=True)
    layers = {"a.mlp": MASKED.arrays, "b.mlp": PLAIN.arrays, "c": projection.arrays}
    mglu.save(tmp_path / "model.safetensors", layers, activation="gelu_tanh", metadata={"note": "größe"})
    return tmp_path / "model.safetensors"


def test_what_was_saved_is_read(path):
    file = mglu.File(path)
    assert sorted(file.layers()) == ["a.mlp", "b.mlp", "c"]
    assert file.metadata()["note"] == "größe" and file.metadata()["mglu.activation"] == "gelu_tanh"
    assert file.tensors()["a.mlp.up_proj.mask_bits"] == mglu.TensorInfo("I32", (96, 2, 2))
    for name, problem in (("a.mlp", MASKED), ("b.mlp", PLAIN)):
        layer, x = file.layer(name), problem.x(3)
        assert layer.activation == "gelu_tanh"
        assert_within(layer(x), *problem.reference(activation="gelu_tanh").forward(x.astype(float)))


def test_a_layer_outlives_its_file(path):
    file = mglu.File(path, mmap=True)
    layer, x = file.layer("a.mlp"), MASKED.x(2)
    expected = layer(x)
    del file
    gc.collect()
    path.unlink()
    assert np.array_equal(layer(x), expected)


def test_tensors_are_arrays_of_the_file(path):
    tensor = mglu.File(path).tensor("a.mlp.up_proj.weight")
    gc.collect()
    assert np.array_equal(tensor, MASKED.arrays["weight"])
    with pytest.raises(ValueError, match="read-only"):
        tensor[0, 0] = 1
    with pytest.raises(KeyError, match="no.such"):
        mglu.File(path).tensor("no.such")


@pytest.mark.parametrize("name", ["packed.safetensors", "packed.gguf"])
@pytest.mark.parametrize("dtype", ["f16", "bf16", "q8_0", "q4_0"])
def test_packed_files(path, tmp_path, name, dtype):
    target = tmp_path / name
    done = []
    mglu.pack(path, target, dtype=dtype, activation="silu", progress=lambda *counts: done.append(counts))
    assert done[-1][0] == done[-1][1] > 0 or name.endswith("gguf")
    file, x = mglu.File(target), MASKED.x(3)
    assert file.weights("a.mlp").dtype == dtype
    assert_within(file.layer("a.mlp")(x), *MASKED.reference(dtype).forward(x.astype(float)))


def test_parts_of_a_packed_layer(path, tmp_path):
    mglu.pack(path, tmp_path / "packed.safetensors", dtype="q4_0")
    file, x = mglu.File(tmp_path / "packed.safetensors"), MASKED.x(3)
    parts = [file.layer("a.mlp", rows=rows, activation="silu") for rows in (slice(0, 32), slice(32, None))]
    y = sum(part(x).astype(float) for part in parts)
    assert_within(y.astype(np.float32), *MASKED.reference("q4_0").forward(x.astype(float)))


@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_packed_in_a_file_is_used_where_it_is(path, tmp_path, mmap):
    mglu.pack(path, tmp_path / "packed.safetensors", dtype="bf16")
    file, x = mglu.File(tmp_path / "packed.safetensors", mmap=mmap), MASKED.x(3)
    layer = file.layer("a.mlp", activation="silu")
    assert layer.weights.borrowed_bytes >= layer.weights.projection_bytes
    assert file.weights("a.mlp", dtype="f32").borrowed_bytes < layer.weights.borrowed_bytes
    del file
    gc.collect()
    assert_within(layer(x), *MASKED.reference("bf16").forward(x.astype(float)))


def test_packing_is_stopped_by_what_progress_raises(path, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mglu.pack(path, tmp_path / "out.safetensors", dtype="f16", progress=stop)
    assert not (tmp_path / "out.safetensors").exists()


def test_folders_and_the_order_of_fused_rows(tmp_path):
    arrays = PLAIN.arrays
    fused = np.concatenate([arrays["weight"], arrays["value_weight"]])
    mglu.save(tmp_path / "one.safetensors", {"m": {"weight": fused, "value_weight": fused}})
    folder = tmp_path / "model"
    folder.mkdir()
    write_fused(folder / "model.safetensors", fused, arrays["down"])
    with pytest.raises(mglu.InvalidArgument, match="halves|order"):
        mglu.File(folder).weights("m")
    expected = mglu.Layer(mglu.Weights(arrays["weight"], value_weight=arrays["value_weight"], down=arrays["down"]))
    x = PLAIN.x(2)
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    for file in (mglu.File(folder), mglu.File(folder / "model.safetensors", fused="halves")):
        assert np.array_equal(file.layer("m", activation="silu")(x), expected(x))
    mglu.pack(folder, folder, dtype="f16")
    assert mglu.File(folder).weights("m").dtype == "f16"


def write_fused(path, fused, down):
    """A safetensors file by hand: save() writes no fused matrices."""
    tensors = {"m.gate_up_proj.weight": fused, "m.down_proj.weight": down}
    header, data = {}, b""
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


WRONG = {
    "no file": (mglu.FileError, OSError, lambda path: mglu.File(path.parent / "none"), "No such file"),
    "no such layer": (mglu.InvalidArgument, ValueError, lambda path: mglu.File(path).weights("d"), "a.mlp"),
    "an unknown order": (mglu.InvalidArgument, ValueError, lambda path: mglu.File(path, fused="x"), "halves"),
    "an unknown array": (mglu.InvalidArgument, ValueError,
                         lambda path: mglu.save(path, {"m": {**MASKED.arrays, "bias": MASKED.x(1)}}), "'bias'"),
    "weights in integers": (mglu.InvalidArgument, ValueError,
                            lambda path: mglu.save(path, {"m": {**MASKED.arrays, "down": np.eye(96, dtype="i8")}}),
                            "m.down_proj.weight is int64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(path, name):
    kind, base, call, text = WRONG[name]
    with pytest.raises(kind, match=text) as caught:
        call(path)
    assert isinstance(caught.value, base)


def test_a_damaged_file_is_refused(path):
    shutil.copy(path, damaged := path.with_name("damaged.safetensors"))
    with open(damaged, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(mglu.CorruptFile, match="damaged.safetensors"):
        mglu.File(damaged)


def test_a_file_that_names_no_activation(tmp_path):
    mglu.save(tmp_path / "f.safetensors", {"m": MASKED.arrays})
    with pytest.raises(mglu.InvalidArgument, match="names no activation"):
        mglu.File(tmp_path / "f.safetensors").layer("m")


def test_gguf_of_the_gguf_package(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf was not found; tools/setup test installs it")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name, array in (("gate", "weight"), ("up", "value_weight"), ("down", "down")):
        writer.add_tensor(f"blk.0.ffn_{name}.weight", PLAIN.arrays[array])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file, x = mglu.File(tmp_path / "m.gguf"), PLAIN.x(2)
    expected = mglu.Layer(mglu.Weights(**{key: PLAIN.arrays[key] for key in ("weight", "value_weight", "down")}))
    assert np.array_equal(file.layer(file.layers()[0], activation="silu")(x), expected(x))
