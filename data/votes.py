"""From votes to counts and frequencies, and fair draws from them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .arrow import pc
from .errors import OptionError
from .labels import LabelSet
from .seeds import uniforms


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
    if part is not None:
        keep = pc.and_(keep, pc.fill_null(pc.equal(votes["part"], part), False))
    row = pc.index_in(votes["utterance_id"], value_set=pa.array(list(ids), pa.string()))
    column = pc.index_in(votes["label"], value_set=pa.array(labels.labels))
    keep = pc.and_(keep, pc.and_(pc.is_valid(row), pc.is_valid(column)))
    # the numbers alone are filtered: twenty million votes are gigabytes of text
    row, column, weight = (c.filter(keep).to_numpy() for c in (row, column, votes["weight"]))
    counts = np.zeros(len(ids) * len(labels))
    np.add.at(counts, row * np.int64(len(labels)) + column, weight)
    return counts.reshape(len(ids), len(labels))


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Return each row's relative frequencies [U, K]; a row without votes is NaN, never uniform."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def split_counts(counts: np.ndarray, n: int, ids: Sequence[str], *seed: object) -> tuple[np.ndarray, np.ndarray]:
    """Draw n votes per utterance without replacement; return them and the rest, both float64 [U, K].

    `counts` are whole numbers. The draw of a row depends on its id and `seed` alone, and the draws for n and n + 1
    are nested. Rows with fewer than n votes are NaN in both.
    """
    drawn = _in_random_order(counts, ids, *seed)
    return drawn.first(n), drawn.first(n, rest=True)


class _Ordered(NamedTuple):
    """Votes in a random order: each one's cell in [U, K], flat, and its place; the votes of each row [U]."""

    cell: np.ndarray
    place: np.ndarray
    totals: np.ndarray
    labels: int

    def first(self, n: int, *, rest: bool = False) -> np.ndarray:
        """The first n votes of each row, [U, K], or the rest; NaN rows where there are fewer than n."""
        chosen = self.place >= n if rest else self.place < n
        found = np.bincount(self.cell[chosen], minlength=len(self.totals) * self.labels).astype(np.float64)
        found = found.reshape(len(self.totals), self.labels)
        found[self.totals < n] = np.nan
        return found


def _in_random_order(counts: np.ndarray, ids: Sequence[str], *seed: object) -> _Ordered:
    whole = np.rint(counts).astype(int)
    if not np.allclose(whole, counts, equal_nan=True):
        raise OptionError("votes can only be drawn from whole counts; found weights that are fractions")
    totals = whole.sum(axis=1)
    most, votes = int(totals.max(initial=0)), int(totals.sum())
    row = np.repeat(np.arange(len(whole)), totals)
    slot = np.arange(votes) - np.repeat(np.cumsum(totals) - totals, totals)
    key = np.full((len(whole), most), np.inf)
    key[row, slot] = uniforms(ids, most, "split votes", *seed)[row, slot]
    place = np.empty_like(key, dtype=int)
    np.put_along_axis(place, np.argsort(key, axis=1, kind="stable"), np.arange(most)[None, :], axis=1)
    cell = np.repeat(np.arange(whole.size), whole.ravel())
    return _Ordered(cell, place[row, slot], totals, whole.shape[1])


def draw_counts(counts: np.ndarray, n: int, ids: Sequence[str], *seed: object) -> np.ndarray:
    """Draw n votes per utterance without replacement, [U, K]; rows with fewer than n votes are NaN."""
    return nested_draws(counts, (n,), ids, *seed)[0]


def nested_draws(counts: np.ndarray, numbers: Sequence[int], ids: Sequence[str], *seed: object) -> list[np.ndarray]:
    """`draw_counts` for each of some numbers of votes; those for fewer votes are part of those for more."""
    drawn = _in_random_order(counts, ids, *seed)
    return [drawn.first(n) for n in numbers]
