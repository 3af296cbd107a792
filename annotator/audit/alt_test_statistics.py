"""What the alternative annotator test is made of: scores against the other humans' votes, and a test for each rater.

A scorer says which of two, a model or one human, the other humans' votes speak for. Each scorer S(x, others) says how
well an answer x fits the other humans' votes on the same item. Only the order of two scores enters the test, so a
scorer here returns the sign of S(model) - S(human), int8 [S, U], for every human vote. Entries where there is no vote,
or no other one, mean nothing. The signs are counted by rater; each rater has a one-sided p, and Benjamini and Yekutieli
say which of them count together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr
from scipy.stats import wilcoxon

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
    """Votes of a list [V] of items, raters and values, one vote per rater and item.

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


# --------------------
# One-sided p for each rater, and which of them count together.

# The paper advises 30 instances a rater; with fewer its test is Wilcoxon's.
ADVISED = 30


class Tally(NamedTuple):
    """d of each rater, [R]: how many `n`, and in how many the model was `better` or `worse` than the human."""

    n: np.ndarray
    better: np.ndarray
    worse: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of d, NaN without instances."""
        with np.errstate(invalid="ignore"):
            return (self.worse - self.better) / self.n

    @property
    def constant(self) -> np.ndarray:
        """Where every d is the same."""
        return (self.better == self.n) | (self.worse == self.n) | (self.better + self.worse == 0)


def tally_of(votes: HumanVotes, kept: np.ndarray, sign: np.ndarray) -> Tally:
    """Count each rater's instances by sign [S, U] of model minus human."""
    masks = (kept, kept & (sign > 0), kept & (sign < 0))
    if votes.rater is None:
        return Tally(*(mask.sum(axis=1) for mask in masks))
    return Tally(*(np.bincount(votes.rater[mask], minlength=votes.raters) for mask in masks))


def p_values(tally: Tally, epsilon: float) -> np.ndarray:
    """One-sided p of mean d < epsilon for each rater, [R]: Student's t, or Wilcoxon's signed ranks below 30."""
    p = t_test(tally, epsilon)
    for r in np.flatnonzero(tally.n < ADVISED):
        p[r] = wilcoxon_test(int(tally.n[r]), int(tally.better[r]), int(tally.worse[r]), epsilon)
    return p


def t_test(tally: Tally, epsilon: float) -> np.ndarray:
    """p [R] of the one-sample t-test, H1: mean d < epsilon; where d is constant its limit, 0 below epsilon, else 1."""
    n, mean = tally.n, tally.mean
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = ((tally.better + tally.worse) - n * mean**2) / (n - 1)
        p = stdtr(n - 1, (mean - epsilon) / np.sqrt(variance / n))
    return np.where(tally.constant, np.where(mean < epsilon, 0.0, 1.0), p)


def wilcoxon_test(n: int, better: int, worse: int, epsilon: float) -> float:
    """p of Wilcoxon's signed-rank test (scipy's, zeros dropped), H1: d - epsilon lies below 0; 1 if all are 0."""
    shifted = np.repeat([-1.0, 0.0, 1.0], [better, n - better - worse, worse]) - epsilon
    if not shifted.any():
        return 1.0
    with warnings.catch_warnings():
        # scipy remarks on small samples with ties; the advised minimum is what guards against those
        warnings.simplefilter("ignore")
        found: Any = wilcoxon(shifted, alternative="less")
        return float(found.pvalue)


def clustered_p(
    votes: HumanVotes, kept: np.ndarray, sign: np.ndarray, speakers: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """p [R] of mean d < epsilon with items clustered by speaker, and each rater's number G of speakers, [R].

    t = (mean d - epsilon) / s with G - 1 degrees of freedom, s^2 = (G - 1)/G sum_g (theta_g - mean theta)^2, theta_g
    being the mean of d without speaker g (delete-one-group jackknife, Tukey 1958). Items of one speaker share what the
    speaker does, which the t-test takes for independent evidence. NaN below two speakers; where all theta_g are equal,
    the limit 0 or 1.
    """
    _, group = np.unique(speakers, return_inverse=True)
    slot, item = np.nonzero(kept)
    key = group.reshape(-1)[item] * votes.raters + (slot if votes.rater is None else votes.rater[slot, item])
    cells, place = np.unique(key, return_inverse=True)
    total, n = np.bincount(place, weights=-sign[kept].astype(np.float64)), np.bincount(place)
    rater = cells % votes.raters

    def by_rater(column: np.ndarray) -> np.ndarray:
        return np.bincount(rater, weights=column, minlength=votes.raters)

    size = by_rater(np.ones(len(cells)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = by_rater(total) / by_rater(n)
        without = (by_rater(total)[rater] - total) / (by_rater(n)[rater] - n)
        off = by_rater((without - (by_rater(without) / size)[rater]) ** 2)
        error = np.sqrt((size - 1) / size * off)
        p = stdtr(size - 1, (mean - epsilon) / error)
    p = np.where(error <= 1e-12, np.where(mean < epsilon, 0.0, 1.0), p)
    return np.where(size >= 2, p, np.nan), size.astype(np.int64)


def benjamini_yekutieli(p: ArrayLike, q: float = 0.05) -> np.ndarray:
    """Which hypotheses are rejected, bool [m]: all up to the largest r with p_(r) <= r q / (m H_m), H_m = sum_k 1/k.

    The false discovery rate is held under any dependence (Benjamini & Yekutieli 2001, Ann. Stat. 29:1165). Undefined
    p (NaN) are no hypotheses.

    >>> benjamini_yekutieli([0.0192, 0.0260, 0.3145]).tolist()
    [False, False, False]
    """
    p = np.asarray(p, dtype=np.float64)
    defined = np.sort(p[~np.isnan(p)])
    if not len(defined):
        return np.zeros(p.shape, dtype=bool)
    rank = np.arange(1, len(defined) + 1)
    below = defined <= rank / len(defined) * (q / (1 / rank).sum())
    return p <= (defined[below][-1] if below.any() else -1.0)
