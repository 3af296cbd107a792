"""`empirical-bayes`: the calibrated proxy is the prior, the seen human votes are the evidence.

    n_u ~ Dirichlet-multinomial(N_u, a_u),   a_u = sum_j alpha_j g_j(q_ju)
    p_u = (n_u + a_u) / (N_u + A_u)          with N_u + A_u effective votes, A_u = sum_k a_uk

q_ju is what run j says of u (its exact panel mean), n_u the seen human votes, g a calibration fitted to them: a
row-stochastic confusion map, then temperature and class bias, softmax(log(q C) / tau + b). Several runs are a sum of
priors, each with a calibration and a strength of its own; one that lacks an utterance adds nothing there. alpha, tau
and b maximise the likelihood, with weak priors for small corpora (`calibrated_prior.py`). They are cross-fitted over
five folds of train speakers: an utterance's parameters never saw its speaker. Utterances outside train get the
parameters of all train speakers, and, having no seen vote, p_u = a_u / A_u. An utterance with votes that no run covers
falls back to the class-marginal prior, the Dirichlet-multinomial without a proxy; one with neither is undefined.

The prior's strength alpha does not say how good the proxy is: a shuffled proxy calibrates to the class marginal and
still gets a strength. The cross-fitted log score of the seen votes, beside that of the class-marginal prior, does.
Sources: empirical Bayes shrinkage by a Dirichlet-multinomial, Minka, "Estimating a Dirichlet distribution" (2000);
measured on real votes in serann's tests (CREMA-D).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...data.labels import LabelSet
from ...data.vote_models.calibrated_prior import EmpiricalBayes, fit_empirical_bayes, log_score, posterior, unheard
from ...data.vote_models.dirichlet_mixture import Arrays, as_tuple, spoke
from ...data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial
from .cross_fit import untaught
from .evidence import Blend, Evidence, require_runs, require_votes, source_column

FORMULA = (
    "p_u = (n_u + sum_j alpha_j g_j(q_ju)) / (N_u + sum_j alpha_j), g = softmax(log(q C) / tau + b), cross-fitted by "
    "speaker"
)
FOLDS = 5
# A prior this many times heavier than the votes of an utterance leaves them without a say; the report tells.
HEAVY = 10


class Priors(NamedTuple):
    """Cross-fitted Dirichlet priors [U, K] of the calibrated proxy and of the class marginal, and the fits behind."""

    proxy: np.ndarray
    marginal: np.ndarray
    folds: list[tuple[int, EmpiricalBayes]]
    whole: EmpiricalBayes


def empirical_bayes(evidence: Evidence) -> Blend:
    """Fuse the seen votes with the calibrated proxy. OptionError where every utterance has a single seen vote."""
    require_runs(evidence, "empirical-bayes")
    require_votes(evidence, "empirical-bayes")
    fold = evidence.folds(folds=FOLDS)
    priors = cross_fit(evidence.seen, evidence.shares(), evidence.train, fold, strength=evidence.strength)
    covered = np.asarray(np.isfinite(priors.proxy).all(axis=1))
    prior = np.where(covered[:, None], priors.proxy, priors.marginal)
    prior[~covered & ~evidence.voted] = np.nan
    p, effective = posterior(evidence.seen, prior)
    source = source_column(("class-marginal", evidence.voted), ("empirical-bayes", covered))
    scores = cross_fitted_log_scores(evidence.seen, priors, covered & evidence.train)
    return Blend(
        p=p,
        effective_votes=effective,
        source=source,
        formula=FORMULA,
        parameters=_parameters(priors, scores, evidence),
        warnings=(*_warnings(priors, scores, evidence, covered), *_untaught(evidence, fold)),
    )


def cross_fit(
    counts: np.ndarray, q: Arrays, train: np.ndarray, fold: np.ndarray, *, strength: float | None = None
) -> Priors:
    """Priors [U, K]: a fold's rows from all other folds' train rows, rows outside train (fold -1) from all of train."""
    proxy, marginal = np.full(counts.shape, np.nan), np.full(counts.shape, np.nan)
    fits, listed = [], as_tuple(q)

    def of(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(array[rows] for array in listed)

    for f in np.unique(fold):
        rows = fold == f
        known = train & ~rows
        taught = bool((known & (counts.sum(axis=1) > 0) & np.any([spoke(array) for array in listed], axis=0)).any())
        fit = unheard(len(listed), counts.shape[1])
        if taught or f < 0:
            fit = fit_empirical_bayes(counts[known], of(known), strength=strength)
        proxy[rows] = fit.prior(of(rows))
        marginal[rows] = marginal_prior(counts[known], strength=strength)
        fits.append((int(f), fit))
    outside = [fit for f, fit in fits if f < 0]
    whole = outside[0] if outside else fit_empirical_bayes(counts[train], of(train), strength=strength)
    return Priors(proxy, marginal, [(f, fit) for f, fit in fits if f >= 0], whole)


def marginal_prior(counts: np.ndarray, *, strength: float | None = None) -> np.ndarray:
    """Dirichlet prior [K] without a proxy: maximum likelihood, or the class marginal at a given strength."""
    if strength is None:
        return fit_dirichlet_multinomial(counts)
    smoothed = counts.sum(axis=0) + 0.5
    return strength * smoothed / smoothed.sum()


def cross_fitted_log_scores(counts: np.ndarray, priors: Priors, rows: np.ndarray) -> dict[str, float]:
    """Mean log-probability of a seen vote under the priors that did not see its speaker: with proxy, and without."""
    votes = counts[rows].sum(axis=1)
    if not votes.sum():
        return {}
    by_prior = {"empirical-bayes": priors.proxy, "class-marginal": priors.marginal}
    return {
        name: float(np.nansum(log_score(counts[rows], prior[rows]) * votes) / votes.sum())
        for name, prior in by_prior.items()
    }


def _parameters(priors: Priors, scores: dict[str, float], evidence: Evidence) -> dict[str, Any]:
    names = [run.name for run in evidence.runs]
    folds = [{"fold": f, **_described(fit, evidence.labels, names)} for f, fit in priors.folds]
    return {
        "strength_fixed": evidence.strength is not None,
        "all_train_speakers": _described(priors.whole, evidence.labels, names),
        "folds": folds,
        "cross_fitted_log_score_per_seen_vote": scores,
        "runs": names,
    }


def _described(fit: EmpiricalBayes, labels: LabelSet, runs: list[str]) -> dict[str, Any]:
    proxies = [
        {
            "run": run,
            "strength": proxy.strength,
            "temperature": proxy.temperature,
            "bias": dict(zip(labels, proxy.bias.tolist(), strict=True)),
            "confusion": proxy.confusion.tolist(),
        }
        for run, proxy in zip(runs, fit.proxies, strict=True)
    ]
    return {"strength": fit.strength, "proxies": proxies, "utterances": fit.rows, "converged": fit.converged}


def _untaught(evidence: Evidence, fold: np.ndarray) -> tuple[str, ...]:
    proxies = evidence.proxies()
    return untaught(evidence, proxies, proxies.audible(evidence.train & evidence.voted, fold))


def _warnings(priors: Priors, scores: dict[str, float], evidence: Evidence, covered: np.ndarray) -> tuple[str, ...]:
    found = []
    fallen = int((~covered & evidence.voted).sum())
    if fallen:
        found.append(f"utterances with human votes and no proxy, whose prior is the class marginal: {fallen}")
    bare = int((~covered & ~evidence.voted).sum())
    if bare:
        found.append(f"utterances with neither seen votes nor a proxy, and so without a distribution: {bare}")
    if scores and scores["empirical-bayes"] <= scores["class-marginal"]:
        found.append(
            "the proxy predicts the seen votes of unseen speakers no better than the class marginal does (log score a "
            f"vote {scores['empirical-bayes']:.4f} against {scores['class-marginal']:.4f}): what looks like a gain is "
            "smoothing"
        )
    fits = [*(fit for _, fit in priors.folds), priors.whole]
    typical = float(evidence.seen.sum() / evidence.voted.sum())
    if evidence.strength is None and priors.whole.strength > HEAVY * typical:
        found.append(
            f"the proxy counts for {priors.whole.strength:.0f} votes against {typical:.1f} seen ones an utterance: the "
            "seen votes hardly vary more than chance around it, and hardly move it"
        )
    if not all(fit.converged for fit in fits):
        found.append("the maximum of the likelihood was not reached in every fold; see 'converged' in the parameters")
    return tuple(found)
