"""Saturation: a score against the number n of synthetic votes, and how much of its fall is averaging alone.

An utterance's synthetic votes are draws from one distribution p, so more of them bring their frequencies nearer to p
and no nearer to people. For the squared error that is exact,

    E sq(n) = sq(p) + (1 - sum_c p_c^2) / n

so all of its fall is averaging, and its saturation point is that of 1/n: the same number for every panel, one that
hears nothing included. Other scores are sampled (seeded by utterance); beside them stands the same panel with its
rows dealt to other utterances, which has nothing to converge to. The log score is left out: frequencies of few votes
have minus infinity at every n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.scores.divergences import jsd_bits
from ...data.scores.intervals import Interval
from .drawn_votes import DrawnVotes, expected_sq
from .exponential_fit import Saturating, fit_saturating, saturation_point
from .panels import Panel
from .result import CurvePoint
from .scorer import Scorer, interval_of

MOST_VOTES, LEAST_VOTES = 20, 4
# votes without replacement: the curve goes as far as this share of the utterances has votes
KEPT = 0.8


@dataclass(frozen=True, slots=True)
class SaturationFit:
    """y_inf + b e^(-cx) to a curve: `drop` is a = max(y) - y_inf; `point` the paper's, on 100 points from 1 to N.

    `crossing` is the same without the grid, ln(10 b / a) / c. `reason` says why nothing is fitted (values NaN).
    """

    level: Interval
    drop: Interval
    b: Interval
    rate: Interval
    point: float
    crossing: Interval
    reason: str | None


@dataclass(frozen=True, slots=True)
class SaturationCurve:
    """One score at n = 1..N: `values`; `limit` that of p itself (None where only votes are known, for sampled scores).

    `how` is "exact expectation" or "sampled". `shuffled` [N] are the same panel's values for other utterances, and
    `shuffled_share` their fall from 1 to N by the panel's own. `human` holds (n, value) of n other human votes, raw.
    """

    score: str
    how: str
    values: list[Interval]
    limit: Interval | None
    fit: SaturationFit
    shuffled: list[float]
    shuffled_point: float
    shuffled_share: Interval
    human: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Saturation:
    """The saturation of one panel; `answer` says in words what part of the fall is averaging. No curves with `reason`.

    `averaging_point` is the saturation point of 1/n on 1..N, arithmetic alone.
    """

    panel: str
    votes_from: str
    most_votes: int
    utterances: int
    averaging_point: float
    curves: list[SaturationCurve]
    answer: str
    reason: str | None = None


def section(scorer: Scorer, panel: Panel, *, curve: Sequence[CurvePoint] = (), most: int = MOST_VOTES) -> Saturation:
    """The saturation of a panel lined up with the scorer's reference; `curve` is the audit's, for the human votes.

    Votes are drawn from the panel's p where it has one, and without replacement from its votes where it is made of
    votes (another human panel, a run of sampled texts): then N is at most what 80 % of the utterances have. Above
    100,000 utterances the sampled scores use as many, drawn by the seed.
    """
    votes = panel.votes
    answers = panel.q if votes is None else votes
    kept = panel.covers
    if votes is not None:
        whole = np.isclose(votes, np.rint(votes)).all(axis=1)
        total = np.where(whole, votes.sum(axis=1), 0)
        most = max((n for n in range(1, most + 1) if (total >= n).mean() >= KEPT), default=0)
        kept = kept & (total >= max(most, 1))
    source = "drawn from the panel's distributions" if votes is None else "drawn without replacement from its votes"
    if most < LEAST_VOTES:
        reason = f"most utterances have {most} synthetic votes; a curve is fitted to {LEAST_VOTES} or more"
        return Saturation(panel.name, source, most, int(kept.sum()), math.nan, [], "", reason)
    draw = DrawnVotes(scorer, answers, kept, exact=votes is None, most=most)
    curves = [_exact(draw, curve), _sampled(draw, f"jsd_bits@{scorer.reference.m}", jsd_bits, curve)]
    x = np.arange(1, most + 1.0)
    averaging = float(saturation_point(fit_saturating(x, 1 / x), x))
    found = Saturation(panel.name, source, most, int(kept.sum()), averaging, curves, "")
    from ..report.audit_words import saturation_in_words

    return Saturation(panel.name, source, most, int(kept.sum()), averaging, curves, saturation_in_words(found))


def _exact(draw: DrawnVotes, curve: Sequence[CurvePoint]) -> SaturationCurve:
    rows, x = draw.rows, np.arange(1, draw.most + 1.0)
    speakers, scored = draw.speakers(rows), draw.scored(rows)
    own = expected_sq(np.concatenate([draw.answers[rows]] * len(draw.scorer.draws)), scored, exact=draw.exact)
    moved = expected_sq(draw.answers[draw.dealt(rows)], scored, exact=draw.exact)
    sums = [speakers.sums(np.column_stack(pair)) for pair in (own, moved)]
    values, shuffled = (pair[:, :1] + pair[:, 1:] / x for pair in sums)
    counts = np.bincount(speakers.codes, minlength=speakers.size)
    limit = interval_of(np.column_stack([sums[0][:, 0], counts]), _mean, draw.scorer, rows=len(scored))
    return _curve("sq_unbiased", "exact expectation", draw, values, shuffled, counts, limit, curve)


def _sampled(
    draw: DrawnVotes, name: str, score: Callable[[np.ndarray, np.ndarray], np.ndarray], curve: Sequence[CurvePoint]
) -> SaturationCurve:
    rows = draw.fitted
    speakers, scored, labels = draw.speakers(rows), draw.scored(rows), len(draw.scorer.reference.labels)
    place = np.empty(len(draw.answers), dtype=int)
    place[rows] = np.arange(len(rows))
    votes = [draw.labels(rows, r) for r in range(len(draw.scorer.draws))]
    moved = np.split(place[draw.dealt(rows)], len(votes))
    curves = []
    for drawn in (np.concatenate(votes), np.concatenate([v[at] for v, at in zip(votes, moved, strict=True)])):
        sums, counts = np.empty((speakers.size, draw.most)), np.zeros((len(drawn), labels))
        for n in range(draw.most):
            counts[np.arange(len(drawn)), drawn[:, n]] += 1
            sums[:, n] = np.bincount(speakers.codes, weights=score(counts, scored), minlength=speakers.size)
        curves.append(sums)
    values, shuffled = curves
    counts, limit = np.bincount(speakers.codes, minlength=speakers.size), None
    if draw.exact:
        p = np.concatenate([draw.answers[rows]] * len(votes))
        total = np.bincount(speakers.codes, weights=score(p, scored), minlength=speakers.size)
        limit = interval_of(np.column_stack([total, counts]), _mean, draw.scorer, rows=len(scored))
    return _curve(name, "sampled", draw, values, shuffled, counts, limit, curve)


def _mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _curve(
    name: str,
    how: str,
    draw: DrawnVotes,
    values: np.ndarray,
    shuffled: np.ndarray,
    counts: np.ndarray,
    limit: Interval | None,
    curve: Sequence[CurvePoint],
) -> SaturationCurve:
    """A curve from sums by speaker [G, N] of the panel and of its shuffle, and the rows of each speaker [G]."""
    x, rows = np.arange(1, draw.most + 1.0), int(counts.sum())

    def of(totals: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], **limits: Any) -> Interval:
        return interval_of(totals, statistic, draw.scorer, rows=rows, **limits)

    points = [of(np.column_stack([column, counts]), _mean) for column in values.T]
    ends = np.column_stack([shuffled[:, 0] - shuffled[:, -1], values[:, 0] - values[:, -1]])
    moved = shuffled.sum(axis=0) / rows
    return SaturationCurve(
        score=name,
        how=how,
        values=points,
        limit=limit,
        fit=_fit(x, np.column_stack([values, counts]), of),
        shuffled=[float(value) for value in moved],
        shuffled_point=float(saturation_point(fit_saturating(x, moved), x)),
        shuffled_share=of(ends, lambda t: t[..., 0] / np.where(t[..., 1] > 0, t[..., 1], np.nan)),
        human=_human(curve, name),
    )


def _fit(x: np.ndarray, totals: np.ndarray, of: Callable[..., Interval]) -> SaturationFit:
    def fitted(sums: np.ndarray) -> Saturating:
        return fit_saturating(x, sums[..., :-1] / sums[..., -1:])

    whole = fitted(totals.sum(axis=0))
    level, drop, b, rate = (of(totals, lambda t, i=i: fitted(t)[i]) for i in range(4))
    point, reason = float(saturation_point(whole, x)), None
    if math.isnan(float(whole.rate)):
        reason = "the curve does not bend, so no exponential is identified"
    elif math.isnan(point):
        reason = f"the fitted curve has not saturated at {len(x)} votes"
    # a slow rate puts the crossing far off: on its own scale ten speakers missed it from below 6 times of 100
    crossing = of(totals, lambda t: fitted(t).crossing(), limits=(0.0, np.inf))
    return SaturationFit(level, drop, b, rate, point, crossing, reason)


def _human(curve: Sequence[CurvePoint], name: str) -> list[tuple[int, float]]:
    raw = [(p.n, row) for p in curve if p.kind == "raw" for row in p.scores if row.metric == name]
    return [(n, float(row.value)) for n, row in sorted(raw, key=lambda pair: pair[0])]
