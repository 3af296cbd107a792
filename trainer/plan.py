"""What a training will take, measured on a few of its batches, before anything is written.

    seconds = to start + to hear, or to read, once + sum over epochs of (learning in the epoch's stage + validation)

A stage is what one setting of `unfreeze` lets learn: each is timed, and memory is that of the last, where most learns.

What the parts of a training take, measured on a few of their batches: hearing once, learning, validating.

Seconds of a few batches are scaled up to all of a split's by what they cost, padded seconds of sound:

    seconds = sum of those measured / cost of those measured * cost of all
"""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from ..data.audio import SAMPLE_RATE
from .dataset import MEMORY_SECONDS, Batch, Listening, Perturbed, Sounds, bucketed_batches, load_batches
from .loop import descend, learn
from .network import features
from .network.features import FrozenFeatures, answer
from .network.freezing import set_trainable
from .options import TrainOptions, check_options, with_defaults
from .preparing import Training, open_existing, own_state, pick_device, prepare
from .resume import as_bytes, state_of
from .targets import Examples, stages

# --------------------
# The parts of a training.

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


BYTES = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """From an epoch (counted from 1) on: how many parameters learn, and seconds per epoch, validation included."""

    epoch: int
    trained: int
    seconds_an_epoch: float


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Parameters in all and those trained in the first epoch; utterances, hours of sound and batches an epoch; seconds
    before the first epoch (the encoder is loaded, sounds are read, or heard by a frozen encoder), of the dearest epoch,
    and in all (upper bound: early stopping may end it); the peak of memory, on a GPU its own; and what lies on disk:
    weights and what resuming needs, and a frozen encoder's frames.
    """

    parameters: int
    trained: int
    utterances: int
    development: int
    hours: float
    batches: int
    epochs: int
    steps: int
    seconds_once: float
    seconds_an_epoch: float
    seconds: float
    stages: tuple[Stage, ...]
    memory_bytes: int
    disk_bytes: int
    feature_bytes: int
    device: str
    measured_batches: int

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        return asdict(self)


def plan(
    fused_dir: str | Path,
    *,
    model: str = "wavlm",
    from_scratch: bool = False,
    device: str = "auto",
    audio_root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> TrainPlan:
    """Measure the first steps of `train` with the same options, and say what all of it takes. Nothing is kept.

    Raises what `train` raises for its input and options.
    """
    chosen = check_options(with_defaults(model, from_scratch, options), given=options)
    fused = open_existing(fused_dir, audio_root=audio_root)
    where, begun = pick_device(device), time.perf_counter()
    with own_state(), TemporaryDirectory() as folder:
        training, _ = prepare(fused, chosen, Path(folder) / "plan", device=device, workers=0, overwrite=False)
        started = time.perf_counter() - begun
        found = _measured(training, Path(folder) / "frames", progress)
        state_bytes = len(as_bytes(state_of(training, [])))
        memory = _peak(where) + _sounds_in_memory(training, where)
    examples, parameters = training.examples, list(training.network.parameters())
    seconds_once = started + found.once
    return TrainPlan(
        parameters=sum(p.numel() for p in parameters),
        trained=found.stages[0].trained,
        utterances=len(np.unique(examples.rows)),
        development=len(training.validation),
        hours=float(examples.seconds.sum() / 3600),
        batches=len(training.batches(0)),
        epochs=chosen.epochs,
        steps=training.steps(chosen.epochs),
        seconds_once=seconds_once,
        seconds_an_epoch=max(stage.seconds_an_epoch for stage in found.stages),
        seconds=seconds_once + _seconds_of_epochs(found.stages, chosen.epochs),
        stages=found.stages,
        memory_bytes=memory,
        disk_bytes=sum(p.numel() for p in parameters) * BYTES + state_bytes,
        feature_bytes=_frame_bytes(training),
        device=str(where),
        measured_batches=found.batches,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Seconds that are spent once, the stages, and how many batches were measured."""

    once: float
    stages: tuple[Stage, ...]
    batches: int


def _measured(training: Training, folder: Path, progress: Callable[[int, int], None] | None) -> _Found:
    """Hear or read once, learn in each stage, validate."""
    splits, options = (train_split(training), development_split(training)), training.options
    epochs, told = _first_epochs(options), progress or (lambda done, total: None)
    if options.frozen:
        once, first = hear(training, splits, folder), None
    else:
        once = 0.0
        first = [read(training, of, perturbed=options.perturb and of is splits[0]) for of in splits]
    told(1, len(epochs) + 2)
    judged = validating(training, splits[1])
    told(2, len(epochs) + 2)
    learnt: list[tuple[int, Taken]] = []
    for number, epoch in enumerate(epochs):
        taken = learning(training, splits[0], epoch)
        learnt.append((sum(p.numel() for p in training.network.parameters() if p.requires_grad), taken))
        told(number + 3, len(epochs) + 2)
    again = 0.0
    if first is not None:
        # What a first reading takes beyond one from memory is spent once for sounds that stay there.
        beyond = sum(max(0.0, a - b) for a, b in zip(first, (learnt[0][1].reading, judged.reading), strict=True))
        once, again = beyond * _kept(training), beyond * (1 - _kept(training))
    each = judged.reading + judged.acting + again
    found = tuple(
        Stage(epoch, trained, taken.reading + taken.acting + each)
        for epoch, (trained, taken) in zip(epochs, learnt, strict=True)
    )
    return _Found(once, found, judged.batches + sum(taken.batches for _, taken in learnt))


def _first_epochs(options: TrainOptions) -> list[int]:
    """The epochs (from 1) with which another number of layers begins to learn."""
    found = stages(options.unfreeze, name="unfreeze") if options.unfreeze else ((1, 0.0),)
    return [epoch for epoch, _ in found if epoch <= options.epochs]


def _seconds_of_epochs(found: tuple[Stage, ...], epochs: int) -> float:
    ends = [*(stage.epoch for stage in found[1:]), epochs + 1]
    return sum((end - stage.epoch) * stage.seconds_an_epoch for stage, end in zip(found, ends, strict=True))


def _heard_seconds(training: Training) -> np.ndarray:
    """Seconds of the utterances of both splits, each once."""
    parts = (training.examples, training.validation)
    return np.concatenate([part.seconds[np.unique(part.rows, return_index=True)[1]] for part in parts])


def _kept(training: Training) -> float:
    """The share of the sounds that stay in memory."""
    return min(1.0, MEMORY_SECONDS / _heard_seconds(training).sum())


def _sounds_in_memory(training: Training, where: torch.device) -> int:
    """Bytes of the sounds that will lie in the processor's memory and do not yet, but for those of a few batches."""
    if where.type != "cpu" or training.options.frozen:
        return 0
    return int(_kept(training) * _heard_seconds(training).sum() * SAMPLE_RATE * BYTES)


def _frame_bytes(training: Training) -> int:
    encoder = training.accelerator.unwrap_model(training.network).encoder
    return features.plan(encoder, _heard_seconds(training)) if training.options.frozen else 0


def _peak(where: torch.device) -> int:
    if where.type == "cuda":
        return int(torch.cuda.max_memory_allocated(where))
    each = 1 if sys.platform == "darwin" else 1024  # Linux counts kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * each
