"""What has to be said beside an audit's figures: who is left out, what is undefined, how far intervals reach."""

from __future__ import annotations

import numpy as np

from ...data.bootstrap import group_codes
from .answers import count
from .reference import Reference
from .result import PanelResult, System


def notes(ref: Reference, thirds: np.ndarray, results: list[PanelResult], systems: list[System]) -> list[str]:
    """The notes, each a sentence or two; `thirds` [U] as `strata_thirds` gives them."""
    found = list(ref.notes)
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
    if 2 <= group_codes(ref.groups)[1] < 10:
        found.append("Fewer than ten speakers: intervals are wide and their coverage is not assured.")
    return found
