"""From answers to a run's tables and back: temperatures, votes, abstentions and failures, in a fixed order of rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..data.seeds import uniforms
from ..data.tables import (
    FAILURES,
    LISTENERS,
    SCORES,
    VOTES,
    distribution_array,
    distribution_column,
    from_rows,
    read_table,
    write_table,
)
from .ledger import Answers, Failed
from .models.label_tree import at_temperature
from .panel import ListeningPanel


def write_tables(
    path: Path, answers: Answers, panel: ListeningPanel, *, votes: int, seed: int, run: str, silent: Sequence[str] = ()
) -> None:
    """Write scores, listeners, votes and failures of a run, each replaced as a whole.

    `silent` are utterances whose every listener abstained. Equal answers give equal bytes: rows are sorted by their
    keys and hold neither times nor places.
    """
    labels = panel.labels
    provenance = {"run": run, "panel": panel.panel.name}
    ids = sorted(set(answers.logp) | set(silent))
    p, logp, log_mass = listener_scores(ids, answers, panel)
    scores = score_table(ids, p, logp, log_mass, panel)
    drawn = vote_table(ids, p, panel, votes=votes, seed=seed, run=run)
    write_table(scores, path / "scores.parquet", SCORES, labels=labels, provenance=provenance)
    write_table(panel.table(), path / "listeners.parquet", LISTENERS, labels=labels, provenance=provenance)
    write_table(drawn, path / "votes.parquet", VOTES, labels=labels, provenance=provenance)
    write_table(
        failure_table(answers.failed), path / "failures.parquet", FAILURES, labels=labels, provenance=provenance
    )


def listener_scores(
    ids: Sequence[str], answers: Answers, panel: ListeningPanel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p and logp [U, L, K] and log mass [U, L] of every listener; NaN where it abstained.

    p is the listener's distribution at its temperature, computed from the stored (float32) log P1.
    """
    raters, k = len(panel.raters), len(panel.labels)
    logp = np.full((len(ids), raters, k), np.nan, dtype=np.float32)
    log_mass = np.full((len(ids), raters), np.nan, dtype=np.float32)
    for u, utterance in enumerate(ids):
        if utterance in answers.logp:
            logp[u], log_mass[u] = answers.logp[utterance], answers.log_mass[utterance]
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
    names = np.array([item.listener for item in panel.listeners], dtype=object)
    return pa.table(
        {
            "utterance_id": pa.array(np.asarray(ids, dtype=object)[u], pa.string()),
            "listener": pa.array(names[listener], pa.string()),
            "p": distribution_column(p[there], kind=pa.float32()),
            "logp": distribution_column(logp[there], kind=pa.float32()),
            "log_mass": pa.array(log_mass[there], pa.float32()),
        }
    )


def vote_table(
    ids: Sequence[str], p: np.ndarray, panel: ListeningPanel, *, votes: int, seed: int, run: str
) -> pa.Table:
    """`votes` synthetic votes an utterance, dealt round-robin over the listeners, each drawn from its listener's p.

    Each utterance deals in an order of its own, so that fewer votes than listeners favour none. Order and draws depend
    on (seed, utterance, listener, draw) alone: more votes, utterances or another machine leave the former votes as
    they were. A listener without scores casts abstentions, with the reason.
    """
    dealt = deal(ids, len(panel.listeners), votes=votes, seed=seed)
    u, listener, draw = (np.concatenate(parts) for parts in zip(*dealt, strict=True)) if dealt else ([], [], [])
    u, listener, draw = (np.asarray(part, dtype=int) for part in (u, listener, draw))
    most = int(draw.max(initial=-1)) + 1
    chance = np.stack(
        [uniforms(ids, most, "vote", seed, item.listener) for item in panel.listeners], axis=1
    )  # [U, L, draws]
    label = draw_label(p[u, listener], chance[u, listener, draw])
    silent = label < 0
    names = np.array([*panel.labels.labels, None], dtype=object)
    reasons = np.array([*(panel.abstention(item) for item in panel.listeners), None], dtype=object)
    order = np.lexsort((draw, listener, u))
    raters = np.array([item.listener for item in panel.listeners], dtype=object)
    return pa.table(
        {
            "utterance_id": pa.array(np.asarray(ids, dtype=object)[u[order]], pa.string()),
            "rater_id": pa.array(raters[listener[order]], pa.string()),
            "source": pa.array(["synthetic"] * len(u), pa.string()),
            "draw": pa.array(draw[order], pa.int32()),
            "label": pa.array(names[label[order]], pa.string()),
            "reason": pa.array(reasons[np.where(silent, listener, -1)][order], pa.string()),
            "rank": pa.array(["primary"] * len(u), pa.string()),
            "weight": pa.array(np.ones(len(u)), pa.float64()),
            "run": pa.array([run] * len(u), pa.string()),
        }
    )


def deal(
    ids: Sequence[str], listeners: int, *, votes: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Who casts the d-th vote of each utterance: (utterance, listener, that listener's draw) for d = 0 … votes - 1."""
    turns = np.argsort(uniforms(ids, listeners, "deal", seed), axis=1, kind="stable")
    everyone = np.arange(len(ids))
    return [(everyone, turns[:, d % listeners], np.full(len(ids), d // listeners)) for d in range(votes)]


def draw_label(p: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The label index [N] at quantile `chance` [N] of each row of p [N, K]; -1 where the row is NaN."""
    cumulative = np.cumsum(p, axis=1)
    label = (chance[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
    return np.where(np.isnan(cumulative[:, -1]), -1, np.minimum(label, p.shape[1] - 1)).astype(int)


def failure_table(failed: Mapping[str, Failed]) -> pa.Table:
    """The `failures` table: one row an utterance, for all its listeners."""
    rows = [
        {"utterance_id": utterance, "listener": None, "reason": found.reason, "attempts": found.attempts}
        for utterance, found in sorted(failed.items())
    ]
    return from_rows(rows, FAILURES)


def read_answers(path: Path, panel: ListeningPanel) -> Answers:
    """What a run's tables hold, as it was before compaction: the same float32 numbers, so nothing drifts."""
    answers = Answers()
    if (path / "failures.parquet").exists():
        for row in read_table(path / "failures.parquet", FAILURES).to_pylist():
            answers.failed[row["utterance_id"]] = Failed(row["reason"], row["attempts"])
    if not (path / "scores.parquet").exists():
        return answers
    table = read_table(path / "scores.parquet", SCORES, labels=panel.labels)
    logp = distribution_array(table["logp"]).astype(np.float32)
    log_mass = table["log_mass"].to_numpy()
    place = {item.listener: rater for item, rater in zip(panel.listeners, panel.rater_of, strict=True)}
    raters, k = len(panel.raters), len(panel.labels)
    for row, (utterance, listener) in enumerate(
        zip(table["utterance_id"].to_pylist(), table["listener"].to_pylist(), strict=True)
    ):
        if utterance not in answers.logp:
            answers.logp[utterance] = np.full((raters, k), np.nan, dtype=np.float32)
            answers.log_mass[utterance] = np.full(raters, np.nan, dtype=np.float32)
        answers.logp[utterance][place[listener]] = logp[row]
        answers.log_mass[utterance][place[listener]] = log_mass[row]
    return answers
