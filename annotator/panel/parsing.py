"""From a text to a label: strictly, then by a lenient ladder; else no answer, with the reason.

The ladder, first rung that decides:

1. strict: the answer as it was asked for, capitalised or not, with or without a full stop;
2. spelling: the whole text is an answer, a label or another spelling of one (`LabelSet.aliases`), whatever its case,
   quotes, brackets, punctuation and marks of emphasis; in lettered questions also `(A)`, `Option A`, `A. happy`;
3. json: a JSON object with one such string among its values (`{"emotion": "happy"}`);
4. marked: what follows the last `Answer:` (in the question's language too), by rungs 2, 5 and 6; what stands
   before such a mark is reasoning and is not searched;
5. quoted: the one label in quotes or emphasised;
6. named: the one label that the text names anywhere;
7. a line: where the whole text decides nothing, a first line that is an answer by rung 2 (an explanation follows), or
   the last line by rungs 2, 5 and 6 (reasoning goes before); if both are answers, they have to agree.

A text that names two labels, or one that it denies ("not happy"), or none, is no answer. Nothing is ever guessed, and
no label is a default. Abbreviations (up to three letters) and `other` count only where they are the whole answer: in
running text they are words of their own.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from ...data.labels import LabelSet
from ...prompts.files import Form

MARKS = ("final answer", "answer", "antwort", "respuesta", "réponse")
# Denials up to three words before a label; "rather than happy" names happy to reject it.
DENIALS = (
    r"not|isn't|wasn't|doesn't|don't|cannot|can't|never|no|neither|nor|without|hardly|rather than|instead of|"
    r"nicht|kein|keine|weder|noch|ohne|sin|ni|pas|sans"
)
ALONE = ("other",)
# An option in running text must look like one: a bare "a" is an article.
OPTION = re.compile(r"\boption\s+([a-z])\b|\(([a-z])\)|(?<!\S)([a-z])\)|^\W*([a-z])[.:]\s")


class Parsed(NamedTuple):
    """A label and the rung that found it, or the reason why there is none."""

    label: str | None
    rung: str | None
    reason: str | None


@dataclass(frozen=True)
class AnswerReader:
    """Reads the answers to one question: which spellings mean which label of the set."""

    labels: LabelSet
    answers: tuple[str, ...]
    form: Form

    def label(self, text: str, *, ended: bool = True) -> Parsed:
        """The label that a text answers, by the ladder. `ended` is False for a text that was cut at its length."""
        strict = self._strict(text)
        if strict is not None:
            return Parsed(strict, "strict", None)
        if not text.strip():
            return Parsed(None, None, "the answer is empty")
        if self.form == "reason" and self._after_mark(text) is None and not ended:
            return Parsed(None, None, "the text was cut before its answer")
        return self._leniently(text)

    def whole(self, text: str) -> str | None:
        """The label that the whole of a short text spells, or None (rung 2)."""
        bare = bare_text(text)
        if bare in self._spellings:
            return self._spellings[bare]
        if self.form != "letter":
            return None
        found = re.fullmatch(r"(?:option\s+)?\(?([a-z])\)?(?:[\s.:)\-–—]+(.+))?", bare)
        if not found or found[1] not in self._letters:
            return None
        letter, rest = self._letters[found[1]], found[2]
        return letter if rest is None or self._spellings.get(bare_text(rest)) == letter else None

    def _strict(self, text: str) -> str | None:
        text = text.strip()
        if self.form == "reason":
            last = text.splitlines()[-1] if text else ""
            found = re.fullmatch(rf"({'|'.join(MARKS)})\s*:\s*(.+)", last.strip(), flags=re.IGNORECASE)
            if not found:
                return None
            text = found[2].strip()
        return self._forms.get(text)

    def _leniently(self, text: str) -> Parsed:
        if (label := self.whole(text)) is not None:
            return Parsed(label, "spelling", None)
        if (found := self._from_json(text)) is not None:
            return found
        marked = self._after_mark(text)
        if marked is not None:
            return self._searched(marked, "marked")
        found = self._searched(text, None)
        lines = [line for line in text.splitlines() if line.strip()]
        if found.label is not None or len(lines) < 2:
            return found
        first, last = self.whole(lines[0]), self._searched(lines[-1], None).label
        either = {label for label in (first, last) if label is not None}
        if len(either) != 1:
            return found
        return Parsed(either.pop(), "last line" if first is None else "first line", None)

    def _searched(self, text: str, rung: str | None) -> Parsed:
        """Rungs 2, 5 and 6 on a part of the text."""
        if (label := self.whole(text)) is not None:
            return Parsed(label, rung or "spelling", None)
        quoted = {label for part in _quoted(text) if (label := self.whole(part)) is not None}
        named, denied = self._named(text)
        if len(quoted) == 1 and not quoted & denied:
            return Parsed(quoted.pop(), rung or "quoted", None)
        if len(named | denied) == 1 and not denied:
            return Parsed(named.pop(), rung or "named", None)
        return Parsed(None, None, _why(named, denied, self.labels))

    def _named(self, text: str) -> tuple[set[str], set[str]]:
        """The labels that a text names, and those that it denies."""
        folded = _fold(text)
        found: list[tuple[int, str]] = [
            (match.start(), self._spellings[match[0]]) for match in self._pattern.finditer(folded)
        ]
        if self.form == "letter":
            for match in OPTION.finditer(folded):
                name = next(group for group in match.groups() if group)
                if name in self._letters:
                    found.append((match.start(), self._letters[name]))
        denied = {label for at, label in found if _denied(folded[:at])}
        return {label for _, label in found} - denied, denied

    def _from_json(self, text: str) -> Parsed | None:
        values = [value for part in json_objects(text) for value in _strings(part)]
        found = {label for value in values if (label := self.whole(value)) is not None}
        if len(found) > 1:
            return Parsed(None, None, _why(found, set(), self.labels))
        return Parsed(found.pop(), "json", None) if found else None

    def _after_mark(self, text: str) -> str | None:
        """What follows the last mark of an answer, up to the end of its paragraph."""
        found = list(
            re.finditer(rf"\b(?:{'|'.join(MARKS)})\b(?:\s+is)?\**\s*[:：]\s*", plain_text(text), re.IGNORECASE)
        )
        if not found:
            return None
        rest = plain_text(text)[found[-1].end() :].strip()
        return rest.split("\n\n")[0] if rest else None

    @property
    def _forms(self) -> dict[str, str]:
        return _form_table(self.labels.labels, self.answers)

    @property
    def _letters(self) -> dict[str, str]:
        return {_fold(a): label for a, label in zip(self.answers, self.labels.labels, strict=True)}

    @property
    def _spellings(self) -> dict[str, str]:
        return _spelling_table(self.labels.labels, tuple(self.labels.aliases.items()), self._words)

    @property
    def _words(self) -> tuple[str, ...]:
        return self.labels.labels if self.form == "letter" else self.answers

    @property
    def _pattern(self) -> re.Pattern[str]:
        return _name_pattern(tuple(self._spellings.items()))


def json_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, in order, those inside others left out."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        found.append(value)
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _quoted(text: str) -> list[str]:
    pattern = r"\*\*(.+?)\*\*|__(.+?)__|\"(.+?)\"|“(.+?)”|„(.+?)“|«(.+?)»|`(.+?)`|(?<!\w)'(.+?)'(?!\w)|(?<!\w)‘(.+?)’"
    return [next(part for part in match.groups() if part) for match in re.finditer(pattern, text)]


def _denied(before: str) -> bool:
    return re.search(rf"(?<!\w)(?:{DENIALS})(?:\s+[\w'-]+){{0,3}}\s+[\W_]*$|n't\s+[\W_]*$", before) is not None


def _why(named: set[str], denied: set[str], labels: LabelSet) -> str:
    if len(named) > 1:
        return f"it names {len(named)} labels: {', '.join(label for label in labels if label in named)}"
    if denied:
        return f"it denies a label: {', '.join(label for label in labels if label in denied)}"
    return "it names no label"


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("’", "'")


def bare_text(text: str) -> str:
    """Case folded, one space between words, nothing but letters and digits at the ends."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", " ".join(_fold(text).split()))


def plain_text(text: str) -> str:
    """Without marks of emphasis."""
    return re.sub(r"[*`]|__", "", text)


@lru_cache(maxsize=512)
def _form_table(labels: tuple[str, ...], answers: tuple[str, ...]) -> dict[str, str]:
    return {form: label for label, answer in zip(labels, answers, strict=True) for form in surface_forms(answer)}


@lru_cache(maxsize=512)
def _spelling_table(
    labels: tuple[str, ...], aliases: tuple[tuple[str, str], ...], words: tuple[str, ...]
) -> dict[str, str]:
    """Folded spellings: words of the question first, then labels, then aliases of more than one letter."""
    table: dict[str, str] = {}
    for spelling, label in (
        *zip(words, labels, strict=True),
        *zip(labels, labels, strict=True),
        *((alias, label) for alias, label in aliases if len(alias) > 1),
    ):
        table.setdefault(bare_text(spelling), label)
    table.pop("", None)
    return table


@lru_cache(maxsize=512)
def _name_pattern(spellings: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """Finds the spellings that may stand in running text, as whole words, the longest first."""
    named = [
        spelling
        for spelling, label in spellings
        if label not in ALONE and not (len(spelling) <= 3 and spelling != label and label.startswith(spelling))
    ]
    either = "|".join(re.escape(spelling) for spelling in sorted(named, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)" if either else r"(?!)")


# --------------------
# From a text to a distribution over the labels: the shares that a listener was asked to write down.


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


def surface_forms(answer: str) -> tuple[str, ...]:
    """The spellings that count as an answer.

    >>> surface_forms("happy")
    ('happy', 'Happy', 'happy.', 'Happy.')
    >>> surface_forms("A")
    ('A', 'A.')
    """
    words = dict.fromkeys((answer, answer[:1].upper() + answer[1:]))
    return (*words, *(f"{word}." for word in words))
