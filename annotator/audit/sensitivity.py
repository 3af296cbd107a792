"""Sensitivity: how much what a listener was told, and how it was asked, decides its answer on the same utterance.

    I(label; factor | utterance), mean over utterances, in bits (`information`)

of focus, persona, label order, prompt form, question and language within a run, from the listeners' exact
distributions at temperature 1, and of mode, engine, model, precision and batch size between runs of the same panel.
Words in a persona that state a gender or an accent are cues, and factors of their own. The whole that listeners differ
by is I(label; listener | utterance); a factor's share is its part of that.

Temperature is no listener: it is a transform of one distribution that says nothing new of the utterance. What it
carries stands apart and counts for nothing.

Between runs, the panel's distribution is compared (all its listeners at their temperatures). Sampled texts are shares
of few votes, whose noise would pass for information; it is taken off (`information.without_sampling_noise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...data.corpus import Corpus
from ...data.errors import RunError
from ...data.scores.intervals import Interval, by_group
from ..run.run import Run
from .between_runs import compared
from .design import answers, design
from .information import Factor, alone_and_given, crossing_with, entropy, factors

__all__ = ["FactorInformation", "Sensitivity", "section"]


@dataclass(frozen=True, slots=True)
class FactorInformation:
    """What a factor carries: `bits` by itself, `given_others`, and `share` of the whole (None between runs).

    `skipped` utterances lack an answer of some level; values are NaN for the `reason`.
    """

    factor: str
    levels: list[str]
    bits: Interval
    given_others: Interval
    share: Interval | None
    utterances: int
    skipped: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The sensitivity of one run's answers, and of several runs' where there are.

    `listeners` are the distinct questions; `total` is what they differ by, `together` what only combinations of factors
    carry (None where they are not fully crossed). `temperature` is a transform's, not counted. `reason` says why
    nothing can be told within the run, `between_reason` why nothing between the runs.
    """

    run: str
    listeners: int
    total: Interval | None
    factors: list[FactorInformation]
    together: Interval | None
    not_varied: list[str]
    temperature: Interval | None
    temperatures: list[float]
    runs: list[str]
    between: list[FactorInformation]
    answer: str
    reason: str | None = None
    between_reason: str | None = None


def section(runs: Sequence[Run], corpus: Corpus, *, level: float = 0.95, seed: int = 0) -> Sensitivity:
    """The sensitivity within the first run, and between all of them, over the corpus's utterances.

    Intervals are over speakers. No human vote is needed. Raises RunError for a run of another corpus.
    """
    for run in runs:
        made_from = run.info["identity"].get("corpus", corpus.name)
        if made_from != corpus.name:
            raise RunError(f"{run.path} is a run over the corpus '{made_from}', not over '{corpus.name}'")
    main, speakers = runs[0], corpus.column("speaker")

    def mean(x: np.ndarray) -> Interval:
        return by_group(x, speakers, level=level, seed=seed)

    def ratio(x: np.ndarray, whole: np.ndarray) -> Interval:
        columns = np.column_stack([x, whole])
        return by_group(columns, speakers, statistic=_ratio, level=level, seed=seed)

    names, between, reason = compared(runs, corpus)
    found = replace(
        _within(main, corpus, mean, ratio),
        runs=names,
        between=[_row(f, bits, given, mean, None) for f, bits, given in between],
        between_reason=reason,
    )
    from ..report.audit_words import sensitivity_in_words

    return replace(found, answer=sensitivity_in_words(found))


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / np.where(totals[..., 1] > 0, totals[..., 1], np.nan)


def _within(
    run: Run,
    corpus: Corpus,
    mean: Callable[[np.ndarray], Interval],
    ratio: Callable[[np.ndarray, np.ndarray], Interval],
) -> Sensitivity:
    raters, columns, temperatures = design(run)
    every, constant = factors(columns)
    listed = sorted({t for own in temperatures for t in own})
    name = run.path.name
    none = Sensitivity(name, len(raters), None, [], None, constant, None, listed, [name], [], "")
    if not run.scores.num_rows or run.info["identity"].get("mode") == "sample":
        return replace(none, reason="its answers are texts: single votes, and no distribution of a listener")
    others = [crossing_with(f, every) for f in every]
    values = _Values(len(corpus.ids), len(every))
    for rows, p, there in answers(run, corpus, raters):
        values.add(rows, p, there, every, others, temperatures)
    if not np.isfinite(values.total).any() and not np.isfinite(values.temperature).any():
        return replace(none, reason="no utterance has answers of two listeners")
    crossed = len(every) > 1 and all(len(o) == len(every) - 1 for o in others)
    crossed = crossed and math.prod(len(f.levels) for f in every) == len(raters)
    return replace(
        none,
        total=mean(values.total) if len(raters) > 1 else None,
        factors=[
            _row(f, values.alone[:, i], values.given[:, i], mean, ratio(values.alone[:, i], values.total))
            for i, f in enumerate(every)
        ],
        together=mean(values.total - values.alone.sum(axis=1)) if crossed else None,
        temperature=mean(values.temperature) if len(listed) > 1 else None,
    )


def _row(
    factor: Factor,
    alone: np.ndarray,
    given: np.ndarray,
    mean: Callable[[np.ndarray], Interval],
    share: Interval | None,
) -> FactorInformation:
    known, heard = np.isfinite(alone), np.isfinite(alone) | np.isfinite(given)
    reason = None if known.any() else "its levels never meet the same of the other factors, so it cannot be told apart"
    skipped = int(heard.sum() - known.sum())
    return FactorInformation(
        factor.name, factor.levels, mean(alone), mean(given), share, int(known.sum()), skipped, reason
    )


class _Values:
    """By utterance of the corpus: what all listeners differ by, each factor's information, the temperatures'."""

    def __init__(self, utterances: int, number: int):
        self.total, self.temperature = np.full(utterances, np.nan), np.full(utterances, np.nan)
        self.alone, self.given = np.full((utterances, number), np.nan), np.full((utterances, number), np.nan)

    def add(
        self,
        rows: np.ndarray,
        p: np.ndarray,
        there: np.ndarray,
        every: Sequence[Factor],
        others: Sequence[Sequence[Factor]],
        temperatures: Sequence[Sequence[float]],
    ) -> None:
        """Take in p [N, R, K] of the utterances `rows` [N]; `there` [N, R] says which cells have answered."""
        patterns, of = np.unique(there, axis=0, return_inverse=True)
        for n, pattern in enumerate(patterns):
            here = np.flatnonzero(of.reshape(-1) == n)
            own, where = p[here], rows[here]
            if pattern.sum() > 1:
                single = own[:, pattern]
                self.total[where] = np.maximum(entropy(single.mean(axis=1)) - entropy(single).mean(axis=1), 0.0)
            for i, factor in enumerate(every):
                found = alone_and_given(own, factor, others[i], pattern)
                self.alone[where, i], self.given[where, i] = found
            self.temperature[where] = _of_temperatures(own, pattern, temperatures)


def _of_temperatures(p: np.ndarray, there: np.ndarray, temperatures: Sequence[Sequence[float]]) -> np.ndarray:
    """Mean over the raters of several temperatures of I(label; temperature | utterance, rater), [N]."""
    found = []
    for rater in np.flatnonzero(there).tolist():
        if len(temperatures[rater]) > 1:
            raised = np.stack([p[:, rater] ** (1 / t) for t in temperatures[rater]], axis=1)
            raised /= raised.sum(axis=2, keepdims=True)
            found.append(entropy(raised.mean(axis=1)) - entropy(raised).mean(axis=1))
    return np.maximum(np.mean(found, axis=0), 0.0) if found else np.full(len(p), np.nan)
