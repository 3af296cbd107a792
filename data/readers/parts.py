"""One sheet of a table being read: its columns' roles, its rows' utterances, and the label set it implies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import LabelError, OptionError, list_problems
from ..labels import LABEL_SETS, LabelSet
from .ballots import Counter, ballots, counter_for
from .base import Options
from .sounds import Embedded, split_ending
from .tables.columns import Roles, TableMapping, assign
from .tables.sheets import Line, Sheet, text_of

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
        there = ", ".join(sheet.columns)
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
        f"{part.sheet.file}: no column was taken for votes (found {', '.join(part.sheet.columns)}); say which holds "
        f"them: --columns label={free[0]} for one vote a row, --columns counts={example} for a column a label, "
        f"--columns raters={example} for a column a rater"
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
            f"{votes.sheet.file}: {len(chosen)} different labels were found ({', '.join(chosen[:5])}, …), more than "
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
