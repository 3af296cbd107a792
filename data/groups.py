"""Which utterances belong together: those of a speaker, else of a dialogue."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


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
