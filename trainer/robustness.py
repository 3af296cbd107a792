"""Noise robustness: the same scores on the same votes, with noise at stated levels in what is heard."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .checkpoint import Trained
from .predict import Prediction, Progress, predict_corpus
from .scoring.held_out import HeldOut, aligned
from .scoring.measures import by_name, difference, measures, scored
from .scoring.noise import Noises

REPORTED = ("sq_unbiased", "log_score", "accuracy", "uar", "macro_f1", "ccc_valence", "ccc_arousal", "ccc_dominance")


def under_noise(
    trained: Trained,
    clean: Prediction,
    ref: HeldOut,
    snrs: Sequence[float],
    kinds: Sequence[str],
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """A row for each kind, level and score: its value, and `change`, it less the clean one, both over the utterances
    that were heard with and without this noise.
    """
    noises = Noises(ref.corpus, ref.rows, seed=ref.seed)
    found = []
    for kind in kinds:
        for snr in snrs:
            heard = predict_corpus(
                trained,
                ref.corpus,
                rows=ref.rows,
                change=noises.noisy(kind, snr),
                device=device,
                progress=progress,
            )
            found += _rows(kind, snr, aligned(heard, ref), aligned(clean, ref), ref)
    return found


def _rows(
    kind: str,
    snr: float,
    heard: tuple[np.ndarray, np.ndarray],
    clean: tuple[np.ndarray, np.ndarray],
    ref: HeldOut,
) -> list[dict[str, Any]]:
    lost = np.isnan(heard[0]).any(axis=1, keepdims=True) | np.isnan(clean[0]).any(axis=1, keepdims=True)
    with_noise, without = (
        by_name(measures(np.where(lost, np.nan, q), np.where(lost, np.nan, rated), ref), REPORTED)
        for q, rated in (heard, clean)
    )
    return [
        {
            "noise": kind,
            "snr": snr,
            **scored(measure, ref)._asdict(),
            "change": difference(measure, without[name], ref)._asdict(),
        }
        for name, measure in with_noise.items()
    ]
