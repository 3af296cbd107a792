"""The rows of sheets as utterances, votes and ratings; what cannot be taken in is listed with its votes."""

from dataclasses import dataclass, field
from typing import Any

from ...schemas import DIMENSIONS, SOURCES, UTTERANCES
from ..ballots import Ballot, ballots
from ..base import Gatherer
from ..further import further_columns
from ..parts import Part, unreadable
from ..sounds import Embedded, SoundFinder
from .columns import TableMapping
from .sheets import Line, number_of, text_of

GENDERS = {"f": "female", "female": "female", "woman": "female", "w": "female", "fem": "female"}
GENDERS |= {"m": "male", "male": "male", "man": "male", "masc": "male"}
SPLITS = {"train": "train", "training": "train", "tr": "train", "test": "test", "testing": "test", "tst": "test"}
SPLITS |= dict.fromkeys(("development", "dev", "devel", "validation", "valid", "val"), "development")
NUMBERS = ("start", "end", "duration")


@dataclass(slots=True)
class Reading:
    """All that is known while the rows are gone through."""

    mapping: TableMapping
    gatherer: Gatherer
    sounds: SoundFinder
    notes: list[str] = field(default_factory=list)
    embedded: dict[str, Embedded] = field(default_factory=dict)
    known: dict[tuple[str, str], Any] = field(default_factory=dict)
    rated: dict[tuple[str, str, str, str], float] = field(default_factory=dict)


def add_utterances(reading: Reading, part: Part) -> None:
    """Every utterance that is named; of two rows that contradict each other the first holds, the other is listed."""
    gatherer = reading.gatherer
    further, left = further_columns(part.sheet, part.roles.claimed, part.ids)
    if left:
        reading.notes.append(
            f"{part.sheet.file}: the columns {', '.join(left)} were left out (they differ within an utterance, "
            "hold bytes, or are named like a column of serann's)"
        )
    strange: dict[str, set[str]] = {"gender": set(), "split": set()}
    for place, (line, name) in enumerate(zip(part.sheet.lines, part.ids, strict=True)):
        if name is None or unreadable(line, part) is not None:
            continue
        columns = {
            key: _value(reading, part, line, key, strange) for key in UTTERANCES.columns if key in part.roles.fields
        }
        columns.pop("utterance_id", None)
        for key, value in columns.items():
            former = reading.known.setdefault((name, key), value) if value is not None else value
            if former != value:
                reason = f"{key} is {value!r} here and was {former!r} before"
                gatherer.problem(part.sheet.file, line.number, reason, content=line.content, utterance=name)
        if columns.get("audio") is None and (name, "audio") not in reading.known:
            columns["audio"] = reading.known[name, "audio"] = _audio(reading, part, line, name)
        gatherer.utterance(name, **columns, **{key: values[place] for key, values in further.items()})
    for key, texts in strange.items():
        if texts:
            as_what = "left empty" if key == "gender" else "kept as they are"
            reading.notes.append(f"{part.sheet.file}: {key} {', '.join(sorted(texts)[:8])}: unknown, {as_what}")


def _audio(reading: Reading, part: Part, line: Line, name: str) -> str | None:
    cell = part.cell(line, "audio")
    if isinstance(cell, Embedded):
        reading.embedded[name] = cell
        return None
    text = text_of(cell)
    return reading.sounds.named(text) if text is not None else reading.sounds.of(name, part.endings.get(name))


def _value(reading: Reading, part: Part, line: Line, key: str, strange: dict[str, set[str]]) -> Any:
    """A cell of the utterances in serann's words."""
    text = text_of(part.cell(line, key))
    if text is None or key == "audio":
        return None
    if key in NUMBERS:
        try:
            return number_of(text)
        except ValueError:
            reading.gatherer.problem(part.sheet.file, line.number, f"{key} is no number", content=text)
            return None
    if key in ("intended", "consensus"):
        return reading.gatherer.label(text) or text
    if key == "speaker":
        return None if text.casefold() in ("unknown", "none", "n/a") else text
    if key == "gender":
        return GENDERS.get(text.casefold()) or strange["gender"].add(text)
    if key == "split":
        return _split(reading.mapping, text, strange["split"])
    return text


def _split(mapping: TableMapping, text: str, strange: set[str]) -> str:
    if text in mapping.splits:
        return mapping.splits[text]
    plain = text.casefold().replace("_", "").replace(" ", "").replace("-", "")
    if plain not in SPLITS and not (plain.startswith("test") and plain[4:].isdigit()):
        strange.add(text)
    return SPLITS.get(plain, plain if plain.startswith("test") else text)


def add_votes(reading: Reading, part: Part, *, alone: bool) -> None:
    """Every vote; where another table lists the utterances (not `alone`), votes on others are listed as problems."""
    counted: set[str] = set()
    for line, name in zip(part.sheet.lines, part.ids, strict=True):
        reason = unreadable(line, part) or ("the utterance's name is empty" if name is None else None)
        if name in counted:
            reason = reason or "a second row of this utterance's counts"
        if reason is not None or name is None:
            _refused(reading, part, line, reason or "", name)
            continue
        cast = ballots(line, part.roles, separator=reading.mapping.separator, counter=part.counter)
        if not alone and name not in reading.gatherer and cast:
            _refused(reading, part, line, "a vote on an utterance that the table of utterances does not list", name)
            continue
        if part.roles.counts and "rater_id" not in part.roles.fields:
            counted.add(name)
        for ballot in cast:
            _cast(reading, part, line, name, ballot)


def _refused(reading: Reading, part: Part, line: Line, reason: str, utterance: str | None = None) -> None:
    """List a row that cannot be taken in, with as many votes as can be seen in it."""
    seen = 0
    if part.roles.votes:
        cast = ballots(line, part.roles, separator=reading.mapping.separator, counter=part.counter)
        seen = max(sum(ballot.count for ballot in cast), line.content.strip().count("\n") + 1)
    reading.gatherer.count_in(seen)
    content = line.content or str(dict(line.fields))
    reading.gatherer.problem(part.sheet.file, line.number, reason, content=content, votes=seen, utterance=utterance)


def _cast(reading: Reading, part: Part, line: Line, name: str, ballot: Ballot) -> None:
    gatherer, file = reading.gatherer, part.sheet.file
    if ballot.problem is not None:
        gatherer.count_in(ballot.count)
        content = line.content or str(dict(line.fields))
        reason = ballot.problem
        gatherer.problem(
            file, line.number, reason, content=content, votes=ballot.count, utterance=name, rater=ballot.rater
        )
        return
    for _ in range(ballot.count):
        if ballot.text is None:
            gatherer.abstain(name, ballot.reason or "no label was given", rater=ballot.rater, source=ballot.source)
            continue
        gatherer.vote(
            name,
            ballot.text,
            file=file,
            line=line.number,
            rater=ballot.rater,
            source=ballot.source,
            rank=ballot.rank,
            weight=ballot.weight,
            free_text=ballot.free_text,
            draw=ballot.draw,
        )


def add_ratings(reading: Reading, part: Part) -> None:
    """Ratings in columns of their own; one without a rater is somebody's, or a mean of several."""
    said = [name for name in DIMENSIONS if name in part.roles.fields]
    if not said:
        return
    if "rater_id" not in part.roles.fields:
        reading.notes.append(
            f"{part.sheet.file}: {', '.join(said)} name no rater; they may be means of several ratings"
        )
    for line, name in zip(part.sheet.lines, part.ids, strict=True):
        if name is None or unreadable(line, part) is not None:
            continue
        raters = part.cell(line, "rater_id")
        for dimension in said:
            value = part.cell(line, dimension)
            both = isinstance(raters, list) and isinstance(value, list) and len(raters) == len(value)
            pairs = zip(raters, value, strict=True) if both else [(None if isinstance(raters, list) else raters, value)]
            for rater, rating in pairs:
                _rate(reading, part, line, name, dimension, text_of(rater), rating)


def add_long_ratings(reading: Reading, part: Part) -> None:
    """A table of ratings, one a row."""
    for line, name in zip(part.sheet.lines, part.ids, strict=True):
        dimension = (text_of(part.cell(line, "dimension")) or "").casefold()
        if name is None or line.broken is not None or dimension not in DIMENSIONS:
            reason = line.broken or f"a rating of {dimension!r}; expected one of {', '.join(DIMENSIONS)}"
            reading.gatherer.problem(part.sheet.file, line.number, reason, content=line.content)
            continue
        _rate(reading, part, line, name, dimension, text_of(part.cell(line, "rater_id")), part.cell(line, "value"))


def _rate(reading: Reading, part: Part, line: Line, name: str, dimension: str, rater: str | None, value: Any) -> None:
    gatherer, file, scale = reading.gatherer, part.sheet.file, reading.mapping.scale
    source = (text_of(part.cell(line, "source")) or "human").casefold()
    try:
        number = number_of(value)
    except ValueError:
        gatherer.problem(
            file, line.number, f"{dimension} is no number", content=str(value), utterance=name, rater=rater
        )
        return
    if number is None or source not in SOURCES:
        return
    if scale is not None and not scale[0] <= number <= scale[1]:
        reason = f"{dimension} {number:g} lies outside the scale of {scale[0]:g} to {scale[1]:g}"
        gatherer.problem(file, line.number, reason, content=str(value), utterance=name, rater=rater)
        return
    if rater is not None:
        key = (name, rater, source, dimension)
        if reading.rated.get(key) == number:
            return  # a rater's rating stands on each of the rows that hold the rater's labels
        reading.rated[key] = number
    gatherer.rating(name, dimension, number, file=file, line=line.number, rater=rater, source=source)
