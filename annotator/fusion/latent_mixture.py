"""Utterances of a few kinds, each with its own way of being voted on by people and answered by a proxy.

    z_u ~ Categorical(pi)
    human votes    x_u | z ~ Dirichlet-multinomial(alpha_z)
    proxy          y_u | z ~ Dirichlet-multinomial(beta_z)   if it gave votes (counts)
                   q_u | z ~ Dirichlet(beta_z)               if it gave a distribution

    r_uz proportional to pi_z DM(x_u | alpha_z) L(proxy_u | beta_z)^w,   p_u = sum_z r_uz (x_u + alpha_z) / (N_u + A_z)

The proxy tells which kind an utterance is of; what people make of that kind, people told. The power w is how much its
word counts: 0 is the human mixture itself (`data.mixture`), 1 takes the proxy's answers as independent given the kind,
which listeners of one model are not. Fitted by EM on the joint, with the same w. The model is ours.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, polygamma, psi

from ...data.dirichlet import distinct_rows
from ...data.mixture import (
    PSEUDO_UTTERANCES,
    PSEUDO_VOTES,
    STRENGTHS,
    DirichletMixture,
    improved,
    log_dirichlet_multinomial,
    start,
)

COMPONENTS = 12
STEPS = 150
TOLERANCE = 1e-6
# A stated probability below this counts as this: log 0 would rule a kind out on a rounding.
LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class LatentMixture:
    """`people`: the classes as people vote on them; `beta` [Z, K]: as the proxy answers; `counts`: whether in votes."""

    people: DirichletMixture
    beta: np.ndarray
    power: float
    counts: bool

    def proxy_evidence(self, proxy: np.ndarray) -> np.ndarray:
        """w log L(proxy_u | beta_z) [U, Z]; 0 where the proxy said nothing (a NaN, or no votes)."""
        return self.power * log_proxy(proxy, self.beta, self.counts)

    def posterior_mean(self, counts: np.ndarray, proxy: np.ndarray) -> np.ndarray:
        """Expected distribution [U, K] given human votes [U, K] (zeros: none) and the proxy's answers [U, K]."""
        return self.people.posterior_mean(counts, self.proxy_evidence(proxy))


def log_proxy(proxy: np.ndarray, beta: np.ndarray, counts: bool) -> np.ndarray:
    """log L [U, Z] of the proxy's votes or distribution under each class, per label so that scales compare."""
    said = np.isfinite(proxy).all(axis=1) & (np.nan_to_num(proxy).sum(axis=1) > 0)
    found = np.zeros((len(proxy), len(beta)))
    if counts:
        found[said] = log_dirichlet_multinomial(proxy[said], beta)
        return found
    total = gammaln(beta.sum(axis=1)) - gammaln(beta).sum(axis=1)
    found[said] = total + log_share(proxy[said]) @ (beta - 1).T
    return found


def log_share(q: np.ndarray) -> np.ndarray:
    """log q with a floor, rows summing to one again."""
    q = np.maximum(q, LEAST_SHARE)
    return np.log(q / q.sum(axis=1, keepdims=True))


def fit_latent_mixture(
    human: np.ndarray,
    proxy: np.ndarray,
    *,
    counts: bool,
    power: float = 1.0,
    components: int = COMPONENTS,
    seed: int = 0,
    steps: int = STEPS,
) -> LatentMixture:
    """Fit to human votes [U, K] and the proxy's votes (`counts`) or distributions [U, K] of the same utterances.

    Rows where one of them is lacking still tell about the other. The start is the human mixture's, on the human votes
    raised by a little of the proxy.
    """
    human = np.nan_to_num(np.asarray(human, dtype=np.float64))
    proxy = np.asarray(proxy, dtype=np.float64)
    rows, code, times = _patterns(human)
    marginal = (times @ rows + PSEUDO_VOTES) / (times @ rows + PSEUDO_VOTES).sum()
    pi, alpha = _start(human, proxy, marginal, components, seed)
    beta = alpha.copy()
    votes = _distinct(proxy)
    log_q = log_share(np.where(np.isfinite(proxy), proxy, marginal))
    former, total = -np.inf, max(1.0, human.sum())
    for _ in range(steps):
        log_r = (np.log(pi) + log_dirichlet_multinomial(rows, alpha))[code]
        if counts:
            log_r += power * log_dirichlet_multinomial(votes[0], beta)[votes[1]]
        else:
            log_r += power * log_proxy(proxy, beta, False)
        evidence = np.asarray(logsumexp(log_r, axis=1))
        r = np.exp(log_r - evidence[:, None])
        by_pattern = _summed(code, r, len(rows))
        pi = (by_pattern.sum(axis=0) + PSEUDO_UTTERANCES) / (len(human) + PSEUDO_UTTERANCES * components)
        alpha = improved(alpha, rows, by_pattern, marginal)
        if counts:
            beta = improved(beta, votes[0], _summed(votes[1], r, len(votes[0])), marginal)
        else:
            beta = _dirichlet_step(beta, log_q, r)
        value = float(evidence.sum()) / total
        if value - former < TOLERANCE:
            break
        former = value
    return LatentMixture(DirichletMixture(pi, alpha, former, 0), beta, power, counts)


def _patterns(human: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, code, times = np.unique(human, axis=0, return_inverse=True, return_counts=True)
    return rows, code.ravel(), times.astype(np.float64)


def _distinct(proxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, code = np.unique(np.nan_to_num(proxy), axis=0, return_inverse=True)
    return rows, code.ravel()


def _summed(code: np.ndarray, r: np.ndarray, size: int) -> np.ndarray:
    return np.stack([np.bincount(code, weights=column, minlength=size) for column in r.T], axis=1)


def _start(
    human: np.ndarray, proxy: np.ndarray, marginal: np.ndarray, components: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    said = np.nan_to_num(proxy)
    total = said.sum(axis=1, keepdims=True)
    share = np.divide(said, total, out=np.zeros_like(said), where=total > 0)
    rows, times = distinct_rows(np.round(human + 2 * share, 1))
    return start(rows, times, marginal, components, seed)


def _dirichlet_step(beta: np.ndarray, log_q: np.ndarray, r: np.ndarray, inner: int = 3) -> np.ndarray:
    """Minka's fixed point for Dirichlet densities: psi(beta_k) = psi(B) + mean log q_k, weighted by r, a little pulled
    towards one pseudo-utterance at the former value so that a small class stays put.
    """
    weight = r.sum(axis=0)[:, None]
    mean = (r.T @ log_q + (psi(beta) - psi(beta.sum(axis=1, keepdims=True)))) / (weight + 1)
    for _ in range(inner):
        beta = inverse_psi(psi(beta.sum(axis=1, keepdims=True)) + mean)
        total = beta.sum(axis=1, keepdims=True)
        beta = np.maximum(beta * np.clip(total, *STRENGTHS) / total, 1e-3)
    return beta


def inverse_psi(y: np.ndarray) -> np.ndarray:
    """The x with psi(x) = y (Minka 2000, appendix C): a start, then Newton's steps."""
    y = np.asarray(y, dtype=np.float64)
    x = np.where(y >= -2.22, np.exp(y) + 0.5, -1.0 / (np.minimum(y, -2.22) - psi(1.0)))
    for _ in range(5):
        x = np.maximum(x - (psi(x) - y) / polygamma(1, x), 1e-8)
    return x
