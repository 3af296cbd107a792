"""Tables of one panel against the reference: confusion of mass, labels, thirds by ambiguity."""

from __future__ import annotations

import numpy as np

from ...data.scores.divergences import as_distribution
from ...data.scores.proper_scores import sq_unbiased_by_label, unbiased_ambiguity
from ...data.scores.scoring import THIRDS
from ...data.votes import frequencies
from .panels import Panel
from .result import LabelRow, StratumRow
from .scorer import Scorer


def confusion(q: np.ndarray, scored: np.ndarray) -> list[list[float | None]]:
    """Mean panel mass on each label (column), weighted by the human mass on each label (row)."""
    said = ~np.isnan(q).any(axis=1)
    human = as_distribution(scored)[said]
    mass, total = human.T @ as_distribution(q)[said], human.sum(axis=0)
    return [[float(x) for x in row / t] if t > 0 else [None] * len(row) for row, t in zip(mass, total, strict=True)]


def human_confusion(scorer: Scorer) -> list[list[float | None]] | None:
    """The same for the other human votes: what a perfect panel would show. None without other votes."""
    other = scorer.each(lambda draw: draw.other)
    return confusion(frequencies(other), scorer.scored) if other.any() else None


def label_rows(scorer: Scorer, constant: np.ndarray, q: np.ndarray) -> list[LabelRow]:
    """Each label's shares, bias and squared error; `constant` [R * U, K] is the audit's."""
    human, q = as_distribution(scorer.scored), as_distribution(q)
    error, error_constant = (sq_unbiased_by_label(x, scorer.scored) for x in (q, constant))
    return [
        LabelRow(
            label=label,
            human=float(human[:, c].mean()),
            panel=scorer.mean(q[:, c]),
            bias=scorer.mean(q[:, c] - human[:, c]),
            sq_unbiased=scorer.mean(error[:, c]),
            sq_constant=scorer.mean(error_constant[:, c]),
        )
        for c, label in enumerate(scorer.reference.labels)
    ]


def strata(
    scorer: Scorer, constant: np.ndarray, sq_constant: np.ndarray, thirds: np.ndarray, panel: Panel, sq: np.ndarray
) -> list[StratumRow]:
    """Each third's scores, and its ambiguity by the scored votes (not by those that cut it: those are selected)."""
    found: list[StratumRow] = []
    q, q_log = scorer.repeat(panel.q), None if panel.q_log is None else scorer.repeat(panel.q_log)
    ambiguity, own = unbiased_ambiguity(scorer.scored), scorer.repeat(panel.ambiguity)
    for third, name in enumerate(THIRDS):
        part = thirds == third
        if not part.any():
            continue
        found.append(
            StratumRow(
                third=name,
                utterances=round(part.sum() / len(scorer.draws)),
                human_ambiguity=scorer.mean(ambiguity, part),
                panel_ambiguity=scorer.mean(own, part),
                gap=scorer.gap(sq, sq_constant, part),
                scores=scorer.table(q, q_log=q_log, rows=part),
                constant=scorer.table(constant, rows=part),
            )
        )
    return found
