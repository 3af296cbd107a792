"""MSP-Podcast 2.0's labels_detailed_aggregated.csv: how many raters chose each emotion, without saying who."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..arrow import pc
from ..errors import CorpusError
from ..labels import LabelSet
from ..tables import PROBLEMS, from_rows, occurrence
from .msp import read_table
from .msp_detailed import Detailed, spell
from .records import distinct, numbers, stems

COUNT = "count::"
OTHERS = "num_other_annotations"
# More answers of one kind to one utterance than any release has: a broken number, not votes.
MOST = 1000


class Counts(NamedTuple):
    """The table as it stands: its records, their lines, and the lines that are no record."""

    file: str
    table: pa.Table
    lines: np.ndarray
    odd: pa.Table


def open_counts(path: Path) -> Counts:
    """Read the table; CorpusError where it is none of counts."""
    table, lines, odd = read_table(path)
    if "FileName" not in table.column_names or not any(name.startswith(COUNT) for name in table.column_names):
        raise CorpusError(
            f"{path}: expected FileName, {COUNT}<emotion>… and {OTHERS}; found {', '.join(table.column_names)}"
        )
    return Counts(path.name, table, lines, odd)


def read_aggregated(found: Counts, known: pa.Array, *, labels: LabelSet, aliases: Mapping[str, str]) -> Detailed:
    """Counts as anonymous votes: a count of n becomes n rows. `known` are the utterances that the release lists.

    A count that is no whole number from 0 to 1000 is a problem of one vote, for it says that there was one or more;
    so are the counts of an utterance that is listed twice or not at all, with as many votes as they say.
    """
    names = [name for name in found.table.column_names if name.startswith(COUNT) or name == OTHERS]
    utterance = distinct(found.table["FileName"], clean=stems)
    ids = utterance.column()
    twice = occurrence(utterance.codes) > 0
    listed = pc.is_in(ids, value_set=known).to_numpy(zero_copy_only=False) & ~utterance.says("")
    told: list[dict[str, Any]] = []

    def tell(row: int, reason: str, content: str, votes: int) -> None:
        where = {"file": found.file, "line": int(found.lines[row]) or None, "utterance_id": ids[row].as_py()}
        told.append({**where, "reason": reason, "content": content[:500], "votes": votes})

    counts = _counts(found.table, names, tell)
    votes_in = int(counts.sum()) + len(told) + found.odd.num_rows
    for row in np.flatnonzero(twice | ~listed).tolist():
        reason = "an utterance whose counts are listed already" if twice[row] else "the release does not list it"
        tell(row, reason, str(counts[row].tolist()), int(counts[row].sum()))
    counts[twice | ~listed] = 0
    problems = pa.concat_tables([from_rows(told, PROBLEMS), _with_votes(found.odd)])
    votes = _rows(ids, counts, [_label(name, labels, aliases) for name in names])
    return Detailed(votes, pa.table({}), problems, votes_in)


def _counts(table: pa.Table, names: list[str], tell: Callable[[int, str, str, int], None]) -> np.ndarray:
    """Whole counts [U, columns]; 0 where a cell is empty or, told, no count."""
    counts = np.zeros((table.num_rows, len(names)), dtype=np.int64)
    for i, name in enumerate(names):
        texts = distinct(table[name])
        values, strange = numbers(texts)
        strange |= (values != np.floor(values)) & ~np.isnan(values) | (values < 0) | (values > MOST)
        for row in np.flatnonzero(strange).tolist():
            tell(row, f"{name} is no count of answers", texts.texts[texts.codes[row]], 1)
        counts[:, i] = np.where(strange | np.isnan(values), 0, values)
    return counts


def _with_votes(odd: pa.Table) -> pa.Table:
    """Lines that cannot be read hold one vote at least."""
    return odd.set_column(odd.column_names.index("votes"), "votes", pa.repeat(pa.scalar(1, pa.int64()), odd.num_rows))


def _label(name: str, labels: LabelSet, aliases: Mapping[str, str]) -> tuple[str, str | None]:
    return ("other", None) if name == OTHERS else spell(name.removeprefix(COUNT), labels, aliases)


def _rows(ids: pa.Array, counts: np.ndarray, meanings: list[tuple[str, str | None]]) -> pa.Table:
    row, column = np.nonzero(counts)
    times = counts[row, column]
    column = pa.array(np.repeat(column, times))
    return pa.table(
        {
            "utterance_id": ids.take(pa.array(np.repeat(row, times))),
            "label": pa.array([label for label, _ in meanings], pa.string()).take(column),
            "text": pa.array([text for _, text in meanings], pa.string()).take(column),
        }
    )
