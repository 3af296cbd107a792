"""What a model is taught of each utterance, always computed from votes, never from a converted file.

    fused          the fused distribution (`serann fuse`)
    hard           the plurality of the seen primary votes, one label; a tie is broken by lot, by seed and utterance
    primary        frequencies of the seen primary votes
    merged         alpha P + (1 - alpha) S, S the secondary votes (Omidi and Hansen 2026; `data.policies`)
    smoothed       (n + a) / (N + A): frequencies drawn to the class marginal, a by maximum likelihood
    disaggregated  every seen primary vote an example of its own, one label each

Votes of the train split's seen raters alone. Utterances that are new (augmented) have no votes: only `fused` teaches
them. The posterior, whose entropy a curriculum goes by, is Dirichlet(n + a), and for `fused` where its effective votes
N are known Dirichlet(p N) of a strategy whose N holds a prior's votes, and Dirichlet(p N + a) of one in `UNSMOOTHED`.
"""

from typing import NamedTuple

import numpy as np

from ..data.errors import CorpusError
from ..data.fused import Fused
from ..data.policies import distributions
from ..data.seeds import uniforms
from ..data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from ..data.votes import count_votes

TARGETS = ("fused", "hard", "primary", "merged", "smoothed", "disaggregated")
# The prior's votes where single votes an utterance cannot tell how many: one a label.
PLAIN = 1.0
# Fusion strategies whose effective votes are votes that were cast, without a prior's among them: two equal ones would
# leave no doubt at all.
UNSMOOTHED = ("human", "pool", "dawid-skene", "mace", "glad")


class VoteTargets(NamedTuple):
    """Rows of the corpus [N] (repeated for single votes) with what is taught: distributions `p`, seen `votes` and the
    `posterior`'s parameters, [N, K] each."""

    rows: np.ndarray
    p: np.ndarray
    votes: np.ndarray
    posterior: np.ndarray


def vote_targets(fused: Fused, kind: str, *, part: str | None, merged_alpha: float, seed: int) -> VoteTargets:
    """The targets of the train split; `part` of the votes (None: all, where a corpus is not divided).

    Raises CorpusError where nothing is left to learn from.
    """
    corpus = fused.corpus
    votes = count_votes(corpus.votes, corpus.ids, corpus.labels, part=part)
    prior = marginal_prior(votes[corpus.in_split("train")])
    posterior = votes + prior
    if kind == "fused":
        p = fused.distributions
        known = np.isfinite(fused.effective_votes)
        cast = (fused.info.blend or fused.info.strategy) in UNSMOOTHED
        posterior[known] = p[known] * fused.effective_votes[known, None] + (prior if cast else 0.0)
    elif kind == "smoothed":
        p = np.where(votes.sum(axis=1, keepdims=True) > 0, posterior_mean(votes, prior), np.nan)
    else:
        policy = "merged" if kind == "merged" else "primary"
        found = distributions(
            corpus.votes, corpus.ids, corpus.labels, policy=policy, alpha=merged_alpha, part=part or None
        )
        p = hard(found.p, corpus.ids, seed=seed) if kind == "hard" else found.p
    rows = np.flatnonzero(corpus.in_split("train") & np.isfinite(p).all(axis=1))
    if not len(rows):
        what = "has a distribution" if kind == "fused" else f"has the seen votes that targets '{kind}' are made of"
        raise CorpusError(f"{corpus.path}: no utterance of the train split {what}, so there is nothing to learn")
    targets = VoteTargets(rows, p[rows], votes[rows], posterior[rows])
    return one_by_one(targets) if kind == "disaggregated" else targets


def marginal_prior(votes: np.ndarray) -> np.ndarray:
    """Dirichlet parameters [K] of the distributions: maximum likelihood; from single votes, one vote a label."""
    if votes.sum(axis=1).max(initial=0) > 1:
        return fit_dirichlet_multinomial(votes)
    return np.full(votes.shape[1], PLAIN)


def hard(p: np.ndarray, ids: list[str], *, seed: int) -> np.ndarray:
    """The largest share's label, one-hot [U, K]; one of those that tie, by lot. NaN rows stay."""
    lots = uniforms(ids, p.shape[1], "hard target", seed)
    tied = p >= p.max(axis=1, keepdims=True) - 1e-9
    winner = np.where(tied, lots, -1.0).argmax(axis=1)
    return np.where(np.isnan(p), np.nan, np.eye(p.shape[1])[winner])


def one_by_one(targets: VoteTargets) -> VoteTargets:
    """One example a vote, one-hot; shares of votes count as one vote each."""
    row, label = np.nonzero(targets.votes)
    times = np.maximum(1, np.rint(targets.votes[row, label])).astype(int)
    row, label = np.repeat(row, times), np.repeat(label, times)
    one = np.eye(targets.votes.shape[1])[label]
    return VoteTargets(targets.rows[row], one, one, targets.posterior[row])
