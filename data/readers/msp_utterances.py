"""MSP-Podcast's utterances: published labels, splits, speakers, sounds and texts."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..arrow import pc
from ..errors import CorpusError, LabelError
from ..labels import LabelSet
from ..tables import PROBLEMS, UTTERANCES, from_rows, occurrence, validate
from .msp_detailed import DIMENSIONS
from .records import Distinct, distinct, each, numbers, stems
from .text import read_text

GENDERS = {"female": "female", "f": "female", "male": "male", "m": "male"}
SPLITS = {
    "train": "train",
    "training": "train",
    "development": "development",
    "dev": "development",
    "validation": "development",
    "test": "test",
    **{f"test{i}": f"test{i}" for i in (1, 2, 3)},
}
NO_AGREEMENT = "x"


def split_of(text: str) -> str | None:
    """The split that a release's word names, whatever its case; None where it names none."""
    return SPLITS.get(re.sub(r"[\s_-]", "", text.casefold()))


def known_or_none(text: str) -> str | None:
    """A speaker's id; None for an unknown one."""
    return None if not text or text.casefold() in {"unknown", "nan"} else text


def consensus_utterances(
    table: pa.Table, lines: np.ndarray, *, file: str, labels: LabelSet
) -> tuple[pa.Table, pa.Table, tuple[str, ...]]:
    """The utterances of a table of consensus labels, the problems in it, and notes.

    A second row of an utterance, a code that is none of the release's, and a number that is none are problems; the
    first row stays, the code is kept, the number is null.
    """
    if "FileName" not in table.column_names:
        raise CorpusError(f"{file}: no column FileName; found {', '.join(table.column_names) or 'none'}")
    told: list[dict[str, Any]] = []
    found = distinct(table["FileName"], clean=stems)
    ids = found.column()

    def tell(rows: np.ndarray, reason: str, content: pa.Array | None = None) -> None:
        for row in np.flatnonzero(rows).tolist():
            text = content[row].as_py() if content is not None else ""
            line = int(lines[row]) or None
            told.append({"file": file, "line": line, "utterance_id": ids[row].as_py(), "reason": reason})
            told[-1] |= {"content": (text or "")[:500], "votes": 0}

    nameless = found.says("")
    tell(nameless, "a row that names no utterance")
    again = occurrence(found.codes) > 0
    tell(again & ~nameless, "an utterance that is listed already")
    columns: dict[str, Any] = {"utterance_id": ids}
    columns |= _classes(table, labels, tell)
    for name, dimension in zip(("EmoAct", "EmoVal", "EmoDom"), DIMENSIONS, strict=True):
        if name in table.column_names:
            texts = distinct(table[name])
            values, strange = numbers(texts)
            tell(strange, f"{name} is no number", texts.column())
            columns[f"consensus_{dimension}"] = pa.array(values, mask=np.isnan(values))
    notes = _people(table, columns)
    kept = pa.table(columns).filter(pa.array(~again & ~nameless)).sort_by("utterance_id")
    return validate(kept, UTTERANCES), from_rows(told, PROBLEMS), notes


def _classes(table: pa.Table, labels: LabelSet, tell: Callable[..., None]) -> dict[str, pa.Array]:
    if "EmoClass" not in table.column_names:
        return {}
    codes = distinct(table["EmoClass"])
    strange: set[int] = set()

    def label(i: int, code: str) -> str | None:
        if not code or code.casefold() in {NO_AGREEMENT, "nan"}:
            return None
        try:
            return labels.canonical(code)
        except LabelError:
            strange.add(i)
            return None

    names = pa.array([label(i, code) for i, code in enumerate(codes.texts)], pa.string())
    texts = codes.column(blank=None)
    tell(np.isin(codes.codes, list(strange)), "EmoClass is none of the release's codes", texts)
    return {"consensus": names.take(pa.array(codes.codes)), "consensus_code": texts}


def _people(table: pa.Table, columns: dict[str, Any]) -> tuple[str, ...]:
    """Add speaker, gender and split; a note names the splits that are none."""
    notes: tuple[str, ...] = ()
    if "SpkrID" in table.column_names:
        columns["speaker"] = each(distinct(table["SpkrID"]), known_or_none)
    if "Gender" in table.column_names:
        columns["gender"] = each(distinct(table["Gender"]), lambda text: GENDERS.get(text.casefold()))
    if "Split_Set" in table.column_names:
        found: Distinct = distinct(table["Split_Set"])
        columns["split"] = each(found, split_of)
        strange = [text for text in found.texts if text and split_of(text) is None]
        if strange:
            named = ", ".join(map(repr, strange[:5]))
            notes = (f"Split_Set says {named} of some utterances, which is no split that is known: theirs is null",)
    return notes


def named_utterances(names: pa.ChunkedArray | pa.Array) -> pa.Table:
    """Utterances of which the name alone is known."""
    ids = sorted({text for text in distinct(names, clean=stems).texts if text})
    return validate(pa.table({"utterance_id": pa.array(ids, pa.string())}), UTTERANCES)


def with_partition(utterances: pa.Table, folder: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """Splits and speakers from Partition.txt and Speaker_ids.txt, where the release has no consensus table."""
    notes = []
    for name, column, read in (
        ("Partition.txt", "split", split_of),
        ("Speaker_ids.txt", "speaker", known_or_none),
    ):
        path = folder / name
        if not path.is_file():
            continue
        found = _beside_names(read_text(path), read)
        values = pa.array([found.get(i) for i in utterances["utterance_id"].to_pylist()], pa.string())
        place = utterances.column_names.index(column)
        utterances = utterances.set_column(place, column, values)
        notes.append(
            f"{column}s are from {name}, whose layout is unconfirmed: {len(values) - values.null_count} of "
            f"{len(values)} utterances have one"
        )
    return utterances, tuple(notes)


def _beside_names(text: str, read: Callable[[str], str | None]) -> Mapping[str, str]:
    """Of lines of fields between semicolons: the .wav file's name, and the first other field that can be read."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        fields = [field.strip() for field in line.split(";") if field.strip()]
        names = [field for field in fields if field.casefold().endswith(".wav")]
        values = [value for field in fields if field not in names and (value := read(field))]
        if len(names) == 1 and values:
            found.setdefault(names[0], values[0])
    return dict(zip(stems(pa.array(found, pa.string())).to_pylist(), found.values(), strict=True))


def with_audio(utterances: pa.Table, folder: Path | None) -> pa.Table:
    """Every utterance's sound where it lies, or should lie, in the folder; null without one."""
    if folder is None:
        return utterances
    place = str(folder.resolve())
    paths = pc.binary_join_element_wise(pa.scalar(place + os.sep), utterances["utterance_id"], ".wav", "")
    return utterances.set_column(utterances.column_names.index("audio"), "audio", paths)


def with_transcripts(utterances: pa.Table, folder: Path | None) -> pa.Table:
    """Every utterance's text from a file of its name in the folder; an empty or unreadable one is null."""
    if folder is None:
        return utterances
    there = {entry.name[:-4]: entry.path for entry in os.scandir(folder) if entry.name.endswith(".txt")}
    texts = [_transcript(there.get(name)) for name in utterances["utterance_id"].to_pylist()]
    place = utterances.column_names.index("transcript")
    return utterances.set_column(place, "transcript", pa.array(texts, pa.string()))


def _transcript(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return read_text(Path(path)).strip() or None
    except CorpusError:
        return None
