# SPDX-License-Identifier: MIT
"""Tensors of PyTorch, the operator for torch.compile, and tensor parallelism."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import Problem, assert_within

torch = pytest.importorskip("torch", reason="PyTorch was not found; tools/test python installs it")

import mglu  # noqa: E402
import mglu.torch  # noqa: E402

PROBLEM = Problem(48, 40, masks=3, outputs=48, biases=True)
LAYER = PROBLEM.layer()
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
has_operator = pytest.mark.skipif(mglu.torch.operator is None, reason="operators need torch 2.4 or later")


def tensor(*shape, dtype="f32"):
    return torch.from_numpy(PROBLEM.x(*shape)).to(DTYPES[dtype])


def exact(x):
    return x.to(torch.float64).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_dtype", ["f32", "bf16", "q8_0"])
def test_tensors_of_every_dtype(dtype, weight_dtype):
    x = tensor(5, dtype=dtype)
    y = PROBLEM.layer(weight_dtype)(x)
    assert y.dtype == x.dtype
    name = str(x.dtype).split(".")[-1]
    expected, tolerance = PROBLEM.reference(weight_dtype).forward(exact(x), dtype=name)
    assert_within(exact(y), expected, tolerance)


def test_weights_from_tensors():
    arrays = {name: torch.from_numpy(values) for name, values in PROBLEM.arrays.items()}
    x = tensor(3)
    assert torch.equal(mglu.Layer(mglu.Weights(**arrays))(x), LAYER(x))
    parameter = torch.nn.Parameter(arrays["weight"])
    assert torch.equal(mglu.Layer(mglu.Weights(**{**arrays, "weight": parameter.detach()}))(x), LAYER(x))


def test_rows_at_a_distance_and_out():
    x, wide = tensor(6, 2), torch.full((6, 60), 7.0)
    out = wide[:, 4:52]
    assert LAYER(x[:, 1], out) is out
    assert torch.equal(out, LAYER(x[:, 1].contiguous()))
    assert torch.all(wide[:, :4] == 7) and torch.all(wide[:, 52:] == 7)
    with pytest.raises(mglu.InvalidArgument, match="make a contiguous copy"):
        LAYER(tensor(48).T)


def test_out_may_be_of_another_library():
    x, out = tensor(3), np.empty((3, 48), np.float32)
    assert np.array_equal(LAYER(x, out), LAYER(x).numpy())


def test_routing_by_tensors():
    layer, x = PROBLEM.layer(top_k=1), tensor(2)
    ids, weights = torch.tensor([[2], [0]], dtype=torch.int32), torch.ones(2, 1)
    expected, tolerance = PROBLEM.reference().forward(exact(x), ids=ids.long().numpy(), weights=exact(weights))
    assert_within(layer(x, ids=ids, weights=weights).numpy(), expected, tolerance)
    with pytest.raises(mglu.InvalidArgument, match="ids is torch.int64; expected int32"):
        layer(x, ids=ids.long(), weights=weights)


def test_a_tensor_that_requires_grad_is_refused_where_gradients_are_taken():
    x = tensor(2).requires_grad_()
    with pytest.raises(mglu.InvalidArgument, match="torch.no_grad"):
        LAYER(x)
    with torch.no_grad():
        assert LAYER(x).shape == (2, 48)


def test_the_module_computes_as_the_layer():
    module, x, residual = mglu.torch.GLU(LAYER), tensor(2, 3), tensor(2, 3)
    assert torch.equal(module(x, residual), LAYER(x, residual=residual))
    assert "48 -> 48" in repr(module)


@has_operator
@torch.no_grad()
def test_torch_compile_keeps_one_graph():
    module, x = mglu.torch.GLU(PROBLEM.layer("bf16")), tensor(4, dtype="bf16")
    graphs = []

    def backend(graph, inputs):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    compiled = torch.compile(lambda x: module(x * 2, x) + 1, backend=backend, fullgraph=True)
    assert torch.equal(compiled(x), module(x * 2, x) + 1)
    assert len(graphs) == 1 and any("mglu.forward" in target for target in graphs[0])


@has_operator
def test_the_operator_keeps_the_rules_of_torch():
    module, x = mglu.torch.GLU(LAYER), tensor(2, 3)
    torch.library.opcheck(torch.ops.mglu.forward.default, (x, module.number))
    torch.library.opcheck(torch.ops.mglu.forward.default, (x, module.number, x))


@has_operator
def test_export():
    module, x = mglu.torch.GLU(LAYER), tensor(4)
    program = torch.export.export(module, (x,))
    assert torch.equal(program.module()(x), LAYER(x))


PROCESS = """
import sys, numpy, torch, mglu, mglu.parallel, mglu.torch
folder, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
file = mglu.File(f"{folder}/layer.safetensors")
rows = mglu.parallel.rows_of(rank, 2, 40)
module = mglu.torch.TensorParallel(file.layer("m", rows=rows, activation="silu"))
x = torch.from_numpy(numpy.load(f"{folder}/x.npy"))
numpy.save(f"{folder}/y{rank}.npy", module(x, x).numpy())
numpy.save(f"{folder}/h{rank}.npy", module(x.half(), x.half()).numpy())
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_processes_share_a_layer(tmp_path):
    x = PROBLEM.x(5)
    np.save(tmp_path / "x.npy", x)
    mglu.save(tmp_path / "layer.safetensors", {"m": PROBLEM.arrays})
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    processes = [subprocess.Popen([sys.executable, str(script), str(tmp_path), str(rank)]) for rank in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    for letter, rows, dtype in (("y", x, "float32"), ("h", x.astype(np.float16), "float16")):
        y = [np.load(pathlib.Path(tmp_path, f"{letter}{rank}.npy")) for rank in range(2)]
        assert np.array_equal(y[0], y[1])
        rows = rows.astype(float)
        assert_within(y[0], *PROBLEM.reference().forward(rows, residual=rows, dtype=dtype))
