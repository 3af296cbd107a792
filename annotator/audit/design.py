"""Whom a run asked in which way, as a design of factors, and their answers: for `sensitivity` and `cues`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.tables import distribution_array
from ..run.run import Run

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
