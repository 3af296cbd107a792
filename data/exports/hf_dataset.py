"""A Hugging Face dataset: Parquet files in three configurations, and the card that describes them.

`utterances` (a file a split, with `distribution` over the labels, `distribution_votes` behind it and `audio`), `votes`
(a row per vote, human and synthetic, told apart by `source`) and `ratings`. Their schemas carry `datasets`' features:
the sound is an `Audio`, a vote's label a `ClassLabel`. `datasets.load_dataset(FOLDER, "votes")` reads it from the disk,
and `hf upload USER/NAME FOLDER --repo-type dataset` puts it on the Hub.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..files import atomic_file
from ..policies import POLICIES
from .content import Content, absent

# `datasets` knows its usual splits by these names; utterances of none are a split of their own.
SPLITS = {"development": "validation"}
NO_SPLIT = "unassigned"
# Sounds are written so many at a time.
ROWS = 32
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write(folder: Path, content: Content) -> list[str]:
    """Write the three configurations and README.md."""
    splits = _splits(content)
    schema = _schema(content)
    gone = 0
    for split, places in splits.items():
        gone += _write_split(folder / "utterances" / f"{split}-00000-of-00001.parquet", content, places, schema)
    _write_votes(folder / "votes.parquet", content)
    if content.corpus.ratings is not None:
        _write_plain(folder / "ratings.parquet", content.corpus.ratings)
    with atomic_file(folder / "README.md") as partial:
        partial.write_text(_card(content, list(splits)), encoding="utf-8")
    if content.copy:
        return absent(gone)
    return ["the sounds are named by their paths on this disk; before an upload, export again with --copy-audio"]


def _splits(content: Content) -> dict[str, list[int]]:
    """The utterances of each split, by the names that `datasets` uses."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(content.rows):
        name = re.sub(r"\W+", "_", row["split"] or NO_SPLIT)
        found.setdefault(SPLITS.get(name, name), []).append(i)
    return found


def _schema(content: Content) -> pa.Schema:
    """The utterances' columns with `datasets`' features, the sound as an `Audio`."""
    from datasets import Audio, Features

    labels = len(content.corpus.labels)
    columns = {column.name: column.type for column in content.corpus.utterances.schema}
    # A column that holds nothing but nulls has no type of its own, and features need one.
    columns = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in columns.items()}
    columns |= {"distribution": pa.list_(pa.float64(), labels), "distribution_votes": pa.float64()}
    features = Features.from_arrow_schema(pa.schema({**columns, "audio": pa.string()}))
    features["audio"] = Audio()
    return features.arrow_schema


def _write_split(path: Path, content: Content, places: list[int], schema: pa.Schema) -> int:
    """Write the utterances of one split; how many sounds were to be copied and are not there."""
    path.parent.mkdir(exist_ok=True)
    gone = 0
    with atomic_file(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for start in range(0, len(places), ROWS if content.copy else 10_000):
            rows = [_row(content, i) for i in places[start : start + (ROWS if content.copy else 10_000)]]
            gone += sum(content.copy and row["audio"] is None for row in rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return gone


def _row(content: Content, i: int) -> dict[str, Any]:
    known = bool(content.has_distribution[i])
    row = {
        **content.rows[i],
        "distribution": content.p[i].tolist() if known else None,
        "distribution_votes": float(content.mass[i]) if known else 0.0,
    }
    if not content.copy:
        return {**row, "audio": None if content.audio[i] is None else {"bytes": None, "path": content.audio[i]}}
    sound = content.sound(i)
    if sound is None:
        return {**row, "audio": None}
    # The window was cut out, so that it starts and ends with the sound.
    return {**row, "start": None, "end": None, "audio": {"bytes": sound[1], "path": sound[0]}}


def _write_votes(path: Path, content: Content) -> None:
    from datasets import ClassLabel, Features

    votes = content.votes
    labels = list(content.corpus.labels)
    features = Features.from_arrow_schema(votes.schema)
    features["label"] = ClassLabel(names=labels)
    numbers = [None if label is None else labels.index(label) for label in votes["label"].to_pylist()]
    place = votes.column_names.index("label")
    _write_plain(path, votes.set_column(place, "label", pa.array(numbers, pa.int64())), features)


def _write_plain(path: Path, table: pa.Table, features: Any = None) -> None:
    from datasets import Features

    table = table.replace_schema_metadata(None)
    schema = (features or Features.from_arrow_schema(table.schema)).arrow_schema
    with atomic_file(path) as partial:
        pq.write_table(table.cast(schema), partial, compression="zstd")


def _card(content: Content, splits: list[str]) -> str:
    """README.md: what the Hub reads at its head, and what people read below it."""
    import yaml

    corpus = content.corpus
    files = [{"split": split, "path": f"utterances/{split}-*.parquet"} for split in splits]
    configs = [{"config_name": "utterances", "data_files": files, "default": True}]
    further = ["votes", *(["ratings"] if corpus.ratings is not None else [])]
    configs += [{"config_name": name, "data_files": f"{name}.parquet"} for name in further]
    languages = sorted({row["language"] for row in content.rows if row["language"]})
    head = {
        "pretty_name": corpus.name,
        "license": "other",
        "license_name": corpus.info.licence,
        "task_categories": ["audio-classification"],
        "tags": ["speech-emotion-recognition", "soft-labels", "annotator-disagreement"],
        "size_categories": [_size(len(content.rows))],
        "configs": configs,
    }
    if languages:
        head["language"] = languages
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{_body(content)}"


def _size(rows: int) -> str:
    return next((name for most, name in SIZES if rows < most), "n>1M")


def _body(content: Content) -> str:
    corpus = content.corpus
    policy = POLICIES[content.policy]
    known = int(np.count_nonzero(content.has_distribution))
    return "\n".join(
        [
            f"# {corpus.name}\n",
            *_simulated(content),
            f"{len(content.rows)} utterances, {known} of them with a distribution over the labels; "
            f"{corpus.votes.num_rows} votes of the corpus and {content.synthetic.num_rows} of a model.\n",
            "```python",
            "from datasets import load_dataset",
            'utterances = load_dataset("FOLDER OR USER/NAME", "utterances")',
            'votes = load_dataset("FOLDER OR USER/NAME", "votes")',
            "```\n",
            f"- `utterances`: `distribution` lists the labels in this order: {', '.join(corpus.labels)}. It is made of "
            f"the human votes by the policy `{policy.name}` ({policy.about}; {policy.source}), and empty where there "
            "are none; `distribution_votes` is the number of votes behind it. `intended` and `consensus` are labels "
            "that were acted or published, never votes.",
            "- `votes`: a row per vote. `source` tells `human`, `self` (the speaker's own) and `synthetic` (a model's) "
            "apart; a vote without a label is an abstention, and `reason` says why.",
            *_ratings(content),
            *([] if content.copy else ["\nThe sounds are not in these files; `audio` names where they lay."]),
            f"\nLicence of the corpus: {corpus.info.licence}. Check that it lets you publish what you upload.",
            "\nWritten by serann.",
            "",
        ]
    )


def _ratings(content: Content) -> Iterator[str]:
    if content.corpus.ratings is not None:
        low, high = content.corpus.info.scale or (None, None)
        scale = f", from {low:g} to {high:g}" if low is not None and high is not None else ""
        yield f"- `ratings`: valence, arousal, dominance and naturalness, a row a rating{scale}."


def _simulated(content: Content) -> Iterator[str]:
    if content.corpus.info.simulated:
        yield "Simulated: these utterances and votes were made by a program, not by people.\n"
