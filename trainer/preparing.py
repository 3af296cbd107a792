"""Everything a training needs, checked before its output is touched."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..data.errors import CorpusError, OptionError
from ..data.files import kind_of
from ..data.fused import Fused, open_fused
from ..data.scores.metric import METRICS
from ..data.seeds import seed_from
from .checkpoint import Architecture, ModelInfo, Source, claim, software
from .dataset import Readable, Sounds, bucketed_batches
from .network.encoders import SpeechEncoder, choose
from .network.heads import EmotionModel
from .network.loading import fresh_encoder, load_encoder
from .network.losses import class_weights
from .network.saliency import Choice, choose_layer
from .options import TrainOptions
from .schedule import make_optimiser
from .targets import (
    Examples,
    left_out,
    rated_dimensions,
    seen_marginal,
    shared_speakers,
    taught_shares,
    training_examples,
    untaught_labels,
    validation_examples,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .loop import Board


# --------------------
# Where a network computes, and from which random numbers.

DEVICES = ("auto", "cpu", "cuda", "mps")
# oneDNN keeps what it compiles for each shape of input, some 10 MB here, and every batch is as long as its longest
# utterance: without it a training took as long and 250 MB less after 46 batches, to the same bits.
_NO_SHAPES_KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")


def pick_device(device: str) -> torch.device:
    """The torch device of a --device option; `auto` takes a GPU where there is one.

    Raises OptionError for another word, or a device that torch does not see.
    """
    if device not in DEVICES:
        raise OptionError(f"--device is {device!r}; expected one of {', '.join(DEVICES)}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[device]:
        raise OptionError(f"--device {device} was asked for, but torch sees none here; use cpu or auto")
    return torch.device(device)


def make_accelerator(device: str, precision: str) -> "Accelerator":
    """An Accelerator for a --device and a precision, whatever was there before it; inside `own_state` only."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    where = pick_device(device)
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=where.type == "cpu", mixed_precision=precision)


@contextmanager
def no_shapes_kept() -> Iterator[None]:
    """Tell oneDNN to keep no shapes, and give the environment back; it looks there once, when torch first uses it."""
    name, value = _NO_SHAPES_KEPT
    told = name not in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if told:
            os.environ.pop(name, None)


@contextmanager
def own_state() -> Iterator[None]:
    """Give back as they were torch's global generator, accelerate's state of the process, and the environment.

    transformers initialises, and dropout draws, from no other generator, and a process has one state of accelerate,
    which the caller's program may use as well.
    """
    from accelerate.state import AcceleratorState, GradientState, PartialState

    shared = [kind._shared_state for kind in (AcceleratorState, GradientState, PartialState)]
    before = [dict(state) for state in shared]
    with torch.random.fork_rng(), no_shapes_kept():
        try:
            yield
        finally:
            for state, former in zip(shared, before, strict=True):
                state.clear()
                state.update(former)


def seed_torch(*parts: object) -> None:
    """Seed torch's global generator from the parts' text; inside `own_state` only."""
    torch.manual_seed(seed_from(*parts) % 2**63)


@dataclass
class Training:
    """A training under way: its data, its network and optimiser, and what every finished epoch came to."""

    out: Path
    info: ModelInfo
    examples: Examples
    validation: Examples
    sounds: Readable
    network: EmotionModel
    optimiser: torch.optim.Optimizer
    accelerator: "Accelerator"
    class_weights: np.ndarray
    dimension_weights: np.ndarray
    workers: int = 0
    board: "Board | None" = None
    history: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> TrainOptions:
        return self.info.options

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Places of each batch's examples in an epoch (from 0)."""
        options = self.options
        return bucketed_batches(
            self.examples.seconds,
            batch_seconds=options.batch_seconds,
            batch_size=options.batch_size,
            seed=options.seed,
            epoch=epoch,
        )

    def steps(self, epochs: int) -> int:
        """Steps of the optimiser in the first epochs: `accumulate` batches each, fewer at an epoch's end."""
        each = self.options.accumulate
        return sum(-(-len(self.batches(epoch)) // each) for epoch in range(epochs))


def open_existing(fused_dir: str | PathLike[str], *, audio_root: str | PathLike[str] | None = None) -> Fused:
    """Open a fused corpus; CorpusError that says how to make one where nothing lies, or a corpus, or a run."""
    there, kind = Path(fused_dir).exists(), kind_of(Path(fused_dir))
    if kind == "corpus" or (str(fused_dir) == "demo" and not there):
        raise CorpusError(
            f"{fused_dir}: no fusion.json here, so this is not a fused corpus, but a corpus; make one with "
            f"'serann fuse {fused_dir} RUN -o fused', or without a run "
            f"'serann fuse {fused_dir} --strategy human -o fused'"
        )
    if kind == "run":
        raise CorpusError(
            f"{fused_dir} is a run, not a fused corpus; fuse it with its corpus: "
            f"'serann fuse CORPUS {fused_dir} -o fused'"
        )
    if not there:
        raise CorpusError(
            f"no fused corpus at {fused_dir}: nothing is there; make one with 'serann fuse CORPUS RUN -o {fused_dir}'"
        )
    return open_fused(fused_dir, audio_root=audio_root)


def prepare(
    fused: Fused,
    options: TrainOptions,
    out: Path,
    *,
    device: str,
    workers: int,
    overwrite: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Training, ModelInfo | None]:
    """Build data, network and optimiser, then take the output; and what lies in the output already."""
    _check_machine(options, device)
    there = claim(out, overwrite=False)
    if overwrite or there is None or not there.finished:
        fused.corpus.require_root()
    data = _material(fused, options)
    seed_torch("weights", options.seed)
    encoder = fresh_encoder(options.model) if options.from_scratch else load_encoder(options.model)
    sounds = Sounds(fused.corpus, shortest=encoder.shortest, **({"memory_seconds": 0.0} if options.frozen else {}))
    choice = None
    if options.layer == "auto":
        choice = _chosen_before(None if overwrite else there, encoder) or choose_layer(
            encoder, data.examples, sounds, seed=options.seed, batch_seconds=options.batch_seconds,
            device=pick_device(device), progress=progress,
        )  # fmt: skip
    encoder = choose(encoder.cpu(), options.layer if choice is None else str(choice.layer))
    network = _network(encoder, options, labels=len(fused.corpus.labels), dimensions=data.dimensions)
    info = _describe(fused, options, network, choice, data, out)
    found = claim(out, overwrite=overwrite)
    accelerator = make_accelerator(device, options.precision)
    network, optimiser = accelerator.prepare(network, make_optimiser(network, options))
    training = Training(
        out=out,
        info=info,
        examples=data.examples,
        validation=data.validation,
        sounds=sounds,
        network=network,
        optimiser=optimiser,
        accelerator=accelerator,
        class_weights=class_weights(options.loss, data.examples.targets.sum(axis=0)),
        dimension_weights=np.array([options.dimension_weights.get(name, 1.0) for name in data.dimensions]),
        workers=workers,
    )
    return training, found


def _check_machine(options: TrainOptions, device: str) -> None:
    """accelerate takes fp16 on a CPU without a word, and computes in 32 bits."""
    where = pick_device(device).type
    if options.precision == "fp16" and where == "cpu":
        raise OptionError(
            f"--precision fp16 needs a GPU, and this training would run on the {where}: use --precision bf16, or no"
        )


def _check_dimensions(options: TrainOptions, rated: list[str]) -> None:
    """OptionError for ratings that the best epoch, or a weight, is asked for and that are not there."""
    if METRICS[options.best_by].of == "rating" and not rated:
        raise OptionError(
            f"--best-by {options.best_by} needs ratings of valence, arousal or dominance, and the train split has none"
        )
    odd = [name for name, weight in options.dimension_weights.items() if weight != 1 and name not in rated]
    if rated and odd:
        raise OptionError(
            f"dimension_weights gives {', '.join(odd)} another weight, and nobody rated it in the train split, only "
            f"{', '.join(rated)}: leave it out"
        )


def _idle(options: TrainOptions, rated: list[str]) -> list[str]:
    """A warning where nothing was rated of what a recipe weighs; a recipe is of use without ratings, too."""
    asked = {"dimensional_loss": options.dimensional_loss != "ccc", "dimension_weights": options.dimension_weights}
    names = [name for name, given in asked.items() if given]
    if rated or not names or not options.dimensional_weight:
        return []
    return [f"nobody rated the train split, so {', '.join(names)} do nothing"]


class _Material(NamedTuple):
    """What is learnt from, what epochs are judged on, and which dimensions are rated."""

    examples: Examples
    validation: Examples
    dimensions: list[str]


def _material(fused: Fused, options: TrainOptions) -> _Material:
    dimensions = rated_dimensions(fused.corpus) if options.dimensional_weight > 0 else []
    _check_dimensions(options, dimensions)
    examples = training_examples(
        fused, dimensions, targets=options.targets, merged_alpha=options.merged_alpha, seed=options.seed
    )
    return _Material(examples, validation_examples(fused.corpus, dimensions), dimensions)


def _chosen_before(there: ModelInfo | None, encoder: SpeechEncoder) -> Choice | None:
    """What `auto` chose in the training that lies in the output: it is this one, and nothing is chosen twice, or will
    be refused, and nothing needs to be chosen.
    """
    if there is None:
        return None
    built, scores = there.architecture, there.architecture.saliency
    layer = 0 if scores is None else min(int(built.layer), encoder.depth)
    return Choice(layer, scores or [], built.saliency_utterances)


def _network(encoder: SpeechEncoder, options: TrainOptions, *, labels: int, dimensions: list[str]) -> EmotionModel:
    return EmotionModel(
        encoder,
        labels=labels,
        dimensions=dimensions,
        dropout=options.dropout,
        head=options.head,
        pooling=options.pooling,
        skip=options.skip,
        variances=options.dimensional_loss == "nll-ccc",
    )


def _describe(
    fused: Fused,
    options: TrainOptions,
    network: EmotionModel,
    choice: Choice | None,
    data: _Material,
    out: Path,
) -> ModelInfo:
    corpus = fused.corpus
    return ModelInfo(
        name=out.resolve().name,
        architecture=Architecture(
            encoder=network.encoder.config.to_dict(),
            normalise=network.encoder.normalise,
            layer=options.layer if choice is None else str(choice.layer),
            saliency=None if choice is None else choice.scores,
            saliency_utterances=0 if choice is None else choice.utterances,
            head=options.head,
            pooling=options.pooling,
            skip=options.skip,
            variances=options.dimensional_loss == "nll-ccc",
            dropout=options.dropout,
            parameters=sum(p.numel() for p in network.parameters()),
        ),
        labels=corpus.labels.to_json(),
        dimensions=data.dimensions,
        scale=corpus.info.scale,
        options=options,
        fused=Source(
            path=str(fused.path),
            name=corpus.name,
            strategy=fused.info.strategy,
            fingerprint=fused.fingerprint,
            utterances={"train": len(np.unique(data.examples.rows)), "development": len(data.validation)},
            examples=len(data.examples),
            shares=taught_shares(data.examples).tolist(),
        ),
        division=corpus.info.division,
        marginal=seen_marginal(fused).tolist(),
        warnings=[
            *shared_speakers(corpus),
            *untaught_labels(data.examples),
            *left_out(data.examples, options.targets),
            *_idle(options, data.dimensions),
        ],
        software=software(),
    )
