"""How much people, proxy and smoothing weigh in a fusion: its fitted strengths and class weights, with intervals.

Every model is fitted once for all train speakers (theta) and once without each of the G folds of speakers (theta_g), so
a delete-a-group jackknife over speakers costs nothing more:

    theta +- t(G - 1) sqrt((G - 1) / G sum_g (theta_g - theta)^2)

on the scale where theta is nearest to normal: the logarithm for strengths, temperatures and numbers of votes, the
plain number for weights and biases. Source: Kott, "The delete-a-group jackknife" (Journal of Official Statistics,
2001). Deviations are taken from theta and not from the folds' mean: a fold's fit has fewer votes, so its weak priors
weigh more and it lies to one side; that counts as error too. With G = 5, t(4) = 2.78. Simulated (strength 6, which
varies by a fifth over sixty speakers of twenty utterances with three votes), 95 % intervals hold it in 111 of 120.

A mixture's classes have no names and come in another order from every fit. What is told of them does not depend on
it: the weight pi of all classes whose votes say one label most, how much mass they give it, and the votes they count
for, A_z, as a geometric mean by pi; and the votes that the model adds to an utterance's own, over utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...data.scores.intervals import NO_LIMITS, POSITIVE, Interval, delete_a_group
from ...data.seeds import rng_from
from .base import Estimate, Kind, Strengths
from .cross_fit import CrossFit
from .evidence import Evidence
from .models import FittedMixture, Model

METHOD = "delete-a-group jackknife over {folds} folds of speakers, t({df}), from fits that exist already (Kott 2001)"
# Utterances over which the votes that a model adds are averaged.
MOST_ROWS = 20_000
# What is said of a fit that was made on another corpus.
READ = Strengths([], {}, "", "nothing is fitted here: the fit of another corpus is used as it is")


def mixture_strengths(cross: CrossFit, names: Sequence[str]) -> Strengths:
    """The votes that each model in `names` adds, and its kinds."""
    estimates, kinds = [], {}
    for name in names:
        models = [cross.model(name, f) for f in (-1, *cross.folds)]
        votes = [added_votes(cross, model, f) for model, f in zip(models, (-1, *cross.folds), strict=True)]
        estimates.append(estimate(name, "votes added to an utterance's own", votes, POSITIVE))
        kinds[name] = kinds_of(cross.evidence.labels.labels, [m for m in models if isinstance(m, FittedMixture)])
    return Strengths(estimates, kinds, method(cross.folds))


def added_votes(cross: CrossFit, model: Model, fold: int) -> float:
    """Mean over the fitted utterances outside a fold of effective votes beyond the utterance's own."""
    rows = np.flatnonzero(cross.sample & (cross.fold != fold))
    if len(rows) > MOST_ROWS:
        rows = np.sort(rng_from("votes added", cross.evidence.seed).choice(rows, MOST_ROWS, replace=False))
    _, effective = model.posterior(cross.counts[rows], cross.proxies.rows(rows))
    return float((effective - cross.counts[rows].sum(axis=1)).mean())


def kinds_of(labels: Sequence[str], fits: Sequence[FittedMixture]) -> list[Kind]:
    """A kind a label that some class of the first fit (that of all speakers) says most, the commonest first."""
    found = np.array([by_label(fit) for fit in fits])
    order = [int(c) for c in np.argsort(-found[0, 0], kind="stable") if found[0, 0, c] > 0]
    return [
        Kind(
            labels[c],
            _clipped(delete_a_group(found[0, 0, c], found[1:, 0, c].tolist())),
            _clipped(delete_a_group(found[0, 1, c], found[1:, 1, c].tolist())),
            delete_a_group(found[0, 2, c], found[1:, 2, c].tolist(), limits=POSITIVE),
        )
        for c in order
    ]


def by_label(fit: FittedMixture) -> np.ndarray:
    """Weight, mass and votes [3, K] of the classes by the label they say most, over the fit's starts; NaN mass and
    votes of a label that no class says most."""
    pi = np.concatenate([mixture.people.pi for mixture in fit.mixtures]) / len(fit.mixtures)
    alpha = np.concatenate([mixture.people.alpha for mixture in fit.mixtures])
    strength = alpha.sum(axis=1)
    label, mean = alpha.argmax(axis=1), alpha / strength[:, None]
    add = partial(np.bincount, label, minlength=alpha.shape[1])
    weight = add(weights=pi)
    with np.errstate(invalid="ignore", divide="ignore"):
        mass = add(weights=pi * mean.max(axis=1)) / weight
        votes = np.exp(add(weights=pi * np.log(strength)) / weight)
    return np.stack([weight, mass, votes])


def prior_estimates(
    whole: Mapping[str, Any], folds: Sequence[Mapping[str, Any]], evidence: Evidence, *, fixed: bool = False
) -> list[Estimate]:
    """Strength, temperature and bias of every proxy, and the strength of all together where there are several; from
    what the calibrated prior of all speakers and those without a fold are described by."""
    found, several = [], len(whole["proxies"]) > 1
    if several:
        values = [fit["strength"] for fit in (whole, *folds)]
        found.append(estimate("all proxies", "strength, in votes", values, POSITIVE, fixed))
    for j, run in enumerate(evidence.runs):
        fits = [fit["proxies"][j] for fit in (whole, *folds)]
        found.append(estimate(run.name, "strength, in votes", [fit["strength"] for fit in fits], POSITIVE, fixed))
        found.append(estimate(run.name, "temperature", [fit["temperature"] for fit in fits], POSITIVE))
        for c, label in enumerate(evidence.labels):
            found.append(estimate(run.name, f"bias for {label}", [fit["bias"][c] for fit in fits], NO_LIMITS))
    return found


def estimate(of: str, name: str, values: Sequence[float], limits: tuple[float, float], fixed: bool = False) -> Estimate:
    """A parameter from its value in the fit of all speakers and in those without a fold; `fixed`: it was stated."""
    whole, *folds = (float(value) for value in values)
    if fixed:
        return Estimate(of, name, whole, np.nan, np.nan, [], "stated, not estimated")
    found = delete_a_group(whole, folds, limits=limits)
    reason = found.method.removeprefix("none: ") if np.isnan(found.low) else ""
    return Estimate(of, name, whole, found.low, found.high, folds, reason)


def method(folds: Sequence[object]) -> str:
    """How intervals from these folds were made."""
    return METHOD.format(folds=len(folds), df=len(folds) - 1)


def _clipped(share: Interval) -> Interval:
    return share if np.isnan(share.low) else share._replace(low=max(0.0, share.low), high=min(1.0, share.high))
