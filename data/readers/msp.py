"""The files in which MSP-Podcast's releases keep their raters' answers, each as one table of answers.

Layouts: a column per question (1.6 and 2.0), one packed string an answer (1.7 to 1.12), the lines of labels.txt (1.0 to
1.5), and the JSON of 1.6.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..arrow import pc
from ..errors import CorpusError, LabelError, few
from ..labels import LabelSet
from ..tables import PROBLEMS, UTTERANCES, from_rows, occurrence, validate
from .tables.sheets import Distinct, distinct, each, numbers, parse_records, read_lines, read_text, stems

DIMENSIONS = ("arousal", "valence", "dominance")
# What an answer says, all as it stands in the file; `secondary` is a list between commas.
ANSWERS = ("utterance", "rater", "primary", "secondary", *DIMENSIONS)
# Words by which votes are seen in a line that cannot be read.
SEEN = (
    r"(?i)angry|frustrated|annoyed|dis+ap+ointed|\bsad\b|disgust|depressed|contempt|confused|concerned|fear|neutral"
    r"|surprise|amused|excited|happy|other"
)
# `WORKER00000123; Angry; Angry,Annoyed; A:5.0; V:2.0; D:4.0;`; the list may be absent, and is told by having no colon.
_ATTRIBUTES = r";\s*A:(?P<arousal>[^;]*);\s*V:(?P<valence>[^;]*);\s*D:(?P<dominance>[^;]*);?\s*$"
PACKED = r"^(?P<rater>[^;]*);(?P<primary>[^;]*)(?:;(?P<secondary>[^;:]*|[^;]*Other-[^;]*))?" + _ATTRIBUTES
HEADING = r"^(?P<FileName>[^;]+\.wav)\s*;(?P<EmoClass>[^;]*)" + _ATTRIBUTES
# The release's names of the questions.
QUESTIONS = {
    "FileName": "utterance",
    "Workers": "rater",
    "WorkerID": "rater",
    "EmoClass_Major": "primary",
    "EmoClass_Second": "secondary",
    "EmoAct": "arousal",
    "EmoVal": "valence",
    "EmoDom": "dominance",
}


class Answers(NamedTuple):
    """Answers as they stand (columns `ANSWERS`), the line of each (0 where there is none), and what cannot be read."""

    table: pa.Table
    lines: np.ndarray
    problems: pa.Table


def unread(file: str, lines: np.ndarray, contents: pa.Array, reason: str, *, votes: bool = True) -> pa.Table:
    """Problems of lines that cannot be read; the votes in one are the emotions that it names, one at least."""
    seen = pc.max_element_wise(pc.count_substring_regex(contents, SEEN), 1) if votes else pa.repeat(0, len(contents))
    columns = {
        "file": pa.repeat(file, len(contents)),
        "line": pa.array(lines, pa.int64()),
        "reason": pa.repeat(reason, len(contents)),
        "content": pc.utf8_slice_codeunits(contents, 0, 500),
        "votes": seen,
    }
    return validate(pa.table(columns), PROBLEMS)


def read_wide(path: Path, header: Sequence[str], lines: pa.Array) -> Answers:
    """A column per question, as `QUESTIONS` names them; further columns are left alone."""
    records = parse_records(header, lines)
    odd = unread(path.name, records.odd["line"].to_numpy(), _flat(records.odd["content"]), "not a record of the table")
    columns = {QUESTIONS[name]: records.table[name] for name in header if name in QUESTIONS}
    return Answers(_answers(columns, len(records.lines)), records.lines, odd)


def read_packed(path: Path, header: Sequence[str], lines: pa.Array) -> Answers:
    """Two columns, FileName and EmoDetail."""
    records = parse_records(header, lines)
    odd = unread(path.name, records.odd["line"].to_numpy(), _flat(records.odd["content"]), "not a record of the table")
    found, strange = _unpack(_flat(records.table["EmoDetail"]))
    good, bad = np.flatnonzero(~strange), np.flatnonzero(strange)
    columns = {"utterance": records.table["FileName"].take(pa.array(good)), **found}
    contents = _flat(records.table["EmoDetail"].take(pa.array(bad)))
    unpacked = unread(path.name, records.lines[bad], contents, "not an answer of rater; emotions; A; V; D")
    return Answers(_answers(columns, len(good)), records.lines[good], pa.concat_tables([odd, unpacked]))


def read_labels_txt(path: Path) -> tuple[Answers, pa.Table, np.ndarray]:
    """The blocks of labels.txt: the answers, and the heading of each block (as consensus columns) with its line.

    A block begins behind a blank line or at a line that names a .wav file. The answers below a first line that cannot
    be read are problems: whose they are is not known.
    """
    lines = pa.array(read_text(path).split("\n"), pa.string())
    filled = pc.match_substring_regex(lines, r"\S").to_numpy(zero_copy_only=False)
    named = pc.match_substring_regex(lines, r"(?i)^\s*[^;]+\.wav\s*(;|$)").to_numpy(zero_copy_only=False)
    after_blank = np.concatenate([[True], ~filled[:-1]])
    opens = filled & (after_blank | named)
    heading = pc.extract_regex(pc.utf8_trim_whitespace(lines), "(?i)" + HEADING)
    headed = pc.is_valid(heading).to_numpy(zero_copy_only=False) & opens
    block = np.maximum.accumulate(np.where(opens, np.arange(len(lines)), 0))
    below = filled & ~opens & headed[block]
    found, strange = _unpack(lines.take(pa.array(np.flatnonzero(below))))
    places = np.flatnonzero(below)
    good, bad = places[~strange], places[strange]
    names = pc.struct_field(heading, "FileName").take(pa.array(block[good]))
    lost, no_heading = np.flatnonzero(filled & ~opens & ~headed[block]), np.flatnonzero(opens & ~headed)
    told = (
        (bad, "not an answer of rater; emotions; A; V; D", True),
        (lost, "an answer below a line that names no utterance", True),
        (no_heading, "not a line of utterance; emotion; A; V; D", False),
    )
    problems = [
        unread(path.name, which + 1, lines.take(pa.array(which)), reason, votes=votes) for which, reason, votes in told
    ]
    heads = np.flatnonzero(headed)
    answers = Answers(_answers({"utterance": names, **found}, len(good)), good + 1, pa.concat_tables(problems))
    return answers, _headings(heading.take(pa.array(heads))), heads + 1


def _headings(heading: pa.StructArray) -> pa.Table:
    fields = {"FileName": "FileName", "EmoClass": "EmoClass", "EmoAct": "arousal", "EmoVal": "valence"}
    return pa.table({name: pc.struct_field(heading, of) for name, of in {**fields, "EmoDom": "dominance"}.items()})


def _unpack(packed: pa.Array) -> tuple[dict[str, pa.Array], np.ndarray]:
    """The fields of the strings that are answers, and a mask of those that are none."""
    fields = pc.extract_regex(packed, PACKED)
    strange = pc.is_null(fields).to_numpy(zero_copy_only=False)
    good = fields.take(pa.array(np.flatnonzero(~strange)))
    return {name: pc.struct_field(good, name) for name in ANSWERS if name != "utterance"}, strange


def _answers(columns: dict[str, Any], rows: int) -> pa.Table:
    return pa.table({name: columns[name] if name in columns else pa.repeat("", rows) for name in ANSWERS})


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    return flat if isinstance(flat, pa.Array) else pa.array([], column.type)


class Pairs(list):
    """A JSON object as it stands: a name that comes twice is not lost."""


def read_pairs(path: Path) -> Pairs:
    """A JSON file that holds one object; CorpusError where it does not."""
    try:
        found = json.loads(read_text(path), object_pairs_hook=Pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusError(f"{path}: no valid JSON ({error}); copy or download it again") from None
    if not isinstance(found, Pairs):
        raise CorpusError(f"{path}: expected a JSON object of utterances, found a {type(found).__name__}")
    return found


def read_detailed_json(path: Path) -> Answers:
    """{utterance: {rater: {question: answer}}}, the JSON of release 1.6."""
    rows: list[dict[str, str]] = []
    odd: list[dict[str, Any]] = []
    for utterance, raters in read_pairs(path):
        if not isinstance(raters, Pairs):
            odd.append(_odd_entry(path, utterance, raters))
            continue
        for rater, answer in raters:
            if not isinstance(answer, Pairs):
                odd.append(_odd_entry(path, utterance, answer))
                continue
            row = {QUESTIONS[name]: _text(value) for name, value in answer if name in QUESTIONS}
            rows.append({**row, "utterance": utterance, "rater": rater})
    columns = {name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in ANSWERS}
    return Answers(pa.table(columns), np.zeros(len(rows), np.int64), from_rows(odd, PROBLEMS))


def _odd_entry(path: Path, utterance: str, found: Any) -> dict[str, Any]:
    content = json.dumps(found)
    votes = int(pc.max_element_wise(pc.count_substring_regex(pa.scalar(content), SEEN), 1).as_py())
    reason = "not an answer of questions and answers"
    return {"file": path.name, "utterance_id": utterance, "reason": reason, "content": content[:500], "votes": votes}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return "" if value is None else str(value)


def read_table(path: Path) -> tuple[pa.Table, np.ndarray, pa.Table]:
    """A table of text without votes (the consensus): its records, their lines, and the lines that are none."""
    if path.suffix == ".json":
        entries = read_pairs(path)
        rows = [{**dict(row), "FileName": name} for name, row in entries if isinstance(row, Pairs)]
        odd = [{**_odd_entry(path, name, row), "votes": 0} for name, row in entries if not isinstance(row, Pairs)]
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["FileName"]
        columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in names}
        return pa.table(columns), np.zeros(len(rows), np.int64), from_rows(odd, PROBLEMS)
    header, lines = read_lines(path)
    records = parse_records(header, lines)
    content = _flat(records.odd["content"])
    odd = unread(path.name, records.odd["line"].to_numpy(), content, "not a record of the table", votes=False)
    return records.table, records.lines, odd


# --------------------
# MSP-Podcast's utterances: published labels, splits, speakers, sounds and texts.

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
        raise CorpusError(f"{file}: no column FileName; found {few(table.column_names, 20) or 'none'}")
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
            named = few([repr(text) for text in strange], 5)
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
