"""`human`: the frequencies of the seen human votes, and nothing where nobody was asked.

    p_u = n_u / N_u        n_u: seen human votes of utterance u by label, N_u their number

The relative vote frequency, unsmoothed, is what most work on ambiguous emotion trains on (among them Zhang et al.,
ICASSP 2026, arXiv 2601.14620, for its human condition).
"""

from __future__ import annotations

import numpy as np

from ...data.votes import frequencies
from .evidence import Blend, Evidence, require_votes, source_column

FORMULA = "p_u = n_u / N_u"


def human(evidence: Evidence) -> Blend:
    """Frequencies of the seen votes; N_u effective votes. An utterance without a seen vote is undefined."""
    require_votes(evidence, "human")
    voted = evidence.voted
    warnings = [f"runs that were given and not used: {len(evidence.runs)}"] if evidence.runs else []
    bare = int((evidence.train & ~voted).sum())
    if bare:
        warnings.append(f"train utterances without a seen human vote, and so without a distribution: {bare}")
    return Blend(
        p=frequencies(evidence.seen),
        effective_votes=np.where(voted, evidence.seen.sum(axis=1), np.nan),
        source=source_column(("human", voted)),
        formula=FORMULA,
        parameters={},
        warnings=tuple(warnings),
    )
