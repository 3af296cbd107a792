"""Panels side by side: differences of their scores on the same votes, which tell more than two intervals apart do.

What makes an utterance or a speaker hard is hard for both panels and cancels, so that intervals of two panels may
overlap where their difference is told from 0. A difference is no verdict: two panels may differ and both be worthless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ...data.scores.proper_scores import log_score
from ...data.scores.scoring import ScoreRow, row_scores, score_row
from .panels import Panel
from .scorer import Scorer


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean scores of `panel` less those of `other` over the same utterances and votes, with intervals by speaker."""

    panel: str
    other: str
    scores: list[ScoreRow]


def section(scorer: Scorer, panels: Sequence[Panel]) -> list[Difference]:
    """Every two of the panels, in their order; none for a single panel.

    Scores that an utterance has by itself; UAR and macro-F1 are no means over utterances. The log score of a panel
    made of votes is that of its smoothed form, as in its own row.
    """
    scores = [_row_scores(scorer, panel) for panel in panels] if len(panels) > 1 else []
    found = []
    for (a, one), (b, other) in combinations(zip(panels, scores, strict=False), 2):
        with np.errstate(invalid="ignore"):  # minus infinity less minus infinity: two single votes' log scores
            rows = {name: one[name] - other[name] for name in one}
        found.append(Difference(a.name, b.name, [score_row(name, scorer.mean(x)) for name, x in rows.items()]))
    return found


def _row_scores(scorer: Scorer, panel: Panel) -> dict[str, np.ndarray]:
    # every row has m votes, so that none are drawn
    scores = row_scores(scorer.repeat(panel.q), scorer.scored, scorer.reference.m, (), 0)
    if panel.q_log is not None:
        scores["log_score"] = log_score(scorer.repeat(panel.q_log), scorer.scored)
    return scores
