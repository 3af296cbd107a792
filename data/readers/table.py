"""Any table of votes: CSV, TSV, JSON lines, a JSON array of objects, or Parquet.

    serann corpus import table votes.csv -o CORPUS --columns utterance_id=file --columns label=emotion

Files. One file, or a folder that holds one; or two (a table of utterances and a table of votes), found in a folder
by their names (utterances, metadata, clips… and votes, annotations, labels…) or named: --columns utterances=meta.csv
--columns votes=answers.csv. A third, ratings, may hold one rating a row (dimension, value). Separators (comma,
semicolon, tab), encodings, byte-order marks and quoted fields are recognised.

Shapes. Long: a row a vote (utterance, rater, label; also rank, count, valence, arousal, dominance, naturalness).
Wide, a column a label: each cell is how many listeners chose it; with a rater column, 1 where that rater chose it.
Wide, a column a rater: cells hold labels, an empty one is no vote. JSON and Parquet may hold lists: of labels, of
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

from pathlib import Path

from ..errors import OptionError
from .base import Imported, Options, Reader, refuse
from .tables.columns import load_mapping
from .tables.sheets import SUFFIXES, read_sheet
from .tabular import Sheets, read_tables

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
        f"{source} holds several tables ({', '.join(path.name for path in there)}); name one of them as the source, or "
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
