"""Training: one loop over epochs that can be killed anywhere and goes on to the same bits."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.errors import AudioError, ModelError, OptionError, OutputError, SerannError, few
from ..data.files import finite, refuse_inputs
from ..data.fused import Fused
from .checkpoint import (
    Model,
    beside,
    complete,
    refuse_changes,
    save_weights,
    settle,
    take_up,
    write_metrics,
    write_model_info,
)
from .dataset import Batch, Listening, Perturbed, Sounds, load_batches
from .network.features import FrozenFeatures, answer, encoder_fingerprint
from .network.freezing import set_trainable
from .network.losses import CATEGORICAL, Loss, Target, dimensional_loss
from .options import check_options, check_running, with_defaults
from .preparing import Training, open_existing, own_state, pick_device, prepare, seed_torch
from .resume import Row, resume, save, what_is_kept
from .schedule import set_rates
from .targets import ambiguity_of, lesson
from .validation import best_epoch, has_stalled, validate

# --------------------
# TensorBoard, where it is asked for: the figures of metrics.jsonl, epoch by epoch (extra `tensorboard`).


def require_tensorboard() -> None:
    """Raise OptionError, saying how to install it, where the package is not there."""
    if find_spec("tensorboard") is None:
        raise OptionError(
            "--tensorboard needs the package tensorboard, which is not installed: pip install 'serann[tensorboard]'"
        )


class Board:
    """Writes an epoch's figures below a model directory's `tensorboard/`. Epochs are written again after a stop: the
    same figures at the same step.
    """

    def __init__(self, out: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"))

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the figures of an epoch that are numbers."""
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()


Progress = Callable[[int, int], None]
# A long epoch's work is saved so often.
SAVE_MINUTES = 10.0


def train(
    fused: Fused | str | PathLike[str],
    *,
    model: str = "wavlm",
    out: str | Path,
    from_scratch: bool = False,
    device: str = "auto",
    workers: int = 0,
    save_minutes: float = SAVE_MINUTES,
    features: str | Path | None = None,
    audio_root: str | Path | None = None,
    tensorboard: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Model:
    """Train a speech encoder with its heads on a fused corpus, and return the model in the directory `out`.

    Minimises a categorical loss, by default soft-label KL to the fused distributions of the train split, plus
    `dimensional_weight` * a loss on the seen raters' mean ratings, by default 1 - CCC; keeps the epoch that is best
    by `best_by` on the development split's human votes. `options` are fields of TrainOptions; those left out take
    DEFAULTS, and a frozen encoder hears sounds unperturbed. Killed and called again the same way it goes on after
    its last whole epoch, or what was saved every `save_minutes` since, and on a CPU ends in the same weights:
    nothing is drawn from a state that lives longer than a batch. Finished and called again the same way, it returns
    what is in `out` and does nothing. `progress(done, total)` counts batches, first those that `auto` listens to,
    then with those that a frozen encoder hears. What a frozen encoder heard lies in the folder `features`, for
    other trainings too; by default inside `out`, until the training is finished. Sounds lie below
    `audio_root` where one is given (`open_corpus`). With `overwrite` the model in
    `out` stays until the new one, made beside it, is finished; the same call goes on with that.

    An utterance that cannot be heard is left out and listed in `failures` of model.json; `warnings` there says
    what makes its scores on other splits too good. Raises SerannError for a broken input, an output of another
    training (naming what differs), and a loss that is no number (naming the batch's utterances).
    """
    chosen = check_options(with_defaults(model, from_scratch, options), given=options)
    check_running(workers=workers, save_minutes=save_minutes)
    pick_device(device)
    if features is not None and not chosen.frozen:
        raise OptionError("--features keeps what a frozen encoder hears, and this one learns: add --frozen")
    if tensorboard:
        require_tensorboard()
    fused = fused if isinstance(fused, Fused) else open_existing(fused, audio_root=audio_root)
    out = Path(out)
    if overwrite:
        refuse_inputs(out, [fused.path, *(path for path in (model, features) if path and Path(path).exists())])
    else:
        complete(out)
    with own_state():
        training, found = prepare(
            fused, chosen, out, device=device, workers=workers, overwrite=overwrite, progress=progress
        )
        if chosen.frozen:
            encoder = training.accelerator.unwrap_model(training.network).encoder
            training.info.encoder_fingerprint = encoder_fingerprint(encoder)
        if overwrite:
            training.out, found = beside(out), take_up(out, found, training.info)
        if found is None:
            write_model_info(training.out, training.info)
        else:
            refuse_changes(found, training.info, out)
            if found.finished:
                return Model(settle(training.out, out), found)
        begun = resume(training)
        training.board = Board(training.out) if tensorboard else None
        with _kept_or_cleared(training):
            progress = _hear_once(training, features, progress)
            _run_epochs(training, begun, progress, save_minutes=save_minutes)
    _finish(training)
    return Model(settle(training.out, out), training.info)


@contextmanager
def _kept_or_cleared(training: Training) -> Iterator[None]:
    """Leave no output that there is nothing to go on from; say how to go on where it could not be written."""
    try:
        yield
    except SerannError as error:
        how = what_is_kept(training) if isinstance(error, OutputError) else None
        if not any(path.is_file() for path in (training.out / "checkpoint").rglob("*")):
            shutil.rmtree(training.out, ignore_errors=True)
        if how is not None:
            raise OutputError(f"{error}; {how}") from error
        raise


def _hear_once(training: Training, folder: str | Path | None, progress: Progress | None) -> Progress | None:
    """Let a frozen encoder hear every utterance once, and read from then on what it made of them; return what counts
    the training's batches behind those.
    """
    options, accelerator, told = training.options, training.accelerator, progress or (lambda done, total: None)
    if not options.frozen or not isinstance(training.sounds, Sounds):
        return progress
    features = FrozenFeatures(
        training.out / "checkpoint" / "features" if folder is None else folder,
        accelerator.unwrap_model(training.network).encoder,
        training.sounds,
        precision=options.precision,
        batch_seconds=options.batch_seconds,
    )
    parts = (training.examples, training.validation)
    first, then = len(features.batches(parts)), sum(len(training.batches(epoch)) for epoch in range(options.epochs))
    features.extract(
        parts,
        device=accelerator.device,
        workers=training.workers,
        autocast=lambda: accelerator.autocast(),
        progress=lambda done, of: told(done, of + then),
    )
    training.sounds = features
    return lambda done, of: told(first + done, first + of)


def _run_epochs(training: Training, begun: list[Row], progress: Progress | None, *, save_minutes: float) -> None:
    options = training.options
    total = sum(len(training.batches(epoch)) for epoch in range(options.epochs))
    done = sum(len(training.batches(epoch)) for epoch in range(len(training.history)))

    def count(batches: int) -> None:
        if progress is not None:
            progress(done + batches, total)

    for epoch in range(len(training.history), options.epochs):
        if has_stalled(training.history, options):
            break
        _record(training, epoch, _train_epoch(training, epoch, begun, count, save_minutes=save_minutes))
        done, begun = done + len(training.batches(epoch)), []
    if progress is not None:
        progress(total, total)


def _train_epoch(
    training: Training, epoch: int, begun: list[Row], count: Callable[[int], None], *, save_minutes: float
) -> list[Row]:
    """Descend once through the train split, after the batches that an earlier call has `begun`; a row each batch."""
    training.network.train()
    set_trainable(training.accelerator.unwrap_model(training.network), training.options, epoch + 1)
    options, examples, rows = training.options, training.examples, list(begun)
    change = None
    if options.perturb:
        change = Perturbed(examples, options.seed, epoch, shortest=training.sounds.shortest)
    weigh = lesson(options, ambiguity_of(options, examples), examples.ids(range(len(examples))), epoch=epoch + 1)
    batches, saved = training.batches(epoch), time.monotonic()
    listening = Listening(examples, training.sounds, change)
    steps, taken = training.steps(options.epochs), training.steps(epoch)
    for number, batch in enumerate(
        load_batches(listening, batches[len(begun) :], workers=training.workers), len(begun)
    ):
        training.failures |= {examples.ids([place])[0]: reason for place, reason in batch.failures}
        step = taken + number // options.accumulate
        set_rates(training.optimiser, options, step=step, steps=steps, epoch=epoch + 1, history=training.history)
        if number % options.accumulate == 0:
            training.optimiser.zero_grad()
        rows.append((0, 0.0, 0.0, 0.0))
        if len(batch.places):
            seed_torch("dropout", options.seed, epoch, number)
            rows[-1] = learn(training, batch, epoch, weigh(batch.places))
        if (number + 1) % options.accumulate == 0 or number + 1 == len(batches):
            descend(training, batch, epoch)
            if time.monotonic() - saved >= 60 * save_minutes and number + 1 < len(batches):
                save(training, rows)
                saved = time.monotonic()
        count(number + 1)
    return rows


def learn(training: Training, batch: Batch, epoch: int, weights: np.ndarray) -> Row:
    """Add a batch's gradient to what is accumulated."""
    options, examples, accelerator = training.options, training.examples, training.accelerator
    where = accelerator.device
    output = answer(training.network, batch, where)
    target = Target(
        p=_tensor(examples.targets[batch.places], where),
        votes=_tensor(examples.votes[batch.places], where),
        ratings=_tensor(examples.ratings[batch.places], where),
        class_weights=_tensor(training.class_weights, where),
    )
    categorical = (CATEGORICAL[options.loss].of(output.logits, target) * _tensor(weights, where)).mean()
    dimensional = dimensional_loss(
        options.dimensional_loss,
        output.ratings,
        output.log_variance,
        target.ratings,
        _tensor(training.dimension_weights, where),
    )
    loss = Loss(categorical + options.dimensional_weight * dimensional, categorical, dimensional)
    total, first, second = (float(part.detach()) for part in loss)
    if not math.isfinite(total):
        raise _not_finite(training, batch, epoch, "loss")
    accelerator.backward(loss.total / options.accumulate)
    return len(batch.places), total, first, second


def descend(training: Training, batch: Batch, epoch: int) -> None:
    """Descend along the accumulated gradient, cut to the norm `clip`."""
    norm = training.accelerator.clip_grad_norm_(training.network.parameters(), training.options.clip)
    if training.options.precision != "fp16" and norm is not None and not math.isfinite(float(norm)):
        raise _not_finite(training, batch, epoch, "gradient")  # half precision's scaler skips such a step by itself
    training.optimiser.step()


def _not_finite(training: Training, batch: Batch, epoch: int, what: str) -> ModelError:
    names = few(training.examples.ids(batch.places))
    return ModelError(
        f"the {what} is not a finite number in epoch {epoch + 1}, for the batch of utterances {names}; lower "
        f"--learning-rate, or look at these"
    )


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


def _record(training: Training, epoch: int, rows: Sequence[Row]) -> None:
    """Score the epoch, keep its weights if none was better, and make it the one to resume after."""
    sizes, *parts = (np.array(column) for column in zip(*rows, strict=True))
    if not sizes.any():
        reason = next(iter(training.failures.values()))
        raise AudioError(f"none of the {len(training.examples)} training utterances can be heard; the first: {reason}")
    means = [float((sizes * part).sum() / sizes.sum()) for part in parts]
    row: dict[str, Any] = {"epoch": epoch + 1, "learning_rate": float(training.optimiser.param_groups[0]["lr"])}
    row |= dict(zip(("loss", "categorical_loss", "dimensional_loss"), means, strict=True))
    scores, failures = validate(
        training.network, training.validation, training.sounds, training.info, workers=training.workers
    )
    row |= scores
    training.failures |= failures
    training.history.append(row)
    if training.board is not None:
        training.board.write(row)
    if best_epoch(training.history, training.options.best_by) == epoch:
        save_weights(training.accelerator.unwrap_model(training.network), training.out / "weights.safetensors")
    write_metrics(training.out, training.history)
    save(training, [])


def _finish(training: Training) -> None:
    """Say in model.json that it is done."""
    best = best_epoch(training.history, training.options.best_by)
    row = finite(training.history[best])
    training.info.best_epoch, training.info.best = best + 1, {k: v for k, v in row.items() if k != "epoch"}
    training.info.failures = [{"utterance_id": name, "reason": why} for name, why in sorted(training.failures.items())]
    training.info.finished = True
    write_model_info(training.out, training.info)
