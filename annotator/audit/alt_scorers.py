"""Scorers of the alternative annotator test: which of two, a model or one human, the other humans' votes speak for.

Each scorer S(x, others) says how well an answer x fits the other humans' votes on the same item. Only the order of two
scores enters the test, so a scorer here returns the sign of S(model) - S(human), int8 [S, U], for every human vote.
Entries where there is no vote, or no other one, mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...data.errors import OptionError
from ...data.tables import occurrence
from ...data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial

# Scores nearer than this, in units of what they are made of, differ by rounding and are a tie.
TIE = 1e-9
SMALL = 127


class HumanVotes(NamedTuple):
    """Human votes in slots: `value` [S, U] holds item u's votes, codes of labels (-1: none) or numbers (NaN: none).

    Slot s is rater s where `rater` is None, else `rater` int [S, U] says whose vote it is: of thousands of raters, few
    hear an item. `raters` is how many there are.
    """

    value: np.ndarray
    rater: np.ndarray | None
    raters: int

    @property
    def given(self) -> np.ndarray:
        """Mask [S, U] of the slots that hold a vote."""
        return answered(self.value)


def human_votes(table: ArrayLike) -> HumanVotes:
    """Votes of a table [items, raters]: codes of labels from 0, or numbers; a negative code or NaN is no vote."""
    table = np.asarray(table)
    return HumanVotes(table.T, None, table.shape[1])


def listed_votes(item: np.ndarray, rater: np.ndarray, value: np.ndarray, *, items: int, raters: int) -> HumanVotes:
    """Votes of a list [V] of items, raters and values, one vote a rater and item.

    >>> listed_votes(np.array([0, 1, 1]), np.array([7, 7, 9]), np.array([2, 0, 1]), items=2, raters=10).value
    array([[ 2,  0],
           [-1,  1]])
    """
    slot = occurrence(item)
    shape = (int(slot.max(initial=-1)) + 1, items)
    whose = np.full(shape, -1, dtype=np.int32)
    whole = value.dtype.kind in "iu"
    table = np.full(shape, -1 if whole else np.nan, dtype=_narrow(value, shape[0]) if whole else np.float64)
    whose[slot, item], table[slot, item] = rater, value
    return HumanVotes(table, whose, raters)


def _narrow(codes: np.ndarray, slots: int) -> type:
    """A byte where codes and counts fit into one: a table of bytes is compared eight times as fast."""
    return np.int8 if max(int(codes.max(initial=0)), slots) < SMALL else np.int32


def answered(answers: np.ndarray) -> np.ndarray:
    """Mask of the codes from 0, or of the numbers that are not NaN."""
    return answers >= 0 if answers.dtype.kind in "iu" else ~np.isnan(answers)


def accuracy(votes: HumanVotes, model: np.ndarray) -> np.ndarray:
    """Sign by S = share of the other humans' votes that equal x; `model` int [U].

    Both shares are of the same others, so the counts of equal votes are compared, exactly.
    """
    kind = _narrow(np.append(votes.value.max(initial=0), model.max(initial=0)), len(votes.value))
    value = np.ascontiguousarray(votes.value, dtype=kind)
    hit = value == model.astype(kind)
    equal = np.zeros(value.shape, dtype=kind)
    for a in range(len(value)):
        for b in range(a):
            same = value[a] == value[b]
            equal[a] += same
            equal[b] += same
    return np.sign(hit.sum(axis=0, dtype=kind) - hit - equal).astype(np.int8, copy=False)


def neg_rmse(votes: HumanVotes, model: np.ndarray) -> np.ndarray:
    """Sign by S = -sqrt(mean over the other humans of (x - value)^2); `model` float [U].

    With others of mean o, S(f) >= S(h) exactly where (h - f)(h + f - 2 o) >= 0, so equal distances are a tie whatever
    the rounding of squares.
    """
    given = votes.given
    value = np.where(given, votes.value, 0.0)
    total, others = value.sum(axis=0), np.maximum(given.sum(axis=0) - 1, 1)
    size = np.abs(value).sum(axis=0) + np.abs(model)
    sign = np.zeros(value.shape, dtype=np.int8)
    for s, human in enumerate(value):
        lean = human + model - 2 * (total - human) / others
        sign[s] = np.where(np.abs(lean) > TIE * size, np.sign((human - model) * np.sign(lean)), 0)
    return sign


def log_score(votes: HumanVotes, model: np.ndarray) -> np.ndarray:
    """Sign by S = mean over the other humans' votes of log q[vote]: an extension of serann, not the paper's.

    q is the model's distribution, `model` float [U, K]. A single label, the human's or that of a `model` int [U],
    becomes the best distribution that one vote allows, (alpha + e_label) / (A + 1) with the Dirichlet-multinomial
    alpha of all the human votes (`data.dirichlet`). A probability of 0 on a label that another human gave is -inf.

    Raises CorpusError where alpha cannot be learnt: no item has two votes.
    """
    given = votes.given
    labels = model.shape[1] if model.ndim == 2 else 1 + int(max(votes.value.max(initial=0), model.max(initial=0)))
    code, row = np.where(given, votes.value, 0).astype(np.intp), np.arange(len(model))
    flat = np.bincount((row * labels + code)[given], minlength=len(model) * labels)
    counts = flat.reshape(-1, labels)
    alpha = fit_dirichlet_multinomial(counts)
    base, gain = np.log(alpha / (alpha.sum() + 1)), np.log1p(1 / alpha)
    all_base, others = counts @ base, counts.sum(axis=1) - 1
    theirs = _of_labels(model, counts, gain) if model.ndim == 1 else _of_distributions(model, counts)
    sign = np.zeros(code.shape, dtype=np.int8)
    for s, human in enumerate(code):
        of_base = all_base - base[human]
        own = of_base + (counts[row, human] - 1) * gain[human]
        difference = theirs(human, of_base) - own
        sign[s] = np.where(np.abs(difference) > TIE * others, np.sign(difference), 0)
    return sign


# The model's sums of log q [U], of the left-out humans' labels [U] and the sums [U] that any one vote's q shares.
OfLeftOut = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _of_labels(model: np.ndarray, counts: np.ndarray, gain: np.ndarray) -> OfLeftOut:
    agreeing = counts[np.arange(len(model)), model]
    return lambda human, of_base: of_base + (agreeing - (model == human)) * gain[model]


def _of_distributions(model: np.ndarray, counts: np.ndarray) -> OfLeftOut:
    none = ~(model > 0)
    logs = np.log(np.where(none, 1.0, model))
    total, impossible, row = (counts * logs).sum(axis=1), (counts * none).sum(axis=1), np.arange(len(model))

    def left_out(human: np.ndarray, _: np.ndarray) -> np.ndarray:
        lost = impossible - none[row, human]
        return np.where(lost > 0, -np.inf, total - logs[row, human])

    return left_out


Scorer = Callable[[HumanVotes, np.ndarray], np.ndarray]
SCORERS: dict[str, Scorer] = {"accuracy": accuracy, "neg-rmse": neg_rmse, "log-score": log_score}


def scorer_named(name: str) -> Scorer:
    """The scorer of a name; OptionError listing the names there are."""
    if name not in SCORERS:
        raise OptionError(f"unknown scorer {name!r}; expected one of {', '.join(SCORERS)}")
    return SCORERS[name]
