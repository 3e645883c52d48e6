# SPDX-License-Identifier: MIT
"""What differs in code that torch.compile traces."""

from __future__ import annotations

import torch

# Where torch.compile can keep calls of the library in its graphs.
has_operators = hasattr(torch.library, "custom_op")


def is_compiling() -> bool:
    return has_operators and torch.compiler.is_compiling()
