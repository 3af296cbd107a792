"""Numbers as text: one format for figures, intervals, counts and worths, on the terminal and on every page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...data.scores.intervals import Interval
    from ..audit.effective_votes import Worth


def figure(value: float, low: float | None = None, high: float | None = None, *, digits: int = 3) -> str:
    """A number with its interval in brackets: `0.081 [0.070, 0.092]`; what is undefined is a dash, -inf says so."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    text = f"{value:.{digits}f}".replace("-", "−")
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")


def capital(words: str) -> str:
    """Words with a capital at their beginning."""
    return words[:1].upper() + words[1:]


def count(number: int, thing: str) -> str:
    """`1 utterance`, `2 utterances`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def interval_figure(interval: Interval, *, digits: int = 3) -> str:
    """`figure` of an interval."""
    return figure(interval.value, interval.low, interval.high, digits=digits)


def mass_figure(mass: float) -> str:
    """A share of probability in percent; never rounded to 100 % or 0 % where it is neither."""
    percent = 100 * mass
    return f"{percent:.1f} %" if 0.05 <= percent < 99.95 or mass in (0, 1) else f"{percent:.3g} %"


def worth_figure(row: Worth, *, digits: int = 1) -> str:
    """`2.9 [2.7, 3.1]`, `at least 5 [4.2, …]` where the human curve ends first, or a dash where nothing can be told."""
    if row.reason:
        return "–"
    value = f"at least {row.value:.0f}" if row.at_least else f"{row.value:.{digits}f}"
    if math.isnan(row.low):
        return value
    return f"{value} [{row.low:.{digits}f}, {'…' if row.open_above else f'{row.high:.{digits}f}'}]"
