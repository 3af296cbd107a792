"""Cross-fitting: every model fitted without a fold's speakers, every seen vote of them predicted from the others.

Models are fitted to train utterances with seen votes; from MOST_ROWS such utterances on, to a seeded subsample of that
size (stated in the parameters), and applied to all. Utterances outside train get models of all train speakers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from ...data.errors import CorpusError
from ...data.scores.intervals import Interval, by_sums, mean_of
from ...data.seeds import rng_from
from ...data.vote_models.dirichlet_mixture import spoke
from .base import Models
from .evidence import Evidence, Proxies, called
from .models import Fit, LeftOut, Model

FOLDS = 5
MOST_ROWS = 100_000
# Posteriors are made of so many utterances at a time: memory stays flat, and arrays stay in the cache.
ROWS_AT_ONCE = 20_000


class CrossFit:
    """Models by name, cross-fitted by speaker; `fold` [U] is -1 outside train, `sample` [U] what is fitted to, `rows`
    [R] its places and `sampled` [R, K] its votes. `given`: all that the runs say, from which models learn; `proxies`:
    what of it can be used (`audible` [U] of each run)."""

    def __init__(self, evidence: Evidence, fits: Mapping[str, Fit], models: Models | None = None):
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
        self.tried: dict[str, None] = {}
        self._kept = Models({}) if models is None else models

    @classmethod
    def reusing(cls, evidence: Evidence, models: Mapping[str, Model]) -> CrossFit:
        """Models of another corpus, ready for all rows of this one; nothing is fitted or scored."""
        self = cls.__new__(cls)
        self.evidence, self.counts = evidence, evidence.seen
        self.fits = {}
        self.fold = np.full(len(evidence.ids), -1)
        self.sample = np.zeros(len(evidence.ids), bool)
        self.rows, self.sampled = np.flatnonzero(self.sample), evidence.seen[:0]
        self.given = self.proxies = evidence.proxies()
        self.audible = tuple(np.ones(len(evidence.ids), bool) for _ in evidence.runs)
        self.tried = {}
        self._kept = Models({})
        for name, model in models.items():
            self._kept.get(self._key(name, -1), lambda model=model: model)
        return self

    def _key(self, name: str, *place: object) -> tuple[str, ...]:
        """What a model is kept under: its name, the options it is fitted with, and where."""
        options = getattr(self.fits.get(name), "keywords", {})
        return name, repr(sorted(options.items())), *map(str, place)

    def model(self, name: str, fold: int) -> Model:
        """The model that never saw a fold's speakers; fold -1 is that of all train speakers."""
        return self._kept.get(self._key(name, fold), lambda: self._fit(name, fold))

    def _fit(self, name: str, fold: int) -> Model:
        rows = self.sample & (self.fold != fold)
        if not rows.any():
            raise CorpusError("all seen votes are one fold of speakers', so nothing is left to fit their model on")
        return self.fits[name](self.counts[rows], self.given.rows(rows), self.evidence.seed)

    def fit(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Fit several models, (name, fold) each, side by side: numpy lets go of Python's lock while it computes."""
        missing = [key for key in dict.fromkeys(wanted) if not self._kept.has(self._key(*key))]
        side_by_side(lambda key: self.model(*key), missing)

    def whole(self, names: Iterable[str]) -> dict[str, Model]:
        """The models of all train speakers, by name."""
        return {name: self.model(name, -1) for name in dict.fromkeys(names)}

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
        return self._kept.get(self._key(name, "scores"), lambda: self._left_out(name))

    def _left_out(self, name: str) -> LeftOut:
        self.fit((name, f) for f in self.folds)
        found = LeftOut(np.full(self.sampled.shape, np.nan), np.full(self.sampled.shape, np.nan))
        for f in self.folds:
            here = self.fold[self.rows] == f
            some = self.model(name, f).left_out(self.sampled[here], self.proxies.rows(self.rows[here]))
            found.log[here], found.brier[here] = some.log, some.brier
        return found

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

    def log_scores(self, names: Iterable[str] = ()) -> dict[str, float]:
        """Mean scores of the models in `names` and of those that were tried, in the order of `fits`."""
        for name in names:
            self.scores(name)
        covered = self.covered if self.evidence.runs else None
        return {name: self.mean_score(name, where=covered) for name in self.fits if name in self.tried}

    def described(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """What every report says: how many utterances models were fitted to, folds, and `log_scores`."""
        return {
            "speaker_folds": len(self.folds),
            "utterances_fitted_to": int(self.sample.sum()),
            "cross_fitted_log_score_per_seen_vote": self.log_scores(names),
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
