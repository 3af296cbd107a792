"""The utterances of largest surprise: whose human votes a panel's calibrated prediction held for unlikely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.proper_scores import log_score
from ...data.votes import frequencies
from .factors import names_of
from .panels import Panel
from .scorer import Reference

MOST_SURPRISES = 20


@dataclass(frozen=True, slots=True)
class Surprise:
    """An utterance whose human votes the calibrated panel held for unlikely: `log_score` is nats per vote."""

    utterance_id: str
    speaker: str | None
    transcript: str | None
    votes: int
    log_score: float
    human: list[float]
    calibrated: list[float]
    panel: list[float]


def surprises(reference: Reference, panel: Panel, calibrated: np.ndarray, corpus: Corpus) -> list[Surprise]:
    """The 20 utterances whose human votes (all of them) the calibrated prediction [U, K] gave the least log score."""
    votes = reference.scored + reference.other
    score = log_score(calibrated, votes)
    order = np.lexsort((np.asarray(reference.ids, dtype=str), score))
    order = [int(u) for u in order if not np.isnan(score[u])][:MOST_SURPRISES]
    at = np.array(order, dtype=int)
    said, by = (names_of(corpus, reference, column, at) for column in ("transcript", "speaker"))
    return [
        Surprise(
            utterance_id=reference.ids[u],
            speaker=speaker,
            transcript=transcript,
            votes=int(votes[u].sum()),
            log_score=float(score[u]),
            human=[float(x) for x in frequencies(votes[u : u + 1])[0]],
            calibrated=[float(x) for x in calibrated[u]],
            panel=[float(x) for x in panel.q[u]],
        )
        for u, speaker, transcript in zip(order, by, said, strict=True)
    ]
