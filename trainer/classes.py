"""Class by class: support, recall, precision and F1 of each label, a label that is never answered shown as the zero
that it is.
"""

from typing import Any

import numpy as np

from ..data.scores.intervals import Interval, by_group
from ..data.scores.metrics import f1_by_class, group_confusion
from .scoring.held_out import HeldOut


def by_class(q: np.ndarray, ref: HeldOut) -> dict[str, Any]:
    """A row a label: how many utterances' human plurality it is (a tie shares), how many were answered with it, recall,
    precision and F1 with its interval over speakers; and the summed confusion, human label first.

    F1 = 2 hit / (support + answered), 0 where never hit. Recall is undefined (NaN) without support, precision without
    answers. A label of no support is in no mean (`uar`, `macro_f1`), but takes part here.
    """
    size = len(ref.labels)
    sums = group_confusion(q, ref.counts, ref.codes, ref.groups)
    there = sums.sum(axis=1) > 0
    total = sums.sum(axis=0).reshape(size, size)
    rows = [
        {
            "label": label,
            "support": float(total[c].sum()),
            "answered": float(total[:, c].sum()),
            "recall": _share(total[c, c], total[c].sum()),
            "precision": _share(total[c, c], total[:, c].sum()),
            "f1": _interval(sums[there], c, size, ref)._asdict(),
        }
        for c, label in enumerate(ref.labels)
    ]
    return {"labels": rows, "confusion": total.tolist()}


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _interval(sums: np.ndarray, c: int, size: int, ref: HeldOut) -> Interval:
    def f1(totals: np.ndarray) -> np.ndarray:
        return f1_by_class(totals.reshape(*totals.shape[:-1], size, size))[..., c]

    found = by_group(sums, np.arange(len(sums)), statistic=f1, seed=ref.seed)
    if found.value == 0:
        # no resample of speakers who are never hit is: the interval would be a point
        return found._replace(low=np.nan, high=np.nan, method="none: never hit")
    return found._replace(low=max(found.low, 0.0), high=min(found.high, 1.0))
