"""Counts as a Dirichlet-multinomial reads them: few distinct (label, value) pairs, so log-gammas are taken once a pair.

    log DM(x | alpha) = lnG(A) - lnG(A + N) + sum_k lnG(alpha_k + x_k) - lnG(alpha_k)

A row's terms depend on its values x_k > 0 and on N alone, and votes take few values. With a sparse 0/1 matrix of which
row has which pair, the likelihood of every row under every class is one matrix product, and so is the M-step. A million
rows of ten votes cost ten additions a class each, no log-gamma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import gammaln, psi

from ...data.mixture import PSEUDO_VOTES, STRENGTHS


@dataclass(frozen=True, slots=True)
class CountTerms:
    """`has` [R, C + S] of 0 and 1: the pairs (`label` [C], `value` [C]) of a row, and which of `sizes` [S] its N is."""

    has: csr_matrix
    label: np.ndarray
    value: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> CountTerms:
        """Index counts [R, K], shares of votes allowed; NaN rows are rows without votes."""
        counts = np.nan_to_num(np.asarray(counts, dtype=np.float64))
        row, label = np.nonzero(counts)
        pairs, code = np.unique(np.column_stack([label, counts[row, label]]), axis=0, return_inverse=True)
        sizes, size_code = np.unique(counts.sum(axis=1), return_inverse=True)
        rows = np.concatenate([row, np.arange(len(counts))])
        columns = np.concatenate([code.ravel(), len(pairs) + size_code.ravel()])
        shape = (len(counts), len(pairs) + len(sizes))
        has = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
        return cls(has, pairs[:, 0].astype(int), pairs[:, 1], sizes)

    def log_likelihood(self, alpha: np.ndarray) -> np.ndarray:
        """log DM of every row, votes in any one order, under each alpha [Z, K]: [R, Z]."""
        at, total = alpha[:, self.label].T, alpha.sum(axis=1)
        pairs = gammaln(at + self.value[:, None]) - gammaln(at)
        return self.has @ np.vstack([pairs, gammaln(total) - gammaln(total + self.sizes[:, None])])

    def improved(self, alpha: np.ndarray, r: np.ndarray, marginal: np.ndarray, *, inner: int = 4) -> np.ndarray:
        """One M-step for responsibilities r [R, Z]: Minka's fixed point, as `data.mixture.improved` does it."""
        mass = self.has.T @ r
        by_pair, by_size = mass[: len(self.label)], mass[len(self.label) :]
        labels = alpha.shape[1]
        for _ in range(inner):
            at, total = alpha[:, self.label].T, alpha.sum(axis=1)
            gain = by_pair * (psi(at + self.value[:, None]) - psi(at))
            above = np.stack([gain[self.label == k].sum(axis=0) for k in range(labels)], axis=1)
            below = (by_size * (psi(total + self.sizes[:, None]) - psi(total))).sum(axis=0)
            above += PSEUDO_VOTES * marginal * labels / alpha
            below += PSEUDO_VOTES * labels / total
            alpha = alpha * above / below[:, None]
            total = alpha.sum(axis=1, keepdims=True)
            alpha = np.maximum(alpha * np.clip(total, *STRENGTHS) / total, 1e-6)
        return alpha
