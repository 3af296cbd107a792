"""Information that the parts of a design carry about an answer: entropies of means, in designs that may have gaps.

A design has R cells (the distinct questions of a panel, or runs), and each factor gives every cell a level. With the
cells' distributions p on one utterance,

    I(label; factor | utterance) = H(mean over levels of p_level) - mean over levels of H(p_level)

in bits: the generalised Jensen-Shannon divergence of the levels (Lin 1991), 0 where all levels answer alike and at most
log2 of their number. p_level is the mean over the levels of the other factors, and for that every level has to meet the
same of them: only complete blocks (combinations of the other factors in which every level is there) are averaged over,
each alike. Given the others, it is the mean over blocks with two levels or more of the block's own information; where
the levels are the same in all, that is never less.

A factor that is finer or coarser than another (each question has one language, say) does not cross it: neither is held
fixed while the other varies. Factors that split the cells alike cannot be told apart, and are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.tables import distribution_array
from ..run.run import Run


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of a design: `codes` [R] are its levels' places in `levels`."""

    name: str
    codes: np.ndarray
    levels: list[str]


def factors(columns: Mapping[str, Sequence[str]]) -> tuple[list[Factor], list[str]]:
    """The factors of a design, from each one's level of every cell; and the names of those that do not vary.

    Names of factors that split the cells alike are joined by "and".

    >>> [f.name for f in factors({"a": "xxy", "b": "uuv", "c": "uvw", "d": "zzz"})[0]]
    ['a and b', 'c']
    """
    found: dict[tuple[int, ...], Factor] = {}
    constant = []
    for name, values in columns.items():
        levels = list(dict.fromkeys(values))
        codes = np.array([levels.index(value) for value in values])
        if len(levels) < 2:
            constant.append(name)
            continue
        same = found.get(tuple(codes))
        found[tuple(codes)] = (
            Factor(name, codes, levels) if same is None else Factor(f"{same.name} and {name}", codes, same.levels)
        )
    return list(found.values()), constant


def crossing_with(factor: Factor, every: Sequence[Factor]) -> list[Factor]:
    """The other factors of a design that are neither finer nor coarser than this one."""
    return [f for f in every if not _determines(f.codes, factor.codes) and not _determines(factor.codes, f.codes)]


def _determines(fine: np.ndarray, coarse: np.ndarray) -> bool:
    return len({*zip(fine.tolist(), coarse.tolist(), strict=True)}) == len(set(fine.tolist()))


def blocks(factor: Factor, others: Sequence[Factor], there: np.ndarray) -> list[np.ndarray]:
    """For each combination of the others' levels, the mean of each level's cells: weights [levels met, R].

    Only cells that are `there` [R] count.
    """
    keys = list(zip(*(f.codes.tolist() for f in others), strict=True)) if others else [()] * len(factor.codes)
    found = []
    for key in dict.fromkeys(key for key, is_there in zip(keys, there, strict=True) if is_there):
        inside = there & np.array([k == key for k in keys])
        levels = [inside & (factor.codes == level) for level in range(len(factor.levels))]
        found.append(np.array([own / own.sum() for own in levels if own.any()]))
    return found


def weights_alone(factor: Factor, others: Sequence[Factor], there: np.ndarray) -> np.ndarray | None:
    """Weights [L, R] of the mean over complete blocks; None where no block is complete."""
    complete = [w for w in blocks(factor, others, there) if len(w) == len(factor.levels)]
    return np.mean(complete, axis=0) if complete else None


def entropy(p: np.ndarray) -> np.ndarray:
    """Shannon's entropy in bits over the last axis; 0 log 0 is 0.

    >>> entropy(np.array([[.5, .5, 0], [1, 0, 0]])).tolist()
    [1.0, 0.0]
    """
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1) + 0.0


def information(p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """I(label; level) [N] in bits of levels whose distributions are weights [L, R] times the cells' p [N, R, K].

    >>> information(np.array([[[1.0, 0], [0, 1]]]), np.eye(2)).tolist()
    [1.0]
    """
    levels = np.einsum("lr,nrk->nlk", weights, p)
    return entropy(levels.mean(axis=1)) - entropy(levels).mean(axis=1)


def alone_and_given(
    p: np.ndarray, factor: Factor, others: Sequence[Factor], there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A factor's information by itself and given the others, [N] each; NaN where the cells that are there tell nothing.

    `p` is [N, R, K] with zeros where a cell is not there.
    """
    alone, given = np.full(len(p), np.nan), np.full(len(p), np.nan)
    weights = weights_alone(factor, others, there)
    if weights is not None:
        alone = np.maximum(information(p, weights), 0.0)  # a rounding error below 0 is 0
    met = [w for w in blocks(factor, others, there) if len(w) > 1]
    if met:
        given = np.maximum(np.mean([information(p, w) for w in met], axis=0), 0.0)
    return alone, given


def without_sampling_noise(p: np.ndarray, votes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`information` [N] where some cells' p are shares of few votes, without the bias of 1/n that this brings.

    `votes` [N, R] is their number, infinite for exact cells. By the jackknife (Zahl 1977), one vote left out of a
    cell at a time: I + sum over cells of (n - 1) (I - mean over its votes of I without that vote). Single values may be
    below 0. NaN where a cell has fewer than two votes.
    """
    plain = information(p, weights)
    found = plain.copy()
    for cell in np.flatnonzero(np.isfinite(votes).any(axis=0)):
        n = votes[:, cell]
        few = ~(n >= 2)
        left = np.where(few, 2.0, n)[:, None]
        without = np.zeros(len(p))
        for label in range(p.shape[2]):
            moved = p.copy()
            taken = p[:, cell] * left
            taken[:, label] = np.maximum(taken[:, label] - 1, 0)
            moved[:, cell] = taken / (left - 1)
            without += p[:, cell, label] * information(moved, weights)
        found += np.where(few, np.nan, np.where(np.isinf(n), 0.0, (left[:, 0] - 1) * (plain - without)))
    return found


# --------------------
# Whom a run asked in which way, as a design of factors, and their answers.

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
