"""Prediction: what a trained model hears in a corpus or in sound files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.audio import SAMPLE_RATE, load_audio, utterance_audio
from ..data.corpus import Corpus
from ..data.errors import ModelError, OptionError, list_problems
from ..data.files import new_directory, read_json, write_json
from ..data.tables import DISTRIBUTIONS, FAILURES, RATINGS, distribution_array, from_rows, read_table, write_table
from .checkpoint import ModelInfo, Trained, open_model, software
from .dataset import heard
from .device import pick_device
from .encoders import pad
from .targets import from_unit

FORMAT = 1
# Sounds are read and sorted by length this many at a time: enough for full batches, little to hold in memory.
CHUNK = 256
Progress = Callable[[int, int], None]
Reader = Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model hears: distributions [U, K] and mean ratings [U, D] on the corpus's scale, in the order of
    `ids`.

    An utterance that could not be heard is a row of NaN, and has its reason in `failures`.
    """

    model: ModelInfo
    ids: list[str]
    distributions: np.ndarray
    ratings: np.ndarray
    failures: dict[str, str]
    path: Path | None = None


class PredictionInfo(BaseModel):
    """What `prediction.json` holds: the model, whole, so that a prediction can be scored without it."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    model: ModelInfo
    source: dict[str, Any]
    counts: dict[str, int]
    software: dict[str, str] = Field(default_factory=dict)


def predict(
    model: str | Path,
    source: Corpus | Sequence[str | Path],
    *,
    out: str | Path,
    device: str = "auto",
    batch_seconds: float = 120.0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Let a trained model listen to a corpus, or to sound files, and write a prediction directory.

    It holds distributions.parquet (`source` is the model's name), ratings.parquet for a model with a
    dimensional head, failures.parquet with the utterances that could not be heard, and prediction.json. Files
    are named by their path as given. Raises ModelError for a model that is absent or unfinished, OutputError
    for an existing output without `overwrite`.
    """
    trained = open_model(model)
    with new_directory(out, what="prediction", overwrite=overwrite) as partial:
        if isinstance(source, Corpus):
            found = predict_corpus(trained, source, device=device, batch_seconds=batch_seconds, progress=progress)
            described = {"corpus": source.name, "path": str(source.path)}
        else:
            found = predict_files(trained, source, device=device, batch_seconds=batch_seconds, progress=progress)
            described = {"files": len(found.ids)}
        _write(partial, found, described)
    return Prediction(found.model, found.ids, found.distributions, found.ratings, found.failures, Path(out))


def predict_corpus(
    trained: Trained,
    corpus: Corpus,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    device: str = "auto",
    batch_seconds: float = 120.0,
    progress: Progress | None = None,
) -> Prediction:
    """Listen to a corpus's utterances, all or those at `rows`."""
    chosen = range(len(corpus.ids)) if rows is None else [int(row) for row in rows]
    readers = [lambda i=row: utterance_audio(corpus, i) for row in chosen]
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
    readers = [lambda path=name: load_audio(path) for name in ids]
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
    distributions = np.full((len(ids), len(info.label_set)), np.nan)
    ratings = np.full((len(ids), len(info.dimensions)), np.nan)
    failures: dict[str, str] = {}
    for first in range(0, len(ids), CHUNK):
        sounds: dict[int, np.ndarray] = {}
        for place in range(first, min(first + CHUNK, len(ids))):
            sound = heard(readers[place], shortest=network.encoder.shortest)
            if isinstance(sound, str):
                failures[ids[place]] = sound
            else:
                sounds[place] = sound
        for places in _batches(sounds, batch_seconds):
            waveforms, lengths = pad([sounds[place] for place in places])
            with torch.inference_mode():
                output = network(waveforms.to(where), lengths.to(where))
            distributions[places] = torch.softmax(output.logits.cpu().double(), dim=-1).numpy()
            if output.ratings is not None and info.scale is not None:
                ratings[places] = from_unit(output.ratings.cpu().double().numpy(), info.scale)
            if progress is not None:
                progress(int((~np.isnan(distributions[:, 0])).sum()) + len(failures), len(ids))
    return Prediction(info, ids, distributions, ratings, failures)


def _batches(sounds: dict[int, np.ndarray], batch_seconds: float) -> Iterator[list[int]]:
    """Places in batches of like-long sounds, each of at most `batch_seconds` with its padding."""
    batch: list[int] = []
    for place in sorted(sounds, key=lambda place: len(sounds[place])):
        if batch and len(sounds[place]) * (len(batch) + 1) > batch_seconds * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _write(path: Path, found: Prediction, described: dict[str, Any]) -> None:
    info, labels = found.model, found.model.label_set
    provenance = {"model": info.name, "fused": info.fused.fingerprint, **described}
    heard = [place for place, name in enumerate(found.ids) if name not in found.failures]
    rows = [
        {"utterance_id": found.ids[place], "p": found.distributions[place].tolist(), "source": info.name}
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


def is_prediction(path: str | Path) -> bool:
    """Whether a directory holds a prediction (it may still be a broken one)."""
    return (Path(path) / "prediction.json").is_file()


def read_prediction(path: str | Path) -> Prediction:
    """Read a prediction directory; ModelError or TableError where it is absent, broken, or of a newer format."""
    path = Path(path)
    if not is_prediction(path):
        raise ModelError(f"no prediction at {path}: it has no prediction.json; make one with 'serann predict'")
    found = read_json(path / "prediction.json", what="prediction's description")
    newest = found.get("format", FORMAT)
    if isinstance(newest, int) and newest > FORMAT:
        raise ModelError(f"{path}: prediction format {newest} was written by a newer serann: upgrade")
    try:
        info = PredictionInfo.model_validate(found).model
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ModelError(list_problems(str(path / "prediction.json"), problems)) from None
    table = read_table(path / "distributions.parquet", DISTRIBUTIONS, labels=info.label_set)
    failed = read_table(path / "failures.parquet", FAILURES)
    failures = dict(zip(failed["utterance_id"].to_pylist(), failed["reason"].to_pylist(), strict=True))
    heard = table["utterance_id"].to_pylist()
    ids = [*heard, *failures]
    distributions = np.full((len(ids), len(info.label_set)), np.nan)
    distributions[: len(heard)] = distribution_array(table["p"])
    return Prediction(info, ids, distributions, _read_ratings(path, info, ids), failures, path)


def _read_ratings(path: Path, info: ModelInfo, ids: list[str]) -> np.ndarray:
    ratings = np.full((len(ids), len(info.dimensions)), np.nan)
    if info.dimensions:
        row_of = {name: row for row, name in enumerate(ids)}
        for rated in read_table(path / "ratings.parquet", RATINGS).to_pylist():
            ratings[row_of[rated["utterance_id"]], info.dimensions.index(rated["dimension"])] = rated["value"]
    return ratings
