# SPDX-License-Identifier: MIT
"""Sizes of the study. All that is not here is the same in each: AdamW with the paper's values, a cosine."""

from typing import NamedTuple


class Setting(NamedTuple):
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    context: int
    batch: int  # windows of `context` bytes in a step
    steps: int
    seeds: int
    learning_rate: float = 2e-3
    final_rate: float = 0.1  # of the learning rate, where the cosine ends
    warm_up: float = 0.05  # of the steps
    weight_decay: float = 0.1
    betas: tuple = (0.9, 0.99)
    clip: float = 1.0
    measurements: int = 10  # of the held-out text, evenly spread over the steps


SETTINGS = {
    "night": Setting(4, 128, 512, 4, 256, 8, 1500, 16),
    "medium": Setting(3, 96, 384, 4, 128, 8, 550, 3),
    "small": Setting(1, 32, 48, 2, 32, 4, 6, 2, measurements=2),
}
