"""A corpus's votes in another label set, with how many of them each merge and each drop touched."""

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from .labels import LabelMap
from .policies import OUTSIDE

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


class Mapped(NamedTuple):
    """Tables in the target set, and a row for each source label: its target (None: dropped), its votes, its kind.

    `kind` is `kept`, `merged` (several labels, or another name) or `dropped`.
    """

    utterances: pa.Table
    votes: pa.Table
    report: list[dict[str, Any]]


def map_votes(utterances: pa.Table, votes: pa.Table, to: LabelMap) -> Mapped:
    """Map labels of votes, and intended and consensus labels of utterances.

    A vote without a target abstains from then on, the reason saying what it was; so nothing is lost, and rules that
    leave such utterances out can see it. A label that merges into another keeps its own word in `text`. Two votes of
    one rater that fall together are numbered by `draw`.
    """
    counts = {row["values"]: row["counts"] for row in pc.value_counts(votes["label"]).to_pylist()}
    report = [_row(label, target, to, counts.get(label, 0)) for label, target in to.to.items()]
    old = votes["label"]
    new = _mapped(old, to)
    fell = pc.and_(pc.is_valid(old), pc.is_null(new))
    reason = pc.binary_join_element_wise(pa.scalar(OUTSIDE), old, ": ")
    renamed = pc.and_(pc.is_null(votes["text"]), pc.fill_null(pc.not_equal(old, new), False))
    votes = _with(votes, "reason", pc.if_else(fell, reason, votes["reason"]))
    votes = _with(votes, "text", pc.if_else(renamed, old, votes["text"]))
    votes = _with(votes, "label", new)
    utterances = _with(utterances, "intended", _mapped(utterances["intended"], to, keep=True))
    utterances = _with(utterances, "consensus", _mapped(utterances["consensus"], to, keep=True))
    return Mapped(utterances, _numbered(votes), report)


def _row(label: str, target: str | None, to: LabelMap, votes: int) -> dict[str, Any]:
    kind = "dropped" if target is None else "merged" if target in to.merges or target != label else "kept"
    return {"label": label, "target": target, "votes": int(votes), "kind": kind}


def _mapped(column: pa.ChunkedArray, to: LabelMap, *, keep: bool = False) -> pa.ChunkedArray:
    """The column in the target set; what is no label of the source stays where `keep` says so."""
    place = pc.index_in(column, value_set=pa.array(list(to.to)))
    found = pc.take(pa.array(list(to.to.values()), pa.string()), place)
    return pc.if_else(pc.is_null(place), column, found) if keep else found


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _numbered(votes: pa.Table) -> pa.Table:
    """Number a rater's votes of one utterance, rank and label, so that each row has a key of its own."""
    key = ["utterance_id", "rater_id", "rank", "label"]
    counts = votes.filter(pc.is_valid(votes["rater_id"])).group_by(key).aggregate([([], "count_all")])
    if not counts.num_rows or pc.max(counts["count_all"]).as_py() == 1:
        return votes
    seen: dict[tuple[Any, ...], int] = {}
    draws = []
    for row in zip(*(votes[name].to_pylist() for name in (*key, "draw")), strict=True):
        if row[1] is None:
            draws.append(row[4])
            continue
        draws.append(seen.get(row[:4], 0))
        seen[row[:4]] = draws[-1] + 1
    return _with(votes, "draw", pa.array(draws, pa.int32()))
