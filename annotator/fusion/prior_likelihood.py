"""The likelihood of votes under a sum of calibrated proxies as Dirichlet prior, with its gradient.

    a_uk = sum_j alpha_j g_juk,  g_j = softmax(log m_j / tau_j + b_j),  A_u = sum_k a_uk
    L = sum_u lnG(A_u) - lnG(N_u + A_u) + sum_uk lnG(n_uk + a_uk) - lnG(a_uk)

lnG is the log gamma function, psi its derivative. With d_uk = psi(n_uk + a_uk) - psi(a_uk) (0 where nobody chose k):

    dL/d ln alpha_j = sum_uk alpha_j g_juk d_uk + alpha_j sum_{u of which j says something} (psi(A_u) - psi(N_u + A_u))
    dL/dz_juk = alpha_j g_juk (d_uk - sum_i g_jui d_ui),  z = ln m / tau + b
    dL/db_j = sum_u dL/dz_ju,  dL/d ln tau_j = -sum_uk dL/dz_juk ln m_juk / tau_j

The Dirichlet-multinomial and its digamma gradient are those of Minka, "Estimating a Dirichlet distribution" (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln

# Mean and standard deviation of the weak priors: of ln (J alpha), ln tau and b of each of J proxies.
LOG_STRENGTH = (np.log(4.0), 1.0)
LOG_TEMPERATURE = (0.0, 0.5)
BIAS = (0.0, 1.0)


class Votes(NamedTuple):
    """Counts in the form the likelihood reads: who chose what how often, `row`, `label`, `value` [V]; and for each kind
    of utterance, by its number of votes and the proxies that said something of it: `sizes` [P], `said` [P, J] and how
    many there are, `times` [P]. `silent`: the rows of which a proxy says nothing, J arrays. `total`: all votes."""

    row: np.ndarray
    label: np.ndarray
    value: np.ndarray
    sizes: np.ndarray
    said: np.ndarray
    times: np.ndarray
    silent: tuple[np.ndarray, ...]
    total: float

    @classmethod
    def of(cls, counts: np.ndarray, said: np.ndarray) -> Votes:
        """From votes [U, K] and the mask [U, J] of what each proxy said something of."""
        row, label = np.nonzero(counts)
        kinds, times = np.unique(np.column_stack([counts.sum(axis=1), said]), axis=0, return_counts=True)
        silent = tuple(np.flatnonzero(~spoken) for spoken in said.T)
        return cls(row, label, counts[row, label], kinds[:, 0], kinds[:, 1:], times, silent, float(counts.sum()))


def objective(x: np.ndarray, votes: Votes, log_m: Sequence[np.ndarray], free: bool) -> tuple[float, np.ndarray]:
    """Negative log-posterior a vote, and its gradient, in (ln alpha, ln tau, b) of one proxy after another.

    `log_m` are [U, K], anything finite where a proxy says nothing; alpha stays where it is unless `free`.
    """
    parameters = x.reshape(len(log_m), -1)
    alpha, tau = np.exp(parameters[:, 0]), np.exp(parameters[:, 1])
    shares = [calibrated(m, t, p[2:]) for m, t, p in zip(log_m, tau, parameters, strict=True)]
    for g, silent in zip(shares, votes.silent, strict=True):
        g[silent] = 0
    at = votes.row, votes.label
    own = [weight * g[at] for weight, g in zip(alpha, shares, strict=True)]
    a = np.maximum(np.sum(own, axis=0), np.finfo(float).tiny)
    total = votes.said @ alpha
    likelihood = (gammaln(votes.value + a) - gammaln(a)).sum()
    likelihood += (votes.times * (gammaln(total) - gammaln(votes.sizes + total))).sum()
    d = digamma(votes.value + a) - digamma(a)
    e = votes.times * (digamma(total) - digamma(votes.sizes + total))
    gradient = np.empty_like(parameters)
    for j, g in enumerate(shares):
        ad = own[j] * d
        g *= -np.bincount(votes.row, ad, minlength=len(g))[:, None]
        g[at] += ad  # now dL/dz
        gradient[j, 0] = ad.sum() + alpha[j] * (votes.said[:, j] * e).sum()
        gradient[j, 1] = -float(np.vdot(g, log_m[j])) / tau[j]
        gradient[j, 2:] = g.sum(axis=0)
    penalty, pull = weak_priors(parameters)
    gradient -= pull
    gradient[:, 0] *= free
    return (penalty - float(likelihood)) / votes.total, gradient.reshape(-1) / -votes.total


def calibrated(log_m: np.ndarray, temperature: float, bias: np.ndarray) -> np.ndarray:
    """softmax(log m / tau + b), row by row."""
    z = log_m / temperature + bias
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    return z / z.sum(axis=1, keepdims=True)


def weak_priors(parameters: np.ndarray) -> tuple[float, np.ndarray]:
    """Half the squared standardised distance of every parameter [J, K + 2] from its prior mean, and its gradient."""
    proxies, width = parameters.shape
    means = np.array([LOG_STRENGTH[0] - np.log(proxies), LOG_TEMPERATURE[0], *[BIAS[0]] * (width - 2)])
    deviations = np.array([LOG_STRENGTH[1], LOG_TEMPERATURE[1], *[BIAS[1]] * (width - 2)])
    z = (parameters - means) / deviations
    return 0.5 * float(np.vdot(z, z)), z / deviations
