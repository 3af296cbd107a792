"""The `scores` and `failures` tables of a block of utterances, and the `answers` that were given in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.tables import FAILURES, distribution_column, from_rows
from ..models.label_tree import at_temperature
from ..panel.panel import ListeningPanel
from .segments import Failed, Results


def listener_scores(
    ids: Sequence[str], results: Results, panel: ListeningPanel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p and logp [U, L, K] and log mass [U, L] of every listener; NaN where it abstained.

    p is the listener's distribution at its temperature, computed from the stored (float32) log P1.
    """
    logp, log_mass = results.scores(ids)
    p = np.stack(
        [
            at_temperature(logp[:, rater], temperature)
            for rater, temperature in zip(panel.rater_of, panel.temperatures, strict=True)
        ],
        axis=1,
    )
    return p, logp[:, panel.rater_of], log_mass[:, panel.rater_of]


def score_table(
    ids: Sequence[str], p: np.ndarray, logp: np.ndarray, log_mass: np.ndarray, panel: ListeningPanel
) -> pa.Table:
    """The `scores` table: one row for each utterance and each listener that answered."""
    there = ~np.isnan(log_mass)
    u, listener = np.nonzero(there)
    return pa.table(
        {
            "utterance_id": taken(ids, u),
            "listener": taken([item.listener for item in panel.listeners], listener),
            "p": distribution_column(p[there], kind=pa.float32()),
            "logp": distribution_column(logp[there], kind=pa.float32()),
            "log_mass": pa.array(log_mass[there], pa.float32()),
        }
    )


def answer_rows(ids: Sequence[str], results: Results) -> list[dict[str, Any]]:
    """Rows of the `answers` table: every text that was given, with what it was taken for."""
    return [
        {"utterance_id": utterance, "listener": listener, "draw": draw, "text": text, "label": label, "reason": reason}
        for utterance in ids
        for listener, draw, text, label, reason, _ in sorted(
            results.texts.get(utterance, ()), key=lambda text: text[:2]
        )
    ]


def stated_scores(ids: Sequence[str], results: Results, panel: ListeningPanel) -> pa.Table:
    """The `scores` of distributions that were stated in words: each listener's mean over its answers.

    `logp` is their logarithm (-inf for a stated 0), `log_mass` 0: all of a stated distribution is on labels.
    """
    rows = []
    for utterance in ids:
        stated: dict[str, list[tuple[float, ...]]] = {}
        for listener, _, _, _, _, p in sorted(results.texts.get(utterance, ()), key=lambda text: text[:2]):
            if p is not None:
                stated.setdefault(listener, []).append(p)
        for listener, given in sorted(stated.items()):
            mean = np.mean(given, axis=0)
            with np.errstate(divide="ignore"):
                logp = np.log(mean)
            rows.append((utterance, listener, mean, logp))
    k = len(panel.labels)
    return pa.table(
        {
            "utterance_id": pa.array([row[0] for row in rows], pa.string()),
            "listener": pa.array([row[1] for row in rows], pa.string()),
            "p": distribution_column(np.array([row[2] for row in rows]).reshape(-1, k), kind=pa.float32()),
            "logp": distribution_column(np.array([row[3] for row in rows]).reshape(-1, k), kind=pa.float32()),
            "log_mass": pa.array(np.zeros(len(rows)), pa.float32()),
        }
    )


def failure_table(failed: Mapping[str, Failed]) -> pa.Table:
    """The `failures` table: one row an utterance, for all its listeners."""
    rows = [
        {"utterance_id": utterance, "listener": None, "reason": found.reason, "attempts": found.attempts}
        for utterance, found in sorted(failed.items())
    ]
    return from_rows(rows, FAILURES)


def taken(values: Sequence[str | None], places: np.ndarray) -> pa.Array:
    """A column of strings, given by their places in `values`."""
    return pa.array(values, pa.string()).take(pa.array(places))
