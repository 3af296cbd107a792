"""Counts as a Dirichlet-multinomial reads them: few distinct (label, value) pairs, so log-gammas are taken once a pair.

    log DM(x | alpha) = lnG(A) - lnG(A + N) + sum_k lnG(alpha_k + x_k) - lnG(alpha_k)

A row's terms depend on its values x_k > 0 and on N alone, and votes take few values. With a sparse 0/1 matrix of which
row has which pair, the likelihood of every row under every class is one matrix product, and so is the M-step. A million
rows of ten votes cost ten additions a class each, no log-gamma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix
from scipy.special import gammaln, psi

# Each label of a class keeps so many pseudo-votes, spread as all votes are: one that nobody chose keeps a chance.
PSEUDO_VOTES = 0.5
# No class is sharper than so many votes (a class without any spread would run off), none vaguer than the lower end.
STRENGTHS = (0.05, 1e4)
# Whole values up to this many above the number of values are looked up in a table.
SMALL = 1000


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
        values, place = distinct(counts[row, label])
        pairs, code = distinct(label * max(1, len(values)) + place)
        sizes, size_code = distinct(counts.sum(axis=1))
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
            # One pseudo-utterance with a single vote a label: psi(1 + a) - psi(a) = 1 / a.
            above += PSEUDO_VOTES * marginal * labels / alpha
            below += PSEUDO_VOTES * labels / total
            alpha = alpha * above / below[:, None]
            total = alpha.sum(axis=1, keepdims=True)
            alpha = np.maximum(alpha * np.clip(total, *STRENGTHS) / total, 1e-6)
        return alpha


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values (none below 0) in order, and which of them each is; small whole ones without sorting.

    >>> distinct(np.array([3.0, 1.0, 3.0]))
    (array([1., 3.]), array([1, 0, 1]))
    """
    whole = values.astype(np.int64)
    if not len(values) or (whole != values).any() or whole.max() > len(values) + SMALL:
        found, code = np.unique(values, return_inverse=True)
        return found, code.reshape(-1)
    there = np.bincount(whole) > 0
    return np.flatnonzero(there).astype(values.dtype), (np.cumsum(there) - 1)[whole]
