"""How many independent listeners a panel amounts to: listeners that err alike are worth fewer than their number.

    e_lu  = p_lu - p_u                       error of listener l about people's distribution, summed over labels below
    rho   = mean over pairs l != l' of E[e_lu . e_l'u] / mean over l of E[e_lu . e_lu]
    n_eff = n / (1 + (n - 1) rho)            (Kish 1965)

The products are unbiased for people's own distribution whatever the number of their votes (as `sq_unbiased` is, which
each listener's is). They are about zero error, not the mean error: what all listeners get wrong alike no number of them
mends. So n_eff is the mean squared error of one listener over that of the panel's mean, and 1 when all say the same.
Listeners that differ in temperature alone are one: temperature is a transform and no listener.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.scores.divergences import as_distribution
from ...data.scores.intervals import Interval, by_group
from ...data.scores.proper_scores import agreement_of_pairs
from ...data.tables import distribution_array
from ...data.votes import frequencies
from ..run.run import Run
from .baselines import fitted_part
from .scorer import Reference

# Rows of scores that are in memory as numbers at a time.
BLOCK = 2_000_000


@dataclass(frozen=True, slots=True)
class Independence:
    """`listeners` that answered an utterance, in the mean; their errors' correlation; the independent ones."""

    listeners: float
    correlation: Interval
    independent_listeners: Interval


def independent_listeners(run: Run, reference: Reference, *, level: float = 0.95) -> Independence | None:
    """Kish's effective number of a run's listeners; None where there are fewer than two, or no exact scores.

    Of more than 100,000 utterances, a seeded part (`baselines.fitted_part`) serves; the intervals say how many.

    All human votes of the reference's utterances serve (nothing is fitted). An utterance that fewer than two
    listeners answered is left out. Where the panel's squared error is 0 or less, it is undefined (NaN).
    """
    names = run.listeners.column("listener").to_pylist()
    raters = run.listeners.column("rater").to_pylist()
    rater_of = {name: rater or name for name, rater in zip(names, raters, strict=True)}
    kinds = sorted(set(rater_of.values()))
    if len(kinds) < 2 or not run.scores.num_rows:
        return None
    place = np.array([kinds.index(rater_of[name]) for name in names])
    number, single, joint = _products(run, reference, names, place, len(kinds))
    heard = number >= 2
    if not heard.any():
        return None
    pairs = (joint - single) / np.maximum(number * (number - 1), 1)
    columns = np.column_stack([single / np.maximum(number, 1), pairs, number])[heard]
    rows = np.column_stack([columns, np.ones(len(columns))])
    groups = np.asarray(reference.groups, dtype=object)[heard]
    statistics = [
        by_group(rows, groups, statistic=f, level=level, seed=reference.seed) for f in (_correlation, _effective)
    ]
    return Independence(float(number[heard].mean()), *statistics)


def _correlation(totals: np.ndarray) -> np.ndarray:
    return totals[..., 1] / np.where(totals[..., 0] > 0, totals[..., 0], np.nan)


def _effective(totals: np.ndarray) -> np.ndarray:
    n = totals[..., 2] / totals[..., 3]
    shared = 1 + (n - 1) * _correlation(totals)
    return n / np.where(shared > 0, shared, np.nan)


def _products(
    run: Run, reference: Reference, names: list[str], place: np.ndarray, kinds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each utterance: listeners n, sum_l e_l . e_l, and (sum_l e_l) . (sum_l e_l), [U] each."""
    votes = reference.scored + reference.other
    shares, pairs = frequencies(votes), agreement_of_pairs(votes)
    size = len(reference.ids)
    row = _indices(run.scores["utterance_id"], reference.ids)
    row = np.where(np.append(fitted_part(reference), False)[row], row, -1)
    rater = place[_indices(run.scores["listener"], names)]
    order = np.argsort(row, kind="stable")
    order = order[np.searchsorted(row[order], 0) :]
    columns = [list(run.labels).index(label) for label in reference.labels]
    number, single, joint = np.zeros(size), np.zeros(size), np.zeros(size)
    start = 0
    while start < len(order):
        stop = min(start + BLOCK, len(order))
        # an utterance is never cut in two
        stop = int(np.searchsorted(row[order], row[order[stop - 1]], side="right"))
        these = order[start:stop]
        here, of = np.unique(row[these], return_inverse=True)
        q, answered = _by_rater(run.scores["p"].take(pa.array(these)), of * kinds + rater[these], (len(here), kinds))
        q = q[:, :, columns]
        n, total = answered.sum(axis=1), q.sum(axis=1)
        number[here] = n
        single[here] = (q**2).sum(axis=(1, 2)) - 2 * (total * shares[here]).sum(axis=1) + n * pairs[here]
        joint[here] = (total**2).sum(axis=1) - 2 * n * (total * shares[here]).sum(axis=1) + n**2 * pairs[here]
        start = stop
    return number, single, joint


def _by_rater(column: pa.ChunkedArray, cell: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Each listener's mean distribution of each utterance, [U, L, K] (0 where it did not answer), and who did."""
    p = as_distribution(distribution_array(column))
    size = shape[0] * shape[1]
    times = np.bincount(cell, minlength=size)
    sums = np.stack([np.bincount(cell, weights=share, minlength=size) for share in p.T], axis=1)
    return (sums / np.maximum(times, 1)[:, None]).reshape(*shape, -1), (times > 0).reshape(shape)


def _indices(column: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    """Where each text of a column stands among `values`; -1 where it does not."""
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)
