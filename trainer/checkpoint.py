"""A model directory: what was trained on what (model.json), its weights, its metrics, and what may take its
place.
"""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..data.corpus import Division
from ..data.display import NAMES, Displayed, number, records
from ..data.errors import ModelError, OutputError, few, list_problems
from ..data.files import atomic_file, finite, kind_of, read_json, take_place, write_json
from ..data.labels import LabelSet
from .network.encoders import choose
from .network.heads import EmotionModel
from .network.loading import build_encoder
from .options import TrainOptions

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
CONSTANT = "constant"


class Architecture(BaseModel):
    """How to build the network before its weights are loaded; `encoder` is a transformers configuration, `layer` the
    one whose states are read, and where `auto` chose it `saliency` every layer's, the embeddings' first, of
    so many utterances.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: dict[str, Any]
    normalise: bool
    layer: str = "last"
    saliency: list[float] | None = None
    saliency_utterances: int = 0
    head: str = "linear"
    pooling: str = "mean"
    skip: bool = False
    variances: bool = False
    dropout: float
    parameters: int


class Source(BaseModel):
    """The fused corpus that a model learnt from; how many `examples` were made of its utterances (single votes are one
    each), and the labels' `shares` of them (both absent in old models).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    name: str
    strategy: str
    fingerprint: str
    utterances: dict[str, int]
    examples: int | None = None
    shares: list[float] | None = None


class ModelInfo(BaseModel):
    """What `model.json` holds. `finished` is false while a training may be resumed; `marginal` is the share
    of each label among the train split's seen human votes (one half added to each count): the constant that a
    model has to beat. `encoder_fingerprint` is that of an encoder that stays frozen (`features.encoder_fingerprint`;
    absent in old models).
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    name: str
    architecture: Architecture
    labels: dict[str, Any]
    dimensions: list[str]
    scale: tuple[float, float] | None
    options: TrainOptions
    fused: Source
    division: Division | None
    marginal: list[float]
    encoder_fingerprint: str | None = None
    finished: bool = False
    best_epoch: int | None = None
    best: dict[str, float | None] = Field(default_factory=dict)
    failures: list[dict[str, Any]] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    software: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> ModelInfo:
        if len(self.marginal) != len(self.labels["labels"]):
            raise ValueError(f"marginal has {len(self.marginal)} shares for {len(self.labels['labels'])} labels")
        if self.dimensions and self.scale is None:
            raise ValueError("dimensions without a scale")
        return self

    @property
    def label_set(self) -> LabelSet:
        return LabelSet.from_json(self.labels)


@dataclass(frozen=True, slots=True, repr=False)
class Model(Displayed):
    """A finished model directory: where it is, and its description; `open_model` loads its network."""

    path: Path
    info: ModelInfo

    @property
    def history(self) -> list[dict[str, Any]]:
        """Each epoch's figures on the development split, in order."""
        lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def lines(self) -> tuple[str, str]:
        """Name, encoder and what it learnt from; the epoch that was kept with its figures, the folder."""
        info, fused = self.info, self.info.fused
        shown = {name: info.best.get(name) for name in ("log_score", "uar", "accuracy")}
        best = ", ".join(f"{name} {value:.3f}" for name, value in shown.items() if value is not None)
        encoder = info.architecture.encoder.get("model_type", "encoder")
        return (
            f"Model {info.name} ({encoder}) trained on {fused.name} fused by {fused.strategy}, "
            f"{number(len(info.label_set), 'label')} ({few(info.label_set.labels, NAMES)})",
            f"epoch {info.best_epoch} was best on development: {best}; {self.path}",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per epoch: losses, and scores on the development split's human votes."""
        return records(self.history[:limit])


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, opened: its description and the network in evaluation mode."""

    path: Path
    info: ModelInfo
    network: EmotionModel


def software() -> dict[str, str]:
    """Versions of what computes."""
    packages = ("serann", "torch", "transformers", "accelerate", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def read_model_info(path: str | Path) -> ModelInfo:
    """Read model.json; ModelError where it is absent, broken, or of a newer format."""
    path = Path(path)
    if not (path / "model.json").is_file():
        what = "it has no model.json" if path.is_dir() else "no such directory"
        raise ModelError(f"no trained model at {path}: {what}; make one with 'serann train FUSED -o {path}'")
    found = read_json(path / "model.json", what="trained model's description")
    newest = found.get("format", FORMAT)
    if isinstance(newest, int) and newest > FORMAT:
        raise ModelError(
            f"{path}: model format {newest} was written by a newer serann; this one reads up to {FORMAT}: upgrade"
        )
    try:
        return ModelInfo.model_validate(found)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ModelError(list_problems(str(path / "model.json"), problems)) from None


def write_model_info(path: Path, info: ModelInfo) -> None:
    write_json(path / "model.json", info.model_dump(mode="json"))


def open_model(path: str | Path) -> Trained:
    """Open a finished model directory, on the CPU and ready to listen.

    Raises ModelError where it is absent, unfinished, or its weights do not fit its description.
    """
    path = Path(path)
    info = read_model_info(path)
    if not info.finished:
        raise ModelError(
            f"{path}: its training is not finished; run the same 'serann train' command again to go on with it"
        )
    network = build_network(info)
    load_weights(network, path / "weights.safetensors")
    return Trained(path, info, network.eval())


def build_network(info: ModelInfo) -> EmotionModel:
    """The network that model.json describes; its weights are random until some are loaded."""
    with torch.random.fork_rng():
        encoder = build_encoder(info.architecture.encoder, normalise=info.architecture.normalise)
        encoder = choose(encoder, info.architecture.layer)
        return EmotionModel(
            encoder,
            labels=len(info.labels["labels"]),
            dimensions=info.dimensions,
            dropout=info.architecture.dropout,
            head=info.architecture.head,
            pooling=info.architecture.pooling,
            skip=info.architecture.skip,
            variances=info.architecture.variances,
        )


def save_weights(network: EmotionModel, path: Path) -> None:
    """Write weights.safetensors, atomically; OutputError where the disk refuses."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_file(path) as partial:
        # Made in memory and written by Python: the libraries' own writers end a full disk in errors of their own.
        partial.write_bytes(save(tensors))


def load_weights(network: EmotionModel, path: Path) -> None:
    """Load weights by name; ModelError where the file is absent, broken, or of another architecture."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; train the model again") from None
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(f"{path}: these weights cannot be loaded: {str(error).splitlines()[0]}") from error
    if missing or unexpected:
        odd = sorted([*missing, *unexpected])[0]
        raise ModelError(f"{path}: {len(missing) + len(unexpected)} weights do not fit model.json, {odd} among them")


def claim(out: Path, *, overwrite: bool) -> ModelInfo | None:
    """Look at an output directory: return the model, finished or not, that lies there, None for a fresh one.

    With `overwrite` it is the one that is being made beside it, to replace it. Raises OutputError for anything else
    that lies in the output.
    """
    if out.name == CONSTANT:
        raise OutputError(
            f"{out}: a model is named after its directory, and {CONSTANT!r} is the baseline's name: rename"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and kind_of(out) != "model":
        raise OutputError(f"{out} exists and is no model directory; choose another output")
    place = beside(out) if overwrite else out
    return read_model_info(place) if (place / "model.json").is_file() else None


def beside(out: Path) -> Path:
    """Where a model is trained that is to replace the one in `out`, which stays until then."""
    return out.resolve().parent / f".{out.resolve().name}.training"


def take_up(out: Path, found: ModelInfo | None, asked: ModelInfo) -> ModelInfo | None:
    """Go on with what was `found` beside `out`, or make room for it there: return it if it is what is `asked` for.

    One that is finished and has no checkpoint is a former model, whose removal was killed.
    """
    former = found is not None and found.finished and not (beside(out) / "checkpoint").is_dir()
    if found is not None and not former and not changes(found, asked):
        return found
    shutil.rmtree(beside(out), ignore_errors=True)
    return None


def complete(out: Path) -> None:
    """Give the finished model beside `out` its name, where a kill between two renamings left none in `out`."""
    place = beside(out)
    if not out.exists() and (place / "model.json").is_file() and read_model_info(place).finished:
        take_place(place, out.resolve())


def settle(place: Path, out: Path) -> Path:
    """Give a finished model in `place` its name `out`, and drop what only a resumed training needs."""
    if place != out:
        take_place(place, out.resolve())
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    return out


def changes(found: ModelInfo, asked: ModelInfo) -> list[str]:
    """Whatever differs between a training that was found and the one that is asked for, in words."""
    before, now = found.options.model_dump(), asked.options.model_dump()
    problems = [f"{name} was {before[name]!r}, now {now[name]!r}" for name in now if before[name] != now[name]]
    if found.fused.fingerprint != asked.fused.fingerprint:
        problems.append(f"the fused corpus was {found.fused.path}, now {asked.fused.path} with other contents")
    if problems:
        return problems
    built = [info.architecture.model_dump(mode="json")["encoder"] for info in (found, asked)]
    if built[0] != built[1]:
        return ["the encoder's configuration has changed"]
    if None not in (prints := (found.encoder_fingerprint, asked.encoder_fingerprint)) and prints[0] != prints[1]:
        return [f"the frozen encoder's weights, of {asked.options.model}, are others than it began with"]
    return []


def refuse_changes(found: ModelInfo, asked: ModelInfo, out: Path) -> None:
    """Raise OutputError naming whatever differs between the training in `out` and the one that is asked for."""
    problems = changes(found, asked)
    if problems:
        held, advice = "an unfinished training of another kind", "run the former command to go on with it, "
        if found.finished:
            held, advice = "a finished model of another training", ""
        advice += "choose another output, or pass --overwrite to replace it"
        raise OutputError(list_problems(f"{out} holds {held} ({advice})", problems))


def write_metrics(out: Path, history: list[dict[str, Any]]) -> None:
    """Write metrics.jsonl, one line per epoch; a number that is not finite becomes null."""
    with atomic_file(out / "metrics.jsonl") as partial:
        partial.write_text(
            "".join(json.dumps(finite(row), allow_nan=False) + "\n" for row in history), encoding="utf-8"
        )
