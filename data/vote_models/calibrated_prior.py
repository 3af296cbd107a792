"""Calibrated proxies as a Dirichlet prior: its fit by maximum likelihood, and the posterior it gives with human votes.

Pure functions on arrays; what is cross-fitted, and for whom, is `empirical_bayes.py`.

    m_ju = q_ju C_j                       C row-stochastic [K, K]: how humans vote where proxy j says a label
    g_ju = softmax(log m_ju / tau_j + b_j)
    n_u ~ Dirichlet-multinomial(N_u, sum_j alpha_j g_ju)       over the proxies that say something of u

C maximises the likelihood of every vote under q_u C, by EM from C = row-normalised(sum_u q_u^T n_u), proxy by proxy.
That start alone blurs: a soft q spreads its votes over rows, so even a perfect proxy would not give the identity
(CREMA-D, two seen votes per clip: squared error .0621 with the start, .0603 after EM; log score -1.196 and -1.188).
Every row of C begins with pseudo-votes, K spread as the human votes are and five for the proxy's own label.

alpha, tau and b of all J proxies then maximise the likelihood together (L-BFGS, `objective`), with weak priors
that only a small corpus notices: ln J alpha_j ~ N(ln 4, 1), ln tau ~ N(0, 1/2), b ~ N(0, 1), standard deviations
second. With 60 clips of CREMA-D to fit on (two seen votes, audio-visual votes as proxy, other speakers scored)
pseudo-votes and priors lower the squared error from .096 to .075, with 150 from .075 to .069, where the likelihood
alone lets alpha run off; from 600 clips on nothing changes.

The likelihood is Dirichlet-multinomial with the sum of calibrated proxies as its prior,

    a_uk = sum_j alpha_j g_juk,  A_u = sum_k a_uk
    L = sum_u lnG(A_u) - lnG(N_u + A_u) + sum_uk lnG(n_uk + a_uk) - lnG(a_uk)

lnG the log gamma function, psi its derivative. With d_uk = psi(n_uk + a_uk) - psi(a_uk) (0 where nobody chose k) its
gradient is

    dL/d ln alpha_j = sum_uk alpha_j g_juk d_uk + alpha_j sum_{u of which j says something} (psi(A_u) - psi(N_u + A_u))
    dL/dz_juk = alpha_j g_juk (d_uk - sum_i g_jui d_ui),  z = ln m / tau + b
    dL/db_j = sum_u dL/dz_ju,  dL/d ln tau_j = -sum_uk dL/dz_juk ln m_juk / tau_j

Sources: temperature with class bias as a calibration, Alexandari et al. (ICML 2020); a sum of priors is what votes of
several kinds of pseudo-raters add up to; the Dirichlet-multinomial and its digamma gradient, Minka, "Estimating a
Dirichlet distribution" (2000); the confusion map before it is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from ..errors import OptionError
from .dirichlet_mixture import Arrays, as_tuple, spoke
from .dirichlet_multinomial import log_likelihood, posterior_mean

# Mean and standard deviation of the weak priors: of ln (J alpha), ln tau and b of each of J proxies.
LOG_STRENGTH = (np.log(4.0), 1.0)
LOG_TEMPERATURE = (0.0, 0.5)
BIAS = (0.0, 1.0)
# Pseudo-votes of a row of the confusion map: this many a label, spread as the human votes are, so that a label nobody
# chose keeps a chance; and these on the diagonal, for a proxy is presumed to mean what it says.
MARGINAL_VOTES = 1.0
DIAGONAL_VOTES = 5.0
EM_STEPS = 10  # three do most of it, thirty add nothing (CREMA-D)
LOWEST_SHARE = 1e-6
NOTHING_TO_FIT = "no utterance has both seen human votes and a proxy distribution, so nothing can be fitted"
STRENGTHS = (1e-2, 1e4)
TEMPERATURES = (0.05, 50.0)
BIASES = (-10.0, 10.0)


@dataclass(frozen=True, slots=True)
class CalibratedProxy:
    """One proxy's `confusion` [K, K] (row-stochastic), `strength` alpha, `temperature` tau and `bias` b [K].

    Strength 0: nothing was learnt of it, and it has no say.
    """

    confusion: np.ndarray
    strength: float
    temperature: float
    bias: np.ndarray

    def calibrate(self, q: np.ndarray) -> np.ndarray:
        """g(q) [U, K]; a row of q with a NaN gives a row of NaN."""
        return calibrated(np.log(np.asarray(q, float) @ self.confusion), self.temperature, self.bias)


@dataclass(frozen=True, slots=True)
class EmpiricalBayes:
    """Fitted proxies, the `rows` they were fitted to, and whether the maximum was reached."""

    proxies: tuple[CalibratedProxy, ...]
    rows: int
    converged: bool

    @property
    def strength(self) -> float:
        """How many votes the proxies count for together, where all say something."""
        return float(sum(proxy.strength for proxy in self.proxies))

    def prior(self, q: Arrays) -> np.ndarray:
        """The Dirichlet prior sum_j alpha_j g_j(q_j) [U, K] of each proxy's distributions [U, K], those that are not
        NaN; NaN where all are, or nothing was learnt of those that are not."""
        said = [
            (one, spoke(rows) & (one.strength > 0), rows) for one, rows in zip(self.proxies, as_tuple(q), strict=True)
        ]
        total = np.zeros(said[0][2].shape)
        for one, spoken, rows in said:
            total[spoken] += one.strength * one.calibrate(rows[spoken])
        total[~np.any([spoken for _, spoken, _ in said], axis=0)] = np.nan
        return total

    def calibrate(self, q: Arrays) -> np.ndarray:
        """The prior's mean [U, K]: what is expected of people where none was heard."""
        prior = self.prior(q)
        return prior / prior.sum(axis=1, keepdims=True)


class Posterior(NamedTuple):
    """Fused distributions [U, K] and the votes that stand behind each [U]."""

    p: np.ndarray
    effective_votes: np.ndarray


def posterior(counts: np.ndarray, prior: np.ndarray) -> Posterior:
    """Posterior mean (n_u + a_u) / (N_u + A_u) of votes [U, K] under Dirichlet priors a [U, K], A_u = sum_k a_uk.

    NaN counts are no votes. A row whose prior is NaN is NaN.

    >>> posterior(np.array([[2.0, 0.0]]), np.array([[1.0, 1.0]])).p
    array([[0.75, 0.25]])
    """
    counts = np.nan_to_num(np.asarray(counts, float))
    return Posterior(posterior_mean(counts, prior), (counts + prior).sum(axis=1))


def fit_empirical_bayes(
    counts: np.ndarray,
    q: Arrays,
    *,
    strength: float | None = None,
    most_iterations: int = 200,
    begin: EmpiricalBayes | None = None,
) -> EmpiricalBayes:
    """Fit calibration and strength to human votes `counts` [U, K] and the distributions `q` of one proxy or several,
    [U, K] each.

    Rows without votes, or with a NaN of every proxy, are left out; a proxy without a row gets the strength 0. With
    `strength` given, the proxies that have rows share it evenly and it is not fitted. `begin`, a fit of the same
    proxies to nearly the same votes, is where the search starts.

    Raises OptionError where no row is left, and where every row has a single vote and no strength is given: the
    likelihood of single votes does not contain alpha.
    """
    counts, listed, said = usable_rows(counts, as_tuple(q))
    if not len(counts):
        raise OptionError(NOTHING_TO_FIT)
    if strength is None and counts.sum(axis=1).max() <= 1:
        raise OptionError(
            "strength not identifiable from single votes: every utterance has at most one seen human vote and the "
            "likelihood of single votes does not depend on it; keep two or more seen votes (serann corpus "
            "holdout --seen 2) or state the strength yourself (--strength 2)"
        )
    heard = np.flatnonzero(said.any(axis=0))
    maps = [confusion_map(counts[said[:, j]], listed[j][said[:, j]]) for j in heard]
    log_m = [np.log(listed[j] @ confusion) for j, confusion in zip(heard, maps, strict=True)]
    best = minimize(
        objective,
        _start(len(heard), counts.shape[1], strength) if begin is None else _start_at(begin, heard),
        args=(Votes.of(counts, said[:, heard]), log_m, strength is None),
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(len(heard), counts.shape[1], strength),
        options={"maxiter": most_iterations, "ftol": 1e-10, "gtol": 1e-6},
    )
    proxies = list(unheard(len(listed), counts.shape[1]).proxies)
    for j, confusion, x in zip(heard, maps, best.x.reshape(len(heard), -1), strict=True):
        proxies[j] = CalibratedProxy(confusion, float(np.exp(x[0])), float(np.exp(x[1])), x[2:] - x[2:].mean())
    return EmpiricalBayes(proxies=tuple(proxies), rows=len(counts), converged=bool(best.success))


def unheard(proxies: int, labels: int) -> EmpiricalBayes:
    """The model of proxies of which nothing was learnt: none has a say."""
    silent = CalibratedProxy(np.eye(labels), 0.0, 1.0, np.zeros(labels))
    return EmpiricalBayes(proxies=(silent,) * proxies, rows=0, converged=True)


def usable_rows(counts: np.ndarray, q: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    """The rows with at least one vote and a proxy that says something: votes, distributions, and who said, [U, J]."""
    counts = np.asarray(counts, float)
    said = np.column_stack([spoke(rows) for rows in q])
    keep = said.any(axis=1) & (np.nan_to_num(counts).sum(axis=1) > 0)
    even = 1 / counts.shape[1]  # stands in where a proxy says nothing, and is not read
    listed = tuple(np.where(spoken[:, None], rows, even)[keep] for rows, spoken in zip(q, said.T, strict=True))
    return counts[keep], listed, said[keep]


def confusion_map(counts: np.ndarray, q: np.ndarray, *, steps: int = EM_STEPS) -> np.ndarray:
    """Row-stochastic map C [K, K] under which every vote of row u has the distribution q_u C, by EM.

    E-step: a vote for k came from the proxy's label j with probability q_uj C_jk / (q_u C)_k; M-step: C_jk is the sum
    of those votes, plus the pseudo-votes, row-normalised. Started at the votes counted by q, sum_u q_u^T n_u.
    """
    labels = q.shape[1]
    marginal = np.maximum(counts.sum(axis=0) / (counts.sum() or 1.0), LOWEST_SHARE)
    pseudo = MARGINAL_VOTES * labels * marginal / marginal.sum() + DIAGONAL_VOTES * np.eye(labels)
    joint = q.T @ counts + pseudo
    confusion = joint / joint.sum(axis=1, keepdims=True)
    for _ in range(steps):
        joint = confusion * (q.T @ (counts / (q @ confusion))) + pseudo
        confusion = joint / joint.sum(axis=1, keepdims=True)
    return confusion


def log_score(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Log-probability a vote [U] of the votes, in any order, under Dirichlet priors a [U, K]; NaN without votes.

    (1/N_u) log DM(n_u | a_u), `dirichlet_multinomial.log_likelihood`.
    """
    counts = np.nan_to_num(np.asarray(counts, float))
    n = counts.sum(axis=1)
    return np.divide(log_likelihood(counts, prior), n, out=np.full(len(n), np.nan), where=n > 0)


def _start(proxies: int, labels: int, strength: float | None) -> np.ndarray:
    start = np.zeros((proxies, labels + 2))
    start[:, 0] = (LOG_STRENGTH[0] if strength is None else np.log(strength)) - np.log(proxies)
    return start.reshape(-1)


def _start_at(begin: EmpiricalBayes, heard: np.ndarray) -> np.ndarray:
    known = [begin.proxies[j] for j in heard]
    return np.concatenate([[np.log(one.strength), np.log(one.temperature), *one.bias] for one in known])


def _bounds(proxies: int, labels: int, strength: float | None) -> list[tuple[float, float]]:
    low, high = STRENGTHS if strength is None else (strength / proxies, strength / proxies)
    one = [(np.log(low), np.log(high)), (np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1])), *[BIASES] * labels]
    return one * proxies


# --------------------
# The likelihood, with its gradient.


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
