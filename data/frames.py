"""A corpus from tables in memory: of pandas, Arrow, polars, or a dictionary of columns.

They are read as `serann corpus import table` reads files: by the same usual names, shapes and rules (`serann corpus
readers table` explains them), with the same account of every vote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from .corpus import Corpus, CorpusInfo, write_corpus
from .display import number
from .errors import CorpusError, OptionError, TableError, list_problems
from .importing import Prepared, check_split, prepare_release
from .labels import LabelSet, as_label_set
from .readers.base import Options
from .readers.table import Sheets, read_tables
from .readers.tables.sheets import Sheet, from_arrow
from .tables import PROBLEMS, RATINGS, UTTERANCES, VOTES, validate, write_table

LICENCE = "not stated by the tables; their owner's terms hold"
# Rows that a kind of problem names.
SHOWN = 3


def corpus_from_frames(
    utterances: Any,
    votes: Any = None,
    ratings: Any = None,
    *,
    labels: LabelSet | str | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    rule: str | None = None,
    audio: str | PathLike[str] | None = None,
    split: str = "auto",
    seed: int = 0,
    name: str = "frames",
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    skip_problems: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """A corpus from a table of utterances and one of votes, or from one table of both.

    Tables are pandas DataFrames, Arrow tables, anything with Arrow's stream (polars, duckdb), dictionaries of
    columns or lists of rows. Votes are long (utterance, rater, label: a row per vote) or wide (a column per label with
    numbers of votes, or a column per rater with labels). `columns` names fields as --columns does ({"utterance_id":
    "file"}), `aliases` other spellings of labels ({"anger": "angry"}), `labels` the label set: by name, as a list,
    or None for the labels found, sorted. Paths of sounds start at `audio`, by default at the working directory.
    `split`: `auto` takes a column `split` if there is one, else divides by speaker; `speaker`, `official` (the
    column's), `none`.

    Without `out` the corpus is in memory; with it, it is written there and opened. What was assumed stands in
    `corpus.info.provenance["import"]["notes"]`.

    Raises CorpusError with every row that cannot be read, counted by kind (rows are counted from 0), unless
    `skip_problems`, which leaves them out (and lists them in problems.parquet at `out`); OptionError for columns that
    are not there or could be several things; LabelError for labels that do not fit; OutputError for an existing `out`.

    >>> utterances = {"utterance_id": ["a", "b"], "speaker": ["s1", "s2"]}
    >>> votes = {"utterance": ["a", "a", "b"], "rater": ["r1", "r2", "r1"], "label": ["sad", "angry", "sad"]}
    >>> corpus_from_frames(utterances, votes, labels=["angry", "sad"], split="none").to_pandas()[["angry", "sad"]]
       angry  sad
    0    1.0  1.0
    1    0.0  1.0
    """
    check_split(split)
    options = Options(
        audio=None if audio is None else Path(audio),
        rule=rule,
        columns=dict(columns or {}),
        aliases=dict(aliases or {}),
        labels=None if labels is None else as_label_set(labels),
    )
    if options.audio is not None and not options.audio.is_dir():
        raise OptionError(f"audio={str(audio)!r} is no folder; name the one that holds the sounds")
    given = {"utterances": utterances, "votes": votes, "ratings": ratings}
    sheets: dict[str, Sheet] = {
        part: from_arrow(as_arrow(table, part), part, start=0) for part, table in given.items() if table is not None
    }
    main = sheets.pop("votes", None) or sheets.pop("utterances")
    tables = Sheets(main, sheets.get("utterances"), sheets.get("ratings"))
    found = read_tables(tables, options, base=Path.cwd(), about="data frames", licence=LICENCE).imported
    if found.problems.num_rows and not skip_problems:
        raise CorpusError(problems_in_words(found.problems))
    prepared = prepare_release(found, None, split=split, seed=seed, progress=progress)
    return _written(prepared, name, Path(out), overwrite) if out is not None else _in_memory(prepared, name)


def as_arrow(table: Any, part: str) -> pa.Table:
    """A table of any kind as Arrow's; TableError where it is none, or a column holds values of several types."""
    try:
        if isinstance(table, pa.Table):
            return table
        if isinstance(table, Mapping):
            return pa.table(dict(table))
        if hasattr(table, "reset_index"):  # pandas: an index with a name is a column
            return pa.Table.from_pandas(table, preserve_index=any(name is not None for name in table.index.names))
        if hasattr(table, "__arrow_c_stream__"):
            return pa.table(table)
        if isinstance(table, Sequence) and not isinstance(table, str | bytes):
            return pa.Table.from_pylist(list(table))
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise TableError(part, [f"the table cannot be read: {error}; give each column one type, say text"]) from None
    raise TableError(
        part,
        [
            f"a {type(table).__name__} is no table; expected a pandas DataFrame, an Arrow table, a dictionary of "
            "columns or a list of rows (a file is read by import_corpus)"
        ],
    )


def problems_in_words(problems: pa.Table) -> str:
    """Every kind of problem with how many rows have it, and the first of these."""
    kinds: dict[tuple[str, str], list[int | None]] = {}
    for row in problems.select(["file", "reason", "line"]).to_pylist():
        kinds.setdefault((row["file"], row["reason"]), []).append(row["line"])
    listed = []
    for (file, reason), rows in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        shown = ", ".join(str(row) for row in rows[:SHOWN] if row is not None)
        further = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        listed.append(f"{file}, {number(len(rows), 'row')} ({shown}{further}): {reason}")
    what = f"{problems.num_rows} rows cannot be taken in (skip_problems=True leaves them out)"
    return list_problems(what, listed)


def _about(prepared: Prepared) -> dict[str, Any]:
    found = prepared.imported
    return {
        "files": list(found.files),
        "serann": version("serann"),
        "import": {
            "reader": "frames",
            "release": found.release,
            "votes_in": found.votes_in,
            "votes_kept": found.votes.num_rows,
            "problems": found.problems.num_rows,
            "splits": prepared.splits,
            "notes": list(prepared.notes),
        },
    }


def _written(prepared: Prepared, name: str, out: Path, overwrite: bool) -> Corpus:
    found = prepared.imported
    return write_corpus(
        out,
        name=name,
        labels=found.labels,
        utterances=found.utterances,
        votes=found.votes,
        ratings=found.ratings,
        licence=found.licence,
        provenance=_about(prepared),
        scale=found.scale,
        overwrite=overwrite,
        extra=lambda new: write_table(found.problems, new / "problems.parquet", PROBLEMS),
    )


def _in_memory(prepared: Prepared, name: str) -> Corpus:
    found = prepared.imported
    utterances = validate(found.utterances, UTTERANCES, labels=found.labels)
    votes = validate(found.votes, VOTES, labels=found.labels)
    ratings = None if found.ratings is None else validate(found.ratings, RATINGS, labels=found.labels)
    counts = {"utterances": utterances.num_rows, "votes": votes.num_rows, "ratings": ratings.num_rows if ratings else 0}
    info = CorpusInfo(
        name=name,
        labels=found.labels.to_json(),
        licence=found.licence,
        provenance=_about(prepared),
        counts=counts,
        scale=found.scale,
    )
    return Corpus(Path.cwd(), info, found.labels, utterances, votes, ratings)
