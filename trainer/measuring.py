"""What the parts of a training take, measured on a few of their batches: hearing once, learning, validating.

Seconds of a few batches are scaled up to all of a split's by what they cost, padded seconds of sound:

    seconds = sum of those measured / cost of those measured * cost of all
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from .dataset import Batch, Listening, Perturbed, Sounds, bucketed_batches, load_batches
from .loop import descend, learn
from .network.features import FrozenFeatures, answer
from .network.freezing import set_trainable
from .preparing import Training
from .targets import Examples

# Batches of a split that are measured: the dearest, the one with the longest utterance, and others evenly spread.
MEASURED = 5
# No further one is begun once so much was measured: a large encoder on a processor takes a minute a batch.
ENOUGH_SECONDS = 30.0
Act = Callable[[Batch], None]


class Split(NamedTuple):
    """A split's batches in an epoch, what each costs (padded seconds), and which are measured, the dearest first."""

    examples: Examples
    batches: list[np.ndarray]
    cost: np.ndarray
    chosen: list[int]


class Taken(NamedTuple):
    """Seconds that a whole split takes to be read and to be acted upon, and how many batches were measured."""

    reading: float
    acting: float
    batches: int


def train_split(training: Training) -> Split:
    """The batches of the first epoch."""
    return _split(training.examples, training.batches(0))


def development_split(training: Training) -> Split:
    """The batches on which every epoch is judged."""
    seconds = training.validation.seconds
    return _split(
        training.validation, bucketed_batches(seconds, batch_seconds=training.options.batch_seconds, seed=0, epoch=0)
    )


def _split(examples: Examples, batches: list[np.ndarray]) -> Split:
    longest = np.array([examples.seconds[batch].max() for batch in batches])
    cost = longest * [len(batch) for batch in batches]
    order = np.argsort(-cost, kind="stable")
    spread = order[np.linspace(0, len(order) - 1, min(MEASURED, len(order))).round().astype(int)]
    return Split(examples, batches, cost, list(dict.fromkeys([int(order[0]), int(np.argmax(longest * cost)), *spread])))


def hear(training: Training, splits: Iterable[Split], folder: Path) -> float:
    """Seconds that a frozen encoder takes to hear all splits once; the frames of the batches that are to be measured
    are there then.
    """
    options, accelerator, splits = training.options, training.accelerator, list(splits)
    encoder = accelerator.unwrap_model(training.network).encoder
    sounds = cast(Sounds, training.sounds)
    kept = FrozenFeatures(folder, encoder, sounds, precision=options.precision, batch_seconds=options.batch_seconds)
    whole = _cost(kept, [split.examples for split in splits])
    taken = []
    for split in splits:
        for place in split.chosen:
            part = _part(split.examples, split.batches[place])
            cost, start = _cost(kept, [part]), time.perf_counter()
            kept.extract([part], device=accelerator.device, autocast=lambda: accelerator.autocast())
            taken.append((cost, time.perf_counter() - start))
    training.sounds = kept
    # The first warms up, and counts only where it is alone.
    cost, seconds = np.sum(taken[1:] or taken, axis=0)
    return float(seconds / cost * whole)


def read(training: Training, split: Split, *, perturbed: bool) -> float:
    """Seconds to read a split's sounds for the first time."""
    return _measure(training, split, [], lambda batch: None, perturbed=perturbed).reading


def learning(training: Training, split: Split, epoch: int) -> Taken:
    """What an epoch's learning (from 1) takes; the weights stay what they are."""
    set_trainable(training.accelerator.unwrap_model(training.network), training.options, epoch)
    training.network.train()
    for group in training.optimiser.param_groups:
        group["lr"] = 0.0

    def act(batch: Batch) -> None:
        if len(batch.places):
            training.optimiser.zero_grad()
            learn(training, batch, epoch - 1, np.ones(len(batch.places)))
            descend(training, batch, epoch - 1)

    # The first pass over the dearest batch warms up.
    return _measure(training, split, split.chosen[:1], act, perturbed=training.options.perturb)


def validating(training: Training, split: Split) -> Taken:
    """What it takes to judge an epoch."""
    training.network.eval()

    def act(batch: Batch) -> None:
        if len(batch.places):
            with torch.no_grad():
                answer(training.network, batch, training.accelerator.device).logits.cpu()

    return _measure(training, split, split.chosen[:1], act, perturbed=False)


def _measure(training: Training, split: Split, warm: list[int], act: Act, *, perturbed: bool) -> Taken:
    examples, sounds = split.examples, training.sounds
    change = Perturbed(examples, training.options.seed, 0, shortest=sounds.shortest) if perturbed else None
    order = [*warm, *split.chosen]
    batches = load_batches(Listening(examples, sounds, change), [split.batches[place] for place in order])
    reading, acting, start = [], [], time.perf_counter()
    for batch in batches:
        begun = time.perf_counter()
        act(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        reading.append(begun - start)
        acting.append(time.perf_counter() - begun)
        if len(acting) > len(warm) and sum(acting) + sum(reading) > ENOUGH_SECONDS:
            break
        start = time.perf_counter()
    share = split.cost[order[len(warm) : len(acting)]].sum() / split.cost.sum()
    return Taken(sum(reading[len(warm) :]) / share, sum(acting[len(warm) :]) / share, len(acting) - len(warm))


def _part(examples: Examples, places: np.ndarray) -> Examples:
    """The examples at some places alone."""
    names = ("rows", "targets", "votes", "ambiguity", "ratings", "seconds")
    return replace(examples, **{name: getattr(examples, name)[places] for name in names})


def _cost(kept: FrozenFeatures, parts: list[Examples]) -> float:
    """Padded seconds of what is still to be heard."""
    return float(sum(of.seconds[places].max() * len(places) for of, places in kept.batches(parts)))
