"""A corpus: a directory of `corpus.json`, the utterances, the votes, the ratings and, where copied, the sounds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from .arrow import pc
from .display import NAMES, Displayed, columns_of, frame, number
from .errors import CorpusError, OptionError, OutputError, TableError, few, list_problems
from .files import new_directory, read_json, refuse_existing, write_json
from .labels import LabelSet
from .sound_paths import SoundPlaces, absolute_audio, kind_of_name, stated_root, with_root
from .tables import RATINGS, UTTERANCES, VOTES, TableSpec, read_table, sorted_json, write_table
from .votes import count_votes

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
DEMO_CORPUS = Path(__file__).parent / "demo" / "corpus"
DEMO_CHECKPOINT = Path(__file__).parent / "demo" / "checkpoint"


class Division(BaseModel):
    """How the train split's human votes were divided into seen and held-out ones (`serann corpus holdout`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seen: int
    seed: int
    fingerprint: str


class CorpusInfo(BaseModel):
    """What `corpus.json` says; unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = FORMAT
    name: str
    labels: dict[str, Any]
    licence: str
    provenance: dict[str, Any]
    simulated: bool = False
    counts: dict[str, int] = {}
    scale: tuple[float, float] | None = None
    division: Division | None = None
    audio_root: str | None = None


@dataclass(frozen=True, repr=False)
class Corpus(Displayed):
    """A corpus in memory: its tables, checked; the sounds stay on disk until they are asked for.

    >>> open_corpus("demo")
    Corpus demo: 480 utterances of 32 speakers, 6 labels (neutral, happy, angry, sad, fear, surprise)
    4,898 votes of 21 named raters; 2 per train utterance are seen; ...
    """

    path: Path
    info: CorpusInfo
    labels: LabelSet
    utterances: pa.Table
    votes: pa.Table
    ratings: pa.Table | None = None

    @property
    def name(self) -> str:
        return self.info.name

    @cached_property
    def ids(self) -> list[str]:
        """The utterances' ids, in the table's order, which every array over the corpus follows."""
        return self.utterances["utterance_id"].to_pylist()

    def column(self, name: str) -> np.ndarray:
        """Return a column of the utterances as an object array [U], None where it is empty."""
        return np.array(self.utterances[name].to_pylist(), dtype=object)

    @property
    def audio_root(self) -> Path:
        """Where relative names of sounds start: what corpus.json or --audio-root says, else the corpus's folder."""
        stated = self.info.audio_root
        return self.path if stated is None else self.path / os.path.expanduser(stated)

    @cached_property
    def places(self) -> SoundPlaces:
        """Where the names in the column `audio` lead."""
        return SoundPlaces(self.path, self.audio_root)

    def audio_path(self, i: int) -> Path:
        """Return where utterance i's sound lies (`data.sound_paths`).

        Raises CorpusError for an utterance without audio or with a remote address, for an audio root that is absent,
        and for a relative name that leads out of it.
        """
        audio = self.utterances["audio"][i].as_py()
        if audio is None:
            raise CorpusError(f"utterance {self.ids[i]!r} names no audio; its 'audio' column is empty")
        if kind_of_name(audio) == "remote":
            raise CorpusError(
                f"utterance {self.ids[i]!r}: audio at {audio} is remote; download it, and name the local file"
            )
        return self.places.path(audio)

    def require_root(self) -> None:
        """Raise CorpusError where sounds lie below an audio root that is not there: none of them can be read."""
        names = self.utterances["audio"].to_pylist()
        if self.places.missing is not None and any(kind_of_name(name) == "relative" for name in names):
            raise CorpusError(self.places.missing)

    def lines(self) -> tuple[str, str]:
        """Name, utterances, speakers and labels; votes, their division, the folder."""
        utterances, speakers = self.utterances.num_rows, pc.count_distinct(self.utterances["speaker"]).as_py()
        raters = pc.count_distinct(self.votes["rater_id"]).as_py()
        votes = number(self.votes.num_rows, "vote")
        division = self.info.division
        divided = "not divided" if division is None else f"{division.seen} per train utterance are seen"
        return (
            f"Corpus {self.name}: {number(utterances, 'utterance')} of {number(speakers, 'speaker')}, "
            f"{number(len(self.labels), 'label')} ({few(self.labels.labels, NAMES)})",
            f"{votes} of {number(raters, 'named rater')}; {divided}; {self.path}",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per utterance: its columns, the sound's path as an absolute one, and how many human votes each label
        got, in a column of its name.
        """
        utterances = absolute_audio(self).slice(0, limit)
        counts = count_votes(self.votes, utterances["utterance_id"].to_pylist(), self.labels)
        own = {name: utterances[name].to_pandas() for name in utterances.column_names}
        return frame({**own, **columns_of(self.labels.labels, counts, tuple(own))})

    def __fspath__(self) -> str:
        if not (self.path / "corpus.json").is_file():
            raise OptionError(f"corpus {self.name} is in memory, and a path is needed; write it first, with out=")
        return str(self.path)

    def in_split(self, split: str) -> np.ndarray:
        """Return a mask [U] of the utterances in a split; `test` means every split whose name starts with it."""
        splits = self.column("split")
        if split == "test":
            return np.array([s is not None and s.startswith("test") for s in splits], dtype=bool)
        return splits == split


def as_corpus(corpus: Corpus | str | PathLike[str]) -> Corpus:
    """A corpus as it is, or the one at a path, opened (`open_corpus`)."""
    return corpus if isinstance(corpus, Corpus) else open_corpus(corpus)


def open_corpus(path: str | PathLike[str], *, audio_root: str | PathLike[str] | None = None) -> Corpus:
    """Open and check a corpus directory; `demo` names the embedded one.

    `audio_root` is the folder below which its sounds are read this time (`data.sound_paths.with_root`); without it,
    they lie where corpus.json says.
    Raises OptionError for an `audio_root` that is no folder, CorpusError or TableError for a corpus that is absent, of
    a newer format, or whose tables are invalid or do not fit each other.
    """
    path = corpus_directory(path)
    info = _read_info(path)
    labels = LabelSet.from_json(info.labels)
    utterances = _read(path, UTTERANCES, labels)
    votes = _read(path, VOTES, labels)
    ratings = _read(path, RATINGS, labels) if (path / "ratings.parquet").exists() else None
    corpus = Corpus(path, info, labels, utterances, votes, ratings)
    _check_fit(corpus)
    return corpus if audio_root is None else with_root(corpus, Path(audio_root))


def corpus_directory(path: str | PathLike[str]) -> Path:
    """Return the directory that `path` names: `demo` is the embedded corpus (a folder of that name is `./demo`)."""
    return DEMO_CORPUS if str(path) == "demo" else Path(path)


def _read_info(path: Path) -> CorpusInfo:
    if not path.exists():
        raise CorpusError(
            f"no corpus at {path}: nothing is there; write one (README, Bring your own corpus), or use 'demo'"
        )
    if not (path / "corpus.json").exists():
        raise CorpusError(
            f"no corpus at {path}: it has no corpus.json; expected a directory that serann wrote, or 'demo'"
        )
    obj = read_json(path / "corpus.json", what="corpus description")
    newest = obj.get("format", FORMAT)
    if isinstance(newest, int) and newest > FORMAT:
        raise CorpusError(
            f"{path}: corpus format {newest} was written by a newer serann; this one reads up to {FORMAT}: "
            "upgrade serann"
        )
    try:
        return CorpusInfo.model_validate(obj)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise CorpusError(list_problems(str(path / "corpus.json"), problems)) from None


def _read(path: Path, spec: TableSpec, labels: LabelSet) -> pa.Table:
    return read_table(path / f"{spec.name}.parquet", spec, labels=labels)


def _check_fit(corpus: Corpus) -> None:
    if corpus.utterances.num_rows == 0:
        raise TableError(
            str(corpus.path / "utterances.parquet"), ["the table is empty; a corpus needs an utterance or more"]
        )
    known = pa.array(corpus.ids)
    problems = []
    for name, table in (("votes", corpus.votes), ("ratings", corpus.ratings)):
        if table is not None:
            strange = pc.invert(pc.is_in(table["utterance_id"], value_set=known))
            ids = pc.unique(table["utterance_id"].filter(strange)).to_pylist()
            problems += [f"{name}.parquet: utterance {i!r} is not in utterances.parquet" for i in ids]
    if problems:
        raise CorpusError(list_problems(str(corpus.path), problems))


def write_corpus(
    path: str | Path,
    *,
    name: str,
    labels: LabelSet,
    utterances: pa.Table,
    votes: pa.Table,
    ratings: pa.Table | None = None,
    licence: str,
    provenance: Mapping[str, Any],
    simulated: bool = False,
    scale: tuple[float, float] | None = None,
    division: Division | None = None,
    audio_root: str | Path | None = None,
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
    extra: Callable[[Path], None] | None = None,
) -> Corpus:
    """Write a corpus directory and open it; it takes its name only when every file of it is in place.

    `utterances` need `utterance_id`, and for most uses `audio`, `speaker` and `split` (train, development, test…);
    `votes` need `utterance_id`, `label` and, where it is known, `rater_id` (see `data.schemas` for every column, and
    `from_rows`). `scale` holds the ends of the ratings' scale; `audio_root` is the folder where relative names of
    sounds start (None: the corpus's own); `extra` may write further files (sounds) into the directory before that.
    Raises OutputError for an existing output without `overwrite`, or one that holds one of the `inputs` or a sound of
    the utterances; TableError for invalid tables.
    """
    refuse_existing(Path(path), what="corpus", overwrite=overwrite, inputs=inputs)
    refuse_sounds(Path(path), utterances, audio_root)
    counts = {"utterances": utterances.num_rows, "votes": votes.num_rows, "ratings": ratings.num_rows if ratings else 0}
    info = CorpusInfo(
        name=name,
        labels=labels.to_json(),
        licence=licence,
        provenance=dict(provenance),
        simulated=simulated,
        counts=counts,
        scale=scale,
        division=division,
        audio_root=None if audio_root is None else stated_root(audio_root, Path(path)),
    )
    with new_directory(path, what="corpus", overwrite=overwrite) as partial:
        write_table(utterances, partial / "utterances.parquet", UTTERANCES, labels=labels, provenance=provenance)
        write_table(votes, partial / "votes.parquet", VOTES, labels=labels, provenance=provenance)
        if ratings is not None:
            rated = {**provenance, "scale": list(scale) if scale else None}
            write_table(ratings, partial / "ratings.parquet", RATINGS, labels=labels, provenance=rated)
        write_json(partial / "corpus.json", info.model_dump(mode="json"))
        if extra is not None:
            extra(partial)
        corpus = open_corpus(partial)
    # What was just checked on disk is the corpus; its tables do not know the directory's former name.
    return replace(corpus, path=Path(path))


def refuse_sounds(path: Path, utterances: pa.Table, audio_root: str | Path | None = None) -> None:
    """Raise OutputError where an utterance's sound, by absolute path or below a root, lies in a directory that is to be
    written anew.
    """
    if not path.is_dir():
        return
    there, places = f"{path.resolve()}{os.sep}", SoundPlaces(path, Path(audio_root or path))
    for audio in utterances["audio"].to_pylist():
        kind = kind_of_name(audio)
        if kind != "absolute" and (kind != "relative" or audio_root is None):
            continue
        sound = str(places.named(audio))
        if sound.startswith(there):
            raise OutputError(f"{path} holds the sound {sound}, which would be lost; choose another output")


def take(corpus: Corpus, mask: np.ndarray) -> Corpus:
    """Return the corpus with only the utterances of a mask [U], and only their votes and ratings."""
    utterances = corpus.utterances.filter(pa.array(mask))
    kept = utterances["utterance_id"].combine_chunks()

    def of_these(table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table["utterance_id"], value_set=kept))

    ratings = of_these(corpus.ratings) if corpus.ratings is not None else None
    return Corpus(corpus.path, corpus.info, corpus.labels, utterances, of_these(corpus.votes), ratings)


def corpus_fingerprint(corpus: Corpus) -> str:
    """Return the fingerprint of what was heard and voted: ids, sounds' hashes, labels, votes and their division.

    Paths do not count, so a corpus that was moved or copied keeps its fingerprint.
    """
    heard = corpus.utterances.select(["utterance_id", "start", "end", "speaker", "split", "content_hash"])
    labels = json.dumps(list(corpus.labels), separators=(",", ":"), ensure_ascii=False)
    found = hashlib.sha256(f'{{"labels":{labels},"tables":['.encode())
    for piece in chain(sorted_json(heard), [b","], sorted_json(corpus.votes), [b"]}"]):
        found.update(piece)
    return f"sha256:{found.hexdigest()}"


def require_division(corpus: Corpus) -> Division:
    """Return the corpus's division into seen and held-out votes; CorpusError saying how to make one where there is
    none.
    """
    if corpus.info.division is None:
        raise CorpusError(
            f"the votes of {corpus.path} are not divided into seen and held-out ones yet; "
            f"run 'serann corpus holdout {corpus.path} --seen 2' first"
        )
    return corpus.info.division
