"""From a text to a distribution over the labels: the shares that a listener was asked to write down."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .panel.parsing import AnswerReader, bare_text, json_objects, plain_text


class Shares(NamedTuple):
    """A distribution over the label set as it was written, normalised, or the reason why there is none."""

    p: tuple[float, ...] | None
    reason: str | None


def read_shares(reader: AnswerReader, text: str, *, ended: bool = True) -> Shares:
    """The distribution that a text gives in words.

    Strictly a JSON object; leniently one inside other text, or lines or phrases like `happy: 40%`, `40 % sad`,
    with the spellings of rung 2. A label that is not mentioned has no share. The numbers are percentages or fractions,
    told apart by their sum. Since each may be rounded to a whole percent, sums within half a percent a label of 100
    are accepted and normalised; any other sum, a negative number, a label given twice differently, or a share for
    something that is no label of the set, and there is no distribution.
    """
    if not text.strip():
        return Shares(None, "the answer is empty")
    objects = json_objects(text)
    if objects:
        pairs = _pairs(objects[-1])
    elif not ended and "{" in text:
        return Shares(None, "the text was cut before its end")
    else:
        pairs = _written_pairs(text)
    if not pairs:
        return Shares(None, "the answer gives no shares")
    return _normalised(reader, pairs)


def _normalised(reader: AnswerReader, pairs: Sequence[tuple[str, float]]) -> Shares:
    found: dict[str, float] = {}
    for name, value in pairs:
        label = reader.whole(name)
        if value < 0 or value != value or value == float("inf"):
            return Shares(None, f"the share of '{_short(name)}' is {value:g}")
        if label is None:
            if value and bare_text(name) not in ("total", "sum", "summe", "suma", "somme"):
                return Shares(None, f"it gives a share to '{_short(name)}', which is no label")
        elif found.setdefault(label, value) != value:
            return Shares(None, f"it gives '{label}' two different shares")
    total, slack = sum(found.values()), 0.005 * len(reader.labels) + 1e-9
    whole = next((whole for whole in (100.0, 1.0) if abs(total / whole - 1) <= slack), None)
    if whole is None:
        return Shares(None, f"its shares sum to {total:g}, not to 100")
    return Shares(tuple(found.get(label, 0.0) / total for label in reader.labels), None)


def _pairs(obj: dict[str, Any]) -> list[tuple[str, float]]:
    """Names with numbers of a JSON object, also one level down (`{"distribution": {…}}`)."""
    pairs = []
    for name, value in obj.items():
        if isinstance(value, dict):
            pairs += _pairs(value)
        elif (number := _number(value)) is not None:
            pairs.append((name, number))
    return pairs


def _written_pairs(text: str) -> list[tuple[str, float]]:
    """Names with numbers in lines or phrases, the name before the number or after it."""
    number = r"(-?\d+(?:[.,]\d+)?)\s*(%|percent\b|prozent\b)?"
    pairs = []
    for phrase in re.split(r"[\n;]|,(?!\d)|\band\b", plain_text(text)):
        phrase = re.sub(r"^\s*(?:[-•]|\d+[.)](?=\s))\s*", "", phrase)
        before = re.fullmatch(rf"\s*([^\d:=]+?)\s*[:=\-–—(]*\s*{number}\s*[).]*\s*", phrase)
        after = re.fullmatch(rf"\s*{number}\s*[:=\-–—]*\s*([^\d:=]+?)\s*[.]?\s*", phrase)
        if before:
            pairs.append((before[1], float(before[2].replace(",", "."))))
        elif after:
            pairs.append((after[3], float(after[1].replace(",", "."))))
    return pairs


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"\s*(-?\d+(?:[.,]\d+)?)\s*%?\s*", value) if isinstance(value, str) else None
    return float(found[1].replace(",", ".")) if found else None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 30 else text[:29] + "…"
