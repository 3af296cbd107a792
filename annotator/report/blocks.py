"""What a page is made of, as values: tables of cells, pictures with captions, cards, tiles, lists.

Their text is plain, and the templates escape it; only `Markup` (a picture, a sentence with code in it) goes in as it
is. A block names the macro of `templates/blocks.html.j2` that draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from markupsafe import Markup

from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from .figures import figure


class Block(Protocol):
    """A part of a page; `macro` is the name of what draws it."""

    macro: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Section:
    """Parts under a heading."""

    macro: ClassVar[str] = "section"
    title: str
    parts: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    macro: ClassVar[str] = "heading"
    words: str


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph; `strong` comes first, `cls` is `note` for small print."""

    macro: ClassVar[str] = "words"
    words: str
    cls: str = ""
    strong: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """What must be read before anything else."""

    macro: ClassVar[str] = "banner"
    words: str
    strong: str = ""


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences."""

    macro: ClassVar[str] = "points"
    points: Sequence[str]
    cls: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names, and what each stands for."""

    macro: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound to be played, whose address `source` holds the sound itself, or the reason why there is none."""

    macro: ClassVar[str] = "player"
    name: str
    source: str = ""
    reason: str = ""


class Cell(NamedTuple):
    """A cell of a table: what is strong, a value, small lines under it, and a sound to hear."""

    value: str
    small: tuple[str, ...] = ()
    strong: str = ""
    sound: Sound | None = None


class Row(NamedTuple):
    """A row of a table; those of class `own` are shaded."""

    name: str
    cells: Sequence[Cell | str]
    cls: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first column holds the names of the rows."""

    macro: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Row]


class Swatch(NamedTuple):
    """A colour, by its class in the stylesheet, and what it stands for."""

    cls: str
    name: str


@dataclass(frozen=True, slots=True)
class Legend:
    """What the colours of pictures stand for."""

    macro: ClassVar[str] = "legend"
    swatches: Sequence[Swatch]


class Figure(NamedTuple):
    """A picture over its number and caption."""

    picture: Markup
    caption: str = ""
    number: str = ""
    cls: str = ""
    swatches: Sequence[Swatch] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """Pictures beside each other."""

    macro: ClassVar[str] = "figures"
    figures: Sequence[Figure]


class Card(NamedTuple):
    """An utterance: its name, lines about it, a picture, and sounds with what each is."""

    name: str
    lines: Sequence[str]
    picture: Markup
    sounds: Sequence[tuple[str, Sound]] = ()


@dataclass(frozen=True, slots=True)
class Cards:
    """Utterances beside each other."""

    macro: ClassVar[str] = "cards"
    cards: Sequence[Card]


class Tile(NamedTuple):
    """A figure in large, its interval, and what it is."""

    value: str
    interval: str
    words: str


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures in large, beside each other."""

    macro: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Answer:
    """Parts about one panel, marked with its colour."""

    macro: ClassVar[str] = "answer"
    title: str
    cls: str
    parts: Sequence[Block]


def note(words: str) -> Words:
    """Small print."""
    return Words(words, cls="note")


def cell(row: ScoreRow | Interval | None, digits: int = 3) -> Cell:
    """A figure over its interval, or a dash where there is none."""
    if row is None:
        return Cell("–")
    return over(figure(row.value, digits=digits), bounds(row, digits))


def over(value: str, *small: str) -> Cell:
    """A value over the lines that are not empty."""
    return Cell(value, tuple(line for line in small if line))


def bounds(row: ScoreRow | Interval, digits: int = 3) -> str:
    """The interval in brackets, or nothing where it is undefined."""
    return figure(row.value, row.low, row.high, digits=digits).partition(" ")[2]


def simulated(which: str) -> Banner:
    """What must be known of a corpus whose votes no person cast; `which` are simulated."""
    words = f"{which} drawn by a program: no person listened. The figures show that the tool works, and say nothing"
    return Banner(f"{words} about people.", strong="Simulated corpus.")
