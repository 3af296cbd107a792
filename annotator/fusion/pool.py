"""`pool`: human and synthetic votes in one bag, every vote with equal weight.

    p_u = (n_u + s_u) / (N_u + S_u)        n_u: seen human votes, s_u: drawn synthetic votes, N_u and S_u their numbers

Source: Zhang et al., ICASSP 2026 (arXiv 2601.14620), whose released code concatenates the two lists of votes: no prior,
no reliability. With eight synthetic votes and three human ones the model carries 73 % of the mass; with a biased proxy
the result is worse than the human votes alone. It is here for comparison.
"""

from __future__ import annotations

import numpy as np

from ...data.errors import RunError
from ...data.votes import frequencies
from .evidence import Blend, Evidence, require_runs, require_votes, source_column

FORMULA = "p_u = (n_u + s_u) / (N_u + S_u)"


def pool(evidence: Evidence) -> Blend:
    """Frequencies of all votes, N_u + S_u effective votes; an utterance without any vote is undefined."""
    require_runs(evidence, "pool")
    require_votes(evidence, "pool")
    for run in evidence.runs:
        if not run.drawn.sum():
            raise RunError(
                f"run {run.name} holds no drawn votes, and pooling counts votes; annotate again with '--votes 10'"
            )
    drawn = np.sum([run.drawn for run in evidence.runs], axis=0)
    votes = evidence.seen + drawn
    total = votes.sum(axis=1)
    given = drawn.sum(axis=1)
    share = float(drawn[evidence.voted].sum() / votes[evidence.voted].sum())
    warnings = []
    alone = int((evidence.voted & (given == 0)).sum())
    if alone:
        warnings.append(f"utterances without a synthetic vote, whose human votes stand alone: {alone}")
    return Blend(
        p=frequencies(votes),
        effective_votes=np.where(total > 0, total, np.nan),
        source=source_column(
            ("human", evidence.voted), ("synthetic", given > 0), ("human+synthetic", evidence.voted & (given > 0))
        ),
        formula=FORMULA,
        parameters={
            "synthetic_votes_per_utterance": float(given[given > 0].mean()),
            "synthetic_share_where_both": share,
        },
        warnings=tuple(warnings),
    )
