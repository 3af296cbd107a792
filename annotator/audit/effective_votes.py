"""How many human votes a panel is worth: where its calibrated prediction lies on the curve of n human votes.

    curve(n) = score of the best model without a panel (`baselines.People`) given n human votes of the utterance
    worth    = the n with curve(n) = score of the panel's calibrated prediction without any human vote of it

on the same scored votes and utterances; the curve is made to fall (pooled adjacent violators) and drawn by monotone
cubics (Fritsch and Carlson 1980). All that is fitted is so on other folds' speakers. (A panel's strength as a prior is
no measure: a shuffled panel, calibrated, collapses to the class marginal and still gets one of 2.7.)

Interval: all n at which the panel's loss less curve(n) is not told from 0, Fieller's way, by a jackknife over speakers
(from 60 on over thirty groups of them) in which every replicate has fits of its own (`calibration.Refits`). It holds
the noise of panel, curve and fits together, and is open above where the curve ends first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from ...data.corpus import Corpus
from ...data.scores.intervals import Interval, Replicates, replicates
from ...data.scores.metric import metric_of
from . import baselines
from .calibration import Calibrated, PartSums, Refits, chosen, parts_of
from .scorer import Reference, Scorer

# --------------------
# Where a level crosses a falling curve of whole numbers, and which crossings the speakers do not rule out.

# Points of the drawn curve between n and n + 1, for the interval's ends.
FINENESS = 20
# Halvings of a stretch of the curve: as near as a float comes.
HALVINGS = 52


class Crossing(NamedTuple):
    """The n of the crossing with its interval; `reason` where there is none (value NaN).

    `at_least`: the level lies beyond the curve's end, which is the value then. `high` is infinite where the interval
    reaches beyond the end.
    """

    value: float
    low: float
    high: float
    method: str
    groups: int
    at_least: bool = False
    reason: str | None = None


def falling(curve: np.ndarray) -> np.ndarray:
    """The matrix [N, N] whose product with the curve [N] is its least-squares fit that never rises.

    Pooled adjacent violators: rows of a block hold the block's mean (Ayer et al. 1955).

    >>> falling(np.array([3.0, 1.0, 2.0])) @ [3.0, 1.0, 2.0]
    array([3. , 1.5, 1.5])
    """
    blocks: list[list[int]] = []
    for i in range(len(curve)):
        blocks.append([i])
        while len(blocks) > 1 and curve[blocks[-1]].mean() > curve[blocks[-2]].mean():
            last = blocks.pop()
            blocks[-1] += last
    pooled = np.zeros((len(curve), len(curve)))
    for block in blocks:
        pooled[np.ix_(block, block)] = 1 / len(block)
    return pooled


def crossing(
    level: np.ndarray, curve: np.ndarray, rows: np.ndarray, *, confidence: float, again: Replicates | None = None
) -> Crossing:
    """Where the mean of a loss meets the curve of mean losses at n = 0, 1, …, N.

    `level` [G] and `curve` [G, N + 1] are sums over a group's rows, `rows` [G] their number. The curve is made falling
    and drawn by monotone cubics. The interval holds every n at which level - curve(n) is not told from 0 by the
    replicates `again` of (level, curve), which are without each group, with the same fits, if none are given.
    """
    groups, last = int((rows > 0).sum()), curve.shape[1] - 1
    if not groups:
        return undefined("no utterances", 0)
    if last < 1:
        return undefined("no human votes are left beside the scored ones, so there is no curve", groups)
    means = curve.sum(axis=0) / rows.sum()
    pooled = falling(means)
    n = np.linspace(0, last, last * FINENESS + 1)
    fall = pooled @ means
    mean_level = level.sum() / rows.sum()
    whole = mean_level - _drawn(fall[None], n)[0]
    if not fall[0] - fall[-1] > 1e-12:
        return undefined("the curve is flat: human votes of the utterance do not improve the prediction", groups)
    met, never = meets(np.array([mean_level]), fall[None])
    value, at_least = float(met[0]), bool(never[0])
    if groups < 2:
        return Crossing(value, np.nan, np.nan, "none: one group", groups, at_least)
    again = replicates(np.column_stack([level, curve]), rows) if again is None else again
    if again.blocks < 2:
        return Crossing(value, np.nan, np.nan, "none: one group of speakers", groups, at_least)
    lines = again.means[:, 1:] @ pooled.T
    gain = again.band((lines[:, 0] - lines[:, -1])[:, None], np.array([fall[0] - fall[-1]]), confidence)
    if not gain[0][0] > 0:
        return undefined("the curve is flat: what human votes of the utterance add is not told from nothing", groups)
    low, high = again.band(again.means[:, :1] - _drawn(lines, n), whole, confidence)
    bottom, beyond = _first(n, high, last)
    bottom = float(last) if beyond else bottom
    return Crossing(value, bottom, _last(n, low), again.method, groups, at_least)


def meets(level: np.ndarray, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first n [B] at which curves [B, N + 1], drawn by monotone cubics, come down to levels [B].

    And whether they never do, bool [B]: n is the end N then.
    """
    row, last = np.arange(len(level)), curves.shape[1] - 1
    reached = curves <= level[:, None]
    never = np.asarray(~reached.any(axis=1))
    knot = np.where(never, last, reached.argmax(axis=1))
    cubic = PchipInterpolator(np.arange(last + 1), curves, axis=1).c[:, np.maximum(knot - 1, 0), row]
    low, high = np.zeros(len(row)), np.ones(len(row))
    for _ in range(HALVINGS):
        t = (low + high) / 2
        above = ((cubic[0] * t + cubic[1]) * t + cubic[2]) * t + cubic[3] > level
        low, high = np.where(above, t, low), np.where(above, high, t)
    return np.where(never, float(last), np.where(knot == 0, 0.0, knot - 1 + (low + high) / 2)), never


def undefined(reason: str, groups: int) -> Crossing:
    """No crossing, for the reason."""
    return Crossing(np.nan, np.nan, np.nan, "none: not identifiable", groups, False, reason)


def _drawn(lines: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Curves [B, N + 1] through all points n: [B, len(n)]."""
    return PchipInterpolator(np.arange(lines.shape[1]), lines, axis=1)(n)


def _first(n: np.ndarray, rising: np.ndarray, last: int) -> tuple[float, bool]:
    """The first n where `rising` reaches 0, and whether it never does (n is the last one then)."""
    reached = np.flatnonzero(rising >= 0)
    if not len(reached):
        return float(last), True
    i = int(reached[0])
    if i == 0:
        return 0.0, False
    return float(n[i - 1] - rising[i - 1] * (n[i] - n[i - 1]) / (rising[i] - rising[i - 1])), False


def _last(n: np.ndarray, rising: np.ndarray) -> float:
    """The last n where `rising` is not above 0: infinite if that is the end, 0 if it is above everywhere."""
    below = np.flatnonzero(rising <= 0)
    if not len(below):
        return 0.0
    i = int(below[-1])
    if i == len(n) - 1:
        return np.inf
    return float(n[i] - rising[i] * (n[i + 1] - n[i]) / (rising[i + 1] - rising[i]))


# --------------------
# The curve of n human votes, and the panels that are placed on it.


@dataclass(frozen=True, slots=True)
class Worth:
    """A panel's worth in human votes by one score, overall or in one part of the utterances.

    `where` is overall | label (one against the rest) | ambiguity | subgroup. `at_least`: better than all of the curve,
    whose end is the value; `high` is infinite (JSON: null, with `open_above`) where the interval reaches beyond the
    end. `reason` says why nothing can be told (value NaN).
    """

    where: str
    part: str
    score: str
    value: float
    low: float
    high: float
    method: str
    utterances: int
    groups: int
    at_least: bool
    open_above: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class EffectiveVotes:
    """`calibration` is what each draw of the scored votes used, by name; `fitted_on` the utterances of the fits."""

    calibration: dict[str, int]
    fitted_on: int
    most_votes: int
    utterances: int
    rows: list[Worth]

    def overall(self, score: str = "log_score") -> Worth:
        """The worth over all utterances by a score, named without its `@m`."""
        return next(row for row in self.rows if row.where == "overall" and row.score.split("@")[0] == score)


@dataclass(frozen=True, slots=True)
class CurveValue:
    """One point of the curve that panels are matched against: n human votes, a score, its value over speakers."""

    score: str
    n: int
    value: Interval


class Placed(NamedTuple):
    """A panel's calibrated prediction in every part: each score's sums of losses by speaker, [G], and what the fits
    without each block of speakers move its mean by, [B, 1]; `calibration` is what each draw used, by name."""

    sums: list[dict[str, np.ndarray]]
    effects: list[dict[str, np.ndarray]] | None
    calibration: dict[str, int]


class HumanCurve:
    """Sums by speaker of the curve's losses, in every part of the utterances, made once for all panels.

    `points` are `baselines.curve_predictions` of all draws, one after another. The utterances are those with as many
    votes as the curve is long (`kept` [U]), the same at every n.
    """

    def __init__(
        self,
        scorer: Scorer,
        people: baselines.People,
        points: Sequence[tuple[str, int, np.ndarray]],
        corpus: Corpus,
    ):
        smooth = [q for kind, _, q in points if kind == "smoothed"]
        self.scorer, self.people, self.most = scorer, people, len(smooth) - 1
        self.kept = scorer.reference.other.sum(axis=1) >= self.most
        self._parts = parts_of(scorer, self.kept, self.most, corpus)
        self._all = PartSums(self._parts, scorer.scored, scorer.codes, scorer.groups)
        self._curve = self._all.points(smooth)
        self._refits = Refits(scorer, self._parts) if scorer.groups > 1 else None
        self._effects = self._effects_of_people()

    def _effects_of_people(self) -> list[dict[str, np.ndarray]] | None:
        """`Refits.effects` of the curve: [B, N + 1] for each part and score."""
        if self._refits is None:
            return None
        ref, few = self.scorer.reference, self._refits
        votes = [baselines.curve_votes(draw, self.most) for draw in few.draws]

        def predictions(kept: np.ndarray) -> list[np.ndarray]:
            people = baselines.refit_people(self.people, ref, kept).only(few.utterances)
            return [np.concatenate([people.predict(v) for v in same]) for same in zip(*votes, strict=True)]

        return few.effects(predictions)

    def place(self, candidates: Mapping[str, Calibrated]) -> Placed:
        """A panel's prediction under the calibration that each draw chooses of `calibration.calibrations`."""
        q, used = _chosen({name: one.q for name, one in candidates.items()}, self.scorer.draws)
        few, effects = self._refits, None
        if few is not None:

            def predictions(kept: np.ndarray) -> list[np.ndarray]:
                made = {name: one.refitted(kept, few.utterances) for name, one in candidates.items()}
                return [_chosen(made, few.draws, kept[few.utterances])[0]]

            effects = few.effects(predictions)
        return Placed(self._all.of(q), effects, used)

    def overall(self, score: str, *placed: Placed) -> tuple[np.ndarray, np.ndarray, Replicates | None]:
        """Over all utterances: losses by speaker [G, P + N + 1] of P panels and of the curve at n = 0..N, the numbers
        of rows [G], and the replicates of the columns' means."""
        return self._columns(0, score, placed)

    def _columns(
        self, p: int, score: str, placed: Sequence[Placed]
    ) -> tuple[np.ndarray, np.ndarray, Replicates | None]:
        """`overall` of a part, whose curve may be shorter."""
        points = slice(self._parts[p].most + 1)
        sums = np.column_stack([*(one.sums[p][score] for one in placed), self._curve[p][score][:, points]])
        rows = self._all.rows[p]
        if self._refits is None or self._effects is None:
            return sums, rows, None
        moved = [*(one.effects[p][score] for one in placed if one.effects), self._effects[p][score][:, points]]
        return sums, rows, replicates(sums, rows, self._refits.block, np.column_stack(moved))

    def values(self) -> list[CurveValue]:
        """The curve overall, each point with its interval, in the scores' own direction."""
        found = []
        for name in self._curve[0]:
            sign = -metric_of(name).sign
            sums, rows, again = self.overall(name)
            means = sign * sums.sum(axis=0) / rows.sum()
            low, high, method = np.full_like(means, np.nan), np.full_like(means, np.nan), "none: one group"
            if again is not None and again.blocks > 1:
                low, high = again.band(sign * again.means, means, self.scorer.level)
                method = again.method
            groups, utterances = int((rows > 0).sum()), int(self.kept.sum())
            for n, bounds in enumerate(zip(means.tolist(), low.tolist(), high.tolist(), strict=True)):
                found.append(
                    CurveValue(_full_name(name, self.scorer), n, Interval(*bounds, method, groups, utterances))
                )
        return found

    def match(self, placed: Placed) -> list[Worth]:
        """Where a panel's prediction lies on the curve, by every score and part."""
        found = []
        for p, part in enumerate(self._parts):
            for name in placed.sums[p]:
                sums, rows, again = self._columns(p, name, [placed])
                at = crossing(sums[:, 0], sums[:, 1:], rows, confidence=self.scorer.level, again=again)
                if at.groups == 1 < self.scorer.groups:  # of another speaker of that kind it tells nothing
                    at = undefined("its utterances are of a single speaker", 1)
                found.append(
                    Worth(
                        where=part.where,
                        part=part.name,
                        score=_full_name(name, self.scorer),
                        value=at.value,
                        low=at.low,
                        high=at.high,
                        method=at.method,
                        utterances=round(rows.sum() / len(self.scorer.draws)),
                        groups=at.groups,
                        at_least=at.at_least,
                        open_above=bool(np.isinf(at.high)),
                        reason=at.reason,
                    )
                )
        return found


def effective_votes(curve: HumanCurve, placed: Placed) -> EffectiveVotes:
    """What the panel that is placed on the curve is worth."""
    return EffectiveVotes(
        calibration=placed.calibration,
        fitted_on=curve.people.fitted_on,
        most_votes=curve.most,
        utterances=int(curve.kept.sum()),
        rows=curve.match(placed),
    )


def _chosen(
    made: Mapping[str, np.ndarray], draws: Sequence[Reference], kept: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, int]]:
    """Each draw's predictions under the calibration it chooses by the utterances `kept`, [R * U, K], and how often
    each is used."""
    names = []
    for draw in draws:
        judged = made if kept is None else {name: q[kept] for name, q in made.items()}
        names.append(chosen(judged, draw if kept is None else draw.only(kept)))
    return np.concatenate([made[name] for name in names]), dict(Counter(names))


def _full_name(score: str, scorer: Scorer) -> str:
    return metric_of(score).key(scorer.reference.m)
