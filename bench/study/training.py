# SPDX-License-Identifier: MIT
"""Trains one model; what is interrupted goes on from its last checkpoint."""

import json
import math
import os
import time

import torch
import torch.nn.functional as F

from decoder import Decoder
from variants import VARIANTS, Block

CHECKPOINT_SECONDS = 60


def write_whole(path, write):
    """A file is there as a whole or not at all, whenever the process ends."""
    part = path.with_name(path.name + ".part")
    write(part)
    os.replace(part, path)


def tensor_of(text):
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def rate_at(step, setting):
    """Rises evenly, then falls along half a cosine."""
    warm = max(1, round(setting.warm_up * setting.steps))
    if step < warm:
        return setting.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, setting.steps - warm)
    least = setting.final_rate
    return setting.learning_rate * (least + (1 - least) * (1 + math.cos(math.pi * done)) / 2)


class Training:
    """One variant and seed. Batches depend on seed and step alone: every variant sees the same ones."""

    def __init__(self, corpus, setting, variant, seed):
        self.setting, self.variant, self.seed = setting, VARIANTS[variant], seed
        self.text, self.held_out = tensor_of(corpus.train), tensor_of(corpus.held_out)
        self.model = Decoder(setting, lambda size: Block(size, setting.intermediate_size, self.variant), seed)
        self.optimizer = self.make_optimizer()
        self.step, self.seconds, self.loss, self.curve = 0, 0.0, 0.0, []

    def make_optimizer(self):
        """Vectors, which are the norms' scales, do not decay."""
        learned = [value for value in self.model.parameters() if value.requires_grad]
        matrices, vectors = ([value for value in learned if (value.dim() > 1) == wanted] for wanted in (True, False))
        groups = [{"params": matrices, "weight_decay": self.setting.weight_decay},
                  {"params": vectors, "weight_decay": 0.0}]  # fmt: skip
        return torch.optim.AdamW(groups, betas=self.setting.betas, fused=True)

    def batch(self):
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.step)
        length = self.setting.context + 1
        starts = torch.randint(len(self.text) - length + 1, (self.setting.batch, 1), generator=generator)
        windows = self.text[starts + torch.arange(length)]
        return windows[:, :-1], windows[:, 1:]

    def nats(self, tokens, targets):
        return F.cross_entropy(self.model(tokens).flatten(0, 1), targets.flatten())

    def advance(self):
        """One step; returns its loss."""
        begin = time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.setting)
        loss = self.nats(*self.batch())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.setting.clip)
        self.optimizer.step()
        self.step += 1
        self.seconds += time.process_time() - begin
        self.loss += loss.item()
        self.measure_if_due()
        return loss.item()

    def measure_if_due(self):
        every = max(1, self.setting.steps // self.setting.measurements)
        if self.step % every and self.step < self.setting.steps:
            return
        since = self.curve[-1]["step"] if self.curve else 0
        self.curve.append({"step": self.step, "train_nats": self.loss / (self.step - since),
                           "held_out_nats": self.held_out_nats()})  # fmt: skip
        self.loss = 0.0

    @torch.no_grad()
    def held_out_nats(self):
        """In windows of `context` predicted bytes, as `mglu perplexity` reads a text; the last one is shorter."""
        length, total = self.setting.context, 0.0
        for start in range(0, len(self.held_out) - 1, length * self.setting.batch):
            part = self.held_out[start : start + length * self.setting.batch + 1]
            tokens, targets = part[:-1].split(length), part[1:].split(length)
            whole = [pair for pair in zip(tokens, targets) if len(pair[0]) == length]
            batches = [tuple(map(torch.stack, zip(*whole)))] if whole else []
            batches += [(a[None], b[None]) for a, b in zip(tokens, targets) if len(a) < length]
            total += sum(self.nats(*pair).item() * pair[0].numel() for pair in batches)
        return total / (len(self.held_out) - 1)

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
                "seconds": self.seconds, "loss": self.loss, "curve": self.curve}  # fmt: skip

    def restore(self, path):
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.loss, self.curve = (state[k] for k in ("step", "seconds", "loss", "curve"))

    def result(self, name):
        blocks = [layer.mlp for layer in self.model.layers]
        return {"variant": name, "seed": self.seed, "ffn_bytes": sum(block.bytes() for block in blocks),
                "parameters": sum(value.numel() for value in self.model.parameters()),
                "cpu_seconds": round(self.seconds, 3), "ones": [block.share_of_ones() for block in blocks],
                "curve": self.curve}  # fmt: skip


def train(folder, corpus, setting, name, seed, progress):
    """Trains a model to the end, or finds that it is: folder/NAME-SEED.json. `progress` is told every step."""
    done, checkpoint = folder / f"{name}-{seed}.json", folder / f"{name}-{seed}.pt"
    if done.exists():
        return
    training = Training(corpus, setting, name, seed)
    if checkpoint.exists():
        training.restore(checkpoint)
    saved = time.monotonic()
    while training.step < setting.steps:
        progress(training.step, training.advance())
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            write_whole(checkpoint, lambda part: torch.save(training.state(), part))
            saved = time.monotonic()
    write_whole(done, lambda part: part.write_text(json.dumps(training.result(name), indent=1) + "\n"))
    checkpoint.unlink(missing_ok=True)
