"""Cross-fitting: every model fitted without a fold's speakers, every seen vote of them predicted from the others.

Models are fitted to train utterances with seen votes; from MOST_ROWS such utterances on, to a seeded subsample of that
size (stated in the parameters), and applied to all. Utterances outside train get models of all train speakers.

The models have one face, `Fitted`: a posterior given votes and proxies, and the chance of each vote given the others.

    q_uk = E[p_u | the votes of u but one for k, the proxies of u]
    log score   log q_uk(k)                            Brier   sum_c q_uk(c)^2 - 2 q_uk(k)

The latter two are what models are compared by: every vote is predicted from votes that are not itself, so nothing is
predicted from what it is scored on, and no model is asked for more votes than an utterance has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...data.errors import CorpusError, OptionError
from ...data.scores.intervals import Interval, by_sums, mean_of
from ...data.seeds import rng_from, seed_from
from ...data.vote_models.calibrated_prior import EmpiricalBayes, fit_empirical_bayes, posterior, unheard
from ...data.vote_models.dirichlet_mixture import (
    Heard,
    LatentMixture,
    fit_dirichlet_mixture,
    fit_latent_mixture,
    spoke,
    without_one,
)
from .evidence import Evidence, Proxies, called

FOLDS = 5
MOST_ROWS = 100_000
# Posteriors are made of so many utterances at a time: memory stays flat, and arrays stay in the cache.
ROWS_AT_ONCE = 20_000
# Kinds of utterances, and starts that are averaged. On CREMA-D (two seen votes, five seeds; squared error with the
# audio-visual votes, with the face's): one start of 12 kinds .0608 and .0784, one of 16 .0602 and .0783, four of 16
# .0588 and .0774, two of 30 .0591 and .0771.
COMPONENTS = 16
STARTS = 4

# --------------------
# The models that are fitted.


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
    """The mixture of Dirichlets of `dirichlet_mixture.py`."""
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


# --------------------
# Their cross-fit.

Fit = Callable[[np.ndarray, Proxies, int], Fitted]


class CrossFit:
    """Models by name, cross-fitted by speaker; `fold` [U] is -1 outside train, `sample` [U] what is fitted to, `rows`
    [R] its places and `sampled` [R, K] its votes. `given`: all that the runs say, from which models learn; `proxies`:
    what of it can be used (`audible` [U] of each run)."""

    def __init__(self, evidence: Evidence, fits: Mapping[str, Fit]):
        self.evidence = evidence
        self.fits = dict(fits)
        self.fold = evidence.folds(folds=FOLDS)
        self.sample = subsample(evidence)
        self.counts = evidence.seen
        self.given = evidence.proxies()
        self.audible = self.given.audible(self.sample, self.fold)
        self.proxies = self.given.where(self.audible)
        self.rows = np.flatnonzero(self.sample)
        self.sampled = self.counts[self.rows]
        self._models: dict[tuple[str, int], Fitted] = evidence.fitted.setdefault("models", {})
        self.tried: dict[str, None] = {}
        self._scores: dict[str, LeftOut] = evidence.fitted.setdefault("scores", {})

    def model(self, name: str, fold: int) -> Fitted:
        """The model that never saw a fold's speakers; fold -1 is that of all train speakers."""
        if (name, fold) not in self._models:
            rows = self.sample & (self.fold != fold)
            if not rows.any():
                raise CorpusError("all seen votes are one fold of speakers', so nothing is left to fit their model on")
            self._models[name, fold] = self.fits[name](self.counts[rows], self.given.rows(rows), self.evidence.seed)
        return self._models[name, fold]

    def fit(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Fit several models, (name, fold) each, side by side: numpy lets go of Python's lock while it computes."""
        missing = [key for key in dict.fromkeys(wanted) if key not in self._models]
        side_by_side(lambda key: self.model(*key), missing)

    @cached_property
    def covered(self) -> np.ndarray:
        """Mask [U] of the utterances that some run says something of, and its word can be used."""
        return self.proxies.covered

    @cached_property
    def folds(self) -> list[int]:
        """The folds of the train speakers."""
        return sorted({int(f) for f in self.fold if f >= 0})

    @cached_property
    def groups(self) -> np.ndarray:
        """Codes [U] of the speakers."""
        return self.evidence.groups()

    def scores(self, name: str) -> LeftOut:
        """How a model predicts the sample's votes, each from the utterance's others and by a fit that did not see its
        speaker: [R, K], NaN where there is no such vote."""
        self.tried[name] = None
        if name not in self._scores:
            self.fit((name, f) for f in self.folds)
            found = LeftOut(np.full(self.sampled.shape, np.nan), np.full(self.sampled.shape, np.nan))
            for f in self.folds:
                here = self.fold[self.rows] == f
                some = self.model(name, f).left_out(self.sampled[here], self.proxies.rows(self.rows[here]))
                found.log[here], found.brier[here] = some.log, some.brier
            self._scores[name] = found
        return self._scores[name]

    def mean_score(self, name: str, *, without: int | None = None, where: np.ndarray | None = None) -> float:
        """Mean log-probability a seen vote, over the speakers outside the fold `without`; NaN without a vote."""
        keep = np.ones(len(self.rows), bool) if where is None else where[self.rows]
        if without is not None:
            keep = keep & (self.fold[self.rows] != without)
        votes = self.sampled[keep].sum()
        return float(np.nansum(self.scores(name).log[keep] * self.sampled[keep]) / votes) if votes else float("nan")

    def posterior(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected distributions [U, K] and effective votes [U] by the model named in `chosen` [U] (None: NaN)."""
        p, effective = np.full(self.counts.shape, np.nan), np.full(len(chosen), np.nan)
        wanted = [
            (name, int(f))
            for f in np.unique(self.fold)
            for name in sorted({n for n in chosen[self.fold == f] if n is not None})
        ]
        self.fit(wanted)

        def fill(key: tuple[str, int]) -> None:
            rows = np.flatnonzero((self.fold == key[1]) & (chosen == key[0]))
            for some in np.array_split(rows, len(rows) // ROWS_AT_ONCE + 1):
                p[some], effective[some] = self.model(*key).posterior(self.counts[some], self.proxies.rows(some))

        side_by_side(fill, wanted)
        return p, effective

    def described(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """What every report says: how many utterances models were fitted to, folds, and the scores of the models in
        `names` and of those that were tried, in the order of `fits`."""
        for name in names:
            self.scores(name)
        names = [name for name in self.fits if name in self.tried]
        covered = self.covered if self.evidence.runs else None
        return {
            "speaker_folds": len(self.folds),
            "utterances_fitted_to": int(self.sample.sum()),
            "cross_fitted_log_score_per_seen_vote": {name: self.mean_score(name, where=covered) for name in names},
            "runs": [run.name for run in self.evidence.runs],
        }


def side_by_side(work: Callable[[tuple[str, int]], object], keys: Sequence[tuple[str, int]]) -> None:
    """Do the work for every key, on as many threads as there are processors."""
    with ThreadPoolExecutor(max(1, min(len(keys), os.cpu_count() or 1))) as pool:
        list(pool.map(work, keys))


def subsample(evidence: Evidence, *, most: int | None = None) -> np.ndarray:
    """Mask [U] of the train utterances with seen votes, at most MOST_ROWS of them, chosen by the seed."""
    most = MOST_ROWS if most is None else most
    mask = evidence.train & evidence.voted
    rows = np.flatnonzero(mask)
    if len(rows) > most:
        mask = np.zeros(len(mask), bool)
        mask[rng_from("fusion subsample", evidence.seed).choice(rows, most, replace=False)] = True
    return mask


def untaught(evidence: Evidence, proxies: Proxies, audible: Sequence[np.ndarray]) -> tuple[str, ...]:
    """A sentence for each run whose word is not used for some utterances, for nobody could learn what it means."""
    pairs = zip(evidence.runs, proxies.answers, audible, strict=True)
    silenced = [(run, int((spoke(answers) & ~mask).sum())) for run, answers, mask in pairs]
    return tuple(
        f"{called(run)}, of which nothing could be learnt outside a fold of speakers, is not used for {n} of "
        "its utterances there"
        for run, n in silenced
        if n
    )


def mean_over(values: np.ndarray, votes: np.ndarray, groups: np.ndarray, keep: np.ndarray) -> Interval:
    """Sum of the values over that of the votes, [U] each, over the kept rows, with its interval over `groups` [U]
    (codes from 0): the rows of a group are summed first."""
    code = groups[keep]
    sums = np.stack([np.bincount(code, column[keep]) for column in (values, votes)], axis=1)
    return by_sums(sums, mean_of)


def require_pairs(evidence: Evidence) -> None:
    """Raise OptionError where no utterance has two seen votes."""
    if evidence.seen.sum(axis=1).max(initial=0) <= 1:
        raise OptionError(
            "strength not identifiable from single votes: every utterance has at most one seen human vote, and single "
            "votes do not tell how much utterances differ; keep two or more seen votes (serann corpus holdout --seen "
            "2), or state the strength yourself (--strategy empirical-bayes --strength 2)"
        )
