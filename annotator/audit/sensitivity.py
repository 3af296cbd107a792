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
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ...data.bootstrap import Interval, by_group
from ...data.corpus import Corpus
from ...data.errors import RunError
from ...data.tables import distribution_array
from ..runs import Run
from .between_runs import compared
from .information import Factor, alone_and_given, crossing_with, entropy, factors
from .sensitivity_html import in_words, to_html

__all__ = ["FactorInformation", "Sensitivity", "section", "to_html"]

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute

# A column of the listeners' table, and what it is called.
COLUMNS = {
    "focus": "focus",
    "persona": "persona",
    "order": "label order",
    "form": "prompt form",
    "prompt": "question",
    "language": "language",
}
# What a persona says of who speaks; the word is the level.
CUES = {
    "gender cue": re.compile(r"\b(woman|man|girl|boy|female|male|non-binary)\b", re.IGNORECASE),
    "accent cue": re.compile(r"\b([\w-]+) accent\b", re.IGNORECASE),
}
# Rows of scores that are in memory as numbers at a time.
BLOCK = 1_000_000


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
    return replace(found, answer=in_words(found))


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / np.where(totals[..., 1] > 0, totals[..., 1], np.nan)


def _within(
    run: Run,
    corpus: Corpus,
    mean: Callable[[np.ndarray], Interval],
    ratio: Callable[[np.ndarray, np.ndarray], Interval],
) -> Sensitivity:
    raters, columns, temperatures = _design(run)
    every, constant = factors(columns)
    listed = sorted({t for own in temperatures for t in own})
    name = run.path.name
    none = Sensitivity(name, len(raters), None, [], None, constant, None, listed, [name], [], "")
    if not run.scores.num_rows or run.info["identity"].get("mode") == "sample":
        return replace(none, reason="its answers are texts: single votes, and no distribution of a listener")
    others = [crossing_with(f, every) for f in every]
    values = _Values(len(corpus.ids), len(every))
    for rows, p, there in _blocks(run, corpus, raters):
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


def _design(run: Run) -> tuple[dict[str, str], dict[str, list[str]], list[list[float]]]:
    """One listener's name for each rater, the level of each factor by rater, and each rater's temperatures.

    Of those that have answered at all: one that reads transcripts never does where there are none.
    """
    answered = set(pc.unique(run.scores["listener"]).to_pylist())
    rows = [row for row in run.listeners.to_pylist() if row["listener"] in answered]
    raters: dict[str, str] = {}
    temperatures: dict[str, list[float]] = {}
    first = []
    for row in rows:
        name = row["rater"] or row["listener"]
        temperatures.setdefault(name, []).append(float(row["temperature"]))
        if name not in raters:
            raters[name] = row["listener"]
            first.append(row)
    columns = {name: [_level(row[column]) for row in first] for column, name in COLUMNS.items()}
    said = [row["persona"] or "" for row in first]
    columns |= {cue: [_stated(pattern, text) for text in said] for cue, pattern in CUES.items()}
    return raters, columns, [sorted(set(temperatures[name])) for name in raters]


def _level(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else value or "none"


def _stated(pattern: re.Pattern[str], persona: str) -> str:
    found = pattern.search(persona)
    return found[1].casefold() if found else "none"


def _blocks(run: Run, corpus: Corpus, raters: dict[str, str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Places in the corpus [N], p at temperature 1 [N, R, K] (zeros where there is none), and where there is [N, R]."""
    row = _indices(run.scores["utterance_id"], corpus.ids)
    rater = _indices(run.scores["listener"], list(raters.values()))
    kept = np.flatnonzero((row >= 0) & (rater >= 0))
    order = kept[np.argsort(row[kept], kind="stable")]
    start = 0
    while start < len(order):
        stop = min(start + BLOCK, len(order))
        stop = int(np.searchsorted(row[order], row[order[stop - 1]], side="right"))  # no utterance is cut in two
        these = order[start:stop]
        logp = distribution_array(run.scores["logp"].take(pa.array(these)))
        here, of = np.unique(row[these], return_inverse=True)
        p = np.zeros((len(here), len(raters), logp.shape[1]))
        known = np.isfinite(logp).any(axis=1)
        raised = np.exp(logp[known] - logp[known].max(axis=1, keepdims=True))
        p[of[known], rater[these][known]] = raised / raised.sum(axis=1, keepdims=True)
        yield here, p, np.asarray(p.any(axis=2))
        start = stop


def _indices(column: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)
