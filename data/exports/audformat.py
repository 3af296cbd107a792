"""An audformat database: schemes, splits, a table of the utterances, and votes and ratings as tables of their own.

`utterances` has a row a file (or a segment, where utterances are windows of files) with the speaker, the split's
column, the published and the acted label, a column `p.LABEL` a label for the distribution, and its number of votes.
`votes` and `ratings` are misc tables, a row each, that point back to `utterances` by the utterance's name. Read it with
`audformat.Database.load(FOLDER)`. https://audeering.github.io/audformat/
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import CorpusError, OptionError, list_problems
from ..schemas import DIMENSIONS
from .content import Content, copied

SPLITS = {"train": "train", "development": "dev", "test": "test"}
TEXTS = ("speaker", "gender", "split", "dialogue", "script", "transcript", "language", "intended", "consensus")
VOTE_COLUMNS = (
    "utterance_id",
    "rater_id",
    "source",
    "draw",
    "label",
    "reason",
    "text",
    "rank",
    "weight",
    "part",
    "run",
)


def write(folder: Path, content: Content) -> list[str]:
    """Write the database; `OptionError` with the install line where audformat is not there."""
    audformat = _audformat()
    import pandas as pd

    corpus = content.corpus
    paths, notes = copied(content, folder) if content.copy else ({}, [])
    database = audformat.Database(
        _database_name(corpus.name),
        source=str(corpus.info.provenance.get("source", "serann")),
        usage=audformat.define.Usage.UNRESTRICTED if corpus.info.simulated else audformat.define.Usage.OTHER,
        license=corpus.info.licence,
        description=f"{corpus.name}, exported by serann; distributions by the vote policy {content.policy!r}",
    )
    _declare(database, audformat, content)
    index = _index(audformat, content, paths)
    table = audformat.Table(index, description="utterances, their labels and the distributions of their votes")
    database["utterances"] = table
    for name, values, scheme in _columns(content):
        table[name] = audformat.Column(scheme_id=scheme)
        table[name].set(pd.Series(values, index=index).array)
    _misc(database, audformat, "votes", content.votes.select(list(VOTE_COLUMNS)), {"label": "emotion"})
    if corpus.ratings is not None:
        _misc(database, audformat, "ratings", corpus.ratings.replace_schema_metadata(None), {"value": "rating"})
    database.save(str(folder), storage_format="parquet", update_other_formats=False)
    return notes


def _audformat() -> Any:
    try:
        import audformat
    except ImportError:
        raise OptionError(
            "an audformat database needs audformat; install it with: pip install 'serann[audformat]'"
        ) from None
    return audformat


def _database_name(name: str) -> str:
    """A database's name by audformat's rule: letters, digits, dot, hyphen and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "corpus"


def _declare(database: Any, audformat: Any, content: Content) -> None:
    """Schemes of what columns hold, and the splits that occur."""
    low, high = content.corpus.info.scale or (None, None)
    database.schemes["emotion"] = audformat.Scheme(labels=list(content.corpus.labels))
    database.schemes["share"] = audformat.Scheme("float", minimum=0, maximum=1)
    database.schemes["rating"] = audformat.Scheme("float", minimum=low, maximum=high)
    splits = {row["split"] for row in content.rows if row["split"] is not None}
    for split in sorted(splits):
        kind = SPLITS.get("test" if split.startswith("test") else split, "other")
        database.splits[split] = audformat.Split(kind)


def _index(audformat: Any, content: Content, paths: dict[int, str]) -> Any:
    """Files, or segments where an utterance is a window; `CorpusError` where two utterances are one sound."""
    import pandas as pd

    files = [paths.get(i) or content.audio[i] or content.rows[i]["utterance_id"] for i in range(len(content.rows))]
    windows = [(None, None) if i in paths else (row["start"], row["end"]) for i, row in enumerate(content.rows)]
    sounds = Counter(zip(files, windows, strict=True))
    twice = [f"{file}" for (file, _), many in sounds.items() if many > 1]
    if twice:
        raise CorpusError(
            list_problems("several utterances are the same sound, which an audformat table cannot hold", twice)
        )
    if all(window == (None, None) for window in windows):
        return audformat.filewise_index(files)
    starts = [pd.Timedelta(seconds=start or 0.0) for start, _ in windows]
    ends = [pd.NaT if end is None else pd.Timedelta(seconds=end) for _, end in windows]
    return audformat.segmented_index(files, starts, ends)


def _columns(content: Content) -> list[tuple[str, Any, str | None]]:
    """Columns of the utterances: name, values, scheme."""
    found: list[tuple[str, Any, str | None]] = [("utterance", [row["utterance_id"] for row in content.rows], None)]
    for name in TEXTS:
        values = [row[name] for row in content.rows]
        if any(value is not None for value in values):
            found.append((name, values, None))
    for k, label in enumerate(content.corpus.labels):
        found.append((f"p.{label}", content.p[:, k], "share"))
    found.append(("votes", np.where(content.has_distribution, content.mass, 0.0), None))
    for name, values in content.mean_ratings().items():
        if name in DIMENSIONS:
            found.append((name, values, "rating"))
    return found


def _misc(database: Any, audformat: Any, name: str, table: pa.Table, schemes: dict[str, str]) -> None:
    """A table whose rows are numbered, for what is not a file or a part of one."""
    import pandas as pd

    index = pd.Index(range(table.num_rows), dtype="Int64", name="row")
    made = audformat.MiscTable(index)
    database[name] = made
    for column in table.column_names:
        values = table[column].to_pylist()
        if any(value is not None for value in values):
            made[column] = audformat.Column(scheme_id=schemes.get(column))
            made[column].set(pd.Series(values, index=index).array)
