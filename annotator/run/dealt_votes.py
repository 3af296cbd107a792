"""Which listener casts which vote of an utterance, and what it says: the same on every machine, however many follow."""

from collections.abc import Sequence

import numpy as np

from ...data.seeds import uniforms


def dealt_votes(
    ids: Sequence[str], listeners: int, *, votes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(utterance, listener, draw) of every vote, sorted in this order."""
    dealt = deal(ids, listeners, votes=votes, seed=seed)
    if not dealt:
        none = np.zeros(0, dtype=int)
        return none, none, none
    u, listener, draw = [np.concatenate(parts).astype(int) for parts in zip(*dealt, strict=True)]
    order = np.lexsort((draw, listener, u))
    return u[order], listener[order], draw[order]


def deal(
    ids: Sequence[str], listeners: int, *, votes: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Who casts the d-th vote of each utterance: (utterance, listener, that listener's draw) for d = 0 … votes - 1."""
    turns = np.argsort(uniforms(ids, listeners, "deal", seed), axis=1, kind="stable")
    everyone = np.arange(len(ids))
    return [(everyone, turns[:, d % listeners], np.full(len(ids), d // listeners)) for d in range(votes)]


def draw_label(p: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The label index [N] at quantile `chance` [N] of each row of p [N, K]; -1 where the row is NaN."""
    cumulative = np.cumsum(p, axis=1)
    label = (chance[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
    return np.where(np.isnan(cumulative[:, -1]), -1, np.minimum(label, p.shape[1] - 1)).astype(int)
