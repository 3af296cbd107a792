"""A finished annotation run, read back: scores, listeners, votes, failures, and the distributions they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.display import Displayed, columns_of, frame, number
from ...data.errors import RunError
from ...data.labels import LabelSet
from ...data.tables import FAILURES, LISTENERS, SCORES, VOTES, distribution_array, read_table
from ...data.votes import count_votes
from .ledger import is_promised
from .place import RUN_FILE, is_run, read_run_file

if TYPE_CHECKING:
    import pandas as pd

# Rows of scores that are numbers in double precision at a time.
PIECE = 2_000_000


@dataclass(frozen=True, repr=False)
class Run(Displayed):
    """One run directory in memory. `info` is run.json: the run's identity, its name, the votes asked for."""

    path: Path
    info: dict[str, Any]
    labels: LabelSet
    scores: pa.Table
    listeners: pa.Table
    votes: pa.Table
    failures: pa.Table

    @property
    def name(self) -> str:
        """The name in the votes' column `run`."""
        return self.info["run"]

    @cached_property
    def ids(self) -> list[str]:
        """Utterances that at least one listener answered, sorted."""
        voted = self.votes.filter(pc.is_valid(self.votes["label"]))["utterance_id"]
        return sorted({*pc.unique(self.scores["utterance_id"]).to_pylist(), *pc.unique(voted).to_pylist()})

    def lines(self) -> tuple[str, str]:
        """Name, corpus, model and mode; utterances, listeners, votes, failures, the folder."""
        identity, failed = self.info["identity"], self.failures.num_rows
        return (
            f"Run {self.name} over {identity['corpus']}: model {identity['model']}, panel {identity['panel']}, "
            f"mode {identity.get('mode', 'exact')}",
            f"{number(len(self.ids), 'utterance')}, {number(self.listeners.num_rows, 'listener')}, "
            f"{number(self.votes.num_rows, 'vote')}, {number(failed, 'failure')}; {self.path}",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per utterance: the panel's distribution, a column per label by its name, and its number of votes."""
        ids = self.ids[:limit]
        p, votes = panel_distribution(self, ids), synthetic_counts(self, ids).sum(axis=1)
        return frame({"utterance_id": ids, **columns_of(self.labels.labels, p), "votes": votes})


def open_run(path: str | PathLike[str]) -> Run:
    """Open a run directory; `RunError` if it is not there, unfinished, or of a newer serann."""
    path = Path(path)
    if not is_run(path):
        raise RunError(
            f"no run at {path}: it has no {RUN_FILE}; make one with: serann annotate CORPUS --model M -o {path}"
        )
    info = read_run_file(path)
    labels = LabelSet.from_json(info["labels"])
    before = _tables_there(path)
    run = Run(
        path=path,
        info=info,
        labels=labels,
        scores=read_table(path / "scores.parquet", SCORES, labels=labels),
        listeners=read_table(path / "listeners.parquet", LISTENERS),
        votes=read_table(path / "votes.parquet", VOTES, labels=labels),
        failures=read_table(path / "failures.parquet", FAILURES),
    )
    if _tables_there(path) != before:
        raise RunError(f"the run at {path} was replaced while it was read; read it again")
    return run


def _tables_there(path: Path) -> list[tuple[int, int]]:
    """Which files the tables are; `RunError` if there is no complete set of them."""
    if not (path / "failures.parquet").is_file() or is_promised(path):
        raise RunError(f"the run at {path} is unfinished; give the same serann annotate command again to go on")
    there = [(path / f"{spec.name}.parquet").stat() for spec in (SCORES, LISTENERS, VOTES, FAILURES)]
    return [(found.st_ino, found.st_mtime_ns) for found in there]


def panel_distribution(run: Run, ids: Sequence[str]) -> np.ndarray:
    """The panel's distribution [U, K] float64: the unweighted mean of p over the listeners that answered.

    NaN rows for utterances that the run does not hold, or that every listener abstained on. Sampled texts have no p:
    there it is the share of the votes.
    """
    return distribution_of(run.scores, run.votes, ids, run.labels, mode=run.info["identity"].get("mode", "exact"))


def distribution_of(
    scores: pa.Table, votes: pa.Table, ids: Sequence[str], labels: LabelSet, *, mode: str
) -> np.ndarray:
    """`panel_distribution` from a run's tables of scores and votes."""
    if mode == "sample":
        counts = count_votes(votes, ids, labels, source="synthetic")
        with np.errstate(invalid="ignore"):
            return counts / counts.sum(axis=1, keepdims=True)
    total, count = np.zeros((len(ids), len(labels))), np.zeros(len(ids))
    known = pa.array(list(ids), pa.string())
    # a piece at a time, so that the numbers in double precision never stand in memory whole
    for piece in scores.select(["utterance_id", "p"]).to_batches(max_chunksize=PIECE):
        rows = pc.index_in(piece["utterance_id"], value_set=known)
        there = pc.is_valid(rows).to_numpy(zero_copy_only=False)
        rows = rows.drop_null().to_numpy()
        np.add.at(total, rows, distribution_array(piece["p"])[there])
        np.add.at(count, rows, 1)
    with np.errstate(invalid="ignore"):
        return total / np.where(count > 0, count, np.nan)[:, None]


def synthetic_counts(run: Run, ids: Sequence[str]) -> np.ndarray:
    """Synthetic votes by label [U, K]; abstentions count for nothing, so a row may be all zeros."""
    return count_votes(run.votes, ids, run.labels, source="synthetic")
