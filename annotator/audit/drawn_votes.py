"""Synthetic votes drawn one after another from a panel, and what n of them score in expectation."""

from __future__ import annotations

import numpy as np

from ...data.scores.divergences import as_distribution
from ...data.scores.folds import group_codes
from ...data.scores.proper_scores import agreement_of_pairs
from ...data.seeds import rng_from, uniforms
from .baselines import fitted_part
from .scorer import Scorer, Speakers


class DrawnVotes:
    """A panel's votes over the kept utterances: what they are drawn from, and the scored votes of every draw.

    `answers` [U, K] are distributions (`exact`: votes are drawn independently) or whole votes (drawn without
    replacement; every kept row has `most` of them or more). `rows` are the kept utterances, `fitted` those of them that
    models are fitted on (`baselines.fitted_part`).
    """

    def __init__(self, scorer: Scorer, answers: np.ndarray, kept: np.ndarray, *, exact: bool, most: int):
        ref = scorer.reference
        self.scorer, self.exact, self.most, self.m = scorer, exact, most, ref.m
        self.rows = np.flatnonzero(kept)
        self.fitted = np.flatnonzero(kept & fitted_part(ref))
        self.answers = answers
        self.groups, self.size = group_codes(ref.groups)

    def speakers(self, rows: np.ndarray) -> Speakers:
        """The speakers of these utterances, in every draw."""
        return Speakers(np.tile(self.groups[rows], len(self.scorer.draws)), self.size)

    def scored(self, rows: np.ndarray) -> np.ndarray:
        """The scored votes of these utterances, the draws one after another."""
        return np.concatenate([draw.scored[rows] for draw in self.scorer.draws])

    def dealt(self, rows: np.ndarray) -> np.ndarray:
        """For every draw, the utterances whose votes stand in the rows' places: [R * U]."""
        by_id = rows[np.argsort([self.scorer.reference.ids[u] for u in rows])]
        found = []
        for draw in self.scorer.draws:
            moved = np.arange(len(self.answers))
            moved[by_id] = rng_from("saturation, shuffled", draw.seed, draw.draw).permutation(by_id)
            found.append(moved[rows])
        return np.concatenate(found)

    def labels(self, rows: np.ndarray, draw: int) -> np.ndarray:
        """N votes of each row in their order, int8 [U, N], drawn by the utterance's id, the seed and the draw."""
        ids, seed = [self.scorer.reference.ids[u] for u in rows], self.scorer.reference.seed
        answers = self.answers[rows]
        if self.exact:
            u, below = uniforms(ids, self.most, "saturation", seed, draw), np.cumsum(as_distribution(answers), axis=1)
            found = np.zeros(u.shape, dtype=np.int8)
            for label in range(answers.shape[1] - 1):
                found += u >= below[:, label, None]
            return found
        whole = np.rint(answers).astype(int)
        longest = int(whole.sum(axis=1).max())
        at = np.arange(longest)[None, :]
        listed = (at[:, :, None] >= np.cumsum(whole, axis=1)[:, None, :]).sum(axis=2).astype(np.int8)
        key = np.where(at < whole.sum(axis=1)[:, None], uniforms(ids, longest, "saturation", seed, draw), np.inf)
        return np.take_along_axis(listed, np.argsort(key, axis=1)[:, : self.most], axis=1)


def expected_sq(answers: np.ndarray, counts: np.ndarray, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """(limit, spread) [U]: the expected squared error of n votes' frequencies is limit + spread / n, at any n.

    From distributions p [U, K] (votes drawn independently): spread = 1 - sum_c p_c^2, limit = sq_unbiased(p). From
    whole votes (drawn without replacement): sum_c p_c^2 is the share of pairs of them that agree.
    """
    p = as_distribution(answers)
    agree = (p**2).sum(axis=1) if exact else agreement_of_pairs(answers)
    h = np.asarray(counts, dtype=np.float64)
    limit = agree - 2 * (p * h).sum(axis=1) / h.sum(axis=1) + agreement_of_pairs(h)
    return limit, 1 - agree
