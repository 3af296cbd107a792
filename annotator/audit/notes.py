"""What has to be said beside an audit's figures: who is left out, what is undefined, how far intervals reach."""

from __future__ import annotations

import numpy as np

from ...data.scores.groups import group_codes
from ..report.figures import count
from .result import PanelResult, System
from .scorer import Reference

# Speakers. Coverage was simulated with ten and more.
WARNED_BELOW = 10


def notes(ref: Reference, thirds: np.ndarray, results: list[PanelResult], systems: list[System]) -> list[str]:
    """The notes, each a sentence or two; `thirds` [U] as `strata_thirds` gives them."""
    found = list(ref.notes)
    given = [label for label, votes in zip(ref.labels, (ref.scored + ref.other).sum(axis=0), strict=True) if votes]
    if len(given) == 1:
        found.append(
            f"Every human vote on the audited utterances is '{given[0]}': there is nothing in them that a panel could "
            "know or miss, so its gap, its worth in votes and agreement tell nothing here."
        )
    for reason, number in ref.left_out.items():
        found.append(f"{number} of the corpus's utterances are left out: {reason}.")
    for panel in results:
        if panel.skipped:
            why = "; ".join(f"{number} x {reason}" for reason, number in panel.failures.items())
            found.append(
                f"{panel.name} has no distribution for {count(panel.skipped, 'utterance')} that could be scored, "
                f"left out for every system{f' ({why})' if why else ''}."
            )
    undefined = int((thirds < 0).sum())
    if undefined:
        found.append(
            f"{count(undefined, 'utterance')} with fewer than two votes beside the scored ones: in no ambiguity third."
        )
    for system in systems:
        row = system.score("log_score")
        if row is not None and row.value == -np.inf:
            found.append(
                f"The log score of '{system.name}' is minus infinity: it gives no chance at all to a label that "
                "somebody voted for."
            )
    speakers = group_codes(ref.groups)[1]
    if 2 <= speakers < WARNED_BELOW:
        found.append(
            f"Fewer than ten speakers ({speakers}): intervals are wide, and their coverage is not assured, since "
            "so few hardly show how speakers differ."
        )
    return found
