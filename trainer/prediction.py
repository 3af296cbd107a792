"""A prediction and its directory: distributions.parquet, ratings.parquet, failures.parquet and prediction.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.errors import ModelError, list_problems
from ..data.files import read_json, write_json
from ..data.tables import DISTRIBUTIONS, FAILURES, RATINGS, distribution_array, from_rows, read_table, write_table
from .checkpoint import ModelInfo, software

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Prediction:
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
