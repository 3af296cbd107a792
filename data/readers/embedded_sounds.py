"""Sounds that lie inside a dataset, as `datasets.Audio` stores them: found, named, and written out as they are."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..arrow import pc
from ..errors import CorpusError
from .base import Imported
from .sounds import Embedded, split_ending
from .tables.sheets import plain_text

BATCH = 64
# What a file's first bytes say of its kind, for sounds whose name says nothing.
KINDS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3\x03": ".mp3", b"ID3\x04": ".mp3"}
# A column of sounds, a few rows at a time: a dataset's sounds may be more than memory holds.
Chunks = Callable[[], Iterable[pa.Array]]


def is_sound(kind: pa.DataType) -> bool:
    """Whether a column is stored as `datasets.Audio` is: bytes, or a path."""
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def parquet_chunks(path: Path, column: str) -> Iterator[pa.Array]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH, columns=[column]):
            yield batch.column(0)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{path}: its sounds cannot be read ({error}); copy or download it again") from None


def sound_cells(chunks: Chunks) -> list[Any]:
    """Each row's sound: a path as it stands, what finds the bytes, or None."""
    cells: list[Any] = []
    for chunk in chunks():
        held = pc.is_valid(pc.struct_field(chunk, "bytes")).to_pylist()
        paths = pc.struct_field(chunk, "path").to_pylist()
        start = len(cells)
        cells += [
            Embedded((chunks, start + row), path) if inside else path
            for row, (inside, path) in enumerate(zip(held, paths, strict=True))
        ]
    return cells


def with_sounds(imported: Imported, embedded: Mapping[str, Embedded]) -> Imported:
    """Name files under audio/ for the sounds inside the dataset, with their seconds, and write them when asked to."""
    import soundfile

    files: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for utterance, data in _bytes_of(embedded):
        files[utterance] = f"audio/{len(files):06d}-{_file_name(utterance, embedded[utterance], data)}"
        try:
            seconds[utterance] = soundfile.info(io.BytesIO(data)).duration
        except (soundfile.SoundFileError, RuntimeError):
            continue  # `serann corpus check` says what is wrong with it
    table = imported.utterances
    ids = table["utterance_id"].to_pylist()
    for name, values in (("audio", files), ("duration", seconds)):
        place = table.column_names.index(name)
        there = table[name].to_pylist()
        filled = [values.get(i) if old is None else old for i, old in zip(ids, there, strict=True)]
        table = table.set_column(place, name, pa.array(filled, table.schema.field(name).type))

    def write(corpus: Path) -> None:
        (corpus / "audio").mkdir(exist_ok=True)
        for utterance, data in _bytes_of(embedded):
            (corpus / files[utterance]).write_bytes(data)

    note = f"{len(files)} sounds lie inside the dataset; they are written to the corpus's folder audio/"
    return replace(imported, utterances=table, extra=write, notes=(*imported.notes, note))


def _bytes_of(embedded: Mapping[str, Embedded]) -> Iterator[tuple[str, bytes]]:
    """Every utterance's bytes, in the order in which the files hold them."""
    wanted: dict[Chunks, dict[int, str]] = {}
    for utterance, cell in embedded.items():
        chunks, row = cell.key
        wanted.setdefault(chunks, {})[row] = utterance
    for chunks, rows in wanted.items():
        place = 0
        for chunk in chunks():
            sounds = pc.struct_field(chunk, "bytes")
            for row in range(len(chunk)):
                if place + row in rows:
                    yield rows[place + row], sounds[row].as_py()
            place += len(chunk)


def _file_name(utterance: str, cell: Embedded, data: bytes) -> str:
    """A file's name that any system takes: the utterance's, with the ending of the sound's own name or kind."""
    ending = split_ending(cell.name or "")[1] or KINDS.get(data[:4], ".bin")
    return re.sub(r"[^\w.-]+", "_", plain_text(utterance))[:80] + ending
