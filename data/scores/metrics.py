"""Metrics of the most-voted label and of ratings, with ties and absent classes handled the same everywhere.

Ties for the plurality split the credit: a reference tied between two labels is half an utterance of each. The
class set of UAR and macro-F1 is that of the full reference (`reference_classes`), kept when a stratum or a
resample is scored: a class of the set scores 0 where it is never hit, and is never dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array

from .divergences import as_distribution, by_blocks, row_sums


def plurality(rows: ArrayLike) -> np.ndarray:
    """Share of each label in the plurality, [U, K]: 1 for a single winner, 1/t for each of t tied labels.

    Values within a relative 1e-9 of the largest are tied. NaN rows for rows without votes or with NaN.

    >>> plurality([[3, 1, 0], [2, 2, 0]])
    array([[1. , 0. , 0. ],
           [0.5, 0.5, 0. ]])
    """
    return by_blocks(_plurality, rows)


def _plurality(rows: np.ndarray) -> np.ndarray:
    largest = rows[..., 0]
    for label in range(1, rows.shape[-1]):
        largest = np.maximum(largest, rows[..., label])
    winners = (rows >= (largest * (1 - 1e-9))[..., None]).astype(np.float64)
    shares = np.where(largest > 0, 1 / np.maximum(row_sums(winners), 1), np.nan)
    return winners * shares[..., None]


def confusion_rows(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Each row's share in the confusion of pluralities, [U, K, K]: human label first, predicted label second."""
    return plurality(counts)[:, :, None] * plurality(q)[:, None, :]


def group_confusion(q: ArrayLike, counts: ArrayLike, codes: np.ndarray, size: int) -> np.ndarray:
    """Sums of `confusion_rows` over the rows of each group, [G, K * K], without the rows where either is undefined.

    `codes` int [U] below `size`. The product of a sparse matrix [G * K, U] of human shares and the predicted ones.
    """
    human, predicted = plurality(counts), plurality(q)
    labels = human.shape[1]
    defined = ~np.isnan(human[:, 0] + predicted[:, 0])
    won = (human > 0) & defined[:, None]
    cells = (codes[:, None] * labels + np.arange(labels))[won]
    ends = np.append(0, np.cumsum(np.count_nonzero(won, axis=1)))
    shares = csc_array((human[won], cells, ends), shape=(size * labels, len(human)))
    return (shares @ np.where(defined[:, None], predicted, 0.0)).reshape(size, labels * labels)


def reference_classes(counts: ArrayLike) -> np.ndarray:
    """The labels, bool [K], that are the plurality (or tied for it) of at least one row of the full reference."""
    return np.nansum(plurality(counts), axis=0) > 0


def accuracy_rows(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Credit of each row in [0, 1]: the overlap of the two pluralities; NaN where either is undefined."""
    return by_blocks(lambda q, counts: row_sums(_plurality(q) * _plurality(counts)), q, counts)


def accuracy(q: ArrayLike, counts: ArrayLike) -> float:
    """Share of rows whose predicted plurality is the human one; ties split credit; undefined rows are skipped.

    >>> accuracy([[.6, .4], [.6, .4]], [[1, 1], [3, 0]])
    0.75
    """
    credit = accuracy_rows(q, counts)
    return float(np.nanmean(credit)) if (~np.isnan(credit)).any() else float("nan")


def among_best(q: ArrayLike, n: int) -> np.ndarray:
    """Chance of each label, [U, K], to be among the n of a row with the most probability; ties are drawn at random.

    For n = 1 it is `plurality`. Values within a relative 1e-9 are tied. NaN rows for rows with NaN.

    >>> among_best([[0.5, 0.3, 0.1, 0.1]], 3)
    array([[1. , 1. , 0.5, 0.5]])
    """
    return by_blocks(lambda q: _among_best(q, n), q)


def _among_best(q: np.ndarray, n: int) -> np.ndarray:
    # axis 1 is the label asked about, axis 2 those that it is compared with
    above = q[:, None, :] * (1 - 1e-9) > q[:, :, None]
    tied = (q[:, None, :] >= q[:, :, None] * (1 - 1e-9)) & ~above
    places = n - above.sum(axis=2)
    chance = np.clip(places / np.maximum(tied.sum(axis=2), 1), 0.0, 1.0)
    return np.where(np.isnan(q).any(axis=1, keepdims=True), np.nan, chance)


def n_best_rows(q: ArrayLike, counts: ArrayLike, n: int) -> np.ndarray:
    """Credit of each row in [0, 1]: the chance that the human plurality is among the n best; for n = 1 `accuracy_rows`.

    A plurality of t tied labels counts 1/t for each. NaN where either side is undefined.
    """
    return by_blocks(lambda q, counts: row_sums(_among_best(q, n) * _plurality(counts)), q, counts)


def uar_of(confusion: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Unweighted average recall of summed confusions [..., K, K] over the class set (bool [K]).

    Recall of a class is its diagonal over its row; a class of the set without support in these rows counts 0.
    """
    support, hit = confusion.sum(axis=-1), np.diagonal(confusion, axis1=-2, axis2=-1)
    recall = np.divide(hit, support, out=np.zeros_like(support), where=support > 0)
    return recall[..., classes].mean(axis=-1) if classes.any() else np.full(confusion.shape[:-2], np.nan)


def f1_by_class(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, [..., K]: 2 hit / (support + predicted), 0 for a class never hit, 0 too for 0 / 0."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    either = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return np.divide(2 * hit, either, out=np.zeros_like(either), where=either > 0)


def macro_f1_of(confusion: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Macro-F1 of summed confusions [..., K, K]: the mean of `f1_by_class` over the class set (bool [K]).

    NaN only if the class set is empty. A mean that skips classes with F1 = 0 rewards a system for giving up rare
    labels (papers have published such figures); this one does not.
    """
    scores = f1_by_class(confusion)
    return scores[..., classes].mean(axis=-1) if classes.any() else np.full(confusion.shape[:-2], np.nan)


def _confusion(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    return np.nansum(confusion_rows(q, counts), axis=0)


def uar(q: ArrayLike, counts: ArrayLike, *, classes: np.ndarray | None = None) -> float:
    """Unweighted average recall of the plurality; `classes` (bool [K]): the full reference's, when rows are a part."""
    return float(uar_of(_confusion(q, counts), reference_classes(counts) if classes is None else classes))


def macro_f1(q: ArrayLike, counts: ArrayLike, *, classes: np.ndarray | None = None) -> float:
    """Macro-F1 of the plurality; `classes` (bool [K]): the full reference's class set, when rows are a part of it.

    F1 is 0 for a supported class that is never hit; a label that is nobody's plurality in the full reference is
    in no class set. NaN without any class.

    >>> macro_f1([[1, 0, 0], [1, 0, 0]], [[2, 0, 0], [0, 2, 0]])  # F1 2/3 and 0; the third label has no support
    0.3333333333333333
    """
    return float(macro_f1_of(_confusion(q, counts), reference_classes(counts) if classes is None else classes))


def ccc_rows(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Columns [U, 6] (1, x, y, x^2, y^2, xy) whose totals `ccc_of` takes; NaN rows where either is missing.

    Values are shifted by their means first, which changes no CCC and keeps the sums accurate.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    both = ~(np.isnan(first) | np.isnan(second))
    if not both.any():
        return np.full((len(first), 6), np.nan)
    shift = (first[both].mean() + second[both].mean()) / 2
    a, b = np.where(both, first, np.nan) - shift, np.where(both, second, np.nan) - shift
    return np.column_stack([np.where(both, 1.0, np.nan), a, b, a * a, b * b, a * b])


def ccc_of(totals: np.ndarray) -> np.ndarray:
    """Concordance correlation from summed `ccc_rows` [..., 6]; NaN if both sides are constant and equal."""
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(totals), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my = x / n, y / n
        return 2 * (xy / n - mx * my) / ((xx / n - mx**2) + (yy / n - my**2) + (mx - my) ** 2)


def ccc(x: ArrayLike, y: ArrayLike) -> float:
    """Concordance correlation coefficient, 2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2) (Lin 1989).

    Moments over n, not n - 1. Pairs with NaN are skipped; NaN without pairs or if all values are one constant.

    >>> round(ccc([1, 2, 3], [1, 2, 4]), 4)
    0.8571
    """
    return float(ccc_of(np.nansum(ccc_rows(x, y), axis=0)))


def r2_rows(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Columns [U, 1 + 3 K] whose totals `r2_of` takes: 1, then (y - q)^2, y and y^2 of each label, y = h / m."""
    q, y = as_distribution(q), as_distribution(counts)
    return np.column_stack([np.where(np.isnan(q + y).any(axis=1), np.nan, 1.0), (y - q) ** 2, y, y**2])


def r2_of(totals: np.ndarray) -> np.ndarray:
    """R² of each label over the rows, mean over the labels, from summed `r2_rows` [..., 1 + 3 K].

    R²_c = 1 - sum_u (y_uc - q_uc)^2 / sum_u (y_uc - mean y_c)^2, as scikit-learn's `r2_score` with "uniform_average":
    below 0 where the label's mean would predict better, and for a label whose share is the same in all rows 1 if it
    is predicted without error and else 0.
    """
    totals = np.asarray(totals, dtype=np.float64)
    labels = (totals.shape[-1] - 1) // 3
    n, error = totals[..., :1], totals[..., 1 : 1 + labels]
    y, square = totals[..., 1 + labels : 1 + 2 * labels], totals[..., 1 + 2 * labels :]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = square - y**2 / n
        # rounding leaves about 1e-16 of the squares where all shares are one
        constant = spread <= 1e-12 * square
        by_label = np.where(constant, np.where(error > 0, 0.0, 1.0), 1 - error / np.where(constant, 1.0, spread))
    return by_label.mean(axis=-1)


def r2_by_class(q: ArrayLike, counts: ArrayLike) -> float:
    """`r2_of` the rows where both are defined; it depends on the number of votes behind the shares y.

    >>> r2_by_class([[1, 0], [0, 1]], [[3, 1], [1, 3]])  # error and spread are both 2 · .25²
    0.0
    """
    rows = r2_rows(q, counts)
    kept = ~np.isnan(rows).any(axis=1)
    return float(r2_of(rows[kept].sum(axis=0))) if kept.any() else float("nan")


def item_r2_rows(q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Squared Pearson correlation of the two distributions across the labels of one row, [U]: AER-LLM's "R2".

    Blind to scale and sign: (.6, .2, .2) and (.2, .4, .4) get 1. NaN where either side is uniform or undefined.
    """
    return by_blocks(_item_r2_rows, q, counts)


def _item_r2_rows(q: np.ndarray, counts: np.ndarray) -> np.ndarray:
    x, y = (rows - rows.mean(axis=-1, keepdims=True) for rows in (as_distribution(q), as_distribution(counts)))
    xx, yy = (x * x).sum(axis=-1), (y * y).sum(axis=-1)
    # rounding leaves about 1e-33 where a row is uniform
    varied = (xx > 1e-24) & (yy > 1e-24)
    return np.where(varied, (x * y).sum(axis=-1) ** 2 / np.where(varied, xx * yy, 1.0), np.nan)
