"""What one row of a table says: the votes in it, in each of the shapes that tables of votes have."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import CorpusError, OptionError, few
from ...schemas import DIMENSIONS, RANKS, SOURCES
from .columns import Roles
from .sheets import Line, Sheet, number_of, text_of, tokens_of

# No clip was ever heard by so many; a larger count is an id or a time that was taken for one.
MOST_VOTES = 10_000
# How far a fraction times the number of votes may lie from a whole number (fractions are published with few decimals).
WHOLE = 0.1


class Ballot(NamedTuple):
    """One label of one row, cast `count` times; without `text` an abstention, with a `problem` it cannot be kept."""

    text: str | None
    rater: str | None = None
    rank: str = "primary"
    source: str = "human"
    weight: float = 1.0
    count: int = 1
    reason: str | None = None
    free_text: str | None = None
    draw: int | None = None
    problem: str | None = None


# How many votes a count column's cell stands for; `ValueError` says why it stands for none.
Counter = Callable[[float, Line], int]


def ballots(line: Line, roles: Roles, *, separator: str | None, counter: Counter) -> list[Ballot]:
    """Every vote of a row; those that cannot be kept name their problem."""
    cell = {name: line.fields.get(column) for name, column in roles.fields.items()}
    found = _counted(line, roles, counter)
    for column in roles.raters:
        found += [Ballot(text, rater=column) for text in tokens_of(line.fields.get(column), separator)]
    if "label" in cell or "secondary" in cell:
        found += _labelled(cell, separator)
    if "rater_id" in cell and roles.counts:
        rater = text_of(cell["rater_id"])
        found = [_chosen(ballot._replace(rater=rater)) if ballot.problem is None else ballot for ballot in found]
        if any(ballot.problem is not None for ballot in found):  # the weaker choices alone are not what the rater said
            beside = "beside what is no choice"
            found = [b if b.problem else b._replace(problem=f"{b.count} for {b.text} {beside}") for b in found]
    return found


def _counted(line: Line, roles: Roles, counter: Counter) -> list[Ballot]:
    """The counts of a row; beside one that cannot be read they are another distribution than the row's, and no votes.

    Less than nothing is a mark for nobody: it is listed, and the row's other counts hold.
    """
    found: list[Ballot] = []
    columns, unknown = [], False
    for column, label in roles.counts.items():
        number = None
        try:
            number = number_of(line.fields.get(column))
            count = 0 if number is None else counter(number, line)
        except (ValueError, OverflowError) as error:
            found.append(Ballot(label, problem=f"column {column}: {error} is no count of votes"))
            unknown = unknown or number is None or number >= 0
            columns.append(column)
            continue
        if count:
            found.append(Ballot(label, count=count))
            columns.append(column)
    if not unknown:
        return found
    beside = "beside what is no count of votes"
    return [
        b if b.problem else b._replace(problem=f"column {column}: {b.count} {beside}")
        for column, b in zip(columns, found, strict=True)
    ]


def _chosen(ballot: Ballot) -> Ballot:
    """A rater's own row: a label is chosen or not, so that a larger number is a strength and no vote."""
    if ballot.count == 1:
        return ballot
    return ballot._replace(
        count=1, problem=f"{ballot.count} for {ballot.text}: one rater's strength is no count of votes"
    )


def _labelled(cell: dict[str, Any], separator: str | None) -> list[Ballot]:
    labels, rater = cell.get("label"), cell.get("rater_id")
    if isinstance(rater, list):
        answers = labels if isinstance(labels, list) else []
        if len(answers) != len(rater):
            seen = max(1, len(tokens_of(labels, separator)), len(rater))
            return [Ballot(None, count=seen, problem="the lists of raters and of labels differ in length")]
        pairs = [(text_of(name), tokens_of(answer, separator)) for name, answer in zip(rater, answers, strict=True)]
        return [Ballot(text, rater=name) for name, texts in pairs for text in texts]
    name = text_of(rater)
    try:
        common = _common(cell, name)
    except ValueError as error:
        seen = max(1, len(tokens_of(labels, separator)) + len(tokens_of(cell.get("secondary"), separator)))
        return [Ballot(None, rater=name, count=seen, problem=str(error))]
    found = [common._replace(text=text) for text in tokens_of(labels, separator)]
    rest = common._replace(rank="secondary", count=1, free_text=None)
    found += [rest._replace(text=text) for text in tokens_of(cell.get("secondary"), separator)]
    if found or "label" not in cell:
        return found
    rated = any(text_of(cell.get(name)) is not None for name in DIMENSIONS)
    reason = text_of(cell.get("reason"))
    if rated or (name is None and reason is None):
        return []
    return [common._replace(reason=reason or "no label was given", count=1)]


def _common(cell: dict[str, Any], rater: str | None) -> Ballot:
    """What holds for every label of the row; `ValueError` says what cannot be."""
    rank = (text_of(cell.get("rank")) or "primary").casefold()
    source = (text_of(cell.get("source")) or "human").casefold()
    for name, value, choices in (("rank", rank, RANKS), ("source", source, SOURCES)):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
    weight = number_of(cell.get("weight"))
    if weight is not None and weight < 0:
        raise ValueError(f"weight is {weight:g}; expected no less than 0")
    count = number_of(cell.get("count"))
    draw = number_of(cell.get("draw"))
    try:
        count = 1 if count is None else whole(count)
        draw = None if draw is None else whole(draw)
    except ValueError as error:
        raise ValueError(f"{error} is no count or number of votes") from None
    if rater is not None and count > 1:
        raise ValueError(f"rater {rater} is said to have voted {count} times here")
    return Ballot(
        None,
        rater,
        rank,
        source,
        weight=1.0 if weight is None else weight,
        count=count,
        free_text=text_of(cell.get("free_text")),
        draw=draw,
    )


def whole(number: float, line: Line | None = None) -> int:
    """The count that a number is; `ValueError` for fractions, negative ones and what no panel ever reached."""
    if not number.is_integer() or not 0 <= number <= MOST_VOTES:
        raise ValueError(f"{number:g}")
    return int(number)


def counter_for(rule: str | None, sheet: Sheet, roles: Roles, *, guessed: bool) -> Counter:
    """How the count columns of a sheet are read; a distribution is refused unless `rule` says over how many votes.

    `rule` is `counts:N`, or `counts:COLUMN` where a column holds each row's number of votes. Raises `OptionError` for
    another rule, and `CorpusError` where most rows hold fractions, or where each holds a single 1 and nobody said
    that these are counts: that is a label, written as a column of ones and zeros.
    """
    if rule is not None:
        return _times(rule, sheet)
    if not roles.counts or "rater_id" in roles.fields:
        return whole
    rows = [numbers for line in sheet.lines if (numbers := _numbers(line, list(roles.counts)))]
    broken = sum(any(not number.is_integer() for number in row) for row in rows)
    names = ", ".join(roles.counts)
    if rows and broken * 2 >= len(rows):
        example = next(number for row in rows for number in row if not number.is_integer())
        raise CorpusError(
            f"{sheet.file}: the columns {names} hold fractions ({example:g}): a distribution is not votes, for it does "
            "not say how many listeners there were; where that number is known, say it as --rule counts:10, or as "
            "--rule counts:COLUMN where a column holds it"
        )
    if guessed and rows and all(sum(row) == 1 for row in rows):
        raise CorpusError(
            f"{sheet.file}: the columns {names} hold a single 1 a row: that is one label, not votes; say "
            f"--columns counts={','.join(roles.counts)} if each row is one listener's vote"
        )
    return whole


def _numbers(line: Line, columns: Sequence[str]) -> list[float]:
    """The numbers of a row's columns, zeros left out."""
    found = []
    for column in columns:
        try:
            found.append(number_of(line.fields.get(column)) or 0.0)
        except ValueError:
            continue
    return [number for number in found if number]


def _times(rule: str, sheet: Sheet) -> Counter:
    kind, _, what = rule.partition(":")
    column = what.strip()
    fixed = int(column) if column.isascii() and column.isdigit() and column not in sheet.columns else None
    if kind.strip() != "counts" or not column or fixed == 0 or (fixed is None and column not in sheet.columns):
        raise OptionError(
            f"rule {rule!r}: expected counts:N (each row's fractions are over N votes) or counts:COLUMN with one of "
            f"the columns {few(sheet.columns, 20)}"
        )

    def count(number: float, line: Line) -> int:
        votes = float(fixed) if fixed is not None else number_of(line.fields.get(column))
        if votes is None:
            raise ValueError(f"{number:g} of an unknown number of votes")
        near = round(number * votes)
        if not math.isclose(near, number * votes, abs_tol=WHOLE):
            raise ValueError(f"{number:g} of {votes:g} votes")
        return whole(float(near))

    return count
