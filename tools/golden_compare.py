"""Two records beside each other: every difference, with the step, the file and what it is."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

MOST_LINES = 12
MOST_PLACES = 6
LONGEST = 160


class Difference(NamedTuple):
    """One difference: the step (with its command), the file of the record, and what differs."""

    step: str
    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.step}\n  {self.file}: {self.what}"


def compare(old: Path, new: Path, *, only: str = "") -> tuple[list[Difference], int, int]:
    """The differences of two records, and how many steps and files were compared."""
    steps = [step for step in _steps(old, new) if any(word in step for word in only.split(","))]
    found, files = [], 0
    for step in steps:
        names = sorted({name for record in (old, new) for name in _files(record / step)})
        files += len(names)
        told = f"{step}  {_command(old / step) or _command(new / step)}"
        found += [Difference(told, name, what) for name in names for what in of_file(old / step, new / step, name)]
    return found, len(steps), files


def _steps(*records: Path) -> list[str]:
    """The steps of both; where one is a record of some scenes alone, those of these."""
    steps = [{str(call.parent.relative_to(record)) for call in record.glob("*/*/call.json")} for record in records]
    scenes = set.intersection(*({step.split("/")[0] for step in found} for found in steps))
    whole = not any(json.loads((record / "record.json").read_text()).get("only") for record in records)
    return sorted(step for step in set.union(*steps) if whole or step.split("/")[0] in scenes)


def _files(step: Path) -> list[str]:
    return [str(path.relative_to(step)) for path in step.rglob("*") if path.is_file()]


def _command(step: Path) -> str:
    call = step / "call.json"
    return json.loads(call.read_text())["command"] if call.exists() else ""


def of_file(old: Path, new: Path, name: str) -> Iterator[str]:
    """What differs in one file of a step."""
    one, other = old / name, new / name
    if not (one.exists() and other.exists()):
        yield "only in the old record" if one.exists() else "only in the new record"
    elif one.read_bytes() != other.read_bytes():
        if name.endswith(".parquet"):
            yield from of_tables(pq.read_table(one), pq.read_table(other))
        elif name.endswith(".json"):
            documents = json.loads(one.read_text()), json.loads(other.read_text())
            yield from _first(of_documents(*documents), MOST_PLACES)
            yield from _of_order(*documents)
        else:
            yield of_texts(one.read_text(), other.read_text())


def of_texts(old: str, new: str) -> str:
    """A short unified diff."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "old", "new", n=1, lineterm=""))[2:]
    shown = [_short(line) for line in lines[:MOST_LINES]]
    more = [f"… and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
    return "\n    ".join(["text differs", *shown, *more])


def of_documents(old: Any, new: Any, place: str = "$") -> Iterator[str]:
    """Each place where two JSON documents differ; the order of keys apart."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_objects(old, new, place)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}: {len(old)} entries → {len(new)}"
        for i, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from of_documents(one, other, f"{place}[{i}]")
    elif not same(old, new):
        yield f"{place}: {_told(old)} → {_told(new)}"


def _of_objects(old: dict[str, Any], new: dict[str, Any], place: str) -> Iterator[str]:
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in new:
            yield f"{place}.{key} is gone: {_told(old[key])}"
        elif key not in old:
            yield f"{place}.{key} is new: {_told(new[key])}"
        else:
            yield from of_documents(old[key], new[key], f"{place}.{key}")


def _of_order(old: Any, new: Any) -> Iterator[str]:
    """How often keys stand in another order, in one line."""
    found = list(_reordered(old, new, "$"))
    if found:
        yield f"keys in another order at {len(found)} places, first {found[0]}"


def _reordered(old: Any, new: Any, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        one, other = [key for key in old if key in new], [key for key in new if key in old]
        if one != other:
            yield f"{place}: {_told(one)} → {_told(other)}"
        for key in one:
            yield from _reordered(old[key], new[key], f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for i, (part, its) in enumerate(zip(old, new, strict=False)):
            yield from _reordered(part, its, f"{place}[{i}]")


def of_tables(old: pa.Table, new: pa.Table) -> Iterator[str]:
    """What differs between two tables: rows, columns, their types, metadata, and values, column by column."""
    if old.num_rows != new.num_rows:
        yield f"{old.num_rows} rows → {new.num_rows}"
    if old.column_names != new.column_names:
        yield f"columns {', '.join(old.column_names)} → {', '.join(new.column_names)}"
    yield from _first(of_documents(_metadata(old), _metadata(new), "metadata"), MOST_PLACES)
    for name in old.column_names:
        if name in new.column_names:
            yield from _of_columns(old, new, name)


def _metadata(table: pa.Table) -> dict[str, Any]:
    return {key.decode(): _parsed(value.decode()) for key, value in (table.schema.metadata or {}).items()}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _of_columns(old: pa.Table, new: pa.Table, name: str) -> Iterator[str]:
    one, other = old.schema.field(name), new.schema.field(name)
    if not one.equals(other, check_metadata=True):
        yield f"column {name}: {_field(one)} → {_field(other)}"
    pairs = list(enumerate(zip(old[name].to_pylist(), new[name].to_pylist(), strict=False)))
    rows = [(row, *values) for row, values in pairs if not same(*values)]
    if rows:
        row, was, is_now = rows[0]
        yield f"column {name}: {len(rows)} of {len(pairs)} rows differ, first row {row}: {_told(was)} → {_told(is_now)}"


def _field(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}{f' {field.metadata}' if field.metadata else ''}"


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the last bit: NaN is itself, 1 is not 1.0, 0.0 is not -0.0."""
    return repr(one) == repr(other)


def _first(found: Iterator[str], most: int) -> Iterator[str]:
    listed = list(found)
    yield from listed[:most]
    if len(listed) > most:
        yield f"… and {len(listed) - most} more places"


def _told(value: Any) -> str:
    return _short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
