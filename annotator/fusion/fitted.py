"""Fitted models with one face: a posterior given votes and proxies, and the chance of each vote given the others.

    q_uk = E[p_u | the votes of u but one for k, the proxies of u]
    log score   log q_uk(k)                            Brier   sum_c q_uk(c)^2 - 2 q_uk(k)

The latter two are what models are compared by: every vote is predicted from votes that are not itself, so nothing is
predicted from what it is scored on, and no model is asked for more votes than an utterance has.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from ...data.seeds import seed_from
from ...data.vote_models.calibrated_prior import EmpiricalBayes, fit_empirical_bayes, posterior, unheard
from ...data.vote_models.dirichlet_mixture import (
    Heard,
    LatentMixture,
    fit_dirichlet_mixture,
    fit_latent_mixture,
    spoke,
    without_one,
)

# Kinds of utterances, and starts that are averaged. On CREMA-D (two seen votes, five seeds; squared error with the
# audio-visual votes, with the face's): one start of 12 kinds .0608 and .0784, one of 16 .0602 and .0783, four of 16
# .0588 and .0774, two of 30 .0591 and .0771.
COMPONENTS = 16
STARTS = 4


class Proxies(NamedTuple):
    """What the runs say of some utterances, one array [U, K] a run: `answers`, votes (`counts`) or probabilities, and
    the same as distributions, `shares`. NaN (or no votes) where a run says nothing."""

    answers: tuple[np.ndarray, ...]
    counts: tuple[bool, ...]
    shares: tuple[np.ndarray, ...]

    def rows(self, keep: np.ndarray) -> Proxies:
        """The same of some utterances."""
        return Proxies(
            tuple(array[keep] for array in self.answers), self.counts, tuple(array[keep] for array in self.shares)
        )

    def audible(self, voted: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, ...]:
        """For each run the utterances [U] of which its word can be used: outside their fold [U] it says something of
        one in `voted` [U], those that models may be fitted to. What it means could not be learnt elsewhere."""
        found = []
        for array in self.answers:
            folds_taught = np.unique(fold[voted & spoke(array)])
            found.append(np.isin(fold, folds_taught, invert=True) if len(folds_taught) == 1 else len(folds_taught) > 1)
        return tuple(np.broadcast_to(mask, fold.shape) for mask in found)

    def where(self, masks: tuple[np.ndarray, ...]) -> Proxies:
        """The same, silent where a run's mask [U] does not hold."""

        def kept(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            pairs = zip(arrays, masks, strict=True)
            return tuple(array if mask.all() else np.where(mask[:, None], array, np.nan) for array, mask in pairs)

        return Proxies(kept(self.answers), self.counts, kept(self.shares))

    @property
    def covered(self) -> np.ndarray:
        """Mask [U] of the utterances that some run says something of."""
        return np.any([spoke(array) for array in self.answers], axis=0)


class LeftOut(NamedTuple):
    """How a model predicts each vote from the utterance's others: `log` and `brier` [U, K], NaN where nobody voted.

    The Brier score lacks the constant 1: differences between models are what is read. A model's expected difference
    in it is that in squared distance to the true distribution.
    """

    log: np.ndarray
    brier: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...], row: np.ndarray, label: np.ndarray, q: np.ndarray) -> LeftOut:
        """From predictions q [P, K] of votes for `label` [P] of utterances `row` [P]."""
        log, brier = np.full(shape, np.nan), np.full(shape, np.nan)
        chance = q[np.arange(len(row)), label]
        log[row, label] = np.log(chance)
        brier[row, label] = (q**2).sum(axis=1) - 2 * chance
        return cls(log, brier)


class Fitted(Protocol):
    """A model fitted to some speakers' votes, ready for others'."""

    def posterior(self, counts: np.ndarray, proxies: Proxies) -> tuple[np.ndarray, np.ndarray]:
        """Expected distribution [U, K] and the votes behind it [U]."""
        ...

    def left_out(self, counts: np.ndarray, proxies: Proxies) -> LeftOut:
        """Scores of each vote given the utterance's others."""
        ...

    def described(self) -> dict[str, object]:
        """Parameters for the report."""
        ...


class FittedMixture:
    """Latent mixtures from several starts, averaged (the human mixture is one of power 0), that read some of the runs,
    `of` (their places)."""

    def __init__(self, *mixtures: LatentMixture, of: tuple[int, ...] = ()):
        self.mixtures = mixtures
        self.of = of

    def _heard(self, counts: np.ndarray, proxies: Proxies) -> Heard:
        return self.mixtures[0].heard(counts, tuple(proxies.answers[j] for j in self.of))

    def posterior(self, counts: np.ndarray, proxies: Proxies) -> tuple[np.ndarray, np.ndarray]:
        heard = self._heard(counts, proxies)
        p, votes = self.mixtures[0].posterior_of(heard)
        for mixture in self.mixtures[1:]:
            more, behind = mixture.posterior_of(heard)
            p += more
            votes += behind
        return p / len(self.mixtures), votes / len(self.mixtures)

    def left_out(self, counts: np.ndarray, proxies: Proxies) -> LeftOut:
        heard = self._heard(counts, proxies)
        found = [mixture.left_out_of(heard) for mixture in self.mixtures]
        row, label, _ = found[0]
        return LeftOut.of(counts.shape, row, label, np.mean([q for _, _, q in found], axis=0))

    def described(self) -> dict[str, object]:
        people = self.mixtures[0].people
        order = np.argsort(-people.pi)
        return {
            "power": self.mixtures[0].power,
            "starts": len(self.mixtures),
            "class_weights": people.pi[order].tolist(),
            "class_votes": people.alpha[order].tolist(),
        }


class FittedPrior:
    """Empirical Bayes: the calibrated proxy as a Dirichlet prior."""

    def __init__(self, fit: EmpiricalBayes):
        self.fit = fit

    def posterior(self, counts: np.ndarray, proxies: Proxies) -> tuple[np.ndarray, np.ndarray]:
        found = posterior(counts, self.fit.prior(proxies.shares))
        return found.p, found.effective_votes

    def left_out(self, counts: np.ndarray, proxies: Proxies) -> LeftOut:
        row, label, rest = without_one(counts)
        return LeftOut.of(counts.shape, row, label, posterior(rest, self.fit.prior(proxies.shares)[row]).p)

    def described(self) -> dict[str, object]:
        proxies = [
            {"strength": proxy.strength, "temperature": proxy.temperature, "bias": proxy.bias.tolist()}
            for proxy in self.fit.proxies
        ]
        return {"strength": self.fit.strength, "proxies": proxies}


def fit_human_mixture(counts: np.ndarray, proxies: Proxies, seed: int) -> FittedMixture:
    """The mixture of Dirichlets of `data.mixture`."""
    return FittedMixture(LatentMixture(fit_dirichlet_mixture(counts, seed=seed), (), 0.0, ()))


def fit_latent_class(
    counts: np.ndarray, proxies: Proxies, seed: int, *, power: float, starts: int = 1, of: tuple[int, ...] | None = None
) -> FittedMixture:
    """The joint mixture of votes and proxies (those at the places `of`, or all) at one power, from `starts` starts."""
    of = tuple(range(len(proxies.answers))) if of is None else of
    answers = tuple(proxies.answers[j] for j in of)
    options = {"counts": [proxies.counts[j] for j in of], "power": power, "components": COMPONENTS}
    seeds = [seed_from("latent class", seed, i) for i in range(starts)]
    return FittedMixture(*(fit_latent_mixture(counts, answers, seed=s, **options) for s in seeds), of=of)


def fit_prior(counts: np.ndarray, proxies: Proxies, seed: int, *, strength: float | None = None) -> FittedPrior:
    """The calibrated prior of `calibrated_prior`; with no utterance to learn from, one in which no proxy has a say."""
    if not (proxies.covered & (counts.sum(axis=1) > 0)).any():
        return FittedPrior(unheard(len(proxies.shares), counts.shape[1]))
    return FittedPrior(fit_empirical_bayes(counts, proxies.shares, strength=strength))
