"""Intervals of shares of independent things (speakers): right at shares of 0 and 1, where a jackknife is certain."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from .scores.intervals import Interval


def share(hits: np.ndarray, *, level: float = 0.95) -> Interval:
    """The share of hits among n, bool [n], with Wilson's score interval (1927); NaN of nothing.

    >>> share(np.zeros(7)).high  # 0 of 7
    0.3543...
    """
    n = len(hits)
    if not n:
        return Interval(np.nan, np.nan, np.nan, "none: no rows", 0)
    low, high = _wilson(float(np.mean(hits)), n, level)
    return Interval(float(np.mean(hits)), low, high, "Wilson score", n, n)


def _wilson(p: float, n: int, level: float) -> tuple[float, float]:
    z = float(stats.norm.ppf(0.5 + level / 2))
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    # rounding leaves about 1e-17 at the ends
    return (0.0 if p == 0 else float(low)), (1.0 if p == 1 else float(high))


def share_difference(hits: np.ndarray, other: np.ndarray, *, level: float = 0.95) -> Interval:
    """The first share less the second among the same n things, bool [n] each, with Tango's score interval for pairs.

    With b things that only the first hits and c that only the second does, the bounds are the differences d at which

        (b - c - n d) / sqrt(n (2 q + d (1 - d))) = +- z,    q the likeliest share of c's things given d

    Tango, Statistics in Medicine 17 (1998) 891. Where the two agree everywhere it is +- z^2 / (n + z^2), no point.
    """
    n = len(hits)
    if not n:
        return Interval(np.nan, np.nan, np.nan, "none: no rows", 0)
    first, second = np.asarray(hits, dtype=bool), np.asarray(other, dtype=bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    z = float(stats.norm.ppf(0.5 + level / 2))
    value = (b - c) / n
    # the score falls from above z to below -z between the ends, where it has no denominator
    low = _root(lambda d: _score(d, b, c, n) - z, -1.0, value)
    high = _root(lambda d: _score(d, b, c, n) + z, value, 1.0)
    return Interval(value, low, high, "Tango's score, pairs", n, n)


def _score(d: float, b: int, c: int, n: int) -> float:
    """The score statistic of a true difference d, with b and c discordant pairs of n."""
    linear, constant = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
    q = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    above = b - c - n * d
    if variance > 0:
        return float(above / np.sqrt(variance))
    return math.copysign(math.inf, above) if above else 0.0


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is 0, by halving; the end where it is nowhere."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
