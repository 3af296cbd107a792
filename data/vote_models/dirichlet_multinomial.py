"""The Dirichlet-multinomial: how distributions vary over utterances, learnt from a few votes of each.

Votes of an utterance are drawn from its own p, and p from Dirichlet(alpha). Then n votes x move the expectation
of p from alpha / A to (x + alpha) / (n + A), A = sum alpha: shrinkage whose strength the votes themselves tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import gammaln, psi

from ..errors import CorpusError

# e^12 = 160,000 votes' worth of prior: votes that vary between utterances no more than chance would have it
_LARGEST = 12.0
_SMALLEST = -12.0


def fit_dirichlet_multinomial(counts: ArrayLike, *, pseudo: float = 0.5) -> np.ndarray:
    """Maximum-likelihood alpha [K] of a Dirichlet-multinomial over rows of counts [U, K] (Minka 2000; L-BFGS).

    log L = sum_u [ln G(A) - ln G(A + n_u) + sum_c ln G(alpha_c + x_uc) - ln G(alpha_c)], plus `pseudo` times the
    log-likelihood of one more utterance with a single vote, for each label: half a vote a label by default (add-half
    smoothing of the marginal), so that a label nobody happened to choose keeps a chance; 0 is plain maximum
    likelihood. Shares of votes are allowed. Rows without votes or with NaN say nothing and are left out.

    Raises CorpusError if no row has two votes: one vote an utterance tells the marginal and nothing about A (the
    likelihood is flat in it).
    """
    rows, times = distinct_rows(np.asarray(counts, dtype=np.float64))
    if not len(rows) or rows.sum(axis=1).max() <= 1:
        raise CorpusError(
            "how much utterances differ cannot be learnt from one vote an utterance; expected utterances with two or "
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


def distinct_rows(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows and how often each occurs: few votes have few outcomes, so a million rows cost little."""
    said = counts[~np.isnan(counts).any(axis=1) & (np.nansum(counts, axis=1) > 0)]
    radix = int(said.max(initial=0)) + 1
    if radix ** said.shape[1] >= 2**62 or (said != np.floor(said)).any():
        rows, times = np.unique(said, axis=0, return_counts=True)
        return rows, times.astype(np.float64)
    # whole votes are one number, sorted in a tenth of the time, into the same order
    code = said.astype(np.int64) @ (np.int64(radix) ** np.arange(said.shape[1] - 1, -1, -1))
    _, first, times = np.unique(code, return_index=True, return_counts=True)
    return said[first], times.astype(np.float64)


def _log_likelihood(alpha: np.ndarray, rows: np.ndarray, times: np.ndarray) -> tuple[float, np.ndarray]:
    """Log-likelihood without the multinomial coefficients, and its gradient in alpha."""
    total, votes = alpha.sum(), rows.sum(axis=1)
    by_row = gammaln(total) - gammaln(total + votes) + (gammaln(alpha + rows) - gammaln(alpha)).sum(axis=1)
    shared = times @ (psi(total) - psi(total + votes))
    return float(times @ by_row), shared + times @ (psi(alpha + rows) - psi(alpha))


def posterior_mean(counts: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Expected distribution given votes, (x + alpha) / (n + A), [U, K]; `alpha` [K] or a row each [U, K].

    A row without votes is the prior mean, alpha / A: the caller knows whether that counts as a prediction.

    >>> posterior_mean([[2, 0], [0, 0]], [1.0, 1.0])
    array([[0.75, 0.25],
           [0.5 , 0.5 ]])
    """
    raised = np.asarray(counts, dtype=np.float64) + np.asarray(alpha, dtype=np.float64)
    return raised / raised.sum(axis=-1, keepdims=True)
