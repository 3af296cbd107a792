"""A panel's answers as predictions of people's votes, without any human vote of that utterance: its calibration.

What a panel is worth is what it knows, not how it words it: a biased or overconfident panel is first translated. Two
translations are fitted to human votes of other folds' speakers: confusion map, temperature and class bias
(`data.vote_models.calibrated_prior`), and the latent mixture without human votes
(`data.vote_models.dirichlet_mixture`), which is the human curve's own model told by the panel instead of by votes.
Which one is used, cross-fitted log score decides on votes that are not scored.

Beside it: the losses of such predictions by part of the utterances and speaker, and what the noise of the fits moves
them by, for the worth in human votes (`effective_votes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.scores.divergences import as_distribution, jsd_bits
from ...data.scores.groups import group_codes
from ...data.scores.intervals import blocks_of, by_group
from ...data.scores.proper_scores import log_score, sq_unbiased
from ...data.scores.scoring import THIRDS, strata_thirds
from ...data.vote_models.calibrated_prior import EmpiricalBayes, fit_empirical_bayes
from ...data.vote_models.dirichlet_mixture import LatentMixture, fit_latent_mixture
from ..proxies import Panel
from . import baselines
from .baselines import REFIT_STEPS, fitted_anew, fitted_part
from .scorer import Reference, Scorer

CALIBRATIONS = {
    "latent mixture": "kinds of utterances, told by the panel's answers",
    "calibrated prior": "confusion map, temperature and class bias",
}
# Of the latent mixture's EM: 150 steps gain .0015 nats per vote over 40 on CREMA-D, at four times the time.
STEPS = 40
# How sure it must be over speakers that the calibrated prior is better.
LEVEL = 0.95

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A panel's cross-fitted predictions `q` [U, K]; `refitted(kept, rows)` are those of the utterances `rows`, [R, K],
    by models fitted to the utterances `kept` alone (masks [U])."""

    q: np.ndarray
    refitted: Callable[[np.ndarray, np.ndarray], np.ndarray]


def calibrations(panel: Panel, reference: Reference) -> dict[str, Calibrated]:
    """The panel's cross-fitted predictions under each calibration; they are the same in every draw.

    Fitted to all human votes of the other folds (nobody's own speaker), on the rows of `fitted_part`.
    """
    human = reference.scored + reference.other
    counts = panel.votes is not None
    answers = np.asarray(panel.votes if counts else panel.q, dtype=np.float64)
    none = np.zeros_like(human)

    def latent(rows: np.ndarray, begin: LatentMixture | None) -> LatentMixture:
        steps = STEPS if begin is None else REFIT_STEPS
        return fit_latent_mixture(human[rows], answers[rows], counts=counts, steps=steps, begin=begin)

    def confusion(rows: np.ndarray, begin: EmpiricalBayes | None) -> EmpiricalBayes:
        return fit_empirical_bayes(human[rows], panel.q[rows], begin=begin)

    def told(model: LatentMixture, rows: np.ndarray) -> np.ndarray:
        return model.posterior_mean(none[rows], answers[rows])

    def translated(model: EmpiricalBayes, rows: np.ndarray) -> np.ndarray:
        return model.calibrate(panel.q[rows])

    made = (_calibrated(latent, told, reference), _calibrated(confusion, translated, reference))
    return dict(zip(CALIBRATIONS, made, strict=True))


def _calibrated(
    fit: Callable[[np.ndarray, Model | None], Model],
    predict: Callable[[Model, np.ndarray], np.ndarray],
    reference: Reference,
) -> Calibrated:
    folds, part = reference.folds, fitted_part(reference)
    fits = {int(fold): fit(part & (folds != fold), None) for fold in np.unique(folds)}

    def predicted(models: Mapping[int, Model], rows: np.ndarray) -> np.ndarray:
        q = np.empty((len(folds), len(reference.labels)))
        for fold, model in models.items():
            here = rows & (folds == fold)
            q[here] = predict(model, here)
        return q[rows]

    def refitted(kept: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return predicted(fitted_anew(fits, folds, kept, fit), rows)

    return Calibrated(predicted(fits, np.ones(len(folds), dtype=bool)), refitted)


def chosen(candidates: Mapping[str, np.ndarray], draw: Reference) -> str:
    """Which predictions [U, K] to use, by cross-fitted log score per vote on this draw's votes that are not scored.

    The latent mixture, being the human curve's own model, unless the calibrated prior is better with 95 % confidence
    over speakers (paired, `data.bootstrap`); the latent mixture too where nothing can be told: no such votes, one
    speaker. On CREMA-D's panels they are not told apart (AV: .0025 nats per vote, face: -.0034, standard errors .0015
    and .0019); by the calibrated prior AV would be worth 3.24 / 2.94 / 2.88 votes by log score / JSD / squared error.
    """
    votes = draw.other
    latent, prior = (np.log(np.maximum(as_distribution(candidates[name]), 1e-300)) for name in CALIBRATIONS)
    gain = np.column_stack([(votes * (prior - latent)).sum(axis=1), votes.sum(axis=1)])
    told = by_group(gain, draw.groups, statistic=lambda t: t[..., 0] / t[..., 1], level=LEVEL, seed=draw.seed)
    names = list(CALIBRATIONS)
    return names[1] if told.low > 0 else names[0]


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
