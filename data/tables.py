"""The tables of serann: their columns in code, their check where they enter, and their Parquet files.

Every table is an Arrow table. Its Parquet schema carries, under the metadata key `serann`, the table's name, the
format, the label set with its order, and the provenance; the columns themselves are plain Arrow types, so that
`datasets`, pandas and duckdb read the files unchanged. Absence is null; a distribution that is not defined is a row
that is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .arrow import pc
from .errors import SerannError, TableError
from .files import atomic_file
from .labels import LabelSet
from .schemas import (
    ANSWERS,
    DIMENSIONS,
    DISTRIBUTIONS,
    FAILURES,
    LISTENERS,
    PARTS,
    PROBLEMS,
    RANKS,
    RATINGS,
    SCORES,
    SOURCES,
    UTTERANCES,
    VOTES,
    TableSpec,
)

# --------------------
# Rows told apart by several columns at once: a whole number per row, which is compared and sorted where text is not.


def row_keys(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return a code [N] a row, int64; equal exactly where all the columns are, nulls being equal to each other.

    >>> row_keys(pa.table({"a": ["x", "y", "x", None], "b": [1, 1, 1, 1]}), ["a", "b"]).tolist()
    [0, 1, 0, 2]
    """
    return combine(*(_codes(table[name]) for name in columns))


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    # Chunks of one column share their dictionary.
    parts = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    codes = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return codes, len(encoded.chunks[-1].dictionary) if parts else 1


def combine(*codes: tuple[np.ndarray, int]) -> np.ndarray:
    """Return one code [N] of several, each given with the number of its values; equal exactly where all of them are."""
    key, size = codes[0][0].astype(np.int64), codes[0][1]
    for further, count in codes[1:]:
        if size * count >= 1 << 62:
            found, key = np.unique(key, return_inverse=True)
            size = len(found)
        key, size = key * count + further, size * max(count, 1)
    return key


def occurrence(key: np.ndarray) -> np.ndarray:
    """Return how many equal keys stand before each, [N]: 0 for a first, 1 for a second one.

    >>> occurrence(np.array([7, 3, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    place = np.arange(len(key))
    first = np.ones(len(key), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    found = np.empty(len(key), dtype=np.int64)
    found[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return found


FORMAT = 1
METADATA_KEY = b"serann"
# A stored float32 distribution over up to a few dozen labels sums to one within this.
SUM_TOLERANCE = 1e-4


def from_rows(rows: Sequence[Mapping[str, Any]], spec: TableSpec, *, labels: LabelSet | None = None) -> pa.Table:
    """Build and validate a table from one mapping a row; columns that a row lacks take the spec's default, else null.

    Raises TableError listing every problem, rows counted from 1.
    """
    names = list(spec.columns)
    if spec.open:
        names += [name for name in dict.fromkeys(key for row in rows for key in row) if name not in spec.columns]
    unknown = sorted({key for row in rows for key in row} - set(names))
    if unknown:
        raise TableError(
            spec.name, [f"unknown column {name!r}; expected {', '.join(spec.columns)}" for name in unknown]
        )
    schema = spec.schema(labels)
    columns = {}
    for name in names:
        values = [row.get(name, spec.defaults.get(name)) for row in rows]
        columns[name] = _array(values, schema.field(name).type if name in spec.columns else None, name, spec.name)
    return validate(pa.table(columns), spec, labels=labels, where=spec.name)


def _array(values: list[Any], kind: pa.DataType | None, name: str, where: str) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableError(where, [f"column {name!r}: {error}"]) from None


def validate(table: pa.Table, spec: TableSpec, *, labels: LabelSet | None = None, where: str | None = None) -> pa.Table:
    """Return the table in the spec's columns and types, absent optional columns added as nulls; raise TableError
    otherwise.

    Every problem is collected: unknown or missing columns, types that do not cast, nulls where a value is required,
    doubled keys, values outside the choices, labels outside the set, distributions that are not. Votes of rank
    `primary` that abstain must give a reason.
    """
    where = where or spec.name
    problems = _column_problems(table, spec)
    if problems:
        raise TableError(where, problems)
    table, problems = _cast(table, spec, labels)
    if not problems:
        problems = [
            *_null_problems(table, spec),
            *_choice_problems(table, spec),
            *_label_problems(table, spec, labels),
            *_key_problems(table, spec),
            *_distribution_problems(table, spec),
        ]
    if problems:
        raise TableError(where, problems)
    return table


def _column_problems(table: pa.Table, spec: TableSpec) -> list[str]:
    names = table.column_names
    problems = [f"column {n!r} appears twice" for n in dict.fromkeys(names) if names.count(n) > 1]
    problems += [f"column {n!r} is missing" for n in spec.required if n not in names and n not in spec.defaults]
    if not spec.open:
        problems += [
            f"unknown column {n!r}; expected {', '.join(spec.columns)}" for n in names if n not in spec.columns
        ]
    return problems


def _cast(table: pa.Table, spec: TableSpec, labels: LabelSet | None) -> tuple[pa.Table, list[str]]:
    schema, problems, columns = spec.schema(labels), [], {}
    for name in spec.columns:
        kind = schema.field(name).type
        if name not in table.column_names:
            columns[name] = pa.repeat(pa.scalar(spec.defaults.get(name), kind), table.num_rows)
            continue
        try:
            columns[name] = table[name].cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problems.append(f"column {name!r}: expected {kind}, found {table[name].type} ({error})")
    columns |= {name: table[name] for name in table.column_names if name not in spec.columns}
    return (table, problems) if problems else (pa.table(columns), [])


def _rows(mask: pa.ChunkedArray | np.ndarray) -> np.ndarray:
    """Row numbers (from 0) at which a boolean column is true; null counts as false."""
    if not isinstance(mask, np.ndarray):
        mask = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return np.flatnonzero(mask)


def _null_problems(table: pa.Table, spec: TableSpec) -> list[str]:
    problems = [f"row {row + 1}: {name} is empty" for name in spec.required for row in _rows(pc.is_null(table[name]))]
    if spec is VOTES:
        silent = pc.and_(pc.is_null(table["label"]), pc.is_null(table["reason"]))
        problems += [f"row {row + 1}: a vote without a label must give the reason" for row in _rows(silent)]
    return problems


def _choice_problems(table: pa.Table, spec: TableSpec) -> list[str]:
    problems = []
    for name, choices in spec.choices.items():
        known = pc.or_kleene(pc.is_in(table[name], value_set=pa.array(choices)), pc.is_null(table[name]))
        problems += [
            f"row {row + 1}: {name} is {table[name][row].as_py()!r}; expected one of {', '.join(choices)}"
            for row in _rows(pc.invert(known))
        ]
    return problems


def _label_problems(table: pa.Table, spec: TableSpec, labels: LabelSet | None) -> list[str]:
    problems = []
    for name in spec.labelled if labels is not None else ():
        assert labels is not None
        known = pc.or_kleene(pc.is_in(table[name], value_set=pa.array(labels.labels)), pc.is_null(table[name]))
        problems += [
            f"row {row + 1}: unknown label {table[name][row].as_py()!r}; expected one of {', '.join(labels)}"
            for row in _rows(pc.invert(known))
        ]
    return problems


def _key_problems(table: pa.Table, spec: TableSpec) -> list[str]:
    """Rows that repeat a key. Votes and ratings without a rater are anonymous, and then any number may be equal."""
    if not spec.key:
        return []
    keyed = table.select(list(spec.key))
    if "rater_id" in spec.key and keyed["rater_id"].null_count:
        keyed = keyed.filter(pc.is_valid(keyed["rater_id"]))
    # A million votes are compared by number in a tenth of the time that grouping them by five texts takes.
    keys = np.sort(row_keys(keyed, spec.key))
    if not (keys[1:] == keys[:-1]).any():
        return []
    counts = keyed.group_by(list(spec.key)).aggregate([([], "count_all")])
    doubled = counts.filter(pc.greater(counts["count_all"], 1)).to_pylist()
    return [
        f"{row['count_all']} rows share the key " + ", ".join(f"{k}={row[k]!r}" for k in spec.key) for row in doubled
    ]


def _distribution_problems(table: pa.Table, spec: TableSpec) -> list[str]:
    problems = []
    for name in spec.distributions if table.num_rows else ():
        values = distribution_array(table[name])
        bad = np.isnan(values).any(axis=1)
        if name in spec.proper:
            bad |= (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE)
        what = (
            "is no distribution (negative, not a number, or not of sum 1)"
            if name in spec.proper
            else "holds no numbers"
        )
        problems += [
            f"row {row + 1}: {name} {what}: {np.round(values[row], 6).tolist()}" for row in np.flatnonzero(bad)
        ]
    return problems


def distribution_column(values: np.ndarray, *, kind: pa.DataType | None = None) -> pa.FixedSizeListArray:
    """Return an array [U, K] as a fixed-size list column of U rows (float64, or `kind`)."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()).cast(kind or pa.float64()), values.shape[1])


def distribution_array(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a fixed-size list column of U rows over K labels as float64 [U, K]."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # no chunk at all
            column = pa.array([], type=column.type)
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return values.reshape(len(column), column.type.list_size)


def write_table(
    table: pa.Table,
    path: str | Path,
    spec: TableSpec,
    *,
    labels: LabelSet | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Validate the table and write it to Parquet, atomically, with the label set and the provenance in its schema's
    metadata.
    """
    table = validate(table, spec, labels=labels, where=Path(path).name)
    described = {
        "table": spec.name,
        "format": FORMAT,
        "labels": labels.to_json() if labels else None,
        "provenance": dict(provenance or {}),
    }
    metadata = {METADATA_KEY: json.dumps(described, sort_keys=True).encode()}
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")


def read_table(path: str | Path, spec: TableSpec, *, labels: LabelSet | None = None) -> pa.Table:
    """Read and validate a Parquet table. The label set is the one in its metadata, and must equal `labels` where that
    is given.

    Raises TableError for a file that is absent, no Parquet, written by a newer serann, of another table or label set,
    or invalid.
    """
    path = Path(path)
    try:
        table = pq.ParquetFile(path, memory_map=True).read()
    except FileNotFoundError:
        raise TableError(str(path), [f"the {spec.name} table is not there"]) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(str(path), [f"cannot be read as Parquet: {error}"]) from None
    metadata = _metadata(table, path)
    if metadata.get("format", FORMAT) > FORMAT:
        raise TableError(
            str(path),
            [f"format {metadata['format']} was written by a newer serann; this one reads up to {FORMAT}: upgrade"],
        )
    if metadata.get("table", spec.name) != spec.name:
        raise TableError(str(path), [f"holds the table {metadata['table']!r}, expected {spec.name!r}"])
    stored = LabelSet.from_json(metadata["labels"]) if metadata.get("labels") else None
    if labels is not None and stored is not None and stored.labels != labels.labels:
        raise TableError(
            str(path), [f"its labels are {', '.join(stored)}; expected {', '.join(labels)}, in this order"]
        )
    checked = validate(table, spec, labels=labels or stored, where=str(path))
    return checked.replace_schema_metadata(table.schema.metadata)


def about_table(path: str | Path) -> dict[str, Any]:
    """What a Parquet file says of itself (`table`, `provenance`, …), its rows unread; nothing for any other file."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}"))
    except (pa.ArrowInvalid, OSError, ValueError):
        return {}


def _metadata(table: pa.Table, path: Path) -> dict[str, Any]:
    try:
        found = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    except json.JSONDecodeError as error:
        raise TableError(str(path), [f"its serann metadata is no valid JSON: {error}"]) from None
    return found


def table_labels(table: pa.Table) -> LabelSet:
    """Return the label set in a table's metadata; SerannError where it has none, for label order is never guessed."""
    described = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    if not described.get("labels"):
        raise SerannError("this table names no label set in its metadata; write it with serann, or name the label set")
    return LabelSet.from_json(described["labels"])


def table_provenance(table: pa.Table) -> dict[str, Any]:
    """Return the provenance in a table's metadata, empty where it has none."""
    return json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}")).get("provenance") or {}


__all__ = [
    "ANSWERS",
    "DIMENSIONS",
    "DISTRIBUTIONS",
    "FAILURES",
    "LISTENERS",
    "PARTS",
    "PROBLEMS",
    "RANKS",
    "RATINGS",
    "SCORES",
    "SOURCES",
    "UTTERANCES",
    "VOTES",
    "TableSpec",
    "distribution_array",
    "distribution_column",
    "from_rows",
    "read_table",
    "table_labels",
    "table_provenance",
    "validate",
    "write_table",
]


# --------------------
# The canonical JSON of tables, in pieces: what fingerprints are made of, without a Python object for every cell.

# Rows that are text at a time.
PIECE = 500_000


class _Column(NamedTuple):
    """A column as places among its `texts`, one a distinct value and null last; ranks sort as the values do."""

    texts: pa.Array
    place: np.ndarray
    rank: np.ndarray


def sorted_json(table: pa.Table) -> Iterator[bytes]:
    """The JSON of a table sorted by all its columns, `{"column":[…],…}`, names in order and without blanks.

    For columns of text and numbers. The same text as `data.files.fingerprint` makes of `table.sort_by(…).to_pydict()`,
    in half its time and without its gigabytes for millions of rows. ValueError for what JSON has no word for (NaN).
    """
    columns = {name: _encoded(table[name].combine_chunks()) for name in table.column_names}
    order = np.argsort(combine(*((c.rank, len(c.texts)) for c in columns.values())), kind="stable")
    for i, name in enumerate(sorted(columns)):
        yield f"{',' if i else '{'}{json.dumps(name, ensure_ascii=False)}:[".encode()
        texts, place = columns[name].texts, columns[name].place
        for start in range(0, len(order), PIECE):
            cells = texts.take(pa.array(place[order[start : start + PIECE]]))
            whole = pa.ListArray.from_arrays(pa.array([0, len(cells)], pa.int32()), cells)
            yield f"{',' if start else ''}{pc.binary_join(whole, ',')[0].as_py()}".encode()
        yield b"]"
    yield b"}"


def _encoded(column: pa.Array) -> _Column:
    # 0.0 and -0.0 are equal and have two texts: floats are told apart by their bits
    floating = pa.types.is_floating(column.type)
    encoded = (column.view(pa.int64()) if floating else column).dictionary_encode()
    values = encoded.dictionary.view(column.type) if floating else encoded.dictionary
    listed = values.to_pylist()
    write = encode_basestring if pa.types.is_string(column.type) else lambda value: json.dumps(value, allow_nan=False)
    place = pc.fill_null(encoded.indices, len(listed)).to_numpy(zero_copy_only=False)
    return _Column(pa.array([*map(write, listed), "null"]), place, np.append(_ranks(values), len(listed))[place])


def _ranks(values: pa.Array) -> np.ndarray:
    """Each value's rank among the values, int64; equal values share one."""
    if not pa.types.is_string(values.type):
        return np.unique(values.to_numpy(zero_copy_only=False), return_inverse=True)[1].reshape(-1)
    order = pc.sort_indices(values).to_numpy(zero_copy_only=False)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank
