"""Answer distributions from log-probabilities, at T = 1 and at other temperatures."""

from __future__ import annotations

import numpy as np


def normalise(answer_logp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split log P(answer) [..., K] into log P1 (renormalised over the answers) and the log mass on all of them.

    >>> logp, log_mass = normalise(np.log([0.2, 0.2]))
    >>> np.exp(logp).round(3).tolist(), np.exp(log_mass).round(3).item()
    ([0.5, 0.5], 0.4)
    """
    with np.errstate(invalid="ignore"):  # NaN rows (nothing asked) and rows without any mass stay NaN
        log_mass = np.logaddexp.reduce(np.asarray(answer_logp, dtype=np.float64), axis=-1)
        return answer_logp - log_mass[..., None], log_mass


def at_temperature(logp: np.ndarray, temperature: float) -> np.ndarray:
    """p_T(label) proportional to P1(label)^(1/T), over the last axis; a label of probability 0 keeps it at every T.

    >>> at_temperature(np.log([0.8, 0.2]), 0.5).round(3).tolist()
    [0.941, 0.059]
    """
    scaled = np.asarray(logp, dtype=np.float64) / temperature
    p = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)
