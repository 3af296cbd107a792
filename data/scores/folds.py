"""Folds of whole groups (speakers) for cross-fitting: nobody is predicted by a fit to their own votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..seeds import uniforms


def group_codes(groups: Sequence[object] | np.ndarray) -> tuple[np.ndarray, int]:
    """Integer codes [U] in the order of the names' text, and the number of groups; missing names (None) are one."""
    place: dict[object, int] = {}
    given = np.fromiter((place.setdefault(g, len(place)) for g in groups), dtype=np.int64, count=len(groups))
    names = np.array(["" if g is None else f"={g}" for g in place], dtype=str)
    distinct, codes = np.unique(names, return_inverse=True)
    return codes.reshape(-1)[given], len(distinct)


def group_folds(groups: Sequence[object] | np.ndarray, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Fold of each row, int [U] in 0..F-1, with every group whole in one fold; F = min(folds, number of groups).

    Groups are taken from the largest down, equals in a seeded order, each into the fold with the fewest rows so far.
    A group's name and size decide, not the order of rows.
    """
    codes, size = group_codes(groups)
    names = [""] * size
    for code, name in zip(codes, groups, strict=True):
        names[code] = str(name)
    rows = np.bincount(codes, minlength=size)
    order = np.lexsort((uniforms(names, 1, "folds", seed)[:, 0], -rows))
    fold_of, filled = np.zeros(size, dtype=int), np.zeros(max(1, min(folds, size)))
    for group in order:
        fold_of[group] = int(np.argmin(filled))
        filled[fold_of[group]] += rows[group]
    return fold_of[codes]


def cross_fitted(folds: np.ndarray, fit: Callable[[np.ndarray], np.ndarray], *, width: int) -> np.ndarray:
    """Rows [U, width]: each fold's rows hold `fit(mask of all the other folds' rows)`, one vector a fold.

    With a single fold (one speaker) nothing is left to fit on: ValueError.
    """
    distinct = np.unique(folds)
    if len(distinct) < 2:
        raise ValueError("cross-fitting needs two folds, so two groups")
    fitted = np.empty((len(folds), width))
    for fold in distinct:
        fitted[folds == fold] = fit(folds != fold)
    return fitted
