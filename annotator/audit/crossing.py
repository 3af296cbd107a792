"""Where a level crosses a falling curve of whole numbers, and which crossings the speakers do not rule out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from ...data.scores.intervals import Replicates, replicates

# Points of the drawn curve between n and n + 1, for the interval's ends.
FINENESS = 20
# Halvings of a stretch of the curve: as near as a float comes.
HALVINGS = 52


class Crossing(NamedTuple):
    """The n of the crossing with its interval; `reason` where there is none (value NaN).

    `at_least`: the level lies beyond the curve's end, which is the value then. `high` is infinite where the interval
    reaches beyond the end.
    """

    value: float
    low: float
    high: float
    method: str
    groups: int
    at_least: bool = False
    reason: str | None = None


def falling(curve: np.ndarray) -> np.ndarray:
    """The matrix [N, N] whose product with the curve [N] is its least-squares fit that never rises.

    Pooled adjacent violators: rows of a block hold the block's mean (Ayer et al. 1955).

    >>> falling(np.array([3.0, 1.0, 2.0])) @ [3.0, 1.0, 2.0]
    array([3. , 1.5, 1.5])
    """
    blocks: list[list[int]] = []
    for i in range(len(curve)):
        blocks.append([i])
        while len(blocks) > 1 and curve[blocks[-1]].mean() > curve[blocks[-2]].mean():
            last = blocks.pop()
            blocks[-1] += last
    pooled = np.zeros((len(curve), len(curve)))
    for block in blocks:
        pooled[np.ix_(block, block)] = 1 / len(block)
    return pooled


def crossing(
    level: np.ndarray, curve: np.ndarray, rows: np.ndarray, *, confidence: float, again: Replicates | None = None
) -> Crossing:
    """Where the mean of a loss meets the curve of mean losses at n = 0, 1, …, N.

    `level` [G] and `curve` [G, N + 1] are sums over a group's rows, `rows` [G] their number. The curve is made falling
    and drawn by monotone cubics. The interval holds every n at which level - curve(n) is not told from 0 by the
    replicates `again` of (level, curve), which are without each group, with the same fits, if none are given.
    """
    groups, last = int((rows > 0).sum()), curve.shape[1] - 1
    if not groups:
        return undefined("no utterances", 0)
    if last < 1:
        return undefined("no human votes are left beside the scored ones, so there is no curve", groups)
    means = curve.sum(axis=0) / rows.sum()
    pooled = falling(means)
    n = np.linspace(0, last, last * FINENESS + 1)
    fall = pooled @ means
    mean_level = level.sum() / rows.sum()
    whole = mean_level - _drawn(fall[None], n)[0]
    if not fall[0] - fall[-1] > 1e-12:
        return undefined("the curve is flat: human votes of the utterance do not improve the prediction", groups)
    met, never = meets(np.array([mean_level]), fall[None])
    value, at_least = float(met[0]), bool(never[0])
    if groups < 2:
        return Crossing(value, np.nan, np.nan, "none: one group", groups, at_least)
    again = replicates(np.column_stack([level, curve]), rows) if again is None else again
    if again.blocks < 2:
        return Crossing(value, np.nan, np.nan, "none: one group of speakers", groups, at_least)
    lines = again.means[:, 1:] @ pooled.T
    gain = again.band((lines[:, 0] - lines[:, -1])[:, None], np.array([fall[0] - fall[-1]]), confidence)
    if not gain[0][0] > 0:
        return undefined("the curve is flat: what human votes of the utterance add is not told from nothing", groups)
    low, high = again.band(again.means[:, :1] - _drawn(lines, n), whole, confidence)
    bottom, beyond = _first(n, high, last)
    bottom = float(last) if beyond else bottom
    return Crossing(value, bottom, _last(n, low), again.method, groups, at_least)


def meets(level: np.ndarray, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first n [B] at which curves [B, N + 1], drawn by monotone cubics, come down to levels [B].

    And whether they never do, bool [B]: n is the end N then.
    """
    row, last = np.arange(len(level)), curves.shape[1] - 1
    reached = curves <= level[:, None]
    never = np.asarray(~reached.any(axis=1))
    knot = np.where(never, last, reached.argmax(axis=1))
    cubic = PchipInterpolator(np.arange(last + 1), curves, axis=1).c[:, np.maximum(knot - 1, 0), row]
    low, high = np.zeros(len(row)), np.ones(len(row))
    for _ in range(HALVINGS):
        t = (low + high) / 2
        above = ((cubic[0] * t + cubic[1]) * t + cubic[2]) * t + cubic[3] > level
        low, high = np.where(above, t, low), np.where(above, high, t)
    return np.where(never, float(last), np.where(knot == 0, 0.0, knot - 1 + (low + high) / 2)), never


def undefined(reason: str, groups: int) -> Crossing:
    """No crossing, for the reason."""
    return Crossing(np.nan, np.nan, np.nan, "none: not identifiable", groups, False, reason)


def _drawn(lines: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Curves [B, N + 1] through all points n: [B, len(n)]."""
    return PchipInterpolator(np.arange(lines.shape[1]), lines, axis=1)(n)


def _first(n: np.ndarray, rising: np.ndarray, last: int) -> tuple[float, bool]:
    """The first n where `rising` reaches 0, and whether it never does (n is the last one then)."""
    reached = np.flatnonzero(rising >= 0)
    if not len(reached):
        return float(last), True
    i = int(reached[0])
    if i == 0:
        return 0.0, False
    return float(n[i - 1] - rising[i - 1] * (n[i] - n[i - 1]) / (rising[i] - rising[i - 1])), False


def _last(n: np.ndarray, rising: np.ndarray) -> float:
    """The last n where `rising` is not above 0: infinite if that is the end, 0 if it is above everywhere."""
    below = np.flatnonzero(rising <= 0)
    if not len(below):
        return 0.0
    i = int(below[-1])
    if i == len(n) - 1:
        return np.inf
    return float(n[i] - rising[i] * (n[i + 1] - n[i]) / (rising[i + 1] - rising[i]))
