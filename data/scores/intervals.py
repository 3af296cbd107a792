"""Intervals by group: utterances of one speaker are no independent witnesses, so speakers are taken whole.

Every statistic here is a function of column totals (a mean is a sum over a count, macro-F1 a function of a summed
confusion matrix), so what a resample costs is one matrix product over groups however many utterances there are. There
is one jackknife and one bootstrap:

    jackknife      value +- t(df) error,   error^2 = sum_b w_b (theta_b - c)^2

with theta_b the statistic without block b of n (Tukey 1958). A block is a group (a speaker), a fold of them, or one of
thirty groups of them (`blocks_of`); w_b = (n - 1) / n, c the mean of the theta_b and df = n - 1, but where it says so:

    by_group, by_sums   below 60 groups; on a scale without limits where the statistic has some
    jackknife_of        at any number of groups, with its p against 0; with `strata`, df is Satterthwaite's over them
    delete_a_group      estimates whose fits without each fold exist already: c is the estimate itself (Kott 2001)
    Replicates          means whose predictions are fitted anew without each block; blocks without rows have w_b = 1

    bootstrap      the quantiles of the statistic over resamples of whole groups (Efron & Tibshirani 1993, ch. 13)

of 60 groups and more, whose percentiles are expanded (`quantiles`). Shares of independent things have intervals that
are right at 0 and 1 too, where a jackknife is certain: Wilson's, and Tango's for pairs. Tests of a family are corrected
by Holm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.sparse import csc_array

from .groups import group_codes, group_folds

# below this many groups the percentile bootstrap under-covers (.84, .90, .93 at 5, 10, 20); the jackknife does not
BOOTSTRAP_FROM = 60
# So many blocks stand for sixty speakers and more.
BLOCKS = 30
# What a statistic can be, lowest and highest: anything; anything above 0.
NO_LIMITS = (-np.inf, np.inf)
POSITIVE = (0.0, np.inf)

OfTotals = Callable[[np.ndarray], np.ndarray]


class Interval(NamedTuple):
    """A figure with its confidence interval, how it was made, over how many groups and rows (and rows skipped)."""

    value: float
    low: float
    high: float
    method: str
    groups: int
    rows: int = 0
    skipped: int = 0


# --------------------
# Intervals of a statistic of rows, of sums by group, and of estimates that exist without each group.


def by_group(
    rows: ArrayLike,
    groups: Sequence[object] | np.ndarray,
    *,
    statistic: Literal["mean"] | OfTotals = "mean",
    level: float = 0.95,
    limits: tuple[float, float] = NO_LIMITS,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic of rows and its interval over groups (speakers).

    `rows` is [U] with `statistic="mean"`, or [U, S] with a function of the column totals, `[..., S] -> [...]`,
    which is evaluated on the totals of all rows and of every resample. From 60 groups on: percentile bootstrap over
    groups, `draws` resamples, between `quantiles`; below: `jackknife`, of a statistic with `limits` (lowest, highest)
    on the scale ln((theta - lowest) / (highest - theta)), an infinite limit left out, where the plain interval stays
    within them; the bootstrap's quantiles are the same on any scale. Rows with NaN are skipped and counted. Groups are
    taken in the order of their names' text: with the seed it decides the resamples. Fewer than two groups, or an
    infinite value, leave the bounds NaN and `method` says why.

    >>> by_group([1, 2, 3, 4, float("nan")], ["a", "a", "b", "b", "b"])._replace(low=0, high=0)
    Interval(value=2.5, low=0, high=0, method='jackknife-t', groups=2, rows=4, skipped=1)
    """
    columns, of_totals = _columns(np.asarray(rows, dtype=np.float64), statistic)
    kept = ~np.isnan(columns).any(axis=1)
    count, skipped = int(kept.sum()), int((~kept).sum())
    if not count:
        return Interval(np.nan, np.nan, np.nan, "none: no rows", 0, 0, skipped)
    codes, size = group_codes(groups if not skipped else np.asarray(groups, dtype=object)[kept])
    totals = group_sums(columns if not skipped else columns[kept], codes, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(of_totals(totals.sum(axis=0)))
        if not np.isfinite(value):
            reason = "undefined" if np.isnan(value) else "infinite value"
            return Interval(value, np.nan, np.nan, f"none: {reason}", size, count, skipped)
        if size < 2:
            return Interval(value, np.nan, np.nan, "none: one group", size, count, skipped)
        if size < BOOTSTRAP_FROM:
            bounds = _jackknifed(totals, of_totals, value, level, limits)
        else:
            bounds = _bootstrapped(totals, of_totals, level, draws, seed)
    return Interval(value, *bounds, size, count, skipped)


def by_sums(
    sums: np.ndarray,
    statistic: OfTotals,
    *,
    names: np.ndarray | None = None,
    level: float = 0.95,
    limits: tuple[float, float] = NO_LIMITS,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """`by_group` of sums by group, [G, S]; a group whose sums are all 0 is no witness and left out.

    `names` [G] are the groups', by default their places among those that are left. `rows` of the interval are groups.
    """
    there = sums.any(axis=1)
    groups = np.arange(int(there.sum())) if names is None else names[there]
    return by_group(sums[there], groups, statistic=statistic, level=level, limits=limits, draws=draws, seed=seed)


def jackknife_of(
    totals: np.ndarray, statistic: OfTotals, level: float, *, strata: np.ndarray | None = None
) -> tuple[Interval, float]:
    """The delete-one-speaker `jackknife` of a statistic of sums [G, S] at any number of speakers, and its p against 0.

    Bounds and p tell the same. For what a bootstrap misleads on (absolute values near 0, which resampling only makes
    larger) and for tests. With `strata` (int [G]) df is Satterthwaite's over them: of 91 speakers of whom 3 are in a
    part, the 3 decide. Speakers whose sums are all 0 are left out. NaN, with the reason in `method`, where undefined
    with all speakers or without one of them.
    """
    rows = totals.any(axis=1)
    there = totals[rows]
    size = len(there)

    def undefined(value: float, reason: str) -> tuple[Interval, float]:
        return Interval(value, np.nan, np.nan, f"none: {reason}", size), np.nan

    if not size:
        return undefined(np.nan, "no rows")
    with np.errstate(invalid="ignore", divide="ignore"):
        total = there.sum(axis=0)
        value, without = float(statistic(total)), np.asarray(statistic(total - there))
    if not np.isfinite(value):
        return undefined(value, "undefined")
    if size < 2:
        return undefined(value, "one group")
    if not np.isfinite(without).all():
        return undefined(value, "undefined without one of the groups")
    weight = np.full(size, (size - 1) / size)
    found = jackknife(value, without, level=level, weight=weight, strata=None if strata is None else strata[rows])
    return Interval(value, float(found.low), float(found.high), "jackknife-t", size), found.p


def delete_a_group(
    whole: float, folds: Sequence[float], *, limits: tuple[float, float] = NO_LIMITS, level: float = 0.95
) -> Interval:
    """Interval of an estimate from those without each fold of speakers, by the delete-a-group `jackknife`.

    On the scale without `limits`. Deviations are taken from the estimate and not from the folds' mean: a fold's fit
    has fewer votes, so its weak priors weigh more and it lies to one side; that counts as error too. Source: Kott, "The
    delete-a-group jackknife" (Journal of Official Statistics, 2001). NaN bounds with fewer than two folds, or where one
    is undefined.

    >>> round(delete_a_group(2.0, [1.0, 3.0], level=0.5).low, 9)  # 2 - t.ppf(.75, 1) * sqrt(1 / 2 * 2)
    1.0
    """
    size = len(folds)
    if size < 2:
        return Interval(whole, np.nan, np.nan, "none: fewer than two folds of speakers", size)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta, without = float(_unlimited(whole, limits)), _unlimited(folds, limits)
    if not np.isfinite([theta, *without]).all():
        return Interval(whole, np.nan, np.nan, "none: undefined without one of the folds", size)
    found = jackknife(theta, without, level=level, centre=theta)
    low, high = (_limited(y, limits) for y in (found.low, found.high))
    return Interval(whole, low, high, "delete-a-group jackknife", size)


def _columns(rows: np.ndarray, statistic: Literal["mean"] | OfTotals) -> tuple[np.ndarray, OfTotals]:
    if statistic != "mean":
        return rows.reshape(len(rows), int(np.prod(rows.shape[1:]))), statistic  # -1 is unknown for no rows
    if rows.ndim != 1:
        raise ValueError(f"the mean takes rows [U], not {list(rows.shape)}; pass a function of the column totals")
    return np.column_stack([rows, np.ones_like(rows)]), mean_of


def mean_of(totals: np.ndarray) -> np.ndarray:
    """The mean from summed columns [..., 2] of values and their number."""
    return totals[..., 0] / totals[..., 1]


def group_sums(columns: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    """Sums of the columns [U, S] over the rows of each group, [G, S]; `codes` int [U] below `size`.

    One pass over the rows: the product with the sparse matrix [G, U] that has a 1 where a row is of a group.
    """
    rows = len(codes)
    membership = csc_array((np.ones(rows), codes, np.arange(rows + 1)), shape=(size, rows))
    return np.asarray(membership @ columns)


# --------------------
# The jackknife.


class Jackknife(NamedTuple):
    """A value, its bounds, its error and the degrees of freedom of their t; of P values at once, [P] each but df."""

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float
    error: np.ndarray | float
    df: float

    @property
    def p(self) -> float:
        """Two-sided p of a single value against 0, from t(df)."""
        if self.error > 0:
            return 2 * float(stats.t.sf(abs(self.value) / self.error, self.df))
        return float(self.value == 0)


def jackknife(
    value: np.ndarray | float,
    without: np.ndarray,
    *,
    level: float = 0.95,
    weight: np.ndarray | None = None,
    centre: np.ndarray | float | None = None,
    df: float | None = None,
    strata: np.ndarray | None = None,
) -> Jackknife:
    """value +- t(df) error, error^2 = sum_b w_b (theta_b - c)^2, from the values `without` each block, [B] or [B, P].

    `weight` w [B], by default (B - 1) / B; `centre` c, by default the mean over the blocks; `df`, by default B - 1.
    With `strata` (int [B]; of a single value) df is Satterthwaite's for a variance that is a sum over strata s of n_s
    blocks each: (sum_s V_s)^2 / sum_s V_s^2 / (n_s - 1). Source: Tukey 1958.
    """
    blocks = len(without)
    squares = (without - (without.mean(axis=0) if centre is None else centre)) ** 2
    if weight is None:
        variance = (blocks - 1) / blocks * squares.sum(axis=0)
    else:
        variance = weight @ squares if squares.ndim > 1 else (weight * squares).sum()
    error, df = np.sqrt(variance), float(blocks - 1) if df is None else df
    if strata is not None and error > 0:
        df = _satterthwaite(squares if weight is None else weight * squares, strata)
    half = stats.t.ppf(0.5 + level / 2, df) * error
    return Jackknife(value, value - half, value + half, error, df)


def _satterthwaite(squares: np.ndarray, strata: np.ndarray) -> float:
    _, of = np.unique(strata, return_inverse=True)
    parts = np.bincount(of, weights=squares)
    return float(parts.sum() ** 2 / (parts**2 / np.maximum(np.bincount(of) - 1, 1)).sum())


def _jackknifed(
    totals: np.ndarray, of_totals: OfTotals, value: float, level: float, limits: tuple[float, float]
) -> tuple[float, float, str]:
    without = np.asarray(of_totals(totals.sum(axis=0) - totals))
    if not np.isfinite(without).all():
        return np.nan, np.nan, "none: undefined without one of the groups"
    plain = jackknife(value, without, level=level)
    low, high = float(plain.low), float(plain.high)
    if limits != NO_LIMITS and limits[0] < low and high < limits[1]:
        scaled = _unlimited(without, limits)
        if np.isfinite(scaled).all():
            found = jackknife(float(_unlimited(value, limits)), scaled, level=level)
            low, high = _limited(found.low, limits), _limited(found.high, limits)
    return low, high, "jackknife-t"


def _unlimited(theta: ArrayLike, limits: tuple[float, float]) -> np.ndarray:
    """ln((theta - lowest) / (highest - theta)); the part of an infinite limit is left out; without any, theta."""
    lowest, highest = limits
    if limits == NO_LIMITS:
        return np.asarray(theta, dtype=np.float64)
    found = np.zeros_like(theta, dtype=np.float64)
    if np.isfinite(lowest):
        found = found + np.log(np.asarray(theta) - lowest)
    if np.isfinite(highest):
        found = found - np.log(highest - np.asarray(theta))
    return found


def _limited(y: np.ndarray | float, limits: tuple[float, float]) -> float:
    """The theta whose `_unlimited` is y."""
    lowest, highest = limits
    if limits == NO_LIMITS:
        return float(y)
    if np.isinf(lowest):
        return float(highest - np.exp(-y))
    return float(lowest + (np.exp(y) if np.isinf(highest) else (highest - lowest) / (1 + np.exp(-y))))


# --------------------
# Replicates of means whose predictions are fitted: every block of speakers left out has its own fits.


def blocks_of(codes: np.ndarray, seed: int) -> np.ndarray:
    """Block of each row, int [N], of speakers' codes [N]: the speaker; from 60 speakers on, one of thirty groups."""
    if len(np.unique(codes)) < BOOTSTRAP_FROM:
        return codes
    return group_folds([f"block {code}" for code in codes.tolist()], folds=BLOCKS, seed=seed)


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means [B, S] without each block, the weight [B] of their squared deviations, and the blocks with rows, n."""

    means: np.ndarray
    weight: np.ndarray
    blocks: int
    method: str

    def band(self, values: np.ndarray, whole: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise `jackknife` bounds about the whole's values [P], from what the replicates come to, [B, P]."""
        found = jackknife(whole, values, level=level, weight=self.weight, df=self.blocks - 1)
        return np.asarray(found.low), np.asarray(found.high)


def replicates(
    sums: np.ndarray, rows: np.ndarray, block: np.ndarray | None = None, effects: np.ndarray | None = None
) -> Replicates:
    """Replicates of means from speakers' sums [G, S] over their numbers of rows [G].

        theta_b = mean over the rows outside block b, under the fits to all  +  effect_b
        effect_b = mean over rows outside b of (loss under the fits without b) - (loss under the fits to all)

    A block without a row of the part at hand (a subgroup's) moves it by its effect alone, so its weight is 1, and that
    of the n blocks with rows (n - 1) / n; the quantile is Student's with n - 1 degrees. `block` [G] is each speaker's,
    by default its own; `effects` [B, S] of the blocks' fits, by default none. Two blocks with rows are needed.
    """
    block = np.arange(len(rows)) if block is None else block
    size = int(block.max()) + 1 if effects is None else len(effects)
    columns = np.column_stack([sums, rows])
    inside = np.zeros((size, columns.shape[1]))
    np.add.at(inside, block, columns)
    there = inside[:, -1] > 0
    outside = columns.sum(axis=0) - inside
    means = outside[:, :-1] / np.maximum(outside[:, -1:], 1)  # a part all in one block has no interval
    if effects is None:
        means, there = means[there], there[there]
    else:
        means = means + effects
    blocks = int(there.sum())
    grouped = len(np.unique(block[rows > 0])) < int((rows > 0).sum())
    method = f"jackknife-t over {blocks} groups of speakers" if grouped else "jackknife-t"
    return Replicates(means, np.where(there, (blocks - 1) / max(1, blocks), 1.0), blocks, method)


# --------------------
# The bootstrap.


@lru_cache(maxsize=2)
def resamples(size: int, draws: int, seed: int) -> np.ndarray:
    """How often each group is drawn in each resample, [draws, G]; an audit asks for the same ones hundreds of times."""
    weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=draws)
    weights = weights.astype(np.float64)
    weights.flags.writeable = False
    return weights


def quantiles(groups: int, level: float) -> tuple[float, float]:
    """Which quantiles of a bootstrap are the bounds: those of the expanded percentile interval (Hesterberg 2015).

    Phi(-+ sqrt(G / (G - 1)) t(G - 1)): resamples of G groups spread by sqrt((G - 1) / G) of what samples do, and the
    normal quantile does not know that the spread is an estimate (Amer. Stat. 69:371, sec. 4.6). With 90 groups the 50
    figures of an audit cover .947 in the mean and not .942.

    >>> [round(q, 4) for q in quantiles(60, 0.95)]
    [0.0218, 0.9782]
    """
    low = float(stats.norm.cdf(-np.sqrt(groups / (groups - 1)) * stats.t.ppf(0.5 + level / 2, groups - 1)))
    return low, 1 - low


def _bootstrapped(
    totals: np.ndarray, of_totals: OfTotals, level: float, draws: int, seed: int
) -> tuple[float, float, str]:
    values = np.asarray(of_totals(resamples(len(totals), draws, seed) @ totals))
    if not np.isfinite(values).all():
        return np.nan, np.nan, "none: undefined in some resamples"
    low, high = np.quantile(values, quantiles(len(totals), level))
    return float(low), float(high), "percentile bootstrap"


# --------------------
# Shares of independent things (speakers).


def share(hits: np.ndarray, *, level: float = 0.95) -> Interval:
    """The share of hits among n, bool [n], with Wilson's score interval (1927); NaN of nothing.

    >>> share(np.zeros(7)).high  # 0 of 7
    0.3543...
    """
    n = len(hits)
    if not n:
        return Interval(np.nan, np.nan, np.nan, "none: no rows", 0)
    p, z = float(np.mean(hits)), float(stats.norm.ppf(0.5 + level / 2))
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    # rounding leaves about 1e-17 at the ends
    return Interval(p, 0.0 if p == 0 else float(low), 1.0 if p == 1 else float(high), "Wilson score", n, n)


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


# --------------------
# Tests of a family.


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p [N] (1979): in ascending order, the running maximum of (N - i + 1) p_i, at most 1.

    Those at most alpha fall at that family-wise error rate. Valid however the tests depend on each other. NaN (no test)
    stays NaN and counts for nothing.

    >>> holm(np.array([0.04, 0.01, np.nan, 0.03]))
    array([0.06, 0.03,  nan, 0.06])
    """
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    found = np.full(len(p), np.nan)
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return found
