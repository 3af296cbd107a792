"""Jackknife over blocks of speakers, of means whose predictions are fitted: every replicate has its own fits.

    theta_b = mean over the rows outside block b, under the fits to all  +  effect_b
    effect_b = mean over rows outside b of (loss under the fits without b) - (loss under the fits to all)

A block without a row of the part at hand (a subgroup's) moves it by its effect alone. Variance:

    sum over blocks with rows of (n - 1) / n (theta_b - mean)^2  +  sum over the others of (theta_b - mean)^2

n blocks with rows; the quantile is Student's with n - 1 degrees (Tukey 1958).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ...data.folds import group_folds
from ...data.scores.intervals import BOOTSTRAP_FROM

# So many blocks stand for sixty speakers and more.
BLOCKS = 30


def blocks_of(codes: np.ndarray, seed: int) -> np.ndarray:
    """Block of each row, int [N], of speakers' codes [N]: the speaker; from 60 speakers on, one of thirty groups."""
    if len(np.unique(codes)) < BOOTSTRAP_FROM:
        return codes
    return group_folds([f"block {code}" for code in codes.tolist()], folds=BLOCKS, seed=seed)


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means [B, S] without each block, the weight [B] of their squared deviations, and the blocks with rows, n."""

    means: np.ndarray
    weight: np.ndarray
    blocks: int
    method: str

    def band(self, values: np.ndarray, whole: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise bounds about the whole's values [P], from what the replicates come to, [B, P]."""
        deviations = (values - values.mean(axis=0)) ** 2
        half = stats.t.ppf(0.5 + level / 2, self.blocks - 1) * np.sqrt(self.weight @ deviations)
        return whole - half, whole + half


def replicates(
    sums: np.ndarray, rows: np.ndarray, block: np.ndarray | None = None, effects: np.ndarray | None = None
) -> Replicates:
    """Replicates of means from speakers' sums [G, S] over their numbers of rows [G].

    `block` [G] is each speaker's, by default its own; `effects` [B, S] of the blocks' fits, by default none. Two blocks
    with rows are needed.
    """
    block = np.arange(len(rows)) if block is None else block
    size = int(block.max()) + 1 if effects is None else len(effects)
    columns = np.column_stack([sums, rows])
    inside = np.zeros((size, columns.shape[1]))
    np.add.at(inside, block, columns)
    there = inside[:, -1] > 0
    outside = columns.sum(axis=0) - inside
    means = outside[:, :-1] / np.maximum(outside[:, -1:], 1)  # a part all in one block has no interval
    if effects is None:
        means, there = means[there], there[there]
    else:
        means = means + effects
    blocks = int(there.sum())
    grouped = len(np.unique(block[rows > 0])) < int((rows > 0).sum())
    method = f"jackknife-t over {blocks} groups of speakers" if grouped else "jackknife-t"
    return Replicates(means, np.where(there, (blocks - 1) / max(1, blocks), 1.0), blocks, method)
