"""A calibrated proxy as a Dirichlet prior: its fit by maximum likelihood, and the posterior it gives with human votes.

Pure functions on arrays; what is cross-fitted, and for whom, is `empirical_bayes.py`.

    m_u = q_u C                       C row-stochastic [K, K]: how humans vote where the proxy says a label
    g_u = softmax(log m_u / tau + b)
    n_u ~ Dirichlet-multinomial(N_u, alpha g_u)

C maximises the likelihood of every vote under q_u C, by EM from C = row-normalised(sum_u q_u^T n_u). That start alone
blurs: a soft q spreads its votes over rows, so even a perfect proxy would not give the identity (CREMA-D, two seen
votes a clip: squared error .0621 with the start, .0603 after EM; log score -1.196 and -1.188). Every row of C begins
with pseudo-votes, K spread as the human votes are and five for the proxy's own label.

alpha, tau and b then maximise the likelihood (L-BFGS), with weak priors that only a small corpus notices: ln alpha ~
N(ln 4, 1), ln tau ~ N(0, 1/2), b ~ N(0, 1), standard deviations second. With 60 clips of CREMA-D to fit on (two seen
votes, audio-visual votes as proxy, other speakers scored) pseudo-votes and priors lower the squared error from .096 to
.075, with 150 from .075 to .069, where the likelihood alone lets alpha run off; from 600 clips on nothing changes.

Sources: the Dirichlet-multinomial and its digamma gradient, Minka, "Estimating a Dirichlet distribution" (2000);
temperature with class bias as a calibration, Alexandari et al. (ICML 2020); the confusion map before it is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from ...data.errors import OptionError

# Pseudo-votes of a row of the confusion map: this many a label, spread as the human votes are, so that a label nobody
# chose keeps a chance; and these on the diagonal, for a proxy is presumed to mean what it says.
MARGINAL_VOTES = 1.0
DIAGONAL_VOTES = 5.0
EM_STEPS = 10  # three do most of it, thirty add nothing (CREMA-D)
LOWEST_SHARE = 1e-6
STRENGTHS = (1e-2, 1e4)
TEMPERATURES = (0.05, 50.0)
BIASES = (-10.0, 10.0)
# Mean and standard deviation of the weak priors: ln alpha, ln tau, b.
LOG_STRENGTH = (np.log(4.0), 1.0)
LOG_TEMPERATURE = (0.0, 0.5)
BIAS = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class EmpiricalBayes:
    """Fitted parameters: `confusion` [K, K] (row-stochastic), `strength` alpha, `temperature` tau, `bias` b [K]."""

    confusion: np.ndarray
    strength: float
    temperature: float
    bias: np.ndarray
    rows: int
    converged: bool

    def calibrate(self, q: np.ndarray) -> np.ndarray:
        """g(q) [U, K]; a row of q with a NaN gives a row of NaN."""
        return calibrated(np.log(np.asarray(q, float) @ self.confusion), self.temperature, self.bias)

    def prior(self, q: np.ndarray) -> np.ndarray:
        """The Dirichlet prior alpha g(q) [U, K]."""
        return self.strength * self.calibrate(q)


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
    weight = np.nan_to_num(np.asarray(counts, float)) + np.asarray(prior, float)
    effective = weight.sum(axis=1)
    return Posterior(weight / effective[:, None], effective)


def fit_empirical_bayes(
    counts: np.ndarray, q: np.ndarray, *, strength: float | None = None, most_iterations: int = 200
) -> EmpiricalBayes:
    """Fit calibration and strength to human votes `counts` [U, K] and proxy distributions `q` [U, K].

    Rows without votes or with a NaN are left out. With `strength` given, alpha is fixed to it. Raises OptionError
    where no row is left, and where every row has a single vote and no strength is given: the likelihood of single
    votes does not contain alpha.
    """
    counts, q = usable_rows(counts, q)
    if not len(counts):
        raise OptionError("no utterance has both seen human votes and a proxy distribution, so nothing can be fitted")
    if strength is None and counts.sum(axis=1).max() <= 1:
        raise OptionError(
            "strength not identifiable from single votes: every utterance has at most one seen human vote and the "
            "likelihood of single votes does not depend on it; keep two or more seen votes (serann corpus "
            "holdout --seen 2) or state the strength yourself (--strength 2)"
        )
    confusion = confusion_map(counts, q)
    votes = _Votes.of(counts)
    log_m = np.log(q @ confusion)
    best = minimize(
        _objective,
        _start(len(confusion), strength),
        args=(votes, log_m, strength is None),
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(len(confusion), strength),
        options={"maxiter": most_iterations, "ftol": 1e-10, "gtol": 1e-6},
    )
    return EmpiricalBayes(
        confusion=confusion,
        strength=float(np.exp(best.x[0])),
        temperature=float(np.exp(best.x[1])),
        bias=best.x[2:] - best.x[2:].mean(),
        rows=len(counts),
        converged=bool(best.success),
    )


def usable_rows(counts: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows with at least one vote and a proxy distribution."""
    counts, q = np.asarray(counts, float), np.asarray(q, float)
    keep = np.isfinite(q).all(axis=1) & (np.nan_to_num(counts).sum(axis=1) > 0)
    return counts[keep], q[keep]


def confusion_map(counts: np.ndarray, q: np.ndarray, *, steps: int = EM_STEPS) -> np.ndarray:
    """Row-stochastic map C [K, K] under which every vote of row u has the distribution q_u C, by EM.

    E-step: a vote for k came from the proxy's label j with probability q_uj C_jk / (q_u C)_k; M-step: C_jk is the sum
    of those votes, plus the pseudo-votes, row-normalised. Started at the votes counted by q, sum_u q_u^T n_u.
    """
    labels = q.shape[1]
    marginal = np.maximum(counts.sum(axis=0) / counts.sum(), LOWEST_SHARE)
    pseudo = MARGINAL_VOTES * labels * marginal / marginal.sum() + DIAGONAL_VOTES * np.eye(labels)
    joint = q.T @ counts + pseudo
    confusion = joint / joint.sum(axis=1, keepdims=True)
    for _ in range(steps):
        joint = confusion * (q.T @ (counts / (q @ confusion))) + pseudo
        confusion = joint / joint.sum(axis=1, keepdims=True)
    return confusion


def calibrated(log_m: np.ndarray, temperature: float, bias: np.ndarray) -> np.ndarray:
    """softmax(log m / tau + b), row by row."""
    z = log_m / temperature + bias
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    return z / z.sum(axis=1, keepdims=True)


def log_score(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Log-probability a vote [U] of the votes, in any order, under Dirichlet priors a [U, K]; NaN without votes.

    (1/N_u) (lnG(A_u) - lnG(N_u + A_u) + sum_k lnG(n_uk + a_uk) - lnG(a_uk)), lnG the log gamma function.
    """
    counts = np.nan_to_num(np.asarray(counts, float))
    n, a = counts.sum(axis=1), prior.sum(axis=1)
    total = gammaln(a) - gammaln(n + a) + (gammaln(counts + prior) - gammaln(prior)).sum(axis=1)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


class _Votes(NamedTuple):
    """Counts in the form the likelihood reads: the labels that were chosen, and how often each N_u occurs."""

    row: np.ndarray
    label: np.ndarray
    value: np.ndarray
    sizes: np.ndarray
    size_counts: np.ndarray
    total: float

    @classmethod
    def of(cls, counts: np.ndarray) -> _Votes:
        row, label = np.nonzero(counts)
        sizes, size_counts = np.unique(counts.sum(axis=1), return_counts=True)
        return cls(row, label, counts[row, label], sizes, size_counts, float(counts.sum()))


def _start(k: int, strength: float | None) -> np.ndarray:
    start = np.zeros(k + 2)
    start[0] = LOG_STRENGTH[0] if strength is None else np.log(strength)
    return start


def _bounds(k: int, strength: float | None) -> list[tuple[float, float]]:
    low, high = STRENGTHS if strength is None else (strength, strength)
    return [(np.log(low), np.log(high)), (np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1])), *[BIASES] * k]


def _objective(x: np.ndarray, votes: _Votes, log_m: np.ndarray, free: bool) -> tuple[float, np.ndarray]:
    """Negative log-posterior a vote and its gradient in (ln alpha, ln tau, b); alpha stays where it is unless `free`.

    With a = alpha g and d_uk = psi(n_uk + a_uk) - psi(a_uk) (0 where nobody chose k):
    dL/d ln alpha = sum_uk a_uk d_uk + alpha sum_u (psi(alpha) - psi(N_u + alpha)),
    dL/dz_uk = a_uk (d_uk - sum_j g_uj d_uj), z = ln m / tau + b, dL/db = sum_u dL/dz_u,
    dL/d ln tau = -sum_uk dL/dz_uk ln m_uk / tau.
    """
    alpha, tau = np.exp(x[:2])
    g = calibrated(log_m, tau, x[2:])
    a = alpha * g[votes.row, votes.label]
    a = np.maximum(a, np.finfo(float).tiny)
    likelihood = (gammaln(votes.value + a) - gammaln(a)).sum()
    likelihood += (votes.size_counts * (gammaln(alpha) - gammaln(votes.sizes + alpha))).sum()
    ad = a * (digamma(votes.value + a) - digamma(a))
    weight = np.bincount(votes.row, ad, minlength=len(g))
    g *= -weight[:, None]
    g[votes.row, votes.label] += ad
    gradient = np.empty_like(x)
    gradient[0] = ad.sum() + alpha * (votes.size_counts * (digamma(alpha) - digamma(votes.sizes + alpha))).sum()
    gradient[1] = -float(np.vdot(g, log_m)) / tau
    gradient[2:] = g.sum(axis=0)
    penalty, slope = _weak_priors(x)
    gradient -= slope
    gradient[0] *= free
    return (penalty - float(likelihood)) / votes.total, gradient / -votes.total


def _weak_priors(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Half the squared standardised distance of every parameter from its prior mean, and its gradient."""
    means = np.array([LOG_STRENGTH[0], LOG_TEMPERATURE[0], *[BIAS[0]] * (len(x) - 2)])
    deviations = np.array([LOG_STRENGTH[1], LOG_TEMPERATURE[1], *[BIAS[1]] * (len(x) - 2)])
    z = (x - means) / deviations
    return 0.5 * float(z @ z), z / deviations
