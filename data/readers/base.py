"""What every reader of a corpus gives, and the bookkeeping that loses no vote on the way.

A reader turns a release's own files into serann's tables. Whatever it cannot take in becomes a row of `problems`, with
the file, the line and the number of votes in it, so that

    votes in the files  =  rows of votes  +  votes of problems

holds to the last one; `Imported` checks it. A vote is one label that one rater (or nobody in particular) gave: every
label of a multi-label answer and every secondary label counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..arrow import pc
from ..errors import CorpusError, LabelError, OptionError, few
from ..labels import LabelSet
from ..tables import PROBLEMS, RATINGS, UTTERANCES, VOTES, from_rows


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say to a reader; each reader names those it takes (`Reader.options`).

    `audio`: the folder that holds the sounds where it is not the release's own. `modality`, `rule` and `filter` are
    described by the readers that take them; `mapping` and `columns` are the table reader's.
    """

    audio: Path | None = None
    modality: str | None = None
    rule: str | None = None
    filter: str | None = None
    mapping: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    labels: LabelSet | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """A release as serann's tables, before labels are mapped and the corpus is written.

    `release` says in words what was recognised. `votes_in` is the number of votes in the files, counted apart from the
    rows they became. `notes` are sentences that the user should read (what the release lacks, what was assumed).
    `extra` writes further files into the new corpus: sounds that lie in no file of their own.
    """

    release: str
    labels: LabelSet
    utterances: pa.Table
    votes: pa.Table
    votes_in: int
    licence: str
    ratings: pa.Table | None = None
    scale: tuple[float, float] | None = None
    problems: pa.Table = field(default_factory=lambda: from_rows([], PROBLEMS))
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    extra: Callable[[Path], None] | None = None
    simulated: bool = False

    def __post_init__(self) -> None:
        lost = self.votes_in - self.votes.num_rows - votes_of(self.problems)
        if lost:  # a fault of ours, not of the user's files
            raise AssertionError(
                f"{self.release}: {self.votes_in} votes in, {self.votes.num_rows} kept, "
                f"{votes_of(self.problems)} listed as problems: {lost} unaccounted for"
            )


def votes_of(problems: pa.Table) -> int:
    """How many votes are in rows that were listed as problems."""
    return int(pc.sum(problems["votes"]).as_py() or 0)


@dataclass(frozen=True, slots=True)
class Reader:
    """One corpus's reader: `serann corpus import NAME SOURCE`.

    `read(source, options)` raises `CorpusError` (or `OptionError`), listing what was looked for, where `source` is not
    what it expects. `page` is shown by `serann corpus readers NAME`: files, rules, traps, licence. `options` are the
    fields of `Options` that it takes, and `values` says of some what they may be, for the help of `import`.
    """

    name: str
    about: str
    labels: str
    read: Callable[[Path, Options], Imported]
    page: str
    options: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)


class Gatherer:
    """Collects a release line by line; `finish` makes the tables.

    Labels are spelled as the files spell them; `spellings` are those of the release beside the label set's own. A label
    that is none of the set's becomes `other`, its text kept, where the set has it; else the vote is a problem.
    """

    def __init__(self, labels: LabelSet, *, spellings: Mapping[str, str] | None = None):
        self.labels = labels
        self.votes_in = 0
        self._spellings = {text.casefold(): label for text, label in (spellings or {}).items()}
        self._known: dict[str, str | None] = {}
        self._utterances: dict[str, dict[str, Any]] = {}
        self._votes: list[dict[str, Any]] = []
        self._cast: set[tuple[Any, ...]] = set()
        self._ratings: list[dict[str, Any]] = []
        self._rated: set[tuple[Any, ...]] = set()
        self._problems: list[dict[str, Any]] = []

    def __contains__(self, utterance: str) -> bool:
        return utterance in self._utterances

    def utterance(self, utterance: str, /, **columns: Any) -> None:
        """Add an utterance, or what is not yet known of it; what is known already stays."""
        row = self._utterances.setdefault(utterance, {"utterance_id": utterance})
        for name, value in columns.items():
            if row.get(name) is None:
                row[name] = value

    def label(self, text: str) -> str | None:
        """The label that a text spells; None if it spells none."""
        if text not in self._known:
            folded = text.strip().casefold()
            try:
                self._known[text] = self._spellings.get(folded) or self.labels.canonical(text)
            except LabelError:
                self._known[text] = None
        return self._known[text]

    def vote(
        self,
        utterance: str,
        text: str,
        *,
        file: str,
        line: int | None = None,
        rater: str | None = None,
        source: str = "human",
        rank: str = "primary",
        weight: float = 1.0,
        free_text: str | None = None,
        draw: int | None = None,
    ) -> bool:
        """Count one vote in, and keep it or list it; whether it was kept.

        `text` is the label as it stands in the file. Where its spelling is not the label's own name, and where it is
        free text behind `other` (`free_text`), it is kept in the column `text`. A second, equal vote of the same rater
        is a problem; two different words for one label (annoyed and frustrated, both angry) are two votes, and so are
        answers that the file itself numbers (`draw`).
        """
        self.votes_in += 1
        label = self.label(text)
        if label is None and "other" in self.labels and text.strip():
            label, free_text = "other", free_text or text.strip()
        if label is None:
            self.problem(file, line, f"unknown label {text!r}", content=text, votes=1, utterance=utterance, rater=rater)
            return False
        word = free_text if free_text is not None else _word(text, label)
        if rater is not None:
            key = (utterance, rater, source, rank, label, word, draw)
            if key in self._cast:
                self.problem(
                    file,
                    line,
                    f"rater {rater} gave this vote already",
                    content=text,
                    votes=1,
                    utterance=utterance,
                    rater=rater,
                )
                return False
            self._cast.add(key)
        self._votes.append(
            {
                "utterance_id": utterance,
                "rater_id": rater,
                "source": source,
                "label": label,
                "text": word,
                "rank": rank,
                "weight": weight,
                "draw": draw,
            }
        )
        return True

    def abstain(self, utterance: str, reason: str, *, rater: str | None = None, source: str = "human") -> None:
        """Count in and keep an answer that names no label; `reason` says why."""
        self.votes_in += 1
        row = {"utterance_id": utterance, "rater_id": rater, "source": source, "label": None, "reason": reason}
        self._votes.append({**row, "rank": "primary", "weight": 1.0})

    def rating(
        self,
        utterance: str,
        dimension: str,
        value: float,
        *,
        file: str,
        line: int | None = None,
        rater: str | None = None,
        source: str = "human",
    ) -> None:
        """Keep one rating; NaN is an absence and no row. A rater's second rating of a dimension is a problem."""
        if value != value:
            return
        key = (utterance, rater, source, dimension)
        if rater is not None and key in self._rated:
            reason = f"rater {rater} rated {dimension} already"
            self.problem(file, line, reason, content=f"{value:g}", utterance=utterance, rater=rater)
            return
        self._rated.add(key)
        row = {"utterance_id": utterance, "rater_id": rater, "source": source, "dimension": dimension}
        self._ratings.append({**row, "value": value})

    def problem(
        self,
        file: str,
        line: int | None,
        reason: str,
        *,
        content: str = "",
        votes: int = 0,
        utterance: str | None = None,
        rater: str | None = None,
    ) -> None:
        """List what could not be taken in; its `votes` must have been counted in (`vote` does so, else `count_in`)."""
        self._problems.append(
            {
                "file": file,
                "line": line,
                "utterance_id": utterance,
                "rater_id": rater,
                "reason": reason,
                "content": content[:500],
                "votes": votes,
            }
        )

    def count_in(self, votes: int) -> None:
        """Count votes in that will not go through `vote` (they are in a line that cannot be read)."""
        self.votes_in += votes

    def finish(
        self,
        *,
        release: str,
        licence: str,
        scale: tuple[float, float] | None = None,
        notes: Sequence[str] = (),
        files: Sequence[str] = (),
    ) -> Imported:
        """The tables; votes and ratings of utterances that the release does not list become problems."""
        known = self._utterances
        votes, ratings = [], [row for row in self._ratings if row["utterance_id"] in known]
        for row in self._votes:
            if row["utterance_id"] in known:
                votes.append(row)
                continue
            reason = "a vote on an utterance that the release does not list"
            name, rater = row["utterance_id"], row["rater_id"]
            self.problem("", None, reason, content=row["label"] or "", votes=1, utterance=name, rater=rater)
        for row in self._ratings:
            if row["utterance_id"] not in known:
                reason = "a rating of an utterance that the release does not list"
                self.problem("", None, reason, utterance=row["utterance_id"], rater=row["rater_id"])
        _number_draws(votes)
        rows = sorted(known.values(), key=lambda row: row["utterance_id"])
        return Imported(
            release=release,
            labels=self.labels,
            utterances=from_rows(rows, UTTERANCES),
            votes=from_rows(votes, VOTES, labels=self.labels),
            votes_in=self.votes_in,
            licence=licence,
            ratings=from_rows(ratings, RATINGS) if ratings else None,
            scale=scale if ratings else None,
            problems=from_rows(self._problems, PROBLEMS),
            notes=tuple(notes),
            files=tuple(files),
        )


def _word(text: str, label: str) -> str | None:
    """The word behind a label where it says more than the label: nothing for codes and other cases of it."""
    word = text.strip()
    return None if len(word) < 4 or word.casefold() == label.casefold() else word


def _number_draws(votes: list[dict[str, Any]]) -> None:
    """Number a rater's votes that share a label and a rank, so that each row has a key of its own.

    A number that the file gave stays, unless an earlier row of the same key has it.
    """
    taken: dict[tuple[Any, ...], set[int]] = {}
    for row in votes:
        draw = row.get("draw") or 0
        if row["rater_id"] is not None:
            used = taken.setdefault((row["utterance_id"], row["rater_id"], row["rank"], row["label"]), set())
            draw = draw if draw not in used else next(n for n in range(len(used) + 1) if n not in used)
            used.add(draw)
        row["draw"] = draw


def sound_folder(options: Options, *candidates: Path) -> Path | None:
    """The folder that holds the sounds: `options.audio`, else the first candidate that is there, else None.

    Raises `OptionError` where `options.audio` is no folder.
    """
    if options.audio is None:
        return next((folder.resolve() for folder in candidates if folder.is_dir()), None)
    if not options.audio.is_dir():
        raise OptionError(f"--audio {options.audio} is no folder; name the one that holds the sounds")
    return options.audio.resolve()


def refuse(reader: str, source: Path, looked_for: Sequence[str], found: str = "") -> CorpusError:
    """The error of a source that is not what the reader expects: what was looked for, and what is there."""
    if not source.exists():
        return CorpusError(
            f"no {reader} corpus at {source}: nothing is there; expected a folder or a file of the release"
        )
    there = found or _listing(source)
    said = f"{source} is no {reader} release that serann knows (found {there}); it looked for"
    return CorpusError(f"{said}: {looked_for[0]}" if len(looked_for) == 1 else "\n  - ".join([f"{said}", *looked_for]))


def _listing(source: Path, most: int = 6) -> str:
    if source.is_file():
        return f"a file, {source.name}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in source.iterdir())
    return few(names, most) or "an empty folder"
