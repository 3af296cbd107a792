"""A fused corpus: a corpus directory with `fusion.json` and `distributions.parquet` beside its tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .corpus import Corpus, corpus_fingerprint, open_corpus
from .display import NAMES, Displayed, columns_of, frame, number
from .errors import CorpusError, few, list_problems
from .files import fingerprint, read_json
from .tables import DISTRIBUTIONS, distribution_array, read_table

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
FUSION_FILE = "fusion.json"
DISTRIBUTIONS_FILE = "distributions.parquet"
# The strategies that did not smooth when files did not yet say so; newer strategies are in no such file.
UNSMOOTHED_ONCE = frozenset({"human", "synthetic", "pool", "dawid-skene", "mace", "glad"})


class FusionInfo(BaseModel):
    """What `fusion.json` holds: how the distributions came about, and from what.

    `smooths`: effective votes hold a prior's votes; else they are votes that were cast. `state`: the fit of all train
    speakers, from which the strategy can be used on another corpus. `parameters` are for people to read.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    strategy: str
    blend: str | None = None
    formula: str
    smooths: bool | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    state: dict[str, Any] = Field(default_factory=dict)
    corpus: dict[str, Any]
    runs: list[dict[str, Any]] = Field(default_factory=list)
    division: dict[str, Any] | None = None
    seed: int = 0
    counts: dict[str, int] = Field(default_factory=dict)
    shares: dict[str, dict[str, float]] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    failures: list[dict[str, Any]] = Field(default_factory=list)
    software: dict[str, str] = Field(default_factory=dict)

    @property
    def gives_p(self) -> str:
        """The strategy that gave the distributions."""
        return self.blend or self.strategy

    @property
    def parameters_of_p(self) -> dict[str, Any]:
        """The parameters of that strategy."""
        return self.parameters["blend"] if self.blend else self.parameters

    @property
    def holds_a_prior(self) -> bool:
        """`smooths`; a file of an earlier version does not say, but those of which this is false are known."""
        return self.gives_p not in UNSMOOTHED_ONCE if self.smooths is None else self.smooths


@dataclass(frozen=True, slots=True, repr=False)
class Fused(Displayed):
    """A corpus with one fused distribution for every utterance that has one.

    `distributions` [U, K] and `effective_votes` [U] follow `corpus.ids`; an utterance without a distribution
    is a row of NaN, never a uniform one. `source` [U] names what a row was made of (None where absent).
    """

    corpus: Corpus
    info: FusionInfo
    distributions: np.ndarray
    effective_votes: np.ndarray
    source: np.ndarray

    @property
    def path(self) -> Path:
        return self.corpus.path

    def lines(self) -> tuple[str, str]:
        """Corpus, strategy and labels; utterances with a distribution, the folder."""
        labels, given = self.corpus.labels, self.info.blend or self.info.strategy
        how = self.info.strategy + ("" if given == self.info.strategy else f" ({given})")
        return (
            f"Fused corpus {self.corpus.name} by {how}, {number(len(labels), 'label')} ({few(labels.labels, NAMES)})",
            f"{self.defined.sum():,} of {number(len(self.corpus.ids), 'utterance')} have a distribution; "
            f"{number(len(self.info.warnings), 'warning')}; {self.path}",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per utterance: split, the distribution, a column per label by its name, what it is worth in votes and
        what it was made of.
        """
        corpus, part = self.corpus, slice(limit)
        return frame(
            {
                "utterance_id": corpus.ids[part],
                "split": corpus.utterances["split"].slice(0, limit).to_pandas(),
                **columns_of(corpus.labels.labels, self.distributions[part]),
                "effective_votes": self.effective_votes[part],
                "source": self.source[part],
            }
        )

    @property
    def fingerprint(self) -> str:
        return fused_fingerprint(self)

    @property
    def defined(self) -> np.ndarray:
        """Mask [U] of the utterances that have a distribution."""
        return np.asarray(np.isfinite(self.distributions).all(axis=1))


def fused_fingerprint(fused: Fused) -> str:
    """Fingerprint of what a trainer reads: the corpus's tables, the distributions and how they were made.

    Software versions are left out: the same numbers made by another numpy are the same fused corpus.
    """
    rows = np.column_stack([fused.distributions, fused.effective_votes]).astype("<f8")
    content = hashlib.sha256("\x00".join(fused.corpus.ids).encode())
    content.update(np.ascontiguousarray(rows).tobytes())
    return fingerprint(
        {
            "corpus": corpus_fingerprint(fused.corpus),
            "distributions": content.hexdigest(),
            "strategy": fused.info.strategy,
            "blend": fused.info.blend,
            "division": fused.info.division,
        }
    )


def is_fused(path: str | Path) -> bool:
    """Whether a directory holds a fused corpus (it may still be a broken one)."""
    return (Path(path) / FUSION_FILE).is_file()


def open_fused(path: str | PathLike[str], *, audio_root: str | PathLike[str] | None = None) -> Fused:
    """Read a fused corpus, its sounds below `audio_root` where one is given (`open_corpus`).

    Raises CorpusError where it is absent, of a newer format, or does not fit its corpus.
    """
    path = Path(path)
    if path.is_dir() and not is_fused(path):
        raise CorpusError(
            f"{path}: no {FUSION_FILE} here, so this is not a fused corpus; make one with "
            f"'serann fuse {path} RUN -o FUSED'"
        )
    corpus = open_corpus(path, audio_root=audio_root)
    info = read_fusion_info(corpus.path / FUSION_FILE)
    table = read_table(corpus.path / DISTRIBUTIONS_FILE, DISTRIBUTIONS, labels=corpus.labels)
    return assemble(corpus, info, table)


def read_fusion_info(path: Path) -> FusionInfo:
    """Read and validate `fusion.json`; the errors name every field that does not fit."""
    found = read_json(path, what="the description of a fused corpus")
    newest = found.get("format", FORMAT)
    if isinstance(newest, int) and newest > FORMAT:
        raise CorpusError(
            f"{path}: format {newest} was written by a newer serann; this one reads up to {FORMAT}: upgrade serann"
        )
    try:
        return FusionInfo.model_validate(found)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise CorpusError(list_problems(f"{path}: not a fusion.json of format {FORMAT}", problems)) from error


def assemble(corpus: Corpus, info: FusionInfo, table: pa.Table) -> Fused:
    """Line the rows of a distributions table up with the corpus's utterances (absent = NaN)."""
    row_of = {utterance: row for row, utterance in enumerate(corpus.ids)}
    ids = table["utterance_id"].to_pylist()
    strangers = [f"utterance '{i}' is not in utterances.parquet" for i in ids if i not in row_of]
    if strangers:
        raise CorpusError(list_problems(f"{corpus.path / DISTRIBUTIONS_FILE}: does not fit its corpus", strangers))
    rows = np.array([row_of[i] for i in ids], dtype=int)
    distributions = np.full((len(row_of), len(corpus.labels)), np.nan)
    effective = np.full(len(row_of), np.nan)
    source = np.full(len(row_of), None, dtype=object)
    if len(rows):
        distributions[rows] = distribution_array(table["p"])
        effective[rows] = table["effective_votes"].to_numpy(zero_copy_only=False)
        source[rows] = table["source"].to_pylist()
    return Fused(corpus=corpus, info=info, distributions=distributions, effective_votes=effective, source=source)
