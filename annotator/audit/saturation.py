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
from typing import Any, NamedTuple

import numpy as np

from ...data.scores.divergences import as_distribution, jsd_bits
from ...data.scores.groups import group_codes
from ...data.scores.intervals import Interval, group_sums, mean_of
from ...data.scores.proper_scores import agreement_of_pairs
from ...data.seeds import rng_from, uniforms
from ..proxies import Panel
from .baselines import fitted_part
from .result import CurvePoint
from .scorer import Scorer
from .section import Section

# --------------------
# Synthetic votes drawn one after another from a panel, and what n of them score in expectation.


class DrawnVotes:
    """A panel's votes over the kept utterances: what they are drawn from, and the scored votes of every draw.

    `answers` [U, K] are distributions (`exact`: votes are drawn independently) or whole votes (drawn without
    replacement; every kept row has `most` of them or more). `rows` are the kept utterances, `fitted` those of them that
    models are fitted on (`baselines.fitted_part`).
    """

    def __init__(self, scorer: Scorer, answers: np.ndarray, kept: np.ndarray, *, exact: bool, most: int):
        ref = scorer.reference
        self.scorer, self.exact, self.most, self.m = scorer, exact, most, ref.m
        self.rows = np.flatnonzero(kept)
        self.fitted = np.flatnonzero(kept & fitted_part(ref))
        self.answers = answers
        self.groups, self.size = group_codes(ref.groups)

    def speakers(self, rows: np.ndarray) -> np.ndarray:
        """The speakers of these utterances, int below `size`, in every draw: [R * U]."""
        return np.tile(self.groups[rows], len(self.scorer.draws))

    def scored(self, rows: np.ndarray) -> np.ndarray:
        """The scored votes of these utterances, the draws one after another."""
        return np.concatenate([draw.scored[rows] for draw in self.scorer.draws])

    def dealt(self, rows: np.ndarray) -> np.ndarray:
        """For every draw, the utterances whose votes stand in the rows' places: [R * U]."""
        by_id = rows[np.argsort([self.scorer.reference.ids[u] for u in rows])]
        found = []
        for draw in self.scorer.draws:
            moved = np.arange(len(self.answers))
            moved[by_id] = rng_from("saturation, shuffled", draw.seed, draw.draw).permutation(by_id)
            found.append(moved[rows])
        return np.concatenate(found)

    def labels(self, rows: np.ndarray, draw: int) -> np.ndarray:
        """N votes of each row in their order, int8 [U, N], drawn by the utterance's id, the seed and the draw."""
        ids, seed = [self.scorer.reference.ids[u] for u in rows], self.scorer.reference.seed
        answers = self.answers[rows]
        if self.exact:
            u, below = uniforms(ids, self.most, "saturation", seed, draw), np.cumsum(as_distribution(answers), axis=1)
            found = np.zeros(u.shape, dtype=np.int8)
            for label in range(answers.shape[1] - 1):
                found += u >= below[:, label, None]
            return found
        whole = np.rint(answers).astype(int)
        longest = int(whole.sum(axis=1).max())
        at = np.arange(longest)[None, :]
        listed = (at[:, :, None] >= np.cumsum(whole, axis=1)[:, None, :]).sum(axis=2).astype(np.int8)
        key = np.where(at < whole.sum(axis=1)[:, None], uniforms(ids, longest, "saturation", seed, draw), np.inf)
        return np.take_along_axis(listed, np.argsort(key, axis=1)[:, : self.most], axis=1)


def expected_sq(answers: np.ndarray, counts: np.ndarray, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """(limit, spread) [U]: the expected squared error of n votes' frequencies is limit + spread / n, at any n.

    From distributions p [U, K] (votes drawn independently): spread = 1 - sum_c p_c^2, limit = sq_unbiased(p). From
    whole votes (drawn without replacement): sum_c p_c^2 is the share of pairs of them that agree.
    """
    p = as_distribution(answers)
    agree = (p**2).sum(axis=1) if exact else agreement_of_pairs(answers)
    h = np.asarray(counts, dtype=np.float64)
    limit = agree - 2 * (p * h).sum(axis=1) / h.sum(axis=1) + agreement_of_pairs(h)
    return limit, 1 - agree


# --------------------
# The exponential of saturation analyses, y = y_inf + b e^(-c x), fitted to many curves at once.
#
# The paper on scaling ambiguity fits a - b e^(-cx) to max(y) - y, which is the same curve with y_inf = max(y) - a. For
# a given c the rest is a line in e^(-cx), so least squares is a search in c alone: a grid, then the zero of the error's
# slope between the grid's points, by halving. No start value is needed and every resample is fitted alike.

# c between these times 1 / (last x - first x): slower is a straight line on the curve's span, faster a single step
SLOWEST, FASTEST, GRID = 0.05, 200.0, 240
# halvings of ln c between two of the grid's points: as near as a float comes
HALVINGS = 50
# the paper's: what is left of the drop at the saturation point, and the points of its grid
LEFT, POINTS = 0.1, 100


class Saturating(NamedTuple):
    """Fitted curves [...]: `level` y_inf, `drop` a = max(y) - y_inf, `b`, `rate` c; NaN where c is not identified."""

    level: np.ndarray
    drop: np.ndarray
    b: np.ndarray
    rate: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """The fitted curves [..., X]."""
        return self.level[..., None] + self.b[..., None] * np.exp(-self.rate[..., None] * x)

    def crossing(self) -> np.ndarray:
        """The x [...] at which the fitted curve is y_inf + .1 a, ln(10 b / a) / c; NaN where it never is."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.b / (LEFT * self.drop)
            return np.where((self.drop > 0) & (ratio > 0), np.log(np.where(ratio > 0, ratio, 1.0)) / self.rate, np.nan)


def fit_saturating(x: np.ndarray, y: np.ndarray) -> Saturating:
    """Least squares of y_inf + b e^(-cx) to curves y [..., X] at points x [X], four or more.

    NaN where the best c is at an end of what is searched: a straight line, a single step or a flat curve identify none.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < 4:
        raise ValueError(f"three parameters are fitted to {len(x)} points; expected four or more")
    flat = y.reshape(-1, len(x))
    rates = np.geomspace(SLOWEST, FASTEST, GRID) / (x[-1] - x[0])
    errors = np.stack([_line(x, flat, np.full(len(flat), c))[0] for c in rates], axis=1)
    best = errors.argmin(axis=1)
    inside = (best > 0) & (best < GRID - 1) & (np.ptp(flat, axis=1) > 1e-12 * np.abs(flat).max(axis=1, initial=0))
    best = np.clip(best, 1, GRID - 2)
    rate = np.exp(_flat_error(x, flat, np.log(rates[best - 1]), np.log(rates[best + 1])))
    _, level, b = _line(x, flat, rate)
    found = [
        np.where(inside, part, np.nan).reshape(y.shape[:-1]) for part in (level, flat.max(axis=1) - level, b, rate)
    ]
    return Saturating(*found)


def saturation_point(fit: Saturating, x: np.ndarray) -> np.ndarray:
    """The paper's point [...]: the first of 100 equally spaced x where the fitted curve is at most y_inf + .1 a.

    NaN where the curve does not get there by the last x, or nothing is fitted.
    """
    grid = np.linspace(x[0], x[-1], POINTS)
    with np.errstate(invalid="ignore"):
        reached = fit.at(grid) <= (fit.level + LEFT * fit.drop)[..., None]
    return np.where(reached.any(axis=-1), grid[reached.argmax(axis=-1)], np.nan)


def _line(x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared error, intercept and slope, [N] each, of y [N, X] on e^(-rate x)."""
    e, left, slope = _residuals(x, y, rate)
    error = (left**2).sum(axis=1)
    return error, y.mean(axis=1) - slope * e.mean(axis=1), slope * np.exp(rate * x[0])


def _residuals(x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """e^(-rate (x - first x)) [N, X], what the line in it leaves of y [N, X], and the line's slope [N]."""
    e = np.exp(-rate[:, None] * (x - x[0]))
    e_from, y_from = (part - part.mean(axis=1, keepdims=True) for part in (e, y))
    slope = (e_from * y_from).sum(axis=1) / (e_from**2).sum(axis=1)
    return e, y_from - slope[:, None] * e_from, slope


def _flat_error(x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """ln c [N] between low and high [N] where the squared error is least.

    There its derivative in c, 2 b sum (x - first x) e^(-c(x - first x)) residual, turns from falling to rising. The
    error itself is flat there: compared, it gives half the digits.
    """
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        e, left, slope = _residuals(x, y, np.exp(middle))
        falls = slope * ((x - x[0]) * e * left).sum(axis=1) < 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return (low + high) / 2


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
    """The saturation of one panel; no curves where there is a `reason`.

    `averaging_point` is the saturation point of 1/n on 1..N, arithmetic alone.
    """

    panel: str
    votes_from: str
    most_votes: int
    utterances: int
    averaging_point: float
    curves: list[SaturationCurve]
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
        return Saturation(panel.name, source, most, int(kept.sum()), math.nan, [], reason)
    draw = DrawnVotes(scorer, answers, kept, exact=votes is None, most=most)
    curves = [_exact(draw, curve), _sampled(draw, f"jsd_bits@{scorer.reference.m}", jsd_bits, curve)]
    x = np.arange(1, most + 1.0)
    averaging = float(saturation_point(fit_saturating(x, 1 / x), x))
    return Saturation(panel.name, source, most, int(kept.sum()), averaging, curves)


def _exact(draw: DrawnVotes, curve: Sequence[CurvePoint]) -> SaturationCurve:
    rows, x = draw.rows, np.arange(1, draw.most + 1.0)
    speakers, scored = draw.speakers(rows), draw.scored(rows)
    own = expected_sq(np.concatenate([draw.answers[rows]] * len(draw.scorer.draws)), scored, exact=draw.exact)
    moved = expected_sq(draw.answers[draw.dealt(rows)], scored, exact=draw.exact)
    sums = [group_sums(np.column_stack(pair), speakers, draw.size) for pair in (own, moved)]
    values, shuffled = (pair[:, :1] + pair[:, 1:] / x for pair in sums)
    counts = np.bincount(speakers, minlength=draw.size)
    limit = draw.scorer.of_sums(np.column_stack([sums[0][:, 0], counts]), mean_of, rows=len(scored))
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
        sums, counts = np.empty((draw.size, draw.most)), np.zeros((len(drawn), labels))
        for n in range(draw.most):
            counts[np.arange(len(drawn)), drawn[:, n]] += 1
            sums[:, n] = np.bincount(speakers, weights=score(counts, scored), minlength=draw.size)
        curves.append(sums)
    values, shuffled = curves
    counts, limit = np.bincount(speakers, minlength=draw.size), None
    if draw.exact:
        p = np.concatenate([draw.answers[rows]] * len(votes))
        total = np.bincount(speakers, weights=score(p, scored), minlength=draw.size)
        limit = draw.scorer.of_sums(np.column_stack([total, counts]), mean_of, rows=len(scored))
    return _curve(name, "sampled", draw, values, shuffled, counts, limit, curve)


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
        return draw.scorer.of_sums(totals, statistic, rows=rows, **limits)

    points = [of(np.column_stack([column, counts]), mean_of) for column in values.T]
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


SECTION = Section(
    name="saturation",
    title="Saturation",
    about="Scores against the number of synthetic votes, and how much of their fall is averaging alone (Zhang et al. "
    "2026).",
    measure=lambda subject: section(subject.ground.scorer, subject.panel, curve=subject.ground.curve),
)
