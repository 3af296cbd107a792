"""What a training will take, measured on a few of its batches, before anything is written."""

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

from . import features
from .dataset import Listening, load_batches
from .device import own_generator, pick_device
from .freezing import set_trainable
from .loop import descend, learn
from .options import check_options, with_defaults
from .preparing import Training, open_existing, prepare

# Batches that are measured: the dearest, and others evenly spread by seconds.
MEASURED = 5
# A training step is about three forward passes; validation is one.
PASSES = 3
BYTES = 4


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Parameters in all and those trained in the first epoch; utterances, hours of sound and batches an epoch;
    seconds an epoch and in all (upper bound: early stopping may end it), the peak of memory while the dearest batch is
    learnt, and what lies on disk: weights and what resuming needs, and a frozen encoder's frames.
    """

    parameters: int
    trained: int
    utterances: int
    development: int
    hours: float
    batches: int
    epochs: int
    steps: int
    seconds_an_epoch: float
    seconds: float
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
    chosen = check_options(with_defaults(model, from_scratch, options))
    where = pick_device(device)
    with own_generator(), TemporaryDirectory() as folder:
        training, _ = prepare(
            open_existing(fused_dir), chosen, Path(folder) / "plan", device=device, workers=0, overwrite=False
        )
        seconds, measured = _seconds_of_an_epoch(training, progress)
        encoder = training.accelerator.unwrap_model(training.network).encoder
        parts = (training.examples, training.validation)
        heard = [part.seconds[np.unique(part.rows, return_index=True)[1]] for part in parts]
        frames = features.plan(encoder, np.concatenate(heard)) if chosen.frozen else 0
    examples, batches = training.examples, training.batches(0)
    parameters = list(training.network.parameters())
    learnt = sum(p.numel() for p in parameters if p.requires_grad)
    in_all = sum(p.numel() for p in parameters)
    validation = seconds / PASSES * training.validation.seconds.sum() / examples.seconds.sum()
    return TrainPlan(
        parameters=in_all,
        trained=learnt,
        utterances=len(np.unique(examples.rows)),
        development=len(training.validation),
        hours=float(examples.seconds.sum() / 3600),
        batches=len(batches),
        epochs=chosen.epochs,
        steps=training.steps(chosen.epochs),
        seconds_an_epoch=seconds + validation,
        seconds=(seconds + validation) * chosen.epochs,
        memory_bytes=_peak(where),
        disk_bytes=(2 * in_all + 2 * learnt) * BYTES,
        feature_bytes=frames,
        device=str(where),
        measured_batches=measured,
    )


def _seconds_of_an_epoch(training: Training, progress: Callable[[int, int], None] | None) -> tuple[float, int]:
    """Seconds to learn the train split once, scaled up from a few batches by their padded seconds; how many."""
    set_trainable(training.accelerator.unwrap_model(training.network), training.options, 1)
    training.network.train()
    batches, seconds = training.batches(0), training.examples.seconds
    cost = np.array([seconds[batch].max() * len(batch) for batch in batches])
    order = np.argsort(-cost)
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MEASURED, len(order))).round().astype(int))]
    listening = Listening(training.examples, training.sounds)
    spent = []
    for number, batch in enumerate(load_batches(listening, [batches[i] for i in (chosen[0], *chosen)])):
        start = time.perf_counter()
        if len(batch.places):
            training.optimiser.zero_grad()
            learn(training, batch, 0, np.ones(len(batch.places)))
            descend(training, batch, 0)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
        if progress is not None:
            progress(number + 1, len(chosen) + 1)
    # the first pass over the dearest batch warms up and is not counted
    return float(sum(spent[1:]) / cost[chosen].sum() * cost.sum()), len(chosen)


def _peak(where: torch.device) -> int:
    if where.type == "cuda":
        return int(torch.cuda.max_memory_allocated(where))
    each = 1 if sys.platform == "darwin" else 1024  # Linux counts kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * each
