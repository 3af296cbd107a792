"""A mixture of Dirichlets over utterances' distributions, learnt from a few votes of each: no proxy, only people.

    z_u ~ Categorical(pi),  p_u ~ Dirichlet(alpha_z),  votes of u ~ p_u

One Dirichlet shrinks every utterance towards the same marginal; a mixture knows the kinds of utterances there are
(clear anger; neutral or sad; …), so two votes already tell much. Given votes x_u the expectation of p_u is

    sum_z r_uz (x_u + alpha_z) / (N_u + A_z),   r_uz proportional to pi_z DM(x_u | alpha_z),  A_z = sum_k alpha_zk

with DM the Dirichlet-multinomial. It is the baseline that a synthetic listener has to beat: whatever it gains over the
raw votes and not over this mixture was smoothing. Fitted by EM; the M-step is Minka's fixed point. Sources: Minka,
"Estimating a Dirichlet distribution" (2000); Dirichlet-multinomial mixtures, Holmes, Harris and Quince (2012).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, psi

from .dirichlet import distinct_rows
from .errors import CorpusError
from .seeds import rng_from

COMPONENTS = 8
STEPS = 300
# Stops when a step gains less than this a vote (nats).
TOLERANCE = 1e-7
# Each class begins with, and keeps, so many pseudo-utterances, and each of its labels so many pseudo-votes spread as
# all votes are: an empty class stays defined and a label that nobody chose keeps a chance.
PSEUDO_UTTERANCES = 1.0
PSEUDO_VOTES = 0.5
# No class is sharper than so many votes (a class without any spread would run off), none vaguer than the lower end.
STRENGTHS = (0.05, 1e4)


@dataclass(frozen=True, slots=True)
class DirichletMixture:
    """Weights `pi` [Z] and Dirichlet parameters `alpha` [Z, K]; `log_likelihood` a vote, `steps` of EM."""

    pi: np.ndarray
    alpha: np.ndarray
    log_likelihood: float
    steps: int

    def log_joint(self, counts: np.ndarray) -> np.ndarray:
        """log pi_z + log DM(x_u | alpha_z), votes in any one order, [U, Z]."""
        return np.log(self.pi) + log_dirichlet_multinomial(counts, self.alpha)

    def posterior_mean(self, counts: np.ndarray, extra: np.ndarray | float = 0.0) -> np.ndarray:
        """Expected distribution given votes [U, K]; `extra` [U, Z] adds log-evidence for the classes.

        A row without votes is the prior mean (moved by `extra`); the caller knows whether that is a prediction.
        """
        counts = np.nan_to_num(np.asarray(counts, dtype=np.float64))
        log_r = self.log_joint(counts) + extra
        r = np.exp(log_r - np.asarray(logsumexp(log_r, axis=1, keepdims=True)))
        weight = r / (counts.sum(axis=1, keepdims=True) + self.alpha.sum(axis=1))
        return weight.sum(axis=1, keepdims=True) * counts + weight @ self.alpha


def log_dirichlet_multinomial(counts: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """log DM of votes [U, K] in any one order under each alpha [Z, K]: [U, Z].

    lnG(A) - lnG(A + N) + sum_k lnG(alpha_k + x_k) - lnG(alpha_k), lnG the log gamma function.
    """
    total, votes = alpha.sum(axis=1), counts.sum(axis=1)
    found: np.ndarray = gammaln(total) - gammaln(total + votes[:, None])
    for k in range(counts.shape[1]):  # a label at a time: no array [U, Z, K]
        found += gammaln(alpha[:, k] + counts[:, k, None]) - gammaln(alpha[:, k])
    return found


def fit_dirichlet_mixture(
    counts: np.ndarray, *, components: int = COMPONENTS, seed: int = 0, steps: int = STEPS
) -> DirichletMixture:
    """Fit a mixture to votes [U, K] by maximum likelihood (with the pseudo-counts above).

    Rows without votes or with NaN are left out; equal rows are one, so a million utterances of few votes cost little.
    The start is seeded: each class at some utterance's votes, shrunk to the marginal. Raises CorpusError where no row
    has two votes: single votes tell the marginal and nothing about how utterances differ.
    """
    rows, times = distinct_rows(np.asarray(counts, dtype=np.float64))
    if not len(rows) or rows.sum(axis=1).max() <= 1:
        raise CorpusError(
            "how utterances differ cannot be learnt from one vote an utterance; expected utterances with two or more "
            "votes to fit on"
        )
    marginal = (times @ rows + PSEUDO_VOTES) / (times @ rows + PSEUDO_VOTES).sum()
    pi, alpha = start(rows, times, marginal, components, seed)
    total = float(times @ rows.sum(axis=1))
    former, value, taken = -np.inf, -np.inf, 0
    while taken < steps:
        taken += 1
        log_r = np.log(pi) + log_dirichlet_multinomial(rows, alpha)
        evidence = np.asarray(logsumexp(log_r, axis=1))
        r = np.exp(log_r - evidence[:, None]) * times[:, None]
        value = float(times @ evidence) / total
        pi = (r.sum(axis=0) + PSEUDO_UTTERANCES) / (times.sum() + PSEUDO_UTTERANCES * components)
        alpha = improved(alpha, rows, r, marginal)
        if value - former < TOLERANCE:
            break
        former = value
    return DirichletMixture(pi, alpha, value, taken)


def start(
    rows: np.ndarray, times: np.ndarray, marginal: np.ndarray, components: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Equal weights, and classes at the votes of utterances far from each other (seeded, as k-means++)."""
    rng = rng_from("dirichlet mixture", seed)
    p = (rows + marginal) / (rows.sum(axis=1, keepdims=True) + 1)
    chosen = [int(rng.choice(len(rows), p=times / times.sum()))]
    while len(chosen) < components:
        distance = np.min([((np.sqrt(p) - np.sqrt(p[i])) ** 2).sum(axis=1) for i in chosen], axis=0) * times
        total = distance.sum()
        chosen.append(int(rng.choice(len(rows), p=distance / total if total > 0 else times / times.sum())))
    return np.full(components, 1 / components), 3 * (0.7 * p[chosen] + 0.3 * marginal)


def improved(alpha: np.ndarray, rows: np.ndarray, r: np.ndarray, marginal: np.ndarray, inner: int = 2) -> np.ndarray:
    """One M-step: Minka's fixed point, alpha_k times the ratio of expected digamma differences, for every class."""
    votes = rows.sum(axis=1)
    for _ in range(inner):
        total = alpha.sum(axis=1)
        below = (r * (psi(votes[:, None] + total) - psi(total))).sum(axis=0)
        above = np.empty_like(alpha)
        for k in range(rows.shape[1]):
            there = rows[:, k] > 0
            gain = psi(rows[there, k, None] + alpha[:, k]) - psi(alpha[:, k])
            above[:, k] = (r[there] * gain).sum(axis=0)
        # One pseudo-utterance with a single vote a label: psi(1 + a) - psi(a) = 1 / a.
        above += PSEUDO_VOTES * marginal * len(marginal) / alpha
        below += PSEUDO_VOTES * len(marginal) / total
        alpha = alpha * above / below[:, None]
        total = alpha.sum(axis=1, keepdims=True)
        alpha = np.maximum(alpha * np.clip(total, *STRENGTHS) / total, 1e-6)
    return alpha
