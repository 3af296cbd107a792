"""The models that fusions fit to seen votes: mixtures, the calibrated prior, the class marginal, with one face.

A `Model` has a posterior given votes and proxies, and the chance of each vote given the others,

    q_uk = E[p_u | the votes of u but one for k, the proxies of u]
    log score   log q_uk(k)                            Brier   sum_c q_uk(c)^2 - 2 q_uk(k)

The latter two are what models are compared by: every vote is predicted from votes that are not itself, so nothing is
predicted from what it is scored on, and no model is asked for more votes than an utterance has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...data.seeds import seed_from
from ...data.vote_models.calibrated_prior import (
    CalibratedProxy,
    EmpiricalBayes,
    fit_empirical_bayes,
    posterior,
    unheard,
)
from ...data.vote_models.dirichlet_mixture import (
    DirichletMixture,
    Heard,
    LatentMixture,
    fit_latent_mixture,
    without_one,
)
from ...data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial
from .evidence import Proxies

# Kinds of utterances, and starts that are averaged. On CREMA-D (two seen votes, five seeds; squared error with the
# audio-visual votes, with the face's): one start of 12 kinds .0608 and .0784, one of 16 .0602 and .0783, four of 16
# .0588 and .0774, two of 30 .0591 and .0771.
COMPONENTS = 16
STARTS = 4


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


class Model(Protocol):
    """A model fitted to some speakers' votes, ready for others'."""

    def posterior(self, counts: np.ndarray, proxies: Proxies) -> tuple[np.ndarray, np.ndarray]:
        """Expected distribution [U, K] and the votes behind it [U]."""
        ...

    def left_out(self, counts: np.ndarray, proxies: Proxies) -> LeftOut:
        """Scores of each vote given the utterance's others."""
        ...

    def described(self) -> dict[str, Any]:
        """Parameters for the report."""
        ...

    def state(self) -> dict[str, Any]:
        """All parameters, as JSON: `read_model` makes the model of them again."""
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

    def described(self) -> dict[str, Any]:
        people = self.mixtures[0].people
        order = np.argsort(-people.pi)
        return {
            "power": self.mixtures[0].power,
            "starts": len(self.mixtures),
            "class_weights": people.pi[order].tolist(),
            "class_votes": people.alpha[order].tolist(),
        }

    def state(self) -> dict[str, Any]:
        first = self.mixtures[0]
        starts = [
            {"pi": m.people.pi.tolist(), "alpha": m.people.alpha.tolist(), "beta": [b.tolist() for b in m.beta]}
            for m in self.mixtures
        ]
        return {
            "model": "mixture",
            "power": first.power,
            "counts": list(first.counts),
            "of": list(self.of),
            "starts": starts,
        }

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> FittedMixture:
        power, forms = state["power"], tuple(state["counts"])
        mixtures = [
            LatentMixture(
                DirichletMixture(np.array(one["pi"]), np.array(one["alpha"]), np.nan, 0),
                tuple(np.array(beta) for beta in one["beta"]),
                power,
                forms,
            )
            for one in state["starts"]
        ]
        return cls(*mixtures, of=tuple(state["of"]))


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

    def described(self) -> dict[str, Any]:
        proxies = [
            {"strength": proxy.strength, "temperature": proxy.temperature, "bias": proxy.bias.tolist()}
            for proxy in self.fit.proxies
        ]
        return {"strength": self.fit.strength, "proxies": proxies}

    def state(self) -> dict[str, Any]:
        proxies = [
            {
                "confusion": proxy.confusion.tolist(),
                "strength": proxy.strength,
                "temperature": proxy.temperature,
                "bias": proxy.bias.tolist(),
            }
            for proxy in self.fit.proxies
        ]
        return {"model": "prior", "rows": self.fit.rows, "converged": self.fit.converged, "proxies": proxies}

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> FittedPrior:
        proxies = [
            CalibratedProxy(
                np.array(one["confusion"]), one["strength"], one["temperature"], np.array(one["bias"], dtype=float)
            )
            for one in state["proxies"]
        ]
        return cls(EmpiricalBayes(tuple(proxies), state["rows"], state["converged"]))


class FittedMarginal:
    """One Dirichlet prior [K] for every utterance: the class marginal, no proxy in it."""

    def __init__(self, alpha: np.ndarray):
        self.alpha = alpha

    def posterior(self, counts: np.ndarray, proxies: Proxies) -> tuple[np.ndarray, np.ndarray]:
        found = posterior(counts, np.broadcast_to(self.alpha, counts.shape))
        return found.p, found.effective_votes

    def left_out(self, counts: np.ndarray, proxies: Proxies) -> LeftOut:
        row, label, rest = without_one(counts)
        return LeftOut.of(counts.shape, row, label, posterior(rest, np.broadcast_to(self.alpha, rest.shape)).p)

    def described(self) -> dict[str, Any]:
        return {"strength": float(self.alpha.sum())}

    def state(self) -> dict[str, Any]:
        return {"model": "marginal", "alpha": self.alpha.tolist()}

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> FittedMarginal:
        return cls(np.array(state["alpha"]))


def read_model(state: Mapping[str, Any]) -> Model:
    """The model of which `state` was written."""
    kinds = {"mixture": FittedMixture.read, "prior": FittedPrior.read, "marginal": FittedMarginal.read}
    return kinds[state["model"]](state)


def fit_human_mixture(counts: np.ndarray, proxies: Proxies, seed: int) -> FittedMixture:
    """The latent class that hears no proxy, from several starts."""
    return fit_latent_class(counts, proxies, seed, power=0.0, starts=STARTS, of=())


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


def fit_marginal(counts: np.ndarray, proxies: Proxies, seed: int, *, strength: float | None = None) -> FittedMarginal:
    """The class marginal: by maximum likelihood, or the smoothed shares of all votes at a given strength."""
    if strength is None:
        return FittedMarginal(fit_dirichlet_multinomial(counts))
    smoothed = counts.sum(axis=0) + 0.5
    return FittedMarginal(strength * smoothed / smoothed.sum())


Fit = Callable[[np.ndarray, Proxies, int], Model]
