"""The optimiser and the course of its learning rates.

    rate of a group at a step = its own rate * by step * by epoch

by step: a linear warm-up, then constant, or half a cosine to 0. By epoch: NewBob's annealing, and for the encoder the
factor of its stage of unfreezing. All follow from step, epoch and history, so nothing of it has to be saved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from .network.freezing import parameter_groups
from .network.heads import EmotionModel
from .options import TrainOptions
from .targets import at_epoch, stages

# Omidi and Hansen 2026: where the development loss falls by less than this share of itself, rates are multiplied.
NEWBOB_LEAST, NEWBOB_FACTOR = 0.0025, 0.9


def make_optimiser(network: EmotionModel, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW over the parameters that learn (`freezing.parameter_groups`): a group's `base` is its own rate, and `part`
    what it trains.
    """
    return torch.optim.AdamW(parameter_groups(network, options), weight_decay=options.weight_decay)


def set_rates(
    optimiser: torch.optim.Optimizer,
    options: TrainOptions,
    *,
    step: int,
    steps: int,
    epoch: int,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Give every group its rate for a step (from 0) of `steps`, in an epoch (from 1) after the epochs of `history`."""
    shared = rate_factor(step, warm=max(1, round(options.warm_up * steps)), steps=steps, schedule=options.schedule)
    if options.schedule == "newbob":
        shared *= newbob_factor([-row["log_score"] for row in history])
    staged = at_epoch(stages(options.unfreeze_rates, name="unfreeze_rates"), epoch) if options.unfreeze_rates else 1.0
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * shared * (staged if group["part"] == "encoder" else 1.0)


def rate_factor(step: int, *, warm: int, steps: int, schedule: str) -> float:
    """Factor of the learning rate at a step: linear up to 1 over `warm` steps, then constant (NewBob's, too) or half a
    cosine to 0.

    >>> [round(rate_factor(step, warm=2, steps=6, schedule="cosine"), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warm:
        return (step + 1) / warm
    if schedule != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def newbob_factor(losses: Sequence[float]) -> float:
    """.9 to the number of epochs whose development loss fell by less than .0025 of the former one (NewBob, as in
    SpeechBrain); the loss is the negative log score a vote.

    >>> round(newbob_factor([2.0, 1.5, 1.499, 1.6]), 2)
    0.81
    """
    stalled = sum((before - now) / abs(before) < NEWBOB_LEAST for before, now in pairwise(losses))
    return NEWBOB_FACTOR**stalled
