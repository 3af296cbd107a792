"""Training: one loop over epochs that can be killed anywhere and goes on to the same bits."""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data.errors import AudioError, CorpusError, ModelError, OptionError, SerannError
from ..data.files import finite
from ..data.fused import Fused, open_fused
from .checkpoint import (
    Architecture,
    ModelInfo,
    Source,
    TrainOptions,
    check_options,
    claim,
    clear_partial,
    load_state,
    refuse_changes,
    save_state,
    save_weights,
    software,
    write_metrics,
    write_model_info,
)
from .dataset import Batch, Listening, Perturbed, Sounds, bucketed_batches, load_batches
from .device import make_accelerator, own_generator, pick_device, seed_torch
from .encoders import fresh_encoder, load_encoder
from .heads import EmotionModel
from .losses import joint_loss
from .schedule import make_optimiser, make_scheduler
from .targets import (
    Examples,
    rated_dimensions,
    seen_marginal,
    shared_speakers,
    taught_shares,
    training_examples,
    validation_examples,
)
from .validation import best_epoch, has_stalled, validate

if TYPE_CHECKING:
    from accelerate import Accelerator

Progress = Callable[[int, int], None]
# For an encoder that starts from random weights, and for a pretrained one (papers 2 and 3 fine-tune at 1e-5
# with heads at 1e-4).
DEFAULTS: Mapping[bool, Mapping[str, Any]] = {
    True: {"epochs": 20, "batch_seconds": 30.0, "learning_rate": 2e-3, "head_learning_rate": 2e-3},
    False: {"epochs": 10, "batch_seconds": 120.0, "learning_rate": 1e-5, "head_learning_rate": 1e-4},
}


@dataclass
class Training:
    """A training under way: its data, its network and optimiser, and what every finished epoch came to."""

    out: Path
    info: ModelInfo
    examples: Examples
    validation: Examples
    sounds: Sounds
    network: EmotionModel
    optimiser: Any
    scheduler: Any
    accelerator: "Accelerator"
    batches: Callable[[int], list[np.ndarray]]
    workers: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> TrainOptions:
        return self.info.options


def train(
    fused_dir: str | Path,
    *,
    model: str = "wavlm",
    out: str | Path,
    from_scratch: bool = False,
    device: str = "auto",
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Train a speech encoder with its heads on a fused corpus, and return the model directory `out`.

    Minimises soft-label KL to the fused distributions of the train split plus `dimensional_weight` * (1 -
    CCC) to the seen raters' mean ratings; keeps the epoch that is best by `best_by` on the development
    split's human votes. `options` are fields of TrainOptions; those left out take DEFAULTS. Killed and called
    again the same way it goes on after its last whole epoch, and on a CPU ends in the same weights: nothing
    is drawn from a state that lives longer than a batch. Finished and called again the same way, it returns
    `out` and does nothing. `progress(done, total)` counts steps.

    An utterance that cannot be heard is left out and listed in `failures` of model.json; `warnings` there says
    what makes its scores on other splits too good. Raises SerannError for a broken input, an output of another
    training (naming what differs), and a loss that is no number (naming the batch's utterances).
    """
    chosen = check_options({**DEFAULTS[from_scratch], **options, "model": model, "from_scratch": from_scratch})
    pick_device(device)
    fused, out = open_existing(fused_dir), Path(out)
    with own_generator():
        training, found = _prepare(fused, chosen, out, device=device, workers=workers, overwrite=overwrite)
        if found is not None:
            refuse_changes(found, training.info, out)
            if found.finished:
                return out
            _resume(training)
        else:
            write_model_info(out, training.info)
        try:
            _run_epochs(training, progress)
        except SerannError:
            if not training.history:  # nothing to go on from, so nothing is left behind
                shutil.rmtree(out, ignore_errors=True)
            raise
    return _finish(training)


def open_existing(fused_dir: str | Path) -> Fused:
    """Open a fused corpus; CorpusError that says how to make one where nothing lies."""
    if not Path(fused_dir).exists():
        raise CorpusError(
            f"no fused corpus at {fused_dir}: nothing is there; make one with 'serann fuse CORPUS RUN -o {fused_dir}'"
        )
    return open_fused(fused_dir)


def _prepare(
    fused: Fused, options: TrainOptions, out: Path, *, device: str, workers: int, overwrite: bool
) -> tuple[Training, ModelInfo | None]:
    """Everything a training needs, checked before the output is touched; and what lies in the output already."""
    dimensions = rated_dimensions(fused.corpus) if options.dimensional_weight > 0 else []
    if options.best_by == "ccc" and not dimensions:
        raise OptionError("--best-by ccc needs ratings of valence, arousal or dominance, and the train split has none")
    examples, validation = training_examples(fused, dimensions), validation_examples(fused.corpus, dimensions)
    seed_torch("weights", options.seed)
    encoder = fresh_encoder(options.model) if options.from_scratch else load_encoder(options.model)
    network = EmotionModel(encoder, labels=len(fused.corpus.labels), dimensions=dimensions, dropout=options.dropout)
    info = _describe(fused, options, network, dimensions, examples, validation, out)
    found = claim(out, overwrite=overwrite)
    accelerator = make_accelerator(device, options.precision)

    def batches(epoch: int) -> list[np.ndarray]:
        return bucketed_batches(examples.seconds, batch_seconds=options.batch_seconds, seed=options.seed, epoch=epoch)

    optimiser = make_optimiser(network, options)
    scheduler = make_scheduler(optimiser, options, steps=sum(len(batches(epoch)) for epoch in range(options.epochs)))
    network, optimiser = accelerator.prepare(network, optimiser)
    sounds = Sounds(fused.corpus, shortest=encoder.shortest)
    training = Training(
        out, info, examples, validation, sounds, network, optimiser, scheduler, accelerator, batches, workers
    )
    return training, found


def _describe(
    fused: Fused,
    options: TrainOptions,
    network: EmotionModel,
    dimensions: list[str],
    examples: Examples,
    validation: Examples,
    out: Path,
) -> ModelInfo:
    corpus = fused.corpus
    return ModelInfo(
        name=out.resolve().name,
        architecture=Architecture(
            encoder=network.encoder.config.to_dict(),
            normalise=network.encoder.normalise,
            dropout=options.dropout,
            parameters=sum(p.numel() for p in network.parameters()),
        ),
        labels=corpus.labels.to_json(),
        dimensions=dimensions,
        scale=corpus.info.scale,
        options=options,
        fused=Source(
            path=str(fused.path),
            name=corpus.name,
            strategy=fused.info.strategy,
            fingerprint=fused.fingerprint,
            utterances={"train": len(examples), "development": len(validation)},
            shares=taught_shares(fused).tolist(),
        ),
        division=corpus.info.division,
        marginal=seen_marginal(fused).tolist(),
        warnings=shared_speakers(corpus),
        software=software(),
    )


def _run_epochs(training: Training, progress: Progress | None) -> None:
    options = training.options
    total = sum(len(training.batches(epoch)) for epoch in range(options.epochs))
    done = sum(len(training.batches(epoch)) for epoch in range(len(training.history)))
    for epoch in range(len(training.history), options.epochs):
        if has_stalled(training.history, options):
            break
        losses = []
        for loss in _train_epoch(training, epoch):
            losses.append(loss)
            done += 1
            if progress is not None:
                progress(done, total)
        _record(training, epoch, losses)
    if progress is not None:
        progress(total, total)


def _train_epoch(training: Training, epoch: int) -> Iterator[tuple[int, float, float, float]]:
    """Descend once through the train split; yields each batch's size, loss, and the loss's two parts."""
    training.network.train()
    options, examples = training.options, training.examples
    change = None
    if options.perturb:
        change = Perturbed(examples, options.seed, epoch, shortest=training.sounds.shortest)
    listening = Listening(examples, training.sounds, change)
    for step, batch in enumerate(load_batches(listening, training.batches(epoch), workers=training.workers)):
        training.failures |= {examples.ids([place])[0]: reason for place, reason in batch.failures}
        if len(batch.places):
            seed_torch("dropout", options.seed, epoch, step)
            yield _descend(training, batch, epoch)
            training.scheduler.step()


def _descend(training: Training, batch: Batch, epoch: int) -> tuple[int, float, float, float]:
    options, examples, accelerator = training.options, training.examples, training.accelerator
    where = accelerator.device
    output = training.network(batch.waveforms.to(where), batch.lengths.to(where))
    targets = _tensor(examples.targets[batch.places], where)
    rated = _tensor(examples.ratings[batch.places], where)
    loss = joint_loss(output.logits, targets, output.ratings, rated, weight=options.dimensional_weight)
    total, categorical, dimensional = (float(part.detach()) for part in loss)
    if not math.isfinite(total):
        raise _not_finite(training, batch, epoch, "loss")
    training.optimiser.zero_grad()
    accelerator.backward(loss.total)
    norm = accelerator.clip_grad_norm_(training.network.parameters(), options.clip)
    if options.precision != "fp16" and norm is not None and not math.isfinite(float(norm)):
        raise _not_finite(training, batch, epoch, "gradient")  # half precision's scaler skips such a step by itself
    training.optimiser.step()
    return len(batch.places), total, categorical, dimensional


def _not_finite(training: Training, batch: Batch, epoch: int, what: str) -> ModelError:
    names = ", ".join(training.examples.ids(batch.places))
    return ModelError(
        f"the {what} is not a finite number in epoch {epoch + 1}, for the batch of utterances {names}; lower "
        f"--learning-rate, or look at these"
    )


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


def _record(training: Training, epoch: int, losses: Sequence[tuple[int, float, float, float]]) -> None:
    """Score the epoch, keep its weights if none was better, and make it the one to resume after."""
    if not losses:
        reason = next(iter(training.failures.values()))
        raise AudioError(f"none of the {len(training.examples)} training utterances can be heard; the first: {reason}")
    sizes, *parts = (np.array(column) for column in zip(*losses, strict=True))
    means = [float((sizes * part).sum() / sizes.sum()) for part in parts]
    row: dict[str, Any] = {"epoch": epoch + 1, "learning_rate": float(training.scheduler.get_last_lr()[0])}
    row |= dict(zip(("loss", "categorical_loss", "dimensional_loss"), means, strict=True))
    scores, failures = validate(
        training.network, training.validation, training.sounds, training.info, workers=training.workers
    )
    row |= scores
    training.failures |= failures
    training.history.append(row)
    network = training.accelerator.unwrap_model(training.network)
    if best_epoch(training.history, training.options.best_by) == epoch:
        save_weights(network, training.out / "weights.safetensors")
    write_metrics(training.out, training.history)
    save_state(
        training.out,
        {
            "network": network.state_dict(),
            "optimiser": training.optimiser.state_dict(),
            "scheduler": training.scheduler.state_dict(),
            "history": training.history,
            "failures": training.failures,
        },
    )


def _resume(training: Training) -> None:
    """Take up the state after the last whole epoch; a training killed in its first epoch starts it again."""
    clear_partial(training.out)
    state = load_state(training.out)
    if state is None:
        return
    training.accelerator.unwrap_model(training.network).load_state_dict(state["network"])
    training.optimiser.load_state_dict(state["optimiser"])
    training.scheduler.load_state_dict(state["scheduler"])
    training.history, training.failures = list(state["history"]), dict(state["failures"])


def _finish(training: Training) -> Path:
    """Say in model.json that it is done, and drop what only a resumed training needs."""
    best = best_epoch(training.history, training.options.best_by)
    row = finite(training.history[best])
    training.info.best_epoch, training.info.best = best + 1, {k: v for k, v in row.items() if k != "epoch"}
    training.info.failures = [{"utterance_id": name, "reason": why} for name, why in sorted(training.failures.items())]
    training.info.finished = True
    write_model_info(training.out, training.info)
    shutil.rmtree(training.out / "checkpoint", ignore_errors=True)
    return training.out
