"""Tables of any kind as sheets of rows: CSV, TSV, JSONL, JSON and Parquet; what cannot be read is kept aside."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ...arrow import pc
from ...audio import LFS_MARK
from ...errors import CorpusError, OptionError, few

# --------------------
# Text files as they come: encodings, byte-order marks, line ends, quoted commas, and what is no text at all.

# A field of a released table never comes near this; the standard library's own limit would end in a traceback.
csv.field_size_limit(1 << 30)


class Row(NamedTuple):
    """One line of a table: its number in the file (the header is 1) and its fields by column."""

    line: int
    fields: dict[str, str]
    content: str


def read_text(path: Path, *, encodings: Sequence[str] = ("utf-8-sig", "cp1252")) -> str:
    """The file's text, line ends as \\n; the first encoding that fits, the last one taken with replacement characters.

    Raises `CorpusError` for a file that is missing, empty, a Git-LFS pointer, or holds zero bytes (no text).
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"{path} is missing") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
    if not data.strip():
        raise CorpusError(f"{path} is empty; copy or download it again")
    if data.startswith(LFS_MARK):
        raise CorpusError(f"{path} is a Git-LFS pointer, not the file itself; fetch it with: git lfs pull")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    elif b"\0" in data:
        raise CorpusError(f"{path} is not text (it holds zero bytes); copy or download it again")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = data.decode(encodings[-1], errors="replace")
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines from 1, without their ends."""
    yield from enumerate(text.split("\n"), start=1)


def read_csv(
    path: Path, *, encodings: Sequence[str] = ("utf-8-sig", "cp1252"), delimiter: str = ","
) -> tuple[list[str], list[Row], list[Row]]:
    """Header, rows, and the rows that have another number of fields than the header (their fields as far as they go).

    Quoted fields may hold delimiters and line ends. Header names are stripped; a blank line is no row.
    """
    reader = csv.reader(io.StringIO(read_text(path, encodings=encodings), newline=""), delimiter=delimiter)
    header: list[str] | None = None
    rows: list[Row] = []
    odd: list[Row] = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        if header is None:
            header = [value.strip() for value in values]
            continue
        row = Row(reader.line_num, dict(zip(header, values, strict=False)), delimiter.join(values))
        (rows if len(values) == len(header) else odd).append(row)
    if header is None:
        raise CorpusError(f"{path} holds no line; copy or download it again")
    return header, rows, odd


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
        raise CorpusError(f"{path}: column {few([repr(name) for name in doubled])} appears twice; rename one of them")
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
        raise OptionError(f"{sheet.file}: the columns {few(nested, 20)} all hold lists of objects; keep one of them")
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


# --------------------
# Large tables of text, one record a line, read in columns: no Python a row, and every line that is no record is named.
#
# Python's csv module needs seconds a million rows and lets a lost quote swallow the lines behind it; here a line that
# is not a record of the header's length stays a line of its own, with its number.

# A quoted field, or one that does not begin with a quote; what pyarrow's parser takes for one field of one line.
FIELD = r'(?:"(?:[^"\n]|"")*"|(?:[^",\n][^,\n]*)?)'


class Records(NamedTuple):
    """A table's records as columns of text, their line numbers (the header is 1), and the lines that are no record."""

    table: pa.Table
    lines: np.ndarray
    odd: pa.Table


def read_lines(path: Path) -> tuple[list[str], pa.LargeStringArray]:
    """The header's names, and every line of the file with its end (the header's among them).

    Raises CorpusError for what is no text, and for a header that names a column twice or that has hundreds of columns.
    """
    text = read_text(path)
    first = next((line for line in io.StringIO(text) if line.strip()), None)
    if first is None:
        raise CorpusError(f"{path} holds no line; copy or download it again")
    header = [name.strip() for name in next(csv.reader([first]))]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or len(header) > 200:
        found = f"names {few([repr(name) for name in twice])} twice" if twice else f"has {len(header)} columns"
        raise CorpusError(f"{path}: the header {found}; copy or download it again")
    data = text.encode() if text.endswith("\n") else text.encode() + b"\n"
    # The lines lie in the file's own text: a million of them as Python's would need twice its memory.
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    return header, pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(starts), pa.py_buffer(data))


def parse_records(header: Sequence[str], lines: pa.LargeStringArray) -> Records:
    """Divide the lines behind the header into fields; blank lines are none."""
    filled = pc.match_substring_regex(lines, r"\S").to_numpy(zero_copy_only=False)
    filled[int(np.argmax(filled))] = False  # the header
    fits = pc.match_substring_regex(lines, "^" + ",".join([FIELD] * len(header)) + "\n$")
    fits = fits.to_numpy(zero_copy_only=False)
    good, bad = np.flatnonzero(filled & fits), np.flatnonzero(filled & ~fits)
    table = _parse(header, lines.take(pa.array(good)))
    if table.num_rows != len(good):  # a fault of ours: FIELD is what the parser takes for a field
        raise AssertionError(f"{len(good)} lines became {table.num_rows} records")
    content = pc.utf8_rtrim_whitespace(lines.take(pa.array(bad))).cast(pa.string())
    return Records(table, good + 1, pa.table({"line": pa.array(bad + 1), "content": content}))


def _parse(header: Sequence[str], lines: pa.LargeStringArray) -> pa.Table:
    if not len(lines):
        return pa.table([pa.array([], pa.string())] * len(header), names=list(header))
    names = [f"column {i}" for i in range(len(header))]  # names of our own, for a header may leave one blank
    table = pyarrow.csv.read_csv(
        pa.BufferReader(lines.buffers()[2]),
        # A record may not be longer than a block.
        read_options=pyarrow.csv.ReadOptions(
            column_names=names, block_size=max(1 << 24, 2 * int(pc.max(pc.binary_length(lines)).as_py()))
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=False, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=False
        ),
    )
    return table.rename_columns(list(header))


@dataclass(frozen=True)
class Distinct:
    """A column of text as codes [N] (int32) into its distinct texts."""

    codes: np.ndarray
    array: pa.StringArray

    @cached_property
    def texts(self) -> list[str]:
        """The distinct texts, each once."""
        return self.array.to_pylist()

    def column(self, *, blank: str | None = "") -> pa.StringArray:
        """Every row's text, `blank` where there is none."""
        array = self.array if blank == "" else pc.if_else(pc.equal(self.array, ""), blank, self.array)
        return array.take(pa.array(self.codes))

    def says(self, text: str) -> np.ndarray:
        """A mask [N] of the rows with that text."""
        return pc.equal(self.array, text).to_numpy(zero_copy_only=False).astype(bool)[self.codes]


def distinct(
    column: pa.ChunkedArray | pa.Array, *, clean: Callable[[pa.Array], pa.Array] = pc.utf8_trim_whitespace
) -> Distinct:
    """The column's distinct texts, `clean`ed, in order of appearance, and each row's; null is ''."""
    encoded = pc.dictionary_encode(pc.fill_null(column, ""))
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
            return Distinct(np.zeros(0, np.int32), pa.array([], pa.string()))
    cleaned = pc.dictionary_encode(clean(encoded.dictionary))
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return Distinct(cleaned.indices.to_numpy(zero_copy_only=False)[codes], cleaned.dictionary)


def stems(names: pa.Array) -> pa.Array:
    """The ids of utterances that are named by their files: without folder and `.wav`.

    >>> stems(pa.array([" sounds/MSP-PODCAST_0001_0008.wav"])).to_pylist()
    ['MSP-PODCAST_0001_0008']
    """
    files = pc.replace_substring_regex(pc.utf8_trim_whitespace(names), r"(?s)^.*[/\\]", "")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(files, r"(?i)\.wav$", ""))


def each(found: Distinct, read: Callable[[str], str | None]) -> pa.Array:
    """A column of what every distinct text reads as; null where `read` gives None."""
    return pa.array([read(text) for text in found.texts], pa.string()).take(pa.array(found.codes))


def numbers(found: Distinct) -> tuple[np.ndarray, np.ndarray]:
    """The column's numbers [N], NaN where the text is empty or says NaN, and a mask [N] of the texts that are none."""
    values, strange = np.full(len(found.texts), np.nan), np.zeros(len(found.texts), dtype=bool)
    for i, text in enumerate(found.texts):
        try:
            values[i] = float(text) if text else np.nan
        except ValueError:
            strange[i] = True
    strange |= np.isinf(values)
    values[strange] = np.nan
    return values[found.codes], strange[found.codes]
