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

from collections.abc import Callable

import numpy as np

from ...data.errors import RunError
from ...data.votes import frequencies
from .base import Blend, Need, Rule, Strategy, averaged, source_column, unused_runs, without_votes
from .evidence import Evidence

HUMAN_ALONE = "their seen votes alone"
PROXIES_ALONE = "the proxies alone, for nobody's vote was seen"


def human(evidence: Evidence) -> Blend:
    """Frequencies of the seen votes; N_u effective votes. An utterance without a seen vote is undefined."""
    voted = evidence.voted
    return Blend(
        p=frequencies(evidence.seen),
        effective_votes=np.where(voted, evidence.seen.sum(axis=1), np.nan),
        source=source_column(("human", voted)),
        formula=HUMAN.formula,
        parameters={},
        warnings=(*unused_runs(evidence), *without_votes(evidence)),
    )


def synthetic(evidence: Evidence) -> Blend:
    """Mean of the runs' distributions; undefined where no run covers the utterance.

    `effective_votes` is undefined (NaN) everywhere: what a panel is worth in human votes is measured by the audit, it
    does not follow from the number of synthetic votes.
    """
    p = evidence.proxy()
    return Blend(
        p=p,
        effective_votes=np.full(len(p), np.nan),
        source=source_column(("synthetic", np.asarray(np.isfinite(p).all(axis=1)))),
        formula=SYNTHETIC.formula,
        parameters={"runs": [run.name for run in evidence.runs]},
        warnings=averaged(evidence),
    )


def pool(evidence: Evidence) -> Blend:
    """Frequencies of all votes, N_u + S_u effective votes; an utterance without any vote is undefined.

    Raises RunError for a run without drawn votes.
    """
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
        formula=POOL.formula,
        parameters={
            "synthetic_votes_per_utterance": float(given[given > 0].mean()),
            "synthetic_share_where_both": share,
        },
        warnings=tuple(warnings),
    )


def rule(
    of: Callable[[Evidence], Blend],
    *,
    name: str,
    about: str,
    formula: str,
    why: str,
    sources: dict[str, str],
    needs: frozenset[Need],
    reads_runs: bool = True,
) -> Strategy:
    """The record of a strategy that fits nothing."""
    made = Rule(of, why)
    return Strategy(
        name=name,
        about=about,
        formula=formula,
        fit=lambda evidence, options, models: made,
        read=lambda state, models: made,
        sources=sources,
        smooths=False,
        needs=needs,
        fits="nothing",
        reads_runs=reads_runs,
    )


HUMAN = rule(
    human,
    name="human",
    about="the seen votes' frequencies",
    formula="p_u = n_u / N_u",
    why="nothing is fitted: the frequencies of the seen votes, as they are",
    sources={"human": HUMAN_ALONE},
    needs=frozenset({"votes"}),
    reads_runs=False,
)
SYNTHETIC = rule(
    synthetic,
    name="synthetic",
    about="the panel's mean, no human vote",
    formula="p_u = mean over runs of the panel's exact distribution q_u",
    why="nothing is fitted: the runs' mean, as it is",
    sources={"synthetic": PROXIES_ALONE},
    needs=frozenset({"runs"}),
)
POOL = rule(
    pool,
    name="pool",
    about="every vote alike, human or synthetic, as Zhang et al. (2026) do",
    formula="p_u = (n_u + s_u) / (N_u + S_u)",
    why="nothing is fitted: a synthetic vote counts as a human one, whatever it is worth",
    sources={
        "human": HUMAN_ALONE,
        "synthetic": PROXIES_ALONE,
        "human+synthetic": "both kinds of votes in one bag",
    },
    needs=frozenset({"votes", "runs"}),
)
