"""What `serann alt-test` reads: humans' and models' labels as JSON, checked and lined up as arrays.

Humans are `{rater: {item: label}}`; a model file is `{model: {item: label}}`, or one model's `{item: label}`. A label
is a text, a number or true/false, compared as it stands; null is an item that was not rated. For `log-score` a named
model may give distributions, `{model: {item: {label: probability}}}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...data.errors import CorpusError, LabelError, SerannError, TableError, few
from ...data.files import read_json
from .alt_test_statistics import HumanVotes, listed_votes, scorer_named

# Probabilities that were rounded when they were written still count as a distribution.
SUM_TOLERANCE = 0.01


class LinedUp(NamedTuple):
    """Votes and models over the same `items`: each model's answers as the scorer takes them, in the items' order.

    `speakers` int [items] where a file of them was given; `notes` are sentences on what is unusual.
    """

    votes: HumanVotes
    raters: list[str]
    items: list[str]
    models: dict[str, np.ndarray]
    speakers: np.ndarray | None
    notes: list[str]


def read_alt_test(humans: Path, models: Path, *, scorer: str, speakers: Path | None = None) -> LinedUp:
    """Read and check the files of an alternative annotator test.

    Raises TableError with all problems of a file (no JSON objects, NaN, labels that the scorer cannot take, no
    distributions), CorpusError for fewer than two raters, no common items or raters that never vary, LabelError where
    humans and a model speak of different labels.
    """
    scorer_named(scorer)
    people = _tables(_object(humans, "file of human labels"), scorer, str(humans), "rater")
    found = _object(models, "file of model labels")
    tables = _tables(_by_model(found, models), scorer, str(models), "model", distributions=scorer == "log-score")
    lined_up = line_up_labels(people, tables, scorer=scorer)
    return lined_up if speakers is None else lined_up._replace(speakers=_speakers(speakers, lined_up.items))


def line_up_labels(
    humans: Mapping[str, Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]], *, scorer: str
) -> LinedUp:
    """Bring checked labels into arrays; items and raters in the order of their names."""
    raters = sorted(rater for rater, labels in humans.items() if labels)
    if len(raters) < 2:
        raise CorpusError(
            f"{len(raters)} human rater: the test leaves one human out and scores against the others; expected two or "
            "more raters of the same items (three are advised)"
        )
    items = sorted({item for rater in raters for item in humans[rater]})
    place = {item: u for u, item in enumerate(items)}
    item = np.array([place[name] for rater in raters for name in humans[rater]])
    rater = np.repeat(np.arange(len(raters)), [len(humans[rater]) for rater in raters])
    given = [label for rater in raters for label in humans[rater].values()]
    codes = _codes(given, models) if scorer != "neg-rmse" else {}
    value = np.array(given, dtype=np.float64) if scorer == "neg-rmse" else np.array([codes[_key(x)] for x in given])
    _refuse_no_overlap(models, place, np.bincount(item, minlength=len(items)))
    notes = _constant_raters(raters, rater, value) + _label_notes({_key(x) for x in given}, models, scorer)
    votes = listed_votes(item, rater, value, items=len(items), raters=len(raters))
    answers = {name: _answers(labels, place, codes, scorer) for name, labels in models.items()}
    return LinedUp(votes, raters, items, answers, None, notes)


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        found = read_json(path, what=what)
    except (RecursionError, ValueError) as error:  # nested without end, or a number of thousands of digits
        raise SerannError(f"{path}: not a {what}: {error}") from None
    if not found:
        raise CorpusError(f"{path}: the {what} is empty; expected {{name: {{item: label}}}}")
    return found


def _by_model(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """One model's labels get the file's name."""
    nested = [isinstance(labels, dict) for labels in found.values()]
    return found if any(nested) else {path.stem: found}


def _tables(
    found: dict[str, Any], scorer: str, where: str, kind: str, *, distributions: bool = False
) -> dict[str, dict[str, Any]]:
    """Check every label of a file; what is null is left out."""
    problems, tables = [], {}
    for name, labels in found.items():
        if not isinstance(labels, dict):
            problems.append(f"{kind} {name!r} holds {_shown(labels)}; expected an object {{item: label}}")
            continue
        tables[name] = {item: label for item, label in labels.items() if label is not None}
        for item, label in tables[name].items():
            wrong = (
                _distribution_problem(label) if distributions and isinstance(label, dict) else _problem(label, scorer)
            )
            if wrong:
                problems.append(f"{kind} {name!r}, item {item!r}: {wrong}")
        if len({isinstance(label, dict) for label in tables[name].values()}) > 1 and not problems:
            problems.append(f"{kind} {name!r} holds labels and distributions; expected either alone")
    if problems:
        raise TableError(where, problems)
    return tables


def _problem(label: Any, scorer: str) -> str | None:
    number = isinstance(label, int | float) and not isinstance(label, bool)
    if number and not _finite(label):
        return f"{_shown(label)} is no label; write null, or leave out, what was not rated"
    if scorer == "neg-rmse" and not number:
        return f"the label {_shown(label)} is no number, which neg-rmse needs; use --scorer accuracy for names"
    if not number and not isinstance(label, str | bool):
        return f"expected a label, a text or a number, found {_shown(label)}"
    return "an empty text is no label" if label == "" else None


def _finite(number: float) -> bool:
    # squares of larger numbers do not fit into a float
    return math.isfinite(number) and abs(number) < 1e100 if isinstance(number, float) else abs(number) < 10**100


def _distribution_problem(label: dict[str, Any]) -> str | None:
    shares = list(label.values())
    if not all(isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 2 for p in shares):
        return f"expected {{label: probability}}, found {_shown(label)}"
    if abs(sum(shares) - 1) > SUM_TOLERANCE:
        return f"the probabilities sum to {sum(shares):.4g}; expected 1"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not _finite(value):
        return "a number of more than 100 digits"
    text = repr(value) if not isinstance(value, float) or math.isfinite(value) else str(value).replace("nan", "NaN")
    return text if len(text) <= 40 else text[:37] + "..."


def _key(label: Any) -> tuple[bool, Any]:
    """Labels that are equal: 1 and 1.0, but not 1 and true, nor 1 and "1"."""
    return isinstance(label, bool), label


def _codes(given: list[Any], models: Mapping[str, Mapping[str, Any]]) -> dict[tuple[bool, Any], int]:
    """A code for every label there is, in the order of the labels' text, which the order of rows does not change."""
    said = {_key(label) for label in given}
    by_text = {str(label): (kind, label) for kind, label in said}
    for labels in models.values():
        for label in labels.values():
            # the keys of a JSON object are texts, so a distribution over numbers names them as texts
            said |= {by_text.get(x, (False, x)) for x in label} if isinstance(label, dict) else {_key(label)}
    return {key: code for code, key in enumerate(sorted(said, key=lambda key: (str(key[1]), repr(key))))}


def _answers(labels: Mapping[str, Any], place: dict[str, int], codes: dict, scorer: str) -> np.ndarray:
    known = {item: label for item, label in labels.items() if item in place}
    rows = np.array([place[item] for item in known])
    if scorer == "neg-rmse":
        answers = np.full(len(place), np.nan)
        answers[rows] = np.array(list(known.values()), dtype=np.float64)
    elif isinstance(next(iter(known.values())), dict):
        answers = np.full((len(place), len(codes)), np.nan)
        answers[rows] = 0.0
        by_text = {str(label): code for (_, label), code in codes.items()}
        for row, shares in zip(rows, known.values(), strict=True):
            total = sum(shares.values())
            for label, p in shares.items():
                answers[row, by_text[label]] = p / total
    else:
        answers = np.full(len(place), -1)
        answers[rows] = [codes[_key(label)] for label in known.values()]
    return answers


def _refuse_no_overlap(models: Mapping[str, Mapping[str, Any]], place: dict[str, int], votes: np.ndarray) -> None:
    for name, labels in models.items():
        common = [place[item] for item in labels if item in place]
        if not common:
            first = f"its first is {min(labels)!r}, theirs {min(place)!r}" if labels else "it labels nothing"
            raise CorpusError(
                f"{name} has no item in common with the humans ({first}); give labels of the same items, by the same "
                "names"
            )
        if votes[common].max() < 2:
            raise CorpusError(
                f"none of the {len(common)} items that {name} labels has two human votes, and one cannot be left out "
                "and scored against the others; bring items that several raters heard"
            )


def _constant_raters(raters: list[str], rater: np.ndarray, value: np.ndarray) -> list[str]:
    low, high = np.full(len(raters), np.inf), np.full(len(raters), -np.inf)
    np.minimum.at(low, rater, value)
    np.maximum.at(high, rater, value)
    constant = (low == high) & (np.bincount(rater, minlength=len(raters)) > 1)
    if (low == high).all() and constant.any():
        raise CorpusError(
            f"every one of the {len(raters)} human raters gives the same label to all items, so their votes say "
            "nothing of the items; expected raters who vary: are these the labels of several items?"
        )
    names = [repr(name) for name, same in zip(raters, constant, strict=True) if same]
    return (
        [f"constant raters, one label on every item: {few(names, 5)}; to win against them shows nothing"]
        if names
        else []
    )


def _label_notes(said: set[tuple[bool, Any]], models: Mapping[str, Mapping[str, Any]], scorer: str) -> list[str]:
    """Labels that no human uses are mostly another spelling; texts against numbers are always a mistake."""
    notes = []
    for name, labels in models.items():
        theirs = {_key(label) for label in labels.values() if not isinstance(label, dict)}
        if scorer == "neg-rmse" or not theirs or theirs & said:
            continue
        ours, others = (min(map(repr, (label for _, label in keys))) for keys in (said, theirs))
        sentence = f"no label of {name} is one that a human gave (it says {others}, humans {ours})"
        if {isinstance(x, str) for _, x in theirs} != {isinstance(x, str) for _, x in said}:
            raise LabelError(f"{sentence}: one side writes texts, the other numbers; write both alike")
        notes.append(f"{sentence}: is it another spelling?")
    return notes


def _speakers(path: Path, items: list[str]) -> np.ndarray:
    """Each item's speaker as a code; CorpusError where an item has none."""
    found = _object(path, "file of speakers")
    wrong = [item for item in items if not isinstance(found.get(item), str | int) or found.get(item) == ""]
    if wrong:
        raise CorpusError(
            f"{path} names no speaker for {len(wrong)} of {len(items)} items, the first {wrong[0]!r}; expected "
            "{item: speaker} for every item that humans rated"
        )
    return np.unique([str(found[item]) for item in items], return_inverse=True)[1]
