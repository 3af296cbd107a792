"""Tables of any kind as sheets of rows: CSV, TSV, JSONL, JSON and Parquet; what cannot be read is kept aside."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...audio import LFS_MARK
from ...errors import CorpusError, OptionError
from ..text import read_text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its number in the file (a header is 1), its fields by column, and why it cannot be read, if so."""

    number: int
    fields: Mapping[str, Any]
    broken: str | None = None
    content: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file's name, its columns and its rows."""

    file: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def read_sheet(path: Path) -> Sheet:
    """The table in a file, by the file's ending.

    Raises `CorpusError` for a file that is missing, empty, a Git-LFS pointer or not what its ending says, and for a
    column that appears twice.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path} is no table that serann reads; expected a file ending in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        sheet = from_arrow(read_parquet(path), path.name)
    elif suffix in (".csv", ".tsv"):
        sheet = _delimited(path)
    else:
        sheet = _json(path)
    names = sheet.columns
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise CorpusError(f"{path}: column {', '.join(map(repr, doubled))} appears twice; rename one of them")
    if not sheet.lines:
        raise CorpusError(f"{path} holds no row below its header; copy or download it again")
    return sheet


def parquet_schema(path: Path) -> pa.Schema:
    """A Parquet file's columns; `CorpusError` where it is none."""
    return _open_parquet(path).schema_arrow


def read_parquet(path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file's table, or some columns of it; `CorpusError` where it is none."""
    try:
        return _open_parquet(path).read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(path, error) from None


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        with path.open("rb") as file:
            if file.read(len(LFS_MARK)) == LFS_MARK:
                raise CorpusError(f"{path} is a Git-LFS pointer, not the file itself; fetch it with: git lfs pull")
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise CorpusError(f"{path} is missing") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path} cannot be read as Parquet ({error}); copy or download it again")


def from_arrow(table: pa.Table, file: str, *, start: int = 1) -> Sheet:
    """An Arrow table as a sheet, its rows numbered from `start`."""
    try:
        rows = table.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise CorpusError(f"{file}: its values cannot be read ({error}); copy or download it again") from None
    lines = tuple(Line(number, row) for number, row in enumerate(rows, start=start))
    return Sheet(file, tuple(table.column_names), lines)


def _delimited(path: Path) -> Sheet:
    text = read_text(path)
    head = text.lstrip("\n").split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] | None = None
    lines = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        if header is None:
            # pandas writes an index column without a name; it has no meaning of its own.
            header = [value.strip() or f"column {place}" for place, value in enumerate(values, start=1)]
            continue
        lines.append(_line(reader.line_num, header, values, delimiter))
    return Sheet(path.name, tuple(header or ()), tuple(lines))


def _line(number: int, header: Sequence[str], values: Sequence[str], delimiter: str) -> Line:
    fields = dict(zip(header, values, strict=False))
    content = delimiter.join(values)
    broken = None
    if len(values) != len(header):
        broken = f"{len(values)} fields where the header has {len(header)}"
    return Line(number, fields, broken, content)


def _json(path: Path) -> Sheet:
    """JSON lines, or one array of objects."""
    text = read_text(path)
    if path.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path} is no valid JSON ({error}); copy or download it again") from None
        if not isinstance(rows, list):
            raise CorpusError(f"{path}: expected an array of objects, one a row, found {_kind(rows)}")
        lines = [_object(number, plain_json(row), str(plain_json(row))) for number, row in enumerate(rows, start=1)]
    else:
        lines = [_parsed(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    names = dict.fromkeys(name for line in lines for name in line.fields)
    if not names:
        raise CorpusError(f"{path}: no line of it is a JSON object; expected one object a line, as in JSON lines")
    return Sheet(path.name, tuple(names), tuple(lines))


def _parsed(number: int, text: str) -> Line:
    try:
        return _object(number, plain_json(json.loads(text)), text)
    except (ValueError, RecursionError) as error:
        return Line(number, {}, f"no valid JSON ({str(error)[:80]})", text)


def _object(number: int, row: Any, text: str) -> Line:
    if not isinstance(row, dict):
        return Line(number, {}, f"{_kind(row)} where an object was expected", text)
    return Line(number, row, None, text)


def _kind(value: Any) -> str:
    return {list: "an array", dict: "an object", str: "a text", type(None): "null"}.get(type(value), "a number")


def unnest(sheet: Sheet) -> Sheet:
    """Spread a column that holds a list of objects (votes within their utterance) over one row an object.

    An utterance whose list is empty keeps its row. `OptionError` where two columns hold such lists.
    """
    nested = [name for name in sheet.columns if any(_objects(line.fields.get(name)) for line in sheet.lines)]
    if not nested:
        return sheet
    if len(nested) > 1:
        raise OptionError(f"{sheet.file}: the columns {', '.join(nested)} all hold lists of objects; keep one of them")
    (name,) = nested
    lines: list[Line] = []
    for line in sheet.lines:
        rest = {key: value for key, value in line.fields.items() if key != name}
        inner = line.fields.get(name)
        items = inner if isinstance(inner, list) and all(isinstance(item, dict) for item in inner) else []
        if inner and not items:
            lines.append(replace(line, broken=f"{name} is no list of objects here"))
        lines += [replace(line, fields={**rest, **item}) for item in items] or (
            [] if inner else [replace(line, fields=rest)]
        )
    inner_names = dict.fromkeys(key for line in lines for key in line.fields)
    return Sheet(sheet.file, tuple(inner_names), tuple(lines))


def _objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def plain_text(text: str) -> str:
    """The text without what no table can hold: zero characters and halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def plain_json(value: Any) -> Any:
    """What JSON held, its texts without what no table can hold."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    if isinstance(value, dict):
        return {plain_text(key): plain_json(item) for key, item in value.items()}
    return value


def text_of(value: Any) -> str | None:
    """A cell's text, stripped; None for an empty one, for null and for NaN. Whole numbers have no decimals."""
    if type(value) is str:  # by far the most cells
        text = plain_text(value.strip())
        return None if text in ("", "nan", "NaN") else text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = plain_text(str(value)).strip()
    return None if text in ("", "nan", "NaN") else text


def number_of(value: Any) -> float | None:
    """A cell's number, None for an empty cell; `ValueError` for what is none (and for infinities)."""
    text = text_of(value)
    if text is None:
        return None
    if isinstance(value, bool):
        return float(value)
    number = float({"true": "1", "false": "0"}.get(text.casefold(), text))
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def tokens_of(value: Any, separator: str | None = None) -> list[str]:
    """The labels in a cell: a list's items, or a text's parts between `separator` (`;` and `|` where none is said)."""
    if isinstance(value, list | tuple):
        return [text for item in value if (text := text_of(item)) is not None]
    text = text_of(value)
    if text is None:
        return []
    parts: Iterator[str] = iter(text.replace("|", ";").split(";") if separator is None else text.split(separator))
    return [part.strip() for part in parts if part.strip()]
