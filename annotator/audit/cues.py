"""Identity cues: do a gender or an accent that the prompt states move the answers, though the sound stays the same?

For two levels of a cue (told of a woman, told of a man, told nothing), averaged over the other factors of the panel's
design (`information.weights_alone`), each label's shift is the mean over utterances of p_level - p_against at
temperature 1, tested against 0 with the speaker as the unit (delete-one-speaker jackknife, t; two-sided); all shifts
of a run are one family, corrected by Holm. A cue can also move answers this way for one utterance and that way for
another: `moved` is the mean total variation between the two levels, which has no test, since it cannot be below 0.

A level against nothing said is a sentence more in the prompt, whatever it says, and may move answers as such; two
stated levels against each other differ in the cue alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.groups import group_codes
from ...data.scores.intervals import Interval, by_group, jackknife_of
from ..run.run import Run
from .information import Factor, crossing_with, factors, weights_alone
from .scorer import holm
from .sensitivity import CUES, answers, design

CORRECTION = "Holm"
# Probabilities are stored as float32; what differs by less is rounding.
ROUNDING = 1e-6
# What is said of a prompt that states no cue.
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class LabelShift:
    """What a label's probability gains where the cue is `level` instead of `against`; p corrected over the run's."""

    label: str
    difference: Interval
    p: float
    p_adjusted: float


@dataclass(frozen=True, slots=True)
class CuePair:
    """Two levels of a cue: how far answers move at all (total variation), and each label's shift."""

    factor: str
    part: str
    moved: Interval
    shifts: list[LabelShift]


@dataclass(frozen=True, slots=True)
class Cues:
    """The cues of one run's panel; `pairs` is empty where it states none, or where none can be told apart."""

    run: str
    pairs: list[CuePair]
    tested: int
    correction: str


def section(run: Run, corpus: Corpus, *, level: float = 0.95, seed: int = 0) -> Cues | None:
    """The cues that a run's panel varies; None where it varies none, or where its answers are texts."""
    raters, columns, _ = design(run)
    cues, _ = factors({name: columns[name] for name in CUES})
    if not cues or run.info["identity"].get("mode") == "sample":
        return None
    every, _ = factors(columns)
    values = {cue.name: np.full((len(corpus.ids), len(cue.levels), len(corpus.labels)), np.nan) for cue in cues}
    order = [list(run.labels).index(label) for label in corpus.labels]
    for rows, p, there in answers(run, corpus, raters):
        for cue in cues:
            values[cue.name][rows] = _levels(p[:, :, order], there, cue, crossing_with(cue, every))
    pairs = [pair for cue in cues for pair in _pairs(cue, values[cue.name], corpus, level, seed)]
    pairs = _corrected(pairs)
    tested = sum(not np.isnan(shift.p) for pair in pairs for shift in pair.shifts)
    return Cues(run.path.name, pairs, tested, CORRECTION)


def _levels(p: np.ndarray, there: np.ndarray, cue: Factor, others: list[Factor]) -> np.ndarray:
    """The answers at each level of a cue, the others averaged over, [N, L, K]; NaN where a level has no answer."""
    found = np.full((len(p), len(cue.levels), p.shape[2]), np.nan)
    patterns, of = np.unique(there, axis=0, return_inverse=True)
    for n, pattern in enumerate(patterns):
        weights = weights_alone(cue, others, pattern)
        if weights is not None:
            here = of.reshape(-1) == n
            found[here] = np.einsum("lr,nrk->nlk", weights, p[here])
    return found


def _pairs(cue: Factor, p: np.ndarray, corpus: Corpus, level: float, seed: int) -> Iterator[CuePair]:
    """Every two levels, the named one against the one that is told nothing where there is that."""
    kept = np.isfinite(p).all(axis=(1, 2))
    if not kept.any():
        return
    speakers = corpus.column("speaker")[kept]
    codes, size = group_codes(speakers)
    for a, b in combinations(range(len(cue.levels)), 2):
        one, other = (b, a) if cue.levels[a] == "none" else (a, b)
        shift = p[kept, one] - p[kept, other]
        shift = np.where(np.abs(shift) < ROUNDING, 0.0, shift)
        sums = np.column_stack([np.bincount(codes, weights=x, minlength=size) for x in (*shift.T, np.ones(len(shift)))])
        yield CuePair(
            factor=cue.name,
            part=f"{cue.levels[one]} instead of {NOTHING if cue.levels[other] == 'none' else cue.levels[other]}",
            moved=by_group(0.5 * np.abs(shift).sum(axis=1), speakers, level=level, seed=seed),
            shifts=[
                LabelShift(label, found._replace(rows=len(shift)), p_value, np.nan)
                for c, label in enumerate(corpus.labels)
                for found, p_value in [jackknife_of(sums[:, [c, -1]], _mean, level)]
            ],
        )


def _mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / np.where(totals[..., 1] > 0, totals[..., 1], np.nan)


def _corrected(pairs: list[CuePair]) -> list[CuePair]:
    adjusted = iter(holm(np.array([shift.p for pair in pairs for shift in pair.shifts])).tolist())
    return [replace(pair, shifts=[replace(s, p_adjusted=next(adjusted)) for s in pair.shifts]) for pair in pairs]
