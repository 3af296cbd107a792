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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.errors import RunError, SerannError
from ...data.files import read_json
from ...data.scores.intervals import Interval, by_group
from ...data.tables import distribution_array
from ..run.run import Run, panel_distribution, synthetic_counts
from .information import (
    Factor,
    alone_and_given,
    blocks,
    crossing_with,
    entropy,
    factors,
    weights_alone,
    without_sampling_noise,
)

# --------------------
# Whom a run asked in which way, as a design of factors, and their answers: for `sensitivity` and `cues`.

# A column of the listeners' table, and what it is called.
COLUMNS = {
    "focus": "focus",
    "persona": "persona",
    "order": "label order",
    "form": "prompt form",
    "prompt": "question",
    "language": "language",
}
# What a persona says of somebody's gender or accent; the word is the level.
CUES = {
    "gender cue": re.compile(r"\b(woman|man|girl|boy|female|male|non-binary)\b", re.IGNORECASE),
    "accent cue": re.compile(r"\b([\w-]+) accent\b", re.IGNORECASE),
}
# Rows of scores that are in memory as numbers at a time.
BLOCK = 1_000_000


def design(run: Run) -> tuple[dict[str, str], dict[str, list[str]], list[list[float]]]:
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


def answers(run: Run, corpus: Corpus, raters: dict[str, str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
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


# --------------------
# What differs between runs of one panel over one corpus, as factors.
#
# Mode, engine, model, precision, batch size; and, lest they pass for one of these, question, prompt form, wording and
# how much of a sound is heard.

MODES = {"exact": "exact", "sample": "sampled", "verbalized": "verbalised"}

# A factor, what it carries by itself [U], and given the others [U].
Compared = tuple[Factor, np.ndarray, np.ndarray]


def compared(runs: Sequence[Run], corpus: Corpus) -> tuple[list[str], list[Compared], str | None]:
    """The runs' names, what each factor between them carries by utterance, and why there is nothing to compare.

    Runs under a control are left out, and those that ask other listeners than the first does.
    """
    plain = [run for run in runs if "control" not in run.info["identity"]]
    if len(plain) < 2:
        return _names(plain), [], None if len(runs) < 2 else "fewer than two runs without a control"
    raters = [set(run.listeners["rater"].to_pylist()) for run in plain]
    plain = [run for run, own in zip(plain, raters, strict=True) if own == raters[0]]
    names = _names(plain)
    if len(plain) < 2:
        return names, [], "the runs ask different listeners"
    if any(set(run.labels) != set(corpus.labels) for run in plain):
        return names, [], "the runs have different labels"
    every, _ = factors(_columns(plain))
    if not every:
        return names, [], f"the runs differ in nothing that is compared ({', '.join(_columns(plain))})"
    columns = [[list(run.labels).index(label) for label in corpus.labels] for run in plain]
    pairs = list(zip(plain, columns, strict=True))
    p = np.stack([panel_distribution(run, corpus.ids)[:, of] for run, of in pairs], axis=1)
    votes = np.stack([_votes(run, corpus.ids) for run in plain], axis=1)
    heard = np.asarray(~np.isnan(p).any(axis=(1, 2)))
    return names, [_of(factor, crossing_with(factor, every), p, votes, heard) for factor in every], None


def _names(runs: Sequence[Run]) -> list[str]:
    return [run.path.name for run in runs]


def _of(factor: Factor, others: list[Factor], p: np.ndarray, votes: np.ndarray, heard: np.ndarray) -> Compared:
    alone, given = np.full(len(p), np.nan), np.full(len(p), np.nan)
    there = np.ones(len(factor.codes), dtype=bool)
    weights = weights_alone(factor, others, there)
    if weights is not None:
        alone[heard] = without_sampling_noise(p[heard], votes[heard], weights)
    met = [w for w in blocks(factor, others, there) if len(w) > 1]
    if met:
        given[heard] = np.mean([without_sampling_noise(p[heard], votes[heard], w) for w in met], axis=0)
    return factor, alone, given


def _votes(run: Run, ids: Sequence[str]) -> np.ndarray:
    """How many votes the run's distribution of each utterance is made of, [U]; infinite where it was read off."""
    if run.info["identity"].get("mode") != "sample":
        return np.full(len(ids), np.inf)
    return synthetic_counts(run, ids).sum(axis=1).astype(float)


def _columns(runs: Sequence[Run]) -> dict[str, list[str]]:
    identities = [run.info["identity"] for run in runs]
    return {
        "mode": [_mode(run) for run in runs],
        "engine": [str(identity.get("engine")) for identity in identities],
        "model": [f"{identity.get('model')} {identity.get('weights', '')}".strip() for identity in identities],
        "precision": [str(identity.get("dtype")) for identity in identities],
        "batch size": [_batch_size(run.path) for run in runs],
        "question": [str(identity.get("question")) for identity in identities],
        "prompt form": [_form(run) for run in runs],
        "wording": _wordings(runs),
        "sound heard": [f"{i.get('too_long', 'all')} {i.get('max_seconds', '')}".strip() for i in identities],
    }


def _form(run: Run) -> str:
    """How answers are to be given; the forms that a mode brings with it are the mode's own."""
    forms = set(run.listeners["form"].to_pylist())
    return ", ".join(sorted({"label" if form in ("reason", "shares") else str(form) for form in forms}))


def _wordings(runs: Sequence[Run]) -> list[str]:
    """The texts asked, numbered among the runs of the same mode, question and form, which else decide the texts."""
    known: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    found = []
    for run in runs:
        texts = tuple(sorted(str(text) for text in run.listeners["prompt_fingerprint"].to_pylist()))
        same = known.setdefault((_mode(run), str(run.info["identity"].get("question")), _form(run)), [])
        if texts not in same:
            same.append(texts)
        found.append(f"wording {same.index(texts) + 1}")
    return found


def _mode(run: Run) -> str:
    mode = run.info["identity"].get("mode", "exact")
    reasons = set(run.listeners["form"].to_pylist()) == {"reason"}
    return "reasoned" if mode == "sample" and reasons else MODES.get(mode, mode)


def _batch_size(path: Path) -> str:
    """The batch size of a run's sessions, or of several: it is no part of an identity, for it should change nothing."""
    try:
        sessions = read_json(path / "environment.json", what="environment record")["sessions"]
        sizes = dict.fromkeys(str(session["batch_size"]) for session in sessions if session["utterances"])
    except (SerannError, KeyError, TypeError):
        return "unknown"
    return " and ".join(sizes) or "unknown"


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
    return replace(
        _within(main, corpus, mean, ratio),
        runs=names,
        between=[_row(f, bits, given, mean, None) for f, bits, given in between],
        between_reason=reason,
    )


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
    none = Sensitivity(name, len(raters), None, [], None, constant, None, listed, [name], [])
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
