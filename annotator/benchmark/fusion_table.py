"""Rows of the fusion benchmark: three scores by strategy and stratum, and paired intervals by speaker.

Every score of every stratum is a ratio of sums over utterances and seeds, and its interval comes from resampling
speakers: so only sums by speaker are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...data.labels import LabelSet
from ...data.scores.divergences import jsd_bits
from ...data.scores.intervals import by_group
from ...data.scores.proper_scores import log_score, sq_unbiased, unbiased_ambiguity
from ..fusion.auto import THIRDS, plurality

SCORES = ("sq_unbiased", "log_score", "jsd_bits")
PLACE = ("proxy", "seen", "strategy", "stratum")
KEYS = (*PLACE, *SCORES, "low", "high")
# A vote for a label that was given no chance costs ln of this, and not infinity: raw and pooled frequencies would have
# no mean otherwise.
LEAST_CHANCE = 1e-9


def scores_of(p: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The three scores of each utterance [U, 3]; NaN rows where there is no distribution."""
    floored = np.maximum(p, LEAST_CHANCE)
    return np.column_stack([sq_unbiased(p, held), log_score(floored, held), jsd_bits(p, held)])


def strata_of(
    seen: np.ndarray, not_scored: np.ndarray, genders: np.ndarray, labels: LabelSet
) -> Iterator[tuple[str, np.ndarray]]:
    """Strata by name with their masks [U]: all, gender, plurality of the seen votes (`seen:tied` where several tie),
    third of the ambiguity of the votes that are not scored (1 - sum h(h-1) / (m(m-1)))."""
    yield "all", np.ones(len(seen), bool)
    for gender in sorted({str(g) for g in genders if g is not None}):
        yield f"gender:{gender}", np.array([g is not None and str(g) == gender for g in genders])
    most = plurality(seen)
    single = most.sum(axis=1) == 1
    for c, label in enumerate(labels):
        yield f"seen:{label}", most[:, c] & single
    yield "seen:tied", ~single
    ambiguity = unbiased_ambiguity(not_scored)
    third = np.searchsorted(np.nanquantile(ambiguity, [1 / 3, 2 / 3]), ambiguity)
    for i, name in enumerate(THIRDS):
        yield f"ambiguity:{name}", np.isfinite(ambiguity) & (third == i)


class Sums:
    """Sums by speaker of scores and of their differences from the human mixture, over seeds."""

    def __init__(self, speakers: np.ndarray):
        self.names, self.code = np.unique(speakers, return_inverse=True)
        self.totals: dict[tuple[str, str], np.ndarray] = {}

    def add(self, strategy: str, scores: np.ndarray, base: np.ndarray, strata: Mapping[str, np.ndarray]) -> None:
        """Add one seed's scores [U, 3] beside those of the human mixture [U, 3]."""
        defined = np.isfinite(scores).all(axis=1) & np.isfinite(base).all(axis=1)
        columns = np.column_stack([np.ones(len(scores)), scores, scores - base])
        for name, mask in strata.items():
            kept = mask & defined
            sums = [np.bincount(self.code[kept], column[kept], len(self.names)) for column in columns.T]
            key = strategy, name
            self.totals[key] = self.totals.get(key, 0) + np.stack(sums, axis=1)

    def rows(self, proxy: str, seen: int, seeds: int) -> Iterator[dict[str, Any]]:
        """One row a strategy and stratum; `low` and `high` bound the difference in sq_unbiased from the human mixture,
        those of the other two scores are named after them."""
        for (strategy, stratum), totals in self.totals.items():
            totals = totals[totals[:, 0] > 0]
            if not len(totals):
                continue
            row: dict[str, Any] = {"proxy": proxy, "seen": seen, "strategy": strategy, "stratum": stratum}
            whole = totals.sum(axis=0)
            row |= {name: float(whole[1 + i] / whole[0]) for i, name in enumerate(SCORES)}
            for i, (name, prefix) in enumerate(zip(SCORES, ("", "log_", "jsd_"), strict=True)):
                gain = by_group(
                    totals[:, [4 + i, 0]], np.arange(len(totals)), statistic=lambda t: t[..., 0] / t[..., 1]
                )
                row[f"{name}_difference"] = gain.value
                row[f"{prefix}low"], row[f"{prefix}high"] = _number(gain.low), _number(gain.high)
            yield row | {"utterances": round(float(whole[0]) / seeds, 1), "speakers": len(totals)}


def parted(table: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of KEYS alone, and for each its place with all that is told of its difference from the human mixture."""
    rows = [{key: row[key] for key in KEYS} for row in table]
    differences = [{key: row[key] for key in row if key not in SCORES} for row in table]
    return rows, differences


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
