"""How many human votes a panel is worth: where its calibrated prediction lies on the curve of n human votes.

    curve(n) = score of the best model without a panel (`baselines.People`) given n human votes of the utterance
    worth    = the n with curve(n) = score of the panel's calibrated prediction without any human vote of it

on the same scored votes and utterances; the curve is made to fall (pooled adjacent violators) and drawn by monotone
cubics (Fritsch and Carlson 1980). All that is fitted is so on other folds' speakers. (A panel's strength as a prior is
no measure: a shuffled panel, calibrated, collapses to the class marginal and still gets one of 2.7.)

Interval: all n at which the panel's loss less curve(n) is not told from 0 over speakers (`data.bootstrap`: jackknife-t
below 60, percentile bootstrap above), Fieller's way. It holds the noise of panel and curve together, and is open above
where the curve ends first. Fits are not repeated in resamples, and their own noise is not in the interval: with fits
from elsewhere it covers 94 %, with those of eight of ten speakers of 19 utterances each 91, 86 and 93 % (log score,
JSD, squared error; 300 simulated corpora, BENCHMARKS.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ...data.bootstrap import Interval, by_group, group_codes
from ...data.corpus import Corpus
from ...data.divergences import jsd_bits
from ...data.proper_scores import log_score, sq_unbiased
from ...data.scoring import THIRDS, limits_of, strata_thirds
from . import baselines
from .calibration import CALIBRATIONS, calibrations, chosen
from .crossing import crossing, undefined
from .panels import Panel
from .reference import Reference
from .scorer import Scorer

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute

# A column of the utterances with more values than this makes no subgroups; nor do these: the consensus is made of the
# votes that are scored.
MOST_VALUES = 8
# Ambiguity is cut by at least so many votes that the curve does not use: half of them, up to four. Cut by the curve's
# own, a third knows beforehand how the first vote will do: one voice vote of CREMA-D was worth .7 in the low third and
# 2.1 in the high one, and a shuffled panel 1.3.
CUT_VOTES, MOST_CUT_VOTES = 2, 4
NO_SUBGROUPS = ("utterance_id", "audio", "start", "end", "content_hash", "split", "transcript", "speaker", "consensus")


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


class _Part(NamedTuple):
    """Rows [R * U] of a part; one `label` against the rest, or all; the curve's length there."""

    where: str
    name: str
    rows: np.ndarray
    most: int
    label: int | None = None


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
        ref = scorer.reference
        smooth = [q for kind, _, q in points if kind == "smoothed"]
        self.scorer, self.people, self.most = scorer, people, len(smooth) - 1
        self.kept = ref.other.sum(axis=1) >= self.most
        codes, self.groups = group_codes(ref.groups)
        self._codes = np.tile(codes, len(scorer.draws))
        self._parts = _parts(scorer, self.kept, self.most, corpus)
        self._rows = [np.bincount(self._codes[part.rows], minlength=self.groups) for part in self._parts]
        self._sums = [self.sums(q) for q in smooth]

    def sums(self, q: np.ndarray) -> list[dict[str, np.ndarray]]:
        """For each part, each score's sum of losses by speaker, [G]; q is [R * U, K]."""
        losses, by_label = _losses(q, self.scorer.scored), _losses_by_label(q, self.scorer.scored)
        found = []
        for part in self._parts:
            chosen_losses = losses if part.label is None else {"log_score": by_label[:, part.label]}
            codes = self._codes[part.rows]
            found.append(
                {
                    name: np.bincount(codes, weights=loss[part.rows], minlength=self.groups)
                    for name, loss in chosen_losses.items()
                }
            )
        return found

    def overall_sums(self, score: str) -> tuple[np.ndarray, np.ndarray]:
        """A score's losses over all utterances by speaker, [G, N + 1] for n = 0..N, and the numbers of rows [G]."""
        return np.column_stack([point[0][score] for point in self._sums]), self._rows[0]

    def values(self) -> list[CurveValue]:
        """The curve overall, each point with its interval, in the scores' own direction."""
        rows = self._rows[0]
        found = []
        for name in self._sums[0][0]:
            sign = -1 if name == "log_score" else 1
            for n, sums in enumerate(self._sums):
                columns = np.column_stack([sign * sums[0][name], rows])[rows > 0]
                interval = by_group(
                    columns,
                    np.flatnonzero(rows),
                    statistic=lambda t: t[..., 0] / t[..., 1],
                    level=self.scorer.level,
                    limits=limits_of(name),
                    seed=self.scorer.reference.seed,
                )
                found.append(CurveValue(_full_name(name, self.scorer), n, interval._replace(rows=int(self.kept.sum()))))
        return found

    def match(self, q: np.ndarray) -> list[Worth]:
        """Where predictions q [R * U, K] lie on the curve, by every score and part."""
        found = []
        for p, (part, sums) in enumerate(zip(self._parts, self.sums(q), strict=True)):
            for name, level in sums.items():
                curve = np.column_stack([point[p][name] for point in self._sums[: part.most + 1]])
                at = crossing(
                    level,
                    curve,
                    self._rows[p],
                    confidence=self.scorer.level,
                    seed=self.scorer.reference.seed,
                )
                if at.groups == 1 < self.groups:  # of another speaker of that kind it tells nothing
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
                        utterances=round(self._rows[p].sum() / len(self.scorer.draws)),
                        groups=at.groups,
                        at_least=at.at_least,
                        open_above=bool(np.isinf(at.high)),
                        reason=at.reason,
                    )
                )
        return found


def effective_votes(curve: HumanCurve, panel: Panel, candidates: dict[str, np.ndarray] | None = None) -> EffectiveVotes:
    """What the panel is worth; `candidates` are its `calibrations`, where they are known already."""
    draws = curve.scorer.draws
    candidates = calibrations(panel, draws[0]) if candidates is None else candidates
    names = [chosen(candidates, draw) for draw in draws]
    return EffectiveVotes(
        calibration=dict(Counter(names)),
        fitted_on=curve.people.fitted_on,
        most_votes=curve.most,
        utterances=int(curve.kept.sum()),
        rows=curve.match(np.concatenate([candidates[name] for name in names])),
    )


def _losses(q: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    """The three losses of each row, lower is better."""
    return {"log_score": -log_score(q, scored), "jsd_bits": jsd_bits(q, scored), "sq_unbiased": sq_unbiased(q, scored)}


def _losses_by_label(q: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """One label against the rest, [N, K]: -(h_c ln q_c + (m - h_c) ln(1 - q_c)) / m."""
    m = scored.sum(axis=1, keepdims=True)
    tiny = np.finfo(float).tiny
    return -(scored * np.log(np.maximum(q, tiny)) + (m - scored) * np.log(np.maximum(1 - q, 1e-16))) / m


def _full_name(score: str, scorer: Scorer) -> str:
    return f"{score}@{scorer.reference.m}" if score == "jsd_bits" else score


def _parts(scorer: Scorer, kept: np.ndarray, most: int, corpus: Corpus) -> list[_Part]:
    """All, each label, each ambiguity third, each subgroup."""
    ref, every = scorer.reference, scorer.repeat(kept)
    parts = [_Part("overall", "all", every, most)]
    parts += [_Part("label", label, every, most, c) for c, label in enumerate(ref.labels)]
    short = most - max(CUT_VOTES, min(MOST_CUT_VOTES, most // 2))
    if short > 0:
        thirds = scorer.each(lambda draw: _thirds(draw, short))
        parts += [_Part("ambiguity", name, every & (thirds == t), short) for t, name in enumerate(THIRDS)]
    parts += [_Part("subgroup", name, scorer.repeat(kept & rows), most) for name, rows in subgroups(corpus, ref)]
    return parts


def _thirds(draw: Reference, short: int) -> np.ndarray:
    """Ambiguity thirds [U], cut by the votes that are neither scored nor given to a curve of `short` votes."""
    given = np.nan_to_num(baselines.human_votes(draw, short))
    return strata_thirds(draw.other - given, draw.ids, draw.seed)


def subgroups(corpus: Corpus, reference: Reference) -> list[tuple[str, np.ndarray]]:
    """("gender=female", mask [U]), …: each value of each column of words, truths or whole numbers of 2 to 8 values."""
    found = []
    rows = corpus.utterances.take(pa.array(reference.rows))
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        kind = column.type
        plain = pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)
        if name in NO_SUBGROUPS or name.startswith("consensus") or not plain:
            continue
        values = sorted(v for v in pc.unique(column).to_pylist() if v is not None)
        if 2 <= len(values) <= MOST_VALUES:
            for value in values:
                same = pc.fill_null(pc.equal(column, pa.scalar(value, kind)), False)
                found.append((f"{name}={value}", same.to_numpy(zero_copy_only=False)))
    return found


def in_words(calibration: dict[str, int]) -> str:
    """The calibrations used, in words."""
    return "; ".join(f"{name} ({CALIBRATIONS[name]})" for name in calibration)
