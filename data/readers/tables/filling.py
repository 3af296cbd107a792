"""The rows of sheets as utterances, votes and ratings; what cannot be taken in is listed with its votes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import LabelError, OptionError, few, list_problems
from ...labels import LABEL_SETS, LabelSet
from ...schemas import DIMENSIONS, SOURCES, UTTERANCES
from ..base import Gatherer, Options
from .ballots import Ballot, Counter, ballots, counter_for
from .columns import Roles, TableMapping, assign
from .sheets import Line, Sheet, number_of, plain_text, text_of
from .sounds import Embedded, SoundFinder, split_ending

# --------------------
# Columns of a table that serann has no field for: kept with the utterances, where they belong to these.


def further_columns(
    sheet: Sheet, claimed: set[str], ids: Sequence[str | None]
) -> tuple[dict[str, list[Any]], list[str]]:
    """The values, by row, of columns that no field claims; and the columns that are left.

    Left are those that differ within an utterance, or hold bytes. Numbers stay numbers where the whole column holds
    numbers; anything else is text.
    """
    kept, left = {}, []
    for name in sheet.columns:
        column = plain_text(name)
        if name in claimed or column == "content_hash":  # a fact of the sound, found again from the sound
            continue
        values = [None if line.broken else line.fields.get(name) for line in sheet.lines]
        if column in UTTERANCES.columns or not column.strip() or any(isinstance(v, bytes | bytearray) for v in values):
            left.append(name)
            continue
        plain = _alike(values)
        if _differs(plain, ids):
            left.append(name)
        elif any(value is not None for value in plain):
            kept[column] = plain
    return kept, left


def _alike(values: Sequence[Any]) -> list[Any]:
    """The values as one type: whole numbers, numbers, truth values, or text."""
    kinds = {type(value) for value in values if text_of(value) is not None}
    numbers = kinds <= {int, float} and all(not isinstance(v, int) or abs(v) < 2**53 for v in values)
    if kinds == {bool} or (kinds and numbers):
        whole = kinds == {int}
        return [None if text_of(v) is None else v if whole or kinds == {bool} else float(v) for v in values]
    return [text_of(value) for value in values]


def _differs(values: Sequence[Any], ids: Sequence[str | None]) -> bool:
    seen: dict[str, str] = {}
    for name, value in zip(ids, values, strict=True):
        if name is not None and value is not None:
            text = json.dumps(value)
            if seen.setdefault(name, text) != text:
                return True
    return False


# --------------------
# One sheet of a table being read: its columns' roles, its rows' utterances, and the label set it implies.

# More labels than this, found in a column and named by nobody, are free text.
MOST_LABELS = 40


@dataclass(slots=True)
class Part:
    """One sheet being read: its columns' roles, each row's utterance, and each utterance's file ending."""

    sheet: Sheet
    roles: Roles
    ids: list[str | None]
    endings: dict[str, str]
    counter: Counter

    def cell(self, line: Line, name: str) -> Any:
        """The cell of a field in a row; None where no column holds it."""
        column = self.roles.fields.get(name)
        return None if column is None else line.fields.get(column)


def part_of(
    sheet: Sheet, mapping: TableMapping, kind: str, labels: LabelSet | None, rule: str | None, notes: list[str]
) -> Part:
    roles = assign(sheet.columns, mapping, kind=kind, file=sheet.file, labels=labels)
    ids, endings = _ids(sheet, roles)
    if kind == "single":
        ids = _windows(sheet, roles, ids, notes)
        roles = _published_label(sheet, roles, ids, "label" in mapping.columns, notes)
    if roles.guessed:
        notes.append(
            f"{sheet.file}: columns taken by their names: {', '.join(roles.guessed)} (--columns says otherwise)"
        )
    counts_guessed = any(guess.startswith("counts=") for guess in roles.guessed)
    return Part(sheet, roles, ids, endings, counter_for(rule, sheet, roles, guessed=counts_guessed))


def _published_label(sheet: Sheet, roles: Roles, ids: Sequence[str | None], said: bool, notes: list[str]) -> Roles:
    """A single label an utterance, of nobody in particular, is what somebody published and not a vote."""
    column = roles.fields.get("label")
    if column is None or len(set(ids)) < len(ids) or {"rater_id", "count"} & set(roles.fields):
        return roles
    if any(isinstance(line.fields.get(column), list) for line in sheet.lines):
        return roles
    if said or "consensus" in roles.fields:
        notes.append(f"{sheet.file}: column {column!r} names no rater: each row is one anonymous vote")
        return roles
    fields = {name: what for name, what in roles.fields.items() if name != "label"} | {"consensus": column}
    notes.append(
        f"{sheet.file}: column {column!r} holds one label an utterance and no rater, so it was taken as the published "
        f"label (consensus) and makes no votes; if each is one listener's vote, say --columns label={column}"
    )
    return replace(roles, fields=fields, guessed=tuple(guess for guess in roles.guessed if guess != f"label={column}"))


def without(roles: Roles, names: Sequence[str]) -> Roles:
    fields = {name: column for name, column in roles.fields.items() if name not in names}
    return replace(roles, fields=fields, guessed=tuple(g for g in roles.guessed if g.split("=")[0] not in names))


def _ids(sheet: Sheet, roles: Roles) -> tuple[list[str | None], dict[str, str]]:
    """Each row's utterance, and the endings of those that are named as sound files (names that all have one)."""
    column = roles.fields.get("utterance_id") or roles.fields.get("audio")
    if column is None:
        there = few(sheet.columns, 20)
        raise OptionError(
            f"{sheet.file}: no column names the utterances; say which does, as in --columns utterance_id=NAME "
            f"(found the columns {there})"
        )
    cells = (line.fields.get(column) for line in sheet.lines)
    names = [text_of(cell.name if isinstance(cell, Embedded) else cell) for cell in cells]
    if "utterance_id" not in roles.fields:
        stems = {name: Path(name).name for name in names if name is not None}
        if len(set(stems.values())) == len(stems):
            names = [None if name is None else stems[name] for name in names]
    cut = {name: split_ending(name) for name in names if name is not None}
    if not cut or any(end is None for _, end in cut.values()) or len({stem for stem, _ in cut.values()}) < len(cut):
        return names, {}
    return [None if name is None else cut[name][0] for name in names], {stem: end for stem, end in cut.values() if end}


def _windows(sheet: Sheet, roles: Roles, ids: list[str | None], notes: list[str]) -> list[str | None]:
    """Names of windows where rows of one name have different starts or ends: those are different utterances."""
    columns = [roles.fields[name] for name in ("start", "end") if name in roles.fields]
    windows = [tuple(text_of(line.fields.get(column)) or "" for column in columns) for line in sheet.lines]
    several: dict[str, set[tuple[str, ...]]] = {}
    for name, window, line in zip(ids, windows, sheet.lines, strict=True):
        if name is not None and line.broken is None:
            several.setdefault(name, set()).add(window)
    cut = {name for name, found in several.items() if len(found) > 1}
    if not cut:
        return ids
    notes.append(
        f"{sheet.file}: {len(cut)} names have rows with different {' and '.join(columns)}; each window is an utterance "
        "of its own, named NAME_START-END"
    )
    return [f"{name}_{'-'.join(w)}" if name in cut else name for name, w in zip(ids, windows, strict=True)]


def unreadable(line: Line, part: Part) -> str | None:
    """Why a row cannot be taken in: its own reason, or a quote that was never closed and swallowed the lines after."""
    if line.broken is not None or "\n" not in line.content:
        return line.broken
    short = (part.roles.fields.get(name) for name in ("utterance_id", "rater_id", "label", "secondary", "consensus"))
    for column in (*short, *part.roles.raters):
        cell = line.fields.get(column) if column is not None else None
        if isinstance(cell, str) and "\n" in cell.strip():
            return f"column {column} runs over several lines (an unclosed quote?)"
    return None


def no_votes(part: Part) -> str:
    """That no column was taken for votes, which columns are there, and how to say what they are."""
    free = [name for name in part.sheet.columns if name not in part.roles.claimed] or list(part.sheet.columns)
    example = ",".join(free[:2])
    return (
        f"{part.sheet.file}: no column was taken for votes (found {few(part.sheet.columns, 20)}); say which holds "
        f"them: --columns label={free[0]} for one vote per row, --columns counts={example} for a column per label, "
        f"--columns raters={example} for a column per rater"
    )


def named_labels(options: Options, mapping: TableMapping) -> LabelSet | None:
    if options.labels is not None or not mapping.labels:
        return options.labels
    if len(mapping.labels) == 1 and mapping.labels[0] in LABEL_SETS:
        return LABEL_SETS[mapping.labels[0]]
    return LabelSet("table", tuple(mapping.labels))


def label_set_of(
    named: LabelSet | None, mapping: TableMapping, votes: Part, listed: Part, notes: list[str]
) -> tuple[LabelSet, dict[str, str]]:
    """The label set, and the spellings that aliases give: named, or else the labels found, in lower case, sorted."""
    aliases = {text.strip().casefold(): label for text, label in mapping.aliases.items()}
    if named is not None:
        wrong = [f"{text}={label}" for text, label in mapping.aliases.items() if label not in named]
        if wrong:
            raise LabelError(list_problems(f"aliases for labels that are none of {', '.join(named)}", wrong))
        return named, aliases
    found: dict[str, str] = {}
    names = {label.casefold(): label for label in mapping.aliases.values()}
    for text in _texts(votes, mapping) or _published(listed):
        label = aliases.get(text.casefold(), text.lower())
        found[text.casefold()] = names.setdefault(label.casefold(), label)
    chosen = tuple(sorted(set(found.values())))
    if len(chosen) > MOST_LABELS:
        raise OptionError(
            f"{votes.sheet.file}: {len(chosen)} different labels were found ({few(chosen)}), more than "
            f"{MOST_LABELS}; name the label set with --labels, and other spellings with --alias TEXT=LABEL"
        )
    if not chosen and not votes.roles.votes:
        raise OptionError(no_votes(votes))
    if len(chosen) < 2:
        what = f"only the label {chosen[0]!r}" if chosen else "no label"
        raise OptionError(f"{votes.sheet.file}: {what} was found in it; name the label set with --labels")
    notes.append(f"the labels found are the label set: {', '.join(chosen)} (--labels names another, --alias spellings)")
    return LabelSet("found", chosen), {**found, **aliases}


def _texts(part: Part, mapping: TableMapping) -> list[str]:
    """Labels of votes, each once, as they are spelled; a label that runs over lines is an unclosed quote."""
    texts = dict.fromkeys(part.roles.counts.values())
    for line in part.sheet.lines:
        if unreadable(line, part) is None:
            cast = ballots(line, part.roles, separator=mapping.separator, counter=part.counter)
            texts |= dict.fromkeys(ballot.text for ballot in cast if ballot.text is not None and ballot.problem is None)
    return [text.strip() for text in texts if text.strip()]


def _published(part: Part) -> list[str]:
    cells = (part.cell(line, name) for line in part.sheet.lines for name in ("intended", "consensus"))
    return list(dict.fromkeys(text for cell in cells if (text := text_of(cell)) is not None and "\n" not in text))


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
            f"{part.sheet.file}: the columns {few(left, 20)} were left out (they differ within an utterance, "
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
            reading.notes.append(f"{part.sheet.file}: {key} {few(sorted(texts), 8)}: unknown, {as_what}")


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
