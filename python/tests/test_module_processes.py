# SPDX-License-Identifier: MIT
"""mglu.torch.MGLU in two processes over gloo, by DistributedDataParallel and by FSDP."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="PyTorch was not found; tools/test python installs it")

distributed = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without "
                                                                             "torch.distributed")

# What both processes and the test run: a block, its batch, and the loss.
COMMON = """
import sys, torch
from mglu.torch import MGLU, MLP

def make():
    torch.manual_seed(1)
    block = MLP(MGLU(32, 48, 3, bias=True, top_k=2), torch.nn.Linear(48, 32))
    return block, torch.randn(8, 32)

def loss_of(block, x):
    return block(x).square().mean()

def steps(block, x, optimiser):
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(block, x).backward()
        optimiser.step()
"""
PROCESS = COMMON + """
folder, rank, kinds = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
if "fsdp" in kinds:
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
for kind in kinds:
    block, x = make()
    if kind == "ddp":
        module = torch.nn.parallel.DistributedDataParallel(block)
    elif kind == "fully_shard":
        module = fully_shard(block, mesh=torch.distributed.init_device_mesh("cpu", (2,)))
    else:
        module = FullyShardedDataParallel(block, device_id=torch.device("cpu"), use_orig_params=True)
    steps(module, x[4 * rank:4 * rank + 4], torch.optim.SGD(module.parameters(), 0.5))
    if kind == "fsdp":
        with FullyShardedDataParallel.summon_full_params(module):
            state = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    else:
        state = {name: getattr(tensor, "full_tensor", lambda: tensor)() for name, tensor in block.state_dict().items()}
    torch.save(state, f"{folder}/{kind}{rank}")
torch.distributed.destroy_process_group()
"""


def kinds():
    try:
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except (ImportError, ValueError):  # the latter from torch 1.13 on Python 3.11
        return ["ddp"]
    return ["ddp", "fsdp", "fully_shard"]


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """By kind, the parameters that each process has in the end."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "process.py"
    script.write_text(PROCESS)
    processes = [subprocess.Popen([sys.executable, script, folder, str(rank), *kinds()]) for rank in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    return {kind: [torch.load(folder / f"{kind}{rank}") for rank in range(2)] for kind in kinds()}


@distributed
@pytest.mark.parametrize("kind", ["ddp", "fsdp", "fully_shard"])
def test_two_processes_train_as_one(kind, states):
    """Each has half of the batch; after three steps the parameters are those of one process with the whole batch."""
    if kind not in states:
        pytest.skip("torch.distributed.fsdp.fully_shard, and FSDP on CPUs, need torch 2.6 or later")
    names = {}
    exec(COMMON, names)
    block, x = names["make"]()
    start = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    names["steps"](block, x, torch.optim.SGD(block.parameters(), 0.5))
    first, second = states[kind]
    for name, tensor in block.state_dict().items():
        assert not torch.equal(tensor, start[name])
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], tensor, rtol=1e-4, atol=1e-6), name
