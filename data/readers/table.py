"""Any table of votes: CSV, TSV, JSON lines, a JSON array of objects, or Parquet.

    serann corpus import table votes.csv -o CORPUS --columns utterance_id=file --columns label=emotion

Files. One file, or a folder that holds one; or two (a table of utterances and a table of votes), found in a folder
by their names (utterances, metadata, clips… and votes, annotations, labels…) or named: --columns utterances=meta.csv
--columns votes=answers.csv. A third, ratings, may hold one rating a row (dimension, value). Separators (comma,
semicolon, tab), encodings, byte-order marks and quoted fields are recognised.

Shapes. Long: a row per vote (utterance, rater, label; also rank, count, valence, arousal, dominance, naturalness).
Wide, a column per label: each cell is how many listeners chose it; with a rater column, 1 where that rater chose it.
Wide, a column per rater: cells hold labels, an empty one is no vote. JSON and Parquet may hold lists: of labels, of
raters and labels side by side, or of objects with a rater and a label each.

Columns are taken by their usual names (FileName, utterance, worker, annotator, emotion, SpkrID, Split_Set…), and a
note says which; where two could be meant the import stops and lists them. --columns FIELD=COLUMN says otherwise.
Fields: utterance_id, rater_id, label, secondary, rank, source, weight, count, draw, reason, free_text, audio, start,
end, duration, speaker, gender, split, dialogue, script, transcript, language, intended, consensus, valence, arousal,
dominance, naturalness. Beside them: counts=angry,sad,… and raters=R1,R2,… (names or patterns, as in counts=n_*),
scale=1-7, separator=/ (several labels in one cell; ; and | where nothing is said), licence=TEXT. --mapping FILE.toml
(or .json) says the same in a file, which may also hold [aliases], [splits], labels = […] and [counts] with a label
for each column.

Labels. --labels names the set and --alias TEXT=LABEL other spellings; otherwise the labels found, in lower case and
sorted, are the set, and a note says so. A label outside a named set becomes `other`, its text kept, where the set
has it, else it is listed in problems.parquet. Several labels in one cell are as many votes of that rater.

Never a vote out of a label. Columns named consensus, gold or majority become `consensus`, intended or acted
`intended`. One label an utterance without any rater is a published label, unless --columns label=… says that each is
a vote. Fractions are refused, since a distribution does not say how many listeners there were; --rule counts:10 (or
counts:COLUMN) multiplies them back, and rows that then give no whole numbers are problems. A single 1 a row is a
label, too.

A rater without a label is an abstention, with its reason if a column holds one. Rows that cannot be read, votes on
utterances that a table of utterances does not list, a rater's vote given twice, a second row of counts of one
utterance, and ratings outside the scale are listed in problems.parquet.

Sounds are read in place: a column names them, relative to the table or to --audio FOLDER; without one they are
looked for under the utterances' names. Other columns are kept with the utterances. Licence: the table's owner's.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..errors import OptionError, SerannError, few
from ..files import read_json
from ..labels import LabelSet
from ..schemas import DIMENSIONS
from .base import Gatherer, Imported, Options, Reader, refuse
from .tables.columns import check_said, load_mapping
from .tables.filling import (
    Part,
    Reading,
    add_long_ratings,
    add_ratings,
    add_utterances,
    add_votes,
    label_set_of,
    named_labels,
    no_votes,
    part_of,
    without,
)
from .tables.sheets import SUFFIXES, Sheet, read_sheet, text_of, unnest
from .tables.sounds import Embedded, SoundFinder

# --------------------
# From sheets to serann's tables: what the readers of tables share.


class Sheets(NamedTuple):
    """The tables of a source: votes (or everything, where it stands alone), the utterances, ratings."""

    main: Sheet
    utterances: Sheet | None = None
    ratings: Sheet | None = None


class Tabular(NamedTuple):
    """What was read, and the utterances whose sounds lie inside the table."""

    imported: Imported
    embedded: dict[str, Embedded]


def read_tables(sheets: Sheets, options: Options, *, base: Path, about: str, licence: str) -> Tabular:
    """Read sheets by the user's mapping and the usual names; `base` is the folder that paths start from.

    `about` says in words what the source is. Raises `OptionError` for columns that are not there or could be several
    things, `CorpusError` for distributions that were to be taken for votes, `LabelError` for unfit label sets.
    """
    mapping = load_mapping(options)
    named = named_labels(options, mapping)
    present = [sheet for sheet in sheets if sheet is not None]
    files = " and ".join(sheet.file for sheet in present)
    main = unnest(sheets.main)
    check_said(mapping, [*main.columns, *(name for sheet in present for name in sheet.columns)], files)
    notes: list[str] = []
    kind = "single" if sheets.utterances is None else "votes"
    votes = part_of(main, mapping, kind, named, options.rule, notes)
    listed = (
        votes if sheets.utterances is None else part_of(sheets.utterances, mapping, "utterances", named, None, notes)
    )
    rated = None if sheets.ratings is None else part_of(sheets.ratings, mapping, "ratings", named, None, notes)
    if listed is not votes and (rated is not None or set(DIMENSIONS) & set(votes.roles.fields)):
        listed.roles = without(listed.roles, DIMENSIONS)  # there they are means of what the raters said
    free = [name for name in main.columns if name not in votes.roles.claimed] if listed is not votes else []
    left = [name for name in free if any(text_of(line.fields.get(name)) is not None for line in main.lines)]
    if left:
        notes.append(f"{main.file}: left out, since votes have no such field: {few(left, 20)}")
    labels, spellings = label_set_of(named, mapping, votes, listed, notes)
    reading = Reading(mapping, Gatherer(labels, spellings=spellings), SoundFinder(base, options.audio), notes)
    add_utterances(reading, listed)
    add_votes(reading, votes, alone=listed is votes)
    for part in (votes, listed) if listed is not votes else (votes,):
        add_ratings(reading, part)
    if rated is not None:
        add_long_ratings(reading, rated)
    _say_what_was_not_there(reading, [part for part in (votes, listed, rated) if part is not None])
    imported = reading.gatherer.finish(
        release=f"{about}: {_form(votes)}",
        licence=mapping.licence or licence,
        scale=mapping.scale,
        notes=notes,
        files=[sheet.file for sheet in present],
    )
    return Tabular(imported, reading.embedded)


def _say_what_was_not_there(reading: Reading, parts: Sequence[Part]) -> None:
    if not any(part.roles.votes for part in parts):
        reading.notes.append(f"audit and fuse will have no human reference: {no_votes(parts[0])}")
    rated = any({*DIMENSIONS, "value"} & set(part.roles.fields) for part in parts)
    if rated and reading.mapping.scale is None:
        reading.notes.append("the ratings' scale is not known; say it, as in --columns scale=1-7")
    if not reading.sounds.found and not reading.embedded:
        reading.notes.append("no sound of any utterance was found; name their folder with --audio")


def _form(part: Part) -> str:
    if part.roles.counts:
        return "wide, a column per label"
    if part.roles.raters:
        return "wide, a column per rater"
    return "long, a row per vote" if part.roles.votes else "utterances without votes"


USUAL_FILES = {
    "utterances": ("utterances", "utterance", "metadata", "meta", "clips", "files", "utts"),
    "votes": ("votes", "annotations", "labels", "responses", "answers", "labels_detailed"),
    "ratings": ("ratings",),
}
LICENCE = "not stated by the table; its owner's terms hold"


def read(source: Path, options: Options) -> Imported:
    """Read a table, or a folder of one to three of them."""
    mapping = load_mapping(options)
    named = {"utterances": mapping.utterances, "votes": mapping.votes, "ratings": mapping.ratings}
    files = _files(source, {part: name for part, name in named.items() if name is not None})
    sheets = {part: read_sheet(path) for part, path in files.items()}
    main = sheets.pop("votes", None) or sheets.pop("utterances")
    base = source if source.is_dir() else source.parent
    about = "table " + " and ".join(path.name for path in files.values())
    tables = Sheets(main, sheets.get("utterances"), sheets.get("ratings"))
    return read_tables(tables, options, base=base, about=about, licence=LICENCE).imported


def _files(source: Path, named: dict[str, str]) -> dict[str, Path]:
    """Which file is which: named, the source itself, or the folder's by their names."""
    folder = source if source.is_dir() else source.parent
    found = {part: folder / name for part, name in named.items()}
    if source.is_file():
        part = "votes" if "votes" not in found or found["votes"] == source else "utterances"
        return {part: source, **{name: path for name, path in found.items() if path != source}}
    if found:
        return found
    there = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES) if source.is_dir() else []
    if not there:
        raise refuse("table", source, [f"a file ending in {', '.join(SUFFIXES)}"])
    if len(there) == 1:
        return {"votes": there[0]}
    for part, stems in USUAL_FILES.items():
        match = [path for path in there if path.stem.casefold() in stems]
        if len(match) == 1:
            found[part] = match[0]
    if len(found) == len(there) and "votes" in found:
        return found
    raise OptionError(
        f"{source} holds several tables ({few([path.name for path in there], 10)}); name one of them as the source, or "
        "say which is which: --columns utterances=FILE --columns votes=FILE"
    )


READER = Reader(
    name="table",
    about="any CSV, TSV, JSON lines or Parquet table of votes, long or wide",
    labels="those of --labels, else the labels found",
    read=read,
    page=__doc__ or "",
    options=("audio", "rule", "mapping", "columns", "aliases", "labels"),
)


# --------------------
# What serann's own exports say of themselves: label set, scale of the ratings, and whether all is simulated.


def with_exported_facts(folder: Path, options: Options) -> tuple[Options, bool]:
    """The options, completed by the folder's export.json, if it is one of serann's; and whether it was simulated.

    What the user said stays.
    """
    if not (folder / "export.json").is_file():
        return options, False
    try:
        said = read_json(folder / "export.json", what="export")
        labels = LabelSet.from_json(said["labels"])
        scale = [float(end) for end in said.get("scale") or ()]
    except (SerannError, KeyError, TypeError, ValueError):
        return options, False  # somebody else's file of that name
    mapping = load_mapping(options)
    columns = dict(options.columns)
    if len(scale) == 2 and mapping.scale is None and scale[0] < scale[1]:
        columns["scale"] = f"{scale[0]!r}..{scale[1]!r}"
    chosen = options.labels or (None if mapping.labels else labels)
    return replace(options, columns=columns, labels=chosen), said.get("simulated") is True
