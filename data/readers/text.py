"""Text files as they come: encodings, byte-order marks, line ends, quoted commas, and what is no text at all."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..audio import LFS_MARK
from ..errors import CorpusError

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
