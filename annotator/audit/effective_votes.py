"""How many human votes a panel is worth: where its calibrated prediction lies on the curve of n human votes.

    curve(n) = score of the best model without a panel (`baselines.People`) given n human votes of the utterance
    worth    = the n with curve(n) = score of the panel's calibrated prediction without any human vote of it

on the same scored votes and utterances; the curve is made to fall (pooled adjacent violators) and drawn by monotone
cubics (Fritsch and Carlson 1980). All that is fitted is so on other folds' speakers. (A panel's strength as a prior is
no measure: a shuffled panel, calibrated, collapses to the class marginal and still gets one of 2.7.)

Interval: all n at which the panel's loss less curve(n) is not told from 0, Fieller's way, by a jackknife over speakers
(from 60 on over thirty groups of them) in which every replicate has fits of its own (`refits`, `replicates`). It holds
the noise of panel, curve and fits together, and is open above where the curve ends first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.scores.divergences import jsd_bits
from ...data.scores.groups import group_codes
from ...data.scores.intervals import Interval, Replicates, blocks_of, replicates
from ...data.scores.proper_scores import log_score, sq_unbiased
from ...data.scores.scoring import THIRDS, strata_thirds
from . import baselines
from .calibration import Calibrated, chosen
from .crossing import crossing, undefined
from .scorer import Reference, Scorer

# --------------------
# The parts of the utterances that a worth is told of, and the sums of losses by speaker in each of them.

# A column of the utterances with more values than this makes no subgroups; nor do these: the consensus is made of the
# votes that are scored.
MOST_VALUES = 8
# Ambiguity is cut by at least so many votes that the curve does not use: half of them, up to four. Cut by the curve's
# own, a third knows beforehand how the first vote will do: one voice vote of CREMA-D was worth .7 in the low third and
# 2.1 in the high one, and a shuffled panel 1.3.
CUT_VOTES, MOST_CUT_VOTES = 2, 4
NO_SUBGROUPS = ("utterance_id", "audio", "start", "end", "content_hash", "split", "transcript", "speaker", "consensus")


class Part(NamedTuple):
    """Rows (mask [N]) of a part; one `label` against the rest, or all; the curve's length there, `most`."""

    where: str
    name: str
    rows: np.ndarray
    most: int
    label: int | None = None


class PartSums:
    """Sums of losses in every part, by speaker, on scored votes [N, K] of speakers `codes` [N] in 0..G-1."""

    def __init__(self, parts: Sequence[Part], scored: np.ndarray, codes: np.ndarray, groups: int):
        self._parts, self._scored, self._codes, self._groups = parts, scored, codes, groups
        self.rows = [np.bincount(codes[part.rows], minlength=groups) for part in parts]

    def of(self, q: np.ndarray) -> list[dict[str, np.ndarray]]:
        """For each part, each score's sum of losses by speaker, [G]; q is [N, K]."""
        losses, by_label = _losses(q, self._scored), _losses_by_label(q, self._scored)
        found = []
        for part in self._parts:
            chosen_losses = losses if part.label is None else {"log_score": by_label[:, part.label]}
            codes = self._codes[part.rows]
            found.append(
                {
                    name: np.bincount(codes, weights=loss[part.rows], minlength=self._groups)
                    for name, loss in chosen_losses.items()
                }
            )
        return found

    def points(self, predictions: Iterable[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """`of` P predictions, side by side: for each part, each score's sums [G, P]."""
        each = [self.of(q) for q in predictions]
        return [
            {name: np.column_stack([one[p][name] for one in each]) for name in part} for p, part in enumerate(each[0])
        ]


def parts_of(scorer: Scorer, kept: np.ndarray, most: int, corpus: Corpus) -> list[Part]:
    """All, each label, each ambiguity third, each subgroup."""
    ref, every = scorer.reference, scorer.repeat(kept)
    parts = [Part("overall", "all", every, most)]
    parts += [Part("label", label, every, most, c) for c, label in enumerate(ref.labels)]
    short = most - max(CUT_VOTES, min(MOST_CUT_VOTES, most // 2))
    if short > 0:
        thirds = scorer.each(lambda draw: _thirds(draw, short))
        parts += [Part("ambiguity", name, every & (thirds == t), short) for t, name in enumerate(THIRDS)]
    parts += [Part("subgroup", name, scorer.repeat(kept & rows), most) for name, rows in subgroups(corpus, ref)]
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


def _losses(q: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    """The three losses of each row, lower is better."""
    return {"log_score": -log_score(q, scored), "jsd_bits": jsd_bits(q, scored), "sq_unbiased": sq_unbiased(q, scored)}


def _losses_by_label(q: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """One label against the rest, [N, K]: -(h_c ln q_c + (m - h_c) ln(1 - q_c)) / m."""
    m = scored.sum(axis=1, keepdims=True)
    tiny = np.finfo(float).tiny
    return -(scored * np.log(np.maximum(q, tiny)) + (m - scored) * np.log(np.maximum(1 - q, 1e-16))) / m


# --------------------
# What the noise of fits adds to a worth: scores under models fitted without each block of speakers.
#
# Votes are scored under cross-fitted predictions, and another corpus would give other votes and other fits. An interval
# of the votes' noise alone is too narrow: the fits follow the likelihood, so that a log score feels their errors in the
# second order, JSD and squared error in the first (coverage of 95 % intervals with and without: BENCHMARKS.md,
# "Coverage of intervals"). Refits begin at the fits to all and keep their numbers of kinds; which calibration is used
# is chosen anew.

# Utterances that refits are fitted to and scored on where there are more, drawn by seed and id. A block's weight in the
# fits is the same, the votes' own noise larger: intervals come out rather too wide.
REFITTED_ON = 10_000

Predictions = Callable[[np.ndarray], Sequence[np.ndarray]]


class Refits:
    """The rows [N] that refits are scored on: the `utterances` (mask [U]) of the first `draws`; the parts' sums there.

    `block` [G] is each speaker's.
    """

    def __init__(self, scorer: Scorer, parts: Sequence[Part]):
        ref = scorer.reference
        self.utterances = baselines.drawn_part(ref, REFITTED_ON)
        number = min(len(scorer.draws), max(1, REFITTED_ON // len(ref.ids)))
        self.draws = [draw.only(self.utterances) for draw in scorer.draws[:number]]
        first = np.repeat(np.arange(len(scorer.draws)) < number, len(ref.ids))
        rows = first & scorer.repeat(self.utterances)
        few = [part._replace(rows=part.rows[rows]) for part in parts]
        codes, groups = group_codes(ref.groups)
        self._sums = PartSums(few, scorer.scored[rows], scorer.codes[rows], groups)
        self._block_of = blocks_of(codes, ref.seed)
        self.block = np.zeros(groups, dtype=int)
        self.block[codes] = self._block_of

    def effects(self, predictions: Predictions) -> list[dict[str, np.ndarray]]:
        """For each part, each score's effects [B, P]: the mean loss of the rows outside a block under the fits without
        it, less that under the fits to all.

        `predictions(kept)` are P predictions [N, K] by models fitted to the utterances `kept` (mask [U]).
        """
        size = int(self.block.max()) + 1
        whole = self._sums.points(predictions(self.utterances))
        found = [{name: np.zeros((size, x.shape[1])) for name, x in part.items()} for part in whole]
        for block in range(size):
            again = self._sums.points(predictions(self.utterances & (self._block_of != block)))
            outside = self.block != block
            for p, rows in enumerate(self._sums.rows):
                for name, sums in again[p].items():
                    moved = (sums - whole[p][name])[outside].sum(axis=0)
                    found[p][name][block] = moved / max(1, rows[outside].sum())
        return found


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
            sign = -1 if name == "log_score" else 1
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
    return f"{score}@{scorer.reference.m}" if score == "jsd_bits" else score
