"""Large tables of text, one record a line, read in columns: no Python a row, and every line that is no record is named.

Python's csv module needs seconds a million rows and lets a lost quote swallow the lines behind it; here a line that is
not a record of the header's length stays a line of its own, with its number.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ..arrow import pc
from ..errors import CorpusError
from .text import read_text

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
        found = f"names {', '.join(map(repr, twice[:5]))} twice" if twice else f"has {len(header)} columns"
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
