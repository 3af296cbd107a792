"""What has to be said beside an audit's figures, as codes and numbers: who is left out, what is undefined."""

from __future__ import annotations

import numpy as np

from ...data.scores.groups import group_codes
from .result import PanelResult, System
from .scorer import Note, Reference

# Speakers. Coverage was simulated with ten and more.
WARNED_BELOW = 10


def notes(ref: Reference, thirds: np.ndarray, results: list[PanelResult], systems: list[System]) -> list[Note]:
    """The notes of an audit; `thirds` [U] as `strata_thirds` gives them."""
    found = list(ref.notes)
    given = [label for label, votes in zip(ref.labels, (ref.scored + ref.other).sum(axis=0), strict=True) if votes]
    if len(given) == 1:
        found.append(Note("one label", {"label": given[0]}))
    found += [Note("left out", {"reason": reason, "utterances": n}) for reason, n in ref.left_out.items()]
    for panel in results:
        if panel.skipped:
            values = {"panel": panel.name, "utterances": panel.skipped, "failures": panel.failures}
            found.append(Note("skipped", values))
    undefined = int((thirds < 0).sum())
    if undefined:
        found.append(Note("no third", {"utterances": undefined}))
    for system in systems:
        row = system.score("log_score")
        if row is not None and row.value == -np.inf:
            found.append(Note("no chance", {"system": system.name}))
    speakers = group_codes(ref.groups)[1]
    if 2 <= speakers < WARNED_BELOW:
        found.append(Note("few speakers", {"speakers": speakers}))
    return found
