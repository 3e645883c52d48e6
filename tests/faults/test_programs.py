# SPDX-License-Identifier: MIT
"""The k-th failure, for every k, of every function of shim.h, in every command of the program.

    test_programs.py SHIM [MOST]     at most about MOST failures of each series

A run either ends with status 0 and the output of an undisturbed one, or with status 1 and a text that names the reason;
a file is written completely or is as before, and no other file is left. Needs what tests/programs/harness.py needs.
"""

import concurrent.futures
import ctypes
import json
import os
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "programs"))
import harness
import safetensors

SHIM = pathlib.Path(sys.argv[1]).resolve()
MOST = int(sys.argv[2]) if len(sys.argv) > 2 else None
H, D, MASKS, VOCABULARY = 16, 32, 2, 256
OLDER = b"older"


class Fault(ctypes.Structure):
    """struct fault of shim.h"""

    _fields_ = [("name", ctypes.c_char_p), *((name, ctypes.c_int) for name in ("kind", "error", "persists", "benign"))]

    def names_reason(self, text):
        return (b"memory" if self.name.startswith(b"m") else os.strerror(self.error).encode()).lower() in text.lower()


def read_faults():
    """The table of the shim, without the end."""
    table = ctypes.POINTER(Fault)(Fault.in_dll(ctypes.CDLL(str(SHIM)), "faults"))
    count = next(i for i in range(100) if not table[i].name)
    return [table[i] for i in range(count)]


def numbers(*shape):
    count = 1
    for size in shape:
        count *= size
    return safetensors.tensor("F32", shape, [(i * 37 % 61 - 30) / 64 for i in range(count)])


def write_model(folder):
    """A language model of one layer, as a checkpoint."""
    folder.mkdir()
    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": numbers(VOCABULARY, H),
        "model.norm.weight": numbers(H),
        layer + "input_layernorm.weight": numbers(H),
        layer + "post_attention_layernorm.weight": numbers(H),
        layer + "mlp.up_proj.weight": numbers(D, H),
        layer + "mlp.up_proj.mask": numbers(MASKS, D, H),
        layer + "mlp.down_proj.weight": numbers(H, D),
        **{layer + "self_attn.%s_proj.weight" % name: numbers(H, H) for name in "qkvo"},
    }
    safetensors.write(folder / "model.safetensors", tensors, {"format": "pt"})
    config = json.loads((harness.MODEL / "config.json").read_text())
    config.update(hidden_size=H, intermediate_size=D, num_hidden_layers=1, num_attention_heads=2,
                  num_key_value_heads=2, max_position_embeddings=32, num_masks=MASKS)
    (folder / "config.json").write_text(json.dumps(config))


def write_inputs(folder):
    write_model(folder / "checkpoint")
    for source in ("checkpoint", "checkpoint/model.safetensors"):
        target = folder / ("packed" + pathlib.Path(source).suffix)
        result = harness.run("pack", folder / source, target)
        assert result.returncode == 0, result.stderr
    safetensors.write(folder / "x.safetensors", {"x": numbers(3, H)})
    (folder / "text").write_bytes(b"The quick brown fox")


# Command: its arguments; {} is the folder of the inputs, and outputs are relative to the current folder.
ON_CPU = ["--backend", "cpu", "--threads", "1"]
COMMANDS = {
    "pack a file": ["pack", "{}/checkpoint/model.safetensors", "output"],
    "pack a model": ["pack", "--dtype", "q8_0", "{}/checkpoint", "output"],
    "inspect": ["inspect", "{}/packed.safetensors"],
    "run": ["run", "{}/packed.safetensors", "--layer", "model.layers.0.mlp", "--x", "{}/x.safetensors:x", "--out",
            "output:y", *ON_CPU],
    "perplexity": ["perplexity", "{}/packed", "--text", "{}/text", "--json", *ON_CPU],
    "generate": ["generate", "{}/packed", "--prompt", "The", "-n", "3", *ON_CPU],
}
WRITES_A_FILE = ("pack a file", "run")  # over an older one


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stable(text):
    """Standard output without times, and without the processor's name, which is read where it can be."""
    return [line for line in text.splitlines() if b"tokens_per_second" not in line and b"device" not in line]


class Series:
    """All runs of one command."""

    def __init__(self, name, inputs, scratch):
        self.name, self.scratch = name, scratch
        self.arguments = [argument.replace("{}", str(inputs)) for argument in COMMANDS[name]]
        self.before = {"output": OLDER} if name in WRITES_A_FILE else {}
        self.usual = self.run({})
        assert self.usual[0].returncode == 0, (name, self.usual[0].stderr)
        assert self.usual[2] == 0, "%s: %s was not loaded" % (name, SHIM)

    def run(self, environment):
        """The result, what it left in its folder, and how many calls failed (None: it was ended before it could say)."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        work, hits = folder / "work", folder / "hits"
        work.mkdir()
        for name, data in self.before.items():
            (work / name).write_bytes(data)
        result = harness.run(*self.arguments, cwd=work, timeout=60,
                             env={"LD_PRELOAD": str(SHIM), "MGLU_FAULT_HITS": str(hits), **environment})
        found = content(work), int(hits.read_text()) if hits.exists() else None
        shutil.rmtree(folder)
        return (result, *found)

    def disturbed(self, fault, number):
        """Whether a call failed, and what is wrong then, or None."""
        result, files, hits = self.run({"MGLU_FAULT": "%s:%d" % (fault.name.decode(), number)})
        return hits != 0, hits != 0 and self.judge(fault, result, files) or None

    def judge(self, fault, result, files):
        usual, complete, _ = self.usual
        said = " ".join(result.stderr.decode(errors="replace").split())
        if result.returncode < 0:
            return "ended by signal %d" % -result.returncode
        if set(files) - set(complete) - set(self.before):
            return "left files behind: %s" % sorted(files)
        if any(data not in (complete.get(name), self.before.get(name)) for name, data in files.items()):
            return "an output is torn"
        if result.returncode == 0:
            if files != complete:
                return "status 0 without the complete output"
            return None if stable(result.stdout) == stable(usual.stdout) else "status 0 with another text"
        if result.returncode != 1:
            return "status %d: %s" % (result.returncode, said)
        if fault.benign:
            return "did not go on: " + said
        return None if fault.names_reason(result.stderr) else "does not name the reason: " + said

    def numbers(self, fault):
        """The calls that are to fail: all of them, or about MOST."""
        if MOST is None:
            return range(1, 1 << 30)
        beyond = 1
        single = next(f for f in FAULTS if f.kind == fault.kind)
        while beyond < 1 << 20 and self.disturbed(single, beyond)[0]:
            beyond *= 2
        return range(1, 1 << 30, 1 + beyond // 2 // MOST)

    def try_fault(self, fault, pool):
        """(points, clean)"""
        points = clean = 0
        numbers, at_once = iter(self.numbers(fault)), os.cpu_count() or 1
        while True:
            chosen = [next(numbers) for _ in range(at_once)]
            for number, (hit, wrong) in zip(chosen, pool.map(lambda n: self.disturbed(fault, n), chosen)):
                if not hit:
                    return points, clean
                points, clean = points + 1, clean + (wrong is None)
                if wrong and points - clean <= 10:
                    print("%s, %s %d: %s" % (self.name, fault.name.decode(), number, wrong), flush=True)


FAULTS = read_faults()


def main():
    total = [0, 0]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as holder, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        inputs, scratch = pathlib.Path(holder) / "inputs", pathlib.Path(holder) / "scratch"
        inputs.mkdir()
        scratch.mkdir()
        write_inputs(inputs)
        for name in COMMANDS:
            series = Series(name, inputs, scratch)
            counts = [series.try_fault(fault, pool) for fault in FAULTS]
            points, clean = (sum(column) for column in zip(*counts))
            print("%s: %d failure points, %d clean" % (name, points, clean), flush=True)
            total = [total[0] + points, total[1] + clean]
    print("faults in the programs: %d failure points, %d clean" % tuple(total))
    return total[0] == 0 or total[0] != total[1]


if __name__ == "__main__":
    sys.exit(main())
