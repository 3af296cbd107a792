"""The optimiser and the course of its learning rate."""

import math

import torch

from .checkpoint import TrainOptions
from .heads import EmotionModel


def make_optimiser(network: EmotionModel, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW over two groups: the encoder at `learning_rate`, the heads at `head_learning_rate`."""
    heads = network.head_parameters()
    ours = {id(parameter) for parameter in heads}
    encoder = [parameter for parameter in network.parameters() if id(parameter) not in ours]
    groups = [
        {"params": encoder, "lr": options.learning_rate},
        {"params": heads, "lr": options.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay)


def make_scheduler(
    optimiser: torch.optim.Optimizer, options: TrainOptions, *, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Scale the learning rates over `steps` steps by `rate_factor`."""
    warm = max(1, round(options.warm_up * steps))

    def factor(step: int) -> float:
        return rate_factor(step, warm=warm, steps=steps, schedule=options.schedule)

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def rate_factor(step: int, *, warm: int, steps: int, schedule: str) -> float:
    """Factor of the learning rate at a step: linear up to 1 over `warm` steps, then constant or half a cosine
    to 0.

    >>> [round(rate_factor(step, warm=2, steps=6, schedule="cosine"), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warm:
        return (step + 1) / warm
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
