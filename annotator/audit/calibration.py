"""A panel's answers as predictions of people's votes, without any human vote of that utterance: its calibration.

What a panel is worth is what it knows, not how it words it: a biased or overconfident panel is first translated. Two
translations are fitted to human votes of other folds' speakers: confusion map, temperature and class bias
(`fusion.calibrated_prior`), and the latent mixture without human votes (`fusion.latent_mixture`), which is the human
curve's own model told by the panel instead of by votes. Which one is used, cross-fitted log score decides on votes that
are not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...data.scores.divergences import as_distribution
from ...data.scores.intervals import by_group
from ...data.vote_models.calibrated_prior import EmpiricalBayes, fit_empirical_bayes
from ...data.vote_models.dirichlet_mixture import LatentMixture, fit_latent_mixture
from .baselines import REFIT_STEPS, fitted_anew, fitted_part
from .panels import Panel
from .scorer import Reference

CALIBRATIONS = {
    "latent mixture": "kinds of utterances, told by the panel's answers",
    "calibrated prior": "confusion map, temperature and class bias",
}
# Of the latent mixture's EM: 150 steps gain .0015 nats a vote over 40 on CREMA-D, at four times the time.
STEPS = 40
# How sure it must be over speakers that the calibrated prior is better.
LEVEL = 0.95

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A panel's cross-fitted predictions `q` [U, K]; `refitted(kept, rows)` are those of the utterances `rows`, [R, K],
    by models fitted to the utterances `kept` alone (masks [U])."""

    q: np.ndarray
    refitted: Callable[[np.ndarray, np.ndarray], np.ndarray]


def calibrations(panel: Panel, reference: Reference) -> dict[str, Calibrated]:
    """The panel's cross-fitted predictions under each calibration; they are the same in every draw.

    Fitted to all human votes of the other folds (nobody's own speaker), on the rows of `fitted_part`.
    """
    human = reference.scored + reference.other
    counts = panel.votes is not None
    answers = np.asarray(panel.votes if counts else panel.q, dtype=np.float64)
    none = np.zeros_like(human)

    def latent(rows: np.ndarray, begin: LatentMixture | None) -> LatentMixture:
        steps = STEPS if begin is None else REFIT_STEPS
        return fit_latent_mixture(human[rows], answers[rows], counts=counts, steps=steps, begin=begin)

    def confusion(rows: np.ndarray, begin: EmpiricalBayes | None) -> EmpiricalBayes:
        return fit_empirical_bayes(human[rows], panel.q[rows], begin=begin)

    def told(model: LatentMixture, rows: np.ndarray) -> np.ndarray:
        return model.posterior_mean(none[rows], answers[rows])

    def translated(model: EmpiricalBayes, rows: np.ndarray) -> np.ndarray:
        return model.calibrate(panel.q[rows])

    made = (_calibrated(latent, told, reference), _calibrated(confusion, translated, reference))
    return dict(zip(CALIBRATIONS, made, strict=True))


def _calibrated(
    fit: Callable[[np.ndarray, Model | None], Model],
    predict: Callable[[Model, np.ndarray], np.ndarray],
    reference: Reference,
) -> Calibrated:
    folds, part = reference.folds, fitted_part(reference)
    fits = {int(fold): fit(part & (folds != fold), None) for fold in np.unique(folds)}

    def predicted(models: Mapping[int, Model], rows: np.ndarray) -> np.ndarray:
        q = np.empty((len(folds), len(reference.labels)))
        for fold, model in models.items():
            here = rows & (folds == fold)
            q[here] = predict(model, here)
        return q[rows]

    def refitted(kept: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return predicted(fitted_anew(fits, folds, kept, fit), rows)

    return Calibrated(predicted(fits, np.ones(len(folds), dtype=bool)), refitted)


def chosen(candidates: Mapping[str, np.ndarray], draw: Reference) -> str:
    """Which predictions [U, K] to use, by cross-fitted log score per vote on this draw's votes that are not scored.

    The latent mixture, being the human curve's own model, unless the calibrated prior is better with 95 % confidence
    over speakers (paired, `data.bootstrap`); the latent mixture too where nothing can be told: no such votes, one
    speaker. On CREMA-D's panels they are not told apart (AV: .0025 nats a vote, face: -.0034, standard errors .0015 and
    .0019); by the calibrated prior AV would be worth 3.24 / 2.94 / 2.88 votes by log score / JSD / squared error.
    """
    votes = draw.other
    latent, prior = (np.log(np.maximum(as_distribution(candidates[name]), 1e-300)) for name in CALIBRATIONS)
    gain = np.column_stack([(votes * (prior - latent)).sum(axis=1), votes.sum(axis=1)])
    told = by_group(gain, draw.groups, statistic=lambda t: t[..., 0] / t[..., 1], level=LEVEL, seed=draw.seed)
    names = list(CALIBRATIONS)
    return names[1] if told.low > 0 else names[0]
