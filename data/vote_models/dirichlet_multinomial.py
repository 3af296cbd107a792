"""The Dirichlet-multinomial: how distributions vary over utterances, learnt from a few votes of each.

Votes of an utterance are drawn from its own p, and p from Dirichlet(alpha). Then n votes x move the expectation
of p from alpha / A to (x + alpha) / (n + A), A = sum alpha: shrinkage whose strength the votes themselves tell. The
votes, in any one order, have the log-probability

    log DM(x | alpha) = lnG(A) - lnG(A + n) + sum_k lnG(alpha_k + x_k) - lnG(alpha_k),   lnG the log gamma function

(`log_likelihood`). A row's terms depend on its values x_k > 0 and on n alone, and votes take few values: so log-gammas
are taken once a distinct (label, value) pair in `CountTerms`. With a sparse 0/1 matrix of which row has which pair, the
likelihood of every row under every class of a mixture is one matrix product, and so is the M-step: a million rows of
ten votes cost ten additions a class each, no log-gamma. Source: Minka, "Estimating a Dirichlet distribution" (2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.sparse import csc_matrix, csr_matrix
from scipy.special import gammaln, psi

from ..errors import CorpusError

# e^12 = 160,000 votes' worth of prior: votes that vary between utterances no more than chance would have it
_LARGEST = 12.0
_SMALLEST = -12.0
# Each label of a class keeps so many pseudo-votes, spread as all votes are: one that nobody chose keeps a chance.
PSEUDO_VOTES = 0.5
# No class is sharper than so many votes (a class without any spread would run off), none vaguer than the lower end.
STRENGTHS = (0.05, 1e4)
# Whole values up to this many above the number of values are looked up in a table.
SMALL = 1000


def fit_dirichlet_multinomial(counts: ArrayLike, *, pseudo: float = 0.5) -> np.ndarray:
    """Maximum-likelihood alpha [K] of a Dirichlet-multinomial over rows of counts [U, K] (L-BFGS).

    To sum_u log DM(x_u | alpha), `pseudo` times the log-likelihood of one more utterance with a single vote is added
    for each label: half a vote per label by default (add-half smoothing of the marginal), so that a label nobody
    happened to choose keeps a chance; 0 is plain maximum likelihood. Shares of votes are allowed. Rows without votes or
    with NaN say nothing and are left out.

    Raises CorpusError if no row has two votes: one vote per utterance tells the marginal and nothing about A (the
    likelihood is flat in it).
    """
    rows, times = distinct_rows(np.asarray(counts, dtype=np.float64))
    if not len(rows) or rows.sum(axis=1).max() <= 1:
        raise CorpusError(
            "how much utterances differ cannot be learnt from one vote per utterance; expected utterances with two or "
            "more votes outside the reference"
        )
    labels = rows.shape[1]
    if pseudo:
        rows, times = np.vstack([rows, np.eye(labels)]), np.append(times, np.full(labels, pseudo))
    weight = times.sum()

    def loss(log_alpha: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _log_likelihood(np.exp(log_alpha), rows, times)
        return -value / weight, -gradient * np.exp(log_alpha) / weight

    marginal = np.maximum(times @ rows / (times @ rows.sum(axis=1)), 1e-6)
    bounds = [(_SMALLEST, _LARGEST)] * labels
    found = minimize(loss, np.log(labels * marginal), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12)
    return np.exp(found.x)


def posterior_mean(counts: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Expected distribution given votes, (x + alpha) / (n + A), [U, K]; `alpha` [K] or a row each [U, K].

    A row without votes is the prior mean, alpha / A: the caller knows whether that counts as a prediction.

    >>> posterior_mean([[2, 0], [0, 0]], [1.0, 1.0])
    array([[0.75, 0.25],
           [0.5 , 0.5 ]])
    """
    raised = np.asarray(counts, dtype=np.float64) + np.asarray(alpha, dtype=np.float64)
    return raised / raised.sum(axis=-1, keepdims=True)


def log_likelihood(counts: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """log DM [U] of counts [U, K], votes in any one order, under one alpha [K] or a row each [U, K]."""
    total, votes = alpha.sum(axis=-1), counts.sum(axis=1)
    return gammaln(total) - gammaln(total + votes) + (gammaln(alpha + counts) - gammaln(alpha)).sum(axis=1)


def _log_likelihood(alpha: np.ndarray, rows: np.ndarray, times: np.ndarray) -> tuple[float, np.ndarray]:
    """The log-likelihood of rows that occur so many `times`, and its gradient in alpha."""
    total, votes = alpha.sum(), rows.sum(axis=1)
    shared = times @ (psi(total) - psi(total + votes))
    return float(times @ log_likelihood(rows, alpha)), shared + times @ (psi(alpha + rows) - psi(alpha))


# --------------------
# Few votes have few outcomes: rows that are alike are one, so a million rows cost little.


def distinct_rows(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of counts [U, K], sorted, and how often each occurs; rows without votes or with NaN say nothing."""
    said = counts[~np.isnan(counts).any(axis=1) & (np.nansum(counts, axis=1) > 0)]
    first, of = distinct_places(said[:, ::-1])
    return said[first], np.bincount(of, minlength=len(first)).astype(np.float64)


def distinct_places(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [D] of rows that stand for all of counts [U, K], and for each row the place of its like among them.

    In the order of the last column, then of the one before it, and so on.
    """
    radix = int(counts.max(initial=0)) + 1
    if radix ** counts.shape[1] >= 2**62 or (counts != np.floor(counts)).any():
        _, first, of = np.unique(counts[:, ::-1], axis=0, return_index=True, return_inverse=True)
    else:
        # whole votes are one number, sorted in a tenth of the time, into the same order
        code = counts.astype(np.int64) @ (np.int64(radix) ** np.arange(counts.shape[1]))
        _, first, of = np.unique(code, return_index=True, return_inverse=True)
    return first, of.reshape(-1)


# --------------------
# The likelihood of many rows under many classes.


@dataclass(frozen=True, slots=True)
class CountTerms:
    """`has` [R, C + S] of 0 and 1: the pairs (`label` [C], `value` [C]) of a row, and which of `sizes` [S] its N is;
    `holders` is its transpose."""

    has: csr_matrix
    holders: csc_matrix
    label: np.ndarray
    value: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> CountTerms:
        """Index counts [R, K], shares of votes allowed; NaN rows are rows without votes."""
        counts = np.nan_to_num(np.asarray(counts, dtype=np.float64))
        row, label = np.nonzero(counts)
        values, place = distinct_values(counts[row, label])
        pairs, code = distinct_values(label * max(1, len(values)) + place)
        sizes, size_code = distinct_values(counts.sum(axis=1))
        rows = np.concatenate([row, np.arange(len(counts))])
        columns = np.concatenate([code, len(pairs) + size_code])
        shape = (len(counts), len(pairs) + len(sizes))
        has = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
        of_label, of_value = np.divmod(pairs.astype(int), max(1, len(values)))
        return cls(has, has.T, of_label, values[of_value], sizes)

    def log_likelihood(self, alpha: np.ndarray) -> np.ndarray:
        """log DM of every row, votes in any one order, under each alpha [Z, K]: [R, Z]."""
        at, total = alpha[:, self.label].T, alpha.sum(axis=1)
        pairs = gammaln(at + self.value[:, None]) - gammaln(at)
        return self.has @ np.vstack([pairs, gammaln(total) - gammaln(total + self.sizes[:, None])])

    def improved(self, alpha: np.ndarray, r: np.ndarray, marginal: np.ndarray, *, inner: int = 4) -> np.ndarray:
        """One M-step for responsibilities r [R, Z]: Minka's fixed point, alpha_k times the ratio of expected digamma
        differences, for every class."""
        mass = self.holders @ r
        by_pair, by_size = mass[: len(self.label)], mass[len(self.label) :]
        labels = alpha.shape[1]
        of_label = (self.label == np.arange(labels)[:, None]).astype(np.float64)
        for _ in range(inner):
            at, total = alpha[:, self.label].T, alpha.sum(axis=1)
            gain = by_pair * (psi(at + self.value[:, None]) - psi(at))
            above = (of_label @ gain).T
            below = (by_size * (psi(total + self.sizes[:, None]) - psi(total))).sum(axis=0)
            # One pseudo-utterance with a single vote per label: psi(1 + a) - psi(a) = 1 / a.
            above += PSEUDO_VOTES * marginal * labels / alpha
            below += PSEUDO_VOTES * labels / total
            alpha = alpha * above / below[:, None]
            total = alpha.sum(axis=1, keepdims=True)
            alpha = np.maximum(alpha * np.clip(total, *STRENGTHS) / total, 1e-6)
        return alpha


def distinct_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values (none below 0) in order, and which of them each is; small whole ones without sorting.

    >>> distinct_values(np.array([3.0, 1.0, 3.0]))
    (array([1., 3.]), array([1, 0, 1]))
    """
    whole = values.astype(np.int64)
    if not len(values) or (whole != values).any() or whole.max() > len(values) + SMALL:
        found, code = np.unique(values, return_inverse=True)
        return found, code.reshape(-1)
    there = np.bincount(whole) > 0
    return np.flatnonzero(there).astype(values.dtype), (np.cumsum(there) - 1)[whole]
