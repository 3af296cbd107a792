"""The table of scores of a prediction against held-out votes, the same for `audit` and `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ..labels import LabelSet
from ..seeds import uniforms
from .intervals import Interval, OfTotals, by_group
from .metric import Metric, Pairs, limits_of, metrics_at
from .metrics import reference_classes
from .proper_scores import unbiased_ambiguity, votes_at

THIRDS = ("low", "medium", "high")
# Votes of an utterance that are scored, and the share of utterances that must have them for it to be the default.
VOTES_SCORED = 4
KEPT = 0.9


class ScoreRow(NamedTuple):
    """One metric of one prediction: its value, interval, and on how many utterances it rests.

    `skipped` counts the utterances that were asked for and could not be scored: no prediction, or too few votes.
    """

    metric: str
    value: float
    low: float
    high: float
    method: str
    utterances: int
    skipped: int
    groups: int


def score_row(metric: str, interval: Interval) -> ScoreRow:
    """Give an interval its metric's name."""
    value, low, high, method, groups, rows, skipped = interval
    return ScoreRow(metric, value, low, high, method, rows, skipped, groups)


def pairs_at(q: np.ndarray, counts: np.ndarray, m: int, ids: Sequence[str], seed: int) -> Pairs:
    """Predictions q [U, K] beside the votes `counts` [U, K] and exactly m seeded votes of each row."""
    at_m = counts if (counts.sum(axis=1) == m).all() else votes_at(counts, m, ids, seed)
    return Pairs(q, counts, at_m, m)


def row_scores(q: np.ndarray, counts: np.ndarray, m: int, ids: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """The scores that an utterance has by itself, [U] under each metric's name in a table; NaN where undefined.

    Those whose value depends on the number of votes behind the reference are taken at exactly m seeded votes and carry
    it in their name; the others use every vote of `counts`.
    """
    pairs = pairs_at(q, counts, m, ids, seed)
    return {metric.key(m): rows_of(metric, pairs) for metric in metrics_at("scores") if metric.value is None}


def rows_of(metric: Metric, pairs: Pairs) -> np.ndarray:
    """The metric's totals of single rows, [U] or [U, T]."""
    if metric.totals is None:
        raise ValueError(f"{metric.name} is not made of distributions and votes row by row")
    return metric.totals(pairs)


def score_table(
    q: np.ndarray,
    counts: np.ndarray,
    *,
    labels: LabelSet,
    ids: Sequence[str],
    groups: Sequence[object] | np.ndarray,
    m: int,
    seed: int = 0,
    level: float = 0.95,
    rows: np.ndarray | None = None,
) -> list[ScoreRow]:
    """Score predictions q [U, K] against held-out counts [U, K] with intervals over groups (speakers).

    A row for each metric shown among the scores (`metric.METRICS`): proper scores first, then divergences at m votes,
    then those of the plurality. A NaN row of q is an utterance without prediction: skipped and counted. `rows`
    (bool [U]) scores a part, with the class set of the whole `counts`.

    Raises ValueError if the shapes do not fit each other or the labels.
    """
    q, counts = np.asarray(q, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if q.shape != counts.shape or q.shape != (len(ids), len(labels)) or len(groups) != len(ids):
        raise ValueError(
            f"q {q.shape}, counts {counts.shape}, {len(ids)} ids, {len(groups)} groups, {len(labels)} labels: "
            "expected q and counts [ids, labels]"
        )
    of = np.asarray(groups, dtype=object) if rows is None else np.asarray(groups, dtype=object)[rows]
    columns = score_columns(q, counts, ids=ids, m=m, seed=seed, rows=rows)
    return [
        score_row(name, by_group(x, of, statistic=f, level=level, limits=limits_of(name), seed=seed))
        for name, x, f in columns
    ]


def score_columns(
    q: np.ndarray, counts: np.ndarray, *, ids: Sequence[str], m: int, seed: int = 0, rows: np.ndarray | None = None
) -> list[tuple[str, np.ndarray, Literal["mean"] | OfTotals]]:
    """What `score_table` takes intervals of: (metric, rows [U] or [U, S], statistic), as `by_group` wants them.

    The same q and counts may hold an utterance several times, against other votes each time.
    """
    classes = reference_classes(counts)
    if rows is not None:
        q, counts, ids = q[rows], counts[rows], np.asarray(ids, dtype=object)[rows].tolist()
    return columns_of(metrics_at("scores"), pairs_at(q, counts, m, ids, seed), classes)


def columns_of(
    asked: Sequence[Metric], pairs: Pairs, classes: np.ndarray
) -> list[tuple[str, np.ndarray, Literal["mean"] | OfTotals]]:
    """Name, rows [U] or [U, S], and statistic of each metric that is asked and made of rows."""
    return [
        (metric.key(pairs.m), metric.totals(pairs), statistic_of(metric, classes))
        for metric in asked
        if metric.totals is not None
    ]


def statistic_of(metric: Metric, classes: np.ndarray) -> Literal["mean"] | OfTotals:
    """The metric's function of summed totals [..., S] over a class set (bool [K]); "mean" for a mean over rows."""
    value = metric.value
    if value is None:
        return "mean"
    return lambda totals: value(totals, classes)


def paired_table(
    q: np.ndarray,
    other: np.ndarray,
    counts: np.ndarray,
    *,
    ids: Sequence[str],
    groups: Sequence[object] | np.ndarray,
    m: int,
    seed: int = 0,
    level: float = 0.95,
) -> list[ScoreRow]:
    """Mean difference, `q` less `other`, of every score that an utterance has by itself, with intervals over groups.

    Both predictions [U, K] meet the same votes, so what an utterance adds to both cancels; an utterance that either
    lacks is skipped and counted. UAR and macro-F1 are no means over utterances and have no row here.
    """
    first, second = (row_scores(np.asarray(x, dtype=np.float64), counts, m, ids, seed) for x in (q, other))
    return [score_row(name, by_group(first[name] - second[name], groups, level=level, seed=seed)) for name in first]


def choose_votes_scored(held: np.ndarray, seen: np.ndarray | int = 0) -> int:
    """The largest of 4, 3, 2 that at least 90 % of the utterances with two held-out votes have.

    Where it can be had with 2 or more, as many also keep two other votes (seen ones count), so that ambiguity can be
    cut by votes that are not scored. `held` and `seen` [U] are numbers of votes.

    >>> [choose_votes_scored(np.full(10, n)) for n in (8, 6, 5, 4, 3, 2, 1)]
    [4, 4, 3, 2, 3, 2, 2]
    """
    usable = held >= 2
    held, total = held[usable], (held + seen)[usable]
    for spare in (2, 0):
        for m in range(VOTES_SCORED, 1, -1):
            if len(held) and ((held >= m) & (total >= m + spare)).mean() >= KEPT:
                return m
    return 2


def strata_thirds(counts: np.ndarray, ids: Sequence[str], seed: int = 0) -> np.ndarray:
    """Cut utterances into ambiguity thirds, int [U]: 0 low, 1 medium, 2 high, -1 undefined (fewer than two votes).

    `counts` must hold votes that are not scored: cutting by the scored ones selects on the outcome, and every
    shrinkage estimator then loses in the low third by construction. Ranked by `unbiased_ambiguity`; since few votes
    take few values, ties at a border are broken at random, by (seed, utterance id), whatever the order of rows.
    """
    ambiguity = unbiased_ambiguity(counts)
    thirds = np.full(len(ids), -1)
    known = np.flatnonzero(~np.isnan(ambiguity))
    order = known[np.lexsort((uniforms(ids, 1, "thirds", seed)[known, 0], ambiguity[known]))]
    thirds[order] = np.arange(len(order)) * 3 // max(len(order), 1)
    return thirds
