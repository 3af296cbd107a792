"""EMO-SUPERB's label file: a row per utterance, a column per label with its share of votes, ratings, speaker, split.

`Primary/labels_consensus_1.csv` has the columns of the toolkit's own files (FileName, the labels, EmoAct, EmoVal,
EmoDom, SpkrID, Gender, Split_Set) and `num_votes`, the number of votes behind each row, with which the shares can be
turned back into counts (`serann corpus import table FILE --rule counts:num_votes`). The toolkit's released shares are
smoothed; these are not. `config.json` gives the labels' order and the ratings' scale.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_file, write_json
from .content import Content, copied

RATINGS = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}
SPLITS = {"train": "Train", "development": "Development", "test": "Test"}


def write(folder: Path, content: Content) -> list[str]:
    """Write the label file and its configuration; utterances without a distribution are left out."""
    paths, notes = copied(content, folder) if content.copy else ({}, [])
    means = content.mean_ratings()
    rated = {column: means[name] for column, name in RATINGS.items() if name in means}
    labels = list(content.corpus.labels)
    header = ["FileName", *labels, *rated, "SpkrID", "Gender", "Split_Set", "num_votes"]
    (folder / "Primary").mkdir()
    with (
        atomic_file(folder / "Primary" / "labels_consensus_1.csv") as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        for i in np.flatnonzero(content.has_distribution).tolist():
            ratings = ["" if np.isnan(values[i]) else f"{values[i]:g}" for values in rated.values()]
            writer.writerow(
                [
                    _name(content, i, paths),
                    *map(_share, content.p[i]),
                    *ratings,
                    *_who(content.rows[i]),
                    f"{content.mass[i]:g}",
                ]
            )
    write_json(folder / "Primary" / "config.json", _config(content, labels, rated))
    if content.synthetic.num_rows:
        notes.append(f"{content.synthetic.num_rows} synthetic votes were left out: the format holds one distribution")
    return notes


def _name(content: Content, i: int, paths: dict[int, str]) -> str:
    """The sound's file name where it tells the utterances apart, as the toolkit expects; else the utterance's own."""
    if i in paths:
        return Path(paths[i]).name
    name = content.rows[i]["utterance_id"]
    ending = Path(content.audio[i] or "").suffix
    return name if name.endswith(ending) else name + ending


def _share(value: float) -> str:
    return f"{value:.12g}"


def _who(row: dict[str, Any]) -> list[str]:
    split = row["split"] or ""
    gender = (row["gender"] or "").capitalize()
    return [row["speaker"] or "Unknown", gender, SPLITS.get(split, split.capitalize())]


def _config(content: Content, labels: list[str], rated: dict[str, np.ndarray]) -> dict[str, Any]:
    low, high = content.corpus.info.scale or (None, None)
    found: dict[str, Any] = {"categorical": {"emo_type": labels}}
    if rated:
        found["dimensional"] = {"min": low, "max": high, "flip_aro": False}
    return found
