"""The strategies that fit nothing: `human`, `synthetic` and `pool`, the three conditions of Zhang et al. (ICASSP 2026).

    human        p_u = n_u / N_u                      n_u: seen human votes of utterance u by label, N_u their number
    synthetic    p_u = (1 / R) sum_r q_ru             q_ru: unweighted mean of run r's listeners' exact distributions
    pool         p_u = (n_u + s_u) / (N_u + S_u)      s_u: drawn synthetic votes, S_u their number

`human`: the frequencies of the seen human votes, and nothing where nobody was asked. The relative vote frequency,
unsmoothed, is what most work on ambiguous emotion trains on (among them Zhang et al., arXiv 2601.14620, for its human
condition).

`synthetic`: the panel's own distribution, without any human vote. Their synthetic-only condition, with the exact
distribution in the place of counted answers.

`pool`: human and synthetic votes in one bag, every vote with equal weight. Their released code concatenates the two
lists of votes: no prior, no reliability. With eight synthetic votes and three human ones the model carries 73 % of the
mass; with a biased proxy the result is worse than the human votes alone. It is here for comparison.
"""

from __future__ import annotations

import numpy as np

from ...data.errors import RunError
from ...data.votes import frequencies
from .evidence import Blend, Evidence, averaged, require_runs, require_votes, source_column

HUMAN = "p_u = n_u / N_u"
SYNTHETIC = "p_u = mean over runs of the panel's exact distribution q_u"
POOL = "p_u = (n_u + s_u) / (N_u + S_u)"


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
        formula=HUMAN,
        parameters={},
        warnings=tuple(warnings),
    )


def synthetic(evidence: Evidence) -> Blend:
    """Mean of the runs' distributions; undefined where no run covers the utterance.

    `effective_votes` is undefined (NaN) everywhere: what a panel is worth in human votes is measured by the audit, it
    does not follow from the number of synthetic votes.
    """
    require_runs(evidence, "synthetic")
    p = evidence.proxy()
    return Blend(
        p=p,
        effective_votes=np.full(len(p), np.nan),
        source=source_column(("synthetic", np.asarray(np.isfinite(p).all(axis=1)))),
        formula=SYNTHETIC,
        parameters={"runs": [run.name for run in evidence.runs]},
        warnings=averaged(evidence),
    )


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
        formula=POOL,
        parameters={
            "synthetic_votes_per_utterance": float(given[given > 0].mean()),
            "synthetic_share_where_both": share,
        },
        warnings=tuple(warnings),
    )
