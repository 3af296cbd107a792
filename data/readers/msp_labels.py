"""MSP-Podcast's per-rater answers as votes and ratings, in whole columns: releases hold more than a million of them.

Every release's detailed file becomes one table of answers first (`ANSWERS`: who answered what of which utterance, as
text); here it is read into the label set, divided into single votes, and freed of what was said twice.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..arrow import pc
from ..errors import CorpusError, LabelError, few
from ..labels import LabelSet
from ..tables import PROBLEMS, combine, from_rows, occurrence, validate
from .msp import DIMENSIONS, read_table
from .tables.sheets import distinct, numbers, stems

SCALE = (1.0, 7.0)
# The secondary vocabulary folded into nine classes as in arXiv 2606.27536; it does not name `confused`.
FOLDED = {
    **dict.fromkeys(("excited", "amused"), "happy"),
    **dict.fromkeys(("annoyed", "frustrated"), "angry"),
    **dict.fromkeys(("depressed", "disappointed", "concerned"), "sad"),
    "confused": "other",
}
MISSPELT = {"dissapointed": "Disappointed"}


class Detailed(NamedTuple):
    """What the answers became; `votes_in` counts the votes in them, kept or not."""

    votes: pa.Table
    ratings: pa.Table
    problems: pa.Table
    votes_in: int


class _Votes(NamedTuple):
    """Single votes [V]: the answer each is of, its word in `texts`, and whether it is a secondary one."""

    answer: np.ndarray
    word: np.ndarray
    secondary: np.ndarray
    texts: list[str]


class _Who(NamedTuple):
    """Who answered about what, [N] each: the names, a key that is equal for equal pairs (of `keys`), whether the
    release lists the utterance, and whether the rater has no name.
    """

    utterances: pa.Array
    raters: pa.Array
    key: np.ndarray
    keys: int
    listed: np.ndarray
    anonymous: np.ndarray


def take_in(
    answers: pa.Table,
    lines: np.ndarray,
    known: pa.Array,
    *,
    file: str,
    labels: LabelSet,
    aliases: Mapping[str, str],
) -> Detailed:
    """Read answers (columns `ANSWERS`; `lines` [N], 0 where the file has none) of the utterances `known`.

    A rater's second, equal vote and second rating of a dimension are problems, like votes on utterances that the
    release does not list, numbers that are none or off the scale, and answers without a primary emotion.
    """
    told = Told(file, lines)
    who = _who(answers, known)
    votes = _single_votes(answers)
    spelt = [spell(text, labels, aliases) for text in votes.texts]
    table = _votes_table(votes, spelt, who, labels, told)
    ratings = _ratings_table(answers, who, told)
    _tell_missing(answers, votes, who, told)
    return Detailed(table, ratings, told.table(who), len(votes.answer))


def _who(answers: pa.Table, known: pa.Array) -> _Who:
    utterance, rater = distinct(answers["utterance"], clean=stems), distinct(answers["rater"])
    listed = pc.is_in(utterance.array, value_set=known).to_numpy(zero_copy_only=False)
    return _Who(
        utterance.column(),
        rater.column(blank=None),
        combine((utterance.codes, len(utterance.array)), (rater.codes, len(rater.array))),
        len(utterance.array) * len(rater.array),
        listed.astype(bool)[utterance.codes],
        rater.says(""),
    )


class Told:
    """Problems of answers, gathered in columns."""

    def __init__(self, file: str, lines: np.ndarray):
        self._file, self._lines = file, lines
        self._parts: list[tuple[np.ndarray, str, pa.Array, np.ndarray]] = []

    def add(self, answers: np.ndarray, reason: str, content: pa.Array, votes: np.ndarray | int) -> None:
        """List answers (by number) with the reason, what stands there, and the votes in it."""
        if len(answers):
            self._parts.append((answers, reason, content, np.broadcast_to(np.int64(votes), len(answers))))

    def table(self, who: _Who) -> pa.Table:
        """The problems in the order of their lines."""
        if not self._parts:
            return validate(PROBLEMS.schema().empty_table(), PROBLEMS)
        answers = np.concatenate([part[0] for part in self._parts])
        lines = self._lines[answers]
        columns = {
            "file": pa.repeat(self._file, len(answers)),
            "line": pa.array(lines, mask=lines == 0),
            "utterance_id": who.utterances.take(pa.array(answers)),
            "rater_id": who.raters.take(pa.array(answers)),
            "reason": pa.concat_arrays([pa.repeat(reason, len(rows)) for rows, reason, _, _ in self._parts]),
            "content": pa.concat_arrays([pc.utf8_slice_codeunits(part[2], 0, 500) for part in self._parts]),
            "votes": np.concatenate([part[3] for part in self._parts]),
        }
        return validate(pa.table(columns), PROBLEMS).take(pa.array(np.argsort(lines, kind="stable")))


def _single_votes(answers: pa.Table) -> _Votes:
    """Every primary emotion and every word of the secondary ones, in the answers' order."""
    primary, secondary = distinct(answers["primary"]), distinct(answers["secondary"])
    primary_texts = [_present(text) for text in primary.texts]
    words = [[word for part in text.split(",") if (word := _present(part.strip()))] for text in secondary.texts]
    places: dict[str, int] = {}
    word_of = np.array([places.setdefault(text, len(places)) if text else -1 for text in primary_texts], dtype=np.int32)
    flat = np.array([places.setdefault(word, len(places)) for listed in words for word in listed], dtype=np.int32)
    primaries = word_of[primary.codes]
    first = np.flatnonzero(primaries >= 0).astype(np.int32)
    sizes = np.array([len(listed) for listed in words], dtype=np.int32)
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    each_size = sizes[secondary.codes]
    second = np.repeat(np.arange(len(secondary.codes), dtype=np.int32), each_size)
    # Where an answer's list starts among all words, less how many words other answers have before it.
    shift = starts[secondary.codes] - (np.cumsum(each_size) - each_size)
    place = np.arange(len(second)) + np.repeat(shift, each_size)
    answer = np.concatenate([first, second])
    order = np.argsort(answer, kind="stable")
    word = np.concatenate([primaries[first], flat[place]])
    rank = np.concatenate([np.zeros(len(first), bool), np.ones(len(second), bool)])
    return _Votes(answer[order], word[order], rank[order], list(places))


def _present(text: str) -> str:
    return "" if text.casefold() == "nan" else text


def spell(text: str, labels: LabelSet, aliases: Mapping[str, str]) -> tuple[str, str | None]:
    """The label that a word spells, and the word itself where it says more than the label.

    >>> from ..labels import LABEL_SETS
    >>> spell("Other-Bored, or so", LABEL_SETS["msp9"], {}), spell("Annoyed", LABEL_SETS["msp9"], {})
    (('other', 'Bored, or so'), ('angry', 'Annoyed'))
    """
    text = MISSPELT.get(text.casefold(), text)
    folded = text.casefold()
    if folded in aliases:
        return aliases[folded], text
    if folded.startswith("other"):
        rest = text[5:].lstrip(" -:_").strip()
        return "other", rest or None
    if folded in FOLDED:
        return FOLDED[folded], text
    try:
        label = labels.canonical(text)
    except LabelError:
        return "other", text
    return label, None if folded == label or len(text) < 4 else text


def _votes_table(
    votes: _Votes, spelt: list[tuple[str, str | None]], who: _Who, labels: LabelSet, told: Told
) -> pa.Table:
    """The votes on known utterances that were not cast twice, numbered where a rater gave one label several words."""
    meanings = {meaning: i for i, meaning in enumerate(dict.fromkeys(spelt))}
    meaning = np.array([meanings[found] for found in spelt], dtype=np.int32)[votes.word]
    label = np.array([labels.index(found) for found, _ in spelt], dtype=np.int32)[votes.word]
    same = occurrence(combine((who.key[votes.answer], who.keys), (votes.secondary, 2), (meaning, len(meanings))))
    again = (same > 0) & ~who.anonymous[votes.answer] & who.listed[votes.answer]
    texts = pa.array(votes.texts, pa.string())
    told.add(votes.answer[again], "this rater gave this vote already", texts.take(pa.array(votes.word[again])), 1)
    keep = np.flatnonzero(who.listed[votes.answer] & ~again)
    answer, word = votes.answer[keep], pa.array(votes.word[keep])
    draw = occurrence(combine((who.key[answer], who.keys), (votes.secondary[keep], 2), (label[keep], len(labels))))
    columns = {
        "utterance_id": who.utterances.take(pa.array(answer)),
        "rater_id": who.raters.take(pa.array(answer)),
        "draw": np.where(who.anonymous[answer], 0, draw).astype(np.int32),
        "label": pa.array([found for found, _ in spelt], pa.string()).take(word),
        "text": pa.array([found for _, found in spelt], pa.string()).take(word),
        "rank": pa.array(["primary", "secondary"]).take(pa.array(votes.secondary[keep].astype(np.int8))),
    }
    return pa.table(columns)


def _ratings_table(answers: pa.Table, who: _Who, told: Told) -> pa.Table:
    """The ratings on the scale, every dimension once a rater."""
    values = np.full((len(who.key), len(DIMENSIONS)), np.nan)
    for i, dimension in enumerate(DIMENSIONS):
        texts = distinct(answers[dimension])
        found, strange = numbers(texts)
        strange |= (found < SCALE[0]) | (found > SCALE[1])
        content = texts.column().take(pa.array(np.flatnonzero(strange)))
        told.add(np.flatnonzero(strange), f"{dimension} is no number from {SCALE[0]:g} to {SCALE[1]:g}", content, 0)
        found[strange] = np.nan
        rated = np.flatnonzero(~np.isnan(found) & who.listed & ~who.anonymous)
        again = rated[occurrence(who.key[rated]) > 0]
        given = pa.array([f"{value:g}" for value in found[again]], pa.string())
        told.add(again, f"this rater rated {dimension} already", given, 0)
        found[again] = np.nan
        values[:, i] = found
    answer, dimension = np.nonzero(~np.isnan(values) & who.listed[:, None])
    columns = {
        "utterance_id": who.utterances.take(pa.array(answer)),
        "rater_id": who.raters.take(pa.array(answer)),
        "dimension": pa.array(DIMENSIONS).take(pa.array(dimension)),
        "value": values[answer, dimension],
    }
    return pa.table(columns)


def _tell_missing(answers: pa.Table, votes: _Votes, who: _Who, told: Told) -> None:
    """List the answers about no known utterance, with the votes in them, and those without a primary emotion."""
    said = np.bincount(votes.answer, minlength=len(who.listed))
    unlisted = np.flatnonzero(~who.listed)
    named = pc.not_equal(who.utterances.take(pa.array(unlisted)), "").to_numpy(zero_copy_only=False)
    for chosen, reason in (
        (unlisted[~named], "an answer that names no utterance"),
        (unlisted[named], "an answer about an utterance that the release does not list"),
    ):
        told.add(chosen, reason, _content(answers, chosen), said[chosen])
    silent = np.ones(len(who.listed), dtype=bool)
    silent[votes.answer[~votes.secondary]] = False
    chosen = np.flatnonzero(silent & who.listed)
    told.add(chosen, "an answer without a primary emotion", _content(answers, chosen), 0)


def _content(answers: pa.Table, chosen: np.ndarray) -> pa.Array:
    parts = [pc.fill_null(answers[name].take(pa.array(chosen)), "") for name in ("primary", "secondary")]
    joined = pc.binary_join_element_wise(*parts, "; ")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


# --------------------
# MSP-Podcast 2.0's labels_detailed_aggregated.csv: how many raters chose each emotion, without saying who.

COUNT = "count::"
OTHERS = "num_other_annotations"
# More answers of one kind to one utterance than any release has: a broken number, not votes.
MOST = 1000


class Counts(NamedTuple):
    """The table as it stands: its records, their lines, and the lines that are no record."""

    file: str
    table: pa.Table
    lines: np.ndarray
    odd: pa.Table


def open_counts(path: Path) -> Counts:
    """Read the table; CorpusError where it is none of counts."""
    table, lines, odd = read_table(path)
    if "FileName" not in table.column_names or not any(name.startswith(COUNT) for name in table.column_names):
        raise CorpusError(
            f"{path}: expected FileName, {COUNT}<emotion>… and {OTHERS}; found {few(table.column_names, 20)}"
        )
    return Counts(path.name, table, lines, odd)


def read_aggregated(found: Counts, known: pa.Array, *, labels: LabelSet, aliases: Mapping[str, str]) -> Detailed:
    """Counts as anonymous votes: a count of n becomes n rows. `known` are the utterances that the release lists.

    A count that is no whole number from 0 to 1000 is a problem of one vote, for it says that there was one or more;
    so are the counts of an utterance that is listed twice or not at all, with as many votes as they say.
    """
    names = [name for name in found.table.column_names if name.startswith(COUNT) or name == OTHERS]
    utterance = distinct(found.table["FileName"], clean=stems)
    ids = utterance.column()
    twice = occurrence(utterance.codes) > 0
    listed = pc.is_in(ids, value_set=known).to_numpy(zero_copy_only=False) & ~utterance.says("")
    told: list[dict[str, Any]] = []

    def tell(row: int, reason: str, content: str, votes: int) -> None:
        where = {"file": found.file, "line": int(found.lines[row]) or None, "utterance_id": ids[row].as_py()}
        told.append({**where, "reason": reason, "content": content[:500], "votes": votes})

    counts = _counts(found.table, names, tell)
    votes_in = int(counts.sum()) + len(told) + found.odd.num_rows
    for row in np.flatnonzero(twice | ~listed).tolist():
        reason = "an utterance whose counts are listed already" if twice[row] else "the release does not list it"
        tell(row, reason, str(counts[row].tolist()), int(counts[row].sum()))
    counts[twice | ~listed] = 0
    problems = pa.concat_tables([from_rows(told, PROBLEMS), _with_votes(found.odd)])
    votes = _rows(ids, counts, [_label(name, labels, aliases) for name in names])
    return Detailed(votes, pa.table({}), problems, votes_in)


def _counts(table: pa.Table, names: list[str], tell: Callable[[int, str, str, int], None]) -> np.ndarray:
    """Whole counts [U, columns]; 0 where a cell is empty or, told, no count."""
    counts = np.zeros((table.num_rows, len(names)), dtype=np.int64)
    for i, name in enumerate(names):
        texts = distinct(table[name])
        values, strange = numbers(texts)
        strange |= (values != np.floor(values)) & ~np.isnan(values) | (values < 0) | (values > MOST)
        for row in np.flatnonzero(strange).tolist():
            tell(row, f"{name} is no count of answers", texts.texts[texts.codes[row]], 1)
        counts[:, i] = np.where(strange | np.isnan(values), 0, values)
    return counts


def _with_votes(odd: pa.Table) -> pa.Table:
    """Lines that cannot be read hold one vote at least."""
    return odd.set_column(odd.column_names.index("votes"), "votes", pa.repeat(pa.scalar(1, pa.int64()), odd.num_rows))


def _label(name: str, labels: LabelSet, aliases: Mapping[str, str]) -> tuple[str, str | None]:
    return ("other", None) if name == OTHERS else spell(name.removeprefix(COUNT), labels, aliases)


def _rows(ids: pa.Array, counts: np.ndarray, meanings: list[tuple[str, str | None]]) -> pa.Table:
    row, column = np.nonzero(counts)
    times = counts[row, column]
    column = pa.array(np.repeat(column, times))
    return pa.table(
        {
            "utterance_id": ids.take(pa.array(np.repeat(row, times))),
            "label": pa.array([label for label, _ in meanings], pa.string()).take(column),
            "text": pa.array([text for _, text in meanings], pa.string()).take(column),
        }
    )
