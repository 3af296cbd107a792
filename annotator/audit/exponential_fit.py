"""The exponential of saturation analyses, y = y_inf + b e^(-c x), fitted to many curves at once.

The paper on scaling ambiguity fits a - b e^(-cx) to max(y) - y, which is the same curve with y_inf = max(y) - a. For
a given c the rest is a line in e^(-cx), so least squares is a search in c alone: a grid, then the zero of the error's
slope between the grid's points, by halving. No start value is needed and every resample is fitted alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# c between these times 1 / (last x - first x): slower is a straight line on the curve's span, faster a single step
SLOWEST, FASTEST, GRID = 0.05, 200.0, 240
# halvings of ln c between two of the grid's points: as near as a float comes
HALVINGS = 50
# the paper's: what is left of the drop at the saturation point, and the points of its grid
LEFT, POINTS = 0.1, 100


class Saturating(NamedTuple):
    """Fitted curves [...]: `level` y_inf, `drop` a = max(y) - y_inf, `b`, `rate` c; NaN where c is not identified."""

    level: np.ndarray
    drop: np.ndarray
    b: np.ndarray
    rate: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """The fitted curves [..., X]."""
        return self.level[..., None] + self.b[..., None] * np.exp(-self.rate[..., None] * x)

    def crossing(self) -> np.ndarray:
        """The x [...] at which the fitted curve is y_inf + .1 a, ln(10 b / a) / c; NaN where it never is."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.b / (LEFT * self.drop)
            return np.where((self.drop > 0) & (ratio > 0), np.log(np.where(ratio > 0, ratio, 1.0)) / self.rate, np.nan)


def fit_saturating(x: np.ndarray, y: np.ndarray) -> Saturating:
    """Least squares of y_inf + b e^(-cx) to curves y [..., X] at points x [X], four or more.

    NaN where the best c is at an end of what is searched: a straight line, a single step or a flat curve identify none.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < 4:
        raise ValueError(f"three parameters are fitted to {len(x)} points; expected four or more")
    flat = y.reshape(-1, len(x))
    rates = np.geomspace(SLOWEST, FASTEST, GRID) / (x[-1] - x[0])
    errors = np.stack([_line(x, flat, np.full(len(flat), c))[0] for c in rates], axis=1)
    best = errors.argmin(axis=1)
    inside = (best > 0) & (best < GRID - 1) & (np.ptp(flat, axis=1) > 1e-12 * np.abs(flat).max(axis=1, initial=0))
    best = np.clip(best, 1, GRID - 2)
    rate = np.exp(_flat_error(x, flat, np.log(rates[best - 1]), np.log(rates[best + 1])))
    _, level, b = _line(x, flat, rate)
    found = [
        np.where(inside, part, np.nan).reshape(y.shape[:-1]) for part in (level, flat.max(axis=1) - level, b, rate)
    ]
    return Saturating(*found)


def saturation_point(fit: Saturating, x: np.ndarray) -> np.ndarray:
    """The paper's point [...]: the first of 100 equally spaced x where the fitted curve is at most y_inf + .1 a.

    NaN where the curve does not get there by the last x, or nothing is fitted.
    """
    grid = np.linspace(x[0], x[-1], POINTS)
    with np.errstate(invalid="ignore"):
        reached = fit.at(grid) <= (fit.level + LEFT * fit.drop)[..., None]
    return np.where(reached.any(axis=-1), grid[reached.argmax(axis=-1)], np.nan)


def _line(x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared error, intercept and slope, [N] each, of y [N, X] on e^(-rate x)."""
    e, left, slope = _residuals(x, y, rate)
    error = (left**2).sum(axis=1)
    return error, y.mean(axis=1) - slope * e.mean(axis=1), slope * np.exp(rate * x[0])


def _residuals(x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """e^(-rate (x - first x)) [N, X], what the line in it leaves of y [N, X], and the line's slope [N]."""
    e = np.exp(-rate[:, None] * (x - x[0]))
    e_from, y_from = (part - part.mean(axis=1, keepdims=True) for part in (e, y))
    slope = (e_from * y_from).sum(axis=1) / (e_from**2).sum(axis=1)
    return e, y_from - slope[:, None] * e_from, slope


def _flat_error(x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """ln c [N] between low and high [N] where the squared error is least.

    There its derivative in c, 2 b sum (x - first x) e^(-c(x - first x)) residual, turns from falling to rising. The
    error itself is flat there: compared, it gives half the digits.
    """
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        e, left, slope = _residuals(x, y, np.exp(middle))
        falls = slope * ((x - x[0]) * e * left).sum(axis=1) < 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return (low + high) / 2
