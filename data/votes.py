"""From votes to counts and frequencies, and fair draws from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .errors import OptionError
from .labels import LabelSet
from .seeds import uniforms

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


def count_votes(
    votes: pa.Table,
    ids: Sequence[str],
    labels: LabelSet,
    *,
    source: str = "human",
    part: str | None = None,
    rank: str = "primary",
) -> np.ndarray:
    """Return the votes' weights summed by utterance and label, float64 [len(ids), K]; abstentions count for nothing.

    `part` restricts to seen or held-out votes. Utterances without votes have rows of zeros: no votes, no distribution.
    """
    keep = pc.and_(pc.equal(votes["source"], source), pc.equal(votes["rank"], rank))
    keep = pc.and_(keep, pc.is_valid(votes["label"]))
    if part is not None:
        keep = pc.and_(keep, pc.fill_null(pc.equal(votes["part"], part), False))
    chosen = votes.filter(keep)
    row = pc.index_in(chosen["utterance_id"], value_set=pa.array(list(ids), pa.string()))
    known = pc.is_valid(row).to_numpy(zero_copy_only=False)
    column = pc.index_in(chosen["label"], value_set=pa.array(labels.labels)).to_numpy(zero_copy_only=False)
    row = pc.fill_null(row, 0).to_numpy(zero_copy_only=False)
    counts = np.zeros((len(ids), len(labels)))
    np.add.at(counts, (row[known], column[known].astype(int)), chosen["weight"].to_numpy(zero_copy_only=False)[known])
    return counts


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Return each row's relative frequencies [U, K]; a row without votes is NaN, never uniform."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def split_counts(counts: np.ndarray, n: int, ids: Sequence[str], *seed: object) -> tuple[np.ndarray, np.ndarray]:
    """Draw n votes an utterance without replacement; return them and the rest, both float64 [U, K].

    `counts` are whole numbers. The draw of a row depends on its id and `seed` alone, and the draws for n and n + 1
    are nested. Rows with fewer than n votes are NaN in both.
    """
    whole = np.rint(counts).astype(int)
    if not np.allclose(whole, counts, equal_nan=True):
        raise OptionError("votes can only be drawn from whole counts; found weights that are fractions")
    totals = whole.sum(axis=1)
    most = int(totals.max(initial=0))
    label = np.repeat(np.tile(np.arange(counts.shape[1]), len(whole)), whole.ravel())
    slot = np.concatenate([np.arange(t) for t in totals]) if len(totals) else np.zeros(0, int)
    row = np.repeat(np.arange(len(whole)), totals)
    key = np.full((len(whole), most), np.inf)
    key[row, slot] = uniforms(ids, most, "split votes", *seed)[row, slot]
    place = np.empty_like(key, dtype=int)
    np.put_along_axis(place, np.argsort(key, axis=1, kind="stable"), np.arange(most)[None, :], axis=1)
    first, rest = np.zeros(counts.shape), np.zeros(counts.shape)
    taken = place[row, slot] < n
    np.add.at(first, (row[taken], label[taken]), 1)
    np.add.at(rest, (row[~taken], label[~taken]), 1)
    few = totals < n
    first[few], rest[few] = np.nan, np.nan
    return first, rest


def draw_counts(counts: np.ndarray, n: int, ids: Sequence[str], *seed: object) -> np.ndarray:
    """Draw n votes an utterance without replacement, [U, K]; rows with fewer than n votes are NaN."""
    return split_counts(counts, n, ids, *seed)[0]
