"""Prediction: what a trained model hears in a corpus or in sound files.

A sound longer than `WINDOW` seconds is heard in equal windows of at most that, whose distributions, ratings and
strengths are averaged: memory stays what a training's is, and no model is asked about lengths that it never met.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.audio import SAMPLE_RATE, load_audio, utterance_audio, window_count
from ..data.corpus import Corpus, corpus_directory, open_corpus
from ..data.display import Displayed, columns_of, frame, number
from ..data.errors import AudioError, CorpusError, ModelError, OptionError, list_problems
from ..data.files import new_directory, read_json, refuse_existing, write_json
from ..data.tables import DISTRIBUTIONS, FAILURES, RATINGS, distribution_array, from_rows, read_table, write_table
from .checkpoint import ModelInfo, Trained, open_model, software
from .dataset import heard, pad
from .network.heads import Output
from .network.losses import CATEGORICAL, LOG_EVIDENCE
from .preparing import no_shapes_kept, pick_device
from .targets import from_unit

if TYPE_CHECKING:
    import pandas as pd

# --------------------
# A prediction and its directory: distributions.parquet, ratings.parquet, failures.parquet and prediction.json.

FORMAT = 1


@dataclass(frozen=True, slots=True, repr=False)
class Prediction(Displayed):
    """What a model hears: distributions [U, K] and mean ratings [U, D] on the corpus's scale, in the order of
    `ids`.

    `effective_votes` [U] are how many votes a model of loss dirichlet-multinomial takes each distribution to be worth;
    None of any other model. An utterance that could not be heard is a row of NaN, and has its reason in `failures`.
    `source` says what was heard, where it is known.
    """

    model: ModelInfo
    ids: list[str]
    distributions: np.ndarray
    ratings: np.ndarray
    failures: dict[str, str]
    path: Path | None = None
    effective_votes: np.ndarray | None = None
    source: dict[str, Any] | None = None

    def lines(self) -> tuple[str, str]:
        """Model and what it heard; utterances, failures, the folder."""
        heard = len(self.ids) - len(self.failures)
        place = "not written" if self.path is None else str(self.path)
        return (
            f"Prediction of {self.model.name} for {self.source_words}",
            f"{number(heard, 'utterance')} heard, {number(len(self.failures), 'failure')}; {place}",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per utterance: the distribution, a column per label by its name, mean ratings, and why it failed."""
        part, info = slice(limit), self.model
        labels = info.label_set.labels
        strength = {} if self.effective_votes is None else {"effective_votes": self.effective_votes[part]}
        return frame(
            {
                "utterance_id": self.ids[part],
                **columns_of(labels, self.distributions[part]),
                **strength,
                **columns_of(info.dimensions, self.ratings[part], labels),
                "failure": [self.failures.get(name) for name in self.ids[part]],
            }
        )

    @property
    def source_words(self) -> str:
        """What was heard, in words."""
        found = self.source or {}
        if "corpus" in found:
            return f"the corpus {found['corpus']}"
        return "one sound file" if found.get("files") == 1 else f"{found.get('files', 'some')} sound files"


class PredictionInfo(BaseModel):
    """What `prediction.json` holds: the model, whole, so that a prediction can be scored without it."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    model: ModelInfo
    source: dict[str, Any]
    counts: dict[str, int]
    software: dict[str, str] = Field(default_factory=dict)


def write_prediction(path: Path, found: Prediction, described: dict[str, Any]) -> None:
    """Fill a prediction directory; `described` says what was heard."""
    info, labels = found.model, found.model.label_set
    provenance = {"model": info.name, "fused": info.fused.fingerprint, **described}
    heard = [place for place, name in enumerate(found.ids) if name not in found.failures]
    strength = found.effective_votes
    rows = [
        {
            "utterance_id": found.ids[place],
            "p": found.distributions[place].tolist(),
            "effective_votes": None if strength is None else float(strength[place]),
            "source": info.name,
        }
        for place in heard
    ]
    table = from_rows(rows, DISTRIBUTIONS, labels=labels)
    write_table(table, path / "distributions.parquet", DISTRIBUTIONS, labels=labels, provenance=provenance)
    if info.dimensions and info.scale is not None:
        rated = [
            {
                "utterance_id": found.ids[place],
                "rater_id": info.name,
                "source": "synthetic",
                "dimension": dimension,
                "value": float(found.ratings[place, d]),
            }
            for place in heard
            for d, dimension in enumerate(info.dimensions)
        ]
        scaled = {**provenance, "scale": list(info.scale)}
        write_table(from_rows(rated, RATINGS), path / "ratings.parquet", RATINGS, provenance=scaled)
    failures = [{"utterance_id": name, "reason": reason, "attempts": 1} for name, reason in found.failures.items()]
    write_table(from_rows(failures, FAILURES), path / "failures.parquet", FAILURES, provenance=provenance)
    counts = {"utterances": len(found.ids), "predicted": len(heard), "failed": len(failures)}
    written = PredictionInfo(model=info, source=described, counts=counts, software=software())
    write_json(path / "prediction.json", written.model_dump(mode="json"))


def is_prediction(path: str | PathLike[str]) -> bool:
    """Whether a directory holds a prediction (it may still be a broken one)."""
    return (Path(path) / "prediction.json").is_file()


def as_prediction(system: Prediction | str | PathLike[str]) -> Prediction | None:
    """A prediction as it is, or the one at a path, read; None where the path holds no prediction."""
    if isinstance(system, Prediction):
        return system
    return read_prediction(system) if is_prediction(system) else None


def read_prediction(path: str | PathLike[str]) -> Prediction:
    """Read a prediction directory; ModelError or TableError where it is absent, broken, or of a newer format."""
    path = Path(path)
    if not is_prediction(path):
        raise ModelError(f"no prediction at {path}: it has no prediction.json; make one with 'serann predict'")
    found = read_json(path / "prediction.json", what="prediction's description")
    newest = found.get("format", FORMAT)
    if isinstance(newest, int) and newest > FORMAT:
        raise ModelError(f"{path}: prediction format {newest} was written by a newer serann: upgrade")
    try:
        described = PredictionInfo.model_validate(found)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ModelError(list_problems(str(path / "prediction.json"), problems)) from None
    info = described.model
    table = read_table(path / "distributions.parquet", DISTRIBUTIONS, labels=info.label_set)
    failed = read_table(path / "failures.parquet", FAILURES)
    failures = dict(zip(failed["utterance_id"].to_pylist(), failed["reason"].to_pylist(), strict=True))
    heard = table["utterance_id"].to_pylist()
    ids = [*heard, *failures]
    distributions = np.full((len(ids), len(info.label_set)), np.nan)
    distributions[: len(heard)] = distribution_array(table["p"])
    strength = None
    if len(heard) and not table["effective_votes"].null_count:
        strength = np.full(len(ids), np.nan)
        strength[: len(heard)] = table["effective_votes"].to_numpy()
    ratings = _read_ratings(path, info, ids)
    return Prediction(info, ids, distributions, ratings, failures, path, strength, described.source)


def _read_ratings(path: Path, info: ModelInfo, ids: list[str]) -> np.ndarray:
    ratings = np.full((len(ids), len(info.dimensions)), np.nan)
    if not info.dimensions:
        return ratings
    row_of, column_of = ({name: i for i, name in enumerate(names)} for names in (ids, info.dimensions))
    strangers = []
    for rated in read_table(path / "ratings.parquet", RATINGS).to_pylist():
        name, dimension = rated["utterance_id"], rated["dimension"]
        if name not in row_of:
            strangers.append(f"utterance {name!r} is not in distributions.parquet")
        elif dimension not in column_of:
            strangers.append(f"utterance {name!r} is rated on {dimension}, which the model does not answer")
        else:
            ratings[row_of[name], column_of[dimension]] = rated["value"]
    if strangers:
        raise ModelError(
            list_problems(f"{path / 'ratings.parquet'}: does not fit its prediction; predict again", strangers)
        )
    return ratings


# Seconds of a window: training refuses longer utterances.
WINDOW = 30.0
# Windows are read and sorted by length this many at a time: enough for full batches, little to hold in memory.
CHUNK = 256
Progress = Callable[[int, int], None]
Reader = Callable[[], np.ndarray]
# What is done to an utterance's sound before it is heard: (row of the corpus, waveform) to a waveform.
Change = Callable[[int, np.ndarray], np.ndarray]


def predict(
    model: str | PathLike[str],
    source: Corpus | str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    out: str | Path,
    device: str = "auto",
    batch_seconds: float = 120.0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Let a trained model listen to a corpus (or its folder, or `demo`), or to sound files, and write a prediction.

    It holds distributions.parquet (`source` is the model's name; `effective_votes` for a model of loss
    dirichlet-multinomial), ratings.parquet for a model with a dimensional head, failures.parquet with the utterances
    that could not be heard, and prediction.json. Files are named by their path as given.

    Raises ModelError for a model that is absent or unfinished, OutputError for an existing output without `overwrite`
    (which replaces a former prediction alone), AudioError where nothing of it all can be heard.
    """
    source = _heard_of(source)
    inputs = [Path(model), *([source.path] if isinstance(source, Corpus) else source)]
    refuse_existing(Path(out), what="prediction", overwrite=overwrite, inputs=inputs)
    trained = open_model(Path(model))
    with new_directory(out, what="prediction", overwrite=overwrite, inputs=inputs) as partial:
        if isinstance(source, Corpus):
            found = predict_corpus(trained, source, device=device, batch_seconds=batch_seconds, progress=progress)
            described = {"corpus": source.name, "path": str(source.path)}
        else:
            found = predict_files(trained, source, device=device, batch_seconds=batch_seconds, progress=progress)
            described = {"files": len(found.ids)}
        _refuse_silence(found)
        write_prediction(partial, found, described)
    return replace(found, path=Path(out), source=described)


def _heard_of(source: Corpus | str | PathLike[str] | Sequence[str | PathLike[str]]) -> Corpus | list[str]:
    """A corpus, opened where its folder is named, or sound files."""
    if isinstance(source, Corpus):
        return source
    if not isinstance(source, str | PathLike):
        return [fspath(file) for file in source]
    place = corpus_directory(source)
    if not place.exists():
        raise CorpusError(f"nothing is at {fspath(source)}: expected a corpus directory, 'demo', or sound files")
    return open_corpus(source) if place.is_dir() else [fspath(source)]


def _refuse_silence(found: Prediction) -> None:
    """Raise AudioError where not one utterance was heard."""
    if len(found.failures) < len(found.ids):
        return
    name, reason = next(iter(found.failures.items()), ("", "there is none"))
    raise AudioError(
        f"none of the {len(found.ids)} utterances can be heard, so nothing was written; "
        f"the first{f', {name}' if name else ''}: {reason}"
    )


def predict_corpus(
    trained: Trained,
    corpus: Corpus,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    change: Change | None = None,
    device: str = "auto",
    batch_seconds: float = 120.0,
    progress: Progress | None = None,
) -> Prediction:
    """Listen to a corpus's utterances, all or those at `rows`, as they are or as `change` makes them."""
    corpus.require_root()
    chosen = range(len(corpus.ids)) if rows is None else [int(row) for row in rows]

    def read(row: int) -> np.ndarray:
        sound = utterance_audio(corpus, row, max_seconds=math.inf)
        return sound if change is None else change(row, sound)

    readers = [lambda row=row: read(row) for row in chosen]
    ids = [corpus.ids[row] for row in chosen]
    return listen(trained, ids, readers, device=device, batch_seconds=batch_seconds, progress=progress)


def predict_files(
    trained: Trained,
    files: Sequence[str | Path],
    *,
    device: str = "auto",
    batch_seconds: float = 120.0,
    progress: Progress | None = None,
) -> Prediction:
    """Listen to sound files; OptionError for a file that is named twice."""
    ids = [str(file) for file in files]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise OptionError(list_problems("sound files to predict", [f"{name} is named twice" for name in twice]))
    readers = [lambda path=name: load_audio(path, max_seconds=math.inf) for name in ids]
    return listen(trained, ids, readers, device=device, batch_seconds=batch_seconds, progress=progress)


def listen(
    trained: Trained,
    ids: list[str],
    readers: Sequence[Reader],
    *,
    device: str,
    batch_seconds: float,
    progress: Progress | None = None,
) -> Prediction:
    """Distributions and ratings of sounds, read when their turn comes; a batch gives what each sound gives
    alone.
    """
    where, info = pick_device(device), trained.info
    network = trained.network.to(where)
    evidential = CATEGORICAL[info.options.loss].evidential
    sums = np.zeros((len(ids), len(info.label_set) + len(info.dimensions) + 1))
    heard_windows, failures = np.zeros(len(ids)), {}
    for windows in _chunks(ids, readers, network.encoder.shortest, failures):
        for batch in _batches(windows, batch_seconds):
            waveforms, lengths = pad([sound for _, sound in batch])
            with torch.inference_mode(), no_shapes_kept():
                answers = _answers(network(waveforms.to(where), lengths.to(where)), info)
            places = [place for place, _ in batch]
            np.add.at(sums, places, answers)
            np.add.at(heard_windows, places, 1)
            if progress is not None:
                progress(int((heard_windows > 0).sum()) + len(failures), len(ids))
    means = np.divide(sums, heard_windows[:, None], out=np.full(sums.shape, np.nan), where=heard_windows[:, None] > 0)
    distributions, ratings, strength = np.split(means, [len(info.label_set), -1], axis=1)
    return Prediction(
        info, ids, distributions, ratings, failures, effective_votes=strength[:, 0] if evidential else None
    )


def _answers(output: Output, info: ModelInfo) -> np.ndarray:
    """What a batch is answered, [B, K + D + 1]: the distribution, ratings on the corpus's scale, and the strength
    sum_c exp(z_c) in votes, the logits z held where the loss holds them.
    """
    logits = output.logits.cpu().double()
    strength = torch.logsumexp(logits.clamp(-LOG_EVIDENCE, LOG_EVIDENCE), dim=-1, keepdim=True).exp()
    parts = [torch.softmax(logits, dim=-1).numpy(), strength.numpy()]
    if output.ratings is not None and info.scale is not None:
        parts.insert(1, from_unit(output.ratings.cpu().double().numpy(), info.scale))
    return np.concatenate(parts, axis=1)


def _chunks(
    ids: list[str], readers: Sequence[Reader], shortest: int, failures: dict[str, str]
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Windows of the sounds with their sound's place, at least `CHUNK` at a time; what cannot be heard is told in
    `failures`.
    """
    windows: list[tuple[int, np.ndarray]] = []
    for place, read in enumerate(readers):
        sound = heard(read, shortest=shortest)
        if isinstance(sound, str):
            failures[ids[place]] = sound
            continue
        windows += [(place, window) for window in windows_of(sound)]
        if len(windows) >= CHUNK:
            yield windows
            windows = []
    if windows:
        yield windows


def windows_of(sound: np.ndarray) -> list[np.ndarray]:
    """A sound [T] in equal windows of at most `WINDOW` seconds, to a sample; one of up to that length is itself."""
    count = window_count(len(sound) / SAMPLE_RATE, WINDOW)
    edges = [len(sound) * i // count for i in range(count + 1)]
    return [sound[first:last] for first, last in itertools.pairwise(edges)]


def _batches(windows: list[tuple[int, np.ndarray]], batch_seconds: float) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Windows in batches of like-long ones, each of at most `batch_seconds` with its padding."""
    batch: list[tuple[int, np.ndarray]] = []
    for window in sorted(windows, key=lambda window: len(window[1])):
        if batch and len(window[1]) * (len(batch) + 1) > batch_seconds * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
