"""Each speaker against all others, tested utterance by utterance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Contrasts(NamedTuple):
    """Arrays [G]: the speaker's mean less that of all other utterances, its error, df, two-sided p; NaN undefined."""

    difference: np.ndarray
    error: np.ndarray
    df: np.ndarray
    p: np.ndarray


def against_the_rest(x: np.ndarray, codes: np.ndarray, size: int) -> Contrasts:
    """Welch's t of each speaker's utterances x [U] against the rest, whose mean has its error by speaker.

    error^2 = s_g^2 / n_g + (G - 1) / (G - 2) sum_h n_h^2 (mean_h - rest)^2 / (N - n_g)^2 over the other G - 1 speakers
    h; df by Satterthwaite from n_g - 1 and G - 2. NaN for a speaker of one utterance, and with fewer than three
    speakers. Every speaker of `codes` has an utterance.
    """
    n, total = (np.bincount(codes, weights=w, minlength=size) for w in (None, x))
    mean = total / n
    within = np.bincount(codes, weights=(x - mean[codes]) ** 2, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        rest_n = n.sum() - n
        rest = (total.sum() - total) / rest_n
        own = np.where(n > 1, within / (n - 1) / n, np.nan)
        # sum over h of n_h^2 (mean_h - rest_g)^2, multiplied out; the speaker's own term is taken off
        spread = (total**2).sum() - 2 * rest * (n * total).sum() + rest**2 * (n**2).sum() - n**2 * (mean - rest) ** 2
        others = np.where(size > 2, np.maximum(spread, 0) / rest_n**2 * (size - 1) / max(size - 2, 1), np.nan)
        square = own + others
        df = square**2 / (own**2 / (n - 1) + others**2 / max(size - 2, 1))
        p = 2 * stats.t.sf(np.abs(mean - rest) / np.sqrt(square), df)
    return Contrasts(mean - rest, np.sqrt(square), df, p)
