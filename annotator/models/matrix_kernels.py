"""Matrix products of float32 on a CPU by oneDNN, which torch ships beside MKL.

torch hands float32 products to MKL, which leaves the widest instructions of some processors unused. Measured with
AVX-512, one thread: 100 billion operations a second by MKL, 230 by oneDNN, for every shape of a 75 M model.
(Half precision and GPUs have one library only, and are left as they are.)
"""

from typing import Any

import torch


class OneDnnLinear(torch.nn.Linear):
    """A linear layer that multiplies by oneDNN where no gradient is wanted."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or input.dtype != torch.float32 or input.device.type != "cpu" or not input.numel():
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def use_fast_products(model: Any) -> bool:
    """Let every plain linear layer of `model` multiply by oneDNN; whether it could be done. Weights stay as they are.

    Always, and not after a timing: a choice by the clock would change the last digits from run to run.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return False
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDnnLinear
    return True
