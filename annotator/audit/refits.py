"""What the noise of fits adds to a worth: scores under models fitted without each block of speakers.

Votes are scored under cross-fitted predictions, and another corpus would give other votes and other fits. An interval
of the votes' noise alone is too narrow: the fits follow the likelihood, so that a log score feels their errors in the
second order, JSD and squared error in the first (coverage of 95 % intervals with and without: BENCHMARKS.md,
"Coverage of intervals"). Refits begin at the fits to all and keep their numbers of kinds; which calibration is used is
chosen anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...data.scores.folds import group_codes
from ...data.scores.intervals import blocks_of
from . import baselines
from .scorer import Scorer
from .worth_parts import Part, PartSums

# Utterances that refits are fitted to and scored on where there are more, drawn by seed and id. A block's weight in the
# fits is the same, the votes' own noise larger: intervals come out rather too wide.
REFITTED_ON = 10_000

Predictions = Callable[[np.ndarray], Sequence[np.ndarray]]


class Refits:
    """The rows [N] that refits are scored on: the `utterances` (mask [U]) of the first `draws`; the parts' sums there.

    `block` [G] is each speaker's.
    """

    def __init__(self, scorer: Scorer, parts: Sequence[Part]):
        ref = scorer.reference
        self.utterances = baselines.drawn_part(ref, REFITTED_ON)
        number = min(len(scorer.draws), max(1, REFITTED_ON // len(ref.ids)))
        self.draws = [draw.only(self.utterances) for draw in scorer.draws[:number]]
        first = np.repeat(np.arange(len(scorer.draws)) < number, len(ref.ids))
        rows = first & scorer.repeat(self.utterances)
        few = [part._replace(rows=part.rows[rows]) for part in parts]
        codes, groups = group_codes(ref.groups)
        self._sums = PartSums(few, scorer.scored[rows], scorer.codes[rows], groups)
        self._block_of = blocks_of(codes, ref.seed)
        self.block = np.zeros(groups, dtype=int)
        self.block[codes] = self._block_of

    def effects(self, predictions: Predictions) -> list[dict[str, np.ndarray]]:
        """For each part, each score's effects [B, P]: the mean loss of the rows outside a block under the fits without
        it, less that under the fits to all.

        `predictions(kept)` are P predictions [N, K] by models fitted to the utterances `kept` (mask [U]).
        """
        size = int(self.block.max()) + 1
        whole = self._sums.points(predictions(self.utterances))
        found = [{name: np.zeros((size, x.shape[1])) for name, x in part.items()} for part in whole]
        for block in range(size):
            again = self._sums.points(predictions(self.utterances & (self._block_of != block)))
            outside = self.block != block
            for p, rows in enumerate(self._sums.rows):
                for name, sums in again[p].items():
                    moved = (sums - whole[p][name])[outside].sum(axis=0)
                    found[p][name][block] = moved / max(1, rows[outside].sum())
        return found
