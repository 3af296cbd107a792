"""Folds of whole groups (speakers) for cross-fitting: nobody is predicted by a fit to their own votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..arrow import pc
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


class Groups(NamedTuple):
    """Each utterance's group, int [U]; the groups' names in order, [G]; what a group is, in words."""

    codes: np.ndarray
    names: list[str]
    unit: str


def speaker_groups(utterances: pa.Table) -> Groups:
    """Group a table of utterances by speaker; those of an unknown speaker by dialogue, and without one singly.

    Names begin with what they name ("speaker 03", "dialogue Ses01F_impro01", "utterance u7"), and groups are ordered
    by them, so they do not depend on the order of rows.
    """
    kinds = {"speaker": "speaker", "dialogue": "dialogue", "utterance": "utterance_id"}
    columns = [utterances[column].combine_chunks() for column in kinds.values()]
    names = pc.coalesce(
        *(pc.binary_join_element_wise(k, c, " ") for k, c in zip(kinds, columns, strict=True))
    ).dictionary_encode()
    order = pc.sort_indices(names.dictionary).to_numpy(zero_copy_only=False)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    ordered = names.dictionary.take(pa.array(order)).to_pylist()
    found = [kind for kind in kinds if any(name.startswith(f"{kind} ") for name in ordered)]
    others = f" ({' or '.join(found[1:])} where unknown)" if len(found) > 1 else ""
    return Groups(rank[names.indices.to_numpy(zero_copy_only=False)], ordered, found[0] + others if found else "none")


def conversation_groups(utterances: pa.Table) -> Groups:
    """The groups of `speaker_groups`, joined where they speak in one dialogue (the two actors of an IEMOCAP session).

    A joined group has the name of its first member.
    """
    groups = speaker_groups(utterances)
    encoded = utterances["dialogue"].combine_chunks().dictionary_encode()
    dialogue = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    known = dialogue >= 0
    if not known.any():
        return groups
    size = len(groups.names)
    pairs = (groups.codes[known], size + dialogue[known])
    nodes = size + len(encoded.dictionary)
    graph = coo_array((np.ones(known.sum(), dtype=np.int8), pairs), shape=(nodes, nodes))
    member = connected_components(graph, directed=False)[1][:size]
    _, first, joined = np.unique(member, return_index=True, return_inverse=True)
    if len(first) == size:
        return groups
    rank = np.argsort(np.argsort(first))  # in the order of their first members' names
    names = [groups.names[i] for i in np.sort(first)]
    return Groups(rank[joined][groups.codes], names, f"{groups.unit}, joined by dialogues")
