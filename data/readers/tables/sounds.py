"""Where the sounds of a table lie: named in a column, or found by the utterances' names."""

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ...arrow import pc
from ...errors import CorpusError
from ..base import Imported
from .sheets import plain_text

ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".avi", ".mp4", ".sph")
FOLDERS = ("", "audio", "audios", "Audios", "Audio", "wav", "wavs", "clips", "sounds", "recordings", "AudioWAV")


class Embedded(NamedTuple):
    """A sound that lies inside a table: the row that holds it, and the name that it had."""

    key: Any
    name: str | None


class SoundFinder:
    """Paths of sounds, absolute; files need not be there, since `serann corpus check` and annotation report that.

    A name is looked for in `folder` (the user's word), else beside the table, in the usual folders there.
    """

    def __init__(self, base: Path, folder: Path | None):
        self.folder = str(folder.resolve()) if folder is not None else None
        self.found = 0
        root = str(base.resolve())
        likely = [os.path.join(root, part) if part else root for part in FOLDERS]
        self._default = self.folder or root
        self._folders = [self.folder] if self.folder else [place for place in likely if os.path.isdir(place)]
        # One listing a folder instead of a question a file and ending: corpora have a hundred thousand files.
        self._names = {place: set(os.listdir(place)) for place in self._folders if os.path.isdir(place)}

    def named(self, name: str) -> str:
        """The path of a sound that a column names; addresses of remote sounds stay as they are."""
        if "://" in name and not name.startswith("file://"):
            return name
        name = os.path.expanduser(name.removeprefix("file://"))
        if "\\" in name and not any(os.path.isfile(os.path.join(place, name)) for place in self._folders):
            name = name.replace("\\", "/")  # a table made on Windows
        candidates = [os.path.join(place, name) for place in self._folders]
        if self.folder is not None:
            candidates.append(os.path.join(self.folder, os.path.basename(name)))
        default = candidates[-1] if os.path.isabs(name) and self.folder else os.path.join(self._default, name)
        for candidate in candidates or [default]:
            if os.path.isfile(candidate):
                self.found += 1
                return os.path.normpath(candidate)
        return os.path.normpath(default)

    def of(self, utterance: str, ending: str | None = None) -> str | None:
        """The path of an utterance's sound by its name; None where none is there and no folder was named."""
        endings = ENDINGS if ending is None else (ending, *ENDINGS)
        for place in self._folders:
            for end in endings:
                if utterance + end in self._names.get(place, ()) or self._deeper(place, utterance + end):
                    self.found += 1
                    return os.path.normpath(os.path.join(place, utterance + end))
        if self.folder is None:
            return None
        return os.path.normpath(os.path.join(self.folder, utterance + (ending or self._usual_ending)))

    @cached_property
    def _usual_ending(self) -> str:
        """The ending that most sounds of the user's folder have."""
        endings = Counter(split_ending(name)[1] for name in self._names.get(self.folder or "", ()))
        del endings[None]
        return max(ENDINGS, key=lambda end: endings[end])

    @staticmethod
    def _deeper(place: str, name: str) -> bool:
        return "/" in name and os.path.isfile(os.path.join(place, name))


def split_ending(name: str) -> tuple[str, str | None]:
    """A file's name without the ending of a sound, and that ending."""
    for end in ENDINGS:
        if name.lower().endswith(end) and len(name) > len(end):
            return name[: -len(end)], name[-len(end) :]
    return name, None


# --------------------
# Sounds that lie inside a dataset, as `datasets.Audio` stores them: found, named, and written out as they are.

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
