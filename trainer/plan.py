"""What a training will take, measured on a few of its batches, before anything is written.

    seconds = to start + to hear, or to read, once + sum over epochs of (learning in the epoch's stage + validation)

A stage is what one setting of `unfreeze` lets learn: each is timed, and memory is that of the last, where most learns.
"""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..data.audio import SAMPLE_RATE
from .curriculum import stages
from .dataset import MEMORY_SECONDS
from .device import own_generator, pick_device
from .measuring import Taken, development_split, hear, learning, read, train_split, validating
from .network import features
from .options import TrainOptions, check_options, with_defaults
from .preparing import Training, open_existing, prepare
from .resume import as_bytes, state_of

BYTES = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """From an epoch (counted from 1) on: how many parameters learn, and seconds an epoch, validation included."""

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
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> TrainPlan:
    """Measure the first steps of `train` with the same options, and say what all of it takes. Nothing is kept.

    Raises what `train` raises for its input and options.
    """
    chosen = check_options(with_defaults(model, from_scratch, options), given=options)
    where, begun = pick_device(device), time.perf_counter()
    with own_generator(), TemporaryDirectory() as folder:
        training, _ = prepare(
            open_existing(fused_dir), chosen, Path(folder) / "plan", device=device, workers=0, overwrite=False
        )
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
