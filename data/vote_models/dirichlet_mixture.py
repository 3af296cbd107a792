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
from scipy.special import logsumexp

from ..count_terms import PSEUDO_VOTES, CountTerms
from ..errors import CorpusError
from ..seeds import rng_from
from .dirichlet_multinomial import distinct_rows

COMPONENTS = 8
STEPS = 300
# Stops when a step gains less than this a vote (nats).
TOLERANCE = 1e-7
# Fixed-point iterations of an M-step.
INNER = 2
# Each class begins with, and keeps, so many pseudo-utterances: an empty one stays defined.
PSEUDO_UTTERANCES = 1.0


@dataclass(frozen=True, slots=True)
class DirichletMixture:
    """Weights `pi` [Z] and Dirichlet parameters `alpha` [Z, K]; `log_likelihood` a vote, `steps` of EM."""

    pi: np.ndarray
    alpha: np.ndarray
    log_likelihood: float
    steps: int

    def log_joint(self, counts: np.ndarray) -> np.ndarray:
        """log pi_z + log DM(x_u | alpha_z), votes in any one order, [U, Z]."""
        return np.log(self.pi) + CountTerms.of(counts).log_likelihood(self.alpha)

    def posterior_mean(self, counts: np.ndarray, extra: np.ndarray | float = 0.0) -> np.ndarray:
        """Expected distribution given votes [U, K]; `extra` [U, Z] adds log-evidence for the classes.

        A row without votes is the prior mean (moved by `extra`); the caller knows whether that is a prediction.
        """
        counts = np.nan_to_num(np.asarray(counts, dtype=np.float64))
        log_r = self.log_joint(counts) + extra
        r = np.exp(log_r - np.asarray(logsumexp(log_r, axis=1, keepdims=True)))
        weight = r / (counts.sum(axis=1, keepdims=True) + self.alpha.sum(axis=1))
        return weight.sum(axis=1, keepdims=True) * counts + weight @ self.alpha


def fit_dirichlet_mixture(
    counts: np.ndarray,
    *,
    components: int = COMPONENTS,
    seed: int = 0,
    steps: int = STEPS,
    begin: DirichletMixture | None = None,
) -> DirichletMixture:
    """Fit a mixture to votes [U, K] by maximum likelihood (with the pseudo-counts above).

    Rows without votes or with NaN are left out; equal rows are one, so a million utterances of few votes cost little.
    The start is seeded: each class at some utterance's votes, shrunk to the marginal; or it is `begin`, a fit to nearly
    the same votes, with its number of classes. Raises CorpusError where no row has two votes: single votes tell the
    marginal and nothing about how utterances differ.
    """
    rows, times = distinct_rows(np.asarray(counts, dtype=np.float64))
    if not len(rows) or rows.sum(axis=1).max() <= 1:
        raise CorpusError(
            "how utterances differ cannot be learnt from one vote an utterance; expected utterances with two or more "
            "votes to fit on"
        )
    marginal = (times @ rows + PSEUDO_VOTES) / (times @ rows + PSEUDO_VOTES).sum()
    pi, alpha = start(rows, times, marginal, components, seed) if begin is None else (begin.pi, begin.alpha)
    total = float(times @ rows.sum(axis=1))
    terms, former, value, taken = CountTerms.of(rows), -np.inf, -np.inf, 0
    while taken < steps:
        taken += 1
        log_r = np.log(pi) + terms.log_likelihood(alpha)
        top = log_r.max(axis=1)
        r = np.exp(log_r - top[:, None])
        mass = r.sum(axis=1)
        r *= (times / mass)[:, None]
        value = float(times @ (top + np.log(mass))) / total
        pi = (r.sum(axis=0) + PSEUDO_UTTERANCES) / (times.sum() + PSEUDO_UTTERANCES * len(pi))
        alpha = terms.improved(alpha, r, marginal, inner=INNER)
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
