"""From sheets to serann's tables: what the readers of tables share."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..schemas import DIMENSIONS
from .base import Gatherer, Imported, Options
from .parts import Part, label_set_of, named_labels, no_votes, part_of, without
from .sounds import Embedded, SoundFinder
from .tables.columns import check_said, load_mapping
from .tables.filling import Reading, add_long_ratings, add_ratings, add_utterances, add_votes
from .tables.sheets import Sheet, text_of, unnest


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
        notes.append(f"{main.file}: left out, since votes have no such field: {', '.join(left)}")
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
        return "wide, a column a label"
    if part.roles.raters:
        return "wide, a column a rater"
    return "long, a row a vote" if part.roles.votes else "utterances without votes"
