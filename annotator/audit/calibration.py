"""A panel's answers as predictions of people's votes, without any human vote of that utterance: its calibration.

What a panel is worth is what it knows, not how it words it: a biased or overconfident panel is first translated. Two
translations are fitted to human votes of other folds' speakers: confusion map, temperature and class bias
(`fusion.calibrated_prior`), and the latent mixture without human votes (`fusion.latent_mixture`), which is the human
curve's own model told by the panel instead of by votes. Which one is used, cross-fitted log score decides on votes that
are not scored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...data.bootstrap import by_group
from ...data.divergences import as_distribution
from ..fusion.calibrated_prior import fit_empirical_bayes
from ..fusion.latent_mixture import fit_latent_mixture
from .baselines import fitted_part
from .panels import Panel
from .reference import Reference

CALIBRATIONS = {
    "latent mixture": "kinds of utterances, told by the panel's answers",
    "calibrated prior": "confusion map, temperature and class bias",
}
# Of the latent mixture's EM: 150 steps gain .0015 nats a vote over 40 on CREMA-D, at four times the time.
STEPS = 40
# How sure it must be over speakers that the calibrated prior is better.
LEVEL = 0.95


def calibrations(panel: Panel, reference: Reference) -> dict[str, np.ndarray]:
    """The panel's cross-fitted predictions [U, K] under each calibration; they are the same in every draw.

    Fitted to all human votes of the other folds (nobody's own speaker), on the rows of `fitted_part`.
    """
    human, part = reference.scored + reference.other, fitted_part(reference)
    counts = panel.votes is not None
    answers = np.asarray(panel.votes if counts else panel.q, dtype=np.float64)
    none = np.zeros_like(human)

    def confusion(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = fit_empirical_bayes(human[rows], panel.q[rows])
        return lambda these: fitted.calibrate(panel.q[these])

    def latent(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = fit_latent_mixture(human[rows], answers[rows], counts=counts, steps=STEPS)
        return lambda these: fitted.posterior_mean(none[these], answers[these])

    fits = dict(zip(CALIBRATIONS, (latent, confusion), strict=True))
    return {name: _by_fold(fit, reference, part, human.shape) for name, fit in fits.items()}


def _by_fold(
    fit: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]],
    reference: Reference,
    part: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    q = np.empty(shape)
    for fold in np.unique(reference.folds):
        here = reference.folds == fold
        q[here] = fit(part & ~here)(here)
    return q


def chosen(candidates: dict[str, np.ndarray], draw: Reference) -> str:
    """The calibration to use, by cross-fitted log score per vote on this draw's votes that are not scored.

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
